"""The notification half against scenarios that a real Alertmanager passes, in simulated time."""

from pathlib import Path

import pytest

from tests import play
from tests.fakes import FakeSlack, FakeWebhook

ROOT = Path(__file__).resolve().parents[1]
SCENARIOS = ROOT.parent / "shared" / "oracle" / "scenarios"  # given
OWN = ROOT / "tests" / "oracle" / "scenarios"
FILES = sorted([*SCENARIOS.glob("[NHSTD]*.yaml"), *OWN.glob("*.yaml")])

pytestmark = [pytest.mark.django_db, pytest.mark.oracle]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_is_told_as_alertmanager_tells_it(path):
    scenario = play.load(path)
    if reason := play.why_not(scenario):
        pytest.skip(f"{scenario['id']} {reason}")
    with FakeSlack(strict=scenario.get("strict_slack", False)) as slack, FakeWebhook() as hook:
        told = play.Play(scenario, slack, hook).run()
    assert play.faults(scenario, told) == []
