"""What every page shows of the portal's own state: the bar in the header and the sidebar with its live badge.

Hides: how the state is read (three queries) and that a process keeps it for a few seconds.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Min, Q
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from alerts import alert_list
from alerts.models import Alert, GroupClock, Notification
from alerts.stopped import is_stopped
from alphaq_portal.chrome import NAVIGATION, Entry

# Pages ask every 10 s; what is younger than this is told again without asking the database.
KEEP_SECONDS = 4.0
# A group is due once in its interval and the tick comes every second: less than this is on time.
LATE_SECONDS = 10.0
# Longer without an answer, and a critical alert needs somebody by name.
ANSWER_WITHIN = timedelta(minutes=15)
SEVERITIES = ("critical", "warning", "info")


@dataclass(frozen=True)
class PortalStatus:
    """The portal's state at one moment: who fires, how late the evaluator is, what waits to be told."""

    at: datetime
    firing: dict[str, int] = field(default_factory=dict)  # by severity, worst first
    unanswered: int = 0  # critical ones that nobody has acknowledged or snoozed within ANSWER_WITHIN
    groups: int = 0  # rule groups that are on
    stopped: int = 0  # rule groups that have not been evaluated for so long that their alerts are stale
    lag_seconds: float = 0.0  # how long the oldest due group waits
    backlog: int = 0  # notifications waiting or being sent
    kept: int = 0  # notifications kept because no way out is configured
    dead: int = 0  # notifications given up

    @property
    def firing_count(self) -> int:
        """Problems firing at any severity; one series past two limits is one."""
        return sum(self.firing.values())

    @property
    def is_late(self) -> bool:
        """Whether the evaluator is behind its plan."""
        return self.lag_seconds > LATE_SECONDS


def read_status(at: datetime) -> PortalStatus:
    """Return the state at `at` from the database, in three queries."""
    rows = list(
        alert_list.problems(Alert.objects.filter(state=Alert.State.FIRING, is_shadow=False))
        .order_by()
        .values("severity")
        .annotate(count=Count("id"), unanswered=Count("id", filter=_is_unanswered(at)))
    )
    counts = {row["severity"] or "none": row["count"] for row in rows}
    order = [name for name in SEVERITIES if name in counts] + sorted(set(counts) - set(SEVERITIES))
    clocks = GroupClock.objects.filter(group__is_enabled=True).aggregate(
        due=Min("next_slot_at"), groups=Count("pk"), stopped=Count("pk", filter=is_stopped(at, "group__"))
    )
    state = Notification.State
    waiting = (state.QUEUED, state.SENDING, state.KEPT, state.DEAD)
    messages = dict(
        Notification.objects.filter(state__in=waiting)
        .order_by()
        .values_list("state")
        .annotate(count=Count("id"))
    )  # fmt: skip
    late = (at - clocks["due"]).total_seconds() if clocks["due"] else 0.0
    return PortalStatus(
        at=at,
        firing={name: counts[name] for name in order},
        unanswered=sum(row["unanswered"] for row in rows),
        groups=clocks["groups"],
        stopped=clocks["stopped"],
        lag_seconds=max(0.0, late),
        backlog=messages.get(state.QUEUED, 0) + messages.get(state.SENDING, 0),
        kept=messages.get(state.KEPT, 0),
        dead=messages.get(state.DEAD, 0),
    )


def _is_unanswered(at: datetime) -> Q:
    is_free = Q(acknowledged_at=None) & (Q(snoozed_until=None) | Q(snoozed_until__lte=at))
    return is_free & Q(severity="critical", fired_at__lt=at - ANSWER_WITHIN)


class _Kept:
    """The newest status of this process; several threads may read it while one asks anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._status: PortalStatus | None = None

    def get(self, at: datetime) -> PortalStatus:
        status = self._status
        # A page takes its moment before it is drawn, so what is kept may be a little younger than `at`.
        if status is None or abs((at - status.at).total_seconds()) >= KEEP_SECONDS:
            with self._lock:
                status = self._status = read_status(at)
        return status

    def forget(self) -> None:
        self._status = None


_kept = _Kept()


def status(at: datetime) -> PortalStatus:
    """Return the portal's state, at most KEEP_SECONDS old."""
    return _kept.get(at)


def forget() -> None:
    """Make the next `status` ask the database; for tests and after an action that changes what fires."""
    _kept.forget()


def page_context(request: HttpRequest) -> dict[str, Any]:
    """Return what Unfold adds to the context of every page: `portal_status`, read only when a page shows it."""
    if not request.user.has_perm("alerts.view_alert"):
        return {}
    return {"portal_status": SimpleLazyObject(lambda: status(timezone.now())), "portal_pages": pages()}


def pages() -> dict[str, str]:
    """Return the addresses of the sidebar's pages by the first word of their titles, such as "alerts"."""
    entries = (entry for _, group in NAVIGATION for entry in group)
    return {entry.title.split()[0].lower(): found[0] for entry in entries if (found := _addresses(entry))}


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar for this user: only pages that exist and that they may open."""
    groups = []
    for title, entries in NAVIGATION:
        items = [item for entry in entries if (item := _item(request, entry))]
        if items:
            groups.append({"title": title, "separator": bool(title), "items": items})
    return groups


def _item(request: HttpRequest, entry: Entry) -> dict[str, Any] | None:
    link = next(iter(_addresses(entry)), "")
    if not link or (entry.permission and not request.user.has_perm(entry.permission)):
        return None
    item: dict[str, Any] = {"title": entry.title, "icon": entry.icon, "link": link, "active": _is_here(request, entry)}
    if entry.badge == "firing":
        count = status(timezone.now()).firing_count
        # Unfold draws a badge for any text; none at all when nothing fires.
        item |= {"badge": str(count), "badge_style": "solid"} if count else {}
    return item


def _is_here(request: HttpRequest, entry: Entry) -> bool:
    """Whether the page asked for is the entry's or below it; Unfold would find "/alerts/" in "/admin/alerts/rule/"."""
    if entry.pages == ("admin:index",):
        return request.path == reverse("admin:index")
    return any(request.path.startswith(place) for place in (*_addresses(entry), entry.under) if place)


def _addresses(entry: Entry) -> list[str]:
    """Return the addresses of the entry's pages that exist, the best first."""
    found = []
    for name in entry.pages:
        with contextlib.suppress(NoReverseMatch):
            found.append(reverse(name))
    return found
