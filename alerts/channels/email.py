"""E-mail as a way out, through Django's mail backend: plain text and HTML in one message."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection

from alerts.channels.base import CheckResult, DeliveryError, Permanent, Receipt, Transient, hidden

MAX_TIMEOUT_SECONDS = 10.0
# Longer subjects are cut by many readers; RFC 5322 folds at 998.
MAX_SUBJECT_CHARACTERS = 200
_ID = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class EmailConfig:
    """Who gets the mail and from whom; the server and its password are the site's mail settings."""

    recipients: tuple[str, ...]
    sender: str = ""
    reply_to: tuple[str, ...] = ()
    timeout_seconds: float = MAX_TIMEOUT_SECONDS


def send(config: EmailConfig, payload: Mapping[str, Any]) -> Receipt:
    """A receipt once the mail server has taken the message for at least one recipient; raises a DeliveryError.

    payload: subject, text, html (may be missing), outbox_id and thread_id (may be missing). A repeated send of one
    outbox_id carries the same Message-ID, by which mail systems drop the second copy; messages of one thread_id lie
    together in the reader's inbox. Recipients that the server refuses while it takes others are not reported:
    Django's backend does not pass them on.
    """
    if not config.recipients:
        raise Permanent("No recipient is set.", code="no_recipient")
    message = _build(config, payload)
    failure: DeliveryError
    is_open = False
    try:
        with get_connection(fail_silently=False, timeout=min(config.timeout_seconds, MAX_TIMEOUT_SECONDS)) as server:
            is_open = True
            server.send_messages([message])
            return Receipt(ts="", detail=f"taken by the mail server for {', '.join(config.recipients)}")
    except (smtplib.SMTPException, OSError) as error:
        failure = _classify(error, is_open)
    except ValueError as error:
        # Django refuses an address or header that could smuggle in another one.
        failure = Permanent(f"The message cannot be built: {hidden(str(error))}.", scope="message", code="bad_header")
    raise failure


def check(config: EmailConfig) -> list[CheckResult]:
    """Whether recipients are set and the mail server lets us in; nothing is sent."""
    named = CheckResult("recipients", bool(config.recipients), ", ".join(config.recipients) or "No recipient is set.")
    try:
        with get_connection(fail_silently=False, timeout=min(config.timeout_seconds, MAX_TIMEOUT_SECONDS)):
            return [named, CheckResult("server", True, "The mail server lets us in.")]
    except (smtplib.SMTPException, OSError) as error:
        fix = "Check the mail server's name, port, user and password in the site's settings."
        return [named, CheckResult("server", False, _classify(error, is_open=False).text, fix)]


def _build(config: EmailConfig, payload: Mapping[str, Any]) -> EmailMultiAlternatives:
    sender = config.sender or settings.DEFAULT_FROM_EMAIL
    # An out-of-office answer to an alert helps nobody (RFC 3834).
    headers = {"Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All"}
    domain = sender.rpartition("@")[2].strip("> ") or "localhost"
    if payload.get("outbox_id"):
        headers["Message-ID"] = f"<notification-{_ID.sub('-', str(payload['outbox_id']))}@{domain}>"
    if payload.get("thread_id"):
        headers["References"] = f"<alert-{_ID.sub('-', str(payload['thread_id']))}@{domain}>"
    message = EmailMultiAlternatives(
        subject=hidden(str(payload.get("subject") or "Alert"), limit=MAX_SUBJECT_CHARACTERS),
        body=str(payload.get("text") or ""),
        from_email=sender,
        to=list(config.recipients),
        reply_to=list(config.reply_to),
        headers=headers,
    )
    if payload.get("html"):
        message.attach_alternative(str(payload["html"]), "text/html")
    return message


def _classify(error: OSError, is_open: bool) -> DeliveryError:
    """What a mail server's answer means; smtplib's errors are all OSErrors.

    is_open: the conversation had begun, so a broken connection leaves it unknown whether the mail was taken.
    """
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = {address: code for address, (code, _) in error.recipients.items()}
        text = f"The mail server refuses the recipient {', '.join(codes)}."
        if all(code >= 500 for code in codes.values()):
            return Permanent(text, code="recipient_refused")
        return Transient(text, code="recipient_deferred")
    if isinstance(error, smtplib.SMTPResponseException):
        return _by_reply(error)
    if isinstance(error, smtplib.SMTPNotSupportedError):
        text = "The mail server does not support what the settings ask for (TLS, login or non-ASCII addresses)."
        return Permanent(text, scope="account", code="not_supported")
    if isinstance(error, smtplib.SMTPServerDisconnected | TimeoutError | ConnectionError) and is_open:
        return Transient("The mail server broke off; it may have the message.", code="answer_lost", ambiguous=True)
    words = "time ran out" if isinstance(error, TimeoutError) else (error.strerror or type(error).__name__).lower()
    return Transient(f"The mail server could not be reached: {words}.", code="not_sent")


def _by_reply(error: smtplib.SMTPResponseException) -> DeliveryError:
    """By the reply code: 4xx passes, 5xx stays (RFC 5321, 4.2.1)."""
    said = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else str(error.smtp_error)
    text = f"The mail server answered {error.smtp_code}: {hidden(said, str(settings.EMAIL_HOST_PASSWORD))}"
    if error.smtp_code < 500:
        return Transient(text, code=f"smtp_{error.smtp_code}")
    is_ours = isinstance(error, smtplib.SMTPDataError)
    return Permanent(text, scope="message" if is_ours else "account", code=f"smtp_{error.smtp_code}")
