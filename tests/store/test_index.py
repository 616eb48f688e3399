"""The label index remembers what was asked, and forgets it when a new series may belong to it."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring import store
from monitoring.promql import Matcher
from monitoring.store.index import current

pytestmark = pytest.mark.django_db(transaction=True)
CPU = (Matcher("=", "__name__", "cpu"),)


def send(source: str, *keys: str, at_ms: int) -> None:
    store.append([store.Scrape(source, {"host": source}, at_ms, keys, np.ones(len(keys)))], now_ms=at_ms)


def hosts(matchers: tuple[Matcher, ...]) -> list[str]:
    """Hosts of the series that the index names, sorted."""
    return sorted(one.get("host") for pick in current()[0].select(matchers) for one in pick.labels)


def test_a_series_of_another_metric_leaves_a_selection_as_it_is():
    send("a", "cpu", at_ms=1_000)
    before = current()[0].select(CPU)
    send("a", "cpu", 'ALERTS{alertname="x"}', at_ms=2_000)
    assert current()[0].select(CPU) is before


def test_a_new_series_of_the_metric_is_found():
    send("a", "cpu", at_ms=1_000)
    assert hosts(CPU) == ["a"]
    send("a", "cpu", 'cpu{core="1"}', at_ms=2_000)
    assert hosts(CPU) == ["a", "a"]


def test_a_known_series_from_another_source_is_found():
    send("a", "cpu", at_ms=1_000)
    assert hosts(CPU) == ["a"]
    send("b", "cpu", at_ms=2_000)
    assert hosts(CPU) == ["a", "b"]


@pytest.mark.parametrize("matcher", [Matcher("=~", "__name__", "mem|cpu"), Matcher("=", "host", "a")])
def test_a_selection_without_a_metric_name_finds_every_new_series(matcher: Matcher):
    send("a", "cpu", at_ms=1_000)
    assert hosts((matcher,)) == ["a"]
    send("a", "cpu", "mem", at_ms=2_000)
    assert hosts((matcher,)) == ["a", "a"]
