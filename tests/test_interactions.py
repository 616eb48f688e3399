"""Buttons under messages in Slack: who may press them, what a press does, and that it is trusted only when signed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from alerts import clicks, deliver, dispatch
from alerts.models import Alert, Event, Mark, Notification, Silence, SlackClick, SlackLink, Threshold
from tests import build, clicking
from tests.clicking import press, send, sent
from tests.fakes import FakeSlack
from tests.fakes.slack import Message
from tests.people import member, signed_in

pytestmark = pytest.mark.django_db
ANN = "U0000042"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def slack(settings: Any) -> Iterator[FakeSlack]:
    """A workspace, and the app whose secret signs requests."""
    with FakeSlack() as fake:
        settings.ENV = dataclasses.replace(settings.ENV, slack_api_base=fake.api_base)
        build.slack_app(signing_secret=clicking.SECRET)
        yield fake


@pytest.fixture
def ann() -> User:
    """A Responder who is linked to a member of the workspace."""
    user = member("Responder", "ann")
    SlackLink.objects.create(user=user, team_id=clicking.TEAM, slack_user_id=ANN, time_zone="Europe/Berlin")
    return user


@pytest.fixture
def alert(slack: FakeSlack) -> Alert:
    """A firing alert of a rule with a limit."""
    rule = build.rule(expr="cpu")
    row = build.threshold(rule, 80.0, severity="critical")
    return build.alert(
        severity="critical", labels={"host": "ana"}, rule=rule, threshold=row, limit_value=80.0, at=now()
    )


@pytest.fixture
def message(slack: FakeSlack, alert: Alert) -> Message:
    """The alert's message as it lies in the channel."""
    build.route(group_wait_seconds=0)
    build.integration()
    dispatch.route([alert], now())
    dispatch.flush_due(now())
    deliver.run(now(), "test")
    return slack.messages("#alerts")[0]


def worked(payload: Any) -> SlackClick:
    """A signed press, and what the worker made of it."""
    assert send(payload).status_code == 200
    clicks.work_off(now())
    return SlackClick.objects.latest("id")


# -- who is trusted ----------------------------------------------------------------------------------------------------


# The clock runs while a press is sent: the edges themselves, 300 s either way, are asked of a clock that stands still
# (tests/channels/test_slack_people.py).
@pytest.mark.parametrize(
    "how", [{"signature": "v0=" + "0" * 64}, {"secret": "another"}, {"age_seconds": 301}, {"age_seconds": -360}]
)
def test_SL_7_an_untrusted_press_is_refused_and_changes_nothing(message: Message, ann: User, how: Any) -> None:
    assert send(press(message, "acknowledge"), **how).status_code == 401
    assert not SlackClick.objects.exists()


def test_SL_7_without_any_secret_nothing_is_trusted(message: Message, slack: FakeSlack) -> None:
    build.slack_app().__class__.objects.update(signing_secret="")
    assert send(press(message, "acknowledge")).status_code == 401


def test_the_secret_of_the_environment_is_trusted_as_well(message: Message, ann: User, settings: Any) -> None:
    settings.ENV = dataclasses.replace(settings.ENV, slack_signing_secret="other-secret")
    assert send(press(message, "acknowledge"), secret="other-secret").status_code == 200
    assert SlackClick.objects.count() == 1


@pytest.mark.parametrize("body", ["", "{", "[]", "null"])
def test_what_is_no_payload_is_said_so(slack: FakeSlack, body: str) -> None:
    assert send(body).status_code == 400


def test_SL_8_a_replayed_press_is_done_once(message: Message, ann: User, alert: Alert) -> None:
    payload = press(message, "acknowledge")
    assert [send(payload).status_code for _ in range(3)] == [200, 200, 200]
    clicks.work_off(now())
    assert SlackClick.objects.count() == 1
    assert alert.events.filter(kind=Event.Kind.ACKNOWLEDGED).count() == 1


def test_a_press_that_waited_too_long_is_not_done(message: Message, ann: User, alert: Alert) -> None:
    send(press(message, "acknowledge"))
    clicks.work_off(now() + timedelta(minutes=11))
    alert.refresh_from_db()
    assert alert.acknowledged_at is None and SlackClick.objects.get().outcome == clicks.TOO_LATE


def test_a_press_on_a_link_is_not_written_down(message: Message, ann: User) -> None:
    send(press(message, "link.group"))
    assert not SlackClick.objects.exists()


# -- what a press does -------------------------------------------------------------------------------------------------


def test_a_press_acknowledges_in_the_name_of_the_linked_user(message: Message, ann: User, alert: Alert) -> None:
    click = worked(press(message, "acknowledge"))
    alert.refresh_from_db()
    assert (alert.acknowledged_by, click.user, click.outcome) == (ann, ann, "acknowledged")


def test_a_press_edits_the_message_and_adds_a_line_to_its_thread(message: Message, ann: User, slack: FakeSlack) -> None:
    worked(press(message, "acknowledge"))
    for _ in range(2):
        deliver.run(now(), "test")
    edited, line = slack.messages("#alerts")
    assert edited.edits and edited.says("acknowledged by ann") and edited.says("Un-acknowledge")
    assert (line.thread_ts, line.text) == (edited.ts, "Acknowledged by ann.")


def test_what_was_acknowledged_can_be_given_back(message: Message, ann: User, alert: Alert, slack: FakeSlack) -> None:
    worked(press(message, "acknowledge"))
    deliver.run(now(), "test")
    worked(press(slack.messages("#alerts")[0], "unacknowledge"))
    alert.refresh_from_db()
    assert alert.acknowledged_at is None


def test_one_press_acknowledges_all_alerts_of_the_message(slack: FakeSlack, ann: User, message: Message) -> None:
    other = build.alert(severity="critical", labels={"host": "ben"}, at=now())
    dispatch.route([other], now())
    dispatch.flush_due(now() + timedelta(minutes=10))
    deliver.run(now() + timedelta(minutes=10), "test")
    worked(press(slack.messages("#alerts", replies=False)[0], "acknowledge"))
    assert Alert.objects.filter(acknowledged_by=ann).count() == 2
    assert Notification.objects.filter(why="restated").count() == 1


@pytest.mark.parametrize(("option", "hours"), [("1 hour", 1), ("4 hours", 4)])
def test_the_menu_snoozes_for_hours(message: Message, ann: User, alert: Alert, option: str, hours: int) -> None:
    click = worked(press(message, "snooze", option=option))
    alert.refresh_from_db()
    assert abs(alert.snoozed_until - click.done_at - timedelta(hours=hours)) < timedelta(seconds=1)


@pytest.mark.parametrize(
    ("at", "zone", "end"),
    [
        ("2026-03-04T07:30", "Europe/Berlin", "2026-03-04T08:00"),
        ("2026-03-04T08:00", "Europe/Berlin", "2026-03-05T08:00"),
        ("2026-03-28T12:00", "Europe/Berlin", "2026-03-29T07:00"),
        ("2026-03-04T23:30", "Asia/Tokyo", "2026-03-05T00:00"),
        ("2026-03-04T07:30", "", "2026-03-04T09:00"),
        ("2026-03-04T07:30", "No/Where", "2026-03-04T09:00"),
    ],
    ids=["before nine", "at nine", "the clocks change", "a day ahead", "no zone", "an unknown zone"],
)
def test_a_snooze_until_nine_ends_where_the_person_is(at: str, zone: str, end: str) -> None:
    start, wanted = (datetime.fromisoformat(one).replace(tzinfo=UTC) for one in (at, end))
    assert clicks.until("9am", zone, start) == wanted


@pytest.mark.parametrize("verdict", ["Useful", "Noise"])
def test_the_menu_marks(message: Message, ann: User, alert: Alert, verdict: str) -> None:
    worked(press(message, "more", option=verdict))
    mark = Mark.objects.get()
    assert (mark.alert, mark.user, mark.verdict) == (alert, ann, verdict.lower())


def test_the_last_mark_of_a_user_counts(message: Message, ann: User) -> None:
    worked(press(message, "more", option="Useful"))
    worked(press(message, "more", option="Noise"))
    assert Mark.objects.get().verdict == "noise"


def test_a_second_acknowledgement_is_answered_in_private(message: Message, ann: User, slack: FakeSlack) -> None:
    worked(press(message, "acknowledge"))
    click = worked(press(message, "acknowledge", respond=slack.response_url))
    assert click.outcome == "ann has it already."
    assert slack.responses == [{"response_type": "ephemeral", "replace_original": False, "text": click.outcome}]


def test_what_has_resolved_is_not_acknowledged(message: Message, ann: User, alert: Alert) -> None:
    build.resolve(alert, now())
    assert worked(press(message, "acknowledge")).outcome == "It has resolved already."


def test_a_message_that_is_gone_is_said_to_be(message: Message, ann: User) -> None:
    Notification.objects.all().delete()
    assert "forgotten" in worked(press(message, "acknowledge")).outcome


@pytest.mark.parametrize("value", ["", "x", "1' OR 1=1", "a" * 40, "\x00" * 40, "useful:" + "b" * 40])
def test_a_value_that_nobody_made_does_nothing(message: Message, ann: User, alert: Alert, value: str) -> None:
    payload = press(message, "acknowledge")
    payload["actions"][0]["value"] = value
    worked(payload)
    alert.refresh_from_db()
    assert alert.acknowledged_at is None


def test_a_button_of_another_app_does_nothing(message: Message, ann: User, alert: Alert) -> None:
    build.slack_app().__class__.objects.create(name="Other", bot_token="xoxb-other", signing_secret="their-secret")
    send(press(message, "acknowledge"), secret="their-secret")
    clicks.work_off(now())
    alert.refresh_from_db()
    assert alert.acknowledged_at is None


def test_a_press_by_webhook_changes_the_message_by_the_address_it_brought(
    slack: FakeSlack, ann: User, alert: Alert, settings: Any
) -> None:
    settings.ENV = dataclasses.replace(settings.ENV, slack_signing_secret="env-secret")
    build.route(group_wait_seconds=0)
    build.integration(kind="slack_webhook", url=slack.webhook_url("hook"))
    dispatch.route([alert], now())
    dispatch.flush_due(now())
    deliver.run(now(), "test")
    send(press(slack.messages("hook")[0], "acknowledge", respond=slack.response_url), secret="env-secret")
    clicks.work_off(now())
    [answer] = slack.responses
    assert answer["replace_original"] and "acknowledged by ann" in answer["text"]


# -- who may -----------------------------------------------------------------------------------------------------------


def test_a_stranger_is_told_in_private_how_to_be_known(message: Message, slack: FakeSlack, alert: Alert) -> None:
    click = worked(press(message, "acknowledge", user="U0000099"))
    alert.refresh_from_db()
    assert (alert.acknowledged_at, click.outcome) == (None, "not linked to a user")
    [told] = slack.ephemerals
    assert told["user"] == "U0000099" and "/setup/slack/me/?code=" in told["text"]


def test_the_same_address_makes_a_member_known(message: Message, slack: FakeSlack, alert: Alert) -> None:
    ben = member("Responder", "ben")
    User.objects.filter(pk=ben.pk).update(email="Ben@example.org")
    slack.add_user("U0000077", "ben@example.org", tz="Asia/Tokyo")
    worked(press(message, "acknowledge", user="U0000077"))
    alert.refresh_from_db()
    link = SlackLink.objects.get()
    assert (alert.acknowledged_by, link.how, link.time_zone) == (ben, "email", "Asia/Tokyo")


@pytest.mark.parametrize("facts", [{"is_bot": True}, {"is_stranger": True}, {"deleted": True}])
def test_the_address_of_a_bot_or_a_guest_is_not_believed(message: Message, slack: FakeSlack, facts: Any) -> None:
    User.objects.filter(pk=member("Responder", "ben").pk).update(email="ben@example.org")
    slack.add_user("U0000077", "ben@example.org", **facts)
    worked(press(message, "acknowledge", user="U0000077"))
    assert not SlackLink.objects.exists()


def test_a_member_of_another_workspace_is_not_known_by_address(message: Message, slack: FakeSlack) -> None:
    User.objects.filter(pk=member("Responder", "ben").pk).update(email="ben@example.org")
    slack.add_user("U0000077", "ben@example.org")
    guest = {"id": "U0000077", "username": "ben", "team_id": "T-other"}
    worked(press(message, "acknowledge") | {"user": guest})
    assert not SlackLink.objects.exists()


def test_an_address_that_two_users_have_links_nobody(message: Message, slack: FakeSlack) -> None:
    for name in ("ben", "bea"):
        User.objects.filter(pk=member("Responder", name).pk).update(email="team@example.org")
    slack.add_user("U0000077", "team@example.org")
    worked(press(message, "acknowledge", user="U0000077"))
    assert not SlackLink.objects.exists()


def test_a_viewer_may_look_and_not_act(message: Message, alert: Alert) -> None:
    SlackLink.objects.create(user=member("Viewer"), slack_user_id=ANN)
    click = worked(press(message, "acknowledge"))
    alert.refresh_from_db()
    assert alert.acknowledged_at is None and "Responder" in click.outcome


def test_who_has_left_may_nothing(message: Message, ann: User, alert: Alert) -> None:
    User.objects.filter(pk=ann.pk).update(is_active=False)
    worked(press(message, "acknowledge"))
    alert.refresh_from_db()
    assert alert.acknowledged_at is None


def test_a_code_links_whoever_is_signed_in(message: Message, slack: FakeSlack) -> None:
    worked(press(message, "acknowledge", user="U0000099"))
    code = slack.ephemerals[0]["text"].partition("code=")[2].partition("|")[0]
    browser = signed_in(ben := member("Responder", "ben"))
    assert "U0000099" in browser.get("/setup/slack/me/", {"code": code}).content.decode()
    browser.post("/setup/slack/me/", {"code": code})
    link = SlackLink.objects.get()
    assert (link.user, link.slack_user_id, link.how) == (ben, "U0000099", "code")


def test_a_made_up_code_links_nobody(slack: FakeSlack) -> None:
    answer = signed_in(member("Responder")).post("/setup/slack/me/", {"code": "eyJ0IjoiVCJ9:x:y"})
    assert (answer.status_code, SlackLink.objects.exists()) == (422, False)


def test_looking_at_a_code_links_nobody(message: Message, slack: FakeSlack) -> None:
    worked(press(message, "acknowledge", user="U0000099"))
    code = slack.ephemerals[0]["text"].partition("code=")[2].partition("|")[0]
    signed_in(member("Responder")).get("/setup/slack/me/", {"code": code})
    assert not SlackLink.objects.exists()


# -- dialogues ---------------------------------------------------------------------------------------------------------


def test_the_silence_dialogue_shows_what_it_would_cover(message: Message, ann: User, slack: FakeSlack) -> None:
    worked(press(message, "silence"))
    [view] = slack.views
    texts = [block.get("text", {}).get("text", "") for block in view["blocks"]]
    assert any("1 of the 1 alerts" in text for text in texts)


def test_a_sent_dialogue_silences_with_its_reason(message: Message, ann: User, slack: FakeSlack) -> None:
    worked(press(message, "silence"))
    assert send(sent(slack.views[0], reason="disk swap", duration="4h")).content == b""
    row = Silence.objects.get()
    assert (row.author, row.comment) == (ann, "disk swap")
    assert 'host="ana"' in row.matchers and 'alertname="HostCPUHigh"' in row.matchers


def test_a_silence_by_a_dialogue_may_come_again_where_the_person_is(
    message: Message, ann: User, slack: FakeSlack
) -> None:
    worked(press(message, "silence"))
    assert "Europe/Berlin" in str(slack.views[0])
    send(sent(slack.views[0], reason="backups", duration="4w", opens_at="02:00", lasts="4h", days=["6", "0"]))
    row = Silence.objects.get()
    assert (row.recur_at.hour, row.recur_seconds, row.recur_weekdays) == (2, 14_400.0, [0, 6])
    assert row.recur_location == "Europe/Berlin"


@pytest.mark.parametrize(
    "typed",
    [{"days": ["6"]}, {"opens_at": "02:00", "lasts": "4h", "duration": "1h", "days": ["never"]}],
    ids=["days without a time", "no window before the end"],
)
def test_windows_that_make_no_sense_are_refused_at_their_field(
    message: Message, ann: User, slack: FakeSlack, typed: Any
) -> None:
    if "never" in typed.get("days", ()):
        typed = typed | {"days": [str((now().isoweekday() + 3) % 7)]}
    worked(press(message, "silence"))
    answer = send(sent(slack.views[0], reason="x", **typed)).json()
    assert list(answer["errors"]) == ["opens_at"] and not Silence.objects.exists()


def test_a_silence_shows_in_the_message(message: Message, ann: User, slack: FakeSlack) -> None:
    worked(press(message, "silence"))
    send(sent(slack.views[0], reason="disk swap"))
    deliver.run(now(), "test")
    assert slack.messages("#alerts")[0].says("Silenced by ann")


def test_a_dialogue_that_is_sent_twice_silences_once(message: Message, ann: User, slack: FakeSlack) -> None:
    worked(press(message, "silence"))
    payload = sent(slack.views[0], reason="disk swap")
    assert [send(payload).content for _ in range(2)] == [b"", b""]
    assert Silence.objects.count() == 1


@pytest.mark.parametrize(
    ("typed", "field"),
    [({"reason": "  "}, "reason"), ({"reason": "x", "more": 'host=~"("'}, "more")],
    ids=["no reason", "no regex"],
)
def test_a_dialogue_says_what_is_wrong_at_its_field(
    message: Message, ann: User, slack: FakeSlack, typed: Any, field: str
) -> None:
    worked(press(message, "silence"))
    answer = send(sent(slack.views[0], **typed)).json()
    assert (answer["response_action"], list(answer["errors"])) == ("errors", [field])
    assert not Silence.objects.exists()


def test_another_choice_in_the_dialogue_renews_its_preview(message: Message, ann: User, slack: FakeSlack) -> None:
    worked(press(message, "silence"))
    view = sent(slack.views[0])["view"]
    next(iter(view["state"]["values"]["matchers"].values()))["selected_options"] = []
    action = {"action_id": "matchers", "action_ts": "7.7", "type": "checkboxes", "selected_options": []}
    worked({"type": "block_actions", "view": view, "actions": [action], "user": {"id": ANN, "team_id": clicking.TEAM},
            "team": {"id": clicking.TEAM}})  # fmt: skip
    assert len(slack.views) == 2 and slack.views[1]["blocks"] != slack.views[0]["blocks"]


@pytest.fixture
def editor(ann: User) -> User:
    """The linked user with the rights of an editor."""
    ann.groups.add(*member("Editor", "edgar").groups.all())
    return ann


def test_the_limit_dialogue_says_which_row_wins(message: Message, editor: User, slack: FakeSlack) -> None:
    worked(press(message, "more", option="Threshold"))
    [view] = slack.views
    assert f"Row {Threshold.objects.get().pk}" in view["blocks"][0]["text"]["text"]


def test_a_sent_limit_changes_the_row_that_decides(message: Message, editor: User, slack: FakeSlack) -> None:
    worked(press(message, "more", option="Threshold"))
    assert send(sent(slack.views[0], value="91,5", reason="new cooler")).content == b""
    row = Threshold.objects.get()
    assert (row.value, row.reason, row.author) == (91.5, "new cooler", editor)
    assert row.history.count() == 2


def test_a_sent_limit_can_be_for_these_series_alone(message: Message, editor: User, slack: FakeSlack) -> None:
    worked(press(message, "more", option="Threshold"))
    send(sent(slack.views[0], value="95", reason="old fan", scope="add", life="1w"))
    new = Threshold.objects.latest("id")
    assert (new.value, new.selector, new.severity) == (95.0, '{host="ana"}', "critical")
    assert Threshold.objects.count() == 2 and new.expires_at > now() + timedelta(days=6)


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"value": "much", "reason": "x"}, "value"),
        ({"value": "nan", "reason": "x"}, "value"),
        ({"value": "1", "reason": " "}, "reason"),
        ({"value": "1", "reason": "x", "scope": "add", "selector": "{"}, "selector"),
        ({"value": "1", "reason": "x", "scope": "add", "selector": "{}"}, "selector"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_at_its_field(
    message: Message, editor: User, slack: FakeSlack, typed: Any, field: str
) -> None:
    worked(press(message, "more", option="Threshold"))
    assert list(send(sent(slack.views[0], **typed)).json()["errors"]) == [field]
    assert Threshold.objects.get().value == 80.0


def test_a_responder_sets_no_limit(message: Message, ann: User, slack: FakeSlack) -> None:
    assert "Editor" in worked(press(message, "more", option="Threshold")).outcome
    assert slack.views == []


def test_a_sent_dialogue_needs_the_right_at_that_moment(message: Message, editor: User, slack: FakeSlack) -> None:
    worked(press(message, "more", option="Threshold"))
    editor.groups.clear()
    answer = send(sent(slack.views[0], value="99", reason="x")).json()
    assert answer["response_action"] == "errors" and Threshold.objects.get().value == 80.0


def test_a_stranger_sends_no_dialogue(message: Message, editor: User, slack: FakeSlack) -> None:
    worked(press(message, "more", option="Threshold"))
    answer = send(sent(slack.views[0], user="U0000099", value="99", reason="x")).json()
    assert answer["response_action"] == "errors" and Threshold.objects.get().value == 80.0
