"""What is scraped, what the last scrape said, and which scraper holds which target."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from simple_history.models import HistoricalRecords

from monitoring.models.registry import Deployment, refuse_bad_labels, url_problem

#: Labels that come from the target's own fields and from the registry.
OWN_LABELS = frozenset({"job", "instance", "model_name", "model_version"})
DEFAULT_TIMEOUT_SECONDS = 10.0
#: Prometheus has no limits by default; ours keep one bad target from filling memory and disk.
DEFAULT_SAMPLE_LIMIT = 100_000
DEFAULT_BODY_LIMIT_BYTES = 50_000_000


class Target(models.Model):
    """An endpoint that is scraped on its interval."""

    job = models.CharField(max_length=200, help_text="What kind of thing it is; the label job.")
    url = models.CharField("URL", max_length=2000, help_text="Where the metrics are; /metrics when no path is given.")
    # Not "instance": the rows of its history have a property of that name.
    instance_label = models.CharField(
        "instance", max_length=300, blank=True, help_text="The label instance; empty: host:port of the URL."
    )
    interval_seconds = models.FloatField(default=15, validators=[MinValueValidator(1), MaxValueValidator(3600)])
    timeout_seconds = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0.1)], help_text="Empty: 10 s, or the interval if shorter."
    )
    labels = models.JSONField(default=dict, blank=True, help_text='Added to all series, such as {"env": "prod"}.')
    is_enabled = models.BooleanField("enabled", default=True)
    deployment = models.OneToOneField(
        Deployment, on_delete=models.CASCADE, null=True, blank=True, related_name="target",
        help_text="Gives the labels model_name and model_version.",
    )  # fmt: skip
    honor_labels = models.BooleanField(
        default=False, help_text="On: labels of the target's own win over ours. Off: they become exported_…"
    )
    honor_timestamps = models.BooleanField(default=True, help_text="Off: all samples get the time of the scrape.")
    sample_limit = models.PositiveIntegerField(
        default=DEFAULT_SAMPLE_LIMIT, validators=[MinValueValidator(1), MaxValueValidator(DEFAULT_SAMPLE_LIMIT)]
    )
    body_limit_bytes = models.PositiveIntegerField(
        default=DEFAULT_BODY_LIMIT_BYTES, validators=[MinValueValidator(1000), MaxValueValidator(500_000_000)]
    )
    managed_by = models.CharField(
        max_length=200, blank=True, help_text="What owns this row: a deployment, a file; empty: staff."
    )
    history = HistoricalRecords()

    class Meta:
        ordering = ["job", "instance_label"]
        constraints = [
            models.UniqueConstraint(
                fields=["job", "instance_label"],
                name="target_once_a_job",
                violation_error_message="This job has a target of this instance already; choose another instance.",
            ),
            models.CheckConstraint(condition=Q(interval_seconds__gte=1), name="target_interval_at_least_1s"),
            models.CheckConstraint(
                condition=Q(timeout_seconds__isnull=True) | Q(timeout_seconds__lte=F("interval_seconds")),
                name="target_timeout_within_interval",
                violation_error_message="The timeout may not be longer than the interval.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job} {self.instance_label}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save with the path and the instance that were left out."""
        self._complete()
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Refuse what could never be scraped; raises ValidationError by field."""
        self.job = self.job.strip()
        problems: dict[str, list[str]] = {}
        if not self.job:
            problems["job"] = ["Give the job a name."]
        if problem := url_problem(self.url):
            problems["url"] = [problem]
        else:
            self._complete()
        try:
            refuse_bad_labels(self.labels, OWN_LABELS)
        except ValidationError as error:
            problems.update(error.message_dict)
        if self.timeout_seconds and self.interval_seconds and self.timeout_seconds > self.interval_seconds:
            problems["timeout_seconds"] = ["The timeout may not be longer than the interval."]
        if problems:
            raise ValidationError(problems)

    def _complete(self) -> None:
        parts = urlsplit(self.url)
        if not parts.path:
            self.url = urlunsplit(parts._replace(path="/metrics"))
        if not self.instance_label:
            self.instance_label = default_instance(self.url)


def default_instance(url: str) -> str:
    """Return host:port of a URL, with the scheme's port when it names none, as Prometheus writes `instance`."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"[{host}]:{_port(url)}" if ":" in host else f"{host}:{_port(url)}"


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


class TargetStatus(models.Model):
    """What the last scrape of a target said; apart from the target so that scraping never rewrites it."""

    class State(models.TextChoices):
        """How the last scrape ended."""

        UP = "up", "up"
        DOWN = "down", "down"

    target = models.OneToOneField(Target, on_delete=models.CASCADE, related_name="status", primary_key=True)
    state = models.CharField(max_length=10, choices=State)
    since = models.DateTimeField(help_text="Since when it is in this state.")
    scraped_at = models.DateTimeField("last scrape")
    duration_seconds = models.FloatField()
    samples = models.PositiveIntegerField()
    error = models.TextField(blank=True, help_text="Why the last scrape failed.")
    warning = models.TextField(blank=True, help_text="What was wrong with samples of a scrape that succeeded.")
    missed_slots = models.PositiveBigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "target statuses"

    def __str__(self) -> str:
        return f"{self.target}: {self.state}"


class Scraper(models.Model):
    """A running process that scrapes; its claims lapse when it has not been heard of for a few seconds."""

    name = models.CharField(max_length=300, unique=True)
    started_at = models.DateTimeField()
    beat_at = models.DateTimeField()
    is_locked = models.BooleanField(
        default=False, db_default=False, help_text="Whether a lock of its connection shows that it lives."
    )
    lease_seconds = models.FloatField(
        default=4.0, db_default=4.0, help_text="It is taken for dead when it has not been heard of for so long."
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class ScrapeClaim(models.Model):
    """Which scraper holds a target, and under which labels its samples were last written.

    No foreign keys: the row outlives its target until stale markers are written for `sources`, and its scraper.
    """

    target_id = models.BigIntegerField(primary_key=True)
    scraper_id = models.BigIntegerField(null=True, db_index=True)  # serves: what is mine
    sources = models.JSONField(default=list, help_text="Label sets of the store's sources that are open.")

    class Meta:
        ordering = ["target_id"]

    def __str__(self) -> str:
        return f"target {self.target_id} by {self.scraper_id or 'nobody'}"
