"""`manage.py backtest RULE`: a saved rule tried on the past, or a limit suggested for it, in a terminal."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from alerts import backtest_content, backtest_runs, suggest
from alerts.engine.durations import format_duration, parse_duration
from alerts.engine.template import TemplateError
from alerts.history import Stopped
from alerts.models import Backtest, Rule
from monitoring.promql import QueryError

_SHOWN = 20


class Command(BaseCommand):
    """Runs in this process, under the limits of the queue in the admin; nothing is saved and nobody is told."""

    help = "Evaluate a rule over stored history: its episodes, and how many messages they would have been."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the rule, the range and what to print."""
        spans = [*backtest_runs.SPANS, backtest_runs.ALL]
        parser.add_argument("rule", metavar="RULE", help="its name or its number")
        parser.add_argument("--range", choices=spans, help="7d when left out, 30d for --suggest")
        parser.add_argument("--step", help="coarser than the interval of its group, such as 5m")
        parser.add_argument("--suggest", action="store_true", help="how often other limits would have fired")
        parser.add_argument("--json", action="store_true", help="all of it as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Try it and print; raises CommandError for what cannot be tried."""
        rule, is_suggested = _rule(options["rule"]), options["suggest"]
        content = backtest_content.freeze_saved(rule)
        if is_suggested:
            content = {**content, "row": 0 if content["limits"] else None}
        span = options["range"] or (backtest_runs.SUGGEST_SPAN if is_suggested else backtest_runs.DEFAULT_SPAN)
        kind = Backtest.Kind.SUGGEST if is_suggested else Backtest.Kind.BACKTEST
        step = _step(options["step"])
        try:
            found = backtest_runs.try_now(
                [content], timezone.now, self._tell, span=span, step_seconds=step, kind=kind
            )  # fmt: skip
        except (Stopped, QueryError, TemplateError, suggest.Refused) as error:
            raise CommandError(str(error)) from error
        finally:
            self._tell(1.0, 0)
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=1))
            return
        for line in _suggested(found) if is_suggested else _tried(found):
            self.stdout.write(line)

    def _tell(self, done: float, samples: int) -> None:
        """Show the progress on a terminal, and take it away at the end."""
        if self.stderr.isatty():
            self.stderr.write(f"\r{done:4.0%} {samples:,} samples" if samples else "\r\x1b[K", ending="")


def _rule(text: str) -> Rule:
    rows = Rule.objects.select_related("group")
    if text.isascii() and text.isdigit() and len(text) < 19:
        found = list(rows.filter(pk=int(text)))
    else:
        found = list(rows.filter(name=text).order_by("pk"))
    if not found:
        raise CommandError(f"There is no rule {text}.")
    if len(found) > 1:
        which = ", ".join(f"{rule.pk} in {rule.group.name}" for rule in found)
        raise CommandError(f"Several rules are called {text}; give the number of one: {which}.")
    return found[0]


def _step(text: str | None) -> float:
    try:
        return parse_duration(text) if text else 0.0
    except ValueError as error:
        raise CommandError(f"--step: {error}") from error


def _tried(found: dict[str, Any]) -> Iterator[str]:
    """The outcome of the rule: words, reach of history, episodes, messages."""
    side = found["sides"][0]
    yield f"{side['rule']}: {side['words']}"
    if side["problem"]:
        yield side["problem"]
    coverage = side["coverage"]
    if coverage["first"] is None:
        yield "There is no history in this range."
        return
    yield f"from {_moment(found['start'])} to {_moment(side['evaluated_until'])}, {side['series']} series"
    if coverage["is_short"]:
        yield f"history begins {_moment(coverage['first'])}"
    if coverage["gap_count"]:
        yield f"{coverage['gap_count']} gaps, {format_duration(round(coverage['gap_seconds']))} in all"
    yield f"{side['episode_count']} episodes, {side['waited']} ended while pending"
    for one in side["episodes"][:_SHOWN]:
        lasted = format_duration(round(one["seconds"])) if one["end"] else "still firing"
        limit = f", limit {one['limit']}" if one["limit"] else ""
        measured = f"peak {one['peak']}{limit}  {one['series']}"
        yield f"  {_moment(one['start'])}  {lasted:>12}  {one['severity'] or '-':8}  {measured}"
    if side["episode_count"] > _SHOWN:
        yield f"  and {side['episode_count'] - _SHOWN} more"
    yield f"{side['told']['posts']} messages" + (f", {side['told']['edits']} edits" if side["told"]["edits"] else "")
    for way in side["told"]["by_way"]:
        yield f"  {way['receiver']}: {way['posts']} by {way['way']}"


def _suggested(found: dict[str, Any]) -> Iterator[str]:
    """The marks, each with how often it would have fired."""
    yield f"{found['expr']}: {found['series']} series in {found['days']:.1f} days"
    yield f"  now          {found['operator']} {found['now']:g}: {_often(found['now_per_week'])}"
    for mark in found["marks"]:
        words = f" ({mark['words']})" if mark["words"] else ""
        yield f"  {mark['name']:12} {found['operator']} {mark['text']}: {_often(mark['per_week'])}{words}"


def _often(per_week: float) -> str:
    return "never" if not per_week else f"{per_week / 7:.1f} a day" if per_week >= 14 else f"{per_week:.1f} a week"


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"
