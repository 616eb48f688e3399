"""When which version went live where: what charts mark and incidents are compared with."""

from __future__ import annotations

from django.db import models

from monitoring.models.registry import Deployment, ModelVersion, ServedModel


class Deploy(models.Model):
    """One version that went somewhere, or came to a stage, at a moment."""

    class Source(models.TextChoices):
        """Who told of it."""

        ADMIN = "admin", "the admin"
        API = "api", "the API"

    model = models.ForeignKey(ServedModel, on_delete=models.CASCADE, related_name="deploys")
    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="deploys")
    deployment = models.ForeignKey(
        Deployment, on_delete=models.SET_NULL, null=True, blank=True, related_name="deploys",
        help_text="Where to; empty: the version as a whole.",
    )  # fmt: skip
    stage = models.CharField(
        max_length=20, choices=ModelVersion.Stage, blank=True, help_text="The stage the version came to by it."
    )
    at = models.DateTimeField()
    by = models.CharField(max_length=150, blank=True, help_text="Who did it.")
    note = models.TextField(blank=True, max_length=2000)
    url = models.CharField("URL", max_length=2000, blank=True, help_text="The pipeline, the change.")
    source = models.CharField(max_length=10, choices=Source, default=Source.ADMIN)

    class Meta:
        ordering = ["-at", "-pk"]
        indexes = [
            models.Index(fields=["model", "-at"], name="deploy_of_model"),  # serves: the page of a model
            models.Index(fields=["-at"], name="deploy_by_time"),  # serves: marks on charts
        ]
        constraints = [
            # A pipeline that tries again tells of the same deploy.
            models.UniqueConstraint(
                fields=["version", "deployment", "stage", "at"], nulls_distinct=False, name="deploy_once"
            )
        ]

    def __str__(self) -> str:
        where = f" on {self.deployment.place}" if self.deployment else ""
        return f"{self.version}{where}" + (f" to {self.stage}" if self.stage else "")
