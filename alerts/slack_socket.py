"""Which process listens to which Slack app by Socket Mode: one at a time, by a lock that dies with its connection.

Slack would spread the presses over several connections, which does no harm but serves nothing either.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connection, connections

from alerts.channels.base import DeliveryError, Transient
from alerts.channels.slack_socket import Line
from alerts.models import SlackApp

log = structlog.get_logger(__name__)
# The first half of the advisory lock; the second is the app. Any number that no other lock of the portal uses.
_LOCK = 7_201_951
_LOOK_SECONDS = 3.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 300.0
# Slack asks for a new token or a switch in the app's settings; asking it every second would change nothing.
_PERMANENT_PAUSE_SECONDS = 60.0
Take = Callable[[Mapping[str, Any], SlackApp], Mapping[str, Any] | None]
Tell = Callable[[str], None]


@dataclass
class _Held:
    """An app whose lock is ours: its line, or when to try again after a failure."""

    app: SlackApp
    line: Line | None = None
    pause_seconds: float = _FIRST_PAUSE_SECONDS
    next_try: float = 0.0  # on the monotonic clock


class Listener:
    """Holds the lines of the apps that this process has claimed.

    take: gets each payload with its app. tell: is called with an app's name while its line is open.
    """

    def __init__(self, take: Take, tell: Tell = lambda _: None) -> None:
        self._take, self._tell = take, tell
        self._held: dict[int, _Held] = {}
        self._wake = threading.Event()

    def run(self, stop: threading.Event, pause_seconds: float = _LOOK_SECONDS) -> None:
        """Listen until `stop` is set; a database that is away costs the claims, which come back with it."""
        while not stop.is_set():
            try:
                self.look()
            except (DatabaseError, InterfaceError) as error:
                log.warning("slack_socket_lost_database", error=type(error).__name__)
                self._drop_all()
                connection.close()
            self._wake.wait(pause_seconds)
            self._wake.clear()
        self._drop_all()
        connection.close()  # gives the locks back

    def wake(self) -> None:
        """Look again at once, at the stop event too."""
        self._wake.set()

    def look(self) -> None:
        """Claim, open, reopen and close lines as the apps' rows say now."""
        wanted = {app.pk: app for app in SlackApp.objects.exclude(app_token="")}
        for pk, held in list(self._held.items()):
            is_other = pk not in wanted or wanted[pk].app_token != held.app.app_token
            if is_other or not _is_claimed(pk):  # the database connection that held the lock may have been replaced
                self._drop(pk)
        for pk, app in wanted.items():
            if pk not in self._held and _claim(pk):
                self._held[pk] = _Held(app)
            if pk in self._held:
                self._keep_open(self._held[pk])

    def _keep_open(self, held: _Held) -> None:
        if held.line is not None and held.line.is_open:
            held.pause_seconds = _FIRST_PAUSE_SECONDS
            self._tell(held.app.name)
            return
        if time.monotonic() < held.next_try:
            return
        take, old = (lambda payload: self._taken(payload, held.app)), held.line
        line = Line(
            held.app.app_token, settings.ENV.slack_api_base, take, ended=self._wake.set, finished=connections.close_all
        )
        try:
            line.open()
        except DeliveryError as error:
            self._wait(held, error)
            return
        held.line = line
        if old is not None:
            old.close()  # only now: until here it may have told of presses
        log.info("slack_socket_open", app=held.app.name)
        self._tell(held.app.name)

    @staticmethod
    def _wait(held: _Held, error: DeliveryError) -> None:
        pause = held.pause_seconds if isinstance(error, Transient) else _PERMANENT_PAUSE_SECONDS
        pause = max(pause, getattr(error, "retry_after_seconds", None) or 0.0)
        held.next_try = time.monotonic() + pause
        held.pause_seconds = min(2 * held.pause_seconds, _LONGEST_PAUSE_SECONDS)
        log.warning("slack_socket_not_open", app=held.app.name, error=error.text, again_in_seconds=pause)

    def _taken(self, payload: Mapping[str, Any], app: SlackApp) -> Mapping[str, Any] | None:
        close_old_connections()
        return self._take(payload, app)

    def _drop(self, pk: int) -> None:
        self._close(self._held.pop(pk))
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_LOCK, pk])

    def _drop_all(self) -> None:
        for held in self._held.values():
            self._close(held)
        self._held.clear()

    @staticmethod
    def _close(held: _Held) -> None:
        line, held.line = held.line, None
        if line is not None:
            line.close()


def _claim(pk: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_LOCK, pk])
        return bool(cursor.fetchone()[0])


def _is_claimed(pk: int) -> bool:
    """Whether this very connection holds the lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objid = %s"
            " AND pid = pg_backend_pid() AND granted)",
            [_LOCK, pk],
        )
        return bool(cursor.fetchone()[0])
