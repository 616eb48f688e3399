"""What is suspicious about the routes as they are, for the list of routes and the report of an import."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.db.models import Exists, OuterRef

from alerts import escalation_policies, policy
from alerts.engine.route_lint import RouteFinding, lint_routes
from alerts.engine.routing import Route
from alerts.models import Group, Integration, Receiver
from alerts.models import Route as RouteRow
from monitoring.promql import Labels


def findings() -> list[RouteFinding]:
    """Remarks about the tree of routes; none while there is no tree. Raises RouteError for a broken one."""
    if not RouteRow.objects.exists():
        return []
    routing = policy.routing()
    ways = Integration.objects.filter(receiver=OuterRef("pk"), is_enabled=True)
    idle = set(Receiver.objects.exclude(Exists(ways)).values_list("name", flat=True))
    receivers = {*routing.receiver_ids, policy.NOBODY}
    found = lint_routes(routing.tree, receivers, set(routing.intervals), idle, _escalated(routing))
    return [*_no_room(routing), *_root_without_receiver(routing), *found]


def words() -> list[str]:
    """The remarks as sentences."""
    return [finding.message for finding in findings()]


def _escalated(routing: policy.Routing) -> list[int]:
    """The routes whose critical alerts run through a policy: their own, one from above, or one that takes all."""
    book = escalation_policies.book()
    return [route.id for route, labels in _walk(routing.tree.root, {}) if book.choose(Labels.of(labels), route.id)]


def _walk(route: Route, above: dict[str, str]) -> Iterator[tuple[Route, dict[str, str]]]:
    """Each route with the labels that its critical alerts surely have."""
    pinned = {matcher.name: matcher.value for matcher in route.matchers if matcher.op == "=" and matcher.value}
    labels = {**above, **pinned, "severity": "critical"}
    yield route, labels
    for child in route.children:
        yield from _walk(child, labels)


def _root_without_receiver(routing: policy.Routing) -> list[RouteFinding]:
    root = routing.tree.root
    if root.receiver != policy.NOBODY:
        return []
    message = "the root route has no receiver: what no branch takes is kept and told to nobody"
    return [RouteFinding(root.id, "no-receiver", "warning", message)]


def _no_room(routing: policy.Routing) -> list[RouteFinding]:
    count, most = Group.objects.count(), settings.ENV.most_groups
    if count < most:
        return []
    message = (
        f"there are {count:,} groups of alerts, as many as there may be (ALPHAQ_MOST_GROUPS): further alerts of a "
        "route are told in one group; look for a label in group_by that grows for ever"
    )
    return [RouteFinding(routing.tree.root.id, "too-many-groups", "error", message)]
