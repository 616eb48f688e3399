"""Limits for objects of the registry: model, version, stage, host, GPU."""

from __future__ import annotations

import numpy as np
import pytest
from django.core.exceptions import ValidationError

from alerts import alert_rows, evaluate, prepared, rewind
from alerts.evaluate import to_ms
from alerts.models import Alert, Threshold
from alerts.prepared import latest_slot, limit_of, prepare
from monitoring import store
from monitoring.models import Host, ModelVersion, ServedModel
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _forget():
    """Memories of another test's groups must not meet reused ids."""
    yield
    alert_rows._memories.clear()
    prepared._remembered.clear()


def a_version(model: str = "ranker", version: str = "3", stage: str = "production") -> ModelVersion:
    owner, _ = ServedModel.objects.get_or_create(name=model)
    return ModelVersion.objects.create(model=owner, version=version, stage=stage)


def matchers(row: Threshold) -> list[str]:
    return [str(one) for one in limit_of(row).matchers]


def a_row(**values: object) -> Threshold:
    rule = build.rule(expr="latency_seconds")
    return Threshold.objects.create(rule=rule, value=1, reason="its own", **values)


def test_a_limit_for_a_model_is_for_the_series_with_its_name():
    assert matchers(a_row(model=a_version().model)) == ['model_name="ranker"']


def test_a_limit_for_a_version_is_for_that_version_of_its_model():
    assert matchers(a_row(version=a_version())) == ['model_name="ranker"', 'model_version="3"']


def test_a_limit_for_a_host_and_a_gpu_names_both():
    host = Host.objects.create(name="gpu-1", first_seen=T0, last_seen=T0)
    assert matchers(a_row(host=host, gpu="0")) == ['host="gpu-1"', 'gpu="0"']


def test_a_gpu_may_be_named_by_its_uuid():
    assert matchers(a_row(gpu="GPU-5f2c")) == ['uuid="GPU-5f2c"']


def test_objects_and_selector_both_count():
    row = a_row(model=a_version().model, selector='{path="/rank"}')
    assert matchers(row) == ['model_name="ranker"', 'path="/rank"']


def test_a_limit_for_a_stage_follows_a_promotion():
    version = a_version()
    a_version(version="4", stage="staging")
    row = a_row(model=version.model, stage="production")
    before = prepare(row.rule.group)
    ModelVersion.objects.filter(version="4").update(stage="production")
    after = prepare(row.rule.group)
    assert [str(one) for one in before.rules[0].limits[0].matchers][1] == 'model_version="3"'
    assert [str(one) for one in after.rules[0].limits[0].matchers][1] == 'model_version=~"3|4"'


def test_a_stage_without_a_version_has_no_limit():
    row = a_row(model=a_version().model, stage="archived")
    assert not limit_of(row).counts_at(T0)


def test_a_renamed_model_keeps_its_limits():
    row = a_row(model=a_version().model)
    prepare(row.rule.group)
    ServedModel.objects.update(name="ranker2")
    assert str(prepare(row.rule.group).rules[0].limits[0].matchers[0]) == 'model_name="ranker2"'


def test_a_limit_goes_with_its_model_and_never_widens_to_all():
    version = a_version()
    row = a_row(model=version.model)
    version.model.delete()
    assert not Threshold.objects.filter(pk=row.pk).exists()


def test_how_it_stood_before_its_model_was_deleted_does_not_break():
    row = a_row(model=a_version().model)
    when = row.history.first().history_date
    row.model.delete()
    found = rewind.rule_at(row.rule, when)
    assert found is not None
    assert [limit.counts_at(when) for limit in found.limits] == [False]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"stage": "production"}, "model"),
        ({"is_other_model": True}, "version"),
        ({"is_version": True, "stage": "production"}, "stage"),
    ],
)
def test_objects_that_contradict_each_other_are_refused(values: dict[str, object], field: str):
    version = a_version()
    row = Threshold(rule=build.rule(expr="x"), value=1, reason="its own", stage=str(values.get("stage", "")))
    if values.get("is_other_model"):
        row.model, row.version = ServedModel.objects.create(name="other"), version
    if values.get("is_version"):
        row.version = version
    with pytest.raises(ValidationError) as caught:
        row.full_clean()
    assert field in caught.value.message_dict


def test_a_limit_for_an_object_needs_a_reason():
    row = Threshold(rule=build.rule(expr="x"), value=1, model=a_version().model)
    with pytest.raises(ValidationError, match="Say why"):
        row.full_clean()


def test_a_model_fires_by_its_own_limit_and_the_others_by_theirs():
    row = a_row(model=a_version().model)
    Threshold.objects.create(rule=row.rule, value=10)
    at = latest_slot(row.rule.group, T0)
    keys = [store.sample_key("latency_seconds", {"model_name": name}) for name in ("ranker", "other")]
    store.append([store.Scrape("target:1", {}, to_ms(at), keys, np.array([5.0, 5.0]))], now_ms=to_ms(at))
    evaluate.due(at)
    evaluate.evaluate(row.rule.group_id, at)
    found = Alert.objects.values_list("labels__model_name", "threshold_id")
    assert list(found) == [("ranker", row.pk)]


def test_the_row_says_what_it_is_for():
    assert str(a_row(model=a_version().model, stage="production")) == "warning above 1 model ranker, stage production"
