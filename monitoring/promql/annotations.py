"""Warnings and infos of an answer, worded and placed as Prometheus words and places them (util/annotations)."""

from __future__ import annotations

from . import nodes as n
from .errors import EvaluationError
from .labels import quote
from .printer import number_text

#: Prometheus sends at most so many of a kind; one bad label must not fill an answer.
MAX_EACH = 20


class Annotations:
    """What an evaluation has to remark, each remark once, in order."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._warnings: dict[str, None] = {}
        self._infos: dict[str, None] = {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings so far."""
        return tuple(self._warnings)[:MAX_EACH]

    @property
    def infos(self) -> tuple[str, ...]:
        """The infos so far."""
        return tuple(self._infos)[:MAX_EACH]

    def warn(self, message: str, node: n.Node) -> None:
        """Add a warning about a part of the query."""
        self._warnings[f"PromQL warning: {message} ({self._place(node)})"] = None

    def info(self, message: str, node: n.Node) -> None:
        """Add an info about a part of the query."""
        self._infos[f"PromQL info: {message} ({self._place(node)})"] = None

    def _place(self, node: n.Node) -> str:
        before = self._text[: node.pos]
        return f"{before.count(chr(10)) + 1}:{node.pos - before.rfind(chr(10))}"

    def invalid_quantile(self, value: float, node: n.Node) -> None:
        """Warn of a quantile outside 0 to 1."""
        self.warn(f"quantile value should be between 0 and 1, got {number_text(value)}", node)

    def invalid_ratio(self, value: float, capped: float, node: n.Node) -> None:
        """Warn of a ratio outside -1 to 1."""
        shown = f"got {number_text(value)}, capping to {number_text(capped)}"
        self.warn(f"ratio value should be between -1 and 1, {shown}", node)

    def bad_bucket_label(self, metric: str, value: str, node: n.Node) -> None:
        """Warn of a bucket without a usable ``le``."""
        text = f'bucket label "le" is missing or has a malformed value of {quote(value)}'
        self.warn(text + _for_metric(metric), node)

    def sort_in_range(self, name: str, node: n.Node) -> None:
        """Warn that sorting does nothing to a range query."""
        self.warn(f"{name} is ineffective for range queries since results are always ordered by labels", node)

    def possible_non_counter(self, metric: str, node: n.Node) -> None:
        """Remark on rate() of what may be no counter."""
        text = f"metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {quote(metric)}"
        self.info(text, node)

    def not_counter_by_type(self, metric: str, kind: str, node: n.Node) -> None:
        """Remark on rate() of what says to be no counter."""
        text = 'metric might not be a counter, __type__ label is not set to "counter" or "histogram"'
        self.info(f"{text}, got {quote(kind)}: {quote(metric)}", node)

    def forced_monotonicity(self, metric: str, detail: str, node: n.Node) -> None:
        """Remark that bucket counts had to be made to rise."""
        link = "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile"
        text = f"input to histogram_quantile needed to be fixed for monotonicity (see {link})"
        self.info(text + _for_metric(metric) + detail, node)


def _for_metric(metric: str) -> str:
    return f" for metric name {quote(metric)}" if metric else ""


def refuse_native(feature: str) -> EvaluationError:
    """Return the error for what only native histograms can do."""
    return EvaluationError(f"{feature} needs native histograms, which this portal does not store")
