"""Rules ask a question; thresholds say what is too much, for which series, at which severity."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from simple_history.models import HistoricalRecords

from alerts.models.fields import DurationField
from alerts.models.validate import clean_annotations, clean_labels, clean_rule, clean_threshold
from monitoring.models import Host, ModelVersion, ServedModel


class Severity(models.TextChoices):
    """How bad it is, from the mildest to the worst; a firing higher one mutes the lower ones of the same series."""

    INFO = "info", "info"
    WARNING = "warning", "warning"
    CRITICAL = "critical", "critical"


class RuleGroup(models.Model):
    """Rules evaluated together, in order, at one interval and with one timestamp."""

    name = models.CharField(max_length=200)
    interval_seconds = DurationField(
        "interval", default=15, validators=[MinValueValidator(1), MaxValueValidator(86400)]
    )
    limit = models.PositiveIntegerField(default=0, help_text="Most alerts one rule may raise; 0 is no limit.")
    query_offset_seconds = DurationField(
        "query offset", default=0, help_text="Ask for values of so long ago, for samples that come late."
    )
    is_enabled = models.BooleanField("enabled", default=True)
    managed_by = models.CharField(max_length=200, blank=True, help_text="The file that owns this group; empty: staff.")
    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]
        verbose_name = "rule group"
        constraints = [
            models.UniqueConstraint(
                fields=["managed_by", "name"],
                name="rulegroup_name_once_a_file",
                violation_error_message="There is a group of this name already; choose another name.",
            )
        ]

    def __str__(self) -> str:
        return self.name


class GroupClock(models.Model):
    """When a group is due; a table of its own so that claiming a slot never waits for somebody who edits rules."""

    group = models.OneToOneField(RuleGroup, on_delete=models.CASCADE, related_name="clock", primary_key=True)
    next_slot_at = models.DateTimeField(db_index=True)  # serves: which groups are due
    last_slot_at = models.DateTimeField(null=True, blank=True)
    last_duration_seconds = models.FloatField(null=True, blank=True)
    missed_slots = models.PositiveBigIntegerField(default=0)
    # Counts the evaluations that changed an alert; a process whose remembered states carry it need not read rows.
    state_version = models.PositiveBigIntegerField(default=0)
    # Where in the interval the slots lie; null: at the place that the group's name gives. See alerts.phases.
    offset_seconds = models.FloatField(null=True, blank=True)
    # Sources whose samples come just before each slot: [source, period ms, phase ms].
    awaited = models.JSONField(default=list, blank=True)
    settle_at = models.DateTimeField(null=True, blank=True)  # when the offset is looked at anew
    last_error = models.TextField(blank=True)

    class Meta:
        verbose_name = "group clock"

    def __str__(self) -> str:
        return f"{self.group} due {self.next_slot_at:%H:%M:%S}"


class Rule(models.Model):
    """A question in PromQL with a name. With thresholds its expression is a value, without it is a condition."""

    class Kind(models.TextChoices):
        """What becomes of the answer."""

        ALERT = "alert", "alert"
        RECORD = "record", "recording"

    class Life(models.TextChoices):
        """How far the rule has come."""

        DRAFT = "draft", "draft: not evaluated"
        SHADOW = "shadow", "shadow: evaluated, never told"
        LIVE = "live", "live"
        DISABLED = "disabled", "disabled"

    class NoData(models.TextChoices):
        """What a series that stops reporting does to its firing alert."""

        KEEP = "keep", "keep firing and say “no data”"
        FIRE = "fire", "fire"
        RESOLVE = "resolve", "resolve"
        RESOLVE_AFTER = "resolve_after", "resolve after a time"

    group = models.ForeignKey(RuleGroup, on_delete=models.CASCADE, related_name="rules")
    position = models.PositiveIntegerField(default=0, help_text="Rules of a group run in this order.")
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.ALERT)
    life = models.CharField("life", max_length=10, choices=Life, default=Life.LIVE)
    expr = models.TextField("expression", help_text="PromQL. With thresholds below: the value to compare.")
    hold_seconds = DurationField("for", default=0, help_text="How long it must stay true before it fires.")
    keep_firing_seconds = DurationField("keep firing for", default=0, help_text="How long it fires on after it ends.")
    no_data = models.CharField("no data", max_length=15, choices=NoData, default=NoData.KEEP)
    no_data_resolve_seconds = DurationField("resolve after", default=3600)
    labels = models.JSONField(default=dict, blank=True, help_text="Added to each alert; values may be templates.")
    annotations = models.JSONField(default=dict, blank=True, help_text="summary, description, runbook_url …")
    mutes_lower = models.BooleanField(
        "a worse severity mutes the milder",
        default=True,
        help_text="Off, as in Prometheus: each severity of a series is told on its own.",
    )
    revision = models.PositiveIntegerField(default=1, editable=False)
    starter_key = models.CharField(max_length=100, blank=True, editable=False)
    updated_at = models.DateTimeField(auto_now=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["group__name", "position", "name"]
        constraints = [
            models.UniqueConstraint(
                # A rule file may use a name for several rules of a group; those differ by their place.
                fields=["group", "name", "position"],
                name="rule_name_once_a_group",
                violation_error_message="This group has a rule of this name already; choose another name.",
            ),
            models.UniqueConstraint(
                fields=["starter_key"], condition=~models.Q(starter_key=""), name="rule_starter_key_once"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args, **kwargs) -> None:  # type: ignore[no-untyped-def]
        """Save and count the revision that each alert is stamped with."""
        if self.pk and not kwargs.get("update_fields"):
            self.revision += 1
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Refuse what could never work: see alerts.models.validate; raises ValidationError by field."""
        problems: dict[str, list[str]] = {}
        for field, check in (("labels", clean_labels), ("annotations", clean_annotations)):
            try:
                check(getattr(self, field))
            except ValidationError as error:
                problems[field] = error.messages
        try:
            clean_rule(self)
        except ValidationError as error:
            for field, messages in error.message_dict.items():
                problems.setdefault(field, []).extend(messages)
        if problems:
            raise ValidationError(problems)


class RuleStatus(models.Model):
    """What the last evaluation of a rule found; apart from the rule so that evaluating never rewrites it."""

    class Health(models.TextChoices):
        """Outcome of the last evaluation."""

        UNKNOWN = "unknown", "not evaluated yet"
        OK = "ok", "ok"
        ERROR = "err", "error"

    rule = models.OneToOneField(Rule, on_delete=models.CASCADE, related_name="status", primary_key=True)
    health = models.CharField(max_length=10, choices=Health, default=Health.UNKNOWN)
    last_error = models.TextField(blank=True)
    evaluated_at = models.DateTimeField(null=True, blank=True)
    duration_seconds = models.FloatField(default=0)
    series_count = models.PositiveIntegerField(default=0)
    matches_nothing_since = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "rule statuses"

    def __str__(self) -> str:
        return f"{self.rule}: {self.health}"


class Threshold(models.Model):
    """One row of “too much”: a limit for the series its selector matches, at one severity, until it expires."""

    class Operator(models.TextChoices):
        """How the value is compared with the limit."""

        ABOVE = ">", "above"
        AT_LEAST = ">=", "at or above"
        BELOW = "<", "below"
        AT_MOST = "<=", "at or below"
        EQUAL = "==", "equal to"
        NOT_EQUAL = "!=", "not equal to"
        OUTSIDE = "outside", "outside the band"
        INSIDE = "inside", "inside the band"

    rule = models.ForeignKey(Rule, on_delete=models.CASCADE, related_name="thresholds")
    severity = models.CharField(max_length=10, choices=Severity, default=Severity.WARNING)
    operator = models.CharField(max_length=10, choices=Operator, default=Operator.ABOVE)
    value = models.FloatField("limit")
    upper = models.FloatField("upper limit", null=True, blank=True, help_text="Only for a band.")
    recover_value = models.FloatField("recover at", null=True, blank=True, help_text="Resolves only beyond this value.")
    hold_seconds = DurationField("for", null=True, blank=True, help_text="Empty: as the rule says.")
    selector = models.CharField(
        "applies to",
        max_length=1000,
        blank=True,
        help_text='PromQL matchers such as {model_name="ranker"}; empty: all.',
    )
    # What it applies to as an object of the registry; alerts.scope turns these into matchers. A limit goes with its
    # object: without it the row would apply to everything.
    model = models.ForeignKey(
        ServedModel, on_delete=models.CASCADE, null=True, blank=True, related_name="+", help_text="Only this model."
    )
    version = models.ForeignKey(
        ModelVersion, on_delete=models.CASCADE, null=True, blank=True, related_name="+", help_text="Only this version."
    )
    stage = models.CharField(
        max_length=20, choices=ModelVersion.Stage, blank=True, help_text="Only versions of the model at this stage now."
    )
    host = models.ForeignKey(
        Host, on_delete=models.CASCADE, null=True, blank=True, related_name="+", help_text="Only this host."
    )
    gpu = models.CharField(
        "GPU", max_length=100, blank=True, help_text="Only this GPU: its number, or its UUID (GPU-…)."
    )
    priority = models.IntegerField(default=0, help_text="The highest priority wins, then the most exact selector.")
    reason = models.CharField(max_length=500, blank=True, help_text="Required when it applies to some series only.")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False
    )
    expires_at = models.DateTimeField("until", null=True, blank=True)
    is_enabled = models.BooleanField("on", default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["rule", "-priority", "id"]

    def __str__(self) -> str:
        band = f" … {self.upper:g}" if self.upper is not None else ""
        return f"{self.severity} {self.get_operator_display()} {self.value:g}{band} {self.applies_to}".strip()

    @property
    def is_default(self) -> bool:
        """Whether it applies to every series: no selector and no object of the registry."""
        return not self.has_selector and not self.scope_words

    @property
    def has_selector(self) -> bool:
        """Whether its matchers leave any series out."""
        return self.selector.strip() not in ("", "{}")

    @property
    def scope_words(self) -> str:
        """The objects of the registry it is for, in words; "" for none."""
        parts = [
            f"model {_named(self, 'model')}" if self.model_id and not self.version_id else "",
            f"version {_named(self, 'version')}" if self.version_id else "",
            f"stage {self.get_stage_display()}" if self.stage else "",
            f"host {_named(self, 'host')}" if self.host_id else "",
            f"GPU {self.gpu}" if self.gpu else "",
        ]
        return ", ".join(part for part in parts if part)

    @property
    def applies_to(self) -> str:
        """Objects and selector in words; "" for every series."""
        return ", ".join(part for part in (self.scope_words, self.selector.strip()) if part)

    def clean(self) -> None:
        """Refuse a limit that is no number, a bad selector or a band without its end; raises ValidationError."""
        clean_threshold(self)


def _named(row: Threshold, field: str) -> str:
    """An object that a limit is for; one taken from history may be gone."""
    try:
        return str(getattr(row, field))
    except ObjectDoesNotExist:
        return f"number {getattr(row, field + '_id')} (deleted)"
