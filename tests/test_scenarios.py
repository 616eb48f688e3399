"""The notification half against scenarios recorded from a real Alertmanager, in simulated time."""

from pathlib import Path

import pytest

from tests import play
from tests.fakes import FakeSlack, FakeWebhook

SCENARIOS = Path(__file__).resolve().parents[1].parent / "shared" / "oracle" / "scenarios"
FILES = sorted(path for path in SCENARIOS.glob("[NHSTD]*.yaml"))

pytestmark = [pytest.mark.django_db, pytest.mark.oracle]


@pytest.mark.parametrize("path", FILES or [None], ids=lambda path: path.stem if path else "none")
def test_a_scenario_is_told_as_alertmanager_tells_it(path):
    if path is None:
        pytest.skip("the scenarios of the alert bench are not beside this checkout (../shared/oracle/scenarios)")
    scenario = play.load(path)
    if reason := play.why_not(scenario):
        pytest.skip(f"{scenario['id']} {reason}")
    with FakeSlack(strict=scenario.get("strict_slack", False)) as slack, FakeWebhook() as hook:
        told = play.Play(scenario, slack, hook).run()
    assert play.faults(scenario, told) == []
