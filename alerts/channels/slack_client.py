"""How we hold slack_sdk: never a retry of its own, never a redirect, errors as the outbox knows them, no secret out."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.request import Request

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web import SlackResponse
from slack_sdk.web.file_upload_v2_result import FileUploadV2Result

from alerts.channels import slack_errors, wire
from alerts.channels.base import DeliveryError, Permanent, Scope, Transient

SLACK_API = "https://slack.com/api/"
# A delivery holds a worker and a lease; Slack answers within 3 s or is in trouble.
MAX_TIMEOUT_SECONDS = 10.0

# slack_sdk writes whole requests, and a webhook's address, at debug level: nothing of it may reach a log (DL-14).
_silent = logging.getLogger("alerts.channels.slack_sdk")
_silent.setLevel(logging.CRITICAL + 1)
_SCOPE_NAMES = re.compile(r"[a-z:.,_]{1,200}")


@dataclass(frozen=True)
class SlackBotConfig:
    """A Slack app's bot: its token and the channel (ID or #name) it writes to."""

    token: str = field(repr=False)
    channel: str
    api_base: str = SLACK_API
    timeout_seconds: float = MAX_TIMEOUT_SECONDS


@dataclass(frozen=True)
class SlackWebhookConfig:
    """An incoming webhook; whoever knows its URL can post, so the URL is the secret."""

    url: str = field(repr=False)
    timeout_seconds: float = MAX_TIMEOUT_SECONDS


class _Client(WebClient):
    """slack_sdk's client with its transport replaced by `wire.post`.

    Its own transport follows redirects with the token in hand, ignores NO_PROXY and reports a refused connection
    and a lost answer alike; the second may have been posted, the first cannot.
    """

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        body = req.data if isinstance(req.data, bytes) else b""
        answer = wire.post(url, body, dict(req.header_items()), timeout_seconds=float(self.timeout))
        # slack_sdk stumbles over JSON that is no object; an empty error leaves the judgement to the status.
        given = answer.json_object() or {"ok": False, "error": ""}
        return {"status": answer.status, "headers": dict(answer.headers), "body": json.dumps(given)}

    def _upload_file(self, *, url: str, data: bytes, timeout: float, **_: Any) -> FileUploadV2Result:
        if wire.url_problem(url, needs_https=True):
            raise wire.Refused("Slack named an upload address that is not https")
        answer = wire.post(url, data, {"Content-Type": "application/octet-stream"}, timeout_seconds=timeout)
        return FileUploadV2Result(status=answer.status, body=answer.text)


def client(token: str, api_base: str = SLACK_API, timeout_seconds: float = MAX_TIMEOUT_SECONDS) -> WebClient:
    """A client that sends each request exactly once; raises Permanent (account) for a base URL that leaks."""
    problem = wire.url_problem(api_base, needs_https=True)
    if problem:
        raise Permanent(f"The base URL of Slack's API cannot be used: {problem}.", scope="account", code="bad_api_base")
    token = token.strip()
    if not token:
        raise Permanent("No Slack token is set; enter the Bot User OAuth Token.", scope="account", code="not_authed")
    if any(not 33 <= ord(character) <= 126 for character in token):
        raise Permanent("The Slack token holds a sign that no token has.", scope="account", code="invalid_auth")
    # The int that slack_sdk's signature asks for is only handed to our own transport.
    seconds: Any = min(timeout_seconds, MAX_TIMEOUT_SECONDS)
    return _Client(token=token, base_url=api_base, timeout=seconds, retry_handlers=[], logger=_silent)


def call(
    config: SlackBotConfig, verb: slack_errors.Verb, method: str, *, is_shrunk: bool = False, **arguments: Any
) -> SlackResponse:
    """Slack's answer to one API method, arguments sent as JSON (as a form for `ask`); raises a DeliveryError."""
    web = client(config.token, config.api_base, config.timeout_seconds)
    if verb == "ask":
        return guarded(verb, lambda: web.api_call(method, params=arguments))
    return guarded(verb, lambda: web.api_call(method, json=arguments), is_shrunk=is_shrunk)


def guarded(verb: slack_errors.Verb, send: Callable[[], SlackResponse], *, is_shrunk: bool = False) -> SlackResponse:
    """The answer of `send`, with every failure as a DeliveryError.

    The error is raised after the except clause, not inside: slack_sdk's exceptions carry the request with its
    Authorization header, and a chained exception would take it along to whoever inspects the error.
    """
    failure: DeliveryError
    try:
        return send()
    except SlackApiError as error:
        failure = _from_answer(error.response, verb, is_shrunk)
    except (wire.NotSent, wire.AnswerLost, wire.Refused) as error:
        failure = from_wire(error, verb)
    except SlackClientError:
        failure = Transient("Slack did not take the file.", code="upload_failed")
    raise failure


def from_wire(error: wire.NotSent | wire.AnswerLost | wire.Refused, verb: slack_errors.Verb) -> DeliveryError:
    """The delivery error for a connection that failed; only a lost answer to a new message is ambiguous."""
    if isinstance(error, wire.Refused):
        scope: Scope = "destination" if verb == "webhook" else "account"
        return Permanent(f"Slack's address is not allowed: {error}.", scope=scope, code="address_refused")
    if isinstance(error, wire.NotSent):
        return Transient(f"Slack could not be reached: {error}.", code="not_sent")
    is_new = verb not in ("update", "ask")
    return Transient(f"Slack may have the message: {error}.", code="answer_lost", ambiguous=is_new)


def _from_answer(response: Any, verb: slack_errors.Verb, is_shrunk: bool) -> DeliveryError:
    data = response.data if isinstance(response.data, dict) else {}
    needed = str(data.get("needed") or "")
    return slack_errors.classify(
        slack_errors.normal_code(str(data.get("error") or "")),
        http_status=response.status_code,
        verb=verb,
        retry_after_seconds=wire.retry_after_seconds(response.headers),
        needed_scope=needed if _SCOPE_NAMES.fullmatch(needed) else "",
        is_shrunk=is_shrunk,
    )
