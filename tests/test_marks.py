"""Was it useful to be told, or noise: marked on the page and in the admin, counted for the rule."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from alerts.models import Alert, Event, Mark, SlackLink
from tests import build
from tests.people import member, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def responder() -> Client:
    """A signed-in member of the group Responder."""
    return signed_in(member("Responder", "rita"))


def mark(client: Client, alert: Alert, verdict: str) -> Any:
    return client.post(reverse("alerts:alert_act", args=[alert.pk, "mark"]), {"verdict": verdict}, follow=True)


def test_a_mark_stands_on_the_page_and_in_the_timeline(responder: Client) -> None:
    alert = build.alert()
    page = mark(responder, alert, "noise").content.decode()
    assert "noise, says rita" in page
    assert alert.events.get(kind=Event.Kind.MARKED).reason == "noise"


def test_what_is_over_can_still_be_marked(responder: Client) -> None:
    alert = build.resolve(build.alert(), build.T0)
    mark(responder, alert, "useful")
    assert Mark.objects.get().verdict == "useful"


@pytest.mark.parametrize("verdict", ["", "great", "NOISE"])
def test_there_are_two_marks_and_no_other(responder: Client, verdict: str) -> None:
    assert "marked useful or noise" in mark(responder, build.alert(), verdict).content.decode()
    assert not Mark.objects.exists()


def test_a_viewer_marks_nothing() -> None:
    assert mark(signed_in(member("Viewer")), build.alert(), "noise").status_code == 403
    assert not Mark.objects.exists()


@pytest.mark.parametrize(("noise", "useful", "words"), [(1, 2, "33 %"), (2, 0, "100 %"), (0, 1, "0 %")])
def test_the_list_of_rules_says_how_much_is_noise(noise: int, useful: int, words: str) -> None:
    rule, editor = build.rule(), member("Editor", "edgar")
    for number in range(noise + useful):
        verdict = "noise" if number < noise else "useful"
        alert = build.alert(rule=rule, labels={"host": str(number)})
        Mark.objects.create(alert=alert, user=editor, verdict=verdict, at=build.T0)
    page = signed_in(editor).get(reverse("admin:alerts_rule_changelist")).content.decode()
    assert f"{noise} of {noise + useful} marks" in page and words in page


def test_several_alerts_are_marked_in_the_admin(responder: Client) -> None:
    ids = [build.alert(labels={"host": name}).pk for name in ("ana", "ben")]
    url = reverse("admin:alerts_alert_changelist")
    responder.post(url, {"action": "mark_noise", "_selected_action": ids})
    assert set(Mark.objects.values_list("alert_id", flat=True)) == set(ids)


def test_a_viewer_is_offered_no_marks_in_the_admin() -> None:
    alert, viewer = build.alert(), signed_in(member("Viewer"))
    url = reverse("admin:alerts_alert_changelist")
    assert "mark_noise" not in viewer.get(url).content.decode()
    viewer.post(url, {"action": "mark_noise", "_selected_action": [alert.pk]})
    assert not Mark.objects.exists()


def test_still_on_it_is_offered_after_a_reminder(responder: Client) -> None:
    alert = build.alert(acknowledged_at=build.T0, acknowledge_reminded_at=build.T0)
    assert "Still on it" in responder.get(reverse("alerts:alert", args=[alert.pk])).content.decode()
    responder.post(reverse("alerts:alert_act", args=[alert.pk, "confirm"]))
    alert.refresh_from_db()
    assert alert.acknowledge_confirmed_at is not None and alert.acknowledge_reminded_at is None


@pytest.mark.parametrize(
    ("data", "is_saved"),
    [
        ({"slack_user_id": "U0123ABC"}, True),
        ({"slack_user_id": "W0123ABC", "time_zone": "Europe/Berlin"}, True),
        ({"slack_user_id": "@ann"}, False),
        ({"slack_user_id": "U0123ABC", "time_zone": "Mars/North"}, False),
    ],
)
def test_staff_link_a_member_by_hand(data: dict[str, str], is_saved: bool) -> None:
    editor = member("Editor", "edgar")
    signed_in(editor).post(reverse("admin:alerts_slacklink_add"), {"user": editor.pk, "team_id": "", **data})
    assert SlackLink.objects.exists() == is_saved


@pytest.mark.parametrize("group", ["Viewer", "Responder"])
def test_others_link_nobody_by_hand(group: str) -> None:
    user = member(group)
    answer = signed_in(user).post(
        reverse("admin:alerts_slacklink_add"), {"user": user.pk, "slack_user_id": "U0123ABC", "team_id": ""}
    )
    assert (answer.status_code, SlackLink.objects.exists()) == (403, False)


@pytest.mark.parametrize("name", ["slacklink", "slackclick"])
def test_the_lists_can_be_looked_at(responder: Client, name: str) -> None:
    assert responder.get(reverse(f"admin:alerts_{name}_changelist")).status_code == 200


def test_a_command_links_a_member(capsys: pytest.CaptureFixture[str]) -> None:
    member("Responder", "rita")
    for zone in ("", "Asia/Tokyo"):
        call_command("link_slack", "rita", "U123", time_zone=zone)
    link = SlackLink.objects.get()
    assert (link.user.username, link.slack_user_id, link.time_zone) == ("rita", "U123", "Asia/Tokyo")


def test_a_command_links_nobody_who_is_not_there() -> None:
    with pytest.raises(CommandError, match="no user"):
        call_command("link_slack", "nobody", "U123")
