"""The id of a request: taken from the caller when it is sane, returned, on all lines, and in the tasks it causes."""

from __future__ import annotations

import io
import json
import logging
import multiprocessing
import os
import time
from pathlib import Path

import pytest
import structlog
from celery import Celery
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from alphaq_portal import log_files, logs
from alphaq_portal.log_handlers import role_of
from tests.working import working


@pytest.fixture
def lines():
    """What the console handler wrote so far, parsed."""
    logs.configure("INFO")
    buffer = io.StringIO()
    (console,) = [handler for handler in logging.getLogger().handlers if handler.name == "console"]
    console.setStream(buffer)
    yield lambda: [json.loads(line) for line in buffer.getvalue().splitlines()]
    logs.configure("INFO")


@pytest.mark.parametrize("given", ["0123456789abcdef", "8c5b1f0e-9a1c-4a5f-8f53-0f5f6c1f8a11", "A" * 128])
def test_a_sane_id_of_the_caller_is_kept_and_returned(lines, given: str):
    assert Client().get("/health", headers={"X-Request-ID": given})["X-Request-ID"] == given
    assert lines()[-1]["request_id"] == given


@pytest.mark.parametrize(
    "given", ["short", "A" * 129, 'x"}\n{"level":"error', "with blanks in it", "../../etc/passwd", "ünïcödé12"]
)
def test_any_other_id_is_replaced(given: str):
    answer = Client().get("/health", headers={"X-Request-ID": given})["X-Request-ID"]
    assert answer != given and len(answer) == 32


def test_two_requests_have_two_ids():
    assert Client().get("/health")["X-Request-ID"] != Client().get("/health")["X-Request-ID"]


# --- into tasks

app = Celery("carried", broker="memory://", set_as_current=False)
ran: dict[str, dict[str, str]] = {}  # what every line of a task carries, by its name


@app.task(name="tests.first")
def first() -> None:
    ran["first"] = structlog.contextvars.get_contextvars()
    second.delay()


@app.task(name="tests.second")
def second() -> None:
    structlog.get_logger("task").warning("second_ran")
    ran["second"] = structlog.contextvars.get_contextvars()


def _enqueue(request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        transaction.on_commit(first.delay)
    return HttpResponse("ok")


urlpatterns = [path("enqueue/", _enqueue)]


@pytest.fixture
def run_all():
    """Runs what was enqueued until the second task ran."""

    def run() -> None:
        ran.clear()
        with working(app):
            for _ in range(200):
                if "second" in ran:
                    return
                time.sleep(0.05)
            raise AssertionError("the second task did not run")

    return run


@pytest.mark.django_db(transaction=True)
def test_the_id_of_a_request_reaches_the_tasks_it_causes(run_all):
    with override_settings(ROOT_URLCONF=__name__):
        given = Client().get("/enqueue/", headers={"X-Request-ID": "from-the-caller"})["X-Request-ID"]
    run_all()
    assert {context["request_id"] for context in ran.values()} == {given} == {"from-the-caller"}
    assert {context["task"] for context in ran.values()} == {"tests.first", "tests.second"}
    assert ran["first"]["task_id"] != ran["second"]["task_id"]


@pytest.mark.django_db(transaction=True)
def test_a_task_that_nobody_asked_for_has_no_request(run_all):
    first.delay()
    run_all()
    assert [context.get("request_id") for context in ran.values()] == [None, None]


def test_a_task_run_inside_a_request_leaves_its_id_alone(lines):
    with structlog.contextvars.bound_contextvars(request_id="of-the-request"):
        second.apply()
        structlog.get_logger("view").warning("after")
    inside, after = [line for line in lines() if line["event"] in ("second_ran", "after")]
    assert (inside["request_id"], inside["task"]) == ("of-the-request", "tests.second")
    assert after["request_id"] == "of-the-request" and "task" not in after


# --- records that are hard to write


class _Broken:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


@pytest.mark.parametrize(
    "write",
    [
        lambda: logging.getLogger("a").warning(b"\xff\xfe"),
        lambda: logging.getLogger("a").warning("%d", "x"),
        lambda: logging.getLogger("a").warning("%s", _Broken()),
        lambda: logging.getLogger("a").warning("two %s", "of", "three"),
        lambda: logging.getLogger("a").warning("lone \ud800 half"),
        lambda: logging.getLogger("a").warning("x", extra={"body": b"\xff", "thing": _Broken()}),
        lambda: structlog.get_logger("a").warning("%d", "x"),
        lambda: structlog.get_logger("a").warning("x", body=b"\xff\x00", key={b"\xff": _Broken()}, text="\udcff"),
        lambda: structlog.get_logger("a").warning("x", loop=float("nan"), set={1, 2}, path=Path("/")),
    ],
)
def test_a_line_comes_out_whatever_is_logged(lines, capsys, monkeypatch, write):
    # pytest's own handler formats too, and raises.
    monkeypatch.setattr(logging.getLogger("a"), "propagate", False)
    monkeypatch.setattr(logging.getLogger("a"), "handlers", logging.getLogger().handlers[:1])
    write()
    (line,) = lines()
    assert line["level"] == "warning"
    assert "Logging error" not in capsys.readouterr().err


# --- files


def _write(folder: str, number: int, count: int) -> None:
    logs.configure("INFO", folder)
    for line in range(count):
        logging.getLogger("a").info("line", extra={"of": number, "number": line})


def test_processes_share_a_rotating_file_and_lose_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(log_files, "MAX_BYTES", 60_000)
    logs.configure("INFO", str(tmp_path))  # the children inherit an open file, as gunicorn's do
    logging.getLogger("a").info("parent")
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=_write, args=(str(tmp_path), number, 500)) for number in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    logs.configure("INFO")
    files = sorted(tmp_path.glob("alpha_q-*.log*"))
    found = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert len(files) > 2
    assert len({(line["of"], line["number"]) for line in found if "of" in line}) == 1500


def test_a_file_has_the_guides_size_and_number(tmp_path: Path):
    logs.configure("INFO", str(tmp_path))
    file = next(handler for handler in logging.getLogger().handlers if handler.name == "file")
    assert (file.maxBytes, file.backupCount) == (10_240_000, 10)
    logs.configure("INFO")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told_at_the_start(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(logs.LogFolderError, match="ALPHAQ_LOG_DIR"):
        logs.configure("INFO", str(tmp_path / "logs"))


def test_a_file_in_place_of_the_folder_is_told_at_the_start(tmp_path: Path):
    (tmp_path / "logs").write_text("")
    with pytest.raises(logs.LogFolderError, match="choose another folder"):
        logs.configure("INFO", str(tmp_path / "logs"))


@pytest.mark.parametrize(
    ("argv", "role"),
    [
        (["/x/gunicorn/__main__.py", "-c", "python:alphaq_portal.gunicorn"], "web"),
        (["/x/bin/celery", "-A", "alphaq_portal", "worker", "-Q", "portal"], "worker"),
        (["/x/celery/__main__.py", "-A", "alphaq_portal.schedule", "beat"], "beat"),
        (["manage.py", "scrape"], "manage"),
        ([], "manage"),
    ],
)
def test_a_process_is_named_by_its_command_line(argv: list[str], role: str):
    assert role_of(argv) == role
