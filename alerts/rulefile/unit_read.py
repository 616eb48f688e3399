"""A file of promtool's rule unit tests as values.

Source of the format: Prometheus 3, cmd/promtool/unittest.go and docs/configuration/unit_testing_rules.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from alerts.engine.durations import parse_duration
from alerts.rulefile.series_text import SeriesError, parse_series, parse_values
from alerts.rulefile.yaml_nodes import Reader, Value, load
from monitoring.promql import Labels

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FILE = ("rule_files", "evaluation_interval", "group_eval_order", "tests", "fuzzy_compare")
_TEST = (
    "name", "interval", "start_timestamp", "input_series", "alert_rule_test", "promql_expr_test", "external_labels",
    "external_url",
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One expected sample; `problem` says why its labels cannot be read."""

    labels: Labels
    value: float
    problem: str = ""


@dataclass(frozen=True)
class ExprTest:
    """What an expression must answer at a time after the start."""

    expr: str
    eval_seconds: float
    samples: tuple[Sample, ...]
    problem: str = ""


@dataclass(frozen=True)
class AlertTest:
    """Which alerts of a name must fire at a time after the start; pairs of labels (with alertname) and annotations."""

    alertname: str
    eval_seconds: float
    alerts: tuple[tuple[Labels, Mapping[str, str]], ...]


@dataclass(frozen=True)
class UnitTest:
    """One test: series that come in, and what must come of them. input: labels and values, one an interval."""

    name: str
    interval_seconds: float
    start: datetime = _EPOCH
    input: tuple[tuple[Labels, list[float | None]], ...] = ()
    alert_tests: tuple[AlertTest, ...] = ()
    expr_tests: tuple[ExprTest, ...] = ()
    external_labels: Mapping[str, str] = field(default_factory=dict)
    external_url: str = ""
    problem: str = ""

    @property
    def last_seconds(self) -> float:
        """The latest time after the start that a test asks about."""
        asked = [one.eval_seconds for one in self.alert_tests] + [one.eval_seconds for one in self.expr_tests]
        return max([0.0, *asked])


@dataclass(frozen=True)
class UnitTestFile:
    """All tests of one file."""

    rule_files: tuple[str, ...]
    evaluation_seconds: float
    group_order: tuple[str, ...]
    is_fuzzy: bool
    tests: tuple[UnitTest, ...]


def read_tests(text: str, ignores_unknown: bool = False) -> UnitTestFile:
    """Return the tests of a file; raises FileError that names every problem with its line."""
    root, reader = load(text), _TestReader(ignores_unknown)
    found = reader.fields(root, _FILE, "a file of unit tests")
    every = reader.seconds(found.get("evaluation_interval")) or 60.0
    order = tuple(reader.text(one) for one in reader.items(found.get("group_eval_order")))
    for name in {name for name in order if order.count(name) > 1}:
        reader.problems.append(f"group name repeated in evaluation order: {name}")
    tests = tuple(reader.test(one, every) for one in reader.items(found.get("tests")))
    files = tuple(reader.text(one) for one in reader.items(found.get("rule_files")))
    is_fuzzy = reader.text(found.get("fuzzy_compare")) in ("true", "True", "yes", "on")
    reader.finish()
    return UnitTestFile(files, every, order, is_fuzzy, tests)


class _TestReader(Reader):
    """Reads one file."""

    def seconds(self, value: Value | None) -> float:
        if value is None or value.is_null:
            return 0.0
        try:
            return parse_duration(self.text(value))
        except ValueError as error:
            self.complain(value, str(error))
            return 0.0

    def test(self, value: Value, every: float) -> UnitTest:
        found = self.fields(value, _TEST, "a test")
        problem, series = "", []
        for one in self.items(found.get("input_series")):
            parts = self.fields(one, ("series", "values"), "an input series")
            try:
                series.append(
                    (parse_series(self.text(parts.get("series"))), parse_values(self.text(parts.get("values"))))
                )
            except SeriesError as error:
                problem = problem or one.says(str(error))
        return UnitTest(
            name=self.text(found.get("name")),
            interval_seconds=self.seconds(found.get("interval")) or every,
            start=self._start(found.get("start_timestamp")),
            input=tuple(series),
            alert_tests=tuple(self._alert_test(one) for one in self.items(found.get("alert_rule_test"))),
            expr_tests=tuple(self._expr_test(one) for one in self.items(found.get("promql_expr_test"))),
            external_labels=self.texts(found.get("external_labels")),
            external_url=self.text(found.get("external_url")),
            problem=problem,
        )

    def _start(self, value: Value | None) -> datetime:
        if value is None or value.is_null:
            return _EPOCH
        text = self.text(value)
        try:
            return datetime.fromtimestamp(float(text), UTC)
        except (ValueError, OverflowError, OSError):
            pass
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            at = None
        if at is None or at.tzinfo is None:
            self.complain(value, f"{text!r} is no time; write seconds since 1970 or 2024-01-01T00:00:00Z")
            return _EPOCH
        return at.astimezone(UTC)

    def _alert_test(self, value: Value) -> AlertTest:
        found = self.fields(value, ("eval_time", "alertname", "exp_alerts"), "an alert test")
        name = self.text(found.get("alertname"))
        if not name:
            self.complain(value, "an item under alert_rule_test misses required attribute alertname")
        alerts = []
        for one in self.items(found.get("exp_alerts")):
            parts = self.fields(one, ("exp_labels", "exp_annotations"), "an expected alert")
            labels = Labels.of({**self.texts(parts.get("exp_labels")), "alertname": name})
            alerts.append((labels, self.texts(parts.get("exp_annotations"))))
        return AlertTest(name, self.seconds(found.get("eval_time")), tuple(alerts))

    def _expr_test(self, value: Value) -> ExprTest:
        found = self.fields(value, ("expr", "eval_time", "exp_samples"), "an expression test")
        samples, problem = [], ""
        for one in self.items(found.get("exp_samples")):
            parts = self.fields(one, ("labels", "value", "histogram"), "an expected sample")
            if "histogram" in parts:
                problem = "native histograms are not supported"
            samples.append(self._sample(parts))
        return ExprTest(self.text(found.get("expr")), self.seconds(found.get("eval_time")), tuple(samples), problem)

    def _sample(self, parts: Mapping[str, Value]) -> Sample:
        value = 0.0
        if "value" in parts:
            text = self.text(parts["value"]).replace(".Inf", "Inf").replace(".inf", "inf").replace(".NaN", "NaN")
            try:
                value = float(text)
            except ValueError:
                self.complain(parts["value"], f"{text!r} is no number")
        try:
            return Sample(parse_series(self.text(parts.get("labels"))), value)
        except SeriesError as error:
            return Sample(Labels.of({}), value, f"labels {error}")
