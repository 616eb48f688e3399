"""The page of recent warnings and errors: written by every process, bounded, and never in anybody's way."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import structlog

from alphaq_portal import logs, recent_log
from tests.people import member, signed_in, superuser

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def kept(services: dict[str, str]):
    """Logs to the page; returns a function that gives the entries, the newest first."""
    url = services["REDIS_URL"]
    with recent_log.connect(url) as client:
        client.delete(recent_log.KEY)
    logs.configure("INFO", recent_url=url)
    handler = next(one for one in logging.getLogger().handlers if one.name == "recent")

    def read() -> list[recent_log.Entry]:
        handler.flush()
        return recent_log.read(url)

    yield read
    logs.configure("INFO")


@pytest.fixture
def page(kept, services, settings, db):
    """The page as a member of a group sees it, with a query."""
    settings.REDIS_URL = services["REDIS_URL"]

    def show(query: str = "", group: str = "Editor") -> str:
        kept()
        answer = signed_in(member(group, f"user{time.monotonic_ns()}")).get(f"/log/{query}")
        assert answer.status_code == 200
        return answer.content.decode()

    return show


def test_warnings_and_errors_are_kept_and_the_rest_is_not(kept):
    log = structlog.get_logger("a.b")
    log.info("quiet")
    log.warning("strange", host="ana")
    logging.getLogger("foreign").error("broken %s", "pipe")
    assert [(entry.level, entry.logger, entry.event) for entry in kept()] == [
        ("error", "foreign", "broken pipe"),
        ("warning", "a.b", "strange"),
    ]


def test_an_entry_knows_its_fields_process_and_request(kept):
    with structlog.contextvars.bound_contextvars(request_id="abcdefgh"):
        structlog.get_logger("a").warning("strange", host="ana")
    (entry,) = kept()
    assert (entry.request_id, entry.fields) == ("abcdefgh", {"host": "ana"})
    assert entry.process.endswith(f":{os.getpid()}")


def test_a_storm_is_counted_and_does_not_push_the_others_out(kept):
    structlog.get_logger("a").warning("rare")
    for number in range(5000):
        structlog.get_logger("a").warning("storm", number=number)
    found = kept()
    assert "rare" in {entry.event for entry in found}
    assert sum(entry.count for entry in found if entry.event == "storm") == 5000
    assert len(found) <= recent_log.SAME_A_MINUTE + 2


def test_there_are_never_more_than_a_thousand(kept, services):
    with recent_log.connect(services["REDIS_URL"]) as client:
        for number in range(recent_log.KEPT_LINES + 50):
            client.xadd(recent_log.KEY, {"line": json.dumps({"event": str(number)})})
    structlog.get_logger("a").warning("newest")
    found = kept()
    assert (len(found), found[0].event) == (recent_log.KEPT_LINES, "newest")


LONG = {
    "text": "x" * 100_000,
    "lists": {"k" * 50: ["v" * 1000] * 90},
    "halves of characters": ["\udcff" * 9000],
    "many fields": {str(number): number for number in range(9000)},
}


@pytest.mark.parametrize("kind", LONG)
def test_a_long_line_is_cut_and_still_one(kept, kind: str):
    structlog.get_logger("a").warning("long", field=LONG[kind], **{f"f{number}": "y" * 900 for number in range(30)})
    (entry,) = kept()
    assert entry.event == "long"


def test_who_logs_never_waits_for_redis(tmp_path: Path):
    logs.configure("INFO", recent_url=f"unix://{tmp_path}/nobody.sock")
    for _ in range(2 * recent_log.MAX_WAITING):
        structlog.get_logger(f"a{_}").warning("nobody reads this")
    logs.configure("INFO")  # ends the handler, which gives up at once


def test_lines_of_a_forked_process_are_kept(kept):
    structlog.get_logger("a").warning("before the fork")  # the thread of the parent runs
    kept()
    pid = os.fork()
    if pid == 0:
        structlog.get_logger("a").warning("in the child")
        logging.shutdown()
        os._exit(0)
    os.waitpid(pid, 0)
    found = {entry.event: entry.process for entry in kept()}
    assert found["in the child"].endswith(f":{pid}")


def test_a_command_that_warns_at_its_end_is_heard(services, kept):
    script = (
        "import logging; from alphaq_portal import logs;"
        f"logs.configure('INFO', recent_url={services['REDIS_URL']!r}); logging.getLogger('cmd').warning('last words')"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True)
    assert kept()[0].event == "last words"


def test_the_page_groups_what_says_the_same(page):
    for number in range(3):
        structlog.get_logger("a").warning("scrape_failed", target=number)
    shown = page()
    assert shown.count("<b>scrape_failed</b>") == 1
    assert "3×" in shown


def test_the_page_shows_where_an_exception_came_from(page):
    def fails() -> None:
        raise ValueError("<b>no</b>")

    try:
        fails()
    except ValueError:
        structlog.get_logger("a").exception("it_broke")
    shown = page()
    assert "&lt;b&gt;no&lt;/b&gt;" in shown and "<b>no</b>" not in shown
    assert "in <span" in shown or "in fails" in shown


@pytest.mark.parametrize(
    ("query", "there", "missing"),
    [
        ("?level=error", "broken", "strange"),
        ("?level=warning", "strange", "broken"),
        ("?q=ZOE", "strange", "broken"),
        ("?q=abcdefgh", "broken", "strange"),
        ("?q=foreign", "broken", "strange"),
        ("?level=nonsense", "strange", "nonsense</b>"),
    ],
)
def test_the_page_is_searched(page, query: str, there: str, missing: str):
    structlog.get_logger("a").warning("strange", host="zoe")
    with structlog.contextvars.bound_contextvars(request_id="abcdefgh"):
        structlog.get_logger("foreign").error("broken")
    shown = page(query)
    assert f"<b>{there}</b>" in shown and f"<b>{missing}</b>" not in shown


def test_the_page_of_a_quiet_portal_says_so(page):
    assert "No warnings, no errors" in page()


def test_the_page_says_when_the_lines_cannot_be_read(settings, db, tmp_path: Path):
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    assert "does not answer" in signed_in(superuser()).get("/log/").content.decode()


@pytest.mark.parametrize("group", ["Viewer", "Responder"])
def test_the_log_is_not_for_everybody(db, group: str):
    assert signed_in(member(group)).get("/log/").status_code == 403


def test_strangers_are_sent_to_the_sign_in_page(db, client):
    assert client.get("/log/").status_code == 302


def test_a_line_of_another_version_does_not_break_the_page(page, services):
    with recent_log.connect(services["REDIS_URL"]) as client:
        client.xadd(recent_log.KEY, {"line": json.dumps({"event": "old", "exception": "a text", "timestamp": "soon"})})
    assert "<b>old</b>" in page()
