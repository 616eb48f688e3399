"""The pages of alerts: the list, one alert, a silence made from it; what they show and whom they refuse."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alerts import alert_list
from alerts.alert_list import Wanted
from alerts.models import Alert, Event, Group, Notification, Silence, SlackLink
from monitoring import query, store
from tests import build
from tests.build import T0
from tests.people import member, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def rita() -> User:
    """A member of the group Responder."""
    return member("Responder", "rita")


@pytest.fixture
def responder(rita: User) -> Client:
    """Rita, signed in."""
    return signed_in(rita)


@pytest.fixture
def viewer() -> Client:
    """A signed-in member of the group Viewer."""
    return signed_in(member("Viewer"))


def page(client: Client, name: str = "alerts:alerts", *args: Any, **query_: Any) -> str:
    answer = client.get(reverse(name, args=args), query_)
    assert answer.status_code == 200
    return answer.content.decode()


def names(state: str = "active", severities: tuple[str, ...] = (), text: str = "", at: Any = T0) -> list[str]:
    found = alert_list.listing(Wanted.of(state, severities, "", text), at)
    return [row.alert.name for row in found.rows]


# -- the list ----------------------------------------------------------------------------------------------------------


def test_the_list_shows_what_fires_with_value_limit_and_who_has_it(responder: Client, rita: User) -> None:
    build.alert("CPUHigh", severity="critical", labels={"host": "ana"}, value=97, limit_value=95,
                acknowledged_at=T0, acknowledged_by=rita)  # fmt: skip
    text = page(responder)
    for part in ("CPUHigh", "critical", "ana", "97", "limit 95", "rita"):
        assert part in text


def test_the_worst_and_newest_come_first() -> None:
    build.alert("Low", severity="info", at=T0 + timedelta(hours=2))
    build.alert("Old", severity="critical")
    build.alert("New", severity="critical", at=T0 + timedelta(hours=1))
    build.alert("Waiting", severity="critical", state=Alert.State.PENDING, fired_at=None)
    assert names() == ["New", "Old", "Low", "Waiting"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("active", {"Firing", "Pending", "Taken", "Snoozed"}), ("firing", {"Firing", "Taken", "Snoozed"}),
        ("pending", {"Pending"}), ("acknowledged", {"Taken"}), ("snoozed", {"Snoozed"}), ("resolved", {"Over"}),
        ("shadow", {"Shadow"}), ("no such state", {"Firing", "Pending", "Taken", "Snoozed"}),
    ],
)  # fmt: skip
def test_each_chip_shows_its_alerts(state: str, expected: set[str]) -> None:
    build.alert("Firing")
    build.alert("Pending", state=Alert.State.PENDING, fired_at=None)
    build.alert("Taken", acknowledged_at=T0)
    build.alert("Snoozed", snoozed_until=T0 + timedelta(hours=1))
    build.alert("Shadow", is_shadow=True)
    build.resolve(build.alert("Over"), T0)
    assert set(names(state)) == expected


def test_a_snooze_that_is_over_is_no_snooze() -> None:
    build.alert("Snoozed", snoozed_until=T0)
    assert names("snoozed") == []


def test_severities_are_chosen_together() -> None:
    for severity in ("critical", "warning", "info"):
        build.alert(severity.title(), severity=severity)
    assert names(severities=("critical", "info")) == ["Critical", "Info"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu", ["CPUHigh"]), ("gpu-1", ["MemoryHigh"]), ("host=ana", ["CPUHigh"]), ("host=an", []),
        ("high ana", ["CPUHigh"]), ('host="ana"', ["CPUHigh"]), ("\x00cpu", ["CPUHigh"]), ("100%_", []),
    ],
)  # fmt: skip
def test_alerts_are_found_by_name_and_label(text: str, expected: list[str]) -> None:
    build.alert("CPUHigh", labels={"host": "ana"})
    build.alert("MemoryHigh", labels={"host": "gpu-1"})
    assert names(text=text) == expected


def both(**fields: Any) -> tuple[Alert, Alert]:
    """One series past both limits of a rule: the warning, and the critical alert."""
    rule = build.rule(**fields)
    warning = build.alert(severity="warning", labels={"host": "ana"}, rule=rule)
    return warning, build.alert(severity="critical", labels={"host": "ana"}, rule=rule)


def test_one_series_at_two_severities_is_one_line() -> None:
    warning, critical = both()
    found = alert_list.listing(Wanted(), T0)
    assert [(row.alert, row.milder) for row in found.rows] == [(critical, (warning,))]
    assert (found.states["active"], found.severities["warning"]) == (1, 0)


def test_the_line_of_a_problem_links_its_milder_alert(viewer: Client) -> None:
    warning, _ = both()
    assert f'is-milder" href="/alerts/{warning.pk}/"' in page(viewer)


def test_the_milder_alert_has_its_line_back_when_the_worse_one_ends() -> None:
    warning, critical = both()
    build.resolve(critical, T0)
    assert [row.alert for row in alert_list.listing(Wanted(), T0).rows] == [warning]


def test_other_series_and_rules_are_lines_of_their_own() -> None:
    _, critical = both()
    build.alert(severity="warning", labels={"host": "ben"}, rule=critical.rule)
    build.alert(severity="warning", labels={"host": "ana"}, rule=build.rule("Other"))
    assert len(alert_list.listing(Wanted(), T0).rows) == 3


def test_severities_that_are_told_one_by_one_are_lines_of_their_own() -> None:
    both(mutes_lower=False)
    assert len(alert_list.listing(Wanted(), T0).rows) == 2


def test_the_list_says_how_often_it_was_told_and_what_went_wrong(viewer: Client) -> None:
    told, failed = build.alert("Told"), build.alert("Failed")
    for number, (alert, state, error) in enumerate([(told, "sent", ""), (failed, "dead", "channel_not_found")]):
        row = Notification.objects.create(
            dedup_key=str(number), message={}, state=state, status="firing", not_before=T0, flushed_at=T0,
            created_at=T0, sent_at=T0, last_error=error,
        )  # fmt: skip
        row.alerts.add(alert)
    text = page(viewer)
    assert "1×" in text and "channel_not_found" in text


def test_the_list_says_why_nobody_is_told(viewer: Client) -> None:
    alert = build.alert("Quiet")
    group = Group.objects.create(key="k", created_at=T0, next_flush_at=T0)
    group.members.create(alert=alert, joined_at=T0, muted_reason="silenced by ana")
    assert "silenced by ana" in page(viewer)


def test_ten_thousand_alerts_are_shown_a_page_at_a_time(viewer: Client, django_assert_max_num_queries: Any) -> None:
    Alert.objects.bulk_create(
        Alert(name=f"A{number}", fingerprint=f"{number:016x}", labels={"alertname": f"A{number}"}, state="firing",
              severity="warning", active_since=T0, fired_at=T0, updated_at=T0)
        for number in range(10_100)
    )  # fmt: skip
    page(viewer)
    with django_assert_max_num_queries(15):
        answer = viewer.get(reverse("alerts:alerts"), {"page": 3})
    found = answer.context["found"]
    assert (len(found.rows), found.page.number, found.is_cut) == (alert_list.PER_PAGE, 3, True)


def test_a_refresh_gets_the_table_alone(viewer: Client) -> None:
    build.alert("CPUHigh")
    text = page(viewer, fragment=1)
    assert "CPUHigh" in text and "<html" not in text


def test_an_empty_list_says_that_nothing_fires(viewer: Client) -> None:
    assert "Nothing fires." in page(viewer)


def test_a_search_without_a_match_offers_the_way_back(viewer: Client) -> None:
    build.alert("CPUHigh")
    assert "No alert matches." in page(viewer, q="nothing like it")


@pytest.mark.parametrize("page_number", ["0", "99999999999999999999", "x", "-1"])
def test_no_page_number_breaks_the_list(viewer: Client, page_number: str) -> None:
    build.alert("CPUHigh")
    assert "CPUHigh" in page(viewer, page=page_number, severity="nonsense", rule="999999999999999999999")


def test_labels_are_escaped(viewer: Client) -> None:
    alert = build.alert("X", labels={"host": "<img src=x>"}, annotations={"summary": "<script>1</script>"})
    for text in (page(viewer), page(viewer, "alerts:alert", alert.pk)):
        assert "<img src=x>" not in text and "<script>1" not in text


# -- one alert ---------------------------------------------------------------------------------------------------------


def test_the_page_of_an_alert_says_why_it_fires(viewer: Client) -> None:
    rule = build.rule("CPUHigh", annotations={})
    row = build.threshold(rule, 90, "critical")
    alert = build.alert("CPUHigh", rule=rule, severity="critical", labels={"host": "ana"}, threshold=row, value=97.0,
                        limit_value=90.0)  # fmt: skip
    text = page(viewer, "alerts:alert", alert.pk)
    assert "97% was above the limit 90%." in text
    assert f"Row {row.pk} applies" in text


def test_the_page_shows_the_timeline_newest_first(viewer: Client) -> None:
    alert = build.alert()
    for number, kind in enumerate(("pending", "firing", "note")):
        Event.objects.create(alert=alert, at=T0 + timedelta(seconds=number), kind=kind, reason=f"reason {kind}")
    text = page(viewer, "alerts:alert", alert.pk)
    assert text.index("reason note") < text.index("reason firing") < text.index("reason pending")


def test_the_page_links_to_the_message_in_slack(viewer: Client) -> None:
    alert = build.alert()
    row = Notification.objects.create(
        dedup_key="1", message={}, state="sent", status="firing", not_before=T0, flushed_at=T0, created_at=T0,
        permalink="https://slack.test/p1", receiver_name="ml-team",
    )  # fmt: skip
    row.alerts.add(alert)
    text = page(viewer, "alerts:alert", alert.pk)
    assert 'href="https://slack.test/p1"' in text and "ml-team" in text


def test_the_page_needs_few_queries(responder: Client, django_assert_max_num_queries: Any) -> None:
    alert = build.alert(rule=build.rule())
    for number in range(30):
        Event.objects.create(alert=alert, at=T0, kind="note", reason=str(number), actor=None)
    url = reverse("alerts:alert", args=[alert.pk])
    responder.get(url)
    with django_assert_max_num_queries(18):
        responder.get(url)


def test_an_alert_of_a_rule_that_is_gone_still_has_its_page(viewer: Client) -> None:
    alert = build.alert("Gone", rule=build.rule("Gone"))
    alert.rule.delete()
    assert "Gone" in page(viewer, "alerts:alert", alert.pk)


def test_an_alert_that_never_was_is_not_found(viewer: Client) -> None:
    assert viewer.get(reverse("alerts:alert", args=[999])).status_code == 404


def test_a_runbook_that_is_no_web_address_is_no_link(responder: Client) -> None:
    alert = build.alert(annotations={"runbook_url": "javascript:alert(1)"})
    assert "javascript:" not in page(responder, "alerts:alert", alert.pk)


def test_the_chart_shows_the_series_of_the_alert_alone(viewer: Client) -> None:
    now = timezone.now()
    at_ms = query.to_ms(now) - 30_000
    for host, value in (("ana", 97.0), ("ben", 5.0)):
        scrape = store.Scrape(f"host:{host}", {"host": host}, at_ms, ["cpu_usage_percent"], np.array([value]))
        store.append([scrape], now_ms=at_ms)
    alert = build.alert(rule=build.rule(), labels={"host": "ana"}, at=now - timedelta(minutes=2), severity="critical")
    body = viewer.get(reverse("alerts:alert_chart", args=[alert.pk])).json()
    assert [series["name"] for series in body["series"]] == ["host=ana"]
    assert body["series"][0]["values"][-1] == 97
    assert body["bands"][0]["severity"] == "critical"


def test_the_chart_of_a_plain_condition_shows_the_value_also_where_it_was_false(viewer: Client) -> None:
    now = timezone.now()
    for seconds, value in ((120, 5.0), (30, 97.0)):
        at_ms = query.to_ms(now) - seconds * 1000
        scrape = store.Scrape("host:ana", {"host": "ana"}, at_ms, ["cpu_usage_percent"], np.array([value]))
        store.append([scrape], now_ms=at_ms)
    rule = build.rule(expr="cpu_usage_percent > 90")
    alert = build.alert(rule=rule, labels={"host": "ana"}, at=now - timedelta(minutes=1))
    body = viewer.get(reverse("alerts:alert_chart", args=[alert.pk])).json()
    assert {5.0, 97.0} <= set(body["series"][0]["values"])


def test_the_chart_is_not_for_strangers(client: Client) -> None:
    assert client.get(reverse("alerts:alert_chart", args=[1])).status_code == 401


# -- verbs -------------------------------------------------------------------------------------------------------------


def act(client: Client, alert: Alert, verb: str, **data: str) -> Any:
    return client.post(reverse("alerts:alert_act", args=[alert.pk, verb]), data)


def test_a_responder_acknowledges_by_a_button(responder: Client, rita: User) -> None:
    alert = build.alert()
    answer = act(responder, alert, "acknowledge")
    alert.refresh_from_db()
    assert (alert.acknowledged_by, answer["Location"]) == (rita, reverse("alerts:alert", args=[alert.pk]))


@pytest.mark.parametrize("duration", ["1h", "4h", "1d", "morning"])
def test_a_responder_snoozes_by_a_button(responder: Client, duration: str) -> None:
    alert = build.alert()
    act(responder, alert, "snooze", **{"for": duration})
    alert.refresh_from_db()
    assert timezone.now() < alert.snoozed_until <= timezone.now() + timedelta(days=1)


def test_a_responder_writes_a_note(responder: Client) -> None:
    alert = build.alert()
    act(responder, alert, "note", text="fan replaced")
    assert alert.events.get().reason == "fan replaced"


def test_a_verb_that_is_refused_says_why(responder: Client) -> None:
    alert = build.resolve(build.alert(), T0)
    answer = responder.post(reverse("alerts:alert_act", args=[alert.pk, "acknowledge"]), follow=True)
    assert "It has resolved already." in answer.content.decode()


def test_an_unknown_verb_is_not_found(responder: Client) -> None:
    assert act(responder, build.alert(), "explode").status_code == 404


def test_a_verb_goes_back_to_the_page_it_came_from_but_to_no_other_site(responder: Client) -> None:
    alert = build.alert()
    assert act(responder, alert, "note", text="a", next="/alerts/?state=firing")["Location"] == "/alerts/?state=firing"
    assert act(responder, alert, "note", text="b", next="https://evil.test/")["Location"].startswith("/alerts/")


@pytest.mark.parametrize("verb", ["acknowledge", "unacknowledge", "snooze", "note", "resolve"])
def test_a_viewer_may_not_act_and_sees_no_buttons(viewer: Client, verb: str) -> None:
    alert = build.alert()
    assert act(viewer, alert, verb, text="x").status_code == 403
    assert "aq-verbs" not in page(viewer, "alerts:alert", alert.pk)
    assert not Event.objects.exists()


@pytest.mark.parametrize("verb", ["acknowledge", "snooze", "note"])
def test_a_verb_is_no_link(responder: Client, verb: str) -> None:
    assert responder.get(reverse("alerts:alert_act", args=[build.alert().pk, verb])).status_code == 405


def test_a_verb_needs_its_token(rita: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(rita)
    assert act(strict, build.alert(), "acknowledge").status_code == 403


@pytest.mark.parametrize("name", ["alerts:alert", "alerts:alert_silence"])
def test_strangers_are_sent_to_sign_in(client: Client, name: str) -> None:
    assert client.get(reverse(name, args=[build.alert().pk]))["Location"].startswith(reverse("admin:login"))


# -- a silence made from an alert --------------------------------------------------------------------------------------


def silence(client: Client, alert: Alert, **data: Any) -> Any:
    given = {"matcher": ['host="ana"'], "for": "1h", "comment": "disk swap"} | data
    return client.post(reverse("alerts:alert_silence", args=[alert.pk]), given)


def test_the_labels_of_the_alert_are_filled_in(responder: Client) -> None:
    alert = build.alert("CPUHigh", labels={"host": "ana", "instance": "ana:9100"}, severity="critical")
    context = responder.get(reverse("alerts:alert_silence", args=[alert.pk])).context
    assert dict(context["matchers"]) == {
        'alertname="CPUHigh"': True, 'host="ana"': True, 'instance="ana:9100"': False, 'severity="critical"': False,
    }  # fmt: skip


def test_a_silence_is_made_with_who_and_why(responder: Client) -> None:
    alert = build.alert(labels={"host": "ana"})
    silence(responder, alert)
    row = Silence.objects.get()
    assert (row.matchers, row.comment, row.created_by) == (['host="ana"'], "disk swap", "rita")
    assert row.ends_at - row.starts_at == timedelta(hours=1)


def test_matchers_can_be_added(responder: Client) -> None:
    silence(responder, build.alert(labels={"host": "ana"}), more='gpu=~"0|1"\n\n')
    assert Silence.objects.get().matchers == ['host="ana"', 'gpu=~"0|1"']


def test_the_preview_names_what_it_covers_and_makes_nothing(responder: Client) -> None:
    alert = build.alert("CPUHigh", labels={"host": "ana"})
    build.alert("Other", labels={"host": "ben"})
    text = silence(responder, alert, preview="1").content.decode()
    assert "Silences 1 of 2 firing alerts." in text and "<html" not in text
    assert not Silence.objects.exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"matcher": []}, "at least one matcher is required"),
        ({"matcher": ['alertname=~".+"']}, "would silence every alert"),
        ({"matcher": ['host=~".*"']}, "this would silence every alert"),
        ({"more": "nonsense"}, "bad matcher format"),
        ({"comment": " "}, "Say why"),
        ({"for": "until", "until": ""}, "Choose how long"),
        ({"for": "until", "until": "2001-01-01T00:00"}, "end"),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused_and_nothing_typed_is_lost(
    responder: Client, data: dict[str, Any], words: str
) -> None:
    given = {"comment": "half of it"} | data
    answer = silence(responder, build.alert(labels={"host": "ana"}), **given)
    text = answer.content.decode()
    assert answer.status_code == 422 and words.lower() in text.lower()
    assert given["comment"].strip() in text and data.get("more", "") in text
    assert not Silence.objects.exists()


def test_a_viewer_makes_no_silence(viewer: Client) -> None:
    assert silence(viewer, build.alert()).status_code == 403
    assert not Silence.objects.exists()


WINDOWS = {"recur_weekdays": ["6", "0"], "recur_at": "02:00", "recur_seconds": "4h", "recur_location": "Europe/Zagreb"}


def test_a_silence_of_an_alert_may_come_again(responder: Client) -> None:
    alert = build.alert(at=timezone.now())
    data = {"matcher": ['alertname="HostCPUHigh"'], "for": "4w", "comment": "backups", **WINDOWS}
    assert responder.post(reverse("alerts:alert_silence", args=[alert.pk]), data).status_code == 302
    row = Silence.objects.get()
    assert (row.recur_weekdays, row.recur_seconds, row.recur_location) == ([0, 6], 14_400.0, "Europe/Zagreb")


def test_the_preview_names_the_next_windows(responder: Client) -> None:
    alert = build.alert(at=timezone.now())
    data = {"matcher": ['alertname="HostCPUHigh"'], "for": "4w", "preview": "1", **WINDOWS}
    text = responder.post(reverse("alerts:alert_silence", args=[alert.pk]), data).content.decode()
    assert text.count("<li>") == 5 and "Holds in these windows" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recur_at": ""}, "Say when a window opens"),
        ({"recur_seconds": ""}, "Say how long a window lasts"),
        ({"recur_seconds": "soon"}, "soon"),
        ({"recur_location": "Nowhere/At_All"}, "unknown time zone"),
    ],
)
def test_windows_that_make_no_sense_are_refused(responder: Client, changes: dict[str, str], words: str) -> None:
    alert = build.alert(at=timezone.now())
    data = {"matcher": ['alertname="HostCPUHigh"'], "for": "4w", "comment": "x", **WINDOWS, **changes}
    answer = responder.post(reverse("alerts:alert_silence", args=[alert.pk]), data)
    assert answer.status_code == 422 and words in answer.content.decode()
    assert not Silence.objects.exists()


def test_until_nine_is_nine_where_the_browser_is(responder: Client) -> None:
    alert = build.alert(at=timezone.now())
    responder.cookies["aq_zone"] = "Asia/Tokyo"
    assert "until 09:00 (Asia/Tokyo)" in page(responder, "alerts:alert", alert.pk)
    responder.post(reverse("alerts:alert_act", args=[alert.pk, "snooze"]), {"for": "morning"})
    alert.refresh_from_db()
    assert (alert.snoozed_until.hour, alert.snoozed_until.minute) == (0, 0)


def test_until_nine_is_nine_where_slack_says_the_person_is(responder: Client, rita: User) -> None:
    SlackLink.objects.create(user=rita, slack_user_id="U1", time_zone="Europe/Zagreb")
    assert "until 09:00 (Europe/Zagreb)" in page(responder, "alerts:alert", build.alert().pk)


def test_a_place_that_is_none_is_utc(responder: Client) -> None:
    responder.cookies["aq_zone"] = "../../etc/passwd"
    assert "until 09:00 (UTC)" in page(responder, "alerts:alert", build.alert().pk)
