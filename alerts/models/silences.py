"""What keeps an alert quiet: silences made by people, inhibition by other alerts."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from simple_history.models import HistoricalRecords

from alerts.engine.matching import parse_alertmanager_matchers
from alerts.models.fields import DurationField
from alerts.models.routing import clean_location, clean_matchers
from alerts.models.rules import Rule


def clean_weekdays(value: Any) -> None:
    """A JSON list of days, 0 (Sunday) to 6 (Saturday); raises ValidationError."""
    if not isinstance(value, list) or not all(isinstance(day, int) and 0 <= day <= 6 for day in value):
        raise ValidationError("Give days as numbers from 0 (Sunday) to 6 (Saturday).")


class Silence(models.Model):
    """Alerts that match are not told between start and end (Alertmanager's silence)."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    matchers = models.JSONField(validators=[clean_matchers])
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    created_by = models.CharField(max_length=200)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    comment = models.TextField()
    # All four say nothing without recur_at: then it holds from start to end, as Alertmanager's do.
    recur_weekdays = models.JSONField("days", default=list, blank=True, validators=[clean_weekdays])
    recur_at = models.TimeField("opens at", null=True, blank=True)
    recur_seconds = DurationField("for", null=True, blank=True)
    recur_location = models.CharField("time zone", max_length=64, default="UTC", validators=[clean_location])
    updated_at = models.DateTimeField(auto_now=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["-ends_at"]
        indexes = [models.Index(fields=["ends_at"], name="silence_ends")]  # serves: the silences in force

    def __str__(self) -> str:
        return ", ".join(self.matchers)


class InhibitRule(models.Model):
    """A firing source mutes its targets where the `equal` labels agree (Alertmanager's inhibit rule)."""

    name = models.CharField(max_length=200, blank=True)
    source_matchers = models.JSONField(default=list, validators=[clean_matchers])
    target_matchers = models.JSONField(default=list, validators=[clean_matchers])
    equal = models.JSONField(default=list, blank=True)
    is_enabled = models.BooleanField("on", default=True)
    managed_by = models.CharField(max_length=200, blank=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name or f"{', '.join(self.source_matchers)} → {', '.join(self.target_matchers)}"


class Dependency(models.Model):
    """Which alerts mean that something in the registry is down, so that what hangs on it need not be told as well."""

    class Kind(models.TextChoices):
        """What is down."""

        HOST = "host", "a host"
        DEPLOYMENT = "deployment", "a deployment"

    kind = models.CharField("means that it is down:", max_length=12, choices=Kind)
    matchers = models.JSONField(default=list, validators=[clean_matchers])
    is_enabled = models.BooleanField("on", default=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["kind", "id"]
        verbose_name_plural = "dependencies"

    def __str__(self) -> str:
        return f"{', '.join(self.matchers)} means that {self.get_kind_display()} is down"

    def clean(self) -> None:
        """The alerts are given by name, so that they can be found quickly. Raises ValidationError."""
        parsed = [matcher for text in self.matchers for matcher in parse_alertmanager_matchers(text)]
        if not any(matcher.name == "alertname" and matcher.op in ("=", "=~") for matcher in parsed):
            raise ValidationError({"matchers": 'Name the alerts, such as alertname=~"HostDown|NodeDown".'})


class Flap(models.Model):
    """One flapping problem: a label set that fires and resolves again and again, from when it was seen to its calm."""

    fingerprint = models.CharField(max_length=16)
    rule = models.ForeignKey(Rule, on_delete=models.CASCADE, null=True, related_name="flaps")
    name = models.CharField(max_length=200)
    began_at = models.DateTimeField()
    changes = models.PositiveIntegerField()  # seen while it flapped, those before included
    last_change_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["fingerprint"], condition=models.Q(ended_at__isnull=True), name="flap_open_once"
            )  # serves as well: what flaps now
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.changes} changes"
