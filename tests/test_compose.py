"""From rows to messages, and messages as the outbox keeps them."""

from datetime import timedelta

import pytest

from alerts import compose, housekeeping
from alerts.engine.message import Custom
from alerts.models import Group, Notification, NotifyLog
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db


def seconds(n):
    """T0 plus n seconds."""
    return T0 + timedelta(seconds=n)


def group():
    """A group that is not saved."""
    return Group(key="k", labels={"alertname": "A"}, created_at=T0, next_flush_at=T0)


def message(*alerts, **fields):
    """The message about `alerts` at T0 + 60 s."""
    return compose.message(alerts, group=group(), receiver="ml-team", at=seconds(60), **fields)


@pytest.fixture
def hot():
    """A firing alert of a rule with a threshold row."""
    rule = build.rule("A", expr="gpu_memory_usage_bytes", annotations={"summary": "hot"})
    row = build.threshold(rule, 80.0, reason="old card", selector='{gpu="1"}')
    return build.alert("A", labels={"host": "h1"}, rule=rule, threshold=row, value=91.0, limit_value=80.0)


def test_a_line_says_value_limit_unit_and_which_row_gave_it(hot):
    line = compose.alert_line(hot, T0)
    assert (line.value, line.operator, line.limit, line.unit) == (91.0, ">", 80.0, "bytes")
    assert line.limit_reason == f"row {hot.threshold_id}: old card"


def test_an_alert_that_ended_has_its_end(hot):
    assert compose.alert_line(build.resolve(hot, seconds(30)), seconds(60)).ends_at == seconds(30)


def test_a_posted_alert_ends_when_its_sender_said(hot):
    row = build.alert("A", source="api", ends_at=seconds(20))
    assert compose.alert_line(row, seconds(10)).ends_at is None
    assert compose.alert_line(row, seconds(20)).ends_at == seconds(20)


def test_an_end_for_lack_of_data_is_no_recovery(hot):
    hot.resolve_reason = "no_data"
    assert message(build.resolve(hot, seconds(30))).word == "Ended without data"


def test_only_what_was_not_told_is_new(hot):
    other = build.alert("A", labels={"host": "h2"})
    lines = message(hot, other, told={hot.fingerprint}).alerts
    assert {line.labels.get("host"): line.is_new for line in lines} == {"h1": False, "h2": True}


def test_a_message_says_who_has_it_once_all_are_acknowledged(hot, django_user_model):
    ana = django_user_model.objects.create(username="ana")
    other = build.alert("A", labels={"host": "h2"})
    hot.acknowledged_at, hot.acknowledged_by = T0, ana
    assert message(hot, other).acknowledged_by == ""
    assert message(hot).acknowledged_by == "ana"


@pytest.mark.parametrize(
    ("expr", "unit"),
    [
        ("memory_usage_bytes", "bytes"),
        ('cpu_usage_percent{host="a"}', "percent"),
        ("rate(network_receive_bytes_total[5m])", "bytes/s"),
        ("a_bytes / b_bytes", "ratio"),
        ("100 * memory_usage_bytes / memory_total_bytes", "percent"),
        ("up", ""),
    ],
)
def test_the_unit_is_that_of_what_is_measured(expr, unit):
    assert compose.unit_of({}, expr) == unit


def test_an_annotation_may_name_the_unit():
    assert compose.unit_of({"unit": "seconds"}, "rate(x_bytes[5m])") == "seconds"


def test_a_message_comes_back_from_its_json_as_it_was(hot):
    ended = build.resolve(build.alert("A", labels={"host": "h2"}), seconds(30))
    value = message(hot, ended, notes=["one"], outbox_id="ab" * 32, upstream_key="{}:{}", route="root")
    assert compose.load(compose.dump(value)) == value


def test_json_of_an_older_portal_is_still_read(hot):
    raw = compose.dump(message(hot))
    raw |= {"fields_of_tomorrow": 1}
    del raw["owner"], raw["alerts"][0]["peak"]
    assert compose.load(raw) == message(hot)


def test_a_receiver_without_own_text_changes_nothing(hot):
    way = build.integration()
    assert compose.dressed(message(hot), way) == message(hot)


def test_a_receivers_own_title_is_expanded(hot):
    way = build.integration(title_template="[{{ .Status }}] {{ .GroupLabels.alertname }}")
    assert compose.dressed(message(hot), way).custom == Custom(title="[firing] A")


def test_expired_logs_are_forgotten():
    for key, expires_at in (("old", seconds(10)), ("new", seconds(20))):
        NotifyLog.objects.create(
            group_key=key, integration=build.integration(), flushed_at=T0, told_at=T0, expires_at=expires_at
        )
    assert housekeeping.expire_logs(seconds(10)) == 1
    assert NotifyLog.objects.get().group_key == "new"


def test_a_month_later_messages_go_but_dead_letters_stay():
    for state in ("sent", "dead", "queued"):
        Notification.objects.create(
            dedup_key=state, state=state, message={}, status="firing", not_before=T0, flushed_at=T0, created_at=T0
        )
    housekeeping.keep_house(T0 + timedelta(days=31))
    assert set(Notification.objects.values_list("state", flat=True)) == {"dead", "queued"}
