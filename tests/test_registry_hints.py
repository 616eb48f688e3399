"""Whose alert it is and what was deployed before it, in messages and on the page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from alerts import dispatch
from alerts.models import Alert, Integration, Notification
from monitoring.models import Deploy, ModelVersion, ServedModel, Team
from tests import build
from tests.build import T0
from tests.people import member, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def root():
    """One webhook for everything, told at once, a group each alert name."""
    root = build.route(group_wait_seconds=0)
    return build.integration(root.receiver, Integration.Kind.WEBHOOK, url="http://127.0.0.1:1/x")


def model(name: str = "ranker", owner: str = "") -> ServedModel:
    """A model, owned by a team where one is named."""
    team = Team.objects.get_or_create(name=owner)[0] if owner else None
    return ServedModel.objects.create(name=name, owner=team)


def deploy(of: ServedModel, minutes_before: float, version: str = "13", by: str = "") -> Deploy:
    """A version of it that went out so long before T0."""
    row, _ = ModelVersion.objects.get_or_create(model=of, version=version)
    return Deploy.objects.create(model=of, version=row, at=T0 - timedelta(minutes=minutes_before), by=by)


def told(name: str = "Slow", **fields: Any) -> dict[str, Any]:
    """The message about a new alert."""
    labels = {"model_name": "ranker", **fields.pop("labels", {})}
    dispatch.route([build.alert(name, labels=labels, **fields)], T0)
    dispatch.flush_due(T0)
    return dict(Notification.objects.latest("id").message)


def test_the_owner_of_a_model_owns_its_alerts() -> None:
    model(owner="ml-serving")
    assert told()["owner"] == "ml-serving"


@pytest.mark.parametrize(
    "fields", [{"annotations": {"owner": "ana"}}, {"labels": {"team": "ana"}}], ids=["annotation", "label"]
)
def test_what_the_alert_says_of_its_owner_goes_before_the_registry(fields: dict[str, Any]) -> None:
    model(owner="ml-serving")
    assert told(**fields)["owner"] == "ana"


def test_an_alert_of_nobodys_model_has_no_owner() -> None:
    model()
    assert told()["owner"] == ""


def test_owners_of_several_alerts_stand_together() -> None:
    for number in range(5):
        model(f"m{number}", owner=f"team-{number}")
    rows = [build.alert("Slow", labels={"model_name": f"m{number}"}) for number in range(5)]
    dispatch.route(rows, T0)
    dispatch.flush_due(T0)
    assert sorted(Notification.objects.get().message["owner"].split(" ")[-2:]) == ["2", "more"]


def test_a_deploy_just_before_is_named_with_who_did_it() -> None:
    deploy(model(), 12, by="ci")
    assert told()["notes"] == ["ranker@13 was deployed 12 min before it fired by ci"]


@pytest.mark.parametrize("minutes_before", [-5, 121], ids=["afterwards", "long before"])
def test_another_deploy_is_no_hint(minutes_before: float) -> None:
    deploy(model(), minutes_before)
    assert told()["notes"] == []


def test_the_deploy_of_another_model_is_no_hint() -> None:
    model()
    deploy(model("scorer"), 5)
    assert told()["notes"] == []


def test_the_newest_deploy_is_the_hint() -> None:
    row = model()
    deploy(row, 60, "12")
    deploy(row, 5, "13")
    assert "ranker@13" in told()["notes"][0]


def test_the_page_says_both() -> None:
    deploy(model(owner="ml-serving"), 12)
    told()
    page = signed_in(member("Viewer")).get(f"/alerts/{Alert.objects.get().pk}/").content.decode()
    assert "Owner: ml-serving" in page and "ranker@13 was deployed 12 min before it fired" in page


def test_many_messages_ask_the_registry_once(django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        model(f"m{number}", owner="ml")
    rows = [build.alert(f"A{number}", labels={"model_name": f"m{number}"}) for number in range(30)]
    dispatch.route(rows, T0)
    with django_assert_max_num_queries(45):
        assert len(dispatch.flush_due(T0)) == 30
