"""What targets say of their metrics, kept and told."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from django.test import Client

from monitoring import metadata
from monitoring.collect.report import Metadata
from monitoring.models import MetricMetadata
from tests.scrape.build import Scraped, make_target, scraping, stored, wait_until
from tests.scrape.server import says, target

pytestmark = pytest.mark.django_db
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    metadata.forget()
    yield
    metadata.forget()


def api(**query: str) -> dict:
    return json.loads(Client().get("/api/v1/metadata", query).content)["data"]


@pytest.mark.django_db(transaction=True)
def test_what_a_scraped_target_says_is_answered():
    text = "# HELP jobs_waiting Jobs that wait.\n# TYPE jobs_waiting gauge\njobs_waiting 3\n"
    with target(says(text)) as server, scraping():
        make_target(server.url, interval_seconds=1)
        wait_until(lambda: MetricMetadata.objects.exists() and stored("jobs_waiting"))
    assert api(metric="jobs_waiting") == {"jobs_waiting": [{"type": "gauge", "help": "Jobs that wait.", "unit": ""}]}


def test_a_counter_of_openmetrics_is_told_under_the_name_of_its_series():
    metadata.learn([{"jobs": Metadata("counter", "Jobs done.")}])
    Scraped(make_target()).says("jobs_total 3\njobs_created 1700000000\n")
    found = api()
    assert found["jobs_total"] == [{"type": "counter", "help": "Jobs done.", "unit": ""}]
    assert "jobs_created" not in found


def test_targets_that_differ_are_both_told_and_a_limit_cuts():
    metadata.learn([{"x": Metadata("gauge", "One.")}, {"x": Metadata("gauge", "Two.", "seconds")}])
    Scraped(make_target()).says("x 3\n")
    assert [one["help"] for one in api(metric="x")["x"]] == ["One.", "Two."]
    assert len(api(metric="x", limit_per_metric="1")["x"]) == 1


def test_a_histogram_is_one_family():
    metadata.learn([{"wait_seconds": Metadata("histogram", "Waiting.")}])
    Scraped(make_target()).says('wait_seconds_bucket{le="+Inf"} 1\nwait_seconds_sum 1\nwait_seconds_count 1\n')
    assert [name for name in api() if name.startswith("wait")] == ["wait_seconds"]


def test_what_is_known_is_not_written_again(django_assert_num_queries):
    told = {"x": Metadata("gauge", "One.")}
    assert metadata.learn([told]) == 1
    with django_assert_num_queries(0):
        assert metadata.learn([told]) == 0


def test_a_help_text_that_changes_with_every_scrape_fills_nothing():
    for number in range(50):
        metadata.learn([{"x": Metadata("gauge", f"Scrape {number}.")}])
    assert MetricMetadata.objects.count() == metadata.MAX_ENTRIES


@pytest.mark.parametrize("text", ["é" * 5000, "x" * 100_000, "a\0b", "\U0001f600" * 600])
def test_odd_help_texts_are_cut_and_never_fail(text):
    metadata.learn([{"x": Metadata("gauge", text), "y": Metadata("gauge", "fine")}])
    assert MetricMetadata.objects.filter(name="y").exists()
