"""The route tree: who takes an alert, into which group, and why a route did not."""

from __future__ import annotations

from typing import Any

import pytest

from alerts.engine.matching import parse_alertmanager_matchers
from alerts.engine.route_lint import lint_routes
from alerts.engine.routing import RouteError, RouteNode, Tree, explain, match, resolve_tree
from monitoring.promql import Labels

ROOT = RouteNode(1, receiver="default")


def node(node_id: int, matchers: str = "", parent: int = 1, **values: object) -> RouteNode:
    return RouteNode(node_id, parent, node_id, matchers=parse_alertmanager_matchers(matchers), **values)  # type: ignore[arg-type]


def tree(*nodes: RouteNode, root: RouteNode = ROOT) -> Tree:
    return resolve_tree([root, *nodes])


def receivers(routes: Tree, **labels: str) -> list[str]:
    return [destination.receiver for destination in match(routes, Labels.of(labels))]


def ids(routes: Tree, **labels: str) -> list[int]:
    return [destination.route_id for destination in match(routes, Labels.of(labels))]


def test_AR_1_all_matchers_of_a_route_must_hold() -> None:
    routes = tree(node(2, "a=1,b=2", receiver="both"))
    assert receivers(routes, a="1", b="2") == ["both"]
    assert receivers(routes, a="1") == ["default"]


def test_AR_1_children_are_asked_in_order_of_position() -> None:
    late = RouteNode(2, 1, position=9, receiver="late")
    early = RouteNode(3, 1, position=1, receiver="early")
    assert receivers(tree(late, early), a="1") == ["early"]


def test_AR_2_a_node_handles_what_no_child_takes() -> None:
    routes = tree(node(2, "team=ml", receiver="ml"), node(3, "severity=critical", parent=2, receiver="pager"))
    assert receivers(routes, team="ml", severity="critical") == ["pager"]
    assert receivers(routes, team="ml") == ["ml"]


def test_AR_3_later_siblings_are_skipped_after_a_match() -> None:
    assert ids(tree(node(2, "a=1"), node(3, "a=1")), a="1") == [2]


def test_AR_4_continue_goes_on_to_the_next_siblings() -> None:
    assert ids(tree(node(2, "a=1", continues=True), node(3, "b=1"), node(4, "a=1")), a="1") == [2, 4]


def test_AR_4_continue_of_a_child_does_not_lift_its_parent() -> None:
    routes = tree(node(2, "a=1"), node(3, "a=1", parent=2, continues=True), node(4, "a=1"))
    assert ids(routes, a="1") == [3]


def test_AR_4_the_same_receiver_reached_twice_is_two_destinations() -> None:
    routes = tree(node(2, "a=1", receiver="x", continues=True), node(3, "a=1", receiver="x"))
    assert receivers(routes, a="1") == ["x", "x"]


def test_AR_5_what_a_child_leaves_open_is_inherited() -> None:
    parent = node(
        2, "", receiver="p", group_by=("a",), group_wait_seconds=1, group_interval_seconds=2, repeat_interval_seconds=3
    )
    (found,) = match(tree(parent, node(3, "", parent=2)), Labels.of({"a": "1"}))
    assert (found.receiver, found.group_wait_seconds, found.group_interval_seconds, found.repeat_interval_seconds) == (
        "p", 1, 2, 3,
    )  # fmt: skip
    assert found.group_labels == Labels.of({"a": "1"})


def test_AR_5_time_intervals_are_not_inherited() -> None:
    parent = node(2, "", mute_intervals=("night",), active_intervals=("day",))
    (found,) = match(tree(parent, node(3, "", parent=2)), Labels.of({"a": "1"}))
    assert (found.mute_intervals, found.active_intervals) == ((), ())


def test_AT_2_time_intervals_do_not_change_where_an_alert_goes() -> None:
    muted = node(2, "a=1", receiver="muted", mute_intervals=("always",))
    assert receivers(tree(muted, node(3, "a=1", receiver="next")), a="1") == ["muted"]


def test_AR_5_the_defaults_are_those_of_alertmanager() -> None:
    (found,) = match(tree(), Labels.of({"a": "1"}))
    assert (found.group_wait_seconds, found.group_interval_seconds, found.repeat_interval_seconds) == (30, 300, 14400)


def test_AR_5_a_group_wait_of_zero_is_kept() -> None:
    (found,) = match(tree(node(2, group_wait_seconds=0)), Labels.of({"a": "1"}))
    assert found.group_wait_seconds == 0


BAD_TREES = [
    ([], "one root"),
    ([ROOT, RouteNode(2, receiver="x")], "one root"),
    ([RouteNode(1)], "no receiver"),
    ([RouteNode(1, receiver="x", matchers=parse_alertmanager_matchers("a=1"))], "must not have matchers"),
    ([RouteNode(1, receiver="x", mute_intervals=("n",))], "must not have time intervals"),
    ([RouteNode(1, receiver="x", continues=True)], "cannot have continue"),
    ([ROOT, node(2, group_interval_seconds=0)], "group_interval must be above 0"),
    ([ROOT, node(2, repeat_interval_seconds=0)], "repeat_interval must be above 0"),
    ([ROOT, node(2, group_wait_seconds=-1)], "group_wait must not be negative"),
    ([ROOT, node(2, group_by=("a", "a"))], "twice"),
    ([ROOT, node(2, group_by=("...", "a"))], "alone"),
    ([ROOT, node(2, parent=3), node(3, parent=2)], "its own ancestor"),
    ([ROOT, node(2, parent=99)], "unknown parent 99"),
    ([ROOT, node(2), node(2)], "occurs 2 times"),
]


@pytest.mark.parametrize(("nodes", "words"), BAD_TREES, ids=[words for _, words in BAD_TREES])
def test_AR_7_a_tree_that_cannot_be_used_is_refused(nodes: list[RouteNode], words: str) -> None:
    with pytest.raises(RouteError, match=words):
        resolve_tree(nodes)


def test_AR_7_all_faults_are_told_at_once() -> None:
    with pytest.raises(RouteError) as caught:
        resolve_tree([ROOT, node(2, group_interval_seconds=0, repeat_interval_seconds=0)])
    assert len(caught.value.problems) == 2


def test_AG_1_a_group_is_its_route_and_the_values_of_group_by() -> None:
    routes = tree(root=RouteNode(1, receiver="x", group_by=("a",)))
    keys = [match(routes, Labels.of(labels))[0].group_key for labels in ({"a": "1", "b": "1"}, {"a": "1"}, {"a": "2"})]
    assert keys[0] == keys[1] != keys[2]


def test_AG_2_three_dots_group_by_all_labels() -> None:
    routes = tree(root=RouteNode(1, receiver="x", group_by=("...",)))
    assert match(routes, Labels.of({"a": "1", "b": "2"}))[0].group_labels == Labels.of({"a": "1", "b": "2"})


def test_AG_2_without_group_by_a_route_has_one_group() -> None:
    assert match(tree(), Labels.of({"a": "1"})) == match(tree(), Labels.of({"b": "2"}))


def test_AG_2_alerts_that_lack_a_label_group_together() -> None:
    routes = tree(root=RouteNode(1, receiver="x", group_by=("a", "b")))
    (first,), (second,) = match(routes, Labels.of({"a": "1"})), match(routes, Labels.of({"a": "1", "c": "3"}))
    assert first == second
    assert first.group_labels == Labels.of({"a": "1"})


def test_AG_2_an_empty_list_in_a_child_inherits() -> None:
    routes = tree(node(2, "", group_by=()), root=RouteNode(1, receiver="x", group_by=("a",)))
    assert match(routes, Labels.of({"a": "1"}))[0].group_labels == Labels.of({"a": "1"})


def test_AD_13_routes_that_look_alike_have_groups_of_their_own() -> None:
    first, second = match(tree(node(2, "a=1", continues=True), node(3, "a=1")), Labels.of({"a": "1"}))
    assert first.upstream_key == second.upstream_key
    assert first.group_key != second.group_key


def test_AP_9_the_upstream_key_is_the_path_of_matchers_and_the_group_labels() -> None:
    routes = tree(node(2, 'a="1",b=~"x.*"'), root=RouteNode(1, receiver="x", group_by=("a",)))
    assert match(routes, Labels.of({"a": "1", "b": "xy"}))[0].upstream_key == '{}/{a="1",b=~"x.*"}:{a="1"}'


def test_explain_names_the_first_matcher_that_failed() -> None:
    steps = explain(tree(node(2, "a=1,b=2", receiver="both")), Labels.of({"a": "1", "b": "3"}))
    assert [(step.route_id, step.is_destination) for step in steps] == [(1, True), (2, False)]
    assert str(steps[1].failed) == 'b="2"'
    assert steps[1].words == "b is '3', not b=\"2\""


def test_explain_says_which_sibling_took_the_alert_away() -> None:
    steps = explain(tree(node(2, "a=1", name="first"), node(3, "a=1")), Labels.of({"a": "1"}))
    assert steps[2].words == "not asked: first before it matched and does not continue"


def test_explain_says_that_a_child_is_not_asked_below_a_route_that_failed() -> None:
    steps = explain(tree(node(2, "a=1", name="up"), node(3, "b=1", parent=2)), Labels.of({"b": "1"}))
    assert steps[2].words == "not asked: up above it does not match"


def test_explain_agrees_with_match() -> None:
    routes = tree(node(2, "a=1", continues=True), node(3, 'a=~".*"'), node(4, "b=1", parent=2), node(5, "a=1"))
    for labels in (Labels.of({"a": "1"}), Labels.of({"a": "1", "b": "1"}), Labels.of({"c": "1"})):
        taken = [step.route_id for step in explain(routes, labels) if step.is_destination]
        assert sorted(taken) == sorted(found.route_id for found in match(routes, labels))


def findings(routes: Tree, **names: Any) -> list[tuple[int, str]]:
    known = {"receivers": ("default",), **names}
    return [(finding.route_id, finding.code) for finding in lint_routes(routes, **known)]


def test_lint_finds_a_receiver_that_does_not_exist() -> None:
    assert findings(tree(node(2, "a=1", receiver="gone"))) == [(2, "unknown-receiver")]


def test_lint_finds_a_time_interval_that_does_not_exist() -> None:
    assert findings(tree(node(2, "a=1", mute_intervals=("gone",)))) == [(2, "unknown-interval")]


def test_lint_finds_a_receiver_without_a_channel() -> None:
    assert findings(tree(), idle_receivers=("default",)) == [(1, "idle-receiver")]


def test_lint_finds_a_route_that_an_earlier_one_always_takes_away() -> None:
    assert findings(tree(node(2, "a=1"), node(3, "a=1,b=2"))) == [(3, "unreachable")]


def test_lint_accepts_a_route_after_one_that_continues() -> None:
    assert findings(tree(node(2, "a=1", continues=True), node(3, "a=1,b=2"))) == []


def test_lint_finds_matchers_that_contradict_those_above() -> None:
    assert findings(tree(node(2, "a=1"), node(3, "a=2", parent=2), node(4, "a=~2|3", parent=2))) == [
        (3, "unreachable"),
        (4, "unreachable"),
    ]


def test_lint_finds_critical_alerts_without_an_escalation() -> None:
    routes = tree(node(2, "severity=warning"), node(3, "team=ml"))
    assert findings(routes, escalated=(1,)) == [(3, "no-escalation")]


def test_lint_asks_for_an_escalation_only_where_critical_alerts_end() -> None:
    routes = tree(node(2, "severity=critical"), node(3, "severity=~warning|info"))
    assert findings(routes, escalated=(2,)) == []


def test_lint_does_not_ask_for_an_escalation_unless_told_which_there_are() -> None:
    assert findings(tree(node(2, "severity=critical"))) == []
