"""What people do to alerts and rules: one function a verb, with its permission, its lock and its line in the history.

Pages, admin actions, Slack buttons and the API are doors to these; none of them writes such rows itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import F

from alerts import dispatch, policy, revisions
from alerts.engine import silences as engine
from alerts.engine.intervals import IntervalError
from alerts.engine.matching import MatcherError
from alerts.models import Alert, Event, GroupClock, Mark, Rule, Silence, Threshold
from monitoring.promql import Labels

User = Any  # settings.AUTH_USER_MODEL; the verbs use has_perm and get_username
_ACTIVE = (Alert.State.PENDING, Alert.State.FIRING)
_ACKNOWLEDGEMENT = [
    "acknowledged_at", "acknowledged_by", "acknowledge_confirmed_at", "acknowledge_reminded_at", "updated_at",
]  # fmt: skip
_NOBODY = "Nobody has acknowledged it."
_KIND = Event.Kind
# The longest anything may be kept quiet from a page: a week is a holiday, more is forgotten.
LONGEST_SNOOZE = timedelta(days=7)
# A preview names so many of the alerts it covers.
SHOWN_COVERED = 10
# A silence shows in the living messages of so many of the alerts it covers; of thousands, edits would jam the channel.
_RESTATED = 20


class Refused(ValueError):
    """The verb makes no sense now; the text says why and is meant for the person who tried."""


def acknowledge(alert_id: int, user: User, at: datetime) -> Alert:
    """Say that `user` has it: firing alerts are not repeated meanwhile. Raises PermissionDenied and Refused."""
    return acknowledge_all([alert_id], user, at)[0]


def acknowledge_all(alert_ids: Sequence[int], user: User, at: datetime) -> list[Alert]:
    """Say that `user` has those of these alerts that nobody has yet. Raises PermissionDenied, Refused when none is."""

    def problem(alert: Alert) -> str:
        return f"{alert.acknowledged_by or 'Somebody'} has it already." if alert.acknowledged_at else ""

    with transaction.atomic():
        alerts = _takers(alert_ids, user, problem)
        for alert in alerts:
            alert.acknowledged_at, alert.acknowledged_by, alert.updated_at = at, user, at
            alert.acknowledge_confirmed_at = alert.acknowledge_reminded_at = None
            alert.save(update_fields=_ACKNOWLEDGEMENT)
            _note(alert, _KIND.ACKNOWLEDGED, user, at)
        dispatch.restate(alerts, at, f"Acknowledged by {user.get_username()}.")
    return alerts


def confirm_all(alert_ids: Sequence[int], user: User, at: datetime) -> list[Alert]:
    """Say that somebody is still on it, after a reminder. Raises PermissionDenied, Refused when nobody has any."""
    with transaction.atomic():
        alerts = _takers(alert_ids, user, lambda alert: "" if alert.acknowledged_at else _NOBODY)
        for alert in alerts:
            alert.acknowledge_confirmed_at, alert.acknowledge_reminded_at, alert.updated_at = at, None, at
            alert.save(update_fields=_ACKNOWLEDGEMENT)
            _note(alert, _KIND.ACKNOWLEDGED, user, at, "Still on it.")
        dispatch.restate(alerts, at, f"{user.get_username()} is still on it.")
    return alerts


def unacknowledge(alert_id: int, user: User, at: datetime) -> Alert:
    """Give it back: whoever is on duty is reminded again. Raises PermissionDenied and Refused."""
    return unacknowledge_all([alert_id], user, at)[0]


def unacknowledge_all(alert_ids: Sequence[int], user: User, at: datetime) -> list[Alert]:
    """Give back those of these alerts that somebody has. Raises PermissionDenied, Refused when nobody has any."""
    with transaction.atomic():
        alerts = _takers(alert_ids, user, lambda alert: "" if alert.acknowledged_at else _NOBODY, ended_too=True)
        for alert in alerts:
            _give_back(alert, at, user)
        dispatch.restate(alerts, at, f"{user.get_username()} gave it back: nobody has it.")
    return alerts


def take_back_forgotten(alert_ids: Sequence[int], at: datetime, words: str) -> list[Alert]:
    """Take acknowledgements back that nobody has confirmed, in the portal's own name; those withdrawn are left out."""
    with transaction.atomic():
        rows = Alert.objects.select_for_update(no_key=True).filter(pk__in=alert_ids, state__in=_ACTIVE)
        alerts = list(rows.filter(acknowledged_at__isnull=False).order_by("id"))
        for alert in alerts:
            _give_back(alert, at, None, words)
        dispatch.restate(alerts, at, words)
    return alerts


def snooze(alert_id: int, user: User, until: datetime, at: datetime) -> Alert:
    """Send no reminder before `until`, at most a week ahead. Raises PermissionDenied and Refused."""
    return snooze_all([alert_id], user, until, at)[0]


def snooze_all(alert_ids: Sequence[int], user: User, until: datetime, at: datetime) -> list[Alert]:
    """Send no reminder of these alerts before `until`, at most a week ahead. Raises PermissionDenied and Refused."""
    if until <= at:
        raise Refused("Choose a time in the future.")
    if until - at > LONGEST_SNOOZE:
        raise Refused("A snooze lasts at most 7 days; make a silence for more.")
    with transaction.atomic():
        alerts = _takers(alert_ids, user, lambda _: "")
        words = f"No reminder until {until:%Y-%m-%d %H:%M} UTC."
        for alert in alerts:
            alert.snoozed_until, alert.updated_at = until, at
            alert.save(update_fields=["snoozed_until", "updated_at"])
            _note(alert, _KIND.SNOOZED, user, at, words)
        dispatch.restate(alerts, at, f"Snoozed by {user.get_username()}. {words}")
    return alerts


def mark_all(alert_ids: Sequence[int], user: User, verdict: str, at: datetime) -> list[Alert]:
    """Say that being told of these alerts was useful, or noise; the last word of each user counts.

    Raises PermissionDenied, and Refused for another verdict.
    """
    if verdict not in Mark.Verdict.values:
        raise Refused("An alert is marked useful or noise.")
    with transaction.atomic():
        alerts = _takers(alert_ids, user, lambda _: "", ended_too=True)
        for alert in alerts:
            Mark.objects.update_or_create(alert=alert, user=user, defaults={"verdict": verdict, "at": at})
            _note(alert, _KIND.MARKED, user, at, Mark.Verdict(verdict).label)
        dispatch.restate(alerts, at, f"Marked as {verdict} by {user.get_username()}.")
    return alerts


def note(alert_id: int, user: User, text: str, at: datetime) -> Event:
    """Write a note into the alert's timeline. Raises PermissionDenied, and Refused for an empty or endless one."""
    text = text.strip()
    if not text:
        raise Refused("Write something.")
    if len(text) > 5000:
        raise Refused("A note has at most 5,000 characters; link to the longer text.")
    with transaction.atomic():
        alert = _locked(alert_id, user)
        event = _note(alert, _KIND.NOTE, user, at, text)
        dispatch.restate(alert, at, f"{user.get_username()}: {text}")
    return event


def resolve(alert_id: int, user: User, at: datetime) -> Alert:
    """End a posted alert, or one of a rule whose series has stopped reporting; others end by their rule.

    Raises PermissionDenied and Refused.
    """
    with transaction.atomic():
        _may(user, "alerts.change_alert")
        alert = Alert.objects.select_related("rule").get(pk=alert_id)
        if alert.rule is not None:
            _hold_clocks([alert.rule.group_id])
        alert = _locked(alert_id, user)
        _must_be_active(alert)
        if alert.rule_id is not None and alert.no_data_since is None:
            raise Refused("A rule decides when this ends. Snooze or silence it, or change the rule's limit.")
        _end([alert], at, "by_hand", f"Resolved by hand by {user.get_username()}.", user)
    return alert


# -- silences ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SilencePreview:
    """What a silence would do to what fires now: the newest alerts it covers, how many, of how many, and warnings."""

    covered: tuple[Alert, ...]
    covered_ids: tuple[int, ...]
    total: int
    warnings: tuple[str, ...]
    windows: tuple[engine.Window, ...] = ()  # the next times in which it holds, five at most

    @property
    def count(self) -> int:
        """How many alerts it covers."""
        return len(self.covered_ids)

    @property
    def more(self) -> int:
        """How many it covers beside those that are named."""
        return self.count - len(self.covered)


def preview_silence(
    matchers: Sequence[str], starts_at: datetime, ends_at: datetime, at: datetime,
    recurrence: engine.Recurrence | None = None,
) -> SilencePreview:  # fmt: skip
    """What a silence would do; raises Refused for one that cannot be kept, in particular one that covers everything."""
    value = _checked_silence(matchers, starts_at, ends_at, at, recurrence)
    firing = Alert.objects.filter(state=Alert.State.FIRING, is_shadow=False).order_by("-fired_at", "-id")
    labels = {pk: Labels.of(pairs) for pk, pairs in firing.values_list("pk", "labels")}
    preview = engine.preview(value, [*labels.values()], at)
    matched = set(preview.matched)
    ids = tuple(pk for pk, own in labels.items() if own in matched)
    newest = tuple(firing.filter(pk__in=ids[:SHOWN_COVERED]))
    return SilencePreview(newest, ids, len(labels), preview.warnings, preview.windows)


def silence(
    matchers: Sequence[str], user: User, starts_at: datetime, ends_at: datetime, comment: str, at: datetime,
    recurrence: engine.Recurrence | None = None,
) -> Silence:  # fmt: skip
    """Make a silence; every firing alert that it covers gets a line. Raises PermissionDenied and Refused.

    recurrence: it holds only in these windows between start and end.
    """
    _may(user, "alerts.add_silence")
    if not comment.strip():
        raise Refused("Say why: whoever looks at this silence later will ask.")
    starts_at = max(starts_at, at)
    preview = preview_silence(matchers, starts_at, ends_at, at, recurrence)
    with transaction.atomic():
        row = Silence.objects.create(
            matchers=list(matchers), starts_at=starts_at, ends_at=ends_at, comment=comment.strip(), author=user,
            created_by=user.get_username(), **policy.recurrence_columns(recurrence),
        )  # fmt: skip
        often = f"{recurrence.describe().capitalize()}, until" if recurrence else "Until"
        words = f"{often} {ends_at:%Y-%m-%d %H:%M} UTC: {comment.strip()}"
        Event.objects.bulk_create(
            [
                Event(alert_id=pk, rule_id=rule_id, at=at, kind=_KIND.SILENCED, reason=words, actor=user)
                for pk, rule_id in Alert.objects.filter(pk__in=preview.covered_ids).values_list("pk", "rule_id")
            ],
            batch_size=1000,
        )
        shown = f"Silenced by {user.get_username()}. {words}"
        dispatch.restate(list(Alert.objects.filter(pk__in=preview.covered_ids[:_RESTATED])), at, shown)
    return row


def end_silence(silence_id: int, user: User, at: datetime) -> Silence:
    """End a silence now; a pending one never starts. Raises PermissionDenied and Refused."""
    _may(user, "alerts.change_silence")
    with transaction.atomic():
        row = Silence.objects.select_for_update().get(pk=silence_id)
        if row.ends_at <= at:
            raise Refused("It has ended already.")
        ended = engine.expire(policy.silence_value(row), at)
        row.starts_at, row.ends_at = ended.starts_at, ended.ends_at
        row.save()
    return row


def extend_silence(silence_id: int, user: User, by: timedelta, at: datetime) -> Silence:
    """Let a silence last longer. Raises PermissionDenied, and Refused once it has ended."""
    _may(user, "alerts.change_silence")
    with transaction.atomic():
        row = Silence.objects.select_for_update().get(pk=silence_id)
        if row.ends_at <= at:
            raise Refused("It has ended; make a new one.")
        row.ends_at += by
        row.save()
    return row


def _checked_silence(
    matchers: Sequence[str], starts_at: datetime, ends_at: datetime, at: datetime,
    recurrence: engine.Recurrence | None = None,
) -> engine.Silence:  # fmt: skip
    try:
        value = engine.Silence("", policy.matchers(matchers), max(starts_at, at), ends_at, recurrence=recurrence)
        checked = engine.check_silence(value, at)
        if recurrence is not None and not checked.next_windows(at, 1):
            raise Refused("No window opens between its start and its end: let it last longer.")
        return checked
    except (MatcherError, engine.InvalidSilence, IntervalError) as error:
        text = str(error)
        raise Refused(text[:1].upper() + text[1:] + ".") from error


# -- rules -------------------------------------------------------------------------------------------------------------


def set_life(rules: Iterable[Rule], life: str, user: User, at: datetime) -> int:
    """Bring rules to live, shadow or disabled and end what they had raised; returns how many changed.

    Raises PermissionDenied.
    """
    _may(user, "alerts.change_rule")
    changed = 0
    for rule in rules:
        if rule.life == life:
            continue
        before, rule.life = rule.get_life_display(), Rule.Life(life)
        with transaction.atomic():
            rule._change_reason = f"{before} → {rule.get_life_display()}"  # type: ignore[attr-defined]
            rule.save()
            end_alerts(rule, user, at, f"The rule became {rule.get_life_display()}.")
            words = f"{before} → {rule.get_life_display()}"
            Event.objects.create(rule=rule, at=at, kind=_KIND.CHANGED, actor=user, reason=words)
            revisions.keep(rule, user, at, words)
        changed += 1
    return changed


def end_alerts(rule: Rule, user: User, at: datetime, words: str, group_ids: Iterable[int] = ()) -> int:
    """End every alert that a rule has raised, since nothing will any more; returns how many.

    group_ids: groups that the rule belonged to before, whose evaluations must wait as well.

    For rules that are switched off, renamed or about to be deleted: an evaluation that never comes ends nothing.
    Call it inside a transaction.
    """
    _hold_clocks([rule.group_id, *group_ids])
    active = list(Alert.objects.select_for_update(no_key=True).filter(rule=rule, state__in=_ACTIVE).order_by("id"))
    pending = [alert.pk for alert in active if alert.state == Alert.State.PENDING]
    Alert.objects.filter(pk__in=pending).delete()
    _end([alert for alert in active if alert.state == Alert.State.FIRING], at, "rule_changed", words, user)
    return len(active)


@transaction.atomic
def end_stale_alerts(rule: Rule, at: datetime, words: str) -> int:
    """End what a rule has raised when nobody evaluates it any more (PN-8); returns how many."""
    return end_alerts(rule, None, at, words)


@dataclass(frozen=True)
class Limit:
    """What somebody wants a limit to be; with `row_id` that row is changed, else one is added for `selector`."""

    value: float
    reason: str
    row_id: int | None = None
    severity: str = ""
    operator: str = ""
    selector: str = ""
    expires_at: datetime | None = None


def set_threshold(rule: Rule, user: User, limit: Limit, at: datetime) -> Threshold:
    """Change a row of a rule or add one; it counts from the next evaluation on. Raises PermissionDenied and Refused."""
    _may(user, "alerts.add_threshold" if limit.row_id is None else "alerts.change_threshold")
    if not limit.reason.strip():
        raise Refused("Say why: whoever looks at this limit later will ask.")
    with transaction.atomic():
        row = Threshold(rule=rule, severity=limit.severity, operator=limit.operator, selector=limit.selector)
        before = ""
        if limit.row_id is not None:
            row = Threshold.objects.select_for_update().get(pk=limit.row_id, rule=rule)
            before = f"{row} → "
        if rule.group.managed_by and row.is_default:
            words = f"{rule.group.managed_by} owns this limit: change it there, or set one for some series only."
            raise Refused(words)
        row.value, row.reason, row.author = limit.value, limit.reason.strip(), user
        row.expires_at = limit.expires_at if limit.row_id is None else limit.expires_at or row.expires_at
        try:
            row.full_clean()
        except ValidationError as error:
            raise Refused(" ".join(error.messages)) from error
        words = f"{before}{row}: {row.reason}"
        row._change_reason = words[:100]  # type: ignore[attr-defined]
        row.save()
        Event.objects.create(rule=rule, at=at, kind=_KIND.CHANGED, actor=user, reason=words)
        revisions.keep(rule, user, at, words)
    return row


def duplicate(rule: Rule, user: User, at: datetime) -> Rule:
    """A copy of a rule with its thresholds, as a draft of another name in the same group. Raises PermissionDenied."""
    _may(user, "alerts.add_rule")
    names = set(Rule.objects.filter(group=rule.group_id).values_list("name", flat=True))
    stem = f"{rule.name[:180]}Copy"
    name = next(one for one in (stem, *(f"{stem}{number}" for number in range(2, len(names) + 3))) if one not in names)
    with transaction.atomic():
        rows = list(rule.thresholds.all())
        copy = Rule.objects.get(pk=rule.pk)
        copy.pk, copy.name, copy.life, copy.starter_key, copy.revision = None, name, Rule.Life.DRAFT, "", 1
        copy._state.adding = True
        copy.save()
        for row in rows:
            Threshold.objects.create(
                rule=copy, severity=row.severity, operator=row.operator, value=row.value, upper=row.upper,
                recover_value=row.recover_value, hold_seconds=row.hold_seconds, selector=row.selector,
                priority=row.priority, reason=row.reason, author=user, expires_at=row.expires_at,
                is_enabled=row.is_enabled, model=row.model, version=row.version, stage=row.stage, host=row.host,
                gpu=row.gpu,
            )  # fmt: skip
        revisions.keep(copy, user, at, f"copied from {rule.name}")
    return copy


# -- what they share ---------------------------------------------------------------------------------------------------


def _may(user: User, permission: str) -> None:
    if not user.has_perm(permission):
        raise PermissionDenied(permission)


def _locked(alert_id: int, user: User) -> Alert:
    """The alert's row, locked; whoever may not act on alerts does not even wait for it."""
    _may(user, "alerts.change_alert")
    return Alert.objects.select_for_update(no_key=True).get(pk=alert_id)


def _takers(
    alert_ids: Sequence[int], user: User, problem: Callable[[Alert], str], *, ended_too: bool = False
) -> list[Alert]:
    """The alerts of these, locked, that have no problem; raises Refused with the first problem when none is left."""
    _may(user, "alerts.change_alert")
    rows = list(Alert.objects.select_for_update(no_key=True).filter(pk__in=alert_ids).order_by("id"))
    if not rows:
        raise Alert.DoesNotExist
    problems = [
        "It has resolved already." if alert.state == Alert.State.RESOLVED and not ended_too else problem(alert)
        for alert in rows
    ]
    takers = [alert for alert, text in zip(rows, problems, strict=True) if not text]
    if not takers:
        raise Refused(problems[0])
    return takers


def _give_back(alert: Alert, at: datetime, user: User | None, words: str = "") -> None:
    alert.acknowledged_at = alert.acknowledged_by = None
    alert.acknowledge_confirmed_at = alert.acknowledge_reminded_at = None
    alert.updated_at = at
    alert.save(update_fields=_ACKNOWLEDGEMENT)
    _note(alert, _KIND.UNACKNOWLEDGED, user, at, words)


def _must_be_active(alert: Alert) -> None:
    if alert.state == Alert.State.RESOLVED:
        raise Refused("It has resolved already.")


def _note(alert: Alert, kind: str, user: User | None, at: datetime, reason: str = "") -> Event:
    return Event.objects.create(alert=alert, rule_id=alert.rule_id, at=at, kind=kind, reason=reason, actor=user)


def _hold_clocks(group_ids: Sequence[int]) -> None:
    """Keep evaluations of these groups away until the commit, and make them read the alerts' rows afterwards."""
    clocks = GroupClock.objects.select_for_update().filter(group_id__in=group_ids).order_by("pk")
    held = [clock.pk for clock in clocks]
    GroupClock.objects.filter(pk__in=held).update(state_version=F("state_version") + 1)


def _end(alerts: Sequence[Alert], at: datetime, cause: str, words: str, user: User) -> None:
    for alert in alerts:
        alert.state, alert.resolved_at, alert.resolve_reason, alert.updated_at = Alert.State.RESOLVED, at, cause, at
        alert.content_key = None
        alert.save(update_fields=["state", "resolved_at", "resolve_reason", "updated_at", "content_key"])
        _note(alert, _KIND.RESOLVED, user, at, words)
    dispatch.route([alert for alert in alerts if not alert.is_shadow], at)
