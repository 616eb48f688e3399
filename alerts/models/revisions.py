"""What a rule and its thresholds were after each change, together."""

from __future__ import annotations

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from alerts.models.rules import Rule


class RuleRevision(models.Model):
    """A rule with its thresholds after one change: who made it, when, and by what; never changed afterwards."""

    rule = models.ForeignKey(Rule, on_delete=models.SET_NULL, null=True, related_name="revisions")
    rule_name = models.CharField(max_length=200)
    number = models.PositiveIntegerField()  # Rule.revision, which alerts are stamped with
    at = models.DateTimeField()
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    words = models.CharField(max_length=500, blank=True)  # by what: the form, a file, a bulk change, Slack
    content = models.JSONField(encoder=DjangoJSONEncoder)  # {"rule": {field: value}, "thresholds": {id: {…}}}

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["rule", "number"], name="revision_once_a_rule")]

    def __str__(self) -> str:
        return f"{self.rule_name} revision {self.number}"
