"""Child processes: stopped with us, told by their last lines, found again after a hard kill."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from alphaq_portal.children import Child, reap_leftovers, remember, stop_all

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


@pytest.fixture
def child():
    child = Child("sleeper", SLEEPER)
    yield child
    if child.exit_code is None:
        child.process.kill()
        child.process.wait()


def test_a_child_is_stopped(child: Child):
    stop_all([child])
    assert child.exit_code == -signal.SIGTERM


def test_a_child_that_does_not_listen_is_killed():
    script = "import signal, time; signal.signal(15, lambda *a: 0); print(1, flush=True); time.sleep(99)"
    stubborn = Child("stubborn", [sys.executable, "-c", script], grace_seconds=0.2)
    while not stubborn.last_lines:
        stubborn._pump_thread.join(0.01)
    stop_all([stubborn])
    assert stubborn.exit_code == -signal.SIGKILL


def test_the_last_lines_of_a_child_are_kept():
    child = Child("talker", [sys.executable, "-c", "print('one'); print('two'); raise SystemExit(3)"])
    child.process.wait()
    assert child.tail().split() == ["one", "two"]
    assert child.exit_code == 3


def test_what_a_killed_run_left_behind_is_stopped(tmp_path: Path, child: Child):
    book = tmp_path / "children.json"
    remember(book, [child])
    told: list[str] = []
    reap_leftovers(book, told.append)
    assert not psutil.pid_exists(child.process.pid)
    assert "sleeper" in told[0]
    assert not book.exists()


def test_a_reused_pid_is_left_alone(tmp_path: Path, child: Child):
    book = tmp_path / "children.json"
    born = psutil.Process(child.process.pid).create_time()
    book.write_text(f'[["sleeper", {child.process.pid}, {born - 100}]]')
    reap_leftovers(book, print)
    assert child.exit_code is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's parent-death signal is Linux only")
def test_children_die_with_a_parent_that_is_killed(tmp_path: Path):
    script = textwrap.dedent(
        f"""
        import time
        from alphaq_portal.children import Child
        child = Child("sleeper", {SLEEPER!r})
        print(child.process.pid, flush=True)
        time.sleep(600)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    orphan = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    psutil.wait_procs([orphan], timeout=5)
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
