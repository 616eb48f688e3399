"""Scrapers at work, in threads and as processes, against targets on loopback and a real node_exporter."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from django.db import connection

from monitoring import claims, store, targets
from monitoring.bootstep import TargetScraper
from monitoring.models import ScrapeClaim, Scraper, Target, TargetStatus
from monitoring.promql import Matcher
from monitoring.scraper import ScrapeLoop
from tests.scrape.build import clock_ms, make_target, scraping, stored, wait_until
from tests.scrape.server import hangs, says, target

ROOT = Path(__file__).resolve().parents[2]
NODE_EXPORTER = shutil.which("prometheus-node-exporter")
pytestmark = pytest.mark.django_db(transaction=True)


def values(name: str, **labels: str) -> list:
    return [value for line in stored(name, **labels).values() for value in line]


def state_of(row: Target) -> str:
    return TargetStatus.objects.filter(target=row).values_list("state", flat=True).first() or ""


def test_a_target_is_scraped_at_its_planned_times():
    with target(says("x 1\n")) as server:
        row = make_target(server.url, interval_seconds=1)
        with scraping():
            wait_until(lambda: len(values("x")) >= 3)
        spec = targets.spec_of(row)
    [block] = store.select([Matcher("=", "__name__", "x")], 0, 1 << 60)
    assert set(block.ts % 1000) == {spec.offset_ms}
    assert len(server.connections) == 1


def test_a_target_that_hangs_holds_up_nobody_and_is_down():
    with target(hangs) as stuck, target(says("x 1\n")) as fine:
        slow = make_target(stuck.url, interval_seconds=1, timeout_seconds=0.9)
        make_target(fine.url, interval_seconds=1)
        with scraping():
            wait_until(lambda: state_of(slow) == "down" and len(values("x")) >= 3)
    assert "no complete answer within 0.9 s" in TargetStatus.objects.get(target=slow).error


def test_a_scraper_of_frequent_targets_is_believed_for_a_shorter_time():
    with target(says("x 1\n")) as server, scraping():
        wait_until(lambda: Scraper.objects.filter(lease_seconds=claims.LEASE_SECONDS).exists())
        make_target(server.url, interval_seconds=1)
        wait_until(lambda: Scraper.objects.filter(lease_seconds=claims.lease_for(1)).exists())


def test_a_target_added_while_it_runs_is_scraped():
    with target(says("x 1\n")) as server, scraping() as loop:
        wait_until(lambda: Scraper.objects.exists())
        make_target(server.url, interval_seconds=1)
        wait_until(lambda: values("x"))
    assert loop.tally.failed == 0


@pytest.mark.parametrize("end", ["delete", "switch off"])
def test_a_target_that_is_removed_ends_with_stale_markers(end):
    with target(says("x 1\n")) as server, scraping():
        row = make_target(server.url, interval_seconds=1)
        wait_until(lambda: values("x"))
        if end == "delete":
            row.delete()
        else:
            row.is_enabled = False
            row.save()
        wait_until(lambda: not ScrapeClaim.objects.exists())
    assert (values("x")[-1], values("up")[-1]) == ("stale", "stale")


def test_a_target_removed_while_nobody_scraped_is_ended_by_the_next_scraper():
    with target(says("x 1\n")) as server:
        row = make_target(server.url, interval_seconds=1)
        with scraping():
            wait_until(lambda: values("x"))
        assert values("x")[-1] == 1
        row.delete()
        with scraping("two"):
            wait_until(lambda: not ScrapeClaim.objects.exists())
    assert values("x")[-1] == "stale"


def test_a_change_of_labels_takes_effect_and_ends_the_old_series():
    with target(says("x 1\n")) as server, scraping():
        row = make_target(server.url, interval_seconds=1, labels={"env": "test"})
        wait_until(lambda: values("x"))
        row.labels = {"env": "prod"}
        row.save()
        wait_until(lambda: values("x", env="prod"))
    assert values("x", env="test")[-1] == "stale"


def test_an_orderly_end_frees_the_targets():
    with target(says("x 1\n")) as server:
        make_target(server.url, interval_seconds=1)
        with scraping():
            wait_until(lambda: values("x"))
    assert not Scraper.objects.exists()
    assert list(ScrapeClaim.objects.values_list("scraper_id", flat=True)) == [None]


def test_nothing_is_lost_while_the_database_is_away(monkeypatch):
    """The server ends our connection at each write for a while; what was scraped meanwhile is written afterwards."""
    real, refusals = targets.record, []

    def record(*args):
        if len(refusals) < 3:
            refusals.append(1)
            with connection.cursor() as cursor:
                cursor.execute("select pg_terminate_backend(pg_backend_pid())")
        return real(*args)

    monkeypatch.setattr(targets, "record", record)
    with target(says("x 1\n")) as server:
        make_target(server.url, interval_seconds=1)
        with scraping() as loop:
            wait_until(lambda: len(values("x")) >= 3)
        asked = len(server.requests)
    assert len(refusals) == 3
    assert loop.tally.scrapes >= asked - 1 and loop.tally.lost_samples == 0


def test_a_step_of_the_clock_plans_anew():
    offset = [0]
    with target(says("x 1\n")) as server:
        make_target(server.url, interval_seconds=1)
        with scraping(clock=lambda: clock_ms() + offset[0]):
            wait_until(lambda: values("x"))
            offset[0] = -3_600_000
            before = len(server.requests)
            wait_until(lambda: len(server.requests) >= before + 3)


def test_times_that_cannot_be_kept_are_missed_and_counted():
    def slow(handler):
        time.sleep(1.2)
        handler.send("x 1\n")

    with target(slow) as server:
        row = make_target(server.url, interval_seconds=1, timeout_seconds=1)
        Target.objects.filter(pk=row.pk).update(timeout_seconds=None, interval_seconds=1)
        loop = ScrapeLoop("one", clock_ms)
        loop.look(clock_ms())
        held = loop._held[row.pk]
        held.is_running = True
        at_ms = loop._due[0][0]
        loop._start_due(at_ms + 10)
        loop._start_due(at_ms + 1010)
        loop._leave()
    assert (loop.tally.missed, held.missed) == (2, 2)


def test_a_late_start_skips_to_the_next_planned_time():
    row = make_target(interval_seconds=1)
    loop = ScrapeLoop("one", clock_ms)
    loop.look(clock_ms())
    at_ms = loop._due[0][0]
    loop._start_due(at_ms + 5_700)
    assert (loop.tally.missed, loop._due[0][0]) == (6, at_ms + 6_000)
    assert not loop._held[row.pk].is_running
    loop._leave()


# --- in a worker


def worker(*queues: str) -> SimpleNamespace:
    """What a bootstep sees of a Celery worker."""
    consumed = SimpleNamespace(consume_from=dict.fromkeys(queues))
    return SimpleNamespace(hostname="worker@here", app=SimpleNamespace(amqp=SimpleNamespace(queues=consumed)))


def test_a_worker_that_takes_in_samples_scrapes_until_it_stops():
    central = worker("portal", "ingest")
    step = TargetScraper(central)
    step.start(central)
    wait_until(lambda: Scraper.objects.filter(name__startswith="worker@here:").exists())
    step.stop(central)
    assert not Scraper.objects.exists()


def test_the_worker_of_a_mere_host_does_not_scrape():
    step = TargetScraper(worker("nobody"))
    step.start(worker("nobody"))
    assert step._threads == []


def test_scraping_in_workers_can_be_switched_off(settings):
    settings.ENV = dataclasses.replace(settings.ENV, scrapes=False)
    assert not TargetScraper(worker("ingest")).enabled


# --- processes


@contextmanager
def process(name: str):
    """`manage.py scrape` on the database of this test."""
    database = connection.settings_dict
    url = f"postgres://{database['USER']}:{database['PASSWORD']}@/{database['NAME']}?host={database['HOST']}"
    url += f"&port={database['PORT']}" * bool(database["PORT"])
    child = subprocess.Popen(
        [sys.executable, "manage.py", "scrape", "--name", name],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "alphaq_portal.settings"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def owners() -> list[str]:
    names = dict(Scraper.objects.values_list("id", "name"))
    return sorted(
        names.get(scraper_id, "nobody") for scraper_id in ScrapeClaim.objects.values_list("scraper_id", flat=True)
    )


def test_of_two_processes_one_is_killed_and_the_other_takes_over():
    with target(says("x 1\n")) as server:
        rows = [make_target(server.url, interval_seconds=1) for _ in range(4)]
        with process("one") as one, process("two") as two:
            wait_until(lambda: owners() == ["one", "one", "two", "two"])
            wait_until(lambda: all(state_of(row) == "up" for row in rows))
            one.kill()
            wait_until(lambda: owners() == ["two"] * 4)
            TargetStatus.objects.all().delete()
            wait_until(lambda: all(state_of(row) == "up" for row in rows))
            two.send_signal(signal.SIGTERM)
            assert two.wait(30) == 0
    assert not Scraper.objects.exists()
    assert "stale" not in values("x"), "a series does not end because its scraper does"


@pytest.mark.oracle
@pytest.mark.skipif(NODE_EXPORTER is None, reason="needs Debian's prometheus-node-exporter")
def test_node_exporter_is_scraped_whole():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    exporter = subprocess.Popen([NODE_EXPORTER, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
    try:
        row = make_target(f"http://127.0.0.1:{port}/metrics", interval_seconds=1)
        with scraping():
            wait_until(lambda: state_of(row) == "up")
        body = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    finally:
        exporter.kill()
        exporter.wait()
    told = {line.rpartition(" ")[0] for line in body.splitlines() if line and line[0] != "#"}
    status = TargetStatus.objects.get()
    assert abs(status.samples - len(told)) <= 10, "collectors may come and go between two scrapes"
    assert (status.error, status.warning) == ("", "")
    [block] = store.select([Matcher("=", "__name__", "node_time_seconds")], 0, 1 << 60)
    assert np.abs(block.values[0, 0] - block.ts[0] / 1000) < 60
