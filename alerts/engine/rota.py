"""Who is on call: a weekly rota that hands over at a wall time, and overrides that take precedence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from alerts.engine.intervals import zone


@dataclass(frozen=True, slots=True)
class Override:
    """One person takes over for a while."""

    user: str
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Rota:
    """People who take turns, the first of them from the handover on `starts_on`."""

    name: str
    members: tuple[str, ...]
    starts_on: date  # a handover day; its weekday is the one on which turns change
    handover_minute: int = 9 * 60  # of the day, in `location`
    location: str = "UTC"
    weeks_per_turn: int = 1
    overrides: tuple[Override, ...] = ()


@dataclass(frozen=True, slots=True)
class Shift:
    """One person on call for a span of time, its end excluded."""

    user: str
    starts_at: datetime
    ends_at: datetime
    is_override: bool = False


def on_call(rota: Rota, at: datetime) -> Shift | None:
    """Who is on call at `at` and until when; None before the rota starts, or without members.

    Of several overrides that hold the one that started last counts: it is the newest wish.
    """
    turn = _turn(rota, at)
    holding = [one for one in rota.overrides if one.starts_at <= at < one.ends_at]
    if holding:
        user = max(holding, key=lambda override: override.starts_at).user
    elif turn is not None and rota.members:
        user = rota.members[turn % len(rota.members)]
    else:
        return None
    # Whoever has it now has it between the two nearest moments at which anything changes.
    changes = [moment for one in rota.overrides for moment in (one.starts_at, one.ends_at)]
    changes += [_handover(rota, 0)] if turn is None else [_handover(rota, turn), _handover(rota, turn + 1)]
    starts_at = max(moment for moment in changes if moment <= at)
    return Shift(user, starts_at, min(moment for moment in changes if moment > at), bool(holding))


def shifts(rota: Rota, starts_at: datetime, ends_at: datetime) -> Iterator[Shift]:
    """The shifts between two times, in order, for a calendar; spans in which nobody is on call are left out."""
    at = max(starts_at, _handover(rota, 0))
    while at < ends_at:
        shift = on_call(rota, at)
        if shift is None:
            return
        yield Shift(shift.user, max(shift.starts_at, starts_at), min(shift.ends_at, ends_at), shift.is_override)
        at = shift.ends_at


def _turn(rota: Rota, at: datetime) -> int | None:
    """The number of the turn that `at` is in, None before the first."""
    day = at.astimezone(zone(rota.location)).date()
    turn = (day - rota.starts_on).days // (7 * rota.weeks_per_turn)
    # On a handover day, the hours before the handover belong to the turn before.
    turn -= at < _handover(rota, turn)
    return turn if turn >= 0 else None


def _handover(rota: Rota, turn: int) -> datetime:
    day = rota.starts_on + timedelta(weeks=turn * rota.weeks_per_turn)
    wall = datetime.combine(day, time(rota.handover_minute // 60, rota.handover_minute % 60))
    return wall.replace(tzinfo=zone(rota.location)).astimezone(UTC)
