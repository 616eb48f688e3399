"""Presses of buttons in Slack: written down once, then done with the rights of the linked user.

A press is input: it names a message by an opaque id, and everything else is looked up here (SL-8). Writing it down is
quick, so that Slack is answered within three seconds; doing it comes after, and a press that comes again counts once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

import structlog
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.urls import reverse

from alerts import actions, compose, slack_dialogues, slack_links
from alerts.channels import slack_people
from alerts.channels.base import DeliveryError
from alerts.channels.slack import SlackBotConfig
from alerts.engine import message_slack
from alerts.engine.escalation import SnoozeChoice, snooze_until
from alerts.engine.intervals import known_zone
from alerts.models import Alert, Integration, Notification, SlackApp, SlackClick, SlackLink
from alerts.slack_links import Member

log = structlog.get_logger(__name__)
# What was wished longer ago is not done any more: who pressed has long looked for another way.
STALE = timedelta(minutes=10)
KEPT = timedelta(days=30)
_AT_ONCE = 50
_LONGEST_TEXT = 3000
TOO_LATE = "That took too long, and nothing was done. Press again."
NO_RIGHT = "{user} may look here, but not do this. Somebody with the group Responder can, or Editor for limits."
GONE = "This message is so old that the portal has forgotten it. Open the portal instead: {url}"


@dataclass(frozen=True)
class Reply:
    """What the person who pressed is shown: words for them alone, or a dialogue; `done` goes into the record."""

    text: str = ""
    view: Mapping[str, Any] | None = None
    done: str = ""
    replacement: Mapping[str, Any] | None = field(default=None, repr=False)  # of a message that cannot be edited


@dataclass(frozen=True)
class Act:
    """One press with everything that doing it needs."""

    click: SlackClick
    verb: str
    alert_ids: list[int]
    message: Notification
    link: SlackLink
    at: datetime


def record(payload: Mapping[str, Any], at: datetime, app: SlackApp | None = None) -> int:
    """Write the presses of a block_actions payload down; returns how many are new. Links are no presses.

    app: whose secret or socket the payload came by, None for the secret of the environment.
    """
    rows = [_row(payload, action, at, app) for action in payload.get("actions") or () if _is_press(action)]
    known = set(SlackClick.objects.filter(key__in=[row.key for row in rows]).values_list("key", flat=True))
    fresh = {row.key: row for row in rows if row.key not in known}
    SlackClick.objects.bulk_create(fresh.values(), ignore_conflicts=True)
    return len(fresh)


def work_off(at: datetime) -> int:
    """Do what was pressed and not done yet, the oldest first; returns how many."""
    waiting = SlackClick.objects.filter(done_at=None).order_by("id").values_list("pk", flat=True)[:_AT_ONCE]
    return sum(_work(pk, at) for pk in waiting)


def expire(at: datetime) -> int:
    """Forget presses of more than a month ago; returns how many."""
    return SlackClick.objects.filter(at__lt=at - KEPT).delete()[0]


def member_of(payload: Mapping[str, Any]) -> Member:
    """Who pressed."""
    user, team = payload.get("user") or {}, payload.get("team") or {}
    return Member(
        team_id=_text(team.get("id"), 30),
        user_id=_text(user.get("id"), 30),
        name=_text(user.get("username") or user.get("name"), 100),
        home_team_id=_text(user.get("team_id"), 30),
    )


def config_of(app: SlackApp | None) -> SlackBotConfig | None:
    """The bot of an app, None without one."""
    if app is None or not app.bot_token:
        return None
    return SlackBotConfig(app.bot_token, "", api_base=settings.ENV.slack_api_base)


def key_of(*parts: object) -> str:
    """What tells one press from every other."""
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()


# -- writing down ------------------------------------------------------------------------------------------------------


def _is_press(action: Any) -> bool:
    return isinstance(action, Mapping) and str(action.get("action_id", "")).partition(".")[0] != "link"


def _row(payload: Mapping[str, Any], action: Mapping[str, Any], at: datetime, app: SlackApp | None) -> SlackClick:
    member, view = member_of(payload), payload.get("view") or {}
    chosen = action.get("selected_option") or {}
    name, value = _text(action.get("action_id"), 60), _text(action.get("value") or chosen.get("value"), 200)
    container = payload.get("container") or {}
    return SlackClick(
        key=key_of(member.team_id, member.user_id, action.get("action_ts"), name),
        at=at,
        team_id=member.team_id,
        slack_user_id=member.user_id,
        slack_user_name=member.name,
        action=name,
        request={
            "app": app.pk if app else None,
            "home_team": member.home_team_id,
            "value": value,
            "channel": _text((payload.get("channel") or {}).get("id"), 50),
            "thread": _text(container.get("thread_ts"), 30),
            "trigger": _text(payload.get("trigger_id"), 200),
            "respond": _text(payload.get("response_url"), 500),
            **({"view": slack_dialogues.kept(view)} if view else {}),
        },
    )


def _text(value: Any, limit: int) -> str:
    """A text of a payload; Postgres takes no null character, and a key of a table no endless one."""
    return str(value or "").replace("\x00", "")[:limit]


# -- doing -------------------------------------------------------------------------------------------------------------


def _work(click_id: int, at: datetime) -> int:
    click = SlackClick.objects.filter(pk=click_id, done_at=None).first()
    if click is None:
        return 0
    app = SlackApp.objects.filter(pk=click.request.get("app")).first()
    message = message_of(click.request.get("value", "").rpartition(":")[2], app)
    if app is None and message is not None and message.integration is not None:
        app = message.integration.slack_app
    config = config_of(app)
    member = Member(click.team_id, click.slack_user_id, click.slack_user_name, click.request.get("home_team", ""))
    link = slack_links.find(member, config)
    with transaction.atomic():
        row = SlackClick.objects.select_for_update(skip_locked=True, no_key=True).filter(pk=click_id, done_at=None)
        claimed = row.first()
        if claimed is None:
            return 0  # somebody else is at it
        reply = _reply(claimed, message, member, link, at)
        claimed.user = link.user if link else None
        claimed.notification, claimed.done_at, claimed.outcome = message, at, reply.done or reply.text
        asked, claimed.request = claimed.request, {}
        claimed.save(update_fields=["user", "notification", "done_at", "outcome", "request"])
    _answer(asked, member, reply, config)
    return 1


def message_of(action_id: str, app: SlackApp | None) -> Notification | None:
    """The message whose buttons carry this id; None for one that is gone or was sent by another app."""
    if len(action_id) != len(compose.action_id("x" * 64)) or not action_id.isalnum():
        return None
    rows = Notification.objects.select_related("integration__slack_app", "group")
    found = rows.filter(dedup_key__startswith=action_id).first()
    way = found.integration if found else None
    is_others = way is not None and way.slack_app_id is not None and app is not None and way.slack_app_id != app.pk
    return None if is_others else found


def _reply(
    click: SlackClick, message: Notification | None, member: Member, link: SlackLink | None, at: datetime
) -> Reply:
    """Do it; every reason not to becomes words for the person who pressed."""
    if at - click.at > STALE:
        return Reply(TOO_LATE)
    if link is None:
        return Reply(stranger_words(member), done="not linked to a user")
    try:
        if "view" in click.request:
            return Reply(
                view=slack_dialogues.renewed(click.request["view"], link.user, link.time_zone, at), done="looked"
            )
        if message is None:
            return Reply(GONE.format(url=compose.external_url()))
        verb = click.request["value"].partition(":")[0] if ":" in click.request["value"] else ""
        return _do(Act(click, verb or click.action.rpartition(".")[2], alerts_of(message), message, link, at))
    except actions.Refused as error:
        return Reply(str(error))
    except Alert.DoesNotExist:
        return Reply("It is over, and the portal has forgotten it.")
    except PermissionDenied:
        return Reply(NO_RIGHT.format(user=link.user.get_username()))


def stranger_words(member: Member) -> str:
    """What somebody reads whom no user of the portal is known for."""
    code = slack_links.code_of(member)
    url = f"{compose.external_url()}{reverse('alerts:slack_link')}?code={code}"
    return (
        "The portal does not know who you are, so its buttons do nothing for you yet. "
        f"<{url}|Say which user you are>: the address is for you alone and works for 15 minutes."
    )


def alerts_of(message: Notification) -> list[int]:
    """The alerts that a message tells of and that still fire; of one that tells an end, those that ended."""
    told = message.firing or message.resolved
    rows = Alert.objects.filter(fingerprint__in=told, is_shadow=False)
    if message.firing:
        firing = list(rows.filter(state=Alert.State.FIRING).order_by("id").values_list("pk", flat=True))
        if firing:
            return firing
    newest = rows.order_by("fingerprint", "-id").distinct("fingerprint")
    return sorted(newest.values_list("pk", flat=True))


def _do(act: Act) -> Reply:
    verb = _VERBS.get(act.verb)
    if verb is None:
        return Reply("The portal knows no such button.")
    reply = verb(act)
    way = act.message.integration
    if reply.view is None and way is not None and way.kind == Integration.Kind.SLACK_WEBHOOK:
        return Reply(done=reply.done, replacement=_replacement(act, reply.done))
    return reply


def _acknowledge(act: Act) -> Reply:
    actions.acknowledge_all(act.alert_ids, act.link.user, act.at)
    return Reply(done="acknowledged")


def _unacknowledge(act: Act) -> Reply:
    actions.unacknowledge_all(act.alert_ids, act.link.user, act.at)
    return Reply(done="gave it back")


def _confirm(act: Act) -> Reply:
    actions.confirm_all(act.alert_ids, act.link.user, act.at)
    return Reply(done="still on it")


def _snooze(act: Act) -> Reply:
    actions.snooze_all(act.alert_ids, act.link.user, until(act.verb, act.link.time_zone, act.at), act.at)
    return Reply(done=f"snoozed {message_slack.SNOOZES[act.verb]}")


def _mark(act: Act) -> Reply:
    actions.mark_all(act.alert_ids, act.link.user, act.verb, act.at)
    return Reply(f"Marked as {act.verb}. It counts for the rule; nothing else changes.", done=f"marked {act.verb}")


def _silence(act: Act) -> Reply:
    view = slack_dialogues.silence(act.message, act.alert_ids, act.link.user, act.link.time_zone, act.at)
    return Reply(view=view, done="looked at a silence")


def _threshold(act: Act) -> Reply:
    view = slack_dialogues.threshold(act.message, act.alert_ids, act.link.user, act.at)
    return Reply(view=view, done="looked at the limit")


_VERBS: dict[str, Callable[[Act], Reply]] = {
    "acknowledge": _acknowledge, "unacknowledge": _unacknowledge, "confirm": _confirm, "silence": _silence,
    "1h": _snooze, "4h": _snooze, "9am": _snooze, "threshold": _threshold, "useful": _mark, "noise": _mark,
}  # fmt: skip


def until(choice: str, time_zone: str, at: datetime) -> datetime:
    """The end of a snooze: so many hours from now, or the next 09:00 where the person is."""
    return snooze_until(cast("SnoozeChoice", choice), at, known_zone(time_zone) or "UTC")


def _replacement(act: Act, words: str) -> Mapping[str, Any] | None:
    """The message anew, for one that came by webhook: only the press itself brings an address to change it."""
    row, rows = act.message, Alert.objects.select_related("threshold", "rule", "acknowledged_by")
    if row.group is None or row.integration is None:
        return None
    content = compose.message(
        rows.filter(pk__in=act.alert_ids), group=row.group, receiver=row.receiver_name, at=act.at,
        outbox_id=row.dedup_key, told=row.firing, notes=[f"{act.link.user.get_username()}: {words}"],
    )  # fmt: skip
    payload = message_slack.slack_webhook(compose.dressed(content, row.integration), interactive=True)
    return {**payload, "replace_original": True}


# -- answering ---------------------------------------------------------------------------------------------------------


def _answer(asked: Mapping[str, Any], member: Member, reply: Reply, config: SlackBotConfig | None) -> None:
    """Show the reply to the person who pressed; who cannot be told presses again."""
    try:
        if reply.view is not None:
            _show(asked, reply.view, config)
        if reply.replacement is not None:
            slack_people.respond(asked["respond"], reply.replacement, settings.ENV.slack_api_base)
        if reply.text:
            tell(asked, member, reply.text, config)
    except DeliveryError as error:
        log.warning("slack_press_not_answered", error=error.text, code=error.code)


def _show(asked: Mapping[str, Any], view: Mapping[str, Any], config: SlackBotConfig | None) -> None:
    if config is None:
        return
    known = asked.get("view")
    if known:
        slack_people.update_view(config, known["id"], view, known.get("hash", ""))
        return
    slack_people.open_view(config, asked.get("trigger", ""), view)


def tell(asked: Mapping[str, Any], member: Member, text: str, config: SlackBotConfig | None) -> None:
    """Show a text to the person who pressed alone; raises a DeliveryError."""
    text = text[:_LONGEST_TEXT]
    if asked.get("respond"):
        answer = {"response_type": "ephemeral", "replace_original": False, "text": text}
        slack_people.respond(asked["respond"], answer, settings.ENV.slack_api_base)
    elif config is not None and asked.get("channel"):
        slack_people.tell_privately(config, asked["channel"], member.user_id, text, thread_ts=asked.get("thread", ""))
