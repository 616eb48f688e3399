"""`manage.py query`: ask the stored samples from a terminal."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring import query
from monitoring.promql import ParseError, QueryError, Result
from monitoring.store.exposition import format_value

from ._times import parse_seconds, parse_time


class Command(BaseCommand):
    """Prints one line a series, as `promtool query` does; errors point into the expression."""

    help = "Evaluate a PromQL expression now, at a time, or over a range."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the expression and when to ask it."""
        parser.add_argument("expr", help="PromQL, for example 'sum by (host) (rate(cpu_seconds_total[5m]))'")
        parser.add_argument("--at", default="now", help="ISO time, Unix seconds, or an age such as 10m")
        parser.add_argument("--start", help="begin of a range: ISO time, Unix seconds, or an age such as 6h")
        parser.add_argument("--end", default="now")
        parser.add_argument("--step", default="60s", help="step of a range")
        parser.add_argument("--json", action="store_true", help="print JSON, values as text")
        parser.add_argument("--check", action="store_true", help="only say whether it is valid, and its type")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask and print."""
        if options["check"]:
            self._check(options["expr"])
            return
        try:
            result = self._ask(options, datetime.now(UTC))
        except ParseError as error:
            raise CommandError(f"{error}\n{error.caret_text}") from error
        except QueryError as error:
            raise CommandError(str(error)) from error
        for warning in (*result.warnings, *result.infos):
            self.stderr.write(warning)
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(result), indent=1))
        else:
            self._print(result)

    @staticmethod
    def _ask(options: dict[str, Any], now: datetime) -> Result:
        if options["start"] is None:
            return query.instant(options["expr"], parse_time(options["at"], now))
        start, end = parse_time(options["start"], now), parse_time(options["end"], now)
        return query.range_(options["expr"], start, end, parse_seconds(options["step"]))

    def _check(self, expr: str) -> None:
        found = query.check(expr)
        if found.error is not None:
            raise CommandError(f"{found.error}\n{found.error.caret_text}")
        self.stdout.write(f"valid, {found.type}")
        for name, similar in found.unknown.items():
            hint = f"; similar: {', '.join(similar)}" if similar else ""
            self.stdout.write(f"nothing has sent {name} yet{hint}")

    def _print(self, result: Result) -> None:
        if result.type == "string":
            self.stdout.write(result.string)
        elif result.type == "scalar":
            self.stdout.write(format_value(result.scalar))
        elif result.type == "vector":
            for labels, value in zip(result.labels, result.values.tolist(), strict=True):
                self.stdout.write(f"{labels} => {format_value(value)}")
        else:
            for row, labels in enumerate(result.labels):
                self.stdout.write(f"{labels} =>")
                for at_ms, value in zip(*(part.tolist() for part in result.points(row)), strict=True):
                    self.stdout.write(f"  {format_value(value)} @ {_iso(at_ms)}")
        if not len(result.labels) and result.type in ("vector", "matrix"):
            self.stderr.write("no data")


def _as_json(result: Result) -> dict[str, Any]:
    if result.type == "string":
        return {"type": "string", "value": result.string}
    if result.type == "scalar":
        return {"type": "scalar", "value": format_value(result.scalar)}
    rows = []
    for row, labels in enumerate(result.labels):
        if result.type == "vector":
            points = [[_iso(int(result.ts[0])), format_value(float(result.values[row]))]]
        else:
            pairs = zip(*(part.tolist() for part in result.points(row)), strict=True)
            points = [[_iso(at_ms), format_value(value)] for at_ms, value in pairs]
        rows.append({"labels": labels.as_dict(), "points": points})
    return {"type": result.type, "series": rows}


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
