"""Prometheus' own test scripts, when the shared folder is there."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.promqltest_engine import Engine

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "promqltest"
SCRIPTS = sorted(path.name for path in (SHARED / "scripts").glob("*.test")) if SHARED.is_dir() else ["none"]

# Measured: all that is missing needs native histograms or start timestamps of samples.
EXPERIMENTAL_PASSED = 223


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    if not SHARED.is_dir():
        pytest.skip("the shared test material is not beside this checkout")
    spec = importlib.util.spec_from_file_location("promqltest", SHARED / "promqltest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["promqltest"] = module
    spec.loader.exec_module(module)
    return module


def outcomes(runner: ModuleType, name: str, only: str, annotations: str) -> list[object]:
    commands = runner.parse_script((SHARED / "scripts" / name).read_text(encoding="utf-8"))
    runner.classify(commands)
    options = runner.Options(True, True, annotations, True, 20.0, {only})
    return [o for o in runner.Runner(Engine(), options).run(commands) if o.status != "skip"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_float_case_passes_with_full_annotations_and_error_texts(runner: ModuleType, name: str) -> None:
    failed = [f"{o.case.line}: {o.detail}" for o in outcomes(runner, name, "float", "full") if o.status != "pass"]
    assert failed == []


def test_the_experimental_cases_we_passed_still_pass(runner: ModuleType) -> None:
    results = [o for name in SCRIPTS for o in outcomes(runner, name, "experimental", "none")]
    assert sum(o.status == "pass" for o in results) >= EXPERIMENTAL_PASSED - 10  # @ variants of some need histograms
    assert not [o for o in results if o.status == "crash"]
