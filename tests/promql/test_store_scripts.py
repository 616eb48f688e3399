"""Prometheus' own test scripts over the real sample store, when the shared folder is there."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.promql.test_scripts import SCRIPTS, SHARED, runner
from tests.promqltest_engine import StoreEngine

__all__ = ["runner"]
pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_float_case_passes_over_the_store(runner: ModuleType, name: str) -> None:
    commands = runner.parse_script((SHARED / "scripts" / name).read_text(encoding="utf-8"))
    runner.classify(commands)
    options = runner.Options(True, False, "presence", False, 60.0, {"float"})
    engine = StoreEngine()
    try:
        outcomes = runner.Runner(engine, options).run(commands)
    finally:
        engine.close()
    assert [f"{o.case.line}: {o.detail}" for o in outcomes if o.status not in ("pass", "skip")] == []
