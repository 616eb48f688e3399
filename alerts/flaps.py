"""Which alerts of the groups that tick flap, kept in rows so that a restart does not forget it.

Only what has just ended, came back before its end was told, or was flapping before is looked at: alerts that fire for
the first time, however many, cost nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q

from alerts import policy
from alerts.engine.flapping import Flapping, FlapSettings, detect
from alerts.models import Alert, Flap

_CARRIED = ["acknowledged_at", "acknowledged_by", "snoozed_until", "updated_at"]


@dataclass(frozen=True)
class Watched:
    """What flaps among the alerts that were looked at, by fingerprint, with words; and what has just turned."""

    flapping: Mapping[str, str] = field(default_factory=dict)
    begun: frozenset[str] = frozenset()
    calmed: frozenset[str] = frozenset()


def watch(alerts: Iterable[Alert], at: datetime) -> Watched:
    """Look at the alerts of groups that tick, all rows of a label set in order of their ids; writes what has turned.

    Call it inside the transaction of the tick. A flapping alert that fires anew keeps who has it in hand.
    """
    given = _settings()
    if given is None:
        return Watched()
    rows: dict[str, list[Alert]] = defaultdict(list)
    for alert in alerts:
        rows[alert.fingerprint].append(alert)
    open_ = {flap.fingerprint: flap for flap in Flap.objects.filter(ended_at__isnull=True)}
    looked_at = [
        fingerprint for fingerprint, own in rows.items()
        if len(own) > 1 or fingerprint in open_ or policy.is_resolved(own[-1], at)
    ]  # fmt: skip
    found = _detect(looked_at, open_, at, given)
    begun, calmed = set(), set()
    for fingerprint, one in found.items():
        flap = open_.get(fingerprint)
        if one.state.is_flapping and flap is None:
            begun.add(fingerprint)
            _begin(rows[fingerprint][-1], one, at)
        elif flap is not None:
            if not one.state.is_flapping:
                calmed.add(fingerprint)
            _go_on(flap, one, at)
        if one.state.is_flapping:
            _carry_over(rows[fingerprint], at)
    words = {fingerprint: one.state.words for fingerprint, one in found.items() if one.state.is_flapping}
    return Watched(words, frozenset(begun), frozenset(calmed))


def standing(fingerprints: Collection[str], at: datetime) -> dict[str, str]:
    """Those of these label sets that flap at `at`, with the words for it."""
    given = _settings()
    open_ = {flap.fingerprint: flap for flap in Flap.objects.filter(fingerprint__in=fingerprints, ended_at=None)}
    if given is None or not open_:
        return {}
    found = _detect(list(open_), open_, at, given)
    return {fingerprint: one.state.words for fingerprint, one in found.items() if one.state.is_flapping}


@dataclass(frozen=True)
class _Found:
    state: Flapping
    times: Sequence[datetime]


def _settings() -> FlapSettings | None:
    """How many changes make an alert flap, None when nothing ever does."""
    changes = settings.ENV.flapping_changes
    return FlapSettings(start_changes=changes) if changes else None


def _detect(
    fingerprints: Sequence[str], open_: Mapping[str, Flap], at: datetime, given: FlapSettings
) -> dict[str, _Found]:
    """Each label set with what its changes inside the window amount to."""
    if not fingerprints:
        return {}
    opens = at - timedelta(seconds=given.window_seconds)
    rows = Alert.objects.filter(Q(fired_at__gt=opens) | Q(resolved_at__gt=opens) | Q(ends_at__gt=opens))
    rows = rows.filter(fingerprint__in=fingerprints, is_shadow=False)
    times: dict[str, list[datetime]] = {fingerprint: [] for fingerprint in fingerprints}
    for fingerprint, *moments in rows.values_list("fingerprint", "fired_at", "resolved_at", "ends_at"):
        fired_at, resolved_at, ends_at = moments
        times[fingerprint] += [moment for moment in (fired_at, resolved_at or ends_at) if moment is not None]
    return {
        fingerprint: _Found(detect(changes, at, given, was_flapping=fingerprint in open_), changes)
        for fingerprint, changes in times.items()
    }


def _begin(alert: Alert, one: _Found, at: datetime) -> None:
    last = max(moment for moment in one.times if moment <= at)
    Flap.objects.get_or_create(
        fingerprint=alert.fingerprint, ended_at=None,
        defaults={
            "rule_id": alert.rule_id, "name": alert.name, "began_at": at, "changes": one.state.changes,
            "last_change_at": last,
        },
    )  # fmt: skip


def _go_on(flap: Flap, one: _Found, at: datetime) -> None:
    """Count what has changed since; a calm one is over."""
    fresh = sorted(moment for moment in one.times if flap.last_change_at < moment <= at)
    if fresh:
        flap.changes, flap.last_change_at = flap.changes + len(fresh), fresh[-1]
    if not one.state.is_flapping:
        flap.ended_at = at
    if fresh or flap.ended_at:
        flap.save(update_fields=["changes", "last_change_at", "ended_at"])


def _carry_over(rows: Sequence[Alert], at: datetime) -> None:
    """Let the newest row of a problem know who has it: each time it fires it is a row of its own."""
    if len(rows) < 2 or rows[-1].acknowledged_at or rows[-1].snoozed_until:
        return
    before, now = rows[-2], rows[-1]
    if before.acknowledged_at is None and before.snoozed_until is None:
        return
    now.acknowledged_at, now.acknowledged_by = before.acknowledged_at, before.acknowledged_by
    now.snoozed_until, now.updated_at = before.snoozed_until, at
    now.save(update_fields=_CARRIED)
