"""Rules in the admin: the list, the form with its errors beside the fields, the live check, who may do what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alerts.models import Alert, Rule, RuleGroup, Threshold
from monitoring import query, store
from tests import build
from tests.people import member, signed_in, superuser

pytestmark = pytest.mark.django_db
ADD = "admin:alerts_rule_add"


@pytest.fixture
def editor() -> Client:
    """A signed-in member of the group Editor."""
    return signed_in(member("Editor", "edgar"))


def typed(group: RuleGroup, rows: list[dict[str, Any]] | None = None, saved: int = 0, **changes: Any) -> dict[str, Any]:
    """What the browser sends for a sound rule with its rows of limits, but for `changes`."""
    data = {
        "name": "CPUHigh", "group": group.pk, "life": "live", "kind": "alert", "expr": "cpu_usage_percent",
        "hold_seconds": "5m", "keep_firing_seconds": "0s", "no_data": "keep", "no_data_resolve_seconds": "1h",
        "labels": "{}", "annotations": "{}", "position": "0", "metric_not_there_yet": "on",
        "thresholds-TOTAL_FORMS": len(rows or []), "thresholds-INITIAL_FORMS": saved,
    }  # fmt: skip
    for number, row in enumerate(rows or []):
        given = {"severity": "warning", "operator": ">", "value": "85", "priority": "0", "is_enabled": "on"} | row
        data |= {f"thresholds-{number}-{name}": value for name, value in given.items()}
    return data | changes


def errors(answer: Any) -> str:
    """The page of a refused form, with its words as a reader sees them."""
    assert answer.status_code == 200
    return answer.content.decode().replace("&#x27;", "'").replace("&quot;", '"')


def measure(**by_host: float) -> None:
    """Store one sample per host of a moment ago, so that it lies before the last step of any chart."""
    at_ms = query.to_ms(timezone.now()) - 30_000
    rows = [
        store.Scrape(f"host:{host}", {"host": host}, at_ms, ["cpu_usage_percent"], np.array([value]))
        for host, value in by_host.items()
    ]
    store.append(rows, now_ms=at_ms)


# -- saving ------------------------------------------------------------------------------------------------------------


def test_a_rule_is_saved_with_its_limits_and_their_author(editor: Client) -> None:
    rows = [{"value": "85"}, {"severity": "critical", "value": "95"}]
    answer = editor.post(reverse(ADD), typed(build.rule_group(), rows))
    assert answer.status_code == 302, errors(answer)
    rule = Rule.objects.get()
    saved = rule.thresholds.order_by("value").values_list("severity", "value", "author__username")
    assert (rule.hold_seconds, list(saved)) == (300, [("warning", 85, "edgar"), ("critical", 95, "edgar")])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"expr": "sum(cpu_usage_percent"}, "Line 1, column 22"),
        ({"expr": "rat(cpu_usage_percent[5m])"}, "unknown function"),
        ({"expr": "cpu_usage_percent[5m]"}, "a rule needs an instant vector or a scalar"),
        ({"expr": ""}, "This field is required"),
        ({"hold_seconds": "soon"}, "'soon' is not a duration"),
        ({"hold_seconds": "-5m"}, "is not a duration"),
        ({"labels": '{"a b": "x"}'}, "cannot be a name here"),
        ({"labels": "{team"}, "Enter a valid JSON"),
        ({"annotations": '{"summary": "{{ .Labels"}'}, "summary:"),
        ({"name": "no metric name", "kind": "record"}, "named like a metric"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_beside_its_field(
    editor: Client, changes: dict[str, str], words: str
) -> None:
    answer = editor.post(reverse(ADD), typed(build.rule_group(), [{"value": "85"}], **changes))
    assert words in errors(answer)
    assert not Rule.objects.exists() and not Threshold.objects.exists()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"value": "much"}, "Enter a number"),
        ({"value": "", "severity": "critical"}, "This field is required"),
        ({"value": "nan"}, "Enter a number"),
        ({"hold_seconds": "a while"}, "is not a duration"),
        ({"selector": "{host="}, "Line 1"),
        ({"selector": '{host="ana"}'}, "Say why these series have a limit of their own"),
        ({"operator": "outside"}, "A band needs an upper limit"),
        ({"recover_value": "90"}, "Recovery lies on the good side"),
    ],
)
def test_a_limit_that_cannot_work_is_refused_and_the_rule_is_not_saved(
    editor: Client, row: dict[str, str], words: str
) -> None:
    answer = editor.post(reverse(ADD), typed(build.rule_group(), [row]))
    assert words in errors(answer)
    assert not Rule.objects.exists() and not Threshold.objects.exists()


def test_two_rules_of_one_name_in_a_group_are_refused(editor: Client) -> None:
    rule = build.rule("CPUHigh")
    answer = editor.post(reverse(ADD), typed(rule.group))
    assert "This group has a rule of this name already" in errors(answer)
    assert Rule.objects.count() == 1


def test_an_error_keeps_everything_that_was_typed(editor: Client) -> None:
    data = typed(
        build.rule_group(), [{"value": "much", "reason": "the new cooler"}], expr="sum(", hold_seconds="a while",
        annotations='{"summary": "half',
    )  # fmt: skip
    page = errors(editor.post(reverse(ADD), data))
    for text in ("sum(", "a while", "much", "the new cooler", '{"summary": "half'):
        assert text in page


def test_a_change_of_a_limit_is_saved_and_kept_in_the_history(editor: Client) -> None:
    rule = build.rule("CPUHigh")
    row = build.threshold(rule, 85)
    data = typed(rule.group, [{"id": row.pk, "rule": rule.pk, "value": "70"}], saved=1)
    answer = editor.post(reverse("admin:alerts_rule_change", args=[rule.pk]), data)
    assert answer.status_code == 302, errors(answer)
    row.refresh_from_db()
    assert (row.value, list(row.history.values_list("value", flat=True))) == (70, [70, 85])


def test_a_new_name_ends_the_alerts_of_the_old_one(editor: Client) -> None:
    rule = build.rule("Old")
    alert = build.alert("Old", rule=rule)
    editor.post(reverse("admin:alerts_rule_change", args=[rule.pk]), typed(rule.group, name="New"))
    alert.refresh_from_db()
    assert alert.state == Alert.State.RESOLVED


def test_another_limit_leaves_the_alerts_to_the_next_evaluation(editor: Client) -> None:
    rule = build.rule("CPUHigh", hold_seconds=300, no_data_resolve_seconds=3600)
    alert = build.alert("CPUHigh", rule=rule)
    editor.post(reverse("admin:alerts_rule_change", args=[rule.pk]), typed(rule.group, [{"value": "99"}]))
    alert.refresh_from_db()
    assert alert.state == Alert.State.FIRING


def test_a_deleted_rule_leaves_nothing_that_fires(editor: Client) -> None:
    rule = build.rule()
    alert = build.alert(rule=rule)
    editor.post(reverse("admin:alerts_rule_delete", args=[rule.pk]), {"post": "yes"})
    alert.refresh_from_db()
    assert (Rule.objects.exists(), alert.state) == (False, Alert.State.RESOLVED)


def test_a_group_that_is_switched_off_leaves_nothing_that_fires(editor: Client) -> None:
    rule = build.rule()
    alert = build.alert(rule=rule)
    url = reverse("admin:alerts_rulegroup_change", args=[rule.group_id])
    rules = {"rules-TOTAL_FORMS": 0, "rules-INITIAL_FORMS": 0}
    editor.post(url, {"name": "hosts", "interval_seconds": "15s", "query_offset_seconds": "0s", "limit": "0", **rules})
    alert.refresh_from_db()
    assert alert.state == Alert.State.RESOLVED


# -- the live check ----------------------------------------------------------------------------------------------------


def check(client: Client, data: dict[str, Any], rule: Rule | None = None) -> dict[str, Any]:
    answer = client.post(f"{reverse('admin:alerts_rule_check')}?rule={rule.pk if rule else ''}", data)
    assert answer.status_code == 200
    return answer.json()


def test_the_check_says_what_an_unsaved_rule_would_do(editor: Client) -> None:
    measure(ana=97, ben=10)
    body = check(editor, typed(build.rule_group(), [{"value": "85"}], hold_seconds="0s"))
    assert "1 warning alert would fire at once." in body["html"]
    assert body["rows"]["thresholds-0"] == {"words": "matches 2 series, nearest 97%, would fire: yes", "tone": "firing"}


def test_the_check_takes_a_row_as_typed_and_not_as_saved(editor: Client) -> None:
    measure(ana=97)
    rule = build.rule("CPUHigh")
    row = build.threshold(rule, 85)
    data = typed(rule.group, [{"id": row.pk, "rule": rule.pk, "value": "99"}], saved=1)
    assert check(editor, data, rule)["rows"]["thresholds-0"]["tone"] == "quiet"
    row.refresh_from_db()
    assert row.value == 85


def test_the_check_leaves_out_a_row_that_is_to_be_deleted(editor: Client) -> None:
    measure(ana=97)
    rule = build.rule("CPUHigh")
    row = build.threshold(rule, 85)
    data = typed(rule.group, [{"id": row.pk, "rule": rule.pk, "DELETE": "on"}], saved=1)
    assert check(editor, data, rule)["rows"] == {}


def test_the_check_points_at_a_parse_error(editor: Client) -> None:
    body = check(editor, typed(build.rule_group(), expr="sum(cpu_usage_percent"))
    assert (body["ok"], "Line 1, column 22" in body["html"], "aq-caret" in body["html"]) == (False, True, True)


def test_the_check_names_a_metric_that_nobody_sends(editor: Client) -> None:
    measure(ana=1)
    body = check(editor, typed(build.rule_group(), expr="cpu_usage_percnt"))
    assert 'data-aq-fix="cpu_usage_percent"' in body["html"]


def test_the_check_escapes_what_labels_hold(editor: Client) -> None:
    at_ms = query.to_ms(timezone.now())
    labels = {"host": "<script>alert(1)</script>"}
    store.append([store.Scrape("host:x", labels, at_ms, ["cpu_usage_percent"], np.array([1.0]))], now_ms=at_ms)
    body = check(editor, typed(build.rule_group()))
    assert "<script>" not in body["html"] and "&lt;script&gt;" in body["html"]


def test_the_check_of_half_a_form_still_answers(editor: Client) -> None:
    assert check(editor, {"expr": "cpu_usage_percent"})["ok"] is True


def test_the_check_saves_nothing(editor: Client) -> None:
    rule = build.rule("CPUHigh")
    check(editor, typed(rule.group, [{"value": "1"}], name="Renamed", expr="up"), rule)
    rule.refresh_from_db()
    assert (rule.name, rule.expr, Threshold.objects.count()) == ("CPUHigh", "cpu_usage_percent", 0)


def test_the_check_needs_a_post_with_its_token(editor: Client) -> None:
    assert editor.get(reverse("admin:alerts_rule_check")).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(member("Editor", "eva"))
    assert strict.post(reverse("admin:alerts_rule_check"), {"expr": "up"}).status_code == 403


def test_the_chart_comes_with_the_limits_as_typed(editor: Client) -> None:
    measure(ana=97)
    body = editor.post(reverse("admin:alerts_rule_chart"), typed(build.rule_group(), [{"value": "85"}])).json()
    assert [line["value"] for line in body["thresholds"]] == [85]
    assert body["data"]["series"][0]["name"] == "host=ana"


def test_the_chart_of_nonsense_says_why(editor: Client) -> None:
    answer = editor.post(reverse("admin:alerts_rule_chart"), typed(build.rule_group(), expr="sum("))
    assert answer.status_code == 422 and answer.json()["error"]


def test_names_are_offered_to_complete_with(editor: Client) -> None:
    measure(ana=1, ben=2)
    url = reverse("admin:alerts_rule_names")
    names = editor.get(url).json()
    assert "cpu_usage_percent" in names["metrics"]
    assert {"rate", "sum"} <= {one["name"] for one in names["functions"]}
    assert "host" in editor.get(url, {"metric": "cpu_usage_percent"}).json()["labels"]
    assert editor.get(url, {"metric": "cpu_usage_percent", "label": "host"}).json()["values"] == ["ana", "ben"]


# -- the list ----------------------------------------------------------------------------------------------------------


def test_the_list_says_in_words_what_a_rule_does_and_how_it_fares(editor: Client) -> None:
    rule = build.rule("CPUHigh", hold_seconds=300)
    build.threshold(rule, 85)
    build.alert("CPUHigh", rule=rule)
    page = editor.get(reverse("admin:alerts_rule_changelist")).content.decode()
    assert "Fires as warning when cpu_usage_percent is above 85% for 5 minutes." in page
    assert "1 firing" in page and "warning &gt; 85" in page


def test_the_list_of_many_rules_needs_few_queries(editor: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        rule = build.rule(f"Rule{number}")
        build.threshold(rule)
        build.alert(f"Rule{number}", rule=rule)
    editor.get(reverse("admin:alerts_rule_changelist"))
    with django_assert_max_num_queries(15):
        editor.get(reverse("admin:alerts_rule_changelist"))


@pytest.mark.parametrize(("fares", "names"), [("firing", ["A"]), ("quiet", ["B"]), ("error", []), ("nothing", [])])
def test_rules_are_found_by_how_they_fare(editor: Client, fares: str, names: list[str]) -> None:
    build.alert("A", rule=build.rule("A"))
    build.rule("B")
    found = editor.get(reverse("admin:alerts_rule_changelist"), {"fares": fares}).context["cl"].result_list
    assert [rule.name for rule in found] == names


def test_an_empty_list_says_what_to_do(editor: Client) -> None:
    page = editor.get(reverse("admin:alerts_rule_changelist")).content.decode()
    assert "No rule yet." in page and "A rule asks a question in PromQL" in page


@pytest.mark.parametrize(("name", "life"), [("make_shadow", "shadow"), ("make_disabled", "disabled")])
def test_several_rules_are_brought_there_at_once(editor: Client, name: str, life: str) -> None:
    rules = [build.rule("A"), build.rule("B")]
    chosen = {"action": name, "_selected_action": [rule.pk for rule in rules]}
    editor.post(reverse("admin:alerts_rule_changelist"), chosen)
    assert set(Rule.objects.values_list("life", flat=True)) == {life}


def test_one_rule_is_switched_off_by_a_dialog(editor: Client) -> None:
    rule = build.rule()
    url = reverse("admin:alerts_rule_go_off", args=[rule.pk])
    assert b"Switch this rule off?" in editor.get(url).content
    rule.refresh_from_db()
    assert rule.life == Rule.Life.LIVE
    assert editor.post(url, {"_form_submitted": "True"})["HX-Redirect"]
    rule.refresh_from_db()
    assert rule.life == Rule.Life.DISABLED


def draft(name: str, expr: str) -> Rule:
    return build.rule(name, expr, life=Rule.Life.DRAFT)


def lives() -> dict[str, str]:
    return dict(Rule.objects.values_list("name", "life"))


def test_one_rule_that_matches_nothing_goes_live_only_when_that_is_meant(editor: Client) -> None:
    url = reverse("admin:alerts_rule_go_live", args=[draft("Blind", "cpu_usage_percnt").pk])
    answer = editor.post(url, {"_form_submitted": "True"})
    assert "Nothing matches it now" in answer.content.decode() and lives() == {"Blind": "draft"}
    editor.post(url, {"_form_submitted": "True", "metric_not_there_yet": "on"})
    assert lives() == {"Blind": "live"}


def test_one_rule_whose_metric_is_there_goes_live_at_once(editor: Client) -> None:
    measure(ana=1)
    rule = draft("Seeing", "cpu_usage_percent > 90")
    editor.post(reverse("admin:alerts_rule_go_live", args=[rule.pk]), {"_form_submitted": "True"})
    assert lives() == {"Seeing": "live"}


def test_several_of_which_one_matches_nothing_are_looked_at_before_they_go_live(editor: Client) -> None:
    measure(ana=1)
    rules = [draft("Blind", "cpu_usage_percnt"), draft("Seeing", "cpu_usage_percent")]
    chosen = {"action": "make_live", "_selected_action": [rule.pk for rule in rules]}
    page = editor.post(reverse("admin:alerts_rule_changelist"), chosen, follow=True).content.decode()
    assert page.count("matches nothing</span>") == 1 and lives() == {"Blind": "draft", "Seeing": "draft"}
    given = {
        "ids": ",".join(str(rule.pk) for rule in rules), "kind": "life", "life": "live",
        "seen": [f"{rule.pk}:{rule.revision}" for rule in rules],
    }  # fmt: skip
    assert editor.post(reverse("alerts:rules_bulk"), given).status_code == 422
    assert editor.post(reverse("alerts:rules_bulk"), given | {"metric_not_there_yet": "on"}).status_code == 302
    assert lives() == {"Blind": "live", "Seeing": "live"}


def test_a_superuser_is_warned_and_not_asked_when_several_go_live() -> None:
    rule = draft("Blind", "cpu_usage_percnt")
    root = signed_in(superuser())
    page = root.get(reverse("alerts:rules_bulk"), {"ids": str(rule.pk), "kind": "life", "life": "live"})
    assert "matches nothing</span>" in page.content.decode() and "metric_not_there_yet" not in page.content.decode()
    given = {"ids": str(rule.pk), "kind": "life", "life": "live", "seen": f"{rule.pk}:{rule.revision}"}
    assert root.post(reverse("alerts:rules_bulk"), given).status_code == 302


def test_a_rule_is_copied_by_a_dialog(editor: Client) -> None:
    rule = build.rule("CPUHigh")
    editor.post(reverse("admin:alerts_rule_copy", args=[rule.pk]), {"_form_submitted": "True"})
    assert Rule.objects.get(name="CPUHighCopy").life == Rule.Life.DRAFT


# -- who may -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["Viewer", "Responder"])
def test_only_an_editor_changes_rules(group: str) -> None:
    client = signed_in(member(group, "vera"))
    rule = build.rule()
    assert client.get(reverse("admin:alerts_rule_change", args=[rule.pk])).status_code == 200
    assert client.post(reverse("admin:alerts_rule_change", args=[rule.pk]), typed(rule.group)).status_code == 403
    assert client.post(reverse(ADD), typed(rule.group, name="Other")).status_code == 403
    assert client.post(reverse("admin:alerts_rule_delete", args=[rule.pk]), {"post": "yes"}).status_code == 403
    assert list(Rule.objects.values_list("name", flat=True)) == [rule.name]


@pytest.mark.parametrize("verb", ["go_live", "go_shadow", "go_off", "copy"])
def test_a_viewer_runs_no_action_of_a_rule(verb: str) -> None:
    rule = build.rule()
    url = reverse(f"admin:alerts_rule_{verb}", args=[rule.pk])
    client = signed_in(member("Viewer"))
    assert (client.get(url).status_code, client.post(url, {"_form_submitted": "True"}).status_code) == (403, 403)


def test_a_viewer_may_check_since_nothing_is_saved() -> None:
    client = signed_in(member("Viewer"))
    assert client.post(reverse("admin:alerts_rule_check"), {"expr": "up"}).status_code == 200


def test_a_viewer_sees_the_saved_rule_checked() -> None:
    measure(ana=97)
    rule = build.rule()
    build.threshold(rule, 99, selector='{host="ana"}', reason="new cooler")
    build.threshold(rule, 85)
    told = check(signed_in(member("Viewer")), {}, rule)["rows"]
    assert {place: row["tone"] for place, row in told.items()} == {"thresholds-0": "quiet", "thresholds-1": "quiet"}
    assert told["thresholds-0"]["words"].endswith("all ruled by stronger rows")


def test_a_viewer_reads_durations_and_limits_as_people_write_them() -> None:
    rule = build.rule(hold_seconds=300)
    build.threshold(rule, 85)
    page = signed_in(member("Viewer")).get(reverse("admin:alerts_rule_change", args=[rule.pk])).content.decode()
    assert "5m" in page and "300.0" not in page and "85.0" not in page


def test_who_sees_no_rules_may_not_check() -> None:
    stranger = powerless()
    for name in ("check", "chart"):
        assert stranger.post(reverse(f"admin:alerts_rule_{name}"), {"expr": "up"}).status_code == 403
    assert stranger.get(reverse("admin:alerts_rule_names")).status_code == 403


def powerless() -> Client:
    """Staff without any group."""
    user = member("Viewer", "nobody")
    user.groups.clear()
    return signed_in(user)


# -- simple mode, and how a rule goes live -----------------------------------------------------------------------------


def simply(group: RuleGroup, rows: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """What the browser sends from simple mode; the field of PromQL is empty there."""
    fields = {
        "mode": "simple", "expr": "", "simple_metric": "cpu_usage_percent", "simple_filter": 'host="ana"',
        "simple_measure": "avg_over_time", "simple_window": "10m", "simple_aggregation": "", "simple_by": "",
    }  # fmt: skip
    return typed(group, rows, **(fields | changes))


def test_simple_mode_writes_the_question(editor: Client) -> None:
    answer = editor.post(reverse(ADD), simply(build.rule_group(), [{"value": "85"}]))
    assert answer.status_code == 302, errors(answer)
    assert Rule.objects.get().expr == 'avg_over_time(cpu_usage_percent{host="ana"}[10m])'


def test_simple_mode_leaves_the_text_of_an_unchanged_question_alone(editor: Client) -> None:
    rule = build.rule("CPUHigh", expr="sum( cpu_usage_percent )  # all of them")
    fields = {"simple_filter": "", "simple_measure": "", "simple_aggregation": "sum", "expr": rule.expr}
    editor.post(reverse("admin:alerts_rule_change", args=[rule.pk]), simply(rule.group, **fields))
    rule.refresh_from_db()
    assert rule.expr == "sum( cpu_usage_percent )  # all of them"


def test_simple_mode_keeps_a_limit_that_stands_in_the_question(editor: Client) -> None:
    fields = {"simple_filter": "", "simple_measure": "", "simple_operator": ">=", "simple_limit": "90"}
    editor.post(reverse(ADD), simply(build.rule_group(), **fields))
    assert Rule.objects.get().expr == "cpu_usage_percent >= 90"


def test_simple_mode_says_what_is_missing(editor: Client) -> None:
    page = errors(editor.post(reverse(ADD), simply(build.rule_group(), [{"value": "85"}], simple_metric="")))
    assert "Choose a metric." in page and not Rule.objects.exists()
    assert 'value="10m"' in page


def test_a_new_rule_of_simple_mode_needs_a_limit(editor: Client) -> None:
    assert "Give a limit" in errors(editor.post(reverse(ADD), simply(build.rule_group())))
    assert (
        editor.post(
            reverse(ADD), simply(build.rule_group(), kind="record", name="cpu:avg", hold_seconds="0s")
        ).status_code
        == 302
    )


@pytest.mark.parametrize(("expr", "mode"), [("rate(x_total[5m]) > 3", "simple"), ("x offset 5m", "promql")])
def test_a_rule_opens_in_the_mode_that_shows_all_of_it(editor: Client, expr: str, mode: str) -> None:
    rule = build.rule(expr=expr)
    page = editor.get(reverse("admin:alerts_rule_change", args=[rule.pk])).content.decode()
    assert f'name="mode" value="{mode}" checked' in page


@pytest.mark.parametrize(("button", "life"), [("_save_live", "live"), ("_save_shadow", "shadow"), ("_save", "draft")])
def test_the_button_says_how_far_the_rule_comes(editor: Client, button: str, life: str) -> None:
    answer = editor.post(reverse(ADD), typed(build.rule_group(), [{"value": "85"}], life="draft", **{button: ""}))
    assert answer.status_code == 302, errors(answer)
    rule = Rule.objects.get()
    assert (rule.life, rule.revisions.count()) == (life, 1)


def blind(group: RuleGroup | None = None, **changes: Any) -> dict[str, Any]:
    """A rule of which nobody said that its metric is not there yet."""
    data = typed(group or build.rule_group(), [{"value": "85"}])
    del data["metric_not_there_yet"]
    return data | changes


def test_a_rule_that_matches_nothing_does_not_go_live_unnoticed(editor: Client) -> None:
    page = errors(editor.post(reverse(ADD), blind()))
    assert "metric not there yet" in page and not Rule.objects.exists()


@pytest.mark.parametrize("changes", [{"life": "shadow"}, {"metric_not_there_yet": "on"}])
def test_it_goes_into_the_shadow_or_live_when_that_is_meant(editor: Client, changes: dict[str, str]) -> None:
    assert editor.post(reverse(ADD), blind(**changes)).status_code == 302


def test_a_rule_whose_metric_is_there_goes_live_though_its_condition_is_false(editor: Client) -> None:
    measure(ana=10)
    assert editor.post(reverse(ADD), blind(expr="cpu_usage_percent > 90")).status_code == 302


def test_a_superuser_may_save_what_matches_nothing() -> None:
    assert signed_in(superuser()).post(reverse(ADD), blind()).status_code == 302


def test_other_words_of_a_live_rule_need_no_series(editor: Client) -> None:
    rule = build.rule("CPUHigh")
    data = blind(rule.group, annotations='{"summary": "hot"}')
    answer = editor.post(reverse("admin:alerts_rule_change", args=[rule.pk]), data)
    assert answer.status_code == 302, errors(answer)


def test_the_check_tells_what_a_limit_can_be_told_apart_by(editor: Client) -> None:
    measure(ana=97, ben=10)
    body = check(editor, typed(build.rule_group(), [{"value": "85"}]))
    assert body["scopes"] == {"host": ["ana", "ben"]}
    assert body["units"] == [["%", 1.0]] and "applies to 2 hosts" in body["html"]
