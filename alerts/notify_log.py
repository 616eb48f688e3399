"""Ways out and what each of them was told about a group, as values of the engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from alerts.engine.routing import Route
from alerts.engine.timing import LogEntry, TimingSettings
from alerts.models import Integration, NotifyLog


def ways_out(receiver_ids: Iterable[int | None]) -> dict[int, list[Integration]]:
    """The ways out that are switched on, by receiver, in order."""
    found: dict[int, list[Integration]] = defaultdict(list)
    enabled = Integration.objects.filter(receiver__in=set(receiver_ids) - {None}, is_enabled=True)
    for integration in enabled.select_related("receiver").order_by("id"):
        found[integration.receiver_id].append(integration)
    return found


def entry(row: NotifyLog | None) -> LogEntry | None:
    """The log of one way out about one group."""
    # told_at and not flushed_at: an edit notifies nobody, so repeats count from the last new message (DL-10).
    return None if row is None else LogEntry(
        frozenset(row.firing), frozenset(row.resolved), row.told_at, row.expires_at
    )  # fmt: skip


def settings(route: Route, *, send_resolved: bool, was_silenced: bool = False) -> TimingSettings:
    """The times of a route for one way out; was_silenced: whatever resolved unheard did so below a silence."""
    return TimingSettings(
        group_interval_seconds=route.group_interval_seconds,
        repeat_interval_seconds=route.repeat_interval_seconds,
        send_resolved=send_resolved,
        announce_after_swallowed_resolve=was_silenced,
        tell_missed_episodes=True,
    )
