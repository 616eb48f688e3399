"""Probes in the admin: the list with its cells, the form, a question at once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alphaq_portal import bar
from monitoring import probes
from monitoring.collect.probe import Verdict
from monitoring.models import Deployment, ModelVersion, Probe, ProbeState, ServedModel
from tests.people import member, signed_in, superuser
from tests.scrape.server import says, target

pytestmark = pytest.mark.django_db
NO_STATE = {"labels": "{}", "state-TOTAL_FORMS": 0, "state-INITIAL_FORMS": 0}


@pytest.fixture
def admin() -> Client:
    return signed_in(superuser())


def a_probe(name: str, url: str = "http://10.0.0.7/well", **fields) -> Probe:
    return Probe.objects.create(name=name, url=url, **fields)


def answered(*verdicts: Verdict) -> None:
    """Each probe, in order of name, has just given its verdict."""
    at = timezone.now()
    probes.sweep(at)
    tasks = sorted(probes.claim(at, 100), key=lambda task: task.labels["probe"])
    probes.record([probes.Outcome(*pair) for pair in zip(tasks, verdicts, strict=True)], at)


def ask_now(client: Client, probe: Probe):
    return client.post(reverse("admin:monitoring_probe_probe_now", args=[probe.pk]), {"_form_submitted": "True"})


def test_the_list_says_who_is_well_and_why_others_are_not(admin):
    model = ServedModel.objects.create(name="ranker")
    version = ModelVersion.objects.create(model=model, version="3")
    a_probe("a", deployment=Deployment.objects.create(version=version, url="http://10.0.0.7"))
    a_probe("b")
    a_probe("idle", is_enabled=False)
    answered(Verdict(True, 200, 0.02), Verdict(False, 503, 0.5, "HTTP 503 Service Unavailable"))
    shown = admin.get(reverse("admin:monitoring_probe_changelist")).content.decode()
    for words in (
        "well",
        "not well",
        "off",
        "20 ms",
        "HTTP 503 Service",
        "0 of 1 answers well",
        "aq-cell is-critical",
        "ranker 3",
    ):
        assert words in shown


def test_the_list_asks_a_fixed_number_of_questions(admin, django_assert_max_num_queries):
    def questions(first: int, count: int) -> int:
        for number in range(first, first + count):
            a_probe(f"p{number}")
        bar.forget()
        with django_assert_max_num_queries(40) as captured:
            admin.get(reverse("admin:monitoring_probe_changelist"))
        return len(captured)

    assert questions(0, 1) == questions(1, 5)


def test_an_old_answer_is_shown_as_stale(admin):
    a_probe("a")
    answered(Verdict(True, 200, 0.02))
    ProbeState.objects.update(probed_at=timezone.now() - timedelta(minutes=5))
    assert "stale" in admin.get(reverse("admin:monitoring_probe_changelist")).content.decode()


def test_a_probe_is_made_by_form_and_its_page_shows_the_last_answers(admin):
    form = {"name": "shop", "url": "http://10.0.0.7/", "kind": "plain", "interval_seconds": 15, "timeout_seconds": 5}
    admin.post(reverse("admin:monitoring_probe_add"), {**form, **NO_STATE, "is_enabled": "on"})
    answered(Verdict(False, 0, 5.0, "connection refused: nothing listens there"))
    page = admin.get(reverse("admin:monitoring_probe_change", args=[Probe.objects.get().pk])).content.decode()
    assert "connection refused" in page
    assert "aq-cell is-critical" in page


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": "ftp://10.0.0.7/"}, "http://"),
        ({"interval_seconds": 2}, "longer than the interval"),
        ({"labels": '{"job": "mine"}'}, "set by the portal"),
    ],
)
def test_a_probe_that_could_never_be_asked_is_refused(admin, change, words):
    form = {"name": "shop", "url": "http://10.0.0.7/", "kind": "plain", "interval_seconds": 15, "timeout_seconds": 5}
    shown = admin.post(reverse("admin:monitoring_probe_add"), {**form, **NO_STATE, **change}).content.decode()
    assert words in shown
    assert not Probe.objects.exists()


def test_probe_now_asks_and_keeps_the_answer(admin):
    with target(says("fine")) as server:
        probe = a_probe("shop", server.url)
        answer = ask_now(admin, probe)
    assert answer.headers["HX-Redirect"] == reverse("admin:monitoring_probe_change", args=[probe.pk])
    assert ProbeState.objects.get().is_ok
    assert "Well: HTTP 200" in admin.get(answer.headers["HX-Redirect"]).content.decode()


def test_probe_now_of_a_probe_that_is_off_keeps_nothing(admin):
    probe = a_probe("shop", "http://127.0.0.1:9/", is_enabled=False)
    page = admin.get(ask_now(admin, probe).headers["HX-Redirect"]).content.decode()
    assert "connection refused" in page
    assert not ProbeState.objects.exists()


def test_a_viewer_sees_probes_and_asks_none():
    probe, viewer = a_probe("shop"), signed_in(member("Viewer"))
    assert viewer.get(reverse("admin:monitoring_probe_changelist")).status_code == 200
    assert ask_now(viewer, probe).status_code == 403
