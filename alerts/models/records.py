"""What each evaluation found, kept whole for two days: one row per group and slot."""

from __future__ import annotations

from django.db import models


class EvaluationRecord(models.Model):
    """One evaluation of a rule group; alerts.records writes and reads `body`.

    The group is a plain number: a record is a fact of the past and must not vanish or lock with what it speaks of.
    """

    group_id = models.BigIntegerField()
    slot = models.DateTimeField()
    duration_ms = models.FloatField()
    missed_slots = models.PositiveIntegerField(default=0)  # skipped between the slot before and this one
    body = models.BinaryField()

    class Meta:
        indexes = [
            # serves: what happened at 03:12, with few groups in one interval; and dropping what is old
            models.Index(fields=["slot", "group_id"], name="record_slot_group"),
        ]
        verbose_name = "evaluation record"

    def __str__(self) -> str:
        return f"group {self.group_id} at {self.slot:%Y-%m-%d %H:%M:%S}"
