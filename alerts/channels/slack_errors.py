"""What each answer of Slack means for a message: the table of ALERTING SL-9, and nothing that sends.

Source: Slack's reference of chat.postMessage, chat.update and incoming webhooks; the body string decides, the HTTP
status only where the string is unknown.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Literal

from alerts.channels.base import DeliveryError, Permanent, Repost, Scope, Shrink, Transient

Verb = Literal["post", "reply", "update", "webhook", "ask"]

# A 429 always names its seconds; this stands in for one that does not.
DEFAULT_WAIT_SECONDS = 30.0
# message_limit_exceeded is a limit of the whole workspace and does not pass within seconds.
#: The words are fine, what machines read of them is not: the message goes again without its list of alerts.
METADATA_CODES = frozenset({"metadata_too_large", "invalid_metadata_format", "invalid_metadata_schema"})
LONG_WAIT_SECONDS = 300.0
UNKNOWN_ATTEMPTS = 3
_CODE = re.compile(r"[a-z_]{2,60}")


class Kind(StrEnum):
    """What the outbox does with an error."""

    RETRY = "retry"
    RETRY_LOOK = "retry, but look first whether it arrived"
    WAIT = "wait, no attempt"
    WAIT_LONG = "wait long and tell"
    SHRINK = "shrink once"
    MESSAGE = "dead, this message"
    DESTINATION = "dead, destination"
    CREDENTIALS = "dead, account"
    REPOST = "repost"
    UNKNOWN = "retry three times"


_ADMIN = "ask a workspace admin"
TABLE: dict[str, tuple[Kind, str]] = {
    # Slack's own trouble. "Some aspect may have succeeded" stands in the reference of both *_error rows.
    "internal_error": (Kind.RETRY_LOOK, "Slack had an internal error"),
    "fatal_error": (Kind.RETRY_LOOK, "Slack had an internal error and may have posted all the same"),
    "request_timeout": (Kind.RETRY, "Slack did not receive the whole request in time"),
    "service_unavailable": (Kind.RETRY, "Slack is unavailable at the moment"),
    "rollup_error": (Kind.RETRY, "Slack could not process the message right now"),
    "team_added_to_org": (Kind.RETRY, "the workspace is being moved into an organisation"),
    "org_login_required": (Kind.RETRY, "the workspace is being migrated"),
    # Too fast.
    "ratelimited": (Kind.WAIT, "Slack asks us to slow down"),
    "rate_limited": (Kind.WAIT, "Slack asks us to slow down"),
    "message_limit_exceeded": (Kind.WAIT_LONG, "the workspace has sent too many messages"),
    # Too much, or a shape that Slack does not take.
    "msg_too_long": (Kind.SHRINK, "the text is too long"),
    "msg_blocks_too_long": (Kind.SHRINK, "the blocks hold too much text"),
    "invalid_blocks": (Kind.SHRINK, "Slack does not accept the layout blocks"),
    "invalid_blocks_format": (Kind.SHRINK, "the layout blocks are not valid JSON"),
    "too_many_attachments": (Kind.SHRINK, "there are too many attachments"),
    "invalid_attachments": (Kind.SHRINK, "Slack does not accept the attachments"),
    "invalid_payload": (Kind.SHRINK, "Slack does not accept the message"),
    "metadata_too_large": (Kind.SHRINK, "the metadata is too large"),
    "invalid_metadata_format": (Kind.SHRINK, "Slack does not accept the metadata"),
    "invalid_metadata_schema": (Kind.SHRINK, "Slack does not accept the metadata"),
    "no_text": (Kind.MESSAGE, "the message has no text"),
    "invalid_arguments": (Kind.MESSAGE, "Slack does not accept the arguments of the call"),
    "invalid_json": (Kind.MESSAGE, "Slack could not read the request"),
    "json_not_object": (Kind.MESSAGE, "Slack could not read the request"),
    "duplicate_message_not_found": (Kind.MESSAGE, "Slack took the message for a repeat it could not find"),
    "duplicate_channel_not_found": (Kind.MESSAGE, "Slack took the message for a repeat it could not find"),
    "invalid_trigger_id": (Kind.MESSAGE, "the press of the button is not known"),
    "expired_trigger_id": (Kind.MESSAGE, "the press of the button is more than 3 s old; press again"),
    "exchanged_trigger_id": (Kind.MESSAGE, "the press of the button was already answered; press again"),
    # The destination.
    "channel_not_found": (Kind.DESTINATION, "there is no such channel, or the bot cannot see it; use the channel ID"),
    "is_archived": (Kind.DESTINATION, "the channel is archived; choose another one"),
    "channel_is_archived": (Kind.DESTINATION, "the channel is archived; choose another one"),
    "not_in_channel": (Kind.DESTINATION, "the bot is not a member; type /invite and its name in the channel"),
    "no_service": (Kind.DESTINATION, "this webhook was removed; create a new one"),
    "no_service_id": (Kind.DESTINATION, "this webhook does not exist; copy its address again"),
    "no_team": (Kind.DESTINATION, "the workspace of this webhook does not exist; copy its address again"),
    "no_active_hooks": (Kind.DESTINATION, "this webhook was switched off; create a new one"),
    "team_disabled": (Kind.DESTINATION, f"the workspace is disabled; {_ADMIN}"),
    "action_prohibited": (Kind.DESTINATION, f"a rule of the workspace forbids this; {_ADMIN}"),
    "restricted_action": (Kind.DESTINATION, f"a rule of the workspace forbids posting here; {_ADMIN}"),
    "posting_to_general_channel_denied": (Kind.DESTINATION, f"posting to the general channel is restricted; {_ADMIN}"),
    "ekm_access_denied": (Kind.DESTINATION, f"an admin has suspended posting here; {_ADMIN}"),
    "messages_tab_disabled": (Kind.DESTINATION, "direct messages to the app are off; allow them under App Home"),
    "user_not_found": (Kind.DESTINATION, "there is no such user"),
    "users_not_found": (Kind.DESTINATION, "there is no such user"),
    "cannot_dm_bot": (Kind.DESTINATION, "a bot cannot write to a bot"),
    "method_not_supported_for_channel_type": (Kind.DESTINATION, "this kind of channel cannot be written to"),
    # The account.
    "invalid_auth": (Kind.CREDENTIALS, "the token is not valid; copy the Bot User OAuth Token again"),
    "not_authed": (Kind.CREDENTIALS, "no token was given; enter the Bot User OAuth Token"),
    "account_inactive": (Kind.CREDENTIALS, "the bot user or its workspace was deleted; install the app again"),
    "token_revoked": (Kind.CREDENTIALS, "the token was revoked; install the app again"),
    "token_expired": (Kind.CREDENTIALS, "the token has expired; install the app again"),
    "missing_scope": (Kind.CREDENTIALS, "the app lacks a permission; add the scope and install the app again"),
    "no_permission": (Kind.CREDENTIALS, "the token may not do this; install the app again with the listed scopes"),
    "not_allowed_token_type": (Kind.CREDENTIALS, "this kind of token cannot post; use the Bot User OAuth Token"),
    "access_denied": (Kind.CREDENTIALS, f"access is denied; {_ADMIN}"),
    "invalid_token": (Kind.CREDENTIALS, "the token in the webhook's address is not valid; copy the address again"),
    "two_factor_setup_required": (Kind.CREDENTIALS, "two-factor set-up is required for this account"),
    # The message to edit or to answer.
    "message_not_found": (Kind.REPOST, "the earlier message is gone"),
    "cant_update_message": (Kind.REPOST, "the earlier message cannot be edited by this bot"),
    "edit_window_closed": (Kind.REPOST, "the workspace no longer allows to edit the earlier message"),
    "cannot_reply_to_message": (Kind.REPOST, "the earlier message takes no replies"),
    "restricted_action_thread_locked": (Kind.REPOST, "the thread is locked"),
}
_BY_STATUS: dict[int, tuple[Kind, str]] = {
    400: (Kind.SHRINK, "Slack does not accept the message"),
    401: (Kind.CREDENTIALS, "the credentials are not accepted"),
    403: (Kind.DESTINATION, "the destination refuses the message"),
    404: (Kind.DESTINATION, "there is nothing at this address"),
    408: (Kind.RETRY, "the request took too long"),
    410: (Kind.DESTINATION, "the destination is gone for good"),
    413: (Kind.SHRINK, "the message is too large"),
    429: (Kind.WAIT, "Slack asks us to slow down"),
    # Both are Slack's own word that it did not post; 502 and 504 come from something in front of it.
    500: (Kind.RETRY, "Slack had an internal error"),
    503: (Kind.RETRY, "Slack is unavailable at the moment"),
}
_SCOPES: dict[Kind, Scope] = {
    Kind.MESSAGE: "message",
    Kind.DESTINATION: "destination",
    Kind.CREDENTIALS: "account",
}


def normal_code(body: str) -> str:
    """The error string of an answer as Slack's tables write it: "No service" becomes no_service.

    "" for anything that does not look like one: an answer may repeat a secret, and the code is shown to people.
    """
    code = body.strip().lower().replace(" ", "_")
    return code if _CODE.fullmatch(code) else ""


def row_of(code: str, http_status: int, verb: Verb) -> tuple[Kind, str]:
    """What to do and why, in words, for an error string and a status."""
    kind, words = TABLE.get(code) or _without_code(code, http_status)
    if kind is Kind.REPOST and verb not in ("update", "reply"):
        # Nothing to post anew: it was a first post, so the place itself refuses.
        return Kind.DESTINATION, words
    return kind, words


def _without_code(code: str, http_status: int) -> tuple[Kind, str]:
    if code.startswith("restricted_action"):
        return TABLE["restricted_action"]
    if http_status in _BY_STATUS:
        return _BY_STATUS[http_status]
    if http_status >= 500:
        return Kind.RETRY_LOOK, "something in front of Slack had an error, and Slack may have posted all the same"
    if 300 <= http_status < 400:
        return Kind.DESTINATION, "the address answers with a redirect, which is not followed"
    return Kind.UNKNOWN, "Slack answered in a way we do not know"


def classify(
    code: str,
    *,
    http_status: int,
    verb: Verb,
    retry_after_seconds: float | None = None,
    needed_scope: str = "",
    is_shrunk: bool = False,
) -> DeliveryError:
    """The error to raise for an answer of Slack.

    is_shrunk: the message already was short plain text, so a second "too much" is final.
    An update may always be sent again, so it is never ambiguous.
    """
    kind, words = row_of(code, http_status, verb)
    text = _sentence(words, code, http_status, needed_scope)
    if kind is Kind.SHRINK:
        if is_shrunk:
            text = f"{text} Not even as short plain text."
            return Permanent(text, scope="message", code=code, http_status=http_status)
        return Shrink(text, code=code, http_status=http_status)
    if kind is Kind.REPOST:
        return Repost(text, code=code, http_status=http_status)
    if kind in _SCOPES:
        return Permanent(text, scope=_SCOPES[kind], code=code, http_status=http_status)
    if kind in (Kind.WAIT, Kind.WAIT_LONG):
        default = LONG_WAIT_SECONDS if kind is Kind.WAIT_LONG else DEFAULT_WAIT_SECONDS
        return Transient(
            text, code=code, http_status=http_status, counts_as_attempt=False, tells_staff=kind is Kind.WAIT_LONG,
            retry_after_seconds=default if retry_after_seconds is None else retry_after_seconds,
        )  # fmt: skip
    return Transient(
        text, code=code, http_status=http_status, retry_after_seconds=retry_after_seconds,
        ambiguous=kind is Kind.RETRY_LOOK and verb != "update",
        max_attempts=UNKNOWN_ATTEMPTS if kind is Kind.UNKNOWN else None,
    )  # fmt: skip


def _sentence(words: str, code: str, http_status: int, needed_scope: str) -> str:
    facts = [code] if code else []
    facts += [f"HTTP {http_status}"] if http_status != 200 else []
    facts += [f"needs the scope {needed_scope}"] if needed_scope else []
    behind = f" ({', '.join(facts)})" if facts else ""
    return f"{words[0].upper()}{words[1:]}{behind}."
