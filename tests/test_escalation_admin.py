"""Policies, rotas, running escalations, recurring silences and dependencies in the admin."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alerts import amsilences, dispatch, escalate, policy, rotas, silence_notice
from alerts.models import (
    Dependency,
    EscalationPolicy,
    Flap,
    Integration,
    Notification,
    Rota,
    RotaOverride,
    Route,
    Silence,
)
from tests import build
from tests.build import T0
from tests.people import member, signed_in

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def edgar() -> User:
    """A member of the group Editor."""
    return member("Editor", "edgar")


@pytest.fixture
def editor(edgar: User) -> Client:
    """Edgar, signed in."""
    return signed_in(edgar)


@pytest.fixture
def viewer() -> Client:
    """A signed-in member of the group Viewer."""
    return signed_in(member("Viewer", "vera"))


def shown(answer: Any) -> str:
    """The words of a page that was drawn."""
    assert answer.status_code == 200
    return answer.content.decode().replace("&#x27;", "'").replace("&quot;", '"')


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:alerts_{name}", args=args)


def inline(prefix: str, *rows: dict[str, Any]) -> dict[str, Any]:
    """The fields of an inline with these new rows."""
    fields: dict[str, Any] = {f"{prefix}-TOTAL_FORMS": len(rows), f"{prefix}-INITIAL_FORMS": 0}
    for number, row in enumerate(rows):
        fields |= {f"{prefix}-{number}-{name}": value for name, value in row.items()}
    return fields


POLICY = {"name": "night", "position": 0, "takes_matching": "on", "matchers": 'severity="critical"', "repeats": 0,
          "is_enabled": "on"}  # fmt: skip


# -- policies ----------------------------------------------------------------------------------------------------------


def test_a_policy_is_made_with_its_steps(editor: Client, edgar: User) -> None:
    oncall = build.receiver("oncall")
    steps = inline("steps", {"position": 0, "wait_seconds": "0s", "receiver": oncall.pk},
                   {"position": 1, "wait_seconds": "15m", "user": edgar.pk})  # fmt: skip
    editor.post(url("escalationpolicy_add"), POLICY | steps)
    row = EscalationPolicy.objects.get()
    assert (row.matchers, [step.wait_seconds for step in row.steps.all()]) == (['severity="critical"'], [0, 900])


@pytest.mark.parametrize(
    ("changes", "steps", "words"),
    [
        ({}, [], "A policy needs at least one step"),
        ({}, [{"position": 0, "wait_seconds": "5m"}], "Say whom it tells"),
        ({"repeats": 2}, [{"position": 0, "wait_seconds": "0s", "receiver": 0}], "need a wait"),
        ({"repeats": 9}, [{"position": 0, "wait_seconds": "5m", "receiver": 0}], "less than or equal to 5"),
        ({"matchers": "severity"}, [{"position": 0, "wait_seconds": "5m", "receiver": 0}], "severity"),
    ],
)
def test_a_policy_that_cannot_run_is_refused(
    editor: Client, changes: dict[str, Any], steps: list[dict[str, Any]], words: str
) -> None:
    oncall = build.receiver("oncall")
    rows = [step | ({"receiver": oncall.pk} if "receiver" in step else {}) for step in steps]
    answer = editor.post(url("escalationpolicy_add"), POLICY | changes | inline("steps", *rows))
    assert words in shown(answer)
    assert not EscalationPolicy.objects.exists()


def test_the_form_previews_who_is_told_when(editor: Client, edgar: User) -> None:
    row = build.policy("night", (0, build.receiver("oncall")), (900, edgar), repeats=1)
    text = shown(editor.get(url("escalationpolicy_change", row.pk)))
    for words in ("0 s", "oncall", "15 min", "edgar", "30 min", "(round 2)"):
        assert words in text


def test_the_list_says_a_policy_in_one_sentence(viewer: Client) -> None:
    build.policy("night", (300, build.receiver("oncall")), matchers=['severity="critical"'])
    text = shown(viewer.get(url("escalationpolicy_changelist")))
    assert "after 5 min oncall." in text
    assert 'severity="critical"' in text


def test_a_viewer_makes_no_policy(viewer: Client) -> None:
    assert viewer.get(url("escalationpolicy_add")).status_code == 403


def test_a_route_shows_its_policy_and_those_below_it(editor: Client) -> None:
    policy = build.policy("night", (300, build.receiver("oncall")), takes_matching=False)
    root = build.route(escalation=policy)
    build.route(root, matchers=['team="ml"'])
    text = shown(editor.get(url("route_changelist")))
    assert text.count("night") == 2
    assert "night (from above)" in text


def test_a_policy_is_chosen_on_the_route_form(editor: Client) -> None:
    root = build.route()
    policy = build.policy("night", (300, build.receiver("oncall")), takes_matching=False)
    editor.post(url("route_change", root.pk), {
        "parent": "", "position": 0, "matchers": "", "receiver": root.receiver_id, "group_by": "alertname",
        "escalation": policy.pk,
    })  # fmt: skip
    assert Route.objects.get().escalation == policy


# -- running escalations -----------------------------------------------------------------------------------------------


def test_a_running_escalation_shows_its_steps_and_what_comes_next(viewer: Client) -> None:
    root = build.route(group_wait_seconds=0)
    hook = {"kind": Integration.Kind.WEBHOOK, "url": "http://127.0.0.1:1/x"}
    build.integration(root.receiver, **hook)
    oncall = build.receiver("oncall")
    build.integration(oncall, **hook)
    build.policy("night", (60, oncall), (900, build.receiver("boss")))
    dispatch.route([build.alert("A")], T0)
    dispatch.flush_due(T0)
    build.arrive(T0)
    escalate.run_due(T0 + timedelta(seconds=61))
    text = shown(viewer.get(url("escalation_changelist")))
    assert "2026-03-04 12:16 UTC: night, step 2 of 2: tell receiver boss" in text
    page = shown(viewer.get(url("escalation_change", Notification.objects.latest("id").step_run.escalation_id)))
    assert "night, step 1 of 2: oncall" in page


def test_the_page_of_an_alert_says_who_is_told_next(viewer: Client) -> None:
    root = build.route(group_wait_seconds=0)
    build.integration(root.receiver, Integration.Kind.WEBHOOK, url="http://127.0.0.1:1/x")
    build.policy("night", (900, build.receiver("boss")))
    row = build.alert("A")
    dispatch.route([row], T0)
    dispatch.flush_due(T0)
    build.arrive(T0)
    escalate.run_due(T0)
    text = shown(viewer.get(reverse("alerts:alert", args=[row.pk])))
    assert "2026-03-04 12:15 UTC: night, step 1 of 1: tell receiver boss" in text


def test_the_page_of_an_alert_says_that_it_flaps(viewer: Client) -> None:
    now = timezone.now()
    for minutes in range(10, 0, -1):
        row = build.alert("A", now - timedelta(minutes=2 * minutes))
        build.resolve(row, now - timedelta(minutes=2 * minutes - 1))
    Flap.objects.create(fingerprint=row.fingerprint, name="A", began_at=now, changes=10, last_change_at=now)
    assert "flapping: 20 changes in 30 min" in shown(viewer.get(reverse("alerts:alert", args=[row.pk])))


def test_nobody_edits_an_escalation(editor: Client) -> None:
    assert editor.get(url("escalation_add")).status_code == 403


# -- rotas -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def ana() -> User:
    """Somebody on call."""
    return User.objects.create_user("ana")


def test_a_rota_is_made_with_its_members(editor: Client, edgar: User, ana: User) -> None:
    given = {"name": "ml", "starts_on": "2026-03-02", "handover_at": "09:00", "weeks_per_turn": 1, "location": "UTC"}
    members = inline("members", {"position": 0, "user": ana.pk}, {"position": 1, "user": edgar.pk})
    editor.post(url("rota_add"), given | members | inline("overrides"))
    assert [str(one) for one in Rota.objects.get().members.all()] == ["ana", "edgar"]


def test_an_unknown_time_zone_is_refused(editor: Client) -> None:
    given = {"name": "ml", "starts_on": "2026-03-02", "handover_at": "09:00", "weeks_per_turn": 1, "location": "Mars"}
    assert "Unknown time zone" in shown(editor.post(url("rota_add"), given | inline("members") | inline("overrides")))


def test_the_list_says_who_is_on_call(viewer: Client, ana: User) -> None:
    build.rota("ml", ana)
    text = shown(viewer.get(url("rota_changelist")))
    assert "ana" in text
    assert "Monday 09:00, every week" in text


def test_the_calendar_shows_weeks_handovers_and_overrides(ana: User, edgar: User) -> None:
    row = build.rota("ml", ana, edgar)
    start = datetime(2026, 3, 5, 8, tzinfo=UTC)
    RotaOverride.objects.create(rota=row, user=edgar, starts_at=start, ends_at=start + 4 * HOUR)
    weeks = rotas.weeks(row, T0, 2)
    said = [[(turn.user, turn.span, turn.is_override) for turn in day.turns] for day in weeks[0]]
    assert said[0] == [("ana", "from 09:00", False)]
    assert said[2] == [("ana", "", False)]
    assert said[3] == [
        ("ana", "until 08:00", False), ("edgar", "08:00–12:00", True), ("ana", "from 12:00", False),
    ]  # fmt: skip
    assert [(turn.user, turn.span) for turn in weeks[1][0].turns] == [("ana", "until 09:00"), ("edgar", "from 09:00")]
    assert [day.is_today for day in weeks[0]] == [False, False, True, False, False, False, False]


def test_a_day_on_which_the_clocks_change_is_whole(ana: User) -> None:
    row = build.rota("ml", ana, location="Europe/Zagreb")
    sunday = rotas.weeks(row, datetime(2026, 3, 29, 12, tzinfo=UTC), 1)[0][6]
    assert [(turn.user, turn.span) for turn in sunday.turns] == [("ana", "")]


def test_the_calendar_page_answers_who_is_on_call_at(viewer: Client, ana: User, edgar: User) -> None:
    row = build.rota("ml", ana, edgar, location="Europe/Zagreb")
    text = shown(viewer.get(url("rota_calendar", row.pk), {"at": "2026-03-10T12:00"}))
    assert "<strong>edgar</strong> at 2026-03-10 11:00 UTC" in text
    assert "Give a time such as" in shown(viewer.get(url("rota_calendar", row.pk), {"at": "soon"}))


def test_the_calendar_of_an_empty_rota_says_nobody(viewer: Client) -> None:
    assert "nobody" in shown(viewer.get(url("rota_calendar", build.rota("ml").pk)))


def test_the_calendar_is_for_those_who_may_see_rotas() -> None:
    assert Client().get(url("rota_calendar", build.rota("ml").pk)).status_code == 302


# -- silences that come again ------------------------------------------------------------------------------------------


def silence_form(**changes: Any) -> dict[str, Any]:
    """The form of a silence of a month, Sundays at two for two hours in Zagreb."""
    now = timezone.now()
    end = now + timedelta(days=30)
    return {
        "matchers": 'host="gpu-1"', "starts_at_0": f"{now:%Y-%m-%d}", "starts_at_1": f"{now:%H:%M:%S}",
        "ends_at_0": f"{end:%Y-%m-%d}", "ends_at_1": f"{end:%H:%M:%S}", "comment": "backups", "recur_weekdays": ["0"],
        "recur_at": "02:00", "recur_seconds": "2h", "recur_location": "Europe/Zagreb",
    } | changes  # fmt: skip


def test_a_silence_that_comes_again_is_made_and_described(editor: Client) -> None:
    editor.post(url("silence_add"), silence_form())
    row = Silence.objects.get()
    assert (row.recur_weekdays, row.recur_seconds) == ([0], 7200)
    text = shown(editor.get(url("silence_changelist")))
    assert "every Sunday at 02:00 for 2 h (Europe/Zagreb)" in text
    assert shown(editor.get(url("silence_change", row.pk))).count("<li>Sun") == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recur_at": ""}, "Say when a window opens"),
        ({"recur_seconds": ""}, "Say how long a window lasts"),
        ({"recur_seconds": "9d"}, "at most 7 days"),
        ({"recur_location": "Mars"}, "Unknown time zone"),
        ({"recur_weekdays": ["7"]}, "not one of the available choices"),
    ],
)
def test_a_recurrence_that_makes_no_sense_is_refused(editor: Client, changes: dict[str, Any], words: str) -> None:
    assert words in shown(editor.post(url("silence_add"), silence_form(**changes)))
    assert not Silence.objects.exists()


def test_a_silence_without_a_window_before_its_end_is_refused(editor: Client) -> None:
    soon = timezone.now() + timedelta(minutes=1)
    day = (timezone.now() + timedelta(days=3)).isoweekday() % 7
    form = silence_form(
        ends_at_0=f"{soon:%Y-%m-%d}", ends_at_1=f"{soon:%H:%M:%S}", recur_weekdays=[day], recur_seconds="1h"
    )
    assert "No window opens between its start and its end" in shown(editor.post(url("silence_add"), form))


def test_a_plain_silence_stays_plain(editor: Client) -> None:
    form = silence_form(recur_at="", recur_seconds="", recur_weekdays=[], recur_location="UTC")
    editor.post(url("silence_add"), form)
    assert Silence.objects.get().recur_at is None


def test_the_next_five_windows_are_asked_while_typing(viewer: Client) -> None:
    form = {name: value for name, value in silence_form().items() if name.startswith("recur")}
    text = shown(viewer.get(reverse("alerts:silence_windows"), form))
    assert text.count("<li>Sun") == 5
    form["recur_at"] = "25:00"
    assert "aq-error" in shown(viewer.get(reverse("alerts:silence_windows"), form))


def test_it_silences_inside_its_windows_only() -> None:
    way = build.integration(build.route(group_wait_seconds=0, group_interval_seconds=3600).receiver,
                            Integration.Kind.WEBHOOK, url="http://127.0.0.1:1/x")  # fmt: skip
    # T0 is a Wednesday, 12:00 UTC: the window is from 11 to 13.
    build.silence('alertname="A"', ends_at=T0 + timedelta(days=7), recur_weekdays=[3], recur_seconds=7200,
                  recur_at="11:00")  # fmt: skip
    dispatch.route([build.alert("A")], T0)
    assert dispatch.flush_due(T0) == []
    assert len(dispatch.flush_due(T0 + HOUR)) == 1
    assert way.notifications.count() == 1


# -- silences that end soon --------------------------------------------------------------------------------------------


def test_whoever_made_a_silence_is_told_once_that_it_ends_soon(edgar: User) -> None:
    User.objects.filter(pk=edgar.pk).update(email="edgar@example.org")
    build.silence('host="gpu-1"', author=edgar, ends_at=T0 + 3 * HOUR)
    soon = T0 + 2 * HOUR + timedelta(minutes=31)
    first = silence_notice.tell_ending(soon)
    assert first == silence_notice.tell_ending(soon + timedelta(minutes=1))
    message = Notification.objects.get()
    assert (message.receiver_name, message.reason) == (
        "edgar (personal)", 'Your silence of host="gpu-1" ends at 2026-03-04 15:00 UTC: planned work',
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ends_after", "author"), [(timedelta(hours=1), True), (timedelta(hours=9), True), (3 * HOUR, False)]
)
def test_short_ones_far_ends_and_programs_are_not_told_of(edgar: User, ends_after: timedelta, author: bool) -> None:
    User.objects.filter(pk=edgar.pk).update(email="edgar@example.org")
    build.silence('host="gpu-1"', author=edgar if author else None, ends_at=T0 + ends_after)
    at = T0 + (2 * HOUR + timedelta(minutes=31) if ends_after > HOUR else timedelta(minutes=31))
    assert silence_notice.tell_ending(at) == []


def test_the_list_shows_what_ends_soon(viewer: Client) -> None:
    now = timezone.now()
    build.silence('host="soon"', starts_at=now - HOUR, ends_at=now + timedelta(minutes=20))
    build.silence('host="later"', starts_at=now - HOUR, ends_at=now + 9 * HOUR)
    text = shown(viewer.get(url("silence_changelist"), {"when": "soon"}))
    assert "ending soon" in text
    assert 'host="later"' not in text


# -- dependencies ------------------------------------------------------------------------------------------------------


def test_a_dependency_names_alerts(editor: Client) -> None:
    answer = editor.post(url("dependency_add"), {"kind": "host", "matchers": 'team="ml"', "is_enabled": "on"})
    assert "Name the alerts" in shown(answer)
    editor.post(url("dependency_add"), {"kind": "host", "matchers": 'alertname="RackDown"', "is_enabled": "on"})
    assert Dependency.objects.filter(matchers=['alertname="RackDown"']).exists()


def test_the_list_shows_what_means_down(viewer: Client) -> None:
    build.down_alerts()
    assert "HostDown" in shown(viewer.get(url("dependency_changelist")))


# -- the API -----------------------------------------------------------------------------------------------------------


def test_a_silence_that_is_replaced_through_the_api_keeps_its_windows() -> None:
    row = build.silence('host="gpu-1"', recur_weekdays=[3], recur_seconds=7200, recur_at="11:00")
    posted = amsilences.PostedSilence(
        matchers=policy.matchers(['host="gpu-2"']), starts_at=T0, ends_at=T0 + timedelta(days=9), created_by="amtool",
        comment="moved", id=row.uuid,
    )  # fmt: skip
    made = Silence.objects.get(uuid=amsilences.keep(posted, T0))
    assert made.pk != row.pk
    assert policy.silence_value(made).recurrence == policy.silence_value(Silence.objects.get(pk=row.pk)).recurrence
