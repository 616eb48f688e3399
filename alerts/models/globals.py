"""What holds for all rules and all alerts: the `global` and `alerting` parts of a Prometheus configuration."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from simple_history.models import HistoricalRecords

from alerts.engine.relabel import RelabelError, parse_relabel
from alerts.models.fields import DurationField
from alerts.models.validate import LABEL_NAME


class GlobalConfig(models.Model):
    """The one row of settings that every rule group shares; without it nothing is added and nothing relabelled."""

    external_labels = models.JSONField(
        default=dict, blank=True, help_text="Added to each alert that has no such label, before routing."
    )
    alert_relabel_configs = models.JSONField(
        default=list, blank=True, help_text="Applied to each alert before routing; Prometheus' relabel_config."
    )
    evaluation_interval_seconds = DurationField(
        "evaluation interval",
        default=60,
        validators=[MinValueValidator(1), MaxValueValidator(86400)],
        help_text="Of imported groups that name none.",
    )
    query_offset_seconds = DurationField("query offset", default=0, help_text="Of imported groups that name none.")
    managed_by = models.CharField(max_length=200, blank=True, help_text="The file that owns these; empty: staff.")
    updated_at = models.DateTimeField(auto_now=True)
    history = HistoricalRecords()

    class Meta:
        verbose_name = verbose_name_plural = "global labels and relabelling"
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="globalconfig_one_row")]

    def __str__(self) -> str:
        return "Global labels and relabelling"

    def clean(self) -> None:
        """Refuse label names and relabel rules that Prometheus would refuse; raises ValidationError by field."""
        problems: dict[str, list[str]] = {}
        labels = self.external_labels
        if not isinstance(labels, dict) or not all(isinstance(text, str) for text in labels.values()):
            problems["external_labels"] = ['Give labels as a JSON object of texts such as {"region": "eu"}.']
        elif bad := [name for name in labels if not LABEL_NAME.fullmatch(name)]:
            problems["external_labels"] = [f"{name!r} is no label name." for name in bad]
        try:
            parse_relabel(self.alert_relabel_configs)
        except RelabelError as error:
            problems["alert_relabel_configs"] = [str(error)]
        if problems:
            raise ValidationError(problems)
