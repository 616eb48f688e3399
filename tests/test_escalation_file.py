"""Escalation files: what they may say, that a fault changes nothing, and that importing again updates."""

from __future__ import annotations

import io
from datetime import date, time

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from alerts.models import EscalationPolicy, EscalationStep, Rota
from tests import build

pytestmark = pytest.mark.django_db

E01 = """
policies:
- match: {severity: critical}
  name: p1
  steps:
  - {notify: oncall, wait: 5s}
  - {notify: boss, wait: 5s}
"""
FULL = """
rotas:
- name: ml
  members: [ana, ben]
  starts_on: 2026-03-02
  handover_at: 08:30
  location: Europe/Zagreb
  weeks_per_turn: 2
policies:
- name: night
  matchers: ['team="ml"']
  match_re: {host: gpu-.*}
  repeat: until_acknowledged
  steps:
  - notify: [oncall, boss, "rota:ml"]
  - {wait: 10m, notify: {user: ana}}
- name: by-route
  only_routes: true
  steps: [{wait: 1m, notify: oncall}]
"""


@pytest.fixture(autouse=True)
def names() -> None:
    """Receivers and users that the files name."""
    build.receiver("oncall")
    build.receiver("boss")
    User.objects.create_user("ana")
    User.objects.create_user("ben")


@pytest.fixture
def take(tmp_path):
    """Import a text as a file; returns what the command says."""

    def run(text: str, **options) -> str:
        path = tmp_path / "escalation.yml"
        path.write_text(text)
        out = io.StringIO()
        call_command("import_escalation", str(path), stdout=out, **options)
        return out.getvalue().strip()

    return run


def test_a_policy_with_its_steps(take) -> None:
    assert take(E01) == "1 made, 0 changed, 0 same, 0 removed"
    row = EscalationPolicy.objects.get()
    assert (row.name, row.matchers, row.takes_matching) == ("p1", ['severity="critical"'], True)
    assert [(step.wait_seconds, step.receiver.name) for step in row.steps.all()] == [(5, "oncall"), (5, "boss")]


def test_rotas_people_and_several_at_once(take) -> None:
    take(FULL)
    rota = Rota.objects.get()
    assert (rota.starts_on, rota.handover_at, rota.location) == (date(2026, 3, 2), time(8, 30), "Europe/Zagreb")
    assert [str(member) for member in rota.members.all()] == ["ana", "ben"]
    night = EscalationPolicy.objects.get(name="night")
    assert (night.matchers, night.repeats) == (['host=~"gpu-.*"', 'team="ml"'], 5)
    told = [
        (step.wait_seconds, step.receiver and step.receiver.name, step.user and step.user.username, step.rota_id)
        for step in night.steps.all()
    ]
    assert told == [(0, "oncall", None, None), (0, "boss", None, rota.pk), (600, None, "ana", None)]
    assert not EscalationPolicy.objects.get(name="by-route").takes_matching


def test_importing_again_changes_nothing(take) -> None:
    take(FULL)
    assert take(FULL) == "0 made, 0 changed, 3 same, 0 removed"


def test_what_leaves_the_file_leaves_the_portal(take) -> None:
    take(FULL)
    take(E01)
    assert [row.name for row in EscalationPolicy.objects.all()] == ["p1"]
    assert not Rota.objects.exists()


def test_a_dry_run_changes_nothing(take) -> None:
    assert take(E01, dry_run=True).endswith("nothing was changed (--dry-run)")
    assert not EscalationPolicy.objects.exists()


def test_a_policy_of_staff_is_not_taken_over(take) -> None:
    build.policy("p1", (5, build.receiver("boss")))
    with pytest.raises(CommandError, match="p1 belongs to staff"):
        take(E01)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (E01.replace("oncall", "nobody"), r"policies\[0\].steps\[0\].notify: there is no receiver nobody"),
        (E01.replace("oncall", "user:zoe"), "there is no user zoe"),
        (E01.replace("5s", "five"), r"policies\[0\].steps\[0\].wait"),
        (E01.replace("notify", "tell", 1), r"policies\[0\].steps\[0\].tell: unknown field"),
        (E01 + "  webhook: x\n", r"policies\[0\].webhook: unknown field"),
        ("policies: [{name: p1}]", "at least one step is required"),
        ("policies: [{steps: [{notify: oncall}]}]", r"policies\[0\].name: is required"),
        (E01 + "  repeat: 9\n", "at most 5 rounds more"),
        (E01 + "  match_re: {a: '('}\n", r"policies\[0\].match_re"),
        (FULL.replace("Europe/Zagreb", "Mars/Olympus"), r"rotas\[0\].location: Unknown time zone"),
        (FULL.replace("[ana, ben]", "[ana, zoe]"), r"rotas\[0\].members: there is no user zoe"),
        (FULL.replace("2026-03-02", "monday"), r"rotas\[0\].starts_on"),
        (E01 + E01.split("policies:")[1].lstrip("\n"), "p1 is there twice"),
        ("policies: {", "line "),
        ("- a", "must be a mapping"),
    ],
)
def test_a_fault_is_named_by_its_path_and_changes_nothing(take, text: str, words: str) -> None:
    with pytest.raises(CommandError, match=words):
        take(text)
    assert not EscalationPolicy.objects.exists()
    assert not EscalationStep.objects.exists()
    assert not Rota.objects.exists()
