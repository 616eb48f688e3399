"""Many rows in one statement: every value arrives as Django itself would have written it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alerts import bulk
from alerts.models import Alert, Event
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db
AWKWARD = [
    "",
    "NULL",
    "null",
    '"',
    "\\",
    '\\"',
    "{a,b}",
    "a,b",
    " a ",
    "line\nbreak",
    "tab\t",
    "ünï😀",
    "'",
    "%s",
    "$1",
]


def events(**fields) -> list[Event]:
    """One event for each of some values of a field."""
    [(name, values)] = fields.items()
    rule = build.rule()
    return [Event(**({"rule": rule, "at": T0, "kind": "note"} | {name: value})) for value in values]


@pytest.mark.parametrize("with_keys", [True, False])
def test_texts_arrive_as_they_are(with_keys: bool):
    bulk.insert(events(reason=AWKWARD), with_keys=with_keys)
    assert list(Event.objects.order_by("id").values_list("reason", flat=True)) == AWKWARD


def test_numbers_and_what_is_missing_arrive_as_they_are():
    values = [0.1, -1e300, 5, None, float("inf"), 1 / 3]
    bulk.insert(events(value=values))
    assert list(Event.objects.order_by("id").values_list("value", flat=True)) == values


def test_times_keep_their_microseconds():
    times = [T0 + timedelta(microseconds=one) for one in (0, 1, 999_999)]
    bulk.insert(events(at=times))
    assert list(Event.objects.order_by("id").values_list("at", flat=True)) == times


def test_rows_know_their_keys_in_their_order():
    rows = events(reason=["b", "a", "c"])
    bulk.insert(rows)
    assert [Event.objects.get(pk=row.pk).reason for row in rows] == ["b", "a", "c"]


def test_what_rows_have_in_common_arrives_in_each():
    shared = {"a": ['"', None]}
    rows = [build.alert(labels={"n": str(number)}) for number in range(3)]
    Alert.objects.all().delete()
    for row in rows:
        row.pk, row.annotations, row.value, row.updated_at, row.name = None, shared, -0.0, T0, AWKWARD[5]
    bulk.insert(rows)
    found = Alert.objects.order_by("id")
    assert list(found.values_list("annotations", "updated_at", "name")) == [(shared, T0, AWKWARD[5])] * 3
    assert {str(row.value) for row in found} == {"-0.0"}
    assert [row.labels["n"] for row in found] == ["0", "1", "2"]


def test_equal_values_that_differ_arrive_as_they_are():
    bulk.insert(events(value=[0.0, -0.0]))
    assert [str(value) for value in Event.objects.order_by("id").values_list("value", flat=True)] == ["0.0", "-0.0"]


def test_no_json_is_no_value():
    """As Django writes it: what is missing is found by IS NULL, and a constraint on it holds."""
    row = build.alert()
    Alert.objects.all().delete()
    row.pk, row.identity = None, None
    bulk.insert([row])
    assert Alert.objects.filter(identity__isnull=True).count() == 1


@pytest.mark.parametrize("value", [2**70, {"n": -(2**70)}, [1.5, None, True, {"a": [{}]}], {"ü": "😀"}])
def test_json_that_few_libraries_write_is_written_as_well(value):
    row = build.alert()
    row.annotations = value
    bulk.update([row], ["annotations"])
    assert Alert.objects.get().annotations == value


def test_numbers_that_json_cannot_spell_become_null():
    row = build.alert()
    row.annotations = [float("nan"), float("inf"), -float("inf"), 1.5]
    bulk.update([row], ["annotations"])
    assert Alert.objects.get().annotations == [None, None, None, 1.5]


def test_json_and_booleans_are_updated():
    rows = [build.alert(labels={"n": str(number)}) for number in range(2)]
    for row, text in zip(rows, AWKWARD[3:5], strict=True):
        row.annotations, row.is_shadow, row.value = {text: text}, True, None
    bulk.update(rows, ["annotations", "is_shadow", "value"])
    assert list(Alert.objects.order_by("id").values_list("annotations", "is_shadow", "value")) == [
        ({text: text}, True, None) for text in AWKWARD[3:5]
    ]


def test_rows_share_what_they_refer_to(django_assert_num_queries):
    rule = build.rule()
    for number in range(3):
        build.alert(labels={"n": str(number)}, rule=rule if number else None)
    rows = list(Alert.objects.order_by("id"))
    with django_assert_num_queries(1):  # nobody refers to a threshold
        bulk.share(rows, "rule", "threshold")
    with django_assert_num_queries(0):
        assert [row.rule for row in rows] == [None, rule, rule]
    assert rows[1].rule is rows[2].rule
    bulk.share([], "rule")
