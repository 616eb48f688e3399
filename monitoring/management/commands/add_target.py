"""`manage.py add_target JOB URL`: have an endpoint scraped; a second call with the same names changes the target."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from monitoring.models import Target
from monitoring.models.targets import default_instance
from monitoring.promql.lex import duration_ms


class Command(BaseCommand):
    """The same names twice change nothing; other options change the target they name."""

    help = "Add a target, or change the one of this job and instance."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take JOB, URL and what may be left out."""
        parser.add_argument("job", metavar="JOB", help="the label job")
        parser.add_argument("url", metavar="URL", help="where the metrics are; /metrics when no path is given")
        parser.add_argument("--instance", help="the label instance; host:port of the URL when left out")
        parser.add_argument("--interval", metavar="D", help="such as 15s or 1m; 15s for a new target")
        parser.add_argument("--label", metavar="K=V", action="append", default=[], help="a label; may be repeated")

    def handle(self, *args: Any, **options: Any) -> None:
        """Save the target and say what happened."""
        given: dict[str, Any] = {"url": options["url"]}
        if options["interval"]:
            given["interval_seconds"] = _seconds(options["interval"])
        if options["label"]:
            given["labels"] = dict(_pair(text) for text in options["label"])
        try:
            target, word = _save(options["job"], options["instance"], given)
        except ValidationError as error:
            raise CommandError("\n".join(_sentences(error))) from error
        self.stdout.write(f"{word} target {target}: {target.url} every {target.interval_seconds:g} s")


@transaction.atomic
def _save(job: str, instance: str | None, given: dict[str, Any]) -> tuple[Target, str]:
    """Return the target and what became of it: added, changed or unchanged; raises ValidationError."""
    probe = Target(job=job, instance_label=instance or "", **given)
    probe.clean()  # first of all: an instance can only be had from a sound URL
    name = instance or default_instance(probe.url)
    target = Target.objects.select_for_update().filter(job=probe.job, instance_label=name).first()
    if target is None:
        probe.full_clean()
        probe.save()
        return probe, "added"
    before = {field: getattr(target, field) for field in (*given, "is_enabled")}
    for field in given:
        setattr(target, field, getattr(probe, field))
    target.is_enabled = True
    if all(getattr(target, field) == value for field, value in before.items()):
        return target, "unchanged"
    target.full_clean()
    target.save()
    return target, "changed"


def _seconds(text: str) -> float:
    found = duration_ms(text)
    if found is None:
        try:
            return float(text)
        except ValueError:
            raise CommandError(f"--interval {text!r} is no duration; write 15s or 1m.") from None
    return found / 1000


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CommandError(f"--label {text!r}: write name=value.")
    return name, value


def _sentences(error: ValidationError) -> list[str]:
    return [f"{field}: {message}" for field, messages in error.message_dict.items() for message in messages]
