"""Alerts and what happened to them."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.functional import cached_property

from alerts.models.rules import Rule, Severity, Threshold
from alerts.models.storm import StormJSONField, StormModel
from monitoring.promql import Labels


class Alert(StormModel):
    """One label set of a rule from the moment it became pending to its end; after the end it is history."""

    class State(models.TextChoices):
        """Where the alert is in its life."""

        PENDING = "pending", "pending"
        FIRING = "firing", "firing"
        RESOLVED = "resolved", "resolved"

    class Source(models.TextChoices):
        """Who decided that it fires."""

        RULE = "rule", "a rule of ours"
        API = "api", "posted to the API"

    # Where most rows refer to nothing, or another index begins with the column, a foreign key has no index of its own:
    # each costs a storm of 10,000 alerts a tenth of a second.
    rule = models.ForeignKey(
        Rule, on_delete=models.SET_NULL, null=True, blank=True, related_name="alerts", db_index=False
    )
    source = models.CharField(max_length=5, choices=Source, default=Source.RULE)
    name = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=16)  # Alertmanager's FNV-1a of the labels, 16 hex digits
    labels = StormJSONField()
    # What the evaluator knows it by, where external labels or relabelling made `labels` something else (PN-6).
    identity = models.JSONField(null=True, blank=True)
    annotations = StormJSONField(default=dict)
    state = models.CharField(max_length=10, choices=State)
    severity = models.CharField(max_length=50, choices=Severity, blank=True)
    active_since = models.DateTimeField()
    fired_at = models.DateTimeField(null=True, blank=True)
    keep_firing_since = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)  # posted alerts: when they end by themselves
    is_timeout = models.BooleanField(default=False)  # ends_at is resolve_timeout, not what the sender said
    content_key = models.BigIntegerField(
        null=True, blank=True, editable=False
    )  # a hash of what was posted, until it ends
    no_data_since = models.DateTimeField(null=True, blank=True)
    hold_seconds = models.FloatField(default=0)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    value = models.FloatField(null=True, blank=True)  # at the last change of state; the series ALERTS_VALUE has all
    limit_value = models.FloatField(null=True, blank=True)
    threshold = models.ForeignKey(
        Threshold, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    resolve_reason = models.CharField(max_length=20, blank=True)
    rule_revision = models.PositiveIntegerField(default=0)
    generator_url = models.CharField(max_length=2000, blank=True)
    is_shadow = models.BooleanField(default=False)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    acknowledge_confirmed_at = models.DateTimeField(null=True, blank=True)  # “still on it”, after a reminder
    acknowledge_reminded_at = models.DateTimeField(null=True, blank=True)
    snoozed_until = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["state", "-fired_at"], name="alert_state_fired"),  # serves: firing now; the list
            models.Index(
                fields=["rule", "-id"], condition=models.Q(rule__isnull=False), name="alert_of_rule_newest"
            ),  # serves: history of a rule, deleting one
            models.Index(
                fields=["threshold"], condition=models.Q(threshold__isnull=False), name="alert_of_threshold"
            ),  # serves: deleting a threshold
            models.Index(
                fields=["acknowledged_by"],
                condition=models.Q(acknowledged_by__isnull=False),
                name="alert_acknowledged_by",
            ),  # serves: deleting a user
            models.Index(
                fields=["name"], condition=models.Q(state="firing"), name="alert_firing_name"
            ),  # serves: what is down now
            models.Index(fields=["fingerprint"], name="alert_fingerprint"),  # serves: posted again, API look-ups
            models.Index(
                fields=["ends_at"], condition=models.Q(state="firing", source="api"), name="alert_posted_end"
            ),  # serves: which posted alerts have ended by themselves
            models.Index(
                fields=["content_key"],
                include=("id", "state", "fired_at", "ends_at", "is_timeout"),  # all that alerts_renew looks at
                condition=models.Q(content_key__isnull=False),
                name="alert_posted_content",
            ),  # serves: which alerts are resent as they are
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "fingerprint"],
                # Relabelling may give two alerts of a rule the same labels, as taking a replica's name away does.
                condition=models.Q(state__in=["pending", "firing"], identity__isnull=True),
                name="alert_active_once_a_rule",
            ),
            models.UniqueConstraint(
                fields=["fingerprint"],
                condition=models.Q(state__in=["pending", "firing"], source="api"),
                name="alert_active_once_posted",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.state})"

    @cached_property
    def label_set(self) -> Labels:
        """Its labels as matchers and routes ask them; they never change, since they say which alert it is."""
        return Labels.of(self.labels)


class Event(models.Model):
    """One thing that happened to an alert or a rule, with its reason in words; never changed afterwards."""

    class Kind(models.TextChoices):
        """What happened."""

        PENDING = "pending", "became pending"
        FIRING = "firing", "fired"
        RESOLVED = "resolved", "resolved"
        DROPPED = "dropped", "ended while pending"
        KEEP_FIRING = "keep_firing", "keeps firing"
        NO_DATA = "no_data", "no data"
        DATA_BACK = "data_back", "data is back"
        CHANGED = "changed", "changed"
        NOTIFIED = "notified", "told"
        NOT_NOTIFIED = "not_notified", "not told"
        FAILED = "failed", "telling failed"
        ACKNOWLEDGED = "acknowledged", "acknowledged"
        UNACKNOWLEDGED = "unacknowledged", "acknowledgement withdrawn"
        REMINDED = "reminded", "reminded of the acknowledgement"
        SNOOZED = "snoozed", "snoozed"
        SILENCED = "silenced", "silenced"
        NOTE = "note", "note"
        MARKED = "marked", "marked"
        EXPIRED = "expired", "threshold expired"

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, null=True, blank=True, related_name="events")
    rule = models.ForeignKey(
        Rule, on_delete=models.SET_NULL, null=True, blank=True, related_name="events", db_index=False
    )
    at = models.DateTimeField()
    kind = models.CharField(max_length=20, choices=Kind)
    reason = models.TextField(blank=True)
    value = models.FloatField(null=True, blank=True)
    limit_value = models.FloatField(null=True, blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [
            models.Index(
                fields=["rule", "-at"], condition=models.Q(rule__isnull=False), name="event_of_rule_newest"
            ),  # serves: timeline of a rule, deleting one
            models.Index(
                fields=["actor"], condition=models.Q(actor__isnull=False), name="event_by_actor"
            ),  # serves: deleting a user
            models.Index(fields=["at"], name="event_at"),  # serves: dropping what is old
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.kind}"


class Mark(models.Model):
    """What one person thinks of one alert: was it useful to be told, or noise."""

    class Verdict(models.TextChoices):
        """Whether it was worth telling."""

        USEFUL = "useful", "useful"
        NOISE = "noise", "noise"

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="marks")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    verdict = models.CharField(max_length=10, choices=Verdict)
    at = models.DateTimeField()

    class Meta:
        ordering = ["-at", "-id"]
        constraints = [models.UniqueConstraint(fields=["alert", "user"], name="mark_once_a_user")]

    def __str__(self) -> str:
        return f"{self.verdict} ({self.user})"
