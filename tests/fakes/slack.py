"""Slack on loopback: the Web API methods and incoming webhooks the portal uses, with Slack's limits and moods."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.server import LoopbackServer, Mode, Reply, Request
from tests.fakes.slack_limits import limit_error

BOT_SCOPES = (
    "chat:write", "chat:write.public", "channels:read", "groups:read", "channels:history", "groups:history",
    "files:write", "users:read", "users:read.email",
)  # fmt: skip
# SL-5: about one message a second and channel with short bursts; chat.update 50 a minute and workspace.
POST_RATE, POST_BURST = 1.0, 5.0
UPDATE_RATE, UPDATE_BURST = 50 / 60, 50.0


class ApiError(Exception):
    """An error string to answer with ok:false."""

    def __init__(self, error: str, **extra: str) -> None:
        super().__init__(error)
        self.error, self.extra = error, extra


@dataclass
class Message:
    """One message as a reader sees it now; `edits` holds what it said before, oldest first."""

    channel: str
    ts: str
    payload: dict[str, Any]
    thread_ts: str = ""
    via: str = "api"
    edits: list[dict[str, Any]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The fallback text."""
        return str(self.payload.get("text") or "")

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """All blocks, those inside attachments as well."""
        attachments = self.payload.get("attachments") or []
        return [*(self.payload.get("blocks") or []), *(b for a in attachments for b in a.get("blocks") or [])]

    @property
    def attachments(self) -> list[dict[str, Any]]:
        """The attachments."""
        return list(self.payload.get("attachments") or [])

    @property
    def event(self) -> dict[str, Any]:
        """The metadata's event_payload."""
        return dict((self.payload.get("metadata") or {}).get("event_payload") or {})

    def says(self, words: str) -> bool:
        """Whether the words stand anywhere in the message."""
        return words in json.dumps(self.payload, ensure_ascii=False)


@dataclass
class Channel:
    """One conversation of the workspace."""

    id: str
    name: str
    is_member: bool = True
    is_archived: bool = False
    is_private: bool = False


class FakeSlack(LoopbackServer):
    """A Slack workspace on loopback.

    channels: names that exist; None makes each channel the moment it is used. token: the only token that is valid;
    "" takes any. strict: enforces Block Kit limits and rates. clock: seconds for the rates.
    """

    def __init__(
        self, port: int = 0, *, token: str = "", strict: bool = False, channels: Iterable[str] | None = None,
        scopes: Iterable[str] = BOT_SCOPES, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.token, self.strict, self.clock = token, strict, clock
        self.scopes = set(scopes)
        self.makes_channels = channels is None
        self.channels: dict[str, Channel] = {}
        self.posted: list[Message] = []
        self.users: dict[str, dict[str, Any]] = {}
        self.views: list[dict[str, Any]] = []
        self.ephemerals: list[dict[str, Any]] = []
        self.responses: list[dict[str, Any]] = []  # answers to presses, by their response_url
        self.socket_url = ""  # of a FakeSocketMode
        self.uploads: dict[str, bytes] = {}
        self._titles: dict[str, str] = {}
        self._used_triggers: set[str] = set()
        self._buckets: dict[str, tuple[float, float]] = {}
        self._sequence = 0
        for name in channels or ():
            self.add_channel(name)
        super().__init__(port)

    @property
    def api_base(self) -> str:
        """What ALPHAQ_SLACK_API_BASE is set to."""
        return f"{self.url}/api/"

    def webhook_url(self, name: str) -> str:
        """The address of an incoming webhook; its messages lie under `name`."""
        return f"{self.url}/services/T0000001/B0000001/{name}"

    @property
    def response_url(self) -> str:
        """An address by which a press is answered."""
        return f"{self.url}/actions/T0000001/1/x"

    def add_channel(self, name: str, **facts: Any) -> Channel:
        """A new channel; facts as in Channel."""
        channel = Channel(f"C{len(self.channels) + 1:08d}", name.lstrip("#"), **facts)
        self.channels[channel.id] = channel
        return channel

    def add_user(self, user_id: str, email: str, name: str = "", tz: str = "", **facts: Any) -> None:
        """A member of the workspace; facts such as is_bot."""
        profile = {"email": email}
        self.users[user_id] = {"id": user_id, "name": name or user_id, "tz": tz, "profile": profile, **facts}

    def messages(self, channel: str = "", *, replies: bool | None = None) -> list[Message]:
        """Messages oldest first: of one channel (name or ID), and only replies or only none if asked."""
        with self.changed:
            name = self.mode_key(channel)
            return [
                m for m in self.posted
                if (not channel or m.channel == name) and (replies is None or bool(m.thread_ts) == replies)
            ]  # fmt: skip

    def wait_for_message(self, channel: str, says: str = "", *, count: int = 1, timeout: float = 10.0) -> list[Message]:
        """The messages of a channel that say the words, as soon as there are `count`."""

        def found(_: FakeSlack) -> list[Message]:
            some = [message for message in self.messages(channel) if message.says(says)]
            return some if len(some) >= count else []

        return self.wait_for(found, timeout)

    def delete(self, channel: str, ts: str) -> None:
        """Remove a message as a person would."""
        with self.changed:
            name = self.mode_key(channel)
            self.posted = [m for m in self.posted if (m.channel, m.ts) != (name, ts)]

    # The wire.

    def mode_key(self, key: str) -> str:
        """A channel's name for its ID, #name or name; webhook names stay."""
        key = key.lstrip("#")
        return self.channels[key].name if key in self.channels else key

    def identify(self, request: Request) -> None:
        """The channel or webhook name, and the API method."""
        kind, _, rest = request.path.lstrip("/").partition("/")
        if kind == "actions":
            request.method, request.key = "respond", "respond"
        elif kind == "api":
            request.method = rest
            request.key = self.mode_key(str(request.data.get("channel") or request.data.get("channel_id") or ""))
        elif kind == "services":
            request.method, request.key = "webhook", rest.rpartition("/")[2]
        else:
            request.method = kind

    def fault_reply(self, request: Request, mode: Mode) -> Reply:
        """Slack's form of a failure: ok:false on the API, plain text on webhooks."""
        if mode.name == "ok_false":
            return Reply.of_json({"ok": False, "error": mode.error})
        if mode.name == "ratelimit" and request.method != "webhook":
            return Reply.of_json({"ok": False, "error": "ratelimited"}, 429, Retry_After=str(mode.retry_after))
        return super().fault_reply(request, mode)

    def accept(self, request: Request) -> Reply:
        """Do what the request asks, as Slack would."""
        try:
            if request.method == "webhook":
                return self._webhook(request)
            if request.method == "respond":
                self.responses.append(request.data)
                request.accepted = True
                return Reply.of_text("ok")
            if request.method == "upload":
                self.uploads[request.path.rpartition("/")[2]] = request.raw
                request.accepted = True
                return Reply.of_text("OK")
            answer = self._api(request)
        except ApiError as error:
            return self._refusal(request, error)
        request.accepted = True
        return Reply.of_json({"ok": True} | answer, x_oauth_scopes=",".join(sorted(self.scopes)))

    def _refusal(self, request: Request, error: ApiError) -> Reply:
        request.fault = request.fault or error.error
        if error.error == "ratelimited":
            extra = {"Retry_After": error.extra["retry_after"]}
            if request.method == "webhook":
                return Reply.of_text("rate_limited", 429, **extra)
            return Reply.of_json({"ok": False, "error": "ratelimited"}, 429, **extra)
        if request.method == "webhook":
            return Reply.of_text(error.error, 400)
        body = {"ok": False, "error": error.error} | error.extra
        return Reply.of_json(body, x_oauth_scopes=",".join(sorted(self.scopes)))

    def _webhook(self, request: Request) -> Reply:
        self._check_message("webhook", request)
        self._add(request.key, request.data, via="webhook")
        request.accepted = True
        return Reply.of_text("ok")

    def _api(self, request: Request) -> dict[str, Any]:
        known = _METHODS.get(request.method)
        if known is None:
            raise ApiError("unknown_method")
        scopes, answer = known
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not token:
            raise ApiError("not_authed")
        if request.method == "apps.connections.open":
            if not token.startswith("xapp-"):
                raise ApiError("not_allowed_token_type")
        elif self.token and token != self.token:
            raise ApiError("invalid_auth")
        if scopes and not self.scopes.intersection(scopes):
            raise ApiError("missing_scope", needed=scopes[0], provided=",".join(sorted(self.scopes)))
        return answer(self, request)

    # Messages.

    def _channel(self, value: Any) -> Channel:
        name = str(value or "").lstrip("#")
        for channel in self.channels.values():
            if name in (channel.id, channel.name):
                return channel
        if self.makes_channels and name:
            return self.add_channel(name)
        raise ApiError("channel_not_found")

    def _writable(self, value: Any) -> Channel:
        channel = self._channel(value)
        if channel.is_archived:
            raise ApiError("is_archived")
        if not channel.is_member:
            if channel.is_private:
                raise ApiError("channel_not_found")
            if "chat:write.public" not in self.scopes:
                raise ApiError("not_in_channel")
        return channel

    def _check_message(self, method: str, request: Request) -> None:
        error = limit_error(method, request.data)
        if error and (self.strict or error == "no_text"):
            raise ApiError(error)
        if self.strict:
            is_update = method == "chat.update"
            self._take_token("chat.update" if is_update else request.key, UPDATE_RATE if is_update else POST_RATE,
                             UPDATE_BURST if is_update else POST_BURST)  # fmt: skip

    def _take_token(self, key: str, rate: float, burst: float) -> None:
        now = self.clock()
        tokens, since = self._buckets.get(key, (burst, now))
        tokens = min(burst, tokens + (now - since) * rate)
        self._buckets[key] = (tokens - 1 if tokens >= 1 else tokens, now)
        if tokens < 1:
            raise ApiError("ratelimited", retry_after=str(max(1, math.ceil((1 - tokens) / rate))))

    def _add(self, channel: str, data: dict[str, Any], *, via: str = "api") -> Message:
        self._sequence += 1
        kept = {name: copy.deepcopy(data[name]) for name in _KEPT if data.get(name)}
        ts = f"{int(time.time())}.{self._sequence:06d}"
        message = Message(channel, ts, kept, str(data.get("thread_ts") or ""), via)
        self.posted.append(message)
        return message

    def _find(self, channel: Channel, ts: Any) -> Message:
        for message in self.posted:
            if message.channel == channel.name and message.ts == str(ts) and message.via == "api":
                return message
        raise ApiError("message_not_found")

    def post_message(self, request: Request) -> dict[str, Any]:
        """chat.postMessage"""
        channel = self._writable(request.data.get("channel"))
        self._check_message("chat.postMessage", request)
        message = self._add(channel.name, request.data)
        return {"channel": channel.id, "ts": message.ts, "message": _shown(message)}

    def update_message(self, request: Request) -> dict[str, Any]:
        """chat.update: fields that are given replace, text without blocks removes the blocks (SL-8)."""
        channel = self._channel(request.data.get("channel"))
        message = self._find(channel, request.data.get("ts"))
        self._check_message("chat.update", request)
        message.edits.append(message.payload)
        given = {name: copy.deepcopy(request.data[name]) for name in _KEPT if name in request.data}
        old = {name: value for name, value in message.payload.items() if name in ("metadata", "attachments")}
        message.payload = {name: value for name, value in (old | given).items() if value}
        return {"channel": channel.id, "ts": message.ts, "text": message.text}

    def history(self, request: Request) -> dict[str, Any]:
        """conversations.history, newest first and without replies; conversations.replies, oldest first."""
        channel, data = self._channel(request.data.get("channel")), request.data
        if channel.is_private and not channel.is_member:
            raise ApiError("channel_not_found")
        thread = str(data.get("ts") or "") if request.method == "conversations.replies" else ""
        oldest = float(data.get("oldest") or 0)
        some = [
            m for m in self.posted
            if m.channel == channel.name
            and (thread in (m.ts, m.thread_ts) if thread else not m.thread_ts)
            and float(m.ts) >= oldest
        ]  # fmt: skip
        if not thread:
            some.reverse()
        with_metadata = str(data.get("include_all_metadata")) in ("1", "true")
        shown = [_shown(message, with_metadata=with_metadata) for message in some]
        limit = int(data.get("limit") or 100)
        return {"messages": shown[:limit], "has_more": len(shown) > limit}

    # Everything else.

    def auth_test(self, _: Request) -> dict[str, Any]:
        """auth.test"""
        names = {"url": "https://example.slack.com/", "team": "Example", "user": "alphaq"}
        return names | {"team_id": "T0000001", "user_id": "U0000001", "bot_id": "B0000001"}

    def channel_info(self, request: Request) -> dict[str, Any]:
        """conversations.info"""
        channel = self._channel(request.data.get("channel"))
        if channel.is_private and not channel.is_member:
            raise ApiError("channel_not_found")
        return {"channel": _facts(channel)}

    def channel_list(self, request: Request) -> dict[str, Any]:
        """conversations.list, paged by a cursor that is a number."""
        seen = [c for c in self.channels.values() if c.is_member or not c.is_private]
        if str(request.data.get("exclude_archived")) in ("1", "true"):
            seen = [channel for channel in seen if not channel.is_archived]
        start, limit = int(request.data.get("cursor") or 0), int(request.data.get("limit") or 100)
        following = str(start + limit) if start + limit < len(seen) else ""
        page = [_facts(channel) for channel in seen[start : start + limit]]
        return {"channels": page, "response_metadata": {"next_cursor": following}}

    def permalink(self, request: Request) -> dict[str, Any]:
        """chat.getPermalink"""
        channel = self._channel(request.data.get("channel"))
        message = self._find(channel, request.data.get("message_ts"))
        return {"permalink": f"https://example.slack.com/archives/{channel.id}/p{message.ts.replace('.', '')}"}

    def post_ephemeral(self, request: Request) -> dict[str, Any]:
        """chat.postEphemeral"""
        channel = self._writable(request.data.get("channel"))
        self.ephemerals.append({"channel": channel.name} | {n: request.data.get(n) for n in ("user", "text", "blocks")})
        return {"message_ts": f"{int(time.time())}.000000"}

    def open_view(self, request: Request) -> dict[str, Any]:
        """views.open; a trigger works once (SL-8)."""
        trigger = str(request.data.get("trigger_id") or "")
        if not trigger:
            raise ApiError("invalid_trigger_id")
        if trigger in self._used_triggers:
            raise ApiError("exchanged_trigger_id")
        self._used_triggers.add(trigger)
        view = dict(request.data.get("view") or {})
        self.views.append(view)
        return {"view": view | {"id": f"V{len(self.views):08d}"}}

    def update_view(self, request: Request) -> dict[str, Any]:
        """views.update"""
        view = dict(request.data.get("view") or {})
        self.views.append(view)
        return {"view": view | {"id": request.data.get("view_id")}}

    def user_info(self, request: Request) -> dict[str, Any]:
        """users.info and users.lookupByEmail; the address needs its own scope."""
        wanted = request.data.get("user"), request.data.get("email")
        for user in self.users.values():
            if user["id"] == wanted[0] or user["profile"]["email"] == wanted[1]:
                return {"user": user if "users:read.email" in self.scopes else user | {"profile": {}}}
        raise ApiError("user_not_found" if wanted[0] else "users_not_found")

    def upload_url(self, request: Request) -> dict[str, Any]:
        """files.getUploadURLExternal"""
        file_id = f"F{len(self.uploads) + len(self._titles) + 1:08d}"
        self._titles[file_id] = str(request.data.get("filename"))
        return {"upload_url": f"{self.url}/upload/{file_id}", "file_id": file_id}

    def complete_upload(self, request: Request) -> dict[str, Any]:
        """files.completeUploadExternal: a message with the files appears."""
        files = [entry["id"] for entry in request.data.get("files") or []]
        if not files or any(file_id not in self.uploads for file_id in files):
            raise ApiError("file_not_found")
        channel = self._writable(request.data.get("channel_id"))
        message = self._add(channel.name, {"text": request.data.get("initial_comment") or ""} | request.data)
        message.files = files
        return {"files": request.data["files"]}

    def socket(self, _: Request) -> dict[str, Any]:
        """apps.connections.open"""
        return {"url": self.socket_url or f"ws://127.0.0.1:{self.port}/link"}


_KEPT = ("text", "blocks", "attachments", "metadata", "username", "icon_emoji", "icon_url", "reply_broadcast")
_Answer = Callable[[FakeSlack, Request], dict[str, Any]]
# Method → the scopes of which one is needed, and the answer.
_METHODS: dict[str, tuple[tuple[str, ...], _Answer]] = {
    "auth.test": ((), FakeSlack.auth_test),
    "apps.connections.open": ((), FakeSlack.socket),
    "chat.postMessage": (("chat:write",), FakeSlack.post_message),
    "chat.update": (("chat:write",), FakeSlack.update_message),
    "chat.postEphemeral": (("chat:write",), FakeSlack.post_ephemeral),
    "chat.getPermalink": ((), FakeSlack.permalink),
    "conversations.history": (("channels:history", "groups:history"), FakeSlack.history),
    "conversations.replies": (("channels:history", "groups:history"), FakeSlack.history),
    "conversations.info": (("channels:read", "groups:read"), FakeSlack.channel_info),
    "conversations.list": (("channels:read", "groups:read"), FakeSlack.channel_list),
    "files.getUploadURLExternal": (("files:write",), FakeSlack.upload_url),
    "files.completeUploadExternal": (("files:write",), FakeSlack.complete_upload),
    "users.info": (("users:read",), FakeSlack.user_info),
    "users.lookupByEmail": (("users:read.email",), FakeSlack.user_info),
    "views.open": ((), FakeSlack.open_view),
    "views.update": ((), FakeSlack.update_view),
}


def _shown(message: Message, *, with_metadata: bool = False) -> dict[str, Any]:
    shown = {name: value for name, value in message.payload.items() if name != "metadata"}
    shown |= {"type": "message", "ts": message.ts, "bot_id": "B0000001", "text": message.text}
    if message.thread_ts:
        shown["thread_ts"] = message.thread_ts
    if with_metadata and message.payload.get("metadata"):
        shown["metadata"] = message.payload["metadata"]
    return shown


def _facts(channel: Channel) -> dict[str, Any]:
    flags: Iterator[str] = iter(("id", "name", "is_member", "is_archived", "is_private"))
    return {name: getattr(channel, name) for name in flags}
