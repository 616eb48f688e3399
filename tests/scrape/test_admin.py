"""The registry in the admin: lists, forms with inlines, and a scrape at once."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from alphaq_portal import bar
from monitoring.models import Deployment, ModelVersion, ScrapeClaim, ServedModel, Target, Team
from tests.scrape.build import Scraped, make_target
from tests.scrape.server import says, target

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def page(client: Client, model: str, kind: str = "changelist", *args: object) -> str:
    answer = client.get(reverse(f"admin:monitoring_{model}_{kind}", args=args), follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def a_version(stage: str = "staging") -> ModelVersion:
    model = ServedModel.objects.create(name="ranker", owner=Team.objects.create(name="Search"))
    return ModelVersion.objects.create(model=model, version="3", stage=stage)


def formset(prefix: str, *rows: dict[str, object], initial: int = 0) -> dict[str, object]:
    """The fields of an inline's rows as a browser sends them."""
    data: dict[str, object] = {f"{prefix}-TOTAL_FORMS": len(rows), f"{prefix}-INITIAL_FORMS": initial}
    for number, row in enumerate(rows):
        data |= {f"{prefix}-{number}-{name}": value for name, value in row.items()}
    return data


@pytest.mark.parametrize("model", ["team", "servedmodel", "modelversion", "deployment", "target"])
def test_lists_forms_and_searches_show(admin, model):
    version = a_version("production")
    make_target(deployment=Deployment.objects.create(version=version, metrics_url="http://10.0.0.5:8001/metrics"))
    rows = {"team": Team, "servedmodel": ServedModel, "modelversion": ModelVersion, "deployment": Deployment}
    row = {**rows, "target": Target}[model].objects.get()
    assert str(row) in page(admin, model)
    page(admin, model, "change", row.pk)
    page(admin, model, "add")
    page(admin, model, "history", row.pk)
    found = admin.get(reverse(f"admin:monitoring_{model}_changelist"), {"q": "no such thing"})
    assert str(row) not in found.content.decode().partition("<tbody")[2]


def test_the_list_of_targets_says_who_is_up_and_why_others_are_not(admin):
    Scraped(make_target(instance_label="fine")).says("x 1\ny 2\n")
    Scraped(make_target(instance_label="broken")).fails("connection refused: nothing listens there")
    make_target(instance_label="fresh")
    make_target(instance_label="idle", is_enabled=False)
    shown = page(admin, "target")
    for words in ("up", "500 ms", "down", "connection refused", "not scraped yet", "off"):
        assert words in shown


def test_the_list_of_targets_asks_a_fixed_number_of_questions(admin, django_assert_max_num_queries):
    def questions(count: int) -> int:
        for _ in range(count):
            Scraped(make_target()).says("x 1\n")
        bar.forget()  # kept for some seconds, it would be asked for on one page and not on the next
        with django_assert_max_num_queries(60) as captured:
            page(admin, "target")
        return len(captured)

    questions(1)
    assert questions(1) == questions(5)


def test_a_version_with_a_deployment_is_scraped_and_knows_since_when_it_is_in_production(admin):
    version = a_version()
    answer = admin.post(
        reverse("admin:monitoring_modelversion_change", args=[version.pk]),
        {
            "model": version.model_id, "version": "3", "stage": "production", "baseline": '{"accuracy": 0.9}',
            **formset("deployments", {"metrics_url": "http://10.0.0.5:8001", "health_kind": "plain", "is_enabled": 1}),
        },
    )  # fmt: skip
    assert answer.status_code == 302, answer.context["errors"]
    version.refresh_from_db()
    assert version.promoted_at is not None
    made = Target.objects.get()
    assert (made.job, made.url, made.managed_by) == ("ranker", "http://10.0.0.5:8001/metrics", "deployment")


def test_a_deployment_that_is_nowhere_is_refused(admin):
    answer = admin.post(
        reverse("admin:monitoring_deployment_add"),
        {"version": a_version().pk, "health_kind": "plain", "is_enabled": "on"},
    )
    assert "Say where it runs" in answer.content.decode()


def test_a_baseline_of_words_is_refused(admin):
    version = a_version()
    answer = admin.post(
        reverse("admin:monitoring_modelversion_change", args=[version.pk]),
        {
            "model": version.model_id,
            "version": "3",
            "stage": "staging",
            "baseline": '{"a": "b"}',
            **formset("deployments"),
        },
    )
    assert "Give names and numbers" in answer.content.decode()


def test_targets_are_switched_off_and_on_with_a_line_in_their_history(admin):
    row = make_target()
    for action, expected in (("switch_off", False), ("switch_on", True)):
        admin.post(reverse("admin:monitoring_target_changelist"), {"action": action, "_selected_action": [row.pk]})
        row.refresh_from_db()
        assert row.is_enabled is expected
    assert row.history.count() == 3


def scrape_now(client: Client, row: Target) -> str:
    """Press the button and return the page that comes after it."""
    url = reverse("admin:monitoring_target_scrape_now", args=[row.pk])
    assert client.post(url, {"_form_submitted": "True"})["HX-Redirect"]
    return page(client, "target", "change", row.pk)


def test_a_scrape_at_once_says_what_it_found_and_stores_nothing(admin):
    with target(says("a 1\na 2\nb 3\n")) as server:
        shown = scrape_now(admin, make_target(server.url))
    assert "Up: 3 samples in" in shown and "had come before" in shown
    assert not ScrapeClaim.objects.exists()


def test_a_scrape_at_once_shows_the_mistake_with_its_line_and_nothing_of_it_as_markup(admin):
    with target(says("a 1\n<script>alert(1)</script>\n")) as server:
        shown = scrape_now(admin, make_target(server.url))
    assert "line 2: expected a metric name" in shown and "<script>alert(1)" not in shown


def test_who_may_only_look_cannot_scrape():
    viewer = User.objects.create_user("vera", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_target"))
    client = Client()
    client.force_login(viewer)
    with target(says("a 1\n")) as server:
        row = make_target(server.url)
        answer = client.post(reverse("admin:monitoring_target_scrape_now", args=[row.pk]), {"_form_submitted": "True"})
        assert (answer.status_code, server.requests) == (403, [])
