"""Real promtool as an oracle: which alerts fire at which minute, with which labels and annotations.

An expectation that cannot be met makes `promtool test rules` print what it got.
"""

import ast
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian package prometheus)")

Alert = tuple[frozenset[tuple[str, str]], frozenset[tuple[str, str]]]

_PAIR = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)=("(?:\\.|[^"\\])*")')
_ALERT = re.compile(r"Labels:\{(.*?)\}[, ]*\n\s*Annotations:\{(.*?)\}[, ]*\n", re.DOTALL)
_REPORT = re.compile(
    r"alertname:\s*(?P<name>\w+), time: (?P<time>[0-9a-z]+), *\n(?P<body>.*?)(?=alertname:|\Z)", re.DOTALL
)


def firing(
    folder: Path,
    rules: Sequence[Mapping[str, Any]],
    series: Mapping[str, str],
    minutes: Iterable[int],
    external_labels: Mapping[str, str] | None = None,
) -> dict[tuple[str, int], set[Alert]]:
    """Return the firing alerts by (alert name, minute): their labels without alertname, and their annotations."""
    names = [rule["alert"] for rule in rules]
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": list(rules)}]}))
    never = [{"exp_labels": {"oracle": "never"}}]
    asked = [
        {"eval_time": f"{minute}m", "alertname": name, "exp_alerts": never} for minute in minutes for name in names
    ]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "external_labels": dict(external_labels or {}),
        "alert_rule_test": asked,
    }
    (folder / "test.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test]}, width=10**6)
    )
    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", "test.yml"], cwd=folder, capture_output=True, text=True, check=False
    )
    report = done.stdout + done.stderr
    found = {(m["name"], _minutes(m["time"])): set(_alerts(m["body"])) for m in _REPORT.finditer(report)}
    if len(found) != len(asked):
        raise AssertionError(f"{len(found)} of {len(asked)} answers in the report of promtool:\n{report[-3000:]}")
    return found


def _minutes(text: str) -> int:
    hours, _, rest = text.rpartition("h")
    return int(hours or 0) * 60 + int(rest.partition("m")[0] if "m" in rest else 0)


def _alerts(body: str) -> Iterable[Alert]:
    got = body.split("got:[", 1)[-1]
    for match in _ALERT.finditer(got):
        labels, annotations = (
            frozenset((name, ast.literal_eval(text)) for name, text in _PAIR.findall(part)) for part in match.groups()
        )
        yield frozenset(pair for pair in labels if pair[0] != "alertname"), annotations
