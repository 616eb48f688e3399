"""Alertmanager's API v2 over rows: shapes, filters, faults, who may."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from alerts.models import Alert, Event, InhibitRule, Silence
from tests import build
from tests.people import member, signed_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("services")]
FAR = {"REMOTE_ADDR": "192.0.2.7"}
UNKNOWN = "11111111-1111-1111-1111-111111111111"


def get(path, status=200, client=None, **query):
    response = (client or Client()).get(f"/api/v2/{path}", query)
    assert response.status_code == status, response.content
    return response.json()


def post(path, body, status=200, client=None, **headers):
    text = body if isinstance(body, str) else json.dumps(body)
    response = (client or Client()).post(f"/api/v2/{path}", text, content_type="application/json", **headers)
    assert response.status_code == status, response.content
    return response.json() if response.content else None


def fire(name="HostDown", **labels):
    post("alerts", [{"labels": {"alertname": name, **labels}}])
    return Alert.objects.latest("id")


def later(**span):
    return (datetime.now(UTC) + timedelta(**span)).isoformat()


def matcher(name="alertname", value="HostDown", **how):
    return {"name": name, "value": value, "isRegex": False, **how}


def silence(*matchers, status=200, **fields):
    given = {"startsAt": later(), "endsAt": later(hours=1), "createdBy": "ana", "comment": "planned"}
    return post("silences", {"matchers": [*(matchers or [matcher()])], **given, **fields}, status)


# -- alerts


def test_a_posted_alert_is_answered_in_upstream_s_shape():
    build.route(receiver=build.receiver("ml-oncall"))
    post("alerts", [{
        "labels": {"alertname": "X", "host": "gpu-1"}, "annotations": {"summary": "gone"}, "generatorURL": "http://p/g",
        "startsAt": "2026-03-04T12:00:00.123456789Z",
    }])  # fmt: skip
    (found,) = get("alerts")
    assert set(found) == {
        "annotations", "endsAt", "fingerprint", "receivers", "startsAt", "status", "updatedAt", "generatorURL",
        "labels",
    }  # fmt: skip
    assert (found["labels"], found["annotations"]) == ({"alertname": "X", "host": "gpu-1"}, {"summary": "gone"})
    assert found["startsAt"] == "2026-03-04T12:00:00.123Z"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["endsAt"])
    assert found["receivers"] == [{"name": "ml-oncall"}]
    assert found["status"] == {"inhibitedBy": [], "silencedBy": [], "state": "active"}


def test_alerts_of_our_own_rules_are_answered_as_well():
    build.alert("HostCPUHigh", rule=build.rule(), labels={"host": "gpu-1"})
    assert [one["labels"]["host"] for one in get("alerts")] == ["gpu-1"]


def test_pending_shadow_and_ended_alerts_are_not_answered():
    build.alert("Pending", state=Alert.State.PENDING)
    build.alert("Shadow", is_shadow=True)
    build.alert("Over", state=Alert.State.RESOLVED)
    build.alert("Late", source="api", ends_at=timezone.now() - timedelta(seconds=1))
    assert get("alerts") == []


def test_alerts_are_sorted_by_fingerprint():
    for name in "ABCDEFG":
        fire(name)
    prints = [one["fingerprint"] for one in get("alerts")]
    assert prints == sorted(prints)


def test_filters_are_matchers_that_must_all_hold():
    fire("A", severity="critical", team="ml")
    fire("B", severity="warning", team="ml")
    fire("C", severity="critical")
    names = [one["labels"]["alertname"] for one in get("alerts", filter=['severity="critical"', "team=~m."])]
    assert names == ["A"]


@pytest.mark.parametrize("text", ["severity", 'a=~"("', 'a="b'])
def test_a_filter_that_cannot_be_read_is_refused(text):
    assert "bad matcher format" in get("alerts", 400, filter=text)


def test_receivers_are_chosen_by_an_anchored_regular_expression():
    root = build.route(receiver=build.receiver("default"))
    build.route(root, matchers=['team="ml"'], receiver=build.receiver("ml-oncall"))
    fire("A", team="ml")
    fire("B")
    assert [one["labels"]["alertname"] for one in get("alerts", receiver="ml-.*")] == ["A"]
    assert get("alerts", receiver="ml") == []
    assert "receiver" in get("alerts", 400, receiver="(")


def test_silenced_alerts_say_by_what_and_can_be_left_out():
    fire()
    id_ = silence()["silenceID"]
    assert get("alerts")[0]["status"] == {"inhibitedBy": [], "silencedBy": [id_], "state": "suppressed"}
    assert get("alerts", silenced="false") == []
    assert len(get("alerts", active="false")) == 1


def test_inhibited_alerts_say_by_what_and_can_be_left_out():
    InhibitRule.objects.create(
        source_matchers=['severity="critical"'], target_matchers=['severity="warning"'], equal=["host"]
    )
    source = fire("Node", severity="critical", host="a")
    fire("Disk", severity="warning", host="a")
    status = {one["labels"]["alertname"]: one["status"] for one in get("alerts")}
    assert status["Disk"] == {"inhibitedBy": [source.fingerprint], "silencedBy": [], "state": "suppressed"}
    assert [one["labels"]["alertname"] for one in get("alerts", inhibited="false")] == ["Node"]


def test_a_flag_that_is_none_is_refused():
    assert get("alerts", 422, active="maybe")["code"] == 602


def test_groups_hold_their_alerts_and_receivers():
    root = build.route(receiver=build.receiver("default"), group_by=["alertname"])
    build.route(root, matchers=['team="ml"'], receiver=build.receiver("ml"), group_by=["host"], goes_on=True)
    build.route(root, matchers=['team="ml"'], receiver=build.receiver("audit"))
    fire("A", team="ml", host="x")
    fire("B")
    found = [(g["labels"], g["receiver"]["name"], len(g["alerts"])) for g in get("alerts/groups")]
    assert found == [({"alertname": "A"}, "audit", 1), ({"alertname": "B"}, "default", 1), ({"host": "x"}, "ml", 1)]
    assert [g["receiver"]["name"] for g in get("alerts/groups", receiver="ml")] == ["ml"]


def test_groups_without_wanted_alerts_are_left_out():
    build.route()
    fire("A")
    assert get("alerts/groups", filter='alertname="B"') == []


def test_a_post_of_nothing_is_taken():
    assert post("alerts", []) is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"not": "a list"}, 400), ("{", 400), ([{"annotations": {"a": "b"}}], 422), ([1], 400),
        ([{"labels": None}], 422), ([{"labels": {"a": 5}}], 400), ([{"labels": {"a": "b"}, "startsAt": "soon"}], 400),
    ],
)  # fmt: skip
def test_a_body_that_does_not_fit_is_refused(body, status):
    assert post("alerts", body, status)
    assert not Alert.objects.exists()


def test_faulty_alerts_are_named_and_the_others_taken():
    said = post("alerts", [{"labels": {"alertname": "Good"}}, {"labels": {}}, {"labels": {"a-b": "c"}}], 400)
    assert said.startswith("at least one label pair required; invalid label set")
    assert [one["labels"] for one in get("alerts")] == [{"alertname": "Good"}]


def test_ten_thousand_alerts_are_taken_at_once():
    items = [{"labels": {"alertname": "Bulk", "n": str(n)}, "annotations": {"x": "y" * 300}} for n in range(10_000)]
    post("alerts", items)  # more than Django takes of a form
    assert Alert.objects.count() == 10_000


# -- silences


def test_a_silence_is_answered_in_upstream_s_shape():
    id_ = silence(matcher("host", "gpu-.*", isRegex=True, isEqual=False), matcher())["silenceID"]
    found = get(f"silence/{id_}")
    assert set(found) == {
        "id", "status", "updatedAt", "comment", "createdBy", "endsAt", "matchers", "startsAt"
    }  # fmt: skip
    assert found["matchers"] == [
        {"isEqual": False, "isRegex": True, "name": "host", "value": "gpu-.*"},
        {"isEqual": True, "isRegex": False, "name": "alertname", "value": "HostDown"},
    ]
    assert (found["id"], found["status"], found["createdBy"]) == (id_, {"state": "active"}, "ana")


@pytest.mark.parametrize("value", ['quo"te', "back\\slash", "line\nbreak", "{a,b}", "☔"])
def test_a_matcher_keeps_any_value(value):
    id_ = silence(matcher(value=value))["silenceID"]
    assert get(f"silence/{id_}")["matchers"][0]["value"] == value


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"matchers": [matcher("a", ".*", isRegex=True)]}, 400, "must not match the empty string"),
        ({"matchers": [matcher("alertname", ".+", isRegex=True)]}, 400, "would silence every alert"),
        ({"matchers": []}, 422, "at least 1 items"),
        ({"matchers": [{"name": "a"}]}, 422, "value and isRegex of each of matchers in body is required"),
        ({"matchers": [matcher("a", "b", isRegex="x")]}, 400, "isRegex of type boolean"),
        ({"matchers": 5}, 400, "must be a list"),
        ({"matchers": [matcher("a", "(", isRegex=True)]}, 400, "invalid"),
        ({"matchers": [matcher("bad-name", "x")]}, 400, "invalid label name"),
        ({"endsAt": "2020-01-01T00:00:00Z", "startsAt": "2020-01-02T00:00:00Z"}, 400, "start time must be before end"),
        ({"startsAt": "2020-01-01T00:00:00Z", "endsAt": "2020-01-02T00:00:00Z"}, 400, "end time can't be in the past"),
        ({"startsAt": "soon"}, 400, "date-time"),
        ({"comment": None}, 422, "comment in body is required"),
        ({"id": UNKNOWN}, 404, "not found"),
    ],
)
def test_a_silence_that_cannot_be_kept_is_refused(fields, status, words):
    said = silence(status=status, **fields)
    assert words in (said["message"] if isinstance(said, dict) else said)
    assert not Silence.objects.exists()


def test_a_new_end_keeps_the_id_and_new_matchers_do_not():  # AS-7
    first = silence()["silenceID"]
    told = get(f"silence/{first}")
    same = silence(id=first, startsAt=told["startsAt"], endsAt=later(hours=2))["silenceID"]
    other = silence(matcher(value="Disk"), id=first)["silenceID"]
    assert same == first != other
    assert [(one["id"], one["status"]["state"]) for one in get("silences")] == [(other, "active"), (first, "expired")]


def test_a_silence_ends_once_and_again():  # AS-8
    id_ = silence()["silenceID"]
    for _ in range(2):
        assert Client().delete(f"/api/v2/silence/{id_}").status_code == 200
    assert get(f"silence/{id_}")["status"] == {"state": "expired"}


@pytest.mark.parametrize(("id_", "status"), [("not-a-uuid", 422), (UNKNOWN, 404)])
def test_an_id_nobody_knows_is_refused(id_, status):
    get(f"silence/{id_}", status)
    assert Client().delete(f"/api/v2/silence/{id_}").status_code == status


def test_silences_are_sorted_active_pending_expired():  # AP-5
    late = silence(endsAt=later(hours=3))["silenceID"]
    soon = silence(endsAt=later(hours=1))["silenceID"]
    pending = silence(startsAt=later(minutes=5))["silenceID"]
    over = silence()["silenceID"]
    Client().delete(f"/api/v2/silence/{over}")
    assert [one["id"] for one in get("silences")] == [soon, late, pending, over]


def test_silences_are_filtered_by_their_own_matchers():
    silence(matcher("a", "b"))
    silence(matcher("a", "b.*", isRegex=True))
    assert [one["matchers"][0]["value"] for one in get("silences", filter='a="b"')] == ["b"]


def test_a_silence_is_noted_at_what_it_covers():
    row = fire()
    fire("Other")
    silence()
    note = Event.objects.get(kind=Event.Kind.SILENCED)
    assert note.alert == row
    assert "by ana: planned" in note.reason


# -- about the portal


def test_receivers_are_those_that_can_be_reached_or_are_led_to():
    build.route(receiver=build.receiver("default"))
    build.receiver("nobody leads here")
    assert get("receivers") == [{"name": "default"}]


def test_the_status_hides_secrets_and_names_no_cluster():
    build.integration(
        build.receiver("default"), kind="slack_webhook", url="https://hooks.slack.com/services/T/B/SECRET"
    )
    build.route(receiver=build.receiver("default"))
    found = get("status")
    assert found["cluster"] == {"peers": [], "status": "disabled"}
    assert "receiver: default" in found["config"]["original"]
    assert "SECRET" not in found["config"]["original"]
    assert set(found["versionInfo"]) == {"branch", "buildDate", "buildUser", "goVersion", "revision", "version"}


def test_probes_answer_without_asking_who_it_is():
    for path in ("/-/healthy", "/-/ready"):
        assert (Client().get(path, **FAR).status_code, Client().get(path).content) == (200, b"OK")


# -- who may


READS = ("alerts", "alerts/groups", "silences", "receivers", "status")


@pytest.mark.parametrize("path", READS)
def test_a_stranger_may_not_read(path):
    response = Client().get(f"/api/v2/{path}", **FAR)
    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_a_stranger_may_not_write():
    for path in ("alerts", "silences"):
        post(path, [], 401, Client(**FAR))
    assert Client().delete(f"/api/v2/silence/{UNKNOWN}", **FAR).status_code == 401


def test_this_machine_needs_a_token_when_that_is_set(monkeypatch):
    monkeypatch.setattr(settings, "ENV", dataclasses.replace(settings.ENV, api_open_on_loopback=False))
    post("alerts", [], 401)


def test_a_viewer_reads_and_may_not_write():
    client = signed_in(member("Viewer"))
    assert get("alerts", client=client) == []
    post("alerts", [], 403, client)
    post("silences", {}, 403, client)


def test_a_responder_may_write():
    user = member("Responder")
    client = signed_in(user)
    post("alerts", [{"labels": {"alertname": "X"}}], client=client)
    given = {"matchers": [matcher()], "startsAt": later(), "endsAt": later(hours=1), "createdBy": "b", "comment": "c"}
    id_ = post("silences", given, client=client)["silenceID"]
    assert Silence.objects.get(uuid=id_).author == user
    assert client.delete(f"/api/v2/silence/{id_}").status_code == 200


def test_a_session_needs_its_csrf_token_to_write():
    user = member("Responder")
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    post("alerts", [], 403, client)
    client.get("/admin/login/")
    client.cookies["csrftoken"] = "a" * 32
    post("alerts", [], 200, client, HTTP_X_CSRFTOKEN="a" * 32)


def test_a_form_of_another_site_is_refused():
    response = Client().post("/api/v2/alerts", "[]", content_type="text/plain")
    assert response.status_code == 415


def test_other_methods_are_refused():
    assert Client().put("/api/v2/alerts").status_code == 405
    assert Client().post("/api/v2/status").status_code == 405
