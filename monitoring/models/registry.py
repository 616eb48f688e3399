"""What is watched: the machines, the models with their versions, and where these run."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from simple_history.models import HistoricalRecords

from monitoring.promql.labels import is_label_name

#: A host is given up after this many intervals without a batch, and never before the minute below.
SILENT_INTERVALS = 3
SILENT_AT_LEAST = timedelta(seconds=60)


class Host(models.Model):
    """A machine with a worker or an agent; the row appears with its first batch."""

    name = models.CharField(max_length=253, unique=True)
    facts = models.JSONField(
        default=dict, blank=True, help_text="Cores, memory, system, GPUs: what the host says of itself."
    )
    agent_version = models.CharField(max_length=64, blank=True)
    interval_seconds = models.FloatField(default=15, help_text="How often the host collects.")
    clock_skew_seconds = models.FloatField(
        null=True, blank=True, help_text="How far the host's clock is ahead; negative when behind."
    )
    first_seen = models.DateTimeField()
    # No index: it would make each of the updates, one a batch, write to every index (no heap-only update).
    last_seen = models.DateTimeField(help_text="Time of the newest batch.")
    expected = models.BooleanField(
        default=True, help_text="Whether silence is a problem. Switch off for a host that is gone for good."
    )

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(interval_seconds__gt=0), name="host_interval_is_positive"),
            models.CheckConstraint(condition=Q(last_seen__gte=F("first_seen")), name="host_seen_in_order"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def silent_after(self) -> timedelta:
        """How long after its newest batch the host counts as silent: 3 intervals, a minute at least."""
        return max(SILENT_INTERVALS * timedelta(seconds=self.interval_seconds), SILENT_AT_LEAST)

    def is_silent(self, at: datetime) -> bool:
        """Whether nothing has been heard of the host for too long at `at`."""
        return at - self.last_seen > self.silent_after


class HealthKind(models.TextChoices):
    """How a model server says that it is well."""

    PLAIN = "plain", "plain: any 2xx of the URL"
    KSERVE = "kserve", "KServe v2: /v2/health/ready"
    VLLM = "vllm", "vLLM: /health"
    TORCHSERVE = "torchserve", "TorchServe: /ping"
    TRITON = "triton", "Triton: /v2/health/ready"
    OLLAMA = "ollama", "Ollama: /api/tags"


class Team(models.Model):
    """The people who answer for some models."""

    name = models.CharField(max_length=100, unique=True)
    contact = models.CharField(max_length=200, blank=True, help_text="Where to reach them: a channel, an address.")
    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class ServedModel(models.Model):
    """A model that is served, in whatever versions and places; its name is the label `model_name`."""

    name = models.CharField(max_length=200, unique=True, help_text="The label model_name of all its series.")
    task = models.CharField(max_length=100, blank=True, help_text="What it does: ranking, classification, chat …")
    framework = models.CharField(max_length=100, blank=True, help_text="PyTorch, XGBoost, vLLM …")
    owner = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, blank=True, related_name="models")
    runbook = models.URLField(blank=True, help_text="What to do when it fails.")
    description = models.TextField(blank=True)
    labels = models.JSONField(default=dict, blank=True, help_text='Added to all its series, such as {"tier": "1"}.')
    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]
        verbose_name = "model"

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse labels that no series can have; raises ValidationError."""
        refuse_bad_labels(self.labels)


class ModelVersion(models.Model):
    """One version of a served model, how far it has come and how good it was when it was accepted."""

    class Stage(models.TextChoices):
        """How far a version has come."""

        DEVELOPMENT = "development", "development"
        STAGING = "staging", "staging"
        PRODUCTION = "production", "production"
        ARCHIVED = "archived", "archived"

    model = models.ForeignKey(ServedModel, on_delete=models.CASCADE, related_name="versions")
    version = models.CharField(max_length=100, help_text="The label model_version of its series.")
    stage = models.CharField(max_length=20, choices=Stage, default=Stage.DEVELOPMENT)
    baseline = models.JSONField(
        "baseline metrics", default=dict, blank=True, help_text='What it should reach, such as {"accuracy": 0.94}.'
    )
    promoted_at = models.DateTimeField(null=True, blank=True, help_text="Since when it is in production.")
    history = HistoricalRecords()

    class Meta:
        ordering = ["model__name", "-promoted_at", "version"]
        constraints = [
            models.UniqueConstraint(
                fields=["model", "version"],
                name="version_once_a_model",
                violation_error_message="This model has a version of this name already; choose another.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.model.name} {self.version}"

    def clean(self) -> None:
        """Refuse baselines that are no numbers; raises ValidationError."""
        is_sound = isinstance(self.baseline, dict) and all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in self.baseline.values()
        )
        if not is_sound:
            raise ValidationError({"baseline": 'Give names and numbers, such as {"accuracy": 0.94}.'})


class Deployment(models.Model):
    """A version that runs somewhere: on a host, behind a URL, or both. Its metrics URL is scraped."""

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="deployments")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, null=True, blank=True, related_name="deployments")
    url = models.CharField("URL", max_length=2000, blank=True, help_text="Where it answers requests.")
    metrics_url = models.CharField("metrics URL", max_length=2000, blank=True, help_text="Scraped when given.")
    health_url = models.CharField("health URL", max_length=2000, blank=True, help_text="Asked whether it is well.")
    health_kind = models.CharField("health kind", max_length=20, choices=HealthKind, default=HealthKind.PLAIN)
    health_model = models.CharField(
        "model at the server", max_length=200, blank=True,
        help_text="Its name there, asked for too where the kind knows models. Empty: the name here (vLLM: not asked).",
    )  # fmt: skip
    is_enabled = models.BooleanField("enabled", default=True, help_text="Off: neither scraped nor asked.")
    deployed_at = models.DateTimeField(auto_now_add=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["version__model__name", "-deployed_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(host__isnull=False) | ~Q(url="") | ~Q(metrics_url=""),
                name="deployment_is_somewhere",
                violation_error_message="Say where it runs: choose a host or give a URL.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.version} on {self.place}"

    @property
    def place(self) -> str:
        """Where it runs, in one word: its host, else host:port of its URL."""
        return str(self.host or urlsplit(self.url or self.metrics_url).netloc)

    def clean(self) -> None:
        """Refuse URLs that nobody can ask; raises ValidationError by field."""
        problems = {
            field: problem
            for field in ("url", "metrics_url", "health_url")
            if (value := getattr(self, field)) and (problem := url_problem(value))
        }
        if problems:
            raise ValidationError(problems)


def url_problem(url: str) -> str | None:
    """Return what keeps a URL from being asked over HTTP, as a sentence; None when nothing does."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return f"{url!r} is not a URL; write http://host:port/path."
    if parts.scheme not in ("http", "https"):
        return f"A URL starts with http:// or https://, not with {parts.scheme + ':' if parts.scheme else url[:20]!r}."
    if not host:
        return "The URL names no host; write http://host:port/path."
    if parts.username is not None or parts.password is not None:
        return "A URL here may hold no user and password; it is shown on pages and in logs."
    if any(char.isspace() or not char.isprintable() for char in url):
        return "The URL holds a space or a control character."
    return None


def refuse_bad_labels(labels: object, reserved: frozenset[str] = frozenset(), field: str = "labels") -> None:
    """Raise ValidationError when `labels` is no mapping of label names to texts or uses a reserved name."""
    if not isinstance(labels, dict):
        raise ValidationError({field: 'Give names and texts, such as {"env": "prod"}.'})
    problems = []
    for name, value in labels.items():
        if not is_label_name(name) or name.startswith("__"):
            problems.append(f"{name!r} is no label name: letters, digits and _, no digit first, not two _ first.")
        elif name in reserved:
            problems.append(f"{name!r} is set by the portal; choose another name.")
        elif not isinstance(value, str):
            problems.append(f"The value of {name!r} must be a text in quotes, not {value!r}.")
    if problems:
        raise ValidationError({field: problems})
