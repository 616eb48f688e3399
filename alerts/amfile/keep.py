"""Rows that agree with a Config: what is there is changed, what is gone from the file goes, what staff made stays.

A file owns what it brought (`managed_by`). Routes are recognised by their place in the tree and their matchers, so a
group of an unchanged route keeps its clock and what it was told (ALERTING.md AL-4, AL-5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, models, transaction

from alerts import amlease, dispatch, route_check
from alerts.amfile.config import Config, ConfigError, InhibitSpec, ReceiverSpec, RouteSpec, Way
from alerts.engine.routing import RouteError
from alerts.models import InhibitRule, Integration, Notification, Receiver, Route, SlackApp, TimeInterval

# Any constant does that no other advisory lock of the portal has.
_LOCK = 0x616C7071
_HIDDEN = "<secret>"


@dataclass
class Kept:
    """What became of each part of the file, in words such as "receiver ml-oncall"."""

    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)  # what is suspicious about the tree as it is then

    def note(self, what: str, is_new: bool, is_changed: bool) -> None:
        """Count one part."""
        (self.new if is_new else self.changed if is_changed else self.same).append(what)


def keep(config: Config, owner: str, at: datetime, *, takes_over: bool = False) -> Kept:
    """Make the rows agree with `config` and lead what fires now through the new tree; all of it or nothing.

    owner: the name of the file. takes_over: also change receivers and time intervals of these names that staff or
    another file made. Raises ConfigError.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        keeper = _Keeper(config, owner, at)
        if not takes_over:
            keeper.check_owners()
        keeper.run()
        try:
            dispatch.reroute(at)
        except RouteError as error:
            raise ConfigError(error.problems) from error
        keeper.kept.findings += route_check.words()
    return keeper.kept


def keep_checked(config: Config, owner: str, at: datetime, *, takes_over: bool = False) -> Kept:
    """What `keep` would do; nothing is changed. Raises ConfigError."""
    with transaction.atomic():
        kept = keep(config, owner, at, takes_over=takes_over)
        transaction.set_rollback(True)
    return kept


class _Keeper:
    """One file on its way into rows."""

    def __init__(self, config: Config, owner: str, at: datetime) -> None:
        self.config, self.owner, self.at = config, owner, at
        self.kept = Kept(notes=list(config.notes))
        self.receivers = {row.name: row for row in Receiver.objects.prefetch_related("integrations")}
        self.intervals = {row.name: row for row in TimeInterval.objects.all()}

    def check_owners(self) -> None:
        """Raise ConfigError for what somebody else owns."""
        root = Route.objects.filter(parent=None).first()
        problems = []
        if root is not None and root.managed_by not in ("", self.owner):
            problems.append(f"route: the root route belongs to {root.managed_by}; import that file, or take it over")
        for spec in self.config.receivers:
            row = self.receivers.get(spec.name)
            if row is not None and row.managed_by != self.owner and (row.managed_by or row.integrations.exists()):
                problems.append(f"receivers: {spec.name} was made {_by(row.managed_by)}; rename one, or take it over")
        for name in self.config.intervals:
            interval = self.intervals.get(name)
            if interval is not None and interval.managed_by != self.owner:
                problems.append(f"time_intervals: {name} was made {_by(interval.managed_by)}; rename, or take it over")
        if problems:
            raise ConfigError(problems)

    def run(self) -> None:
        """Write everything; what goes, goes last, when nothing points to it any more."""
        for spec in self.config.receivers:
            self._receiver(spec)
        for name, intervals in self.config.intervals.items():
            self._interval(name, intervals)
        self._inhibit_rules(self.config.inhibit_rules)
        root = Route.objects.filter(parent=None).first()
        self._route(self.config.root, root, None, 0)
        self._settings()
        self._remove_receivers()
        gone = TimeInterval.objects.filter(managed_by=self.owner).exclude(name__in=self.config.intervals)
        for row in gone:
            if Route.objects.filter(models.Q(mute_intervals=row) | models.Q(active_intervals=row)).exists():
                row.managed_by = ""
                row.save()
                self.kept.notes.append(f"time interval {row} is left to staff: routes of theirs use it")
            else:
                row.delete()
                self.kept.removed.append(f"time interval {row}")

    def _settings(self) -> None:
        row = amlease.settings(self.at)
        row.resolve_timeout_seconds, row.managed_by = self.config.resolve_timeout_seconds, self.owner
        row.save(update_fields=["resolve_timeout_seconds", "managed_by"])

    # Receivers.

    def _receiver(self, spec: ReceiverSpec) -> None:
        row = self.receivers.get(spec.name)
        is_new = row is None
        row = row or Receiver(name=spec.name)
        is_changed = _set(row, {"managed_by": self.owner})
        self.receivers[spec.name] = row
        own = list(row.integrations.filter(managed_by=self.owner).order_by("id")) if not is_new else []
        for way in spec.ways:
            match = _like(way, own)
            if match is not None:
                own.remove(match)
            is_changed |= self._way(row, way, match)
        for left in own:
            is_changed |= self._drop_way(left)
        self.kept.note(f"receiver {spec.name}", is_new, is_changed)

    def _way(self, receiver: Receiver, way: Way, row: Integration | None) -> bool:
        if way.url == _HIDDEN and (row is None or not row.url):
            words = f"receivers: {receiver.name}: <secret> stands for an address that is not known here"
            raise ConfigError([words])
        row = row or Integration(receiver=receiver, kind=way.kind)
        app = self._app(receiver, way, row) if way.kind == Integration.Kind.SLACK else None
        url = row.url if way.url == _HIDDEN else way.url
        return _set(
            row,
            {
                "url": url, "target": way.target[:500], "send_resolved": way.send_resolved,
                "title_template": way.title, "text_template": way.text, "max_alerts": way.max_alerts,
                "managed_by": self.owner, "is_enabled": True, "slack_app_id": app.pk if app else None,
            },
        )  # fmt: skip

    def _app(self, receiver: Receiver, way: Way, row: Integration) -> SlackApp:
        """The Slack app with a way's bot token, made where there is none; a hidden token keeps the app there is."""
        known = row.slack_app if way.token == _HIDDEN else SlackApp.objects.filter(bot_token=way.token).first()
        if known is not None:
            return known
        if way.token == _HIDDEN:
            raise ConfigError([f"receivers: {receiver.name}: <secret> stands for a bot token that is not known here"])
        names = set(SlackApp.objects.values_list("name", flat=True))
        name = next(one for number in range(1, len(names) + 2)
                    if (one := "Slack" if number == 1 else f"Slack {number}") not in names)  # fmt: skip
        self.kept.new.append(f"Slack app {name}")
        return SlackApp.objects.create(name=name, bot_token=way.token)

    def _drop_way(self, row: Integration) -> bool:
        """Delete a way out; one through which people were told is switched off, for what was told stays readable."""
        if not Notification.objects.filter(integration=row).exists():
            row.delete()
            return True
        return _set(row, {"is_enabled": False})

    def _remove_receivers(self) -> None:
        names = {spec.name for spec in self.config.receivers}
        for row in Receiver.objects.filter(managed_by=self.owner).exclude(name__in=names):
            is_used = Route.objects.filter(receiver=row).exists()
            if is_used or Notification.objects.filter(integration__receiver=row).exists():
                if not is_used:
                    row.integrations.update(is_enabled=False)
                _set(row, {"managed_by": ""})
                why = "routes of theirs use it" if is_used else "people were told by it; it is switched off"
                self.kept.notes.append(f"receiver {row} is left to staff: {why}")
            else:
                row.delete()
                self.kept.removed.append(f"receiver {row}")

    # Times and inhibition.

    def _interval(self, name: str, spec: Sequence[Mapping[str, Any]]) -> None:
        row = self.intervals.get(name)
        is_new = row is None
        row = self.intervals[name] = row or TimeInterval(name=name)
        is_changed = _set(row, {"spec": [dict(one) for one in spec], "managed_by": self.owner})
        self.kept.note(f"time interval {name}", is_new, is_changed)

    def _inhibit_rules(self, specs: Iterable[InhibitSpec]) -> None:
        own = list(InhibitRule.objects.filter(managed_by=self.owner).order_by("id"))
        for spec in specs:
            fields = {"source_matchers": [*spec.source], "target_matchers": [*spec.target], "equal": [*spec.equal]}
            match = next((row for row in own if all(getattr(row, n) == v for n, v in fields.items())), None)
            if match is not None:
                own.remove(match)
            row = match or InhibitRule(managed_by=self.owner, **fields)
            is_changed = _set(row, {"is_enabled": True})
            self.kept.note(f"inhibit rule {row}", match is None, is_changed)
        for row in own:
            self.kept.removed.append(f"inhibit rule {row}")
            row.delete()

    # Routes.

    def _route(self, spec: RouteSpec, row: Route | None, parent: Route | None, position: int) -> Route:
        is_new = row is None
        row = row or Route(parent=parent)
        is_changed = _set(
            row,
            {
                "position": position, "matchers": [*spec.matchers], "goes_on": spec.continues,
                "receiver_id": self.receivers[spec.receiver].pk if spec.receiver else None,
                "group_by": None if spec.group_by is None else [*spec.group_by],
                "group_wait_seconds": spec.group_wait_seconds,
                "group_interval_seconds": spec.group_interval_seconds,
                "repeat_interval_seconds": spec.repeat_interval_seconds, "managed_by": self.owner,
            },
        )  # fmt: skip
        for names, relation in (
            (spec.mute_intervals, row.mute_intervals),
            (spec.active_intervals, row.active_intervals),
        ):
            wanted = {self.intervals[name].pk for name in names}
            if wanted != set(relation.values_list("pk", flat=True)):
                relation.set(wanted)
                is_changed = True
        self.kept.note(f"route {row}", is_new, is_changed)
        self._children(spec, row)
        return row

    def _children(self, spec: RouteSpec, row: Route) -> None:
        there = list(row.children.order_by("position", "id"))
        own = [child for child in there if child.managed_by]
        staff = [child for child in there if not child.managed_by]
        for position, child in enumerate(spec.routes):
            match = next((one for one in own if one.matchers == [*child.matchers]), None)
            if match is not None:
                own.remove(match)
            self._route(child, match, row, position)
        for gone in own:
            staff += self._drop_route(gone)
        for position, one in enumerate(staff, len(spec.routes)):
            _set(one, {"parent_id": row.pk, "position": position})
            self.kept.notes.append(f"route {one} was made by hand; it stays, after those of the file")

    def _drop_route(self, row: Route) -> list[Route]:
        """Delete a route of a file; returns the routes below it that staff made, which move up."""
        staff: list[Route] = []
        for child in row.children.all():
            staff += self._drop_route(child) if child.managed_by else [child]
        Route.objects.filter(pk__in=[child.pk for child in staff]).update(parent=row.parent_id)
        self.kept.removed.append(f"route {row}")
        row.delete()
        return staff


def _set(row: models.Model, values: Mapping[str, Any]) -> bool:
    """Save a row when it is new or any of `values` is; returns whether it was."""
    changed = [name for name, value in values.items() if getattr(row, name) != value]
    for name in changed:
        setattr(row, name, values[name])
    if changed or row.pk is None:
        row.save()
        return True
    return False


def _like(way: Way, rows: Sequence[Integration]) -> Integration | None:
    """The row that a way out is now: the same address, else the first of its kind."""
    kind = [row for row in rows if row.kind == way.kind]
    same = [row for row in kind if way.url in (row.url, _HIDDEN) and way.target == row.target]
    return next(iter(same or kind), None)


def _by(owner: str) -> str:
    return f"by {owner}" if owner else "by hand"
