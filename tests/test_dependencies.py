"""Host → deployment → model: what is down mutes what hangs on it, and only what nobody was told of."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts import dependencies, dispatch
from alerts.models import Alert, Dependency, Integration, Notification
from monitoring.models import Deployment, Host, ModelVersion, ServedModel
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db


def seconds(n: float):
    """T0 plus n seconds."""
    return T0 + timedelta(seconds=n)


def deployment(model: str, host: str | None = None, port: int = 9000, version: str = "1") -> Deployment:
    """A version of a model that runs on a host, or behind an address alone."""
    served, _ = ServedModel.objects.get_or_create(name=model)
    row, _ = ModelVersion.objects.get_or_create(model=served, version=version)
    on = Host.objects.get_or_create(name=host, defaults={"first_seen": T0, "last_seen": T0})[0] if host else None
    return Deployment.objects.create(version=row, host=on, url=f"http://{host or 'lb'}:{port}/predict")


def fire(name: str, n: float = 0, **labels: str) -> Alert:
    """A firing alert, routed as it began."""
    row = build.alert(name, seconds(n), labels=labels)
    dispatch.route([row], seconds(n))
    return row


def tell(n: float) -> list[str]:
    """Names of the alerts told as firing at T0 + n seconds, those resolved with a minus."""
    dispatch.flush_due(seconds(n))
    told = []
    for message in build.arrive(seconds(n)):
        told += [("-" if line["ends_at"] else "") + line["labels"]["alertname"] for line in message.message["alerts"]]
    return sorted(told)


@pytest.fixture(autouse=True)
def root():
    """Everything to one webhook, a group each alert name: 1 s, 10 s."""
    build.down_alerts()
    root = build.route(group_wait_seconds=1, group_interval_seconds=10)
    return build.integration(root.receiver, Integration.Kind.WEBHOOK, url="http://127.0.0.1:1/x")


@pytest.fixture
def ranker() -> Deployment:
    """The model ranker, which runs on gpu-1 alone."""
    return deployment("ranker", "gpu-1")


def test_a_host_that_is_down_mutes_the_deployments_on_it(ranker) -> None:
    fire("HostDown", host="gpu-1")
    child = fire("TargetDown", instance="gpu-1:9000")
    assert tell(2) == ["HostDown"]
    assert child.memberships.get().muted_reason == "its parent fires: HostDown, host gpu-1 is down"


def test_a_deployment_that_is_down_mutes_the_alerts_of_its_model(ranker) -> None:
    fire("TargetDown", instance="gpu-1:9000", model_name="ranker")
    fire("ModelErrors", instance="gpu-1:9000", model_name="ranker")
    assert tell(2) == ["TargetDown"]


def test_an_alert_of_the_model_on_that_host_is_muted_by_its_labels(ranker) -> None:
    fire("HostDown", host="gpu-1")
    fire("ModelSlow", model_name="ranker", host="gpu-1")
    assert tell(2) == ["HostDown"]


def test_a_model_as_a_whole_is_muted_when_nothing_serves_it(ranker) -> None:
    fire("HostDown", host="gpu-1")
    fire("ModelNoTraffic", model_name="ranker")
    assert tell(2) == ["HostDown"]


def test_a_model_as_a_whole_speaks_while_something_serves_it(ranker) -> None:
    deployment("ranker", "gpu-2")
    fire("HostDown", host="gpu-1")
    fire("ModelSlow", model_name="ranker")
    assert tell(2) == ["HostDown", "ModelSlow"]


def test_a_version_is_muted_when_nothing_serves_that_version(ranker) -> None:
    deployment("ranker", "gpu-2", version="2")
    fire("HostDown", host="gpu-1")
    fire("ModelDrift", model_name="ranker", model_version="1")
    assert tell(2) == ["HostDown"]


def test_other_alerts_of_the_host_speak(ranker) -> None:
    fire("HostDown", host="gpu-1")
    fire("HostDiskFull", host="gpu-1")
    assert tell(2) == ["HostDiskFull", "HostDown"]


def test_other_hosts_and_models_speak(ranker) -> None:
    deployment("tagger", "gpu-2")
    fire("HostDown", host="gpu-1")
    fire("TargetDown", instance="gpu-2:9000")
    assert tell(2) == ["HostDown", "TargetDown"]


def test_two_alerts_that_say_the_same_do_not_mute_each_other(ranker) -> None:
    fire("TargetDown", instance="gpu-1:9000")
    fire("ProbeFailed", instance="gpu-1:9000")
    assert tell(2) == ["ProbeFailed", "TargetDown"]


def test_a_high_load_of_the_host_mutes_nothing(ranker) -> None:
    fire("HostCPUHigh", host="gpu-1")
    fire("TargetDown", instance="gpu-1:9000")
    assert tell(2) == ["HostCPUHigh", "TargetDown"]


def test_a_child_that_was_told_before_is_told_on_and_its_resolve_as_well(ranker) -> None:
    child = fire("TargetDown", instance="gpu-1:9000")
    assert tell(2) == ["TargetDown"]
    fire("HostDown", 5, host="gpu-1")
    build.resolve(child, seconds(8))
    assert tell(12) == ["-TargetDown", "HostDown"]


def test_a_child_that_still_fires_when_the_parent_ends_is_told(ranker) -> None:
    parent = fire("HostDown", host="gpu-1")
    fire("TargetDown", instance="gpu-1:9000")
    tell(2)
    build.resolve(parent, seconds(5))
    assert tell(12) == ["-HostDown", "TargetDown"]


def test_a_deployment_that_is_switched_off_has_no_children(ranker) -> None:
    Deployment.objects.update(is_enabled=False)
    fire("HostDown", host="gpu-1")
    fire("TargetDown", instance="gpu-1:9000")
    assert tell(2) == ["HostDown", "TargetDown"]


def test_a_dependency_can_be_switched_off(ranker) -> None:
    Dependency.objects.update(is_enabled=False)
    fire("HostDown", host="gpu-1")
    fire("TargetDown", instance="gpu-1:9000")
    assert tell(2) == ["HostDown", "TargetDown"]


def test_posted_parents_and_children_count_as_well(ranker) -> None:
    row = build.alert("HostDown", T0, labels={"host": "gpu-1"}, source="api", ends_at=seconds(60))
    dispatch.route([row], T0)
    fire("TargetDown", instance="gpu-1:9000")
    assert tell(2) == ["HostDown"]
    assert Notification.objects.count() == 1


def test_nothing_down_costs_two_queries(ranker, django_assert_num_queries) -> None:
    fire("HostCPUHigh", host="gpu-1")
    with django_assert_num_queries(2):
        assert dependencies.now(T0).rules == ()
