"""Deploys: told by a pipeline, noted by the admin, marked on charts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from monitoring import targets
from monitoring.charts import Span
from monitoring.dashboards import marks
from monitoring.models import Deploy, Deployment, Host, ModelVersion, Probe, ServedModel, Target
from monitoring.models.tokens import make_token
from tests.people import member, signed_in, superuser

pytestmark = pytest.mark.django_db
FAR = {"REMOTE_ADDR": "192.0.2.7"}


@pytest.fixture
def model() -> ServedModel:
    return ServedModel.objects.create(name="ranker")


@pytest.fixture
def ci() -> Client:
    _, secret = make_token("ci", ["deploy"])
    return Client(**FAR, headers={"Authorization": f"Bearer {secret}"})


def tell(client: Client, body: object, name: str = "ranker", content_type: str = "application/json"):
    text = body if isinstance(body, str) else json.dumps(body)
    return client.post(f"/api/v1/models/{name}/deploys", text, content_type=content_type)


def a_deployment(model: ServedModel, version: str = "1", **fields) -> Deployment:
    row, _ = ModelVersion.objects.get_or_create(model=model, version=version)
    return Deployment.objects.create(version=row, **fields or {"url": "http://10.0.0.5:8080"})


def test_a_pipeline_tells_of_a_deploy_with_a_token(ci, model):
    response = tell(ci, {"version": "4", "note": "faster", "url": "https://ci.example/7", "at": "2026-03-04T12:00:00Z"})
    assert response.status_code == 201
    answer = response.json()["data"]
    assert (answer["version"], answer["by"], answer["at"]) == ("4", "ci", "2026-03-04T12:00:00Z")
    row = Deploy.objects.get()
    assert (row.version.version, row.note, row.source) == ("4", "faster", "api")


def test_without_a_time_it_is_now(ci, model):
    before = timezone.now()
    tell(ci, {"version": "4"})
    assert before <= Deploy.objects.get().at <= timezone.now()


def test_the_same_deploy_told_twice_is_one(ci, model):
    body = {"version": "4", "at": 1_772_625_600}
    assert [tell(ci, body).status_code for _ in range(2)] == [201, 200]
    assert Deploy.objects.get().at == datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def test_a_stage_promotes_the_version(ci, model):
    tell(ci, {"version": "4", "stage": "production", "at": "2026-03-04T12:00:00"})
    version = ModelVersion.objects.get()
    assert (version.stage, version.promoted_at) == ("production", datetime(2026, 3, 4, 12, 0, tzinfo=UTC))


def test_a_deployment_runs_the_version_from_then_on(ci, model):
    deployment = a_deployment(model, metrics_url="http://10.0.0.5:8080/metrics", health_url="http://10.0.0.5:8080/h")
    targets.follow(deployment)
    assert tell(ci, {"version": "2", "deployment": "10.0.0.5:8080"}).status_code == 201
    deployment.refresh_from_db()
    assert deployment.version.version == "2"
    assert dict(targets.spec_of(Target.objects.get()).labels)["model_version"] == "2"
    assert Probe.objects.get().deployment == deployment


def test_an_older_deploy_told_late_is_marked_and_moves_nothing(ci, model):
    deployment = a_deployment(model)
    now = timezone.now()
    tell(ci, {"version": "3", "deployment": deployment.pk, "at": now.isoformat()})
    tell(ci, {"version": "2", "deployment": deployment.pk, "at": (now - timedelta(hours=1)).isoformat()})
    deployment.refresh_from_db()
    assert deployment.version.version == "3"
    assert Deploy.objects.count() == 2


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ("{", 400, "no JSON"),
        ([1], 400, "JSON object"),
        ({}, 400, "version is missing"),
        ({"version": 4.5}, 400, "version must be a text"),
        ({"version": "4", "stage": "prod"}, 400, "none of development, staging, production, archived"),
        ({"version": "4", "at": "yesterday"}, 400, "is no time"),
        ({"version": "4", "at": "2999-01-01T00:00:00Z"}, 400, "in the future"),
        ({"version": "4", "at": 1e300}, 400, "is no time"),
        ({"version": "4", "url": "javascript:alert(1)"}, 400, "http://"),
        ({"version": "4", "verison": "5"}, 400, "'verison' is not known"),
        ({"version": "4", "note": "x" * 2001}, 400, "longer than 2000"),
        ({"version": "4\0"}, 400, "NUL"),
        ({"version": "4", "deployment": "10.9.9.9:1"}, 404, "it has 1"),
        ({"version": "4", "deployment": "gpu-1"}, 409, "several deployments"),
        ({"version": "0"}, 409, "archived"),
    ],
)
def test_what_is_wrong_with_a_deploy_is_told_and_nothing_is_kept(ci, model, body, status, words):
    now = timezone.now()
    host = Host.objects.create(name="gpu-1", first_seen=now, last_seen=now)
    ModelVersion.objects.create(model=model, version="0", stage="archived")
    rows = [a_deployment(model, host=host) for _ in range(2)]
    words = words.replace("it has 1", f"it has {rows[1].pk}") if status == 404 else words
    response = tell(ci, body)
    assert response.status_code == status, response.content
    assert words in response.json()["error"]
    assert not Deploy.objects.exists()
    assert not ModelVersion.objects.filter(version__startswith="4").exists()


def test_a_model_nobody_has_registered_is_404(ci):
    response = tell(ci, {"version": "4"}, name="no/such")
    assert (response.status_code, "no/such" in response.json()["error"]) == (404, True)


def test_another_content_type_is_refused(ci, model):
    assert "application/json" in tell(ci, {"version": "4"}, content_type="text/plain").json()["error"]


def test_a_huge_body_is_refused(ci, model):
    assert tell(ci, {"version": "4", "note": "x" * 3_000_000}).status_code == 400


def test_who_has_no_token_or_the_wrong_one_is_refused(model):
    _, reader = make_token("grafana", ["read"])
    assert tell(Client(), {"version": "4"}).status_code == 401
    assert tell(Client(**FAR), {"version": "4"}).status_code == 401
    assert tell(Client(headers={"Authorization": f"Bearer {reader}"}), {"version": "4"}).status_code == 403
    assert tell(signed_in(member("Viewer")), {"version": "4"}).status_code == 403
    assert not Deploy.objects.exists()


def test_the_newest_deploys_are_listed(ci, model):
    for version in ("1", "2"):
        tell(ci, {"version": version, "at": f"2026-03-0{version}T12:00:00Z"})
    listed = Client().get("/api/v1/models/ranker/deploys").json()["data"]
    assert [one["version"] for one in listed] == ["2", "1"]


def test_a_deploy_is_a_mark_on_charts(ci, model):
    tell(ci, {"version": "4", "stage": "production", "at": "2026-03-04T12:00:00Z"})
    at = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
    span = Span(at - timedelta(hours=1), at + timedelta(hours=1), 15)
    [mark] = marks.deploys(span, marks.Scope(models=("ranker",)))
    assert (mark["label"], mark["labels"]) == ("ranker 4 to production", {"model_name": "ranker"})
    assert marks.deploys(span, marks.Scope(models=("other",))) == []


def test_a_version_changed_on_a_deployment_in_the_admin_is_a_deploy(model):
    admin = signed_in(superuser("ana"))
    form = {"url": "http://10.0.0.5:8080", "health_kind": "plain", "is_enabled": "on"}
    one, two = (ModelVersion.objects.create(model=model, version=version) for version in "12")
    admin.post(reverse("admin:monitoring_deployment_add"), {"version": one.pk, **form})
    row = Deployment.objects.get()
    change = reverse("admin:monitoring_deployment_change", args=[row.pk])
    admin.post(change, {"version": one.pk, **form, "health_url": "http://10.0.0.5:8080/health"})
    assert Probe.objects.get().url == "http://10.0.0.5:8080/health"
    admin.post(change, {"version": two.pk, **form})
    found = Deploy.objects.order_by("at").values_list("version__version", "deployment", "by", "source")
    assert list(found) == [("1", row.pk, "ana", "admin"), ("2", row.pk, "ana", "admin")]


def test_a_version_promoted_in_the_admin_is_a_deploy_once(model):
    admin = signed_in(superuser("ana"))
    version = ModelVersion.objects.create(model=model, version="1", stage="staging")
    inline = {"deployments-TOTAL_FORMS": 0, "deployments-INITIAL_FORMS": 0, "baseline": "{}"}
    for _ in range(2):
        admin.post(
            reverse("admin:monitoring_modelversion_change", args=[version.pk]),
            {"model": model.pk, "version": "1", "stage": "production", **inline},
        )
    [deploy] = Deploy.objects.all()
    assert (deploy.stage, deploy.by) == ("production", "ana")


def test_deploys_are_listed_in_the_admin_and_cannot_be_changed(ci, model):
    tell(ci, {"version": "4", "url": "https://ci.example/7"})
    admin = signed_in(superuser())
    shown = admin.get(reverse("admin:monitoring_deploy_changelist")).content.decode()
    assert "ranker 4" in shown
    assert "https://ci.example/7" in shown
    assert admin.get(reverse("admin:monitoring_deploy_add")).status_code == 403
