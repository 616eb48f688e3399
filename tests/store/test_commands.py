"""The commands around the store: query, store, import_samples, export_samples."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from monitoring import store
from monitoring.store import Scrape
from tests.store.build import HOUR, NOW, bits, everything, put, scrape

pytestmark = pytest.mark.django_db
AT = datetime.fromtimestamp(NOW / 1000, UTC)
PROMTOOL = shutil.which("promtool")


def run(*arguments, **options):
    out, err = io.StringIO(), io.StringIO()
    call_command(*map(str, arguments), stdout=out, stderr=err, **options)
    return out.getvalue()


def test_a_query_prints_a_line_a_series():
    put(scrape(labels={"host": "ana"}, a=1.5))
    assert run("query", "a", "--at", AT.isoformat()) == 'a{host="ana"} => 1.5\n'


def test_a_range_prints_a_line_a_point():
    put(scrape(a=1.0), scrape(at_ms=NOW + 60_000, a=2.0))
    text = run("query", "a", "--start", NOW / 1000, "--end", NOW / 1000 + 60)
    points = ["  1.0 @ 2023-11-15T00:00:00.000+00:00", "  2.0 @ 2023-11-15T00:01:00.000+00:00"]
    assert text.splitlines() == ["a =>", *points]


def test_a_query_speaks_json():
    put(scrape(a=float("inf")))
    found = json.loads(run("query", "a", "--at", AT.isoformat(), "--json"))
    assert found["series"] == [{"labels": {"__name__": "a"}, "points": [["2023-11-15T00:00:00.000+00:00", "+Inf"]]}]


def test_a_bad_expression_is_shown_with_its_place():
    with pytest.raises(CommandError, match=r"1:\d+"):
        run("query", "sum(rate(x[5m])")
    put(scrape(requests_total=1.0))
    assert "similar: requests_total" in run("query", "request_total", "--check")


def test_the_status_is_printed():
    put(Scrape("a", {}, NOW, ["m", "n"], np.ones(2)))
    text = run("store", "status")
    assert "2 series, 2 keys, 1 sources" in text
    assert "catalogue" in text


def test_verify_finds_a_flipped_bit(settings):
    settings.STORE_CHUNK_CHECKSUMS = True
    for step in range(300):
        put(scrape(at_ms=NOW + step * 15_000, a=float(step % 7), b=2.0))
    store.compact(NOW + 3 * HOUR)
    assert "0 problems" in run("store", "verify")
    with connection.cursor() as cursor:
        cursor.execute(
            "update store_chunk set d = set_bit(d, 77, 1 - get_bit(d, 77)) where ctid ="
            " (select ctid from store_chunk where key_id > 0 order by length(d) desc limit 1)"
        )
    with pytest.raises(CommandError, match="1 packed series"):
        run("store", "verify")


def test_dropping_removes_what_is_older():
    put(scrape(a=1.0), scrape(at_ms=NOW + 5 * HOUR, a=2.0))
    run("store", "drop", "--before", (AT + timedelta(hours=4)).isoformat())
    assert list(everything()["a"]) == [(NOW + 5 * HOUR, bits(2.0))]


TEXTS = {
    "prometheus": f'# TYPE m counter\nm{{a="x y",job="j"}} 1.5 {NOW}\n'
    f'm{{a="x y",job="j"}} 2.5 {NOW + 60000}\nn 3 {NOW}\n',
    "openmetrics": f'# TYPE m counter\nm{{a="x y",job="j"}} 1.5 {NOW / 1000} # {{t="1"}} 0.5\n'
    f'm{{a="x y",job="j"}} 2.5 {NOW / 1000 + 60}\nn 3 {NOW / 1000}\n# EOF\n',
    "dump": f'{{__name__="m", a="x y", job="j"}} 1.5 {NOW}\n{{__name__="m", a="x y", job="j"}} 2.5 {NOW + 60000}\n'
    f'{{__name__="n"}} 3 {NOW}\n',
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("age", ["recent", "compacted", "merged"])
def test_an_import_is_read_back_whatever_its_format_and_age(kind, age, tmp_path):
    put(scrape(at_ms=NOW + 27 * HOUR, other=1.0))
    if age != "recent":
        store.compact(NOW + 60 * HOUR)
    if age == "merged":
        put(scrape("host:x", NOW + 58 * HOUR, other=1.0))
        store.merge(NOW + 60 * HOUR)
    path = tmp_path / "samples.txt"
    path.write_text(TEXTS[kind])
    for _ in range(2):
        run("import_samples", path)
        found = everything(NOW, NOW + HOUR)
        assert found == {
            'm{a="x y", job="j"}': [(NOW, bits(1.5)), (NOW + 60_000, bits(2.5))],
            "n": [(NOW, bits(3.0))],
        }


@pytest.mark.parametrize("age", ["recent", "compacted"])
def test_an_import_in_small_batches_merges_with_itself(age, tmp_path):
    if age == "compacted":
        store.compact(NOW + 60 * HOUR)
    path = tmp_path / "samples.txt"
    lines = [f'm{{n="{series}"}} {step} {NOW + step * 600_000}' for series in range(3) for step in range(100)]
    path.write_text("\n".join(lines))
    run("import_samples", path, "--batch", 17)
    found = everything()
    assert {name: len(line) for name, line in found.items()} == {f'm{{n="{n}"}}': 100 for n in range(3)}


def test_a_line_without_a_time_is_named(tmp_path):
    path = tmp_path / "samples.txt"
    path.write_text(f"m 1 {NOW}\nm 2\n")
    with pytest.raises(CommandError, match="line 2"):
        run("import_samples", path)


def test_an_export_can_be_imported_again(tmp_path):
    for step in range(50):
        put(Scrape("t", {"job": "j"}, NOW + step * 15_000, ['m{p="a\\"b"}', "n"], np.array([step / 3, np.inf])))
    before = everything()
    path = tmp_path / "out.txt"
    run("export_samples", path, "--start", NOW / 1000, "--end", NOW / 1000 + 3600)
    with connection.cursor() as cursor:
        cursor.execute("truncate store_row, store_source, store_source_layout, store_state")
    assert everything() == {}
    run("import_samples", path)
    assert everything() == before


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
@pytest.mark.oracle
def test_promtool_takes_an_export_and_we_take_its_dump(tmp_path):
    for step in range(50):
        put(Scrape("t", {"job": "j"}, NOW + step * 15_000, ['m{p="a b"}', "n"], np.array([step / 3, -1e300])))
    before = everything()
    path, data = tmp_path / "out.txt", tmp_path / "data"
    run("export_samples", path, "--start", NOW / 1000, "--end", NOW / 1000 + 3600)
    subprocess.run([PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", path, data], check=True, capture_output=True)
    (data / "wal").mkdir()  # dump wants to see one
    dump = subprocess.run([PROMTOOL, "tsdb", "dump", data], check=True, capture_output=True)
    path.write_bytes(dump.stdout)
    with connection.cursor() as cursor:
        cursor.execute("truncate store_row, store_source, store_source_layout, store_state")
    run("import_samples", path)
    assert {name: len(line) for name, line in everything().items()} == dict.fromkeys(before, 50)
