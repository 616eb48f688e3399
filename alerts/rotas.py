"""Rotas and people as the engine and the outbox need them: who is on call, and the ways out of one person.

A person is told through a receiver of their own, made from their e-mail address and Slack link when first needed; staff
may add ways to it or switch one off like those of any receiver.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

from alerts.engine import rota as engine
from alerts.engine.intervals import zone
from alerts.models import Integration, Receiver, Rota, SlackApp, SlackLink

User = Any  # settings.AUTH_USER_MODEL
TONES = 10  # colours of the calendar; more people share them


def value(row: Rota) -> engine.Rota:
    """A rota as the engine sees it; people are named by their user name."""
    return engine.Rota(
        name=row.name,
        members=tuple(member.user.get_username() for member in row.members.select_related("user")),
        starts_on=row.starts_on,
        handover_minute=row.handover_at.hour * 60 + row.handover_at.minute,
        location=row.location,
        weeks_per_turn=row.weeks_per_turn,
        overrides=tuple(
            engine.Override(one.user.get_username(), one.starts_at, one.ends_at)
            for one in row.overrides.select_related("user").order_by("starts_at", "id")
        ),
    )


def on_call(row: Rota, at: datetime) -> engine.Shift | None:
    """Who is on call at `at` and until when; None before the first handover or without members."""
    return engine.on_call(value(row), at)


def own_receiver(user: User) -> Receiver:
    """The receiver of one person, with the ways out that are known of them now; it may have none."""
    receiver = Receiver.objects.filter(user=user).first() or _new_receiver(user)
    kinds = set(receiver.integrations.values_list("kind", flat=True))
    if user.email and Integration.Kind.EMAIL not in kinds:
        Integration.objects.create(receiver=receiver, kind=Integration.Kind.EMAIL, target=user.email)
    link = SlackLink.objects.filter(user=user).order_by("-linked_at").first()
    app = SlackApp.objects.exclude(bot_token="").order_by("id").first()
    if link is not None and app is not None and Integration.Kind.SLACK not in kinds:
        # Slack opens a direct message when a member's ID stands in place of a channel's.
        Integration.objects.create(
            receiver=receiver, kind=Integration.Kind.SLACK, slack_app=app, target=link.slack_user_id
        )
    return receiver


def _new_receiver(user: User) -> Receiver:
    name = f"{user.get_username()} (personal)"
    if Receiver.objects.filter(name=name).exists():
        name = f"{name} {user.pk}"
    return Receiver.objects.create(name=name, user=user)


def ways(receivers: Iterable[Receiver]) -> list[Integration]:
    """The ways out of these receivers that are switched on, each once."""
    rows = Integration.objects.filter(receiver__in=list(receivers), is_enabled=True)
    return list(rows.select_related("receiver", "slack_app").order_by("id"))


# -- the calendar ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    """One person's part of a day, in the rota's wall time."""

    user: str
    span: str  # "from 09:00", "09:00–17:00", "" for the whole day
    is_override: bool
    tone: int  # 1 to 10, the same for one person on the whole calendar


@dataclass(frozen=True)
class Day:
    """One day of the calendar."""

    date: date
    is_today: bool
    turns: tuple[Turn, ...]


def weeks(row: Rota, at: datetime, count: int = 6) -> list[list[Day]]:
    """`count` weeks from the one that `at` is in, each of seven days from Monday on."""
    rota, place = value(row), zone(row.location)
    today = at.astimezone(place).date()
    first = today - timedelta(days=today.weekday())
    tones: dict[str, int] = {}
    for name in rota.members:
        tones.setdefault(name, len(tones) % TONES + 1)
    days = [
        Day(day, day == today, _turns(rota, day, tones, place))
        for day in (first + timedelta(days=number) for number in range(7 * count))
    ]
    return [days[start : start + 7] for start in range(0, len(days), 7)]


def _turns(rota: engine.Rota, day: date, tones: dict[str, int], place: tzinfo) -> tuple[Turn, ...]:
    starts_at, ends_at = (_midnight(one, place) for one in (day, day + timedelta(days=1)))
    merged: list[engine.Shift] = []
    for shift in engine.shifts(rota, starts_at, ends_at):
        last = merged[-1] if merged else None
        if last and (last.user, last.is_override, last.ends_at) == (shift.user, shift.is_override, shift.starts_at):
            merged[-1] = engine.Shift(last.user, last.starts_at, shift.ends_at, last.is_override)
        else:
            merged.append(shift)
    return tuple(
        Turn(one.user, _span(one, starts_at, ends_at, place), one.is_override, _tone(one.user, tones)) for one in merged
    )


def _span(shift: engine.Shift, starts_at: datetime, ends_at: datetime, place: tzinfo) -> str:
    first, last = (f"{moment.astimezone(place):%H:%M}" for moment in (shift.starts_at, shift.ends_at))
    if shift.starts_at <= starts_at and shift.ends_at >= ends_at:
        return ""
    if shift.starts_at <= starts_at:
        return f"until {last}"
    return f"from {first}" if shift.ends_at >= ends_at else f"{first}–{last}"


def _tone(user: str, tones: dict[str, int]) -> int:
    return tones.setdefault(user, len(tones) % TONES + 1)


def _midnight(day: date, place: tzinfo) -> datetime:
    return datetime.combine(day, time(), tzinfo=place).astimezone(UTC)
