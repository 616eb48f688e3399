"""Rows that are read without Django's constructor are the rows that it would have made."""

from __future__ import annotations

import pytest
from django.db import models

from alerts.models import Alert, GroupAlert, Notification
from alerts.models.storm import StormJSONField
from tests import build
from tests.build import T0
from tests.test_bulk import AWKWARD

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("model", [Alert, GroupAlert, Notification])
def test_a_row_is_what_django_makes_of_it(model):
    names = [field.attname for field in model._meta.concrete_fields]
    values = [f"value of {name}" for name in names]
    ours = model.from_db("default", names, values)
    django_s = models.Model.from_db.__func__(model, "default", names, values)
    kept, expected = dict(vars(ours)), dict(vars(django_s))
    states = kept.pop("_state"), expected.pop("_state")
    assert len({(state.adding, state.db, len(state.fields_cache)) for state in states}) == 1
    assert kept == expected


def test_it_is_saved_again_as_a_row_that_exists():
    build.alert(labels={"n": "1"})
    row = Alert.objects.get()
    row.annotations = {"summary": "changed"}
    row.save()
    assert Alert.objects.get().annotations == {"summary": "changed"}
    assert (row._state.adding, row._state.db) == (False, "default")


def test_deferred_columns_are_read_when_they_are_asked_for(django_assert_num_queries):
    build.alert(labels={"n": "1"})
    row = Alert.objects.defer("labels").get()
    assert row.get_deferred_fields() == {"labels"}
    with django_assert_num_queries(1):
        assert row.labels["n"] == "1"
    assert Alert.objects.only("name").get().name == row.name


VALUES = [*AWKWARD, 0, -1.5, 1e300, 2**53, None, True, {"a": {"b": [1, None]}}, [], "ünï\u2028"]


@pytest.mark.parametrize("value", VALUES)
def test_a_field_of_a_storm_reads_what_was_written(value):
    row = build.alert("A", T0, annotations={"x": value})
    stored = Alert.objects.get(pk=row.pk)
    assert stored.annotations == {"x": value}
    assert type(stored.annotations["x"]) is type(value)


def test_to_migrations_it_is_a_jsonfield():
    assert Alert._meta.get_field("labels").deconstruct()[1] == "django.db.models.JSONField"
    assert StormJSONField(default=list).deconstruct()[3] == {"default": list}


def test_a_key_of_it_is_read_as_from_any_other():
    build.alert("A", T0, labels={"alertname": "A", "n": "7"})
    assert list(Alert.objects.filter(labels__n="7").values_list("labels__alertname", flat=True)) == ["A"]
