"""Silences as Alertmanager's API makes, changes and ends them.

Source of the rules: Alertmanager 0.25, silence/silence.go Set and Expire (ALERTING.md AS-2, AS-7, AS-8). What people do
on pages is in alerts.actions; both keep the same rows.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction

from alerts import bulk, policy
from alerts.engine import silences as engine
from alerts.engine.matching import MatcherError, checked_matcher, format_matchers
from alerts.engine.silences import InvalidSilence
from alerts.models import Alert, Event, Silence
from alerts.models.validate import LABEL_NAME
from monitoring.promql import Labels, Matcher

__all__ = ["InvalidSilence", "PostedSilence", "SilenceNotFoundError", "expire", "find", "keep", "listed"]


class SilenceNotFoundError(LookupError):
    """There is no silence of that id."""


@dataclass(frozen=True)
class PostedSilence:
    """A silence as somebody wants it; `id` names the one to change."""

    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    comment: str
    id: uuid.UUID | None = None


def matcher(name: str, value: str, *, is_regex: bool, is_equal: bool) -> Matcher:
    """A matcher from the API's four fields; raises MatcherError for a bad name or a regular expression that is none."""
    if not LABEL_NAME.fullmatch(name):
        raise MatcherError(f'invalid label name "{name}"')
    op = ("=~" if is_equal else "!~") if is_regex else ("=" if is_equal else "!=")
    return checked_matcher(op, name, value)


@transaction.atomic
def keep(posted: PostedSilence, at: datetime, author_id: int | None = None) -> uuid.UUID:
    """Make a silence, or change the one that `posted` names; returns the id it has from now on.

    A change that is more than a new end makes another silence in its place (AS-7). Raises SilenceNotFoundError and
    InvalidSilence.
    """
    row = find(posted.id, is_locked=True) if posted.id else None
    old = policy.silence_value(row) if row else None
    starts_at = _same_start(old, posted.starts_at)
    wanted = engine.Silence(
        str(posted.id or ""), posted.matchers, starts_at, posted.ends_at, posted.created_by, posted.comment,
        old.recurrence if old else None,
    )  # fmt: skip
    checked = engine.check_silence(wanted, at)
    if row is not None and old is not None:
        if engine.can_update(old, wanted, at):
            row.starts_at, row.ends_at = wanted.starts_at, wanted.ends_at
            row.created_by, row.comment = wanted.author, wanted.comment
            row.save()
            return row.uuid
        _expire(row, at)
    made = Silence.objects.create(
        matchers=list(map(_text, posted.matchers)), starts_at=checked.starts_at, ends_at=checked.ends_at,
        created_by=posted.created_by[:200], comment=posted.comment, author_id=author_id,
        **policy.recurrence_columns(wanted.recurrence),
    )  # fmt: skip
    _note_covered(made, checked, at)
    return made.uuid


@transaction.atomic
def expire(id_: uuid.UUID, at: datetime) -> None:
    """End a silence now; one that has ended stays as it is (AS-8). Raises SilenceNotFoundError."""
    _expire(find(id_, is_locked=True), at)


def find(id_: uuid.UUID | None, *, is_locked: bool = False) -> Silence:
    """The silence of an id; raises SilenceNotFoundError."""
    rows = Silence.objects.select_for_update() if is_locked else Silence.objects.all()
    row = rows.filter(uuid=id_).first() if id_ else None
    if row is None:
        raise SilenceNotFoundError(f"silence {id_} not found")
    return row


def listed(filter_: Sequence[Matcher], at: datetime) -> list[Silence]:
    """All silences in the API's order: active by end, pending by start, expired by end, the latest first (AP-5).

    filter_: only silences that have each of these matchers, literally.
    """
    found: list[tuple[str, Silence]] = []
    for row in Silence.objects.all():
        value = policy.silence_value(row)
        if all(one in value.matchers for one in filter_):
            found.append((value.state(at), row))
    active = sorted((row for state, row in found if state == "active"), key=lambda row: row.ends_at)
    pending = sorted((row for state, row in found if state == "pending"), key=lambda row: row.starts_at)
    expired = sorted((row for state, row in found if state == "expired"), key=lambda row: row.ends_at, reverse=True)
    return [*active, *pending, *expired]


def _expire(row: Silence, at: datetime) -> None:
    ended = engine.expire(policy.silence_value(row), at)
    if (row.starts_at, row.ends_at) != (ended.starts_at, ended.ends_at):
        row.starts_at, row.ends_at = ended.starts_at, ended.ends_at
        row.save()


def _same_start(old: engine.Silence | None, starts_at: datetime) -> datetime:
    """The start that was meant: the API tells times to the millisecond, and clients send back what they were told."""
    if old is None:
        return starts_at
    told = old.starts_at.replace(microsecond=old.starts_at.microsecond // 1000 * 1000)
    return old.starts_at if starts_at == told else starts_at


def _text(one: Matcher) -> str:
    return format_matchers([one])[1:-1]


def _note_covered(row: Silence, value: engine.Silence, at: datetime) -> None:
    """A line in the history of every firing alert that a new silence covers."""
    firing = Alert.objects.filter(state=Alert.State.FIRING, is_shadow=False).values_list("pk", "rule_id", "labels")
    index = engine.SilenceIndex([replace(value, starts_at=min(value.starts_at, at))], at)
    words = f"Until {row.ends_at:%Y-%m-%d %H:%M} UTC by {row.created_by}: {row.comment}"
    bulk.insert(
        [
            Event(alert_id=pk, rule_id=rule_id, at=at, kind=Event.Kind.SILENCED, reason=words, actor_id=row.author_id)
            for pk, rule_id, labels in firing.iterator(chunk_size=5000)
            if index.covering(Labels.of(labels))
        ]
    )
