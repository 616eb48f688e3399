"""Socket Mode: presses come in by a connection that the portal opens, keeps, and opens again."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections

from alerts import bootstep, slack_socket
from alerts.models import SlackApp, SlackClick
from tests import build
from tests.fakes import FakeSlack
from tests.fakes.socket_mode import FakeSocketMode

# Real commits: the listener has threads and database connections of its own.
pytestmark = pytest.mark.django_db(transaction=True)
PRESS = {
    "type": "block_actions", "user": {"id": "U1"}, "team": {"id": "T1"},
    "actions": [{"action_id": "alert.acknowledge", "action_ts": "1.1", "value": "x"}],
}  # fmt: skip


@pytest.fixture
def wire() -> Iterator[FakeSocketMode]:
    """Slack's end of the connection."""
    with FakeSocketMode() as fake:
        yield fake


@pytest.fixture
def slack(settings: Any, wire: FakeSocketMode) -> Iterator[FakeSlack]:
    """A workspace that names the address of `wire`."""
    with FakeSlack() as fake:
        fake.socket_url = wire.url
        settings.ENV = dataclasses.replace(settings.ENV, slack_api_base=fake.api_base)
        yield fake


class Running:
    """A listener in a thread of its own, as a worker has it."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.told: list[str] = []
        self.listener = slack_socket.Listener(bootstep._take, self.told.append)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.listener.run(self.stop, 0.05)
        finally:
            connections.close_all()

    def end(self) -> None:
        """Stop it and wait."""
        self.stop.set()
        self.thread.join(15)
        assert not self.thread.is_alive()


@pytest.fixture
def running(slack: FakeSlack) -> Iterator[list[Running]]:
    """Listeners that a test starts; all are stopped at its end."""
    made: list[Running] = []
    yield made
    for one in made:
        one.end()


def start(running: list[Running]) -> Running:
    running.append(Running())
    return running[-1]


def app(**fields: str) -> SlackApp:
    return SlackApp.objects.create(**({"name": "Slack", "bot_token": "xoxb-1", "app_token": "xapp-1"} | fields))


def test_a_press_by_the_socket_is_written_down_and_acknowledged(running: list[Running], wire: FakeSocketMode) -> None:
    row = app()
    start(running)
    wire.wait_for(lambda fake: fake.connections == 1)
    answer = wire.answer_to(wire.send(PRESS))
    click = SlackClick.objects.get()
    assert (click.action, click.request["app"], "payload" in answer) == ("alert.acknowledge", row.pk, False)


def test_a_press_that_comes_again_counts_once(running: list[Running], wire: FakeSocketMode) -> None:
    app()
    start(running)
    wire.wait_for(lambda fake: fake.connections == 1)
    for _ in range(3):
        wire.answer_to(wire.send(PRESS))
    assert SlackClick.objects.count() == 1


def test_a_sent_dialogue_is_answered_with_its_errors(running: list[Running], wire: FakeSocketMode) -> None:
    app()
    start(running)
    wire.wait_for(lambda fake: fake.connections == 1)
    view = {"type": "view_submission", "user": {"id": "U1"}, "team": {"id": "T1"}, "view": {"id": "V1"}}
    answer = wire.answer_to(wire.send(view))
    assert answer["payload"]["response_action"] == "errors"


@pytest.mark.parametrize("message", [{"type": "events_api"}, {"type": "slash_commands"}])
def test_what_is_not_for_us_is_acknowledged_and_left(
    running: list[Running], wire: FakeSocketMode, message: Any
) -> None:
    app()
    start(running)
    wire.wait_for(lambda fake: fake.connections == 1)
    wire.answer_to(wire.send({"x": 1}, message["type"]))
    assert not SlackClick.objects.exists()


def test_an_answer_does_not_wait_for_a_broker_that_is_away(running: list[Running], wire: FakeSocketMode) -> None:
    app()
    start(running)
    wire.wait_for(lambda fake: fake.connections == 1)
    envelope = wire.send(PRESS)
    wire.wait_for(lambda fake: fake.answers, timeout=3.0)  # Slack's patience; no broker runs in this test
    assert wire.answers[0]["envelope_id"] == envelope


def test_a_broken_connection_is_opened_again(running: list[Running], wire: FakeSocketMode) -> None:
    app()
    start(running)
    wire.wait_for(lambda fake: fake.connections == 1)
    wire.hang_up()
    wire.wait_for(lambda fake: fake.connections == 2)
    wire.answer_to(wire.send(PRESS))


def test_slack_may_ask_to_move_to_another_connection(running: list[Running], wire: FakeSocketMode) -> None:
    app()
    start(running)
    wire.wait_for(lambda fake: fake.connections == 1)
    wire.send_raw({"type": "disconnect", "reason": "refresh_requested"})
    wire.wait_for(lambda fake: fake.connections == 2)
    wire.answer_to(wire.send(PRESS))


def test_a_move_that_fails_is_made_later(running: list[Running], wire: FakeSocketMode, slack: FakeSlack) -> None:
    app()
    start(running)
    wire.wait_for(lambda fake: fake.connections == 1)
    slack.set_mode("*", "status", code=500, times=1)
    wire.send_raw({"type": "disconnect", "reason": "refresh_requested"})
    wire.wait_for(lambda fake: fake.connections == 2)
    wire.answer_to(wire.send(PRESS))


def test_two_listeners_make_one_connection(running: list[Running], wire: FakeSocketMode) -> None:
    app()
    first, second = start(running), start(running)
    wire.wait_for(lambda fake: fake.connections == 1)
    until(lambda: bool(first.told or second.told))
    time.sleep(0.5)  # many looks of both
    assert wire.connections == 1 and not (first.told and second.told)


def test_another_listener_takes_over_when_one_ends(running: list[Running], wire: FakeSocketMode) -> None:
    app()
    first = start(running)
    until(lambda: bool(first.told))
    second = start(running)
    first.end()
    wire.wait_for(lambda fake: fake.connections == 2)
    until(lambda: bool(second.told))


def test_a_listener_whose_database_connection_dies_claims_anew(running: list[Running], wire: FakeSocketMode) -> None:
    app()
    one = start(running)
    until(lambda: bool(one.told))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s",
                       [slack_socket._LOCK])  # fmt: skip
    wire.wait_for(lambda fake: fake.connections == 2)
    wire.answer_to(wire.send(PRESS))


def test_without_an_app_token_nothing_is_opened(running: list[Running], wire: FakeSocketMode, slack: FakeSlack) -> None:
    row = app(app_token="")
    start(running)
    time.sleep(0.5)  # many looks
    assert (wire.connections, slack.requests) == (0, [])
    row.app_token = "xapp-1"
    row.save()
    wire.wait_for(lambda fake: fake.connections == 1)


def test_a_token_that_is_taken_away_ends_the_connection(running: list[Running], wire: FakeSocketMode) -> None:
    row = app()
    start(running)
    wire.wait_for(lambda fake: fake.connections == 1)
    row.app_token = ""
    row.save()
    wire.wait_for(lambda fake: not fake._open)


def test_a_refused_token_is_not_tried_at_once_again(running: list[Running], slack: FakeSlack) -> None:
    app(app_token="xoxb-not-an-app-token")
    start(running)
    slack.wait_for(lambda fake: fake.requests)
    time.sleep(0.5)  # many looks
    assert len(slack.requests) == 1


def test_what_cannot_be_written_down_is_not_acknowledged(slack: FakeSlack, wire: FakeSocketMode) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("no database")

    build.slack_app(app_token="xapp-1")
    stop = threading.Event()
    listener = slack_socket.Listener(refuse)
    thread = threading.Thread(target=lambda: (listener.run(stop, 0.05), connections.close_all()), daemon=True)
    thread.start()
    wire.wait_for(lambda fake: fake.connections == 1)
    wire.send(PRESS)
    time.sleep(0.5)  # an answer would have come
    stop.set()
    thread.join(15)
    assert wire.answers == []


def until(condition: Any, timeout: float = 15.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
