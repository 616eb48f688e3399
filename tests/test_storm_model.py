"""Rows that are read without Django's constructor are the rows that it would have made."""

from __future__ import annotations

import pytest
from django.db import models

from alerts.models import Alert, GroupAlert, Notification
from tests import build

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
