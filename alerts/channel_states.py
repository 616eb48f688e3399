"""The speed limits and breakers of channels, shared by all workers through locked rows.

Hides which limits a message falls under: its channel's, its Slack app's, and that of edits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

from alerts import bulk
from alerts.engine import delivery
from alerts.engine.delivery import Admission, Bucket, ChannelView, Fault
from alerts.models import ChannelState, Integration, Notification

# SL-5: about one message a second and channel with short bursts (others saw 25 pass); several hundred a minute and
# workspace; 50 edits a minute. Five at once lets the few groups of one incident speak together.
CHANNEL = Bucket(rate_per_second=1.0, burst=5.0)
APP = Bucket(rate_per_second=200 / 60, burst=20.0)
EDITS = Bucket(rate_per_second=45 / 60, burst=15.0)
UNLIMITED = Bucket(rate_per_second=float("inf"), burst=float("inf"))
_FIELDS = ("tokens", "refilled_at", "blocked_until", "breaker", "failures", "opened_at")


class States:
    """The locked states of some channels inside one transaction; `save` writes those that changed."""

    def __init__(self, rows: Iterable[ChannelState], at: datetime) -> None:
        """Hold `rows`, which the caller has locked."""
        self._at = at
        self._rows = {row.channel_key: row for row in rows}
        self._views = {key: _view(row) for key, row in self._rows.items()}
        self._errors: dict[str, str] = {}

    def admit(self, row: Notification, at: datetime) -> Admission:
        """Whether a message may go now under all its limits; tokens are taken only if every one of them lets it."""
        admissions = {key: delivery.admit(self._of(key, bucket), bucket, at) for key, bucket in _limits(row).items()}
        refused = [admission for admission in admissions.values() if not admission.is_admitted]
        if refused:
            return max(refused, key=lambda admission: admission.not_before or at)
        for key, admission in admissions.items():
            self._views[key] = admission.channel
        return next(iter(admissions.values()))

    def succeeded(self, row: Notification) -> None:
        """Note that a message arrived."""
        for key, bucket in _limits(row).items():
            self._views[key] = delivery.succeeded(self._of(key, bucket))

    def waited(self, row: Notification, at: datetime, seconds: float) -> datetime:
        """Note that the channel asked for a pause; returns until when."""
        key = row.channel_key
        self._views[key] = delivery.waited(self._of(key, CHANNEL), at, seconds)
        return self._views[key].blocked_until or at

    def failed(self, row: Notification, at: datetime, fault: Fault, error: str) -> datetime | None:
        """Note a failure, of the whole app when its account is at fault; returns until when the channel is stopped."""
        key = app_key(row.integration) if fault == "account" and row.integration else row.channel_key
        view = self._views[key] = delivery.failed(self._of(key, CHANNEL), at, fault)
        self._errors[key] = error
        return view.blocked_until if view.breaker == "open" else None

    def opened(self) -> dict[str, datetime]:
        """The channels that were working before and are now stopped, with the moment of it."""
        stopped = {key: view.opened_at for key, view in self._views.items() if view.breaker == "open"}
        return {key: at for key, at in stopped.items() if at is not None and not self._was_stopped(key)}

    def save(self) -> None:
        """Write the states that changed."""
        changed = []
        for key, view in self._views.items():
            row = self._rows[key]
            if view == _view(row) and key not in self._errors:
                continue
            for name, value in asdict(view).items():
                setattr(row, name, value)
            row.last_error = self._errors.get(key, row.last_error)
            changed.append(row)
        bulk.update(changed, [*_FIELDS, "last_error"])

    def _was_stopped(self, key: str) -> bool:
        return self._rows[key].breaker != ChannelState.Breaker.CLOSED

    def _of(self, key: str, bucket: Bucket) -> ChannelView:
        return self._views.get(key) or delivery.fresh(bucket, self._at)


def lock(rows: Iterable[Notification], at: datetime) -> States:
    """The states of all channels that `rows` go to, locked in one order so that two workers cannot deadlock."""
    wanted: dict[str, Bucket] = {}
    for row in rows:
        wanted |= _limits(row)
        if row.integration is not None:  # an error may stop what this message has no limit of
            wanted.setdefault(row.channel_key, CHANNEL)
            wanted.setdefault(app_key(row.integration), APP)
    found = _locked(wanted)
    missing = sorted(set(wanted) - {row.channel_key for row in found})
    if missing:
        fresh = [ChannelState(channel_key=key, **asdict(delivery.fresh(wanted[key], at))) for key in missing]
        ChannelState.objects.bulk_create(fresh, ignore_conflicts=True)
        found = _locked(wanted)
    return States(found, at)


def app_key(integration: Integration) -> str:
    """What shares credentials: the Slack app, or the way out itself where there is none."""
    return f"slack-app:{integration.slack_app_id}" if integration.slack_app_id else integration.channel_key


def keys(row: Notification) -> set[str]:
    """The keys of all states that an error of this message may change."""
    return {row.channel_key, *([app_key(row.integration)] if row.integration else [])}


def _locked(keys: Iterable[str]) -> list[ChannelState]:
    rows = ChannelState.objects.select_for_update(no_key=True).filter(channel_key__in=list(keys))
    return list(rows.order_by("channel_key"))


def _limits(row: Notification) -> dict[str, Bucket]:
    """The limits a message falls under, its channel first."""
    integration = row.integration
    if integration is None:
        return {}
    if integration.kind == Integration.Kind.SLACK_WEBHOOK:
        return {row.channel_key: CHANNEL}
    if integration.kind != Integration.Kind.SLACK:
        return {row.channel_key: UNLIMITED}
    if row.kind == Notification.Kind.UPDATE:
        return {f"slack-edits:{integration.slack_app_id}": EDITS, app_key(integration): APP}
    return {row.channel_key: CHANNEL, app_key(integration): APP}


def _view(row: ChannelState) -> ChannelView:
    return ChannelView(**{name: getattr(row, name) for name in _FIELDS})
