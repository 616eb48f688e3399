"""Inhibition, severities, dependencies, time and silences: who mutes whom, and what is said about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.engine.fingerprint import fingerprint
from alerts.engine.intervals import parse_interval
from alerts.engine.matching import matches_all, parse_alertmanager_matchers
from alerts.engine.muting import (
    Inhibitor,
    InhibitRule,
    Muter,
    MuteReason,
    Subject,
    dependency,
    muted_children,
    mutes,
    time_reason,
)
from alerts.engine.silences import Silence
from monitoring.promql import Labels

AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


def alert(
    name: str = "A", *, rule_id: int | None = None, resolved: bool = False, told: bool = False, **labels: str
) -> Subject:
    return Subject(Labels.of({"alertname": name, **labels}), rule_id, resolved, told)


def rule(source: str, target: str, *equal: str) -> InhibitRule:
    return InhibitRule("r1", parse_alertmanager_matchers(source), parse_alertmanager_matchers(target), equal)


def reason(subject: Subject, firing: list[Subject], *rules: InhibitRule) -> MuteReason | None:
    return mutes(subject, firing, (), rules, AT)


CRITICAL_MUTES_WARNING = rule("severity=critical", "severity=warning", "inst")
CRITICAL = alert("Node", severity="critical", inst="a")
WARNING = alert("Lat", severity="warning", inst="a")


def test_AH_1_a_firing_source_mutes_a_target_with_equal_labels() -> None:
    assert reason(WARNING, [CRITICAL], CRITICAL_MUTES_WARNING) is not None


def test_AH_1_other_values_of_an_equal_label_do_not_mute() -> None:
    other = alert("Node", severity="critical", inst="b")
    assert reason(WARNING, [other], CRITICAL_MUTES_WARNING) is None


def test_AH_1_a_source_that_resolved_does_not_mute() -> None:
    gone = alert("Node", severity="critical", inst="a", resolved=True)
    assert reason(WARNING, [gone], CRITICAL_MUTES_WARNING) is None


@pytest.mark.parametrize(
    ("source", "target", "expected"), [({}, {}, True), ({"e": "x"}, {}, False), ({}, {"e": "x"}, False)]
)
def test_AH_2_a_missing_label_is_equal_to_a_missing_one_only(
    source: dict[str, str], target: dict[str, str], expected: bool
) -> None:
    muted = reason(alert("T", t="1", **target), [alert("S", s="1", **source)], rule("s=1", "t=1", "e"))
    assert (muted is not None) is expected


def test_AH_2_without_equal_labels_every_source_counts() -> None:
    assert reason(alert("T", t="1"), [alert("S", s="1")], rule("s=1", "t=1")) is not None


BOTH = rule("src=1", "tgt=1", "e")


def test_AH_3_an_alert_does_not_mute_itself() -> None:
    both = alert("Both", src="1", tgt="1", e="x")
    assert reason(both, [both], BOTH) is None


def test_AH_3_two_sided_alerts_do_not_mute_each_other() -> None:
    first, second = alert("B1", src="1", tgt="1", e="x"), alert("B2", src="1", tgt="1", e="x")
    assert reason(first, [first, second], BOTH) is None


def test_AH_3_a_one_sided_source_mutes_a_two_sided_target() -> None:
    both, source = alert("Both", src="1", tgt="1", e="y"), alert("S", src="1", e="y")
    assert reason(both, [both, source], BOTH) is not None


def test_AH_3_a_two_sided_source_mutes_a_one_sided_target() -> None:
    both, target = alert("Both", src="1", tgt="1", e="x"), alert("T", tgt="1", e="x")
    assert reason(target, [both, target], BOTH) is not None


def test_AH_4_when_the_source_is_removed_the_target_may_speak() -> None:
    inhibitor = Inhibitor([CRITICAL_MUTES_WARNING])
    inhibitor.add(CRITICAL)
    inhibitor.remove(CRITICAL)
    assert inhibitor.reason(WARNING) is None


def test_AH_4_a_second_source_goes_on_muting_after_the_first_is_gone() -> None:
    second = alert("Node2", severity="critical", inst="a")
    inhibitor = Inhibitor([CRITICAL_MUTES_WARNING])
    for source in (CRITICAL, second):
        inhibitor.add(source)
    inhibitor.remove(CRITICAL)
    assert inhibitor.reason(WARNING) is not None


def test_AH_5_a_resolve_is_muted_too_even_if_the_firing_was_told() -> None:
    gone = alert("Lat", severity="warning", inst="a", resolved=True, told=True)
    assert reason(gone, [CRITICAL], CRITICAL_MUTES_WARNING) is not None


def test_AH_6_a_source_counts_even_if_it_is_muted_itself() -> None:
    chain = [rule("n=1", "n=2"), rule("n=2", "n=3")]
    firing = [alert("A", n="1"), alert("B", n="2")]
    assert reason(firing[1], firing, *chain) is not None
    assert reason(alert("C", n="3"), firing, *chain) is not None


def test_AH_7_the_reason_names_the_source_by_its_fingerprint() -> None:
    found = reason(WARNING, [CRITICAL], CRITICAL_MUTES_WARNING)
    assert found is not None
    assert (found.kind, found.by) == ("inhibited", (fingerprint(CRITICAL.labels),))
    assert found.words == "another alert fires: Node (same inst='a')"


def test_AH_8_a_one_sided_source_is_found_among_two_sided_ones_of_the_same_values() -> None:
    target = alert("T", src="1", tgt="1", e="x")
    two_sided = alert("B", src="1", tgt="1", e="x")
    one_sided = alert("S", src="1", e="x")
    for firing in ([two_sided, one_sided], [one_sided, two_sided]):
        found = reason(target, firing, BOTH)
        assert found is not None
        assert found.by == (fingerprint(one_sided.labels),)


def test_only_sources_of_a_rule_need_to_be_kept() -> None:
    inhibitor = Inhibitor([CRITICAL_MUTES_WARNING])
    assert inhibitor.is_source(CRITICAL.labels)
    assert not inhibitor.is_source(WARNING.labels)


def test_removing_an_alert_that_was_never_added_is_no_error() -> None:
    Inhibitor([CRITICAL_MUTES_WARNING]).remove(CRITICAL)


def severities(*names: str, rule_id: int | None = 7, model: str = "m") -> list[Subject]:
    return [alert("Lat", severity=name, model=model, rule_id=rule_id) for name in names]


def test_a_higher_severity_mutes_a_lower_one_of_the_same_rule_and_series() -> None:
    warning, critical = severities("warning", "critical")
    found = reason(warning, [warning, critical])
    assert found is not None
    assert (found.kind, found.words) == ("severity", "the same series of this rule already fires as critical")


def test_a_lower_severity_does_not_mute_a_higher_one() -> None:
    warning, critical = severities("warning", "critical")
    assert reason(critical, [warning, critical]) is None


def test_severities_of_another_series_do_not_mute() -> None:
    (warning,), (critical,) = severities("warning"), severities("critical", model="other")
    assert reason(warning, [critical]) is None


def test_severities_of_another_rule_do_not_mute() -> None:
    (warning,), (critical,) = severities("warning"), severities("critical", rule_id=8)
    assert reason(warning, [critical]) is None


def test_severities_of_posted_alerts_do_not_mute_as_upstream_has_no_such_rule() -> None:
    warning, critical = severities("warning", "critical", rule_id=None)
    assert reason(warning, [critical]) is None


def test_a_lower_severity_speaks_again_when_the_higher_one_resolves() -> None:
    info, warning, critical = severities("info", "warning", "critical")
    inhibitor = Inhibitor()
    for one in (info, warning, critical):
        inhibitor.add(one)
    inhibitor.add(Subject(critical.labels, critical.rule_id, is_resolved=True))
    assert inhibitor.reason(warning) is None
    assert inhibitor.reason(info) is not None


def test_the_order_of_severities_is_the_callers() -> None:
    page, ticket = severities("page", "ticket")
    assert mutes(ticket, [page], (), (), AT, severity_order=("ticket", "page")) is not None


HOST_DOWN = dependency(
    "e1", parse_alertmanager_matchers("alertname=HostDown"), parse_alertmanager_matchers('model=~".+"'), ["host"]
)
DOWN = alert("HostDown", host="h1")


def test_a_firing_parent_mutes_a_new_alert_below_it() -> None:
    found = reason(alert("Lat", model="m", host="h1"), [DOWN], HOST_DOWN)
    assert found is not None
    assert (found.kind, found.words) == ("dependency", "its parent fires: HostDown (same host='h1')")


def test_a_parent_elsewhere_mutes_nothing() -> None:
    assert reason(alert("Lat", model="m", host="h2"), [DOWN], HOST_DOWN) is None


@pytest.mark.parametrize(("resolved", "told"), [(True, True), (True, False), (False, True)])
def test_a_parent_never_mutes_a_resolve_nor_an_alert_that_was_told(resolved: bool, told: bool) -> None:
    assert reason(alert("Lat", model="m", host="h1", resolved=resolved, told=told), [DOWN], HOST_DOWN) is None


def test_the_parent_can_tell_which_alerts_it_mutes() -> None:
    children = [alert("Lat", model="m", host=host).labels for host in ("h1", "h2")]
    assert muted_children([DOWN.labels], [HOST_DOWN], [*children, DOWN.labels]) == children[:1]


def silence(matchers: str, silence_id: str = "s1", hours: float = 1, **values: str) -> Silence:
    start, end = AT - timedelta(hours=1), AT + timedelta(hours=hours)
    return Silence(silence_id, parse_alertmanager_matchers(matchers), start, end, **values)


def test_AS_3_a_silenced_alert_is_muted_with_owner_reason_and_end() -> None:
    found = mutes(alert(), [], [silence("alertname=A", author="ana", comment="disk swap")], [], AT)
    assert found == MuteReason("silenced", ("s1",), "silenced by ana: disk swap", AT + timedelta(hours=1))


def test_AS_3_all_silences_that_cover_an_alert_are_named() -> None:
    found = mutes(alert(), [], [silence("alertname=A"), silence("alertname=~A", "s2", hours=3)], [], AT)
    assert found is not None
    assert (found.by, found.until) == (("s1", "s2"), AT + timedelta(hours=3))


INTERVALS = {"always": [parse_interval({})], "never": [parse_interval({"years": ["1999"]})]}


@pytest.mark.parametrize(
    ("active", "mute", "by"),
    [
        ((), (), None),
        (("always",), (), None),
        (("never",), (), ("never",)),
        (("never", "always"), (), None),
        ((), ("never", "always"), ("always",)),
        (("always",), ("always",), ("always",)),
        (("never",), ("always",), ("never",)),
        (("gone",), (), ("gone",)),
    ],
)
def test_AT_1_active_intervals_are_asked_before_mute_intervals(
    active: tuple[str, ...], mute: tuple[str, ...], by: tuple[str, ...] | None
) -> None:
    found = time_reason(active, mute, INTERVALS, AT)
    assert (found.by if found else None) == by


def test_AT_1_inhibition_comes_before_time_and_time_before_silences() -> None:
    inhibitor = Inhibitor([CRITICAL_MUTES_WARNING])
    muter = Muter(AT, inhibitor, [silence("alertname=Lat")], INTERVALS)
    kinds = [muter.reason(WARNING), muter.reason(WARNING, (), ("always",))]
    inhibitor.add(CRITICAL)
    kinds.append(muter.reason(WARNING, (), ("always",)))
    assert [found.kind for found in kinds if found] == ["silenced", "time", "inhibited"]


sides = st.fixed_dictionaries(
    {}, optional={"s": st.just("1"), "t": st.just("1"), "e": st.sampled_from("xy"), "n": st.sampled_from("12345")}
)


@given(st.lists(sides, max_size=8), st.booleans())
def test_the_index_mutes_what_upstreams_double_loop_mutes(raw: list[dict[str, str]], with_equal: bool) -> None:
    one = rule("s=1", "t=1", *(["e"] if with_equal else []))
    alerts = [alert(**labels) for labels in raw]
    for subject in alerts:
        is_source = matches_all(one.source, subject.labels)
        expected = matches_all(one.target, subject.labels) and any(
            matches_all(one.source, source.labels)
            and all(source.labels.get(name) == subject.labels.get(name) for name in one.equal)
            and not (is_source and matches_all(one.target, source.labels))
            for source in alerts
        )
        assert (reason(subject, alerts, one) is not None) is expected


_VALUES = st.sampled_from(["", "a", "b", "critical", "warning"])
_SETS = st.dictionaries(st.sampled_from(["alertname", "severity", "host"]), _VALUES.filter(bool), max_size=3)
_MATCHERS = st.builds(
    lambda name, op, value: parse_alertmanager_matchers(f'{name}{op}"{value}"')[0],
    st.sampled_from(["alertname", "severity", "host"]), st.sampled_from(["=", "!=", "=~", "!~"]), _VALUES,
)  # fmt: skip
_LISTS = st.lists(_MATCHERS, min_size=1, max_size=2).map(tuple)
_RULE_IDS = st.sampled_from([None, 1, 2])
_SUBJECTS = st.builds(lambda labels, rule_id: Subject(Labels.of(labels), rule_id), _SETS, _RULE_IDS)
_RULES = st.builds(lambda a, b, equal: InhibitRule("r", a, b, equal), _LISTS, _LISTS, st.sampled_from([(), ("host",)]))


@given(
    subject=st.builds(
        lambda labels, rule_id: Subject(Labels.of(labels), rule_id), _SETS, st.sampled_from([None, 1, 2])
    ),
    firing=st.lists(
        st.builds(lambda labels, rule_id: Subject(Labels.of(labels), rule_id), _SETS, st.sampled_from([None, 1, 2])),
        max_size=4,
    ),
    rules=st.lists(_RULES, max_size=3),
    silenced=st.lists(_LISTS, max_size=2),
    names=st.sets(st.sampled_from(["alertname", "severity", "host", "none"])),
)
def test_what_surely_cannot_be_muted_is_not(subject, firing, rules, silenced, names) -> None:
    inhibitor = Inhibitor(rules)
    for one in firing:
        inhibitor.add(one)
    hour = timedelta(hours=1)
    silences = [Silence(str(n), matchers, AT - hour, AT + hour, "ann", "") for n, matchers in enumerate(silenced)]
    muter = Muter(AT, inhibitor, silences)
    known = {name: subject.labels.get(name) for name in names if subject.labels.get(name)}
    rule_ids = [] if subject.rule_id is None else [subject.rule_id]
    if not muter.may_mute(known, rule_ids, [subject.labels.get("severity")]):
        assert muter.reason(subject) is None


def test_what_nothing_points_at_surely_cannot_be_muted() -> None:
    inhibitor = Inhibitor([CRITICAL_MUTES_WARNING])
    inhibitor.add(CRITICAL)
    muter = Muter(AT, inhibitor)
    assert muter.may_mute({"alertname": "Lat"}, [], [])
    assert not muter.may_mute({"alertname": "Lat", "severity": "info"}, [], [])
