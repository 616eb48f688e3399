"""Host → deployment → model: what is down mutes what hangs on it, and only what nobody was told of."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts import dependencies, dispatch
from alerts.models import Alert, Dependency, Integration, Notification, NotifyLog
from monitoring.models import Deployment, Host, ModelVersion, ServedModel
from tests import build
from tests.build import T0
from tests.people import member, signed_in

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


# -- what the parent's message says ------------------------------------------------------------------------------------


def notes(message: Notification) -> list[str]:
    """The small print of a message."""
    return list(message.message["notes"])


def test_the_parents_message_counts_what_it_suppresses(ranker) -> None:
    fire("ModelErrors", model_name="ranker", host="gpu-1")
    fire("HighLatency", model_name="ranker", host="gpu-1")
    fire("HostDown", host="gpu-1")
    dispatch.flush_due(seconds(2))
    [message] = build.arrive(seconds(2))
    assert notes(message) == ["suppressed: 2 model alerts (ranker)"]


def test_what_was_told_before_is_not_counted_as_suppressed(ranker) -> None:
    fire("ModelErrors", model_name="ranker", host="gpu-1")
    tell(2)
    fire("HostDown", 3, host="gpu-1")
    dispatch.flush_due(seconds(5))
    [message] = build.arrive(seconds(5))
    assert notes(message) == []


def test_a_living_message_is_edited_quietly_when_more_is_suppressed(root, ranker) -> None:
    bot = build.integration(root.receiver)
    Integration.objects.exclude(pk=bot.pk).delete()
    fire("HostDown", host="gpu-1")
    tell(2)
    fire("ModelErrors", 5, model_name="ranker", host="gpu-1")
    dispatch.flush_due(seconds(12))
    [edit] = build.arrive(seconds(12))
    assert (edit.kind, notes(edit)) == ("update", ["suppressed: 1 model alert (ranker)"])


def test_a_message_that_says_how_much_is_suppressed_is_left_alone(root, ranker) -> None:
    bot = build.integration(root.receiver)
    Integration.objects.exclude(pk=bot.pk).delete()
    fire("ModelErrors", model_name="ranker", host="gpu-1")
    fire("HostDown", host="gpu-1")
    tell(2)
    assert tell(12) == [] and tell(22) == []


def test_a_suppressing_edit_moves_nothing_that_counts_for_repeats(root, ranker) -> None:
    bot = build.integration(root.receiver)
    Integration.objects.exclude(pk=bot.pk).delete()
    fire("HostDown", host="gpu-1")
    tell(2)
    before = NotifyLog.objects.values_list("told_at", "firing").get()
    fire("ModelErrors", 5, model_name="ranker", host="gpu-1")
    tell(12)
    assert NotifyLog.objects.values_list("told_at", "firing").get() == before


def test_the_page_of_the_parent_names_what_it_suppresses(ranker) -> None:
    child = fire("ModelErrors", model_name="ranker", host="gpu-1")
    parent = fire("HostDown", host="gpu-1")
    page = signed_in(member("Viewer")).get(f"/alerts/{parent.pk}/").content.decode()
    assert "It suppresses 1 alert of what hangs on it." in page and f"/alerts/{child.pk}/" in page
