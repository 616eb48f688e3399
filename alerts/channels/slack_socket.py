"""Socket Mode: a connection that we open and by which Slack tells of presses; the portal needs no public address.

slack_sdk's own client is not used: it spins when the other side closes, and asks for new addresses every 5 s for ever.
"""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import structlog

from alerts.channels import wire
from alerts.channels.base import Transient
from alerts.channels.slack_client import SlackBotConfig, call

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

log = structlog.get_logger(__name__)
# A press carries the message it stands under: some 100 kB at most.
_MAX_BYTES = 4 * 1024 * 1024
_OPEN_SECONDS, _PING_SECONDS, _CLOSE_SECONDS = 10.0, 15.0, 1.0
Take = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


class Line:
    """One open connection of one app.

    take: gets each interactive payload and returns what Slack is answered; what it raises leaves the press unanswered,
    and Slack shows the person that it did not work. ended: is called once when the line should be replaced; finished:
    as the last thing of the thread that hears.
    """

    def __init__(
        self, app_token: str, api_base: str, take: Take, *, ended: Callable[[], None] = lambda: None,
        finished: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._config = SlackBotConfig(app_token, "", api_base)
        self._take, self._ended, self._finished = take, ended, finished
        self._socket: ClientConnection | None = None
        self.is_open = False

    def open(self) -> None:
        """Connect and start to hear; raises a DeliveryError."""
        url = str(call(self._config, "ask", "apps.connections.open").get("url") or "")
        if not url.startswith("ws") or wire.url_problem("http" + url[2:], needs_https=True):
            raise Transient("Slack named an address that cannot be connected to.", code="bad_socket_url")
        refusals = _library("exceptions")
        try:
            self._socket = _library("sync.client").connect(
                url, open_timeout=_OPEN_SECONDS, ping_interval=_PING_SECONDS, ping_timeout=_PING_SECONDS,
                close_timeout=_CLOSE_SECONDS, max_size=_MAX_BYTES, user_agent_header=None, legacy=True,
                proxy=None if wire.is_loopback(url.split("/")[2].rpartition(":")[0]) else True,
            )  # fmt: skip
        except (OSError, refusals.InvalidHandshake, refusals.InvalidURI, EOFError) as error:
            # Not repeated: the address holds a ticket.
            text = f"The connection to Slack could not be opened: {type(error).__name__}."
            raise Transient(text, code="not_connected") from None
        self.is_open = True
        threading.Thread(target=self._hear, args=(self._socket,), name="slack-line", daemon=True).start()

    def close(self) -> None:
        """Hang up; what was heard already is still taken."""
        self.is_open = False
        if self._socket is not None:
            self._socket.close()

    def _hear(self, socket: ClientConnection) -> None:
        try:
            for text in socket:
                self._heard(socket, text)
        except (_library("exceptions").ConnectionClosed, OSError) as error:
            log.info("slack_line_broke", error=type(error).__name__)
        finally:
            self._end()
            self._finished()

    def _heard(self, socket: ClientConnection, text: str | bytes) -> None:
        try:
            message = json.loads(text)
            kind = message.get("type")
        except (ValueError, AttributeError):
            return
        if kind == "disconnect":
            self._end()  # Slack wants us on another connection; this one may tell more until it closes
        elif message.get("envelope_id"):
            self._answer(socket, message)

    def _answer(self, socket: ClientConnection, message: Mapping[str, Any]) -> None:
        answer: dict[str, Any] = {"envelope_id": message["envelope_id"]}
        if message.get("type") == "interactive":
            try:
                said = self._take(message.get("payload") or {})
            except Exception:
                log.exception("slack_press_not_taken")
                return
            answer |= {"payload": dict(said)} if said else {}
        socket.send(json.dumps(answer))

    def _end(self) -> None:
        was_open, self.is_open = self.is_open, False
        if was_open:
            self._ended()


@cache
def _library(part: str) -> Any:
    # 12 MB in each process, which a portal without Socket Mode should not pay.
    return importlib.import_module(f"websockets.{part}")
