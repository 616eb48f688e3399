"""Where the time and the memory of single requests and tasks went, how often to look, and who may read the log."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from simple_history.models import HistoricalRecords


class Profile(models.Model):
    """One profiled request, task or block of code; the oldest make room for new ones."""

    class Kind(models.TextChoices):
        """What was profiled."""

        REQUEST = "request", "request"
        TASK = "task", "task"
        MEMORY = "memory", "memory"

    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=300, help_text="The route, the task, or the name of the block.")
    detail = models.CharField(max_length=500, blank=True, help_text="Method and path, without the query.")
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    user_name = models.CharField("user", max_length=150, blank=True)
    request_id = models.CharField(max_length=128, blank=True, help_text="Finds its lines in the log.")
    taken_at = models.DateTimeField(auto_now_add=True)
    seconds = models.FloatField(help_text="Wall time, with the profiler's own.")
    peak_bytes = models.BigIntegerField(null=True, blank=True, help_text="The most that was held above the start.")
    held_bytes = models.BigIntegerField(null=True, blank=True, help_text="What was left at the end.")
    tree = models.JSONField(null=True, blank=True, help_text="Frames: name, file, line, seconds, kind, children.")
    lines = models.JSONField(default=list, blank=True, help_text="Lines of code and what they allocated.")
    stats = models.BinaryField(default=bytes, blank=True, help_text="For Python's pstats, compressed by zlib.")

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.name}"


class ProfileRate(models.Model):
    """How often requests of a route, or runs of a task, are profiled."""

    class Kind(models.TextChoices):
        """What is profiled."""

        REQUEST = "request", "requests"
        TASK = "task", "tasks: time"
        TASK_MEMORY = "task memory", "tasks: memory"

    EVERYTHING = "*"
    kind = models.CharField("what", max_length=12, choices=Kind, default=Kind.REQUEST)
    name = models.CharField(
        max_length=300,
        help_text="A route as request_processed logs it, such as admin/alerts/rule/; or a task, such as "
        "alerts.tasks.tick; * for all.",
    )
    ratio = models.FloatField(
        default=0.01, validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text="Of how many, from 0 to 1; 0.01 is one in a hundred. A profiled request takes about twice as long.",
    )  # fmt: skip
    until = models.DateTimeField(null=True, blank=True, help_text="Empty: until it is switched off.")
    is_enabled = models.BooleanField("enabled", default=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["kind", "name"]
        constraints = [
            models.UniqueConstraint(fields=["kind", "name"], name="profile_rate_once"),
            models.CheckConstraint(condition=Q(ratio__gte=0, ratio__lte=1), name="profile_rate_is_a_ratio"),
        ]

    def __str__(self) -> str:
        return f"{self.ratio:g} of {self.get_kind_display()} {self.name}"


class LogLine(models.Model):
    """A recent warning or error of the portal; it lives in Redis, and this model only carries who may read it."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = [("read_log", "Can read the portal's recent warnings and errors")]

    def __str__(self) -> str:
        return "a line of the log"
