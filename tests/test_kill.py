"""kill -9 of workers, Postgres and Valkey while alerts change: Slack sees what it sees when nothing is killed.

NOTIFY_KILL_MINUTES=30 makes the long run of it, NOTIFY_KILL_SEED another one, NOTIFY_KILL_OUT keeps what was seen.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import kill_judge
from tests.browse import Visitor
from tests.kill_judge import OVER, Kills, Seen
from tests.killing import TARGETS, Killer, Plan, Sender, SlowSlack, make_plan
from tests.portal import ROOT, RunningPortal

pytestmark = pytest.mark.e2e
MINUTES = float(os.environ.get("NOTIFY_KILL_MINUTES", "1.75"))
SEED = int(os.environ.get("NOTIFY_KILL_SEED", "7"))
TOKEN = "xoxb-test"
# What can lose the answer of a webhook.
SENDERS = ("worker", "workers", "worker-parent")
# After the last kill a lease may still have to run out.
QUIET_SECONDS = 45.0
SETTLE_SECONDS = 120.0


@pytest.fixture
def slack() -> Iterator[SlowSlack]:
    """A workspace that takes its time."""
    with SlowSlack(random.Random(SEED), token=TOKEN, channels=["alerts"]) as server:
        yield server


@pytest.fixture
def portal(slack: SlowSlack) -> Iterator[RunningPortal]:
    """A portal that tells the same alerts by a bot and by a webhook, and watches nothing of its own."""
    folder = Path(tempfile.mkdtemp(prefix="aq-kill-"))
    folder.chmod(0o755)
    running = RunningPortal(
        folder, ALPHAQ_SLACK_API_BASE=slack.api_base, ALPHAQ_COLLECT="0", ALPHAQ_FLAPPING_CHANGES="0",
        ALPHAQ_WEB_WORKERS="1",
    )  # fmt: skip
    running.start().wait_ready()
    _configure(running, slack)
    yield running
    if running.process.poll() is None:
        if "NOTIFY_KILL_OUT" in os.environ:
            _manage(running, "dumpdata", "alerts.notification", "-o", f"{os.environ['NOTIFY_KILL_OUT']}/outbox.json")
        running.stop()
    if "NOTIFY_KILL_OUT" in os.environ:
        shutil.copytree(folder / "logs", Path(os.environ["NOTIFY_KILL_OUT"]) / "logs", dirs_exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _configure(portal: RunningPortal, slack: SlowSlack) -> None:
    """One route to both ways out, and none of the portal's own rules."""
    route = {"receiver": "slack", "group_by": ["problem"], "group_wait": "500ms", "group_interval": "1s",
             "repeat_interval": "4h"}  # fmt: skip
    hook = {"api_url": slack.webhook_url("hook"), "channel": "#alerts", "send_resolved": True}
    config = {"route": route, "receivers": [{"name": "slack", "slack_configs": [hook]}]}
    path = portal.data_dir / "alertmanager.json"
    path.write_text(json.dumps(config))  # JSON is YAML
    _manage(portal, "import_alertmanager", str(path))
    _manage(portal, "shell", "-c", "from alerts.models import RuleGroup; RuleGroup.objects.update(is_enabled=False)")
    staff = Visitor(portal.url)
    staff.sign_in("admin", portal.password())
    page = staff.send(staff.get("/setup/slack/"), "bot_token", bot_token=TOKEN, channel="#alerts")
    assert page.status == 200


def _manage(portal: RunningPortal, *command: str) -> None:
    subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=portal.env, check=True, capture_output=True)


def _await_end(plan: Plan, slack: SlowSlack, portal: RunningPortal) -> Seen:
    """What Slack saw, as soon as every problem is over for it, or when patience is at its end."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        assert portal.process.poll() is None, "\n".join(portal.said[-20:])
        seen = kill_judge.read(list(slack.seen), slack.messages())
        if all(seen.last(problem) == (OVER, OVER) for problem in plan.problems):
            return seen
        if time.monotonic() > deadline:
            return seen
        time.sleep(0.5)


def _keep(plan: Plan, sender: Sender, killer: Killer | None, seen: Seen, started: float) -> None:
    """Write what happened where NOTIFY_KILL_OUT says, and how late messages were, on the screen."""
    late = sorted(_delays(plan, sender, seen))
    kills = [[round(at - started, 1), kind] for at, kind in (killer.done if killer else [])]
    repeats = sum(one.is_repeat for one in seen.hook)
    told = f"{len(plan.steps)} changes, {len(kills)} kills, {sender.refusals} posts refused, {repeats} repeats told"
    if late:
        told += f"; told after p50 {late[len(late) // 2]:.1f} s, p99 {late[int(len(late) * 0.99)]:.1f} s"
    print(told)  # noqa: T201  (pytest shows it with -s)
    if "NOTIFY_KILL_OUT" in os.environ:
        folder = Path(os.environ["NOTIFY_KILL_OUT"])
        folder.mkdir(parents=True, exist_ok=True)
        rows = [[round(one.at - started, 2), way, one.problem, "".join(sorted(one.firing)), one.message, one.outbox_id,
                 one.is_repeat] for way in ("bot", "hook") for one in getattr(seen, way)]  # fmt: skip
        steps = [[step.at, step.problem, step.part, step.is_firing,
                  round(sender.accepted.get(step, started - 1) - started, 2)] for step in plan.steps]  # fmt: skip
        (folder / "seen.json").write_text(json.dumps({"told": told, "kills": kills, "steps": steps, "seen": rows}))


def _delays(plan: Plan, sender: Sender, seen: Seen) -> Iterator[float]:
    """Seconds from the acceptance of each change of a calm problem to its message by the webhook."""
    for problem in plan.calm:
        steps = [step for step in plan.steps if step.problem == problem]
        told = [one for one in seen.hook if one.problem == problem and not one.is_repeat]
        if len(steps) == len(told):
            yield from (one.at - sender.accepted[step] for step, one in zip(steps, told, strict=True))


def _play(portal: RunningPortal, slack: SlowSlack, plan: Plan, killer: Killer | None) -> list[str]:
    """What Slack saw that it should not have, or did not see, when this plan was played with this killer."""
    sender, stop = Sender(portal.url, plan), threading.Event()
    started = time.monotonic()
    thread = threading.Thread(target=sender.run, args=(started,), daemon=True)
    thread.start()
    if killer:
        killer.run(started + plan.seconds - QUIET_SECONDS, stop)
    thread.join(plan.seconds + SETTLE_SECONDS - (time.monotonic() - started))
    assert not thread.is_alive(), "the portal takes no alerts any more:\n" + "\n".join(portal.said[-20:])
    seen = _await_end(plan, slack, portal)
    _keep(plan, sender, killer, seen, started)
    done = killer.done if killer else []
    kills = Kills(
        senders=[at for at, kind in done if kind in SENDERS],
        databases=[at for at, kind in done if kind.startswith("postgres")],
    )
    return kill_judge.faults(plan, seen, kills)


def test_slack_sees_of_killed_processes_nothing_but_delays(portal: RunningPortal, slack: SlowSlack):
    chance = random.Random(SEED)
    plan = make_plan(MINUTES * 60, chance)
    kinds = list(TARGETS) if MINUTES > 5 else ["worker", "workers", "postgres", "valkey"]
    killer = Killer(portal, chance, kinds, (8, 20) if MINUTES > 5 else (7, 13))
    assert _play(portal, slack, plan, killer) == []
    assert {kind for _, kind in killer.done} >= set(kinds)


def test_an_undisturbed_run_tells_exactly_the_plan(portal: RunningPortal, slack: SlowSlack):
    assert _play(portal, slack, make_plan(72, random.Random(SEED), calm=6, hasty=2), None) == []
