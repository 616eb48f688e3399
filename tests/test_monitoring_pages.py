"""Pages of what is watched: the list of hosts, the page of one, the columns of charts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from monitoring import charts, store, units
from monitoring.hosts import labels_of, source_of
from monitoring.machine import clock_words, facts_of, machine_line
from monitoring.models import Host
from monitoring.templatetags.portal import ago
from tests.people import member, signed_in

GIB = 2**30
FACTS = {
    "cores": 64,
    "memory_bytes": 512 * GIB,
    "os": "Debian GNU/Linux 12 (bookworm)",
    "kernel": "6.1.0",
    "architecture": "x86_64",
    "driver": "570.86",
    "cuda": "12.8",
    "gpus": [{"index": index, "name": "NVIDIA H200"} for index in range(4)],
}


def grid(at: datetime) -> datetime:
    """`at`, moved back to a whole 15 s."""
    return datetime.fromtimestamp(at.timestamp() // 15 * 15, tz=UTC)


def measured(host: str, at: datetime, **values: float) -> None:
    """One sample of each metric of a host; a key with labels is given by ** too."""
    scrape = store.Scrape(
        source_of(host), labels_of(host), round(at.timestamp() * 1000), list(values), np.array(list(values.values()))
    )
    store.append([scrape], now_ms=round(at.timestamp() * 1000))


def add_host(name: str = "ana", age: timedelta = timedelta(seconds=5), **fields: Any) -> Host:
    seen = timezone.now() - age
    return Host.objects.create(name=name, first_seen=seen, last_seen=seen, **fields)


@pytest.fixture
def viewer() -> Client:
    """A signed-in member of the group Viewer."""
    return signed_in(member("Viewer"))


# -- columns -----------------------------------------------------------------------------------------------------------


def a_span(end: datetime, minutes: int = 5, step: int = 15) -> charts.Span:
    return charts.Span(end - timedelta(minutes=minutes), end, step)


@pytest.mark.django_db
def test_a_chart_has_a_column_a_host_and_gaps_where_nothing_was_measured() -> None:
    end = grid(timezone.now())
    for seconds in (600, 585, 0):
        measured("ana", end - timedelta(seconds=seconds), cpu_usage_percent=40.0)
    columns = charts.draw(charts.CHARTS["cpu"], a_span(end, minutes=10, step=15))
    assert columns["x"][0] == end.timestamp() - 600
    (line,) = columns["series"]
    assert line["name"] == "ana"
    # The last of the old samples is looked back to for 5 minutes, as in Prometheus; then comes the gap.
    assert (line["values"][0], line["values"][30], line["values"][-1]) == (40.0, None, 40.0)


@pytest.mark.django_db
def test_the_chart_of_one_host_shows_no_other() -> None:
    end = grid(timezone.now())
    for name in ("ana", 'odd"name'):
        measured(name, end, cpu_usage_percent=40.0)
    for name in ("ana", 'odd"name'):
        columns = charts.draw(charts.CHARTS["cpu"], a_span(end), name)
        assert len(columns["series"]) == 1


@pytest.mark.django_db
def test_a_chart_begins_with_the_first_sample_but_is_never_a_sliver() -> None:
    end = grid(timezone.now())
    for seconds in range(600, -1, -15):
        measured("ana", end - timedelta(seconds=seconds), cpu_usage_percent=40.0)
    assert charts.draw(charts.CHARTS["cpu"], a_span(end, minutes=60))["x"][0] == end.timestamp() - 615
    measured("bob", end, memory_usage_bytes=1.0, memory_total_bytes=2.0)
    assert len(charts.draw(charts.CHARTS["memory"], a_span(end, minutes=60))["x"]) == charts.MIN_POINTS


@pytest.mark.django_db
def test_gpus_are_told_apart_by_host_and_number() -> None:
    end = grid(timezone.now())
    measured("ana", end, **{'gpu_usage_percent{gpu="0"}': 10.0, 'gpu_usage_percent{gpu="1"}': 20.0})
    names = [line["name"] for line in charts.draw(charts.CHARTS["gpu"], a_span(end))["series"]]
    assert names == ["ana · GPU 0", "ana · GPU 1"]
    names = [line["name"] for line in charts.draw(charts.CHARTS["gpu"], a_span(end), "ana")["series"]]
    assert names == ["GPU 0", "GPU 1"]


@pytest.mark.django_db
def test_only_the_busiest_series_are_drawn_and_the_rest_is_counted() -> None:
    end = grid(timezone.now())
    for number in range(14):
        measured(f"host-{number:02}", end, cpu_usage_percent=float(number))
    columns = charts.draw(charts.CHARTS["cpu"], a_span(end))
    assert [line["name"] for line in columns["series"]] == [f"host-{number:02}" for number in range(4, 14)]
    assert columns["note"] == "10 of 14 series, those with the highest values"


@pytest.mark.django_db
@pytest.mark.parametrize("name", list(charts.CHARTS))
@pytest.mark.parametrize("host", ["", "ana"])
def test_every_chart_asks_a_question_that_can_be_answered(name: str, host: str) -> None:
    assert charts.draw(charts.CHARTS[name], a_span(grid(timezone.now())), host)["series"] == []


@pytest.mark.django_db
def test_cpu_modes_share_the_whole_machine_with_user_at_the_bottom() -> None:
    end = grid(timezone.now())
    for step in range(21):
        at = end - timedelta(seconds=15 * (20 - step))
        seconds = {f'cpu_seconds_total{{cpu="{cpu}",mode="{mode}"}}': share * 15 * step
                   for cpu in "01" for mode, share in (("user", 0.5), ("system", 0.25), ("idle", 0.25))}  # fmt: skip
        measured("ana", at, cpu_count=2, **seconds)
    lines = charts.draw(charts.CHARTS["cpu_modes"], a_span(end, minutes=2), "ana")["series"]
    assert [(line["name"], line["values"][-1]) for line in lines] == [("user", 50.0), ("system", 25.0)]


@pytest.mark.django_db
def test_bands_tell_from_when_to_when_an_alert_fired() -> None:
    end = grid(timezone.now())
    key = store.sample_key(
        "ALERTS", {"alertname": "Hot", "alertstate": "firing", "severity": "critical", "host": "ana"}
    )
    for seconds in (150, 135, 120):
        at_ms = round((end.timestamp() - seconds) * 1000)
        store.append([store.Scrape("rules:1", {}, at_ms, [key], np.ones(1))], now_ms=at_ms)
    at_ms = round((end.timestamp() - 105) * 1000)
    stale = np.array([0x7FF0000000000002], dtype=np.uint64).view(np.float64)
    store.append([store.Scrape("rules:1", {}, at_ms, [key], stale)], now_ms=at_ms)
    start = int(end.timestamp())
    assert charts.fired(a_span(end), "ana") == [
        {"from": start - 150, "to": start - 120, "severity": "critical", "label": "Hot"}
    ]
    assert charts.fired(a_span(end), "bob") == []


@pytest.mark.parametrize(
    ("seconds", "points", "step"), [(3600, 360, 10), (3600, 240, 15), (86400, 600, 300), (2592000, 600, 7200)]
)
def test_the_step_follows_the_width_of_the_chart(seconds: int, points: int, step: int) -> None:
    span = charts.span_of(datetime(2026, 3, 4, 12, 0, 7, tzinfo=UTC), seconds, points)
    assert span.step_seconds == step
    assert span.end.timestamp() % step == 0
    assert (span.end - span.start).total_seconds() == seconds


@pytest.mark.django_db
def test_the_newest_values_of_all_hosts_come_in_percent() -> None:
    at = timezone.now()
    measured("ana", at, cpu_usage_percent=12.5, memory_usage_bytes=3.0, memory_total_bytes=4.0)
    measured("bob", at, **{'gpu_usage_percent{gpu="0"}': 10.0, 'gpu_usage_percent{gpu="1"}': 90.0})
    assert charts.latest(at) == {"ana": {"cpu": 12.5, "memory": 75.0}, "bob": {"gpu": 90.0}}


# -- the address of columns --------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_columns_come_as_json_with_the_bands_of_a_host(viewer: Client) -> None:
    measured("ana", timezone.now() - timedelta(seconds=30), cpu_usage_percent=40.0)
    answer = viewer.get(reverse("monitoring:chart", args=["cpu"]), {"host": "ana", "range": "15m", "points": "100"})
    body = answer.json()
    assert len(body["x"]) == charts.MIN_POINTS  # young data: the chart begins with it
    assert body["bands"] == []


@pytest.mark.django_db
@pytest.mark.parametrize("points", ["", "-5", "abc", "²", "99999999999", "1e9"])
def test_a_bad_number_of_points_is_put_right(viewer: Client, points: str) -> None:
    answer = viewer.get(reverse("monitoring:chart", args=["cpu"]), {"points": points, "range": "nonsense"})
    assert 30 <= len(answer.json()["x"]) <= 601


@pytest.mark.django_db
def test_columns_are_for_those_who_may_see_hosts(client: Client) -> None:
    url = reverse("monitoring:chart", args=["cpu"])
    assert client.get(url).status_code == 401
    client.force_login(User.objects.create_user("new", is_staff=True))
    assert client.get(url).status_code == 403


@pytest.mark.django_db
def test_an_unknown_chart_is_not_found(viewer: Client) -> None:
    assert viewer.get(reverse("monitoring:chart", args=["secrets"])).status_code == 404


# -- pages -------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_list_of_hosts_shows_state_and_newest_values(viewer: Client) -> None:
    add_host("ana", facts=FACTS)
    add_host("bob", timedelta(hours=2))
    add_host("old", timedelta(days=30), expected=False)
    measured("ana", timezone.now(), cpu_usage_percent=97.0)
    page = viewer.get(reverse("admin:monitoring_host_changelist")).content.decode()
    for text in ("97 %", "64 cores · 512 GiB · 4 × NVIDIA H200", "2 h ago", "silent", "gone", "is-critical"):
        assert text in page
    assert reverse("monitoring:host", args=["ana"]) in page


@pytest.mark.django_db
def test_the_list_of_40_hosts_needs_at_most_15_queries(viewer: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(40):
        add_host(f"host-{number:02}")
        measured(f"host-{number:02}", timezone.now(), cpu_usage_percent=1.0)
    charts.latest(timezone.now())  # a process reads the store's catalogue once
    with django_assert_max_num_queries(15):
        viewer.get(reverse("admin:monitoring_host_changelist"))


@pytest.mark.django_db
def test_the_page_of_a_host_has_facts_and_charts(viewer: Client) -> None:
    add_host("ana", facts=FACTS, clock_skew_seconds=90.0)
    page = viewer.get(reverse("monitoring:host", args=["ana"])).content.decode()
    for text in ("Debian GNU/Linux 12", "1 min 30 s ahead", "CPU by mode", "GPU temperature", "host=ana&amp;range=1h"):
        assert text in page
    assert "Settings" not in page  # a viewer changes nothing


@pytest.mark.django_db
def test_the_page_of_a_host_without_gpus_has_no_gpu_charts(viewer: Client) -> None:
    add_host("ana")
    assert "GPU temperature" not in viewer.get(reverse("monitoring:host", args=["ana"])).content.decode()


@pytest.mark.django_db
def test_a_silent_host_says_what_to_look_at(viewer: Client) -> None:
    add_host("ana", timedelta(hours=2))
    assert "has been silent since" in viewer.get(reverse("monitoring:host", args=["ana"])).content.decode()


@pytest.mark.django_db
def test_the_page_of_a_host_keeps_the_chosen_time_and_refuses_others(viewer: Client) -> None:
    add_host("ana")
    url = reverse("monitoring:host", args=["ana"])
    assert "range=24h&quot;" not in viewer.get(url, {"range": '24h"'}).content.decode()
    assert "host=ana&amp;range=24h" in viewer.get(url, {"range": "24h"}).content.decode()


@pytest.mark.django_db
def test_an_unknown_host_is_not_found(viewer: Client) -> None:
    assert viewer.get(reverse("monitoring:host", args=["nobody"])).status_code == 404


@pytest.mark.django_db
def test_the_page_of_a_host_needs_few_queries(viewer: Client, django_assert_max_num_queries: Any) -> None:
    add_host("ana", facts=FACTS)
    with django_assert_max_num_queries(10):
        viewer.get(reverse("monitoring:host", args=["ana"]))


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["rack/7", "a b", "ü.example", "50%", "x?y#z"])
def test_a_host_of_an_odd_name_has_a_page_and_does_not_break_the_list(viewer: Client, name: str) -> None:
    add_host(name)
    assert viewer.get(reverse("admin:monitoring_host_changelist")).status_code == 200
    assert viewer.get(reverse("monitoring:host", args=[name])).status_code == 200


@pytest.mark.django_db
def test_the_command_palette_finds_hosts_by_name(viewer: Client) -> None:
    add_host("gpu-berlin-01")
    found = viewer.get(reverse("admin:search"), {"s": "berlin", "extended": "1"}).content.decode()
    assert "gpu-berlin-01" in found


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "short", "–"),
        (float("nan"), "bytes", "–"),
        (float("-inf"), "short", "−∞"),
        (0, "bytes", "0 B"),
        (1536, "bytes", "1.5 KiB"),
        (150 * GIB, "bytes/s", "150 GiB/s"),
        (42.25, "percent", "42.2 %"),
        (0.5, "ratio", "50 %"),
        (1234567, "short", "1.23M"),
        (-12, "short", "−12"),
        (0.0004, "short", "0.0004"),
        (71.5, "°C", "71.5 °C"),
        (0.012, "seconds", "12 ms"),
        (3725, "seconds", "1 h 2 min"),
        (900000, "seconds", "10 d"),
    ],
)
def test_numbers_are_written_with_their_units(value: float | None, unit: str, text: str) -> None:
    assert units.number(value, unit) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "now"), (12, "12 s ago"), (125, "2 min ago"), (7300, "2 h 1 min ago"), (-300, "in 5 min")],
)
def test_moments_are_told_by_their_age(seconds: float, text: str) -> None:
    at = datetime(2026, 3, 4, 12, tzinfo=UTC)
    assert units.age(at - timedelta(seconds=seconds), at) == text


def test_a_moment_that_never_was_is_never() -> None:
    assert "never" in ago(None, datetime(2026, 3, 4, tzinfo=UTC))


@pytest.mark.parametrize(
    ("skew", "text"), [(None, ""), (0.4, "right"), (-75.0, "1 min 15 s behind"), (5.0, "5 s ahead")]
)
def test_a_clock_is_told_in_words(skew: float | None, text: str) -> None:
    assert clock_words(skew) == text


def test_a_host_without_facts_is_a_dash() -> None:
    assert machine_line({}) == "–"
    seen = datetime(2026, 3, 4, 12, tzinfo=UTC)
    assert facts_of(Host(name="ana", first_seen=seen, last_seen=seen)) == [("First seen", "2026-03-04 12:00 UTC")]
