"""Explore: a typed question, its answer as graph and table, its error at line and column, names to complete with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from monitoring import store
from monitoring.hosts import labels_of, source_of
from tests.people import member, signed_in, superuser

ANSWER = "/explore/answer.json"
NAMES = "/explore/names.json"


def measured(host: str, ago_seconds: int = 0, **values: float) -> None:
    """One sample of each metric of a host; a key with labels is given by ** too."""
    at = datetime.fromtimestamp(timezone.now().timestamp() // 15 * 15, tz=UTC)
    at_ms = round(at.timestamp() - ago_seconds) * 1000
    scrape = store.Scrape(source_of(host), labels_of(host), at_ms, list(values), np.array(list(values.values())))
    store.append([scrape], now_ms=at_ms)


@pytest.fixture
def viewer() -> Client:
    """A signed-in member of the group Viewer."""
    return signed_in(member("Viewer"))


def ask(client: Client, expr: str, **more: str) -> Any:
    return client.post(ANSWER, {"expr": expr, "range": "15m"} | more)


@pytest.mark.django_db
def test_an_answer_is_a_graph_and_a_table(viewer: Client) -> None:
    measured("ana", cpu_usage_percent=40.0)
    found = ask(viewer, "cpu_usage_percent").json()
    assert found["type"] == "vector"
    assert found["chart"]["series"][0]["name"] == 'cpu_usage_percent{host="ana", instance="ana", job="host"}'
    assert found["table"]["columns"] == ["metric", "host", "instance", "job", "value"]
    assert found["table"]["rows"] == [["cpu_usage_percent", "ana", "ana", "host", 40.0]]
    assert found["stats"]["series"] == 1


@pytest.mark.django_db
def test_the_step_is_the_one_that_was_typed(viewer: Client) -> None:
    found = ask(viewer, "vector(1)", step="5m").json()
    assert found["step_seconds"] == 300
    assert np.diff(found["chart"]["x"]).tolist() == [300, 300, 300]


@pytest.mark.django_db
def test_windows_of_dashboards_work_here_too(viewer: Client) -> None:
    assert ask(viewer, "rate(up[$__rate_interval])").json()["filled"] == "rate(up[60s])"


@pytest.mark.django_db
def test_an_error_says_line_and_column_and_shows_the_place(viewer: Client) -> None:
    answer = ask(viewer, "sum(\n  rate(up[5m]\n)")
    assert answer.status_code == 422
    found = answer.json()
    assert (found["line"], found["column"]) == (3, 2)
    assert found["caret"] == ")\n ^"


@pytest.mark.django_db
@pytest.mark.parametrize("expr", ["", "   ", "up{", "1 +", "nosuch(up)", '"x" + 1', "x" * 100_001, "\0"])
def test_whatever_is_typed_is_answered(viewer: Client, expr: str) -> None:
    answer = ask(viewer, expr)
    assert answer.status_code == 422
    assert answer.json()["error"]


@pytest.mark.django_db
def test_a_question_too_large_is_refused_with_the_limit(viewer: Client) -> None:
    answer = ask(viewer, "up", range="30d", step="1s")
    assert answer.status_code == 422
    assert "limit max_steps" in answer.json()["error"]


@pytest.mark.django_db
def test_a_range_selector_is_a_table_of_its_series(viewer: Client) -> None:
    measured("ana", up=1.0)
    found = ask(viewer, "up[5m]").json()
    assert found["chart"] is None
    assert found["table"]["rows"] == [["up", "ana", "ana", "host", 1, 1.0]]
    assert "rate(" in found["table"]["note"]


@pytest.mark.django_db
def test_a_scalar_is_a_line_and_a_text_a_text(viewer: Client) -> None:
    assert ask(viewer, "2 * 3").json()["table"]["rows"] == [[6.0]]
    assert ask(viewer, '"hello"').json()["text"] == "hello"


@pytest.mark.django_db
def test_warnings_of_the_language_are_passed_on(viewer: Client) -> None:
    for seconds in (60, 0):
        measured("ana", seconds, memory_usage_bytes=1.0)
    assert any("memory_usage_bytes" in one for one in ask(viewer, "rate(memory_usage_bytes[5m])").json()["warnings"])


@pytest.mark.django_db
def test_times_that_make_no_sense_are_said(viewer: Client) -> None:
    answer = viewer.post(ANSWER, {"expr": "up", "from": "yesterday"})
    assert answer.status_code == 422
    assert "'yesterday' is no time" in answer.json()["error"]


@pytest.mark.django_db
def test_the_page_holds_the_question_of_its_address(viewer: Client) -> None:
    page = viewer.get("/explore/", {"expr": 'up{a="<b>"}', "range": "6h", "step": "5m"}).content.decode()
    assert "up{a=&quot;&lt;b&gt;&quot;}</textarea>" in page
    assert "<option selected>6h</option>" in page and '<option value="5m" selected>' in page
    assert 'data-rule=""' in page


@pytest.mark.django_db
def test_who_may_make_rules_is_led_there(client: Client) -> None:
    page = signed_in(member("Editor")).get("/explore/").content.decode()
    assert f'data-rule="{reverse("admin:alerts_rule_add")}"' in page


@pytest.mark.django_db
def test_names_complete(viewer: Client) -> None:
    measured("ana", cpu_usage_percent=1.0, **{'gpu_usage_percent{gpu="0"}': 1.0})
    found = viewer.get(NAMES).json()
    assert found["metrics"] == ["cpu_usage_percent", "gpu_usage_percent"]
    assert {"rate", "sum"} <= {one["name"] for one in found["functions"]}
    assert viewer.get(NAMES, {"metric": "gpu_usage_percent"}).json()["labels"] == ["gpu", "host", "instance", "job"]
    assert viewer.get(NAMES, {"metric": "gpu_usage_percent", "label": "host"}).json()["values"] == ["ana"]


@pytest.mark.django_db
def test_strangers_and_those_without_the_right_are_refused() -> None:
    nobody = superuser("nobody")
    nobody.is_superuser = False
    nobody.save()
    assert (Client().get(NAMES).status_code, Client().get("/explore/").status_code) == (401, 302)
    client = signed_in(nobody)
    assert [client.get(url).status_code for url in (NAMES, "/explore/")] == [403, 403]
    assert ask(client, "up").status_code == 403


@pytest.mark.django_db
def test_a_question_from_another_site_is_refused() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(superuser())
    assert ask(client, "up").status_code == 403
