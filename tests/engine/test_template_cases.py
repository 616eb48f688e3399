"""Prometheus' own template test cases (template/template_test.go), where the shared material is at hand."""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from alerts.engine import template
from alerts.engine.template import Surroundings, TemplateError
from alerts.engine.template_run import Run
from monitoring.promql import Labels

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "promtool-tests" / "template_cases.json"
EVALUATED_AT = 1353755652.0  # testTime in template_test.go

# Inputs that the extract keeps as Go source; Go's maximum integers written out.
INPUTS: dict[str, object] = {
    "[]float64{0.0, 1.0, 1234567.0, .12}": [0.0, 1.0, 1234567.0, 0.12],
    '[]string{"0.0", "1.0", "1234567.0", ".12"}': ["0.0", "1.0", "1234567.0", ".12"],
    "[]int64{0, -1, 1, 1234567, math.MaxInt64}": [0, -1, 1, 1234567, 2**63 - 1],
    "[]uint64{0, 1, 1234567, math.MaxUint64}": [0, 1, 1234567, 2**64 - 1],
    "[]float64{0.0, 1.0, 1048576.0, .12}": [0.0, 1.0, 1048576.0, 0.12],
    '[]string{"0.0", "1.0", "1048576.0", ".12"}': ["0.0", "1.0", "1048576.0", ".12"],
    "[]float64{0, 1, 60, 3600, 86400, 86400 + 3600, -(86400*2 + 3600*3 + 60*4 + 5), 899.99}": [
        *(0.0, 1.0, 60.0, 3600.0, 86400.0, 90000.0, -183845.0, 899.99)
    ],
    '[]string{"0", "1", "60", "3600", "86400"}': ["0", "1", "60", "3600", "86400"],
    "[]float64{.1, .0001, .12345, 60.1, 60.5, 1.2345, 12.345}": [0.1, 0.0001, 0.12345, 60.1, 60.5, 1.2345, 12.345],
    '[]string{".1", ".0001", ".12345", "60.1", "60.5", "1.2345", "12.345"}': [
        *(".1", ".0001", ".12345", "60.1", "60.5", "1.2345", "12.345")
    ],
    "[]int{0, -1, 1, 1234567}": [0, -1, 1, 1234567],
    "[]uint{0, 1, 1234567}": [0, 1, 1234567],
    "[]float64{math.Inf(1), math.Inf(-1), math.NaN()}": [float("inf"), float("-inf"), float("nan")],
    '[]string{"+Inf", "-Inf", "NaN"}': ["+Inf", "-Inf", "NaN"],
    "[]int64{0, -1, 1, 1234567, 9223372036}": [0, -1, 1, 1234567, 9223372036],
    "[]uint64{0, 1, 1234567, 9223372036}": [0, 1, 1234567, 9223372036],
    "[]int64{math.MinInt64, math.MaxInt64}": [-(2**63), 2**63 - 1],
    "[]uint64{math.MaxUint64}": [2**64 - 1],
}
_ELEMENT = re.compile(r"(?:Metric:\s*labels\.FromStrings\((?P<labels>[^)]*)\),\s*)?T:\s*\d+,\s*F:\s*(?P<value>[\d.]+)")


@cache
def cases() -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(CASES.read_text())) if CASES.exists() else ()


def uses_native_histogram(case: dict[str, Any]) -> bool:
    return "histogram" in f"{case['input_go']}{case['query_result_go']}"


def answer(case: dict[str, Any]) -> list[tuple[Labels, float]]:
    """Return the query result that a case asks for."""
    elements = []
    for match in _ELEMENT.finditer(case["query_result_go"] or ""):
        words = [word.strip().strip('"') for word in (match["labels"] or "").split(",") if word.strip()]
        words = ["__name__" if word == "labels.MetricName" else word for word in words]
        elements.append((Labels.of(zip(words[::2], words[1::2], strict=True)), float(match["value"])))
    return elements


def expanded(case: dict[str, Any]) -> str:
    around = Surroundings({}, "http://testhost:9090/path/prefix", lambda _: answer(case), EVALUATED_AT)
    missing_key = "error" if "missingkey=error" in (case["comment"] or "") else "zero"
    compiled = template.compile(case["text"], "test")
    data = None if case["input_go"] is None else INPUTS[case["input_go"]]
    # As `Template.render`, but with any data as dot, without presets, and in either of Prometheus' two modes.
    run = Run(replace(compiled.program, offset=0), template._special(around), missing_key, case["html"])
    return run.execute(data, dict.fromkeys(template._VARIABLES[1:]))


@pytest.mark.parametrize("number", range(89))
def test_a_case_of_prometheus_gives_the_same_text_or_error(number: int) -> None:
    if not cases():
        pytest.skip("../shared/promtool-tests/template_cases.json is not here")
    case = cases()[number]
    if uses_native_histogram(case):
        pytest.skip("native histograms are not part of the portal")
    if not case["should_fail"]:
        assert expanded(case) == case["output"]
        return
    with pytest.raises(TemplateError) as caught:
        expanded(case)
    # Parse errors carry our line and column instead of Go's "test:1:".
    assert caught.value.message in case["error"]
