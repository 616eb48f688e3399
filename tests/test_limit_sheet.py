"""Limits as a sheet: what a cell stands for, changes shown before they are made, the file both ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alerts.models import Rule
from monitoring import query, store
from monitoring.models import ServedModel
from tests import build
from tests.people import member, signed_in

pytestmark = pytest.mark.django_db
URL = "alerts:limit_sheet"


@pytest.fixture
def editor() -> Client:
    """A signed-in member of the group Editor."""
    return signed_in(member("Editor", "edgar"))


@pytest.fixture
def slow() -> Rule:
    """A rule about models with a limit for all, beside a rule about hosts; ranker and speller are registered."""
    at_ms = query.to_ms(timezone.now()) - 1000
    labels = {"model_name": "ranker"}
    store.append([store.Scrape("m:r", labels, at_ms, ["latency_seconds"], np.array([0.4]))], now_ms=at_ms)
    ServedModel.objects.create(name="ranker")
    ServedModel.objects.create(name="speller")
    build.threshold(build.rule("CPUHigh"), 90)
    rule = build.rule("Slow", expr="latency_seconds")
    build.threshold(rule, 0.5)
    return rule


def cell(rule: Rule, model: str = "ranker", severity: str = "warning") -> str:
    return f"cell:{rule.pk}:{severity}:{ServedModel.objects.get(name=model).pk}"


def change(client: Client, rule: Rule, text: str, reason: str = "large inputs", **more: Any) -> Any:
    """Confirm a cell of ranker."""
    data = {cell(rule): text, "reason": reason, "seen": f"{rule.pk}:{rule.revision}", "apply": "1"}
    return client.post(reverse(URL), data | more)


def own(rule: Rule) -> list[tuple[float, str]]:
    rows = rule.thresholds.exclude(model=None).values_list("value", "model__name")
    return list(rows)


def test_only_rules_that_speak_of_models_are_columns(editor: Client, slow: Rule) -> None:
    page = editor.get(reverse(URL))
    assert [column.rule.name for column in page.context["columns"]] == ["Slow"]
    assert [model.name for model, _ in page.context["rows"]] == ["ranker", "speller"]


def test_a_change_is_shown_before_it_is_made(editor: Client, slow: Rule) -> None:
    page = editor.post(reverse(URL), {cell(slow): "0,8"})
    assert [(one.old, one.new) for one in page.context["changes"]] == [("", "0.8")]
    assert own(slow) == []


def test_a_number_becomes_the_models_own_limit_in_one_revision(editor: Client, slow: Rule) -> None:
    assert change(editor, slow, "0.8").status_code == 302
    assert own(slow) == [(0.8, "ranker")]
    assert slow.revisions.get().words == "1 limit changed in the sheet"


def test_an_emptied_cell_takes_the_limit_for_all_again(editor: Client, slow: Rule) -> None:
    ranker = ServedModel.objects.get(name="ranker")
    build.threshold(slow, 0.8, model=ranker, reason="big")
    assert change(editor, slow, "", reason="").status_code == 302
    assert own(slow) == []


def test_a_row_that_names_the_model_by_its_label_is_the_same_cell(editor: Client, slow: Rule) -> None:
    row = build.threshold(slow, 0.8, selector='{model_name="ranker"}', reason="big")
    change(editor, slow, "0.9")
    row.refresh_from_db()
    assert (row.value, slow.thresholds.count()) == (0.9, 2)


def test_a_narrower_row_is_left_alone(editor: Client, slow: Rule) -> None:
    build.threshold(slow, 0.8, selector='{model_name="ranker",host="ana"}', reason="big")
    change(editor, slow, "0.9")
    assert sorted(slow.thresholds.values_list("value", flat=True)) == [0.5, 0.8, 0.9]


@pytest.mark.parametrize(
    ("text", "more", "words"),
    [
        ("much", {}, "is no number"),
        ("inf", {}, "is no number"),
        ("0.8", {"reason": " "}, "Say why"),
        ("0.8", {"seen": "1:99"}, "was changed meanwhile"),
    ],
)
def test_what_cannot_be_is_refused_whole(
    editor: Client, slow: Rule, text: str, more: dict[str, str], words: str
) -> None:
    answer = change(editor, slow, text, **more)
    assert answer.status_code == 422 and words in answer.content.decode()
    assert own(slow) == []


def test_the_file_that_is_offered_changes_nothing_when_read_back(editor: Client, slow: Rule) -> None:
    build.threshold(slow, 0.8, selector='{model_name="ranker"}', reason="big")
    file = editor.get(reverse(URL), {"format": "csv"}).content
    assert file.decode().splitlines() == [f"model,Slow (warning) #{slow.pk}", "(all),0.5", "ranker,0.8", "speller,"]
    page = editor.post(reverse(URL), {"file": SimpleUploadedFile("limits.csv", file)})
    assert page.context["changes"] == []


def test_a_file_is_shown_before_it_is_applied(editor: Client, slow: Rule) -> None:
    file = f"model,Slow (warning) #{slow.pk}\nspeller,0.1\n".encode()
    page = editor.post(reverse(URL), {"file": SimpleUploadedFile("limits.csv", file)})
    assert [(one.model.name, one.new) for one in page.context["changes"]] == [("speller", "0.1")]
    assert own(slow) == []


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (b"name,x\n", "must begin with"),
        (b"model,Other (warning) #1\n", "Not on this sheet: Other"),
        (b"model\nnobody\n", "Not on this sheet: nobody"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_file_of_something_else_is_refused(editor: Client, slow: Rule, file: bytes, words: str) -> None:
    answer = editor.post(reverse(URL), {"file": SimpleUploadedFile("limits.csv", file)})
    assert answer.status_code == 422 and words in answer.content.decode()


def test_a_viewer_looks_and_changes_nothing(slow: Rule) -> None:
    viewer = signed_in(member("Viewer"))
    assert viewer.get(reverse(URL)).status_code == 200
    assert change(viewer, slow, "0.8").status_code == 403
    assert own(slow) == []


def test_a_large_sheet_needs_few_queries(editor: Client, slow: Rule, django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        model = ServedModel.objects.create(name=f"m{number}")
        build.threshold(slow, number, model=model, reason="big")
    editor.get(reverse(URL))
    with django_assert_max_num_queries(20):
        editor.get(reverse(URL))
