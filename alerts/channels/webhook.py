"""A generic webhook as a way out: POSTs Alertmanager's JSON, version 4, to a receiver of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from alerts.channels import wire
from alerts.channels.base import DeliveryError, Permanent, Receipt, Transient, hidden

MAX_TIMEOUT_SECONDS = 10.0
DEFAULT_WAIT_SECONDS = 30.0
# Shorter parts of an address are words ("api", "hook"); hiding them would garble what the receiver says.
_SECRET_CHARACTERS = 8


@dataclass(frozen=True)
class WebhookConfig:
    """One receiver; its URL may hold a token and is a secret, as is the whole Authorization header."""

    url: str = field(repr=False)
    authorization: str = field(default="", repr=False)
    timeout_seconds: float = MAX_TIMEOUT_SECONDS


def send(config: WebhookConfig, payload: Mapping[str, Any]) -> Receipt:
    """A receipt after any 2xx answer; raises a DeliveryError.

    Redirects are not followed. Link-local and metadata addresses are refused after the name was resolved; private
    addresses are allowed, because that is where receivers live.
    """
    problem = wire.url_problem(config.url, needs_https=False)
    if problem:
        raise Permanent(f"The webhook's address cannot be used: {problem}.", code="bad_url")
    headers = {"Content-Type": "application/json", "User-Agent": "alphaq-portal"}
    if config.authorization:
        headers["Authorization"] = config.authorization
    host = urlsplit(config.url).hostname or ""
    failure: DeliveryError
    try:
        answer = wire.post(
            config.url, orjson.dumps(payload), headers,
            timeout_seconds=min(config.timeout_seconds, MAX_TIMEOUT_SECONDS),
        )  # fmt: skip
    except wire.Refused as error:
        failure = Permanent(f"Nothing is sent to {host}: {error}.", code="address_refused")
    except wire.NotSent as error:
        failure = Transient(f"{host} could not be reached: {error}.", code="not_sent")
    except wire.AnswerLost as error:
        failure = Transient(f"{host} may have the message: {error}.", code="answer_lost", ambiguous=True)
    else:
        if 200 <= answer.status < 300:
            return Receipt(detail=f"{host} answered {answer.status}")
        failure = _classify(answer, host, _secrets(config))
    raise failure


def _classify(answer: wire.Answer, host: str, secrets: list[str]) -> DeliveryError:
    """By the status, as Alertmanager does (notify/util.go Retrier: 5xx again, the rest not), except that 429 waits."""
    status, code = answer.status, f"http_{answer.status}"
    said = hidden(answer.text, *secrets)
    text = f"{host} answered {status}" + (f": {said}" if said else ".")
    wait_seconds = wire.retry_after_seconds(answer.headers)
    if status == 429:
        wait_seconds = DEFAULT_WAIT_SECONDS if wait_seconds is None else wait_seconds
        return Transient(text, code=code, http_status=status, retry_after_seconds=wait_seconds, counts_as_attempt=False)
    if status >= 500 or status == 408:
        return Transient(text, code=code, http_status=status, retry_after_seconds=wait_seconds)
    if 300 <= status < 400:
        text = f"{host} answered with a redirect ({status}), which is not followed; enter the final address."
        return Permanent(text, code="redirect", http_status=status)
    scope_message = status in (400, 413, 422)
    return Permanent(text, scope="message" if scope_message else "destination", code=code, http_status=status)


def _secrets(config: WebhookConfig) -> list[str]:
    """Every part of the configuration that an answer might repeat; the longest first, so that none is left over."""
    parts = urlsplit(config.url)
    some = [config.url, config.authorization, config.authorization.rpartition(" ")[2], unquote(parts.password or "")]
    some += [parts.query, parts.path, *parts.path.split("/")]
    return sorted({value for value in some if len(value) >= _SECRET_CHARACTERS}, key=len, reverse=True)
