"""Where an alert goes: the tree of routes, Alertmanager's way of walking it, and why a route did not take part.

Source of the rules: Alertmanager 0.25, dispatch/route.go. The one difference (AD-13): a group is known by its route's
id and not by the matchers on the way to it, so two routes that look alike never share a group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from alerts.engine.matching import MatcherIndex, first_failure, format_labels, format_matchers
from monitoring.promql import Labels, Matcher

GROUP_BY_ALL = "..."
DEFAULT_GROUP_WAIT_SECONDS = 30.0  # AR-5
DEFAULT_GROUP_INTERVAL_SECONDS = 300.0
DEFAULT_REPEAT_INTERVAL_SECONDS = 4 * 3600.0
# Answers kept by label set; at this size the memo starts afresh. Measured at ten labels a set: 11 MB of labels that
# nobody else may hold, and 1 MB of answers.
_MEMO_SIZE = 10_000


class RouteError(ValueError):
    """A tree that cannot be used; `problems` holds one sentence for each fault."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep `problems` and show them all."""
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class RouteNode:
    """One route as it is written down; None and () mean "as the parent" where a route inherits."""

    id: int
    parent_id: int | None = None
    position: int = 0  # order among siblings
    name: str = ""
    matchers: tuple[Matcher, ...] = ()
    receiver: str | None = None
    group_by: tuple[str, ...] = ()
    continues: bool = False
    group_wait_seconds: float | None = None
    group_interval_seconds: float | None = None
    repeat_interval_seconds: float | None = None
    mute_intervals: tuple[str, ...] = ()  # names of time intervals; never inherited (AR-5)
    active_intervals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One route with everything it inherits filled in, and its children in order."""

    id: int
    name: str
    depth: int
    matchers: tuple[Matcher, ...]
    receiver: str
    group_by: tuple[str, ...]
    continues: bool
    group_wait_seconds: float
    group_interval_seconds: float
    repeat_interval_seconds: float
    mute_intervals: tuple[str, ...]
    active_intervals: tuple[str, ...]
    path: str  # matchers from the root down, as Alertmanager writes them in a group key
    children: tuple[Route, ...]
    index: MatcherIndex = field(repr=False, compare=False)  # over the children's matchers

    @property
    def title(self) -> str:
        """What people call this route: its name, else its matchers."""
        return self.name or (format_matchers(self.matchers) if self.depth else "the root route")

    def walk(self) -> Iterator[Route]:
        """This route and all below it, parents first, siblings in order."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class Destination:
    """One group that an alert belongs to, with what its route says about time."""

    route_id: int
    receiver: str
    group_labels: Labels
    group_key: str  # unique in the portal: route id and group labels (AD-13)
    upstream_key: str  # as Alertmanager would write it, for the webhook's groupKey
    group_wait_seconds: float
    group_interval_seconds: float
    repeat_interval_seconds: float
    mute_intervals: tuple[str, ...]
    active_intervals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RouteStep:
    """What one route had to say to a label set; `words` says why it took it or not."""

    route_id: int
    depth: int
    is_matched: bool
    is_destination: bool
    failed: Matcher | None
    words: str


class Tree:
    """A usable tree of routes that remembers where it sent each label set."""

    def __init__(self, root: Route) -> None:
        """Wrap `root`; make trees with `resolve_tree`."""
        self.root = root
        self._memo: dict[Labels, tuple[Destination, ...]] = {}
        self._groups: dict[tuple[int, tuple[str, ...]], Destination] = {}

    def routes(self) -> tuple[Route, ...]:
        """All routes, parents first, siblings in order."""
        return tuple(self.root.walk())

    def match(self, labels: Labels) -> tuple[Destination, ...]:
        """The groups that an alert with `labels` belongs to, in the order of the tree (AR-1 to AR-4)."""
        known = self._memo.get(labels)
        if known is None:
            if len(self._memo) >= _MEMO_SIZE:
                self._memo.clear()
                self._groups.clear()
            known = tuple(self._destination(route, labels) for route in _takers(self.root, labels))
            self._memo[labels] = known
        return known

    def _destination(self, route: Route, labels: Labels) -> Destination:
        if route.group_by == (GROUP_BY_ALL,):
            return _make_destination(route, labels)
        key = (route.id, tuple(labels.get(name) for name in route.group_by))
        known = self._groups.get(key)
        if known is None:
            pairs = [(name, value) for name, value in zip(route.group_by, key[1], strict=True) if value]
            known = self._groups[key] = _make_destination(route, Labels.of(pairs))
        return known


def resolve_tree(nodes: Iterable[RouteNode]) -> Tree:
    """The tree that the rows `nodes` describe, in any order; raises RouteError with every fault found (AR-5, AR-7)."""
    rows = list(nodes)
    problems = tree_problems(rows)
    if problems:
        raise RouteError(problems)
    return Tree(_build(_root_of(rows), None, _children_of(rows)))


def match(tree: Tree, labels: Labels) -> tuple[Destination, ...]:
    """The groups that an alert with `labels` belongs to; the same as `tree.match`."""
    return tree.match(labels)


def without_labels(destination: Destination, route: Route) -> Destination:
    """The group of all alerts of a route that have no room in groups of their own (AG-10)."""
    return replace(_make_destination(route, Labels.of(())), receiver=destination.receiver)


def explain(tree: Tree, labels: Labels) -> tuple[RouteStep, ...]:
    """One step for each route in the order of the tree: matched, or the first matcher that failed, or never asked."""
    takers = {route.id for route in _takers(tree.root, labels)}
    return tuple(_explain(tree.root, labels, takers, ""))


def tree_problems(nodes: Sequence[RouteNode]) -> list[str]:
    """Everything that keeps `nodes` from being a tree, one sentence each; empty when `resolve_tree` would succeed."""
    roots = [node for node in nodes if node.parent_id is None]
    if len(roots) != 1:
        return [f"there must be one root route, there are {len(roots)}"]
    problems = [] if roots[0].receiver else ["the root route has no receiver"]
    if roots[0].matchers:
        problems.append("the root route must not have matchers: it takes every alert")
    if roots[0].mute_intervals or roots[0].active_intervals:
        problems.append("the root route must not have time intervals")
    if roots[0].continues:
        problems.append("the root route cannot have continue")
    for node in nodes:
        problems += _node_problems(node)
    return [*problems, *_shape_problems(nodes, roots[0].id)]


def _node_problems(node: RouteNode) -> Iterator[str]:
    who = f"route {node.name or node.id}"
    if len(set(node.group_by)) != len(node.group_by):
        yield f"{who}: group_by names a label twice"
    if GROUP_BY_ALL in node.group_by and len(node.group_by) > 1:
        yield f"{who}: group_by '...' means all labels and must stand alone"
    if node.group_interval_seconds is not None and node.group_interval_seconds <= 0:
        yield f"{who}: group_interval must be above 0"
    if node.repeat_interval_seconds is not None and node.repeat_interval_seconds <= 0:
        yield f"{who}: repeat_interval must be above 0"
    if node.group_wait_seconds is not None and node.group_wait_seconds < 0:
        yield f"{who}: group_wait must not be negative"


def _shape_problems(nodes: Sequence[RouteNode], root_id: int) -> Iterator[str]:
    """Doubles, parents that do not exist, and rings: whatever cannot be reached from the root by going down."""
    counts = Counter(node.id for node in nodes)
    for node_id, count in counts.items():
        if count > 1:
            yield f"route id {node_id} occurs {count} times"
    children = _children_of(nodes)
    reached, waiting = set(), [root_id]
    while waiting:
        node_id = waiting.pop()
        if node_id not in reached:
            reached.add(node_id)
            waiting += [child.id for child in children.get(node_id, ())]
    for node in nodes:
        if node.id not in reached:
            why = "is its own ancestor" if node.parent_id in counts else f"has the unknown parent {node.parent_id}"
            yield f"route {node.name or node.id}: {why}, or is below one that is"


def _root_of(nodes: Sequence[RouteNode]) -> RouteNode:
    return next(node for node in nodes if node.parent_id is None)


def _children_of(nodes: Iterable[RouteNode]) -> dict[int, list[RouteNode]]:
    children: dict[int, list[RouteNode]] = {}
    for node in sorted(nodes, key=lambda node: (node.position, node.id)):
        if node.parent_id is not None:
            children.setdefault(node.parent_id, []).append(node)
    return children


def _build(node: RouteNode, parent: Route | None, rows: dict[int, list[RouteNode]]) -> Route:
    """The route of `node`: parents are made first to inherit from, then made again with their children."""
    own = Route(
        id=node.id,
        name=node.name,
        depth=parent.depth + 1 if parent else 0,
        matchers=node.matchers,
        receiver=node.receiver or (parent.receiver if parent else ""),
        # An empty list inherits, as in 0.25; newer upstream lets an explicit empty list override (AG-2).
        group_by=node.group_by or (parent.group_by if parent else ()),
        continues=node.continues,
        group_wait_seconds=_first_given(
            node.group_wait_seconds, parent.group_wait_seconds if parent else None, DEFAULT_GROUP_WAIT_SECONDS
        ),
        group_interval_seconds=_first_given(
            node.group_interval_seconds,
            parent.group_interval_seconds if parent else None,
            DEFAULT_GROUP_INTERVAL_SECONDS,
        ),
        repeat_interval_seconds=_first_given(
            node.repeat_interval_seconds,
            parent.repeat_interval_seconds if parent else None,
            DEFAULT_REPEAT_INTERVAL_SECONDS,
        ),
        mute_intervals=node.mute_intervals,
        active_intervals=node.active_intervals,
        path=f"{parent.path}/{format_matchers(node.matchers)}" if parent else "{}",
        children=(),
        index=MatcherIndex([child.matchers for child in rows.get(node.id, [])]),
    )
    return replace(own, children=tuple(_build(child, own, rows) for child in rows.get(node.id, [])))


def _first_given(own: float | None, parent: float | None, default: float) -> float:
    return next((seconds for seconds in (own, parent) if seconds is not None), default)


def _takers(route: Route, labels: Labels) -> list[Route]:
    """The routes at or below `route`, which matches, that handle `labels` (dispatch/route.go Match)."""
    takers: list[Route] = []
    for position in route.index.matching(labels):
        child = route.children[position]
        takers += _takers(child, labels)
        if not child.continues:
            break
    return takers or [route]


def _make_destination(route: Route, group_labels: Labels) -> Destination:
    words = format_labels(group_labels)
    return Destination(
        route_id=route.id,
        receiver=route.receiver,
        group_labels=group_labels,
        group_key=f"{route.id}:{words}",
        upstream_key=f"{route.path}:{words}",
        group_wait_seconds=route.group_wait_seconds,
        group_interval_seconds=route.group_interval_seconds,
        repeat_interval_seconds=route.repeat_interval_seconds,
        mute_intervals=route.mute_intervals,
        active_intervals=route.active_intervals,
    )


def _explain(route: Route, labels: Labels, takers: set[int], skipped: str) -> Iterator[RouteStep]:
    failed = None if skipped else first_failure(route.matchers, labels)
    is_matched = not skipped and failed is None
    yield RouteStep(
        route.id, route.depth, is_matched, route.id in takers, failed, skipped or _words(route, failed, labels, takers)
    )
    below = "" if is_matched else f"not asked: {route.title} above it does not match"
    for child in route.children:
        yield from _explain(child, labels, takers, below)
        if not below and first_failure(child.matchers, labels) is None and not child.continues:
            below = f"not asked: {child.title} before it matched and does not continue"


def _words(route: Route, failed: Matcher | None, labels: Labels, takers: set[int]) -> str:
    if failed is not None:
        value = labels.get(failed.name)
        return f"{failed.name} is {value!r}, not {failed}" if value else f"label {failed.name} is missing, not {failed}"
    if route.id in takers:
        return f"matches and goes to {route.receiver}"
    return "matches, and a route below it takes it"
