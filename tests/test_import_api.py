"""Files by HTTP: what a pipeline may bring, who may, and that a refused file changes nothing."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from alerts.models import EscalationPolicy, Receiver, Route, Rule, Threshold
from monitoring.models import ApiToken, Target
from monitoring.models.tokens import make_token

pytestmark = pytest.mark.django_db
RULES = """
groups:
- name: models
  rules:
  - {alert: Slow, expr: 'latency_seconds > 2', for: 1m, labels: {severity: warning}}
"""
ROUTES = """
route: {receiver: team, group_by: [alertname]}
receivers: [{name: team}]
"""
POLICY = """
policies:
- name: night
  steps:
  - {wait: 5m, notify: {receiver: slack}}
"""


def bring(kind: str, text: str | bytes, token: str = "", client: Client | None = None, **query: str):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = f"/api/v1/import/{kind}?" + "&".join(f"{name}={value}" for name, value in query.items())
    return (client or Client()).post(address, text, content_type="application/yaml", headers=headers)


@pytest.fixture
def token() -> str:
    return make_token("ci", [ApiToken.Scope.CONFIG])[1]


def test_rules_come_in_with_their_thresholds_under_the_name_of_their_owner(token):
    answer = bring("rules", RULES, token, owner="ranker-team")
    assert answer.status_code == 200, answer.content
    assert answer.json()["data"]["told"][-1].startswith("1 new")
    rule = Rule.objects.get()
    assert (rule.name, rule.group.managed_by, rule.hold_seconds) == ("Slow", "ranker-team", 60)
    assert Threshold.objects.get().value == 2


def test_the_same_file_again_changes_nothing(token):
    bring("rules", RULES, token, owner="ranker-team")
    revision = Rule.objects.get().revision
    told = bring("rules", RULES, token, owner="ranker-team").json()["data"]["told"]
    assert "1 same" in told[-1]
    assert Rule.objects.get().revision == revision


def test_a_dry_run_tells_and_changes_nothing(token):
    answer = bring("rules", RULES, token, owner="ranker-team", dry_run="1")
    assert answer.json()["data"]["dry_run"] is True
    assert any("Slow" in line for line in answer.json()["data"]["told"])
    assert not Rule.objects.exists()
    bring("alertmanager", ROUTES, token, owner="ops", dry_run="1")
    assert not Receiver.objects.filter(name="team").exists()


def test_a_refused_file_names_every_problem_and_changes_nothing(token):
    bad = RULES + "  - {alert: Bad, expr: 'x > > 1'}\n  - {alert: Worse, expr: 'rate(x)'}\n"
    answer = bring("rules", bad, token, owner="ranker-team")
    assert (answer.status_code, answer.json()["errorType"]) == (400, "bad_data")
    assert "Bad" in answer.json()["error"]
    assert "Worse" in answer.json()["error"]
    assert not Rule.objects.exists()


def test_routes_and_escalation_come_in(token):
    assert bring("alertmanager", ROUTES, token, owner="ops").status_code == 200
    assert Route.objects.get(parent=None).receiver.name == "team"
    Receiver.objects.create(name="slack")
    answer = bring("escalation", POLICY, token, owner="ops")
    assert answer.status_code == 200, answer.content
    assert EscalationPolicy.objects.get().name == "night"


def test_routes_that_name_what_is_not_there_are_refused(token):
    answer = bring("alertmanager", "route: {receiver: nosuch}\nreceivers: [{name: team}]\n", token, owner="ops")
    assert answer.status_code == 400
    assert "nosuch" in answer.json()["error"]
    assert not Receiver.objects.filter(name="team").exists()


def test_targets_come_in_and_unsupported_parts_only_when_asked(token):
    text = """
scrape_configs:
- job_name: app
  static_configs: [{targets: ['127.0.0.1:9000']}]
- job_name: far
  kubernetes_sd_configs: [{role: pod}]
"""
    refused = bring("prometheus", text, token, owner="ops")
    assert refused.status_code == 400
    assert "partial=1" in refused.json()["error"]
    assert not Target.objects.exists()
    answer = bring("prometheus", text, token, owner="ops", partial="1")
    assert answer.status_code == 200, answer.content
    assert Target.objects.get().job == "app"


@pytest.mark.parametrize("scope", [one for one in ApiToken.Scope if one != ApiToken.Scope.CONFIG])
def test_a_token_for_something_else_is_refused(scope):
    _, secret = make_token("other", [scope])
    answer = bring("rules", RULES, secret, owner="x")
    assert answer.status_code == 403
    assert "config" in answer.json()["error"]


def test_being_on_this_machine_is_not_enough():
    assert bring("rules", RULES, owner="x").status_code == 401


def test_a_user_needs_the_permission():
    user = User.objects.create_user("ana", password="x")
    client = Client()
    client.force_login(user)
    assert bring("rules", RULES, client=client, owner="x").status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="change_rule"))
    assert bring("rules", RULES, client=client, owner="x").status_code == 200


def test_a_form_of_a_foreign_page_is_refused(token):
    answer = Client().post(
        "/api/v1/import/rules?owner=x", RULES, content_type="text/plain", headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 400
    assert "Content-Type" in answer.json()["error"]


@pytest.mark.parametrize(
    ("query", "words"),
    [({}, "owner"), ({"owner": "x" * 201}, "owner"), ({"owner": "x", "dryrun": "1"}, "dryrun is not known")],
)
def test_a_query_that_says_something_else_is_refused(token, query, words):
    answer = bring("rules", RULES, token, **query)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert not Rule.objects.exists()


def test_what_is_no_text_is_refused(token):
    answer = bring("rules", b"\xff\xfe\x00", token, owner="x")
    assert answer.status_code == 400
    assert "UTF-8" in answer.json()["error"]


def test_an_unknown_kind_names_the_known_ones(token):
    answer = bring("rule", RULES, token, owner="x")
    assert answer.status_code == 404
    assert "rules" in json.loads(answer.content)["error"]
