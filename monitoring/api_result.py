"""Answers to questions as JSON text in Prometheus' shape: times as seconds, values as texts.

Written by hand, not by json.dumps of lists: a range of 11,000 steps and hundreds of series is millions of points.
Formats: Prometheus 3, util/jsonutil/marshal.go and web/api/v1/json_codec.go.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from decimal import Decimal

import numpy as np

from .api_answer import dumps
from .promql import Labels, Result
from .promql.values import Floats


def encode(result: Result, limit: int = 0, stats: bool = False) -> str:
    """Return {"resultType", "result"} of an answer, its first `limit` series when it is not 0."""
    cost = f',"stats":{_stats(result)}' if stats else ""
    return f'{{"resultType":"{result.type}","result":{_rows(result, limit)}{cost}}}'


def is_longer_than(result: Result, limit: int) -> bool:
    """Whether an answer has more series than a limit that is not 0."""
    return bool(limit) and result.type in ("vector", "matrix") and len(result.labels) > limit


def _rows(result: Result, limit: int) -> str:
    if result.type == "string":
        return f"[{time_text(int(result.ts[0]))},{dumps(result.string)}]"
    if result.type == "scalar":
        return point(int(result.ts[0]), result.scalar)
    if result.type == "vector":
        at = int(result.ts[0])
        values = result.values.tolist()[: limit or None]
        pairs = zip(result.labels, values, strict=False)
        return _joined(f'{{"metric":{metric(labels)},"value":{point(at, value)}}}' for labels, value in pairs)
    labels = result.labels[: limit or None]
    points = _raw_points(result) if result.raw else _step_points(result)
    rows = zip(labels, points, strict=False)
    return _joined(f'{{"metric":{metric(each)},"values":[{",".join(texts)}]}}' for each, texts in rows)


def _raw_points(result: Result) -> Iterator[list[str]]:
    for series in result.raw:
        texts = zip(series.ts.tolist(), value_texts(series.values), strict=True)
        yield [f'[{time_text(at)},"{text}"]' for at, text in texts]


def _step_points(result: Result) -> Iterator[list[str]]:
    """The points of each series, one after the other; the times of all steps are written once."""
    begins = [f'[{time_text(at)},"' for at in result.ts.tolist()]
    for values, present in zip(result.values, result.present, strict=True):
        if present.all():
            yield [f'{begin}{text}"]' for begin, text in zip(begins, value_texts(values), strict=True)]
        else:
            there = zip(np.flatnonzero(present).tolist(), value_texts(values[present]), strict=True)
            yield [f'{begins[step]}{text}"]' for step, text in there]


def _joined(rows: Iterable[str]) -> str:
    return f"[{','.join(rows)}]"


def metric(labels: Labels) -> str:
    """Return a label set as a JSON object."""
    return dumps(labels.as_dict())


def point(at_ms: int, value: float) -> str:
    """Return one sample: [seconds, "value"]."""
    return f'[{time_text(at_ms)},"{value_text(value)}"]'


def time_text(at_ms: int) -> str:
    """Return milliseconds as seconds, with three digits behind the point or none."""
    sign, whole = ("-", -at_ms) if at_ms < 0 else ("", at_ms)
    seconds, rest = divmod(whole, 1000)
    return f"{sign}{seconds}.{rest:03d}" if rest else f"{sign}{seconds}"


def value_text(value: float) -> str:
    """Return a value as the shortest text that is read back exactly, exponents below 1e-6 and from 1e21 on."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")
    text = repr(value)
    if "e" in text and 1e-6 <= abs(value) < 1e21:
        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


def value_texts(values: Floats) -> list[str]:
    """Return the texts of many values (n,)."""
    size = np.abs(values)
    # Where Python writes what Go writes but for a trailing .0; false for NaN and infinities.
    if (((size >= 1e-4) & (size < 1e16)) | (size == 0)).all():
        return [text[:-2] if text.endswith(".0") else text for text in map(repr, values.tolist())]
    return [value_text(value) for value in values.tolist()]


def _stats(result: Result) -> str:
    """Return what is known of the cost; upstream tells more timings and the peak."""
    seconds = result.stats.wall_seconds
    timings = {"evalTotalTime": seconds, "execTotalTime": seconds}
    return dumps({"timings": timings, "samples": {"totalQueryableSamples": result.stats.samples}})
