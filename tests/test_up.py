"""`manage.py up`: one command starts everything, one key stops everything, and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from alphaq_portal.run import PortalRun
from tests.browse import Visitor
from tests.portal import RunningPortal, free_port, kill

pytestmark = pytest.mark.e2e


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder that the account of Postgres can reach when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="aq-up-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def portals() -> Iterator[list[RunningPortal]]:
    """Portals that a test starts; what still runs at its end is ended."""
    started: list[RunningPortal] = []
    yield started
    for portal in started:
        if portal.process.poll() is None:
            portal.stop(signal.SIGTERM)


def ask(portal: RunningPortal, path: str) -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(portal.url + path, timeout=10) as response:  # noqa: S310
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_up_starts_keeps_and_leaves_nothing(data_dir: Path, portals: list[RunningPortal]):
    portal = RunningPortal(data_dir)
    portals.append(portal)
    portal.start().wait_ready()
    status, body = ask(portal, "/ready")
    assert (status, body["status"]) == (200, "ready")
    assert body["checks"] == {"database": True, "redis": True, "workers": True, "models": True}
    password = portal.password()
    saved = data_dir / "admin.password"
    assert saved.read_text().strip() == password
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert Visitor(portal.url).sign_in("admin", password).url.endswith("/admin/")

    second = RunningPortal(data_dir, port=free_port()).start()
    assert second.wait_end() == 1
    assert any("already running" in line for line in second.said)

    family = portal.family()
    assert portal.stop(signal.SIGINT) == 0
    assert not [one for one in family if one.is_running()]
    left = {path.name for path in data_dir.rglob("*") if path.is_socket() or path.suffix == ".lock"}
    assert not left
    assert not list((data_dir / "run").glob("*.sock"))
    assert not (data_dir / "children.json").exists()

    again = RunningPortal(data_dir)
    portals.append(again)
    again.start().wait_ready()
    assert not any("Sign in as" in line for line in again.said)
    assert Visitor(again.url).sign_in("admin", password).url.endswith("/admin/")
    assert again.stop(signal.SIGTERM) == 0


def test_up_recovers_after_everything_was_killed(data_dir: Path, portals: list[RunningPortal]):
    portal = RunningPortal(data_dir)
    portals.append(portal)
    portal.start().wait_ready()
    password = portal.password()
    portal.kill_everything()

    again = RunningPortal(data_dir)
    portals.append(again)
    again.start().wait_ready()
    assert Visitor(again.url).sign_in("admin", password).url.endswith("/admin/")

    # The supervisor alone is killed: the children must not live on.
    family = again.family()
    again.process.kill()
    _, alive = psutil.wait_procs(family, timeout=15)
    assert not alive


def test_a_process_that_dies_is_started_again(data_dir: Path, portals: list[RunningPortal]):
    portal = RunningPortal(data_dir)
    portals.append(portal)
    portal.start().wait_ready()
    assert kill(portal.find("celery", "beat")) == 1
    portal.wait_for("beat ended with status -9; starting it again", timeout=20)
    assert ask(portal, "/ready")[0] == 200
    assert portal.stop() == 0


def test_who_asks_while_the_web_server_starts_is_answered_later(data_dir: Path, portals: list[RunningPortal]):
    portal = RunningPortal(data_dir)
    portals.append(portal)
    portal.start().wait_ready()
    assert kill(portal.find("gunicorn"))
    with urllib.request.urlopen(f"{portal.url}/health", timeout=60) as response:  # noqa: S310  (loopback)
        assert response.status == 200
    portal.wait_for("web ended with status -9; starting it again", timeout=20)
    assert portal.stop() == 0


def test_a_database_that_somebody_emptied_is_filled_again(data_dir: Path, portals: list[RunningPortal]):
    portal = RunningPortal(data_dir)
    portals.append(portal)
    portal.start().wait_ready()
    first = portal.password()
    assert portal.stop() == 0
    shutil.rmtree(data_dir / "pg")

    again = RunningPortal(data_dir)
    portals.append(again)
    again.start().wait_ready()
    assert again.password() != first


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of its own with room for a portal and little else."""
    place = Path(tempfile.mkdtemp(prefix="aq-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300m,mode=755", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        place.rmdir()
        pytest.skip("needs the right to mount a disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
    place.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to mount a disk")
def test_a_portal_whose_disk_is_full_waits_for_room_and_goes_on(small_disk: Path, portals: list[RunningPortal]):
    portal = RunningPortal(small_disk / "var")
    portals.append(portal)
    portal.start().wait_ready()
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as handle:
        while True:
            handle.write(b"x" * (1 << 20))
    postgres = [one for one in portal.find("-D") if one.name() == "postgres"]
    assert kill(postgres) == 1
    portal.wait_for("is full; what stopped is started again when there is room", timeout=20)
    assert portal.process.poll() is None
    filler.unlink()
    portal.wait_for("has room again", timeout=20)
    deadline = time.monotonic() + 60
    while ask(portal, "/ready")[0] != 200:
        assert time.monotonic() < deadline, portal.said
        time.sleep(0.5)
    assert portal.stop() == 0


def test_a_database_of_somebody_else_is_prepared_at_every_start(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALPHAQ_DATA_DIR", str(data_dir))
    monkeypatch.setenv("DATABASE_URL", "postgres://u:x@127.0.0.1:1/portal")
    run = PortalRun(write=print)
    run._prepared_file.write_text(run._prepared_state())  # as a start leaves it
    assert not run._is_prepared(), "migrations of a new release would be left out"


def test_a_port_that_is_taken_is_told(data_dir: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        portal = RunningPortal(data_dir, port=taken.getsockname()[1]).start()
        assert portal.wait_end() == 1
    assert any("ALPHAQ_PORT=" in line for line in portal.said)


def test_a_data_folder_that_cannot_be_written_is_told(data_dir: Path):
    blocked = data_dir / "file"
    blocked.write_text("not a folder")
    portal = RunningPortal(blocked / "var").start()
    assert portal.wait_end() == 1
    assert any("ALPHAQ_DATA_DIR" in line for line in portal.said)


def test_a_database_url_that_nobody_answers_is_told(data_dir: Path, portals: list[RunningPortal]):
    portal = RunningPortal(data_dir, DATABASE_URL=f"postgres://u:hunter2@127.0.0.1:{free_port()}/portal").start()
    portals.append(portal)
    assert portal.wait_end() == 1
    said = "\n".join(portal.said)
    assert "DATABASE_URL" in said
    assert "hunter2" not in said
    assert "Traceback" not in said


def test_several_bad_settings_are_told_together(data_dir: Path):
    portal = RunningPortal(data_dir, REDIS_URL="nonsense", ALPHAQ_COLLECT_INTERVAL="often").start()
    assert portal.wait_end() == 1
    said = "\n".join(portal.said)
    assert "REDIS_URL" in said
    assert "ALPHAQ_COLLECT_INTERVAL" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_data_folder_is_told(data_dir: Path):
    data_dir.chmod(0o500)
    portal = RunningPortal(data_dir / "var").start()
    assert portal.wait_end() == 1
    assert any("ALPHAQ_DATA_DIR" in line for line in portal.said)
