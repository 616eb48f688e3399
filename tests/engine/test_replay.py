"""The bench's notify scenarios played through the engine alone, without processes and with a clock of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine.replay import ACTIONS, Replay, faults

SCENARIOS = Path(__file__).resolve().parents[2].parent / "shared" / "oracle" / "scenarios"


def playable() -> list[Any]:
    """The scenarios that need nothing but posts and silences; none, marked as skipped, where the bench is not here."""
    found = []
    for file in sorted(SCENARIOS.glob("*.yaml")):
        scenario = yaml.safe_load(file.read_text())
        if scenario["half"] == "notify" and all(set(event) <= ACTIONS for event in scenario["timeline"]):
            found += [pytest.param(scenario, via, id=f"{scenario['id']}-{via}") for via in ("slack", "webhook")]
    missing = pytest.mark.skip(reason="the bench's scenarios are not here (../shared/oracle/scenarios)")
    return found or [pytest.param({}, "", id="none", marks=missing)]


@pytest.mark.parametrize(("scenario", "via"), playable())
def test_the_engine_tells_what_the_bench_expects(scenario: dict[str, Any], via: str) -> None:
    assert list(faults(scenario, Replay(scenario, via).run(), via)) == []
