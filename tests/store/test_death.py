"""Sudden death: kill -9 of writers, housekeepers and of Postgres itself loses nothing that was acknowledged."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import quote

import numpy as np
import psutil
import psycopg2
import pytest
from django.db import connection, connections

from alphaq_portal.children import stop_all
from alphaq_portal.embedded import Postgres, private_dir
from monitoring import store
from monitoring.store import Scrape
from tests.store.build import HOUR, NOW, everything, named, put, samples, scrape

ROOT = Path(__file__).resolve().parents[2]
DAY_START = NOW // (24 * HOUR) * 24 * HOUR
#: The goal is 50; a run of the suite takes a few, `STORE_KILLS=50 pytest tests/store/test_death.py` all of them.
KILLS = int(os.environ.get("STORE_KILLS", "5"))


class Victim:
    """A process of tests.store.writer, and the times that it has acknowledged."""

    def __init__(self, url, *arguments):
        env = {**os.environ, "DATABASE_URL": url}
        command = [sys.executable, "-m", "tests.store.writer", *map(str, arguments)]
        self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.acknowledged = []

    def wait_for(self, count):
        for _ in range(count):
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError(self.process.stderr.read().decode()[-2000:])
            self.acknowledged.append(int(line))
        return self

    def kill(self):
        """Kill the process where it stands and take what it had still said."""
        self.process.kill()
        rest = self.process.stdout.read().split(b"\n")
        self.acknowledged += [int(line) for line in rest[:-1]]
        self.process.stdout.close()
        self.process.stderr.close()
        self.process.wait()


def test_database_url():
    found = connection.settings_dict
    host, port = quote(str(found["HOST"]), safe=""), found["PORT"] or ""
    user, password = quote(found["USER"]), quote(found["PASSWORD"])
    return f"postgres://{user}:{password}@/{found['NAME']}?host={host}" + (f"&port={port}" if port else "")


test_database_url.__test__ = False


def stored_times(source):
    found = samples(store.select(named("counter"), 0, 1 << 60))
    return {at for at, _ in found.get(f'counter{{source="{source}"}}', [])}


@pytest.mark.django_db(transaction=True)
def test_killed_writers_lose_nothing_that_was_acknowledged():
    random = np.random.default_rng(1)
    at_ms = DAY_START
    for number in range(KILLS):
        victim = Victim(test_database_url(), "write", f"s{number}", at_ms, 15_000)
        victim.wait_for(int(random.integers(1, 40))).kill()
        assert set(victim.acknowledged) <= stored_times(f"s{number}")


@pytest.mark.django_db(transaction=True)
def test_killed_housekeepers_change_no_answer():
    random = np.random.default_rng(2)
    for start in range(DAY_START, DAY_START + 30 * HOUR, 60_000 * 50):
        put(*[
            Scrape(f"s{n}", {"source": str(n)}, start + step * 60_000, ["a", "b"], random.normal(size=2))
            for step in range(50) for n in range(3)
        ])  # fmt: skip
    before = everything()
    at_ms = DAY_START + 31 * HOUR
    for _ in range(KILLS):
        victim = Victim(test_database_url(), "house", at_ms, 60_000)
        timer = threading.Timer(0.8 + float(random.random()), victim.process.kill)
        timer.start()
        victim.process.wait()
        victim.kill()
        assert everything() == before
    for minutes in range(0, 60, 15):
        store.keep_house(at_ms + minutes * 60_000)
    assert everything() == before


@pytest.mark.django_db(transaction=True)
def test_a_killed_server_keeps_what_was_acknowledged():
    folder = Path(tempfile.mkdtemp(prefix="aq-death-"))
    folder.chmod(0o711)
    private_dir(folder / "run")
    server = Postgres(folder, folder / "run")
    child = server.start(say=lambda _: None)
    try:
        env = {**os.environ, "DATABASE_URL": server.url(), "DJANGO_SETTINGS_MODULE": "alphaq_portal.settings"}
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0", "--skip-checks"], cwd=ROOT, env=env, check=True)
        acknowledged = {}
        for number in range(2):
            victim = Victim(server.url(), "write", f"s{number}", DAY_START, 15_000).wait_for(50)
            postmaster = psutil.Process(child.process.pid)
            for process in [postmaster, *postmaster.children(recursive=True)]:
                process.send_signal(signal.SIGKILL)
            victim.kill()
            acknowledged[f"s{number}"] = victim.acknowledged
            child.process.wait()
            child = server.start(say=lambda _: None)
        for source, times in acknowledged.items():
            assert set(times) <= _times_by_sql(server.url(), source)
    finally:
        stop_all([child])
        shutil.rmtree(folder, ignore_errors=True)


def _times_by_sql(url, source):
    with psycopg2.connect(url.replace("postgres://", "postgresql://")) as found, found.cursor() as cursor:
        cursor.execute(
            "select at_ms from store_row r join store_source s on s.id = r.source_id where s.name = %s", [source]
        )
        return {at_ms for (at_ms,) in cursor.fetchall()}


@pytest.mark.django_db(transaction=True)
def test_three_housekeepers_at_once_do_the_work_once():
    for step in range(600):
        put(scrape(at_ms=DAY_START + step * 60_000, a=float(step), b=1.0))
    before = everything()
    reports = []

    def keep():
        try:
            for _ in range(3):
                reports.append(store.keep_house(DAY_START + 11 * HOUR))
        finally:
            connections.close_all()

    keepers = [threading.Thread(target=keep) for _ in range(3)]
    for keeper in keepers:
        keeper.start()
    for keeper in keepers:
        keeper.join()
    assert len(reports) == 9
    assert sum(report.pivoted_rows for report in reports) == 600
    assert everything() == before


@pytest.mark.django_db(transaction=True)
def test_two_writers_of_one_source_and_time_store_it_once():
    receipts = []
    gate = threading.Barrier(4)

    def write(value):
        try:
            gate.wait()
            for step in range(20):
                receipts.append(store.append([scrape(at_ms=NOW + step, a=value, b=value)], now_ms=NOW))
        finally:
            connections.close_all()

    writers = [threading.Thread(target=write, args=(float(number),)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(receipts) == 80
    assert sum(receipt.samples for receipt in receipts) == 40
    assert len(everything()["a"]) == 20


@pytest.mark.django_db(transaction=True)
def test_a_lost_connection_in_the_middle_of_an_append_stores_nothing_of_it():
    put(scrape(a=1.0))

    def cut(execute, sql, params, many, context):
        if "store_source_layout" in sql:
            connection.connection.close()
        return execute(sql, params, many, context)

    with pytest.raises(Exception, match=r"closed|SSL|terminat"), connection.execute_wrapper(cut):
        store.append([scrape("other", a=2.0, new=1.0)], now_ms=NOW)
    connection.close()
    assert set(everything()) == {"a"}
    assert put(scrape("other", a=2.0, new=1.0)).samples == 2
