"""The pages System and Cardinality, and retention rules in the admin."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.utils import timezone

from monitoring import heartbeats, operations, query, store, system_views, tasks
from monitoring.models import Refusal, Retention, Target
from monitoring.store import Scrape, StoreStatus
from tests.people import member, signed_in

pytestmark = pytest.mark.django_db
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def viewer() -> Client:
    """A signed-in member of the group Viewer."""
    return signed_in(member("Viewer"))


@pytest.fixture
def editor() -> Client:
    """A signed-in member of the group Editor."""
    return signed_in(member("Editor"))


def now_ms() -> int:
    return round(timezone.now().timestamp() * 1000)


def sent(source: str = "host:ana", ago_ms: int = 0, **values: float) -> None:
    at_ms = now_ms() - ago_ms
    store.append([Scrape(source, {}, at_ms, list(values), np.array(list(values.values())))], now_ms=at_ms)


def page(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_of_an_empty_portal_says_what_is_missing(viewer: Client) -> None:
    text = page(viewer, "/system/")
    assert "Everything that came was taken" in text
    assert "a forecast comes with the first merged day" in text


def test_the_page_shows_the_store_in_numbers(viewer: Client) -> None:
    sent(a=1.0, b=2.0)
    text = page(viewer, "/system/")
    assert "2 series known of 1 source" in text
    assert "Everything" in text
    assert "15 days" in text


def test_the_page_names_processes_that_live(viewer: Client) -> None:
    heartbeats.beat("worker", "celery@ana", time.time())
    assert "celery@ana" in page(viewer, "/system/")


def test_what_was_refused_is_told_with_its_source(viewer: Client) -> None:
    target = Target.objects.create(job="ranker", url="http://ana:9100/metrics", instance_label="ana")
    Refusal.objects.create(
        source=f"target:{target.pk}", reason="too_new", samples=1234, first_ms=1, last_ms=now_ms(), text="600 s ahead"
    )
    text = page(viewer, "/system/")
    assert f"/admin/monitoring/target/{target.pk}/change/" in text
    assert "Ahead of the portal&#x27;s clock" in text
    assert "1,234" in text


def test_retention_rules_are_listed_with_the_default(viewer: Client) -> None:
    Retention.objects.create(selector='{__name__=~"model_.*"}', days=395)
    text = page(viewer, "/system/")
    assert "395 days" in text
    assert "Everything else" in text


def test_the_page_asks_the_same_number_of_times_however_much_there_is(
    viewer: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        sent(f"host:{number}", a=1.0)
        Refusal.objects.create(source=f"host:{number}", reason="too_old", samples=1, first_ms=1, last_ms=1, text="")
    page(viewer, "/system/")
    with django_assert_max_num_queries(48):
        page(viewer, "/system/")


@pytest.mark.parametrize("path", ["/system/", "/system/cardinality/"])
def test_pages_are_for_those_who_may_see_hosts(client: Client, path: str) -> None:
    assert client.get(path).status_code == 302
    assert signed_in(_stranger()).get(path).status_code == 403


def _stranger() -> Any:
    user = member("Viewer", "stranger")
    user.groups.clear()
    return user


# -- what needs a person -----------------------------------------------------------------------------------------------


def alive(kind: str = "worker", is_alive: bool = True) -> operations.Process:
    return operations.Process(kind, "x", AT, is_alive)


HEALTHY = operations.Broker([alive("worker"), alive("tick"), alive("house")], [("portal", 0)])
ROOM = operations.Space(total=100, free=50)


def told(found: StoreStatus | None = None, broker: Any = HEALTHY, scrapers: Any = (), space: Any = ROOM) -> list[str]:
    found = found or StoreStatus()
    return [problem.text for problem in system_views.problems(found, broker, list(scrapers), space)]


def test_a_healthy_portal_has_no_problem() -> None:
    assert told(scrapers=[alive("scraper")]) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"broker": operations.Broker(problem="Redis does not answer")}, "Redis does not answer"),
        ({"broker": operations.Broker([alive("tick"), alive("house")])}, "No worker lives"),
        ({"broker": operations.Broker([alive("worker"), alive("house")])}, "No tick"),
        ({"broker": operations.Broker([alive("worker"), alive("tick")])}, "kept the store's house"),
        ({"scrapers": [alive("scraper", is_alive=False)]}, "No scraper lives"),
        ({"broker": operations.Broker(HEALTHY.processes, [("ingest", 5000)])}, "5,000 messages wait"),
        ({"found": StoreStatus(compact_lag_windows=3)}, "Compaction is 6 hours behind"),
        ({"found": StoreStatus(merge_lag_days=4)}, "4 days behind"),
        ({"space": operations.Space(100, 4)}, "free where the portal keeps its data"),
        ({"found": StoreStatus(day_bytes=10), "space": ROOM}, "full in about 5 days"),
    ],
)
def test_what_is_wrong_is_told(changed: dict[str, Any], words: str) -> None:
    assert any(words in text for text in told(**changed))


def test_the_worst_comes_first() -> None:
    broker = operations.Broker([alive("tick"), alive("house")])
    found = system_views.problems(StoreStatus(compact_lag_windows=3), broker, [], ROOM)
    assert [problem.severity for problem in found] == ["critical", "warning"]


def test_silent_processes_are_told_from_living_ones() -> None:
    now = time.time()
    heartbeats.beat("worker", "young", now)
    heartbeats.beat("worker", "silent", now - 60)
    heartbeats.beat("worker", "gone", now - 2000)
    found = operations.broker(datetime.fromtimestamp(now, tz=UTC))
    states = {process.name: process.is_alive for process in found.processes if process.kind == "worker"}
    assert (states["young"], states["silent"], "gone" in states) == (True, False, False)


def test_a_broker_that_is_away_is_a_problem_and_no_error(settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    assert "does not answer" in operations.broker(AT).problem


@pytest.mark.parametrize(("needed", "day", "days"), [(10, 1, None), (200, 10, 10.0), (200, 0, None)])
def test_the_disk_is_full_only_when_the_store_grows_beyond_it(needed: int, day: int, days: float | None) -> None:
    assert operations.days_until_full(100, needed, day) == days


def test_a_folder_that_is_not_there_has_no_space(tmp_path: Any) -> None:
    assert operations.space(tmp_path / "missing") is None


# -- the store's own numbers -------------------------------------------------------------------------------------------


def test_a_round_of_housekeeping_writes_the_stores_numbers(viewer: Client) -> None:
    sent(a=1.0)
    tasks.keep_house()
    found = query.instant("alphaq_store_series", timezone.now())
    assert found.values.tolist() == [1]
    names = ("store_rate", "store_series", "store_bytes", "store_lag")
    assert {viewer.get(f"/charts/{name}.json?range=1h").status_code for name in names} == {200}


# -- cardinality -------------------------------------------------------------------------------------------------------


def test_an_empty_store_has_no_cardinality_to_show(viewer: Client) -> None:
    assert "Nothing was sent in this time" in page(viewer, "/system/cardinality/")


def test_metrics_sources_and_labels_are_listed(viewer: Client) -> None:
    sent("host:ana", requests=1.0, errors=2.0)
    text = page(viewer, "/system/cardinality/")
    assert "2 series" in text
    assert "Host ana" in text
    assert "/explore/?expr=count%28requests%29" in text


def test_new_series_are_told_from_old_ones(viewer: Client) -> None:
    sent(ago_ms=3 * 86_400_000, old=1.0)
    sent(old=1.0, new=1.0)
    text = page(viewer, "/system/cardinality/?range=24h")
    assert "+1" in text
    assert "(50 %)" in text


def test_a_name_that_html_would_read_is_only_text(viewer: Client) -> None:
    at_ms = now_ms()
    keys = [store.sample_key("<script>alert(1)</script>", {})]
    store.append([Scrape("host:<b>ana</b>", {}, at_ms, keys, np.ones(1))], now_ms=at_ms)
    text = page(viewer, "/system/cardinality/")
    assert "<script>alert(1)" not in text
    assert "<b>ana</b>" not in text


def test_only_the_largest_are_shown_until_all_are_asked_for(viewer: Client) -> None:
    sent(**{f"metric_{number:02d}": 1.0 for number in range(30)})
    assert "metric_29" not in page(viewer, "/system/cardinality/")
    assert "metric_29" in page(viewer, "/system/cardinality/?all=1")


# -- retention in the admin --------------------------------------------------------------------------------------------

RETENTION = "/admin/monitoring/retention/"


def saved(client: Client, **fields: Any) -> Any:
    given = {"selector": '{__name__=~"model_.*"}', "days": 395, "reason": "trends"} | fields
    return client.post(f"{RETENTION}add/", given, follow=True)


def test_a_rule_says_what_it_keeps_when_it_is_saved(editor: Client) -> None:
    sent(model_requests=1.0, other=1.0)
    assert "keeps 1 of 2 series (model_requests)" in saved(editor).content.decode()
    assert Retention.objects.get().days == 395


def test_a_rule_for_series_nobody_sends_is_saved_with_a_warning(editor: Client) -> None:
    text = saved(editor, selector='{job="nobody"}').content.decode()
    assert "keeps no series that is known now" in text


@pytest.mark.parametrize(
    "changed", [{"selector": "{"}, {"selector": '{a=~"("}'}, {"days": 0}, {"days": "x"}, {"selector": ""}]
)
def test_a_rule_that_cannot_be_kept_is_refused_where_it_was_typed(editor: Client, changed: dict[str, Any]) -> None:
    answer = saved(editor, **changed)
    assert answer.context["errors"]
    assert not Retention.objects.exists()


def test_the_list_says_what_holds_for_everything_else(editor: Client) -> None:
    Retention.objects.create(selector='{__name__=~"model_.*"}', days=3)
    text = page(editor, RETENTION)
    assert "Everything else is kept for 15 days" in text
    assert "3 days, shorter" in text


def test_a_viewer_sees_rules_and_changes_none(viewer: Client) -> None:
    assert viewer.get(RETENTION).status_code == 200
    assert viewer.get(f"{RETENTION}add/").status_code == 403


def test_what_a_rule_keeps_is_estimated_by_the_share_of_series() -> None:
    sent(model_requests=1.0, other=1.0)
    found = store.kept_by([store.head.Matcher("=", "__name__", "other")], 30)
    assert (found.series, found.total, found.metrics, found.bytes) == (1, 2, ("other",), 0)


# -- /metrics ----------------------------------------------------------------------------------------------------------


def test_sizes_and_lags_are_metrics(client: Client) -> None:
    sent(a=1.0)
    text = client.get("/metrics").content.decode()
    assert 'alphaq_store_bytes{tier="row"}' in text
    assert "alphaq_store_series 1.0" in text
    assert "alphaq_store_compact_lag_seconds 0.0" in text
    assert "alphaq_forward_waiting_bytes" not in text


def test_what_waits_to_be_forwarded_is_a_metric(client: Client, settings: Any) -> None:
    settings.ENV = dataclasses.replace(settings.ENV, metrics_url="http://127.0.0.1:9")
    sent(a=1.0, b=1.0)
    assert "alphaq_forward_waiting_bytes 16.0" in client.get("/metrics").content.decode()
