"""Probes as rows: claimed, asked, written, followed from deployments, and what /ready makes of them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, transaction

from monitoring import probes
from monitoring.collect.probe import Verdict
from monitoring.models import Deployment, ModelVersion, Probe, ProbeState, ServedModel
from monitoring.prober import ProbeLoop
from tests.scrape.build import stored, wait_until
from tests.scrape.server import hangs, says, target

pytestmark = pytest.mark.django_db
T0 = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
WELL, ILL = Verdict(True, 200, 0.02), Verdict(False, 503, 0.03, "HTTP 503 Service Unavailable")


def a_deployment(stage: str = "production", **fields) -> Deployment:
    model, _ = ServedModel.objects.get_or_create(name="ranker", defaults={"labels": {"tier": "1"}})
    version, _ = ModelVersion.objects.get_or_create(model=model, version="3", defaults={"stage": stage})
    return Deployment.objects.create(version=version, **{"url": "http://10.0.0.5:8080"} | fields)


def a_probe(name: str = "shop", **fields) -> Probe:
    return Probe.objects.create(**{"name": name, "url": "http://10.0.0.7/well"} | fields)


def asked(at: datetime, verdict: Verdict = WELL) -> list[probes.Task]:
    """Everything due at `at`, with one verdict for all."""
    probes.sweep(at)
    tasks = probes.claim(at, 100)
    probes.record([probes.Outcome(task, verdict) for task in tasks], at)
    return tasks


def test_a_new_probe_is_due_at_once_and_then_on_its_interval():
    a_probe(interval_seconds=15)
    assert len(asked(T0)) == 1
    assert asked(T0) == []
    due_at = ProbeState.objects.get().due_at
    assert T0 < due_at <= T0 + timedelta(seconds=15)
    assert len(asked(due_at)) == 1
    assert ProbeState.objects.get().due_at == due_at + timedelta(seconds=15)


def test_times_that_passed_while_nobody_asked_are_counted_and_not_made_up_for():
    a_probe(interval_seconds=10)
    asked(T0)
    assert len(asked(T0 + timedelta(seconds=100))) == 1
    assert ProbeState.objects.get().missed_slots in (9, 10)


def test_a_shortened_interval_counts_from_the_next_look():
    probe = a_probe(interval_seconds=3600)
    asked(T0)
    Probe.objects.filter(pk=probe.pk).update(interval_seconds=5)
    ProbeState.objects.update(due_at=T0 + timedelta(seconds=3000))
    assert len(asked(T0 + timedelta(seconds=6))) == 1


def test_an_answer_becomes_three_samples_with_the_labels_of_the_registry():
    deployment = a_deployment(health_url="http://10.0.0.5:8080/health")
    probes.follow(deployment)
    asked(T0)
    [(series, values)] = stored("probe_success").items()
    assert values == [1.0]
    for label in ('model_name="ranker"', 'model_version="3"', 'tier="1"', 'job="probe"', 'instance="10.0.0.5:8080"'):
        assert label in series
    assert [*stored("probe_http_status_code").values()] == [[200.0]]
    assert [*stored("probe_duration_seconds").values()] == [[0.02]]


def test_the_state_keeps_the_last_fifty_results_and_since_when():
    a_probe(interval_seconds=1, timeout_seconds=0.5)
    for second in range(55):
        asked(T0 + timedelta(seconds=second), WELL if second < 52 else ILL)
    state = ProbeState.objects.get()
    assert len(state.results) == 50
    assert state.results[0][0] == T0.timestamp() + 5
    assert state.results[-1][1:] == [False, 503, 0.03, "HTTP 503 Service Unavailable"]
    assert (state.is_ok, state.since) == (False, T0 + timedelta(seconds=52))


def test_a_probe_that_is_removed_ends_its_series():
    probe = a_probe()
    asked(T0)
    probe.delete()
    probes.sweep(T0 + timedelta(seconds=15))
    assert [*stored("probe_success").values()] == [[1.0, "stale"]]
    assert not ProbeState.objects.exists()


def test_a_new_version_ends_the_series_of_the_old_one():
    deployment = a_deployment(health_url="http://10.0.0.5:8080/health")
    probes.follow(deployment)
    asked(T0)
    deployment.version = ModelVersion.objects.create(model=deployment.version.model, version="4")
    deployment.save()
    asked(T0 + timedelta(seconds=15))
    assert [*stored("probe_success", model_version="3").values()] == [[1.0, "stale"]]
    assert [*stored("probe_success", model_version="4").values()] == [[1.0]]


def test_switching_a_deployment_off_ends_the_asking():
    deployment = a_deployment(health_url="http://10.0.0.5:8080/health")
    probes.follow(deployment)
    asked(T0)
    Deployment.objects.update(is_enabled=False)
    assert asked(T0 + timedelta(seconds=60)) == []


def test_a_probe_follows_its_deployment_until_staff_takes_it_over():
    deployment = a_deployment(health_url="http://10.0.0.5:8080", health_kind="kserve", health_model="rank")
    made = probes.follow(deployment)
    assert made is not None
    assert (made.name, made.kind, made.model_at_server) == ("ranker 10.0.0.5:8080", "kserve", "rank")
    Probe.objects.update(managed_by="", interval_seconds=60)
    deployment.health_url = "http://10.0.0.6:8080"
    assert probes.follow(deployment).url == "http://10.0.0.5:8080"
    Probe.objects.update(managed_by="deployment")
    deployment.health_url = ""
    assert probes.follow(deployment) is None
    assert not Probe.objects.exists()


def test_two_deployments_at_one_address_have_probes_of_their_own():
    for _ in range(2):
        probes.follow(a_deployment(health_url="http://10.0.0.5:8080/health"))
    assert Probe.objects.count() == 2


@pytest.mark.parametrize(("kind", "given", "model"), [("kserve", "", "ranker"), ("vllm", "", ""), ("vllm", "m", "m")])
def test_the_registrys_name_is_asked_for_where_servers_know_models(kind, given, model):
    deployment = a_deployment(health_url="http://10.0.0.5:8080", health_kind=kind, health_model=given)
    assert probes.task_of(probes.follow(deployment), T0).question.model == model


def test_a_timeout_longer_than_the_interval_is_refused():
    with pytest.raises(ValidationError, match="longer than the interval"):
        Probe(name="x", url="http://a/", interval_seconds=1, timeout_seconds=5).full_clean()


def test_a_production_deployment_is_unwell_until_it_answers_and_when_it_stops():
    probes.follow(a_deployment(health_url="http://10.0.0.5:8080/health"))
    assert probes.unwell(T0) == [("ranker 3 on 10.0.0.5:8080", "not asked yet")]
    asked(T0)
    assert probes.unwell(T0) == []
    asked(T0 + timedelta(seconds=15), ILL)
    assert probes.unwell(T0 + timedelta(seconds=15))[0][1] == "HTTP 503 Service Unavailable"


def test_a_stale_answer_is_none():
    probes.follow(a_deployment(health_url="http://10.0.0.5:8080/health"))
    asked(T0)
    assert "is a worker running?" in probes.unwell(T0 + timedelta(seconds=60))[0][1]


def test_a_deployment_whose_probe_is_switched_off_does_not_count_as_well():
    probes.follow(a_deployment(health_url="http://10.0.0.5:8080/health"))
    Probe.objects.update(is_enabled=False)
    assert probes.unwell(T0) == [("ranker 3 on 10.0.0.5:8080", "its probe is switched off")]


def test_what_is_not_in_production_or_has_no_health_url_is_not_asked_of():
    a_deployment()
    probes.follow(a_deployment(health_url="http://10.0.0.5:8080/health"))
    ModelVersion.objects.update(stage="staging")
    assert probes.unwell(T0) == []


@pytest.mark.django_db(transaction=True)
def test_a_claimed_probe_is_not_claimed_by_another_process():
    for number in range(4):
        a_probe(f"p{number}")
    probes.sweep(T0)
    second: list[int] = []

    def other() -> None:
        try:
            second.extend(task.probe_id for task in probes.claim(T0, 100))
        finally:
            connection.close()

    with transaction.atomic():
        first = [task.probe_id for task in probes.claim(T0, 2)]
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(20)
    assert len(first) == 2
    assert sorted(first + second) == sorted(Probe.objects.values_list("pk", flat=True))


@pytest.mark.django_db(transaction=True)
def test_the_loop_asks_real_servers_and_one_that_hangs_holds_up_nobody():
    stop = threading.Event()
    with target(says("fine")) as fine, target(hangs) as stuck:
        a_probe("fine", url=fine.url, interval_seconds=1, timeout_seconds=0.9)
        a_probe("stuck", url=stuck.url, interval_seconds=1, timeout_seconds=0.9)
        loop = ProbeLoop("test", lambda: datetime.now(UTC))
        thread = threading.Thread(target=loop.run, args=(stop,))
        thread.start()
        try:
            wait_until(lambda: ProbeState.objects.filter(probe__name="stuck", is_ok=False).exists())
            wait_until(lambda: len(ProbeState.objects.get(probe__name="fine").results) >= 3)
        finally:
            stop.set()
            thread.join(20)
    assert "within 0.9 s" in ProbeState.objects.get(probe__name="stuck").error
    assert ProbeState.objects.get(probe__name="fine").is_ok
    assert loop.tally.asked >= 4
