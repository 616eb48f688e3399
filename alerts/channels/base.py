"""What every way out promises: a receipt when the message arrived, or an error that says what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Scope = Literal["message", "destination", "account"]
_SLACK_SECRET = re.compile(r"xox[a-z]-[\w-]+|xapp-[\w-]+|https://hooks\.slack\.com/\S+")


@dataclass(frozen=True)
class Receipt:
    """One delivered message: where it lies, so that the next one can edit it or answer it."""

    channel: str = ""
    ts: str = ""
    permalink: str = ""
    detail: str = ""


@dataclass(frozen=True)
class CheckResult:
    """One line of a set-up check; `ok` is None where an earlier failure made it pointless to look.

    is_required: whether messages cannot be sent without it; the others only add something.
    """

    name: str
    ok: bool | None
    text: str
    fix: str = ""
    is_required: bool = True


class DeliveryError(Exception):
    """A message that was not delivered, with a reason code for the table and a sentence for people.

    No secret may enter `text`: it is stored on the notification, shown in the admin and logged (DL-14).
    """

    kind = "error"

    def __init__(self, text: str, *, code: str = "", http_status: int | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.http_status = http_status

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r}, code={self.code!r}, http_status={self.http_status})"


class Transient(DeliveryError):
    """Worth another try, not before `retry_after_seconds` where the other side named a time.

    ambiguous: it may have arrived all the same; look for it before sending again.
    counts_as_attempt: False when the other side only asked to wait (429).
    max_attempts: give up after so many tries; None leaves that to the outbox.
    tells_staff: a person should know although it may pass by itself.
    """

    kind = "transient"

    def __init__(
        self,
        text: str,
        *,
        code: str = "",
        http_status: int | None = None,
        retry_after_seconds: float | None = None,
        ambiguous: bool = False,
        counts_as_attempt: bool = True,
        max_attempts: int | None = None,
        tells_staff: bool = False,
    ) -> None:
        super().__init__(text, code=code, http_status=http_status)
        self.retry_after_seconds = retry_after_seconds
        self.ambiguous = ambiguous
        self.counts_as_attempt = counts_as_attempt
        self.max_attempts = max_attempts
        self.tells_staff = tells_staff


class Permanent(DeliveryError):
    """No try will ever succeed until a person acts; `scope` says what is broken: this message, its destination
    or the whole account."""

    kind = "permanent"

    def __init__(
        self, text: str, *, scope: Scope = "destination", code: str = "", http_status: int | None = None
    ) -> None:
        super().__init__(text, code=code, http_status=http_status)
        self.scope: Scope = scope


class Shrink(DeliveryError):
    """The content is too much: send it once more as short plain text; a refusal of that arrives as Permanent."""

    kind = "shrink"


class Repost(DeliveryError):
    """The message to edit or to answer is gone or closed: post a new one and keep its ts."""

    kind = "repost"


def hidden(text: str, *secrets: str, limit: int = 200) -> str:
    """`text` on one line of at most `limit` characters, without `secrets` and without what looks like Slack's."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[hidden]")
    text = " ".join(_SLACK_SECRET.sub("[hidden]", text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
