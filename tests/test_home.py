"""The home page, the bar of every page and the pulse that keeps them fresh."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from alerts.models import GroupClock, Notification, RuleStatus, Silence
from alphaq_portal import bar
from alphaq_portal.home import Home
from monitoring.models import Host
from tests import build
from tests.build import T0
from tests.people import member, signed_in, superuser

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh_status() -> Iterator[None]:
    """Each test reads the state itself, not what an earlier test left in the process."""
    bar.forget()
    yield
    bar.forget()


@pytest.fixture
def admin() -> Client:
    """A signed-in superuser."""
    return signed_in(superuser())


@pytest.fixture
def viewer() -> Client:
    """A signed-in member of the group Viewer."""
    return signed_in(member("Viewer"))


def notification(state: str, number: int = 0) -> Notification:
    return Notification.objects.create(
        dedup_key=f"{state}-{number}", message={}, state=state, status="firing", not_before=T0, flushed_at=T0,
        created_at=T0,
    )  # fmt: skip


def host(name: str = "ana", age: timedelta = timedelta(seconds=5), **fields: Any) -> Host:
    seen = timezone.now() - age
    return Host.objects.create(name=name, first_seen=seen, last_seen=seen, **fields)


# -- the state ---------------------------------------------------------------------------------------------------------


def test_the_status_takes_three_queries(django_assert_num_queries: Any) -> None:
    build.alert(severity="critical")
    notification("queued")
    with django_assert_num_queries(3):
        bar.read_status(T0)


def test_firing_alerts_are_counted_by_severity_worst_first() -> None:
    build.alert("Low", severity="info")
    build.alert("Bad", severity="critical")
    build.alert("Worse", severity="critical")
    assert list(bar.read_status(T0).firing.items()) == [("critical", 2), ("info", 1)]


def test_shadow_and_resolved_alerts_do_not_count_as_firing() -> None:
    build.alert("Shadow", severity="critical", is_shadow=True)
    build.resolve(build.alert("Over", severity="critical"), T0)
    assert bar.read_status(T0).firing_count == 0


@pytest.mark.parametrize(("due", "is_late"), [(timedelta(seconds=30), True), (timedelta(seconds=-5), False)])
def test_the_evaluator_is_late_when_a_due_group_waits(due: timedelta, is_late: bool) -> None:
    GroupClock.objects.create(group=build.rule_group(), next_slot_at=T0 - due)
    assert bar.read_status(T0).is_late is is_late


def test_a_group_that_is_off_makes_nobody_late() -> None:
    GroupClock.objects.create(group=build.rule_group(is_enabled=False), next_slot_at=T0 - timedelta(hours=1))
    status = bar.read_status(T0)
    assert (status.groups, status.lag_seconds) == (0, 0)


def test_messages_are_counted_by_what_became_of_them() -> None:
    for number, state in enumerate(["queued", "sending", "kept", "dead", "sent"]):
        notification(state, number)
    status = bar.read_status(T0)
    assert (status.backlog, status.kept, status.dead) == (2, 1, 1)


def test_the_status_is_kept_for_some_seconds_and_then_read_again() -> None:
    assert bar.status(T0).firing_count == 0
    build.alert(severity="critical")
    assert bar.status(T0 + timedelta(seconds=1)).firing_count == 0
    assert bar.status(T0 + timedelta(seconds=bar.KEEP_SECONDS)).firing_count == 1


# -- the sidebar -------------------------------------------------------------------------------------------------------


def titles(user: Any) -> list[str]:
    request = RequestFactory().get("/admin/")
    request.user = user
    return [item["title"] for group in bar.navigation(request) for item in group["items"]]


def test_the_sidebar_shows_only_what_the_user_may_open() -> None:
    assert "Hosts" not in titles(User.objects.create_user("nobody", is_staff=True))
    assert {"Home", "Hosts", "Users"} <= set(titles(User.objects.create_superuser("root")))


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/admin/", "Home"),
        ("/alerts/7/", "Alerts"),
        ("/admin/alerts/alert/", "Alerts"),
        ("/admin/alerts/rule/7/change/", "Rules"),
        ("/admin/alerts/rulegroup/", "Rule groups"),
        ("/hosts/ana/", "Hosts"),
    ],
)
def test_the_sidebar_marks_the_one_place_where_the_user_is(path: str, title: str) -> None:
    request = RequestFactory().get(path)
    request.user = superuser()
    marked = [item["title"] for group in bar.navigation(request) for item in group["items"] if item["active"]]
    assert marked == [title]


def test_a_stranger_gets_no_status() -> None:
    request = RequestFactory().get("/admin/login/")
    request.user = AnonymousUser()
    assert bar.page_context(request) == {}


# -- what needs a person -----------------------------------------------------------------------------------------------


def needs(at: Any = T0) -> list[str]:
    bar.forget()
    return [need.text for need in Home(at).needs]


def test_nothing_needs_anybody_in_a_quiet_portal() -> None:
    assert needs() == []


def test_a_critical_alert_without_an_owner_needs_somebody_after_a_quarter_of_an_hour() -> None:
    build.alert(severity="critical", at=T0)
    assert needs(T0 + timedelta(minutes=14)) == []
    assert needs(T0 + timedelta(minutes=16)) == ["1 critical alert nobody has acknowledged"]


@pytest.mark.parametrize(
    "fields", [{"acknowledged_at": T0}, {"snoozed_until": T0 + timedelta(hours=4)}, {"is_shadow": True}]
)
def test_an_owned_snoozed_or_shadow_alert_needs_nobody(fields: dict[str, Any]) -> None:
    build.alert(severity="critical", at=T0, **fields)
    assert needs(T0 + timedelta(hours=1)) == []


def test_a_silent_host_needs_somebody_unless_it_is_gone_for_good() -> None:
    host("ana", timedelta(hours=1))
    host("old", timedelta(days=9), expected=False)
    home = Home(timezone.now())
    assert [need.text for need in home.needs] == ["1 host silent"]
    assert (home.hosts.total, home.hosts.gone) == (1, 1)


def test_failing_rules_and_lost_messages_need_somebody_the_worst_first() -> None:
    RuleStatus.objects.create(rule=build.rule(), health=RuleStatus.Health.ERROR)
    notification("dead")
    assert needs() == ["1 message could not be delivered", "1 rule cannot be evaluated"]


def test_what_ends_within_a_day_is_announced() -> None:
    build.threshold(build.rule(), expires_at=T0 + timedelta(hours=3))
    Silence.objects.create(
        matchers=['a="b"'], starts_at=T0, ends_at=T0 + timedelta(hours=1), created_by="a", comment="c"
    )
    assert needs(T0) == ["1 silence ending within a day", "1 threshold expiring within a day"]


# -- the page ----------------------------------------------------------------------------------------------------------


def test_an_empty_home_page_says_what_to_do_next(admin: Client) -> None:
    page = admin.get(reverse("admin:index")).content.decode()
    for text in ("No rule is live", "Connect Slack", "No host has reported yet", "Nobody has changed anything yet"):
        assert text in page


def test_the_slack_card_goes_when_a_way_out_exists(admin: Client) -> None:
    build.integration()
    assert "Connect Slack" not in admin.get(reverse("admin:index")).content.decode()


def test_a_firing_alert_shows_value_limit_and_since(admin: Client) -> None:
    build.alert("GPUHot", at=timezone.now() - timedelta(minutes=7), severity="critical", value=91.23, limit_value=85.0,
                labels={"host": "ana", "gpu": "3"})  # fmt: skip
    page = admin.get(reverse("admin:index")).content.decode()
    for text in ("GPUHot", "91.2", "limit 85", "7 min ago", "<i>gpu</i> 3"):
        assert text in page


def test_only_the_newest_five_alerts_show(admin: Client) -> None:
    for number in range(7):
        build.alert(f"Alert{number}", at=T0 + timedelta(minutes=number), severity="warning")
    page = admin.get(reverse("admin:index")).content.decode()
    assert "Alert6" in page
    assert "Alert1" not in page


def test_a_series_that_fires_at_two_severities_is_one_row() -> None:
    rule = build.rule()
    for severity, host in (("warning", "ana"), ("critical", "ana"), ("warning", "bob")):
        build.alert(rule=rule, severity=severity, labels={"host": host, "severity": severity})
    rows = [(row.alert.labels["host"], row.alert.severity) for row in Home(T0).firing]
    assert sorted(rows) == [("ana", "critical"), ("bob", "warning")]


def test_labels_are_escaped(admin: Client) -> None:
    build.alert("<b x-data>", severity="warning", labels={"path": '"><script>alert(1)</script>'})
    page = admin.get(reverse("admin:index")).content.decode()
    assert "<script>alert(1)" not in page
    assert "<b x-data>" not in page


def test_the_limits_of_live_rules_are_lines_of_the_chart_they_ask_for(admin: Client) -> None:
    rule = build.rule(expr="avg_over_time(cpu_usage_percent[2m])")
    build.threshold(rule, 85, "warning")
    build.threshold(build.rule("Rate", expr="deriv(cpu_usage_percent[2m])"), 1, "critical")
    build.threshold(rule, 40, "critical", selector='{host="ana"}')
    limits = {one["chart"].title: one["limits"] for one in Home(T0).charts}
    assert limits["CPU"] == [{"value": 85.0, "label": "warning", "severity": "warning"}]
    assert limits["GPU"] == []


def test_last_changes_name_who_and_what(admin: Client) -> None:
    rule = build.rule("HostCPUHigh")
    LogEntry.objects.create(
        user=User.objects.get(username="root"), content_type=ContentType.objects.get_for_model(rule),
        object_id=str(rule.pk), object_repr="HostCPUHigh", action_flag=CHANGE, change_message="",
    )  # fmt: skip
    page = admin.get(reverse("admin:index")).content.decode()
    assert "HostCPUHigh" in page
    assert "root · " in page


def test_the_home_page_needs_at_most_15_queries(viewer: Client, django_assert_max_num_queries: Any) -> None:
    host()
    for number in range(6):
        build.alert(f"Alert{number}", severity="critical")
    with django_assert_max_num_queries(15):
        viewer.get(reverse("admin:index"))


def test_the_quiet_home_page_needs_at_most_15_queries(viewer: Client, django_assert_max_num_queries: Any) -> None:
    build.rule()
    with django_assert_max_num_queries(15):
        viewer.get(reverse("admin:index"))


def test_a_user_without_permissions_is_told_so(client: Client) -> None:
    client.force_login(User.objects.create_user("new", is_staff=True))
    page = client.get(reverse("admin:index")).content.decode()
    assert "may not see anything yet" in page
    assert "Firing now" not in page


# -- the pulse ---------------------------------------------------------------------------------------------------------


def test_the_pulse_sends_only_what_was_asked_for(admin: Client) -> None:
    build.alert("GPUHot", severity="critical")
    answer = admin.get(reverse("pulse"), {"want": "bar,firing,passwords"}).json()
    assert set(answer["fragments"]) == {"bar", "firing"}
    assert "GPUHot" in answer["fragments"]["firing"]
    assert answer["firing"] == 1


def test_the_pulse_keeps_parts_from_those_who_may_not_see_them(client: Client) -> None:
    build.alert("GPUHot", severity="critical")
    client.force_login(User.objects.create_user("new", is_staff=True))
    assert client.get(reverse("pulse"), {"want": "bar,firing"}).json() == {"fragments": {}, "firing": 0}


def test_the_pulse_refuses_strangers(client: Client) -> None:
    assert client.get(reverse("pulse")).status_code == 401


def test_the_pulse_of_a_quiet_page_is_cheap(viewer: Client, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(7):  # session, user, permissions (2), status (3)
        viewer.get(reverse("pulse"), {"want": "bar"})
