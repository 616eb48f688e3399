"""The pages that explain: what they show, what they refuse, whom they let in."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alerts import alert_rows, dispatch, evaluate, prepared
from alerts.models import Alert, Integration, Notification, Rule
from tests import build
from tests.fakes import FakeWebhook
from tests.people import member, signed_in
from tests.test_evaluate import cpu_rule, measure

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget():
    yield
    alert_rows._memories.clear()
    prepared._remembered.clear()
    evaluate._quiet.clear()


@pytest.fixture
def editor() -> Client:
    return signed_in(member("Editor", "eva"))


def evaluated(**by_host: float) -> tuple[Rule, str]:
    """A rule evaluated now over these values, and the moment of it."""
    rule = cpu_rule()
    now = timezone.now()
    evaluate.due(now)
    at = prepared.latest_slot(rule.group, now)
    measure(at, **by_host)
    evaluate.evaluate(rule.group_id, now)
    return rule, now.isoformat()


def page(client: Client, name: str, *args: object, **asked: object) -> str:
    answer = client.get(reverse(name, args=args), asked)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_names_the_first_stage_that_said_no(editor: Client):
    rule, at = evaluated(ana=42)
    labels = '{alertname="HostCPUHigh", host="ana", severity="warning"}'
    html = page(editor, "alerts:why", rule=rule.pk, at=at, labels=labels)
    assert "ends here" in html and "is not above 80" in html


def test_the_page_offers_the_series_of_the_rule(editor: Client):
    rule, at = evaluated(ana=42, ben=99)
    html = page(editor, "alerts:why", rule=rule.pk, at=at)
    assert "host=&quot;ben&quot;" in html


@pytest.mark.parametrize(
    "asked", [{"at": "yesterday"}, {"labels": "host=~x"}, {"labels": "}{"}, {"rule": "99999999999"}]
)
def test_bad_questions_are_answered_in_words(editor: Client, asked: dict):
    rule, _ = evaluated(ana=42)
    html = page(editor, "alerts:why", **{"rule": rule.pk, **asked})
    assert "Traceback" not in html


def test_an_alert_has_its_own_walk(editor: Client):
    build.route()
    rule, _ = evaluated(ana=99)
    row = Alert.objects.filter(rule=rule, severity="critical").get()
    html = page(editor, "alerts:alert_why", row.pk)
    assert "group_wait" in html
    assert reverse("alerts:alert_why", args=[row.pk]) in page(editor, "alerts:alert", row.pk)


def test_a_walk_of_an_alert_that_is_over_looks_at_its_life(editor: Client):
    build.route()
    now = timezone.now()
    row = build.alert("Posted", now - timedelta(hours=2), source=Alert.Source.API)
    dispatch.route([row], now - timedelta(hours=2))
    build.resolve(row, now - timedelta(hours=1))
    assert "Posted to the portal" in page(editor, "alerts:alert_why", row.pk)


def test_the_route_tester_shows_the_way_and_why_not_elsewhere(editor: Client):
    root = build.route()
    build.route(root, matchers=["team=gpu"], receiver=build.receiver("gpu-people"))
    html = page(editor, "alerts:route_test", labels="alertname=A\nteam=ml")
    assert "ml-team" in html and "team is &#x27;ml&#x27;" in html


def test_the_route_tester_offers_what_fires_now(editor: Client):
    build.route()
    build.alert("Burning", labels={"host": "ana"})
    assert "Burning" in page(editor, "alerts:route_test")


def test_a_dry_run_shows_the_message_and_sends_nothing(editor: Client):
    build.route()
    rule, _ = evaluated(ana=99)
    html = page(editor, "alerts:test_fire", rule.pk)
    assert "This is a test" in html and "past it now" in html
    assert not Notification.objects.filter(kind="test").exists()


@pytest.mark.django_db(transaction=True)
def test_sending_tells_and_says_that_it_arrived(editor: Client):
    with FakeWebhook() as hook:
        root = build.route()
        build.integration(root.receiver, Integration.Kind.WEBHOOK, url=hook.hook_url("x"))
        rule, _ = evaluated(ana=99)
        answer = editor.post(reverse("alerts:test_fire", args=[rule.pk]), {"series": "", "severity": "critical"})
        assert "Sent by" in answer.content.decode()
        assert len(hook.bodies("x")) == 1


def test_who_may_only_look_sends_nothing(db):
    viewer = signed_in(member("Viewer"))
    build.route()
    rule, _ = evaluated(ana=99)
    assert "Send 1 test" not in page(viewer, "alerts:test_fire", rule.pk)
    assert viewer.post(reverse("alerts:test_fire", args=[rule.pk])).status_code == 403


@pytest.mark.parametrize("name", ["alerts:why", "alerts:route_test"])
def test_strangers_are_sent_to_the_sign_in_page(name: str):
    assert Client().get(reverse(name)).status_code == 302
    nobody = signed_in(User.objects.create_user("nobody", is_staff=True))
    assert nobody.get(reverse(name)).status_code == 403


def test_rule_form_and_route_list_lead_there(editor: Client):
    rule = build.rule()
    build.route()
    form = editor.get(reverse("admin:alerts_rule_change", args=[rule.pk])).content.decode()
    assert "test-fire" in form
    assert "/try" in editor.get(reverse("admin:alerts_route_changelist")).content.decode()
