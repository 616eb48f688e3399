"""What a host says of itself, and that only one collector speaks for it."""

from __future__ import annotations

import json
import subprocess
import sys

import psutil
import pytest

from monitoring.collect.facts import cpu_name, machine_of, read_facts
from monitoring.collect.single import SinglePlace


def test_facts_are_json_and_name_the_machine():
    facts = json.loads(json.dumps(read_facts()))
    assert facts["cores"] == psutil.cpu_count()
    assert facts["memory_bytes"] > 0
    assert facts["os"]
    assert facts["kernel"]
    assert facts["python"].startswith(f"{sys.version_info.major}.")


def test_a_machine_is_named_without_giving_its_id_away():
    name = machine_of("0123456789abcdef0123456789abcdef\n")
    assert name == machine_of("0123456789abcdef0123456789abcdef")
    assert name != machine_of("0123456789abcdef0123456789abcdee")
    assert "0123456789" not in name


def test_a_machine_without_an_id_has_no_name():
    assert machine_of("") is None


def test_facts_of_the_gpus_stand_beside_the_others():
    assert read_facts({"driver": "570"})["driver"] == "570"


@pytest.mark.parametrize(
    ("text", "name"),
    [("processor : 0\nmodel name\t: AMD EPYC 9654\n", "AMD EPYC 9654"), ("processor : 0\n", ""), ("", "")],
)
def test_the_cpu_is_named_where_the_kernel_names_it(text, name):
    assert cpu_name(text) == name


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux' own")


@linux_only
def test_a_second_collector_of_the_same_host_waits_for_its_place():
    first, second = SinglePlace("ana", "one"), SinglePlace("ana", "one")
    assert first.take()
    assert not second.take()
    first.leave()
    assert second.take()
    second.leave()


@linux_only
def test_another_host_name_or_portal_is_another_place():
    places = [SinglePlace("ana", "one"), SinglePlace("bob", "one"), SinglePlace("ana", "two")]
    assert [place.take() for place in places] == [True] * 3
    for place in places:
        place.leave()


@linux_only
def test_a_place_is_free_again_when_its_holder_was_killed():
    code = (
        "from monitoring.collect.single import SinglePlace; import sys;"
        "p = SinglePlace('killed', 'one'); print(p.take(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"True\n"
        mine = SinglePlace("killed", "one")
        assert not mine.take()
        holder.kill()
        holder.wait(10)
        assert mine.take()
        mine.leave()
