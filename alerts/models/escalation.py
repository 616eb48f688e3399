"""Who is told next when nobody answers: policies, who is on call, and the escalations that run."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from simple_history.models import HistoricalRecords

from alerts.engine.escalation import MAX_REPEATS
from alerts.models.alerts import Alert
from alerts.models.fields import DurationField
from alerts.models.notifications import Group
from alerts.models.routing import Receiver, clean_location, clean_matchers


class Rota(models.Model):
    """People who take turns being on call; turns change at a wall time every so many weeks."""

    name = models.CharField(max_length=200, unique=True)
    location = models.CharField(
        "time zone", max_length=64, default="UTC", validators=[clean_location], help_text="Such as Europe/Zagreb."
    )
    starts_on = models.DateField("first handover", help_text="Its weekday is the one on which turns change.")
    handover_at = models.TimeField("handover at", default="09:00", help_text="In the rota's time zone.")
    weeks_per_turn = models.PositiveSmallIntegerField(
        "weeks per turn", default=1, validators=[MinValueValidator(1), MaxValueValidator(52)]
    )
    managed_by = models.CharField(max_length=200, blank=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class RotaMember(models.Model):
    """One person's place in the order of turns."""

    rota = models.ForeignKey(Rota, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ["rota", "position", "id"]

    def __str__(self) -> str:
        return str(self.user)


class RotaOverride(models.Model):
    """One person takes over for a while; the one that started last counts."""

    rota = models.ForeignKey(Rota, on_delete=models.CASCADE, related_name="overrides")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    reason = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["-starts_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ends_at__gt=models.F("starts_at")),
                name="rotaoverride_ends_after_start",
                violation_error_message="It must end after it starts.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.user} from {self.starts_at:%Y-%m-%d %H:%M} to {self.ends_at:%Y-%m-%d %H:%M} UTC"


class EscalationPolicy(models.Model):
    """What happens to a problem that nobody acknowledges; routes name it, or it takes all alerts that match."""

    name = models.CharField(max_length=200, unique=True)
    position = models.PositiveIntegerField(default=0, help_text="Of several that take an alert the lowest counts.")
    takes_matching = models.BooleanField(
        "takes every alert that matches",
        default=False,
        help_text="On: also without a route that names it. Off: only where a route names it.",
    )
    matchers = models.JSONField(default=list, blank=True, validators=[clean_matchers])
    repeats = models.PositiveSmallIntegerField(
        "rounds more", default=0, validators=[MaxValueValidator(MAX_REPEATS)],
        help_text=f"How often all steps run again while nobody acknowledges, at most {MAX_REPEATS}.",
    )  # fmt: skip
    is_enabled = models.BooleanField("on", default=True)
    managed_by = models.CharField(max_length=200, blank=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["position", "id"]
        verbose_name_plural = "escalation policies"

    def __str__(self) -> str:
        return self.name


class EscalationStep(models.Model):
    """Wait so long after the step before, then tell these."""

    policy = models.ForeignKey(EscalationPolicy, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveSmallIntegerField(default=0)
    wait_seconds = DurationField("wait", default=0, help_text="After the step before, or after the first message.")
    receiver = models.ForeignKey(Receiver, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    rota = models.ForeignKey(Rota, on_delete=models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ["policy", "position", "id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(receiver__isnull=False)
                | models.Q(user__isnull=False)
                | models.Q(rota__isnull=False),
                name="escalationstep_tells_somebody",
                violation_error_message="Say whom it tells: a receiver, a person or a rota.",
            )
        ]

    def __str__(self) -> str:
        return f"step {self.position} of {self.policy_id}"


class Escalation(models.Model):
    """One problem of one group that runs through a policy, whose steps were frozen when it began."""

    class State(models.TextChoices):
        """How it stands."""

        RUNNING = "running", "running"
        HELD = "held", "held"
        EXHAUSTED = "exhausted", "all steps done, nobody answered"
        ENDED = "ended", "over"

    policy = models.ForeignKey(EscalationPolicy, on_delete=models.SET_NULL, null=True, related_name="escalations")
    policy_name = models.CharField(max_length=200)
    frozen: Any = models.JSONField()  # alerts.engine.escalation.freeze of the policy as it was
    group = models.ForeignKey(Group, on_delete=models.SET_NULL, null=True, related_name="escalations")
    group_key = models.CharField(max_length=64)
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    words = models.TextField(blank=True)  # what comes next, or why nothing does
    created_at = models.DateTimeField()
    first_delivered_at = models.DateTimeField(null=True, blank=True)
    restarted_at = models.DateTimeField(null=True, blank=True)
    restarts = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)  # steps of this run, over all rounds
    last_due_at = models.DateTimeField(null=True, blank=True)
    is_hurried = models.BooleanField(default=False)  # the last step reached nobody: the next one does not wait
    next_look_at = models.DateTimeField(null=True, blank=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=200, blank=True)
    acknowledged_severity = models.CharField(max_length=50, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    alerts = models.ManyToManyField(Alert, related_name="escalations", blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["group_key", "policy"], condition=models.Q(ended_at__isnull=True), name="escalation_open_once"
            )
        ]
        indexes = [
            models.Index(
                fields=["next_look_at"], condition=models.Q(ended_at__isnull=True), name="escalation_due"
            )  # serves: what is to be looked at now
        ]

    def __str__(self) -> str:
        return f"{self.policy_name} ({self.state})"


class StepRun(models.Model):
    """One step that was run: the unique row by which it happens once, and what it came to."""

    escalation = models.ForeignKey(Escalation, on_delete=models.CASCADE, related_name="runs")
    restart = models.PositiveIntegerField()
    number = models.PositiveIntegerField()
    at = models.DateTimeField()
    words = models.TextField()
    is_reached = models.BooleanField(default=True)
    problem = models.TextField(blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["escalation", "restart", "number"], name="steprun_once")]

    def __str__(self) -> str:
        return self.words
