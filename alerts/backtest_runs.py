"""The queue of backtests: one at a time in the whole portal, so that trying rules never holds up evaluating them.

Hides how a run is claimed, watched, stopped and found lost, and how many are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from alerts import backtest, backtest_content, backtest_report, history, suggest
from alerts.backtest_content import Content
from alerts.engine.template import TemplateError
from alerts.history import Meter, Span, Stopped
from alerts.models import Backtest, Rule
from alerts.prepared import latest_slot
from monitoring import promql
from monitoring.promql import QueryError

SPANS = {
    "1h": timedelta(hours=1), "6h": timedelta(hours=6), "24h": timedelta(days=1), "7d": timedelta(days=7),
    "30d": timedelta(days=30), "90d": timedelta(days=90),
}  # fmt: skip
ALL = "all"
DEFAULT_SPAN, SUGGEST_SPAN = "7d", "30d"
# "All" reaches back as long as transitions are kept.
MOST = timedelta(days=400)
# One run: what a person waits for, and what a worker can read in that time. Progress is written once a second.
MOST_SECONDS = 300.0
MOST_SAMPLES = 500_000_000
_SAVE_EVERY = timedelta(seconds=1)
# A worker that has not been heard of for so long is gone.
LOST_AFTER = timedelta(minutes=3)
KEPT = 200
MOST_WAITING = 50
_OPEN = (Backtest.State.QUEUED, Backtest.State.RUNNING)
Clock = Callable[[], datetime]
Tell = Callable[[float, int], None]  # the share that is done, and the samples read so far


class Refused(Exception):
    """It cannot be asked for as it stands; the words say what to change."""


def ask(
    contents: Sequence[dict[str, Any]],
    user: User | None,
    at: datetime,
    *,
    span: str = DEFAULT_SPAN,
    step_seconds: float = 0.0,
    kind: str = Backtest.Kind.BACKTEST,
    batch: str = "",
) -> Backtest:
    """Queue a run of one rule, or of an old and a new one side by side; the oldest finished runs go. Raises Refused."""
    if span not in SPANS and span != ALL:
        raise Refused(f"{span!r} is no range: choose one of {', '.join([*SPANS, ALL])}.")
    if Backtest.objects.filter(state__in=_OPEN).count() >= MOST_WAITING:
        raise Refused(f"{MOST_WAITING} backtests are waiting: stop some, or try again when they are done.")
    rule = contents[-1]["rule"]
    if not rule["expr"].strip():
        raise Refused("Type an expression first.")
    made = Backtest.objects.create(
        kind=kind, name=rule["name"][:200], rule=Rule.objects.filter(pk=rule["id"]).first(), batch=batch,
        content=list(contents), span=span, step_seconds=step_seconds, asked_by=user, asked_at=at,
    )  # fmt: skip
    old = Backtest.objects.exclude(state__in=_OPEN).order_by("-id").values("pk")[KEPT:]
    Backtest.objects.filter(pk__in=list(old.values_list("pk", flat=True))).delete()
    return made


def sides(rule: Rule, typed: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What to try: the saved rule and, where something else is typed, that beside it."""
    saved = [backtest_content.freeze_saved(rule)] if rule.pk else []
    if typed is None or (saved and backtest_content.is_same(saved[0], typed)):
        return saved or ([typed] if typed else [])
    return [*saved, typed]


def stop(pk: int, at: datetime) -> bool:
    """Stop a run; whether there was anything to stop. A worker that runs it notices at its next piece."""
    words = {"state": Backtest.State.STOPPED, "problem": "Somebody stopped it.", "finished_at": at}
    return bool(Backtest.objects.filter(pk=pk, state__in=_OPEN).update(**words))


def end_lost(at: datetime) -> int:
    """How many runs lost their worker; each says so, and its page offers to run it again."""
    lost = Backtest.objects.filter(state=Backtest.State.RUNNING, beat_at__lt=at - LOST_AFTER)
    words = "The worker that ran it ended before it was done. Run it again."
    return lost.update(state=Backtest.State.FAILED, problem=words, finished_at=at)


def is_waiting() -> bool:
    """Whether a run waits for a worker."""
    return Backtest.objects.filter(state=Backtest.State.QUEUED).exists()


def run_next(clock: Clock) -> int | None:
    """Run the oldest that waits, to its end; returns its id, None when none waits.

    Call it while no other worker does. Never raises for what the run meets: that is its outcome.
    """
    run = _claim(clock())
    if run is None:
        return None
    result, problem, state = None, "", Backtest.State.DONE
    try:
        result = _outcome(run, _watch(run, clock))
    except Stopped as error:
        state, problem = Backtest.State.STOPPED, str(error)
    except (QueryError, TemplateError, suggest.Refused) as error:
        state, problem = Backtest.State.FAILED, str(error)
    except Exception as error:
        _finish(run, Backtest.State.FAILED, f"It failed by a fault of the portal: {error!r}", None, clock())
        raise
    _finish(run, state, problem, result, clock())
    return run.pk


@transaction.atomic
def _claim(at: datetime) -> Backtest | None:
    waiting = Backtest.objects.filter(state=Backtest.State.QUEUED).order_by("id")
    run = waiting.select_for_update(skip_locked=True).first()
    if run is not None:
        run.state, run.started_at, run.beat_at = Backtest.State.RUNNING, at, at
        run.save(update_fields=["state", "started_at", "beat_at"])
    return run


def _finish(run: Backtest, state: str, problem: str, result: dict[str, Any] | None, at: datetime) -> None:
    fields = {"state": state, "problem": problem, "result": result, "finished_at": at, "progress": 1.0}
    Backtest.objects.filter(pk=run.pk, state=Backtest.State.RUNNING).update(**fields, samples=run.samples)


def try_now(
    contents: Sequence[dict[str, Any]],
    clock: Clock,
    tell: Tell,
    *,
    span: str,
    step_seconds: float = 0.0,
    kind: str = Backtest.Kind.BACKTEST,
) -> dict[str, Any]:
    """Run it here and now, past the queue and without keeping it; `tell` hears the progress.

    The same limits hold. Raises Stopped, QueryError, TemplateError and suggest.Refused.
    """
    at = clock()
    run = Backtest(content=list(contents), span=span, step_seconds=step_seconds, kind=kind, asked_at=at)
    return _outcome(run, _bounded(at, clock, lambda done, samples, _: tell(done, samples)))


def _outcome(run: Backtest, watch: Tell) -> dict[str, Any]:
    contents = [backtest_content.thaw(one) for one in run.content]
    asked_at = run.asked_at
    meter = Meter(watch)
    if run.kind == Backtest.Kind.SUGGEST:
        asked = suggest.question(contents[-1], run.content[-1].get("row"))
        span = suggest.widened(asked, _span(run, contents[-1], asked_at), asked_at)
        return suggest.suggest(contents[-1], asked, span, meter)
    outcomes = []
    for number, content in enumerate(contents):
        meter.base, meter.share = number / len(contents), 1 / len(contents)
        outcomes.append(backtest.run(content, _span(run, content, asked_at), meter))
    return backtest_report.report(outcomes)


def _span(run: Backtest, content: Content, at: datetime) -> Span:
    """The time to look at, on the slots of the rule's group; a coarser step is a multiple of its interval."""
    interval = content.group.interval_seconds
    step = interval * max(1, round(run.step_seconds / interval))
    slot = latest_slot(content.group, at)
    if run.span != ALL:
        return history.aligned(at - SPANS[run.span], at, step, slot)
    first = history.earliest(promql.parse(content.rule.expr), at, MOST)
    return history.aligned(first or at - SPANS[DEFAULT_SPAN], at, step, slot)


def _watch(run: Backtest, clock: Clock) -> Tell:
    """What is called at every piece: writes progress, and ends the run when it is stopped or over its limits."""
    started = saved = clock()

    def note(done: float, samples: int, at: datetime) -> None:
        nonlocal saved
        run.samples = samples
        if at - saved >= _SAVE_EVERY:
            saved = at
            live = Backtest.objects.filter(pk=run.pk, state=Backtest.State.RUNNING)
            if not live.update(progress=done, samples=samples, beat_at=at):
                raise Stopped("Somebody stopped it.")

    return _bounded(started, clock, note)


def _bounded(started: datetime, clock: Clock, note: Callable[[float, int, datetime], None]) -> Tell:
    """Calls `note` at every piece, and ends what takes longer or reads more than a run may."""

    def watch(done: float, samples: int) -> None:
        at = clock()
        note(done, samples, at)
        if (at - started).total_seconds() > MOST_SECONDS:
            raise Stopped(f"Stopped after {MOST_SECONDS / 60:g} minutes: choose a shorter range or a coarser step.")
        if samples > MOST_SAMPLES:
            raise Stopped(f"Stopped after {samples:,} samples: choose a shorter range or fewer series.")

    return watch
