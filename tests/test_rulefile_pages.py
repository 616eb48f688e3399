"""Rule files in the admin: import with a look first, export, and rules that a file owns."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from alerts.models import GlobalConfig, Rule, RuleGroup, Threshold
from alerts.rulefile.plan import defaults, import_rules
from alerts.rulefile.read import read
from tests import build
from tests.build import T0
from tests.people import member, signed_in
from tests.test_rule_admin import errors, typed

pytestmark = pytest.mark.django_db
PAGE = "alerts:rules_import"
FILE = "groups: [{name: g, rules: [{alert: High, expr: x > 80, labels: {severity: warning}}]}]"


@pytest.fixture
def editor() -> Client:
    return signed_in(member("Editor", "edgar"))


def look(client: Client, text: str = FILE, **fields: Any) -> Any:
    return client.post(reverse(PAGE), {"text": text, "owner": "rules.yml", "mode": "split", "owns": "file", **fields})


def confirm(client: Client, answer: Any, **fields: Any) -> Any:
    return look(client, answer.context["typed"].text, seen=answer.context["digest"], **fields)


def owned() -> Rule:
    import_rules(read(FILE), "rules.yml", defaults(), T0)
    return Rule.objects.get()


def test_the_plan_is_shown_before_anything_changes(editor):
    page = errors(look(editor))
    for words in ("What rules.yml would change", "1 new", "warning &gt; 80", "there is no series named x"):
        assert words in page
    assert not Rule.objects.exists()


def test_what_was_shown_is_imported(editor):
    assert confirm(editor, look(editor)).status_code == 302
    rule = Rule.objects.get()
    assert (rule.expr, rule.group.managed_by) == ("x", "rules.yml")


def test_nothing_is_imported_when_the_rules_changed_meanwhile(editor):
    shown = look(editor)
    owned()
    assert confirm(editor, shown).status_code == 409


def test_a_file_can_be_uploaded_and_is_owned_under_its_name(editor):
    upload = SimpleUploadedFile("models.yml", FILE.encode())
    answer = look(editor, "", owner="", file=upload)
    assert answer.context["plan"].owner == "models.yml"


def test_the_rules_can_be_given_to_staff_at_once(editor):
    confirm(editor, look(editor, owns="staff"), owns="staff")
    assert RuleGroup.objects.get().managed_by == ""


def test_conditions_can_be_kept_whole(editor):
    confirm(editor, look(editor, mode="plain"), mode="plain")
    assert Rule.objects.get().expr == "x > 80"


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "Paste a rule file"), ("groups: [{name: g, rulez: []}]", "unknown field 'rulez'"), (FILE[:-9], "line")],
)
def test_a_bad_file_is_refused_with_its_problems(editor, text, words):
    answer = look(editor, text)
    assert answer.status_code == 422
    assert words in answer.content.decode().replace("&#x27;", "'")


def test_hostile_text_in_a_file_stays_text(editor):
    answer = look(editor, FILE.replace("High", "'<script>alert(1)</script>'"))
    assert "<script>alert(1)" not in answer.content.decode()


def test_who_may_only_look_cannot_import_but_can_export():
    viewer = signed_in(member("Viewer", "vera"))
    assert viewer.get(reverse(PAGE)).status_code == 403
    assert look(viewer).status_code == 403
    build.rule(name="Own")
    assert "Own" in viewer.get(reverse("alerts:rules_export")).content.decode()


def test_chosen_rules_are_exported_whatever_their_life(editor):
    one, _ = build.rule(name="One", life=Rule.Life.DRAFT), build.rule(name="Two")
    data = {"action": "export_selected", "_selected_action": [one.pk]}
    answer = editor.post(reverse("admin:alerts_rule_changelist"), data, follow=True)
    groups = yaml.safe_load(answer.content)["groups"]
    assert [rule["alert"] for group in groups for rule in group["rules"]] == ["One"]


def test_a_rule_that_a_file_owns_says_so_and_cannot_be_changed(editor):
    rule = owned()
    page = errors(editor.get(reverse("admin:alerts_rule_change", args=[rule.pk])))
    assert "rules.yml</b> owns this rule" in page
    row = rule.thresholds.get()
    sent = typed(
        rule.group, [{"id": row.pk, "rule": rule.pk, "value": "99", "DELETE": "on"}], saved=1, expr="y", life="shadow"
    )
    assert editor.post(reverse("admin:alerts_rule_change", args=[rule.pk]), sent).status_code == 302
    rule.refresh_from_db()
    assert (rule.expr, rule.life, rule.thresholds.get().value) == ("x", "shadow", 80)


def test_staff_add_limits_for_some_series_to_an_owned_rule(editor):
    rule = owned()
    row = rule.thresholds.get()
    kept = {"id": row.pk, "rule": rule.pk}
    url = reverse("admin:alerts_rule_change", args=[rule.pk])
    refused = editor.post(url, typed(rule.group, [kept, {"severity": "critical"}], saved=1))
    assert "A file owns the limits for all series" in errors(refused)
    own = {"selector": '{host="ben"}', "reason": "batch host", "value": "95"}
    assert editor.post(url, typed(rule.group, [kept, own], saved=1)).status_code == 302
    assert sorted(Threshold.objects.values_list("value", flat=True)) == [80, 95]


def test_detaching_a_group_makes_its_rules_staffs(editor):
    rule = owned()
    editor.post(reverse("admin:alerts_rulegroup_detach", args=[rule.group_id]), {"_form_submitted": "True"})
    rule.group.refresh_from_db()
    assert rule.group.managed_by == ""


def test_global_labels_are_set_in_the_admin_and_bad_ones_are_refused_there(editor):
    url = reverse("admin:alerts_globalconfig_add")
    sent = {"external_labels": '{"region": "eu"}', "alert_relabel_configs": "[]", "evaluation_interval_seconds": "1m"}
    sent["query_offset_seconds"] = "0s"
    bad = {**sent, "alert_relabel_configs": '[{"action": "explode"}]'}
    assert "unknown action 'explode'" in errors(editor.post(url, bad))
    assert editor.post(url, sent).status_code == 302
    assert GlobalConfig.objects.get(pk=1).external_labels == {"region": "eu"}
    assert editor.get(url).status_code == 403
