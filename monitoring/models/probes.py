"""What is asked whether it is well, and what it answered last."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from simple_history.models import HistoricalRecords

from monitoring.models.registry import Deployment, HealthKind, refuse_bad_labels, url_problem
from monitoring.models.targets import OWN_LABELS

#: Labels that a probe's series get from its own fields and from the registry.
PROBE_LABELS = OWN_LABELS | {"probe"}
DEFAULT_INTERVAL_SECONDS = 15.0
DEFAULT_TIMEOUT_SECONDS = 5.0
#: An answer counts for this many intervals, and for half a minute at least.
STALE_INTERVALS = 3
STALE_AT_LEAST = timedelta(seconds=30)
#: So many results are kept for the row of cells.
MOST_RESULTS = 50


class Probe(models.Model):
    """A question asked on its interval: are you well?"""

    name = models.CharField(max_length=300, unique=True, help_text="The label probe of its series.")
    url = models.CharField("URL", max_length=2000, help_text="The health address, or the server's root for all kinds.")
    kind = models.CharField(max_length=20, choices=HealthKind, default=HealthKind.PLAIN)
    model_at_server = models.CharField(
        "model at the server", max_length=200, blank=True,
        help_text="Asked for too, where the kind knows models. Empty: the registry's name (vLLM: none).",
    )  # fmt: skip
    interval_seconds = models.FloatField(
        default=DEFAULT_INTERVAL_SECONDS, validators=[MinValueValidator(1), MaxValueValidator(3600)]
    )
    timeout_seconds = models.FloatField(
        default=DEFAULT_TIMEOUT_SECONDS, validators=[MinValueValidator(0.1), MaxValueValidator(60)]
    )
    labels = models.JSONField(default=dict, blank=True, help_text='Added to its series, such as {"env": "prod"}.')
    is_enabled = models.BooleanField("enabled", default=True)
    deployment = models.OneToOneField(
        Deployment, on_delete=models.CASCADE, null=True, blank=True, related_name="probe",
        help_text="Gives the labels model_name and model_version.",
    )  # fmt: skip
    managed_by = models.CharField(
        max_length=200, blank=True, help_text="What owns this row: a deployment, a file; empty: staff."
    )
    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(interval_seconds__gte=1), name="probe_interval_at_least_1s"),
            models.CheckConstraint(
                condition=Q(timeout_seconds__lte=F("interval_seconds")),
                name="probe_timeout_within_interval",
                violation_error_message="The timeout may not be longer than the interval.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse what could never be asked; raises ValidationError by field."""
        problems: dict[str, list[str]] = {}
        if problem := url_problem(self.url):
            problems["url"] = [problem]
        try:
            refuse_bad_labels(self.labels, PROBE_LABELS)
        except ValidationError as error:
            problems.update(error.message_dict)
        if self.timeout_seconds and self.interval_seconds and self.timeout_seconds > self.interval_seconds:
            problems["timeout_seconds"] = ["The timeout may not be longer than the interval."]
        if problems:
            raise ValidationError(problems)

    @property
    def place(self) -> str:
        """Host and port of what is asked."""
        return urlsplit(self.url).netloc

    @property
    def stale_after(self) -> timedelta:
        """How long an answer counts."""
        return max(STALE_INTERVALS * timedelta(seconds=self.interval_seconds), STALE_AT_LEAST)


class ProbeState(models.Model):
    """What a probe's last questions gave and when the next is due; outlives the probe until its series have ended."""

    # Without a constraint in the database: the row is needed once more after its probe is gone.
    probe = models.OneToOneField(
        Probe, on_delete=models.DO_NOTHING, db_constraint=False, related_name="state", primary_key=True
    )
    due_at = models.DateTimeField(db_index=True)  # serves: what is due
    is_ok = models.BooleanField("well", null=True, help_text="Empty: not asked yet.")
    since = models.DateTimeField(null=True, help_text="Since when it answers so.")
    probed_at = models.DateTimeField("last asked", null=True)
    duration_seconds = models.FloatField(null=True)
    http_status = models.PositiveIntegerField("HTTP status", null=True)
    error = models.TextField(blank=True)
    missed_slots = models.PositiveBigIntegerField(default=0)
    labels = models.JSONField(null=True, help_text="Labels under which its samples were last written.")
    results = models.JSONField(
        default=list, help_text="The last 50: [unix seconds, well, HTTP status, seconds, error], oldest first."
    )

    class Meta:
        ordering = ["probe__name"]

    def __str__(self) -> str:
        return {True: "well", False: "not well", None: "not asked yet"}[self.is_ok]

    def problem(self, at: datetime) -> str:
        """Return why its probe does not count as well at `at`; "" when it does. A stale answer is none."""
        if self.is_ok is None or self.probed_at is None:
            return "not asked yet"
        if at - self.probed_at > self.probe.stale_after:
            return f"not asked since {self.probed_at:%Y-%m-%d %H:%M:%S} UTC: is a worker running?"
        return "" if self.is_ok else self.error or "not well"

    @staticmethod
    def result(at: datetime, is_ok: bool, http_status: int, seconds: float, error: str) -> list[Any]:
        """Return one entry of `results`."""
        return [round(at.timestamp()), is_ok, http_status, round(seconds, 4), error[:200]]
