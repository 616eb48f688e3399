"""What a model says of itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from monitoring.instrument import ModelMetrics

ROOT = Path(__file__).resolve().parents[1]
RANKER = {"model_name": "ranker", "model_version": "3"}


class Broken(Exception):
    """What the models here raise."""


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def ranker(registry):
    return ModelMetrics("ranker", "3", registry)


def count(registry):
    return registry.get_sample_value("model_inference_duration_seconds_count", RANKER)


def errors(registry, error="Broken"):
    return registry.get_sample_value("model_inference_errors_total", {**RANKER, "error": error})


def test_an_inference_is_timed_and_its_batch_told(ranker, registry):
    ranker.record_inference(0.25, 8)
    ranker.record_inference(0.5, 4)
    assert count(registry) == 2
    assert registry.get_sample_value("model_inference_duration_seconds_sum", RANKER) == 0.75
    assert registry.get_sample_value("model_batch_size", RANKER) == 4
    assert registry.get_sample_value("model_inference_items_total", RANKER) == 12


def test_models_and_versions_are_labels_of_the_same_metrics(ranker, registry):
    ModelMetrics("ranker", "4", registry).record_inference(0.1)
    ModelMetrics("scorer", "1", registry).record_inference(0.1)
    ranker.record_inference(0.1)
    values = {
        (sample.labels["model_name"], sample.labels["model_version"]): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "model_inference_duration_seconds_count"
    }
    assert values == {("ranker", "3"): 1, ("ranker", "4"): 1, ("scorer", "1"): 1}


def test_the_queue_is_what_it_was_set_to_last(ranker, registry):
    ranker.update_queue(7)
    ranker.update_queue(2)
    assert registry.get_sample_value("model_queue_size", RANKER) == 2


def test_accuracy_comes_with_the_number_of_samples_it_was_measured_on(ranker, registry):
    ranker.set_accuracy(0.94, 2000)
    assert registry.get_sample_value("model_accuracy", RANKER) == 0.94
    assert registry.get_sample_value("model_accuracy_samples", RANKER) == 2000


def test_an_accuracy_nobody_measured_is_not_told(ranker, registry):
    assert registry.get_sample_value("model_accuracy", RANKER) is None


def test_a_whole_batch_is_timed_apart_from_its_inference(ranker, registry):
    with ranker.time_batch():
        ranker.record_inference(0.1, 2)
    assert registry.get_sample_value("model_batch_duration_seconds_count", RANKER) == 1
    assert count(registry) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda model: model.record_inference(-1),
        lambda model: model.record_inference(float("nan")),
        lambda model: model.record_inference(float("inf")),
        lambda model: model.record_inference(1, 0),
        lambda model: model.record_batch(-0.1),
        lambda model: model.update_queue(-1),
        lambda model: model.set_accuracy(94),
        lambda model: model.set_accuracy(float("nan")),
        lambda model: model.set_accuracy(0.9, -1),
    ],
)
def test_a_number_that_cannot_be_is_refused(ranker, wrong):
    with pytest.raises(ValueError, match="not"):
        wrong(ranker)


def test_a_model_without_a_name_is_refused(registry):
    with pytest.raises(ValueError, match="needs a name"):
        ModelMetrics("", registry=registry)


def test_a_block_is_timed(ranker, registry):
    with ranker.time(batch_size=3):
        pass
    assert (count(registry), registry.get_sample_value("model_batch_size", RANKER)) == (1, 3)


def test_a_failed_block_is_timed_counted_and_raised_again(ranker, registry):
    with pytest.raises(Broken), ranker.time():
        raise Broken
    assert (count(registry), errors(registry)) == (1, 1)


def test_an_async_block_is_timed(ranker, registry):
    async def infer():
        async with ranker.time():
            await asyncio.sleep(0)

    asyncio.run(infer())
    assert count(registry) == 1


def test_a_decorated_function_answers_as_before_and_is_timed(ranker, registry):
    @ranker.time()
    def infer(a, *, b):
        """Docs."""
        return a + b

    assert infer(1, b=2) == 3
    assert (infer.__name__, infer.__doc__) == ("infer", "Docs.")
    assert count(registry) == 1


def test_calls_of_a_decorated_coroutine_that_overlap_are_timed_each_on_its_own(ranker, registry):
    @ranker.time()
    async def infer(steps):
        for _ in range(steps):
            await asyncio.sleep(0)
        return steps

    async def both():
        return await asyncio.gather(infer(3), infer(1))

    assert asyncio.run(both()) == [3, 1]
    assert count(registry) == 2


def test_a_decorated_generator_is_timed_when_its_last_value_is_read(ranker, registry):
    @ranker.time()
    def tokens():
        yield "a"
        yield "b"

    stream = tokens()
    next(stream)
    before = count(registry)
    assert list(stream) == ["b"]
    assert (before, count(registry)) == (0, 1)


def test_a_decorated_async_generator_is_timed_when_its_last_value_is_read(ranker, registry):
    @ranker.time()
    async def tokens():
        yield "a"
        yield "b"

    async def read():
        return [token async for token in tokens()]

    assert asyncio.run(read()) == ["a", "b"]
    assert count(registry) == 1


def test_a_stream_that_is_not_read_to_its_end_is_no_error(ranker, registry):
    @ranker.time()
    def tokens():
        yield "a"
        yield "b"

    stream = tokens()
    next(stream)
    stream.close()
    assert (count(registry), errors(registry, "GeneratorExit")) == (1, None)


def test_classes_of_errors_beyond_the_bound_are_one_series(ranker, registry):
    for number in range(150):
        ranker.record_error(f"Error{number}")
    assert errors(registry, "Error0") == 1
    assert errors(registry, "other") == 50


TWO_PROCESSES = """
import os
from monitoring.instrument import ModelMetrics, exposition

def serve(accuracy, queue):
    model = ModelMetrics("ranker", "3")
    model.record_inference(0.25, queue)
    model.update_queue(queue)
    model.set_accuracy(accuracy)

child = os.fork()
if child == 0:
    serve(0.5, 3)
    os._exit(0)
os.waitpid(child, 0)
serve(0.75, 4)
print(exposition()[0].decode())
"""


def test_several_processes_are_told_as_one(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", TWO_PROCESSES],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines() if line and line[0] != "#")
    labels = '{model_name="ranker",model_version="3"}'
    assert told[f"model_inference_duration_seconds_count{labels}"] == "2.0"
    assert told[f"model_inference_items_total{labels}"] == "7.0"
    assert told[f"model_queue_size{labels}"] == "7.0"
    assert told[f"model_accuracy{labels}"] == "0.75"
