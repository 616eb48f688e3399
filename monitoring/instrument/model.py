"""What a served model says of itself: time of an inference, batches, queue, accuracy, errors.

The model is a label and never a part of a metric's name: one rule, one chart and one threshold serve all models.
"""

from __future__ import annotations

import functools
import inspect
import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar, cast

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from .bounds import Bounded, PerRegistry

Function = TypeVar("Function", bound=Callable[..., Any])

LABELS = ("model_name", "model_version")
MAX_ERROR_TYPES = 100
#: From a small tree model to a long generation, in seconds.
INFERENCE_BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
)  # fmt: skip


class _Families:
    """The metrics of all models of one registry; several processes are added up or the newest value counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.seconds = Histogram(
            "model_inference_duration_seconds", "Model inference latency", LABELS,
            buckets=INFERENCE_BUCKETS, registry=registry,
        )  # fmt: skip
        self.items = Counter("model_inference_items_total", "Inputs that inferences took", LABELS, registry=registry)
        self.batch_size = Gauge(
            "model_batch_size", "Inputs in the newest batch", LABELS, multiprocess_mode="mostrecent", registry=registry
        )
        self.batch_seconds = Histogram(
            "model_batch_duration_seconds", "Time of a whole batch, from the queue to its last answer", LABELS,
            buckets=INFERENCE_BUCKETS, registry=registry,
        )  # fmt: skip
        self.queue_size = Gauge(
            "model_queue_size", "Requests that wait for the model", LABELS,
            multiprocess_mode="livesum", registry=registry,
        )  # fmt: skip
        self.accuracy = Gauge(
            "model_accuracy", "Model accuracy score, from 0 to 1", LABELS,
            multiprocess_mode="mostrecent", registry=registry,
        )  # fmt: skip
        self.accuracy_samples = Gauge(
            "model_accuracy_samples", "Labelled inputs that the accuracy was measured on", LABELS,
            multiprocess_mode="mostrecent", registry=registry,
        )  # fmt: skip
        self.errors = Counter(
            "model_inference_errors_total", "Inferences that raised, by class of the exception", [*LABELS, "error"],
            registry=registry,
        )  # fmt: skip
        self.error = Bounded(MAX_ERROR_TYPES)


_families = PerRegistry(_Families)


class ModelMetrics:
    """The metrics of one version of one model.

    Works in several processes when PROMETHEUS_MULTIPROC_DIR is set before prometheus_client is imported: counts and
    queues of all processes add up, batch size and accuracy are the newest ones.
    """

    def __init__(self, model_name: str, version: str = "", registry: CollectorRegistry = REGISTRY) -> None:
        if not model_name:
            raise ValueError("a model needs a name: it is the label by which rules and charts find it")
        families, labels = _families(registry), (model_name, version)
        self.model_name, self.version = model_name, version
        self._seconds, self._items = families.seconds.labels(*labels), families.items.labels(*labels)
        self._batch_size, self._queue_size = families.batch_size.labels(*labels), families.queue_size.labels(*labels)
        self._batch_seconds = families.batch_seconds.labels(*labels)
        # Made when first told: a gauge nobody has set would say that the accuracy is 0.
        self._accuracy = functools.partial(families.accuracy.labels, *labels)
        self._accuracy_samples = functools.partial(families.accuracy_samples.labels, *labels)
        self._errors, self._error = functools.partial(families.errors.labels, *labels), families.error

    def record_inference(self, seconds: float, batch_size: int = 1) -> None:
        """Take note of one inference over `batch_size` inputs; raises ValueError for numbers that cannot be."""
        _refuse_unless(seconds >= 0 and math.isfinite(seconds), f"an inference takes 0 or more seconds, not {seconds}")
        _refuse_unless(batch_size >= 1, f"a batch has at least one input, not {batch_size}")
        self._seconds.observe(seconds)
        self._items.inc(batch_size)
        self._batch_size.set(batch_size)

    def record_batch(self, seconds: float) -> None:
        """Take note of the time of a whole batch: waiting, preparing, inference and answering; raises ValueError."""
        _refuse_unless(seconds >= 0 and math.isfinite(seconds), f"a batch takes 0 or more seconds, not {seconds}")
        self._batch_seconds.observe(seconds)

    def record_error(self, error: BaseException | str) -> None:
        """Count an inference that failed, by the class of its exception."""
        self._errors(self._error(error if isinstance(error, str) else type(error).__name__)).inc()

    def update_queue(self, size: int) -> None:
        """Say how many requests wait now in this process; raises ValueError for a negative number."""
        _refuse_unless(size >= 0, f"a queue has 0 or more requests, not {size}")
        self._queue_size.set(size)

    def set_accuracy(self, value: float, samples: int | None = None) -> None:
        """Say how good the model is, from 0 to 1, measured on so many samples; raises ValueError outside."""
        _refuse_unless(0 <= value <= 1, f"accuracy is a ratio from 0 to 1, not {value}; divide a percentage by 100")
        self._accuracy().set(value)
        if samples is not None:
            _refuse_unless(samples >= 0, f"accuracy is measured on 0 or more samples, not {samples}")
            self._accuracy_samples().set(samples)

    def time(self, batch_size: int = 1) -> Timed:
        """Return what times an inference: `with`, `async with`, or a decorator of plain, async and generator functions.

        An exception is counted in model_inference_errors_total, timed as well, and raised again: errors divided by
        the count of the histogram is the error ratio. A generator is timed until its last value.
        """
        return Timed(lambda seconds: self.record_inference(seconds, batch_size), self.record_error)

    def time_batch(self) -> Timed:
        """Return what times a whole batch, used as `time` is; errors are counted by `time` alone."""
        return Timed(self.record_batch, None)


class Timed:
    """Times one block, or every call of a function."""

    def __init__(
        self, record: Callable[[float], None], record_error: Callable[[BaseException | str], None] | None
    ) -> None:
        self._record, self._record_error = record, record_error
        self._started = 0.0

    def __enter__(self) -> Timed:
        """Start the clock."""
        self._started = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Record the time, and the exception when there was one."""
        self._record(time.perf_counter() - self._started)
        # A cancelled request or a consumer that stops reading is no fault of the model.
        if isinstance(error, Exception) and self._record_error is not None:
            self._record_error(error)

    async def __aenter__(self) -> Timed:
        """Start the clock."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Record the time, and the exception when there was one."""
        self.__exit__(kind, error, traceback)

    def __call__(self, function: Function) -> Function:
        """Return the function with each call timed on its own, also when calls overlap."""
        return cast(Function, _wrapped(function, lambda: Timed(self._record, self._record_error)))


def _wrapped(function: Callable[..., Any], timed: Callable[[], Timed]) -> Callable[..., Any]:
    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        with timed():
            return function(*args, **kwargs)

    @functools.wraps(function)
    async def waiting(*args: Any, **kwargs: Any) -> Any:
        with timed():
            return await function(*args, **kwargs)

    @functools.wraps(function)
    def streaming(*args: Any, **kwargs: Any) -> Any:
        with timed():
            return (yield from function(*args, **kwargs))

    @functools.wraps(function)
    async def streaming_async(*args: Any, **kwargs: Any) -> Any:
        with timed():
            async for value in function(*args, **kwargs):
                yield value

    if inspect.iscoroutinefunction(function):
        return waiting
    if inspect.isasyncgenfunction(function):
        return streaming_async
    return streaming if inspect.isgeneratorfunction(function) else plain


def _refuse_unless(is_sound: bool, problem: str) -> None:
    if not is_sound:
        raise ValueError(problem)
