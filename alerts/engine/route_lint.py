"""What is suspicious about a tree of routes that would work: nodes nobody reaches, names that nobody knows, critical
alerts that wait for somebody for ever."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from alerts.engine.routing import Route, Tree
from monitoring.promql import Matcher

_SEVERITY, _CRITICAL = "severity", "critical"
_UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class RouteFinding:
    """One remark about a route; `level` is "error" when the tree must not be saved, else "warning"."""

    route_id: int
    code: str
    level: str
    message: str


def lint_routes(
    tree: Tree,
    receivers: Collection[str],
    intervals: Collection[str] = (),
    idle_receivers: Collection[str] = (),
    escalated: Collection[int] | None = None,
) -> list[RouteFinding]:
    """Remarks about `tree`, given the names that exist; `idle_receivers` are those without any way out.

    escalated: ids of the routes whose critical alerts have an escalation policy; None does not ask for that.
    """
    findings: list[RouteFinding] = []
    for route in tree.routes():
        findings += _names(route, set(receivers), set(intervals), set(idle_receivers))
        findings += _shadowed(route)
    findings += _contradictions(tree.root, ())
    if escalated is not None:
        unreachable = {finding.route_id for finding in findings if finding.code == _UNREACHABLE}
        findings += _unanswered(tree.root, set(escalated), unreachable)
    return findings


def _names(route: Route, receivers: set[str], intervals: set[str], idle: set[str]) -> Iterator[RouteFinding]:
    if route.receiver not in receivers:
        yield RouteFinding(
            route.id, "unknown-receiver", "error", f"{route.title} sends to {route.receiver!r}, which does not exist"
        )
    elif route.receiver in idle:
        yield RouteFinding(
            route.id, "idle-receiver", "warning", f"{route.title} sends to {route.receiver}, which has no channel"
        )
    for name in (*route.active_intervals, *route.mute_intervals):
        if name not in intervals:
            yield RouteFinding(
                route.id, "unknown-interval", "error", f"{route.title} names the unknown time interval {name!r}"
            )


def _shadowed(route: Route) -> Iterator[RouteFinding]:
    """Children that an earlier sibling without continue always takes away: its matchers are a part of theirs."""
    for position, child in enumerate(route.children):
        for earlier in route.children[:position]:
            if not earlier.continues and set(earlier.matchers) <= set(child.matchers):
                message = f"{child.title} is never reached: {earlier.title} before it takes the same alerts"
                yield RouteFinding(child.id, _UNREACHABLE, "warning", f"{message} and does not continue")
                break


def _contradictions(route: Route, above: tuple[Matcher, ...]) -> Iterator[RouteFinding]:
    """Routes whose own and inherited matchers can never hold together."""
    path = (*above, *route.matchers)
    clash = _clash(path)
    if clash:
        yield RouteFinding(route.id, _UNREACHABLE, "warning", f"{route.title} is never reached: {clash}")
        return
    for child in route.children:
        yield from _contradictions(child, path)


def _clash(matchers: tuple[Matcher, ...]) -> str:
    """Why no label set can satisfy `matchers`, as far as equality shows it; "" when one may."""
    wanted: dict[str, Matcher] = {}
    for matcher in matchers:
        if matcher.op == "=" and wanted.setdefault(matcher.name, matcher).value != matcher.value:
            return f"{wanted[matcher.name]} and {matcher} cannot both hold"
    for matcher in matchers:
        fixed = wanted.get(matcher.name)
        if fixed is not None and not matcher.matches(fixed.value):
            return f"{fixed} and {matcher} cannot both hold"
    return ""


def _unanswered(route: Route, escalated: set[int], unreachable: set[int]) -> Iterator[RouteFinding]:
    """Routes that tell critical alerts, as far as matchers of the severity show it, and have no policy for them."""
    if route.id in unreachable or not all(_takes_critical(matcher) for matcher in route.matchers):
        return
    takers = [child for child in route.children if _takes_every_critical(child)]
    if not takers and route.id not in escalated:
        words = f"critical alerts that {route.title} tells have no escalation: nobody else hears when nobody answers"
        yield RouteFinding(route.id, "no-escalation", "warning", words)
    for child in route.children:
        yield from _unanswered(child, escalated, unreachable)


def _takes_critical(matcher: Matcher) -> bool:
    return matcher.name != _SEVERITY or matcher.matches(_CRITICAL)


def _takes_every_critical(route: Route) -> bool:
    """Whether all critical alerts go down this branch: it asks for nothing but the severity."""
    return all(matcher.name == _SEVERITY and matcher.matches(_CRITICAL) for matcher in route.matchers)
