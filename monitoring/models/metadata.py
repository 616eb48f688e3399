"""What targets say of their metrics in TYPE, HELP and UNIT lines."""

from __future__ import annotations

from django.db import models


class MetricMetadata(models.Model):
    """One thing that some target says of a metric; targets may differ."""

    name = models.CharField(max_length=300, help_text="The name of the family, as in the TYPE line.")
    type = models.CharField(max_length=20, blank=True)
    help = models.CharField(max_length=500, blank=True)
    unit = models.CharField(max_length=100, blank=True)

    class Meta:
        ordering = ["name", "pk"]
        verbose_name_plural = "metric metadata"
        constraints = [models.UniqueConstraint(fields=["name", "type", "help", "unit"], name="metadata_once")]

    def __str__(self) -> str:
        return f"{self.name} {self.type}"
