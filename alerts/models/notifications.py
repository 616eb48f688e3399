"""The outbox: groups of alerts, what each way out was told last, and every message due or sent."""

from __future__ import annotations

from django.db import models

from alerts.models.alerts import Alert
from alerts.models.routing import Integration, Receiver, Route
from alerts.models.storm import StormJSONField, StormModel


class Group(models.Model):
    """Alerts told together: one route and one set of values of its group_by labels."""

    # No route: the built-in root, which takes every alert while nobody has made a tree.
    route = models.ForeignKey(Route, on_delete=models.CASCADE, null=True, related_name="groups")
    receiver = models.ForeignKey(Receiver, on_delete=models.SET_NULL, null=True, related_name="groups")
    key = models.CharField(max_length=64)  # sha256 of route id and group labels
    labels = StormJSONField(default=dict)
    created_at = models.DateTimeField()
    first_flush_at = models.DateTimeField(null=True, blank=True)
    next_flush_at = models.DateTimeField()
    last_flush_at = models.DateTimeField(null=True, blank=True)
    last_reason = models.TextField(blank=True)  # what the last flush told or did not tell, in words
    missed_flushes = models.PositiveIntegerField(default=0)
    alerts: models.ManyToManyField[Alert, GroupAlert] = models.ManyToManyField(
        Alert, through="GroupAlert", related_name="groups"
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key"], name="group_key_once")]
        indexes = [models.Index(fields=["next_flush_at"], name="group_due")]  # serves: which groups are due

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.labels.items()) or "all alerts"


class GroupAlert(StormModel):
    """An alert is in a group from its routing until its resolve was reported."""

    # groupalert_once begins with it.
    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="members", db_index=False)
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="memberships")
    joined_at = models.DateTimeField()
    muted_reason = models.TextField(blank=True)  # why the last flush left it out; empty when it spoke of it

    class Meta:
        constraints = [models.UniqueConstraint(fields=["group", "alert"], name="groupalert_once")]

    def __str__(self) -> str:
        return f"{self.alert_id} in {self.group_id}"


class NotifyLog(models.Model):
    """What a way out was last told about a group (Alertmanager's nflog), and the living message it can edit."""

    group_key = models.CharField(max_length=64)
    integration = models.ForeignKey(Integration, on_delete=models.CASCADE, related_name="logs")
    flushed_at = models.DateTimeField()  # the planned flush that was told, not the wall clock
    told_at = models.DateTimeField()  # of the last message that notifies (a new post), for repeats
    firing = StormJSONField(default=list)  # fingerprints
    resolved = StormJSONField(default=list)
    severity = models.CharField(max_length=50, blank=True)  # the highest told; a rise is worth a broadcast
    slack_channel = models.CharField(max_length=50, blank=True)
    slack_ts = models.CharField(max_length=30, blank=True)
    permalink = models.CharField(max_length=500, blank=True)
    expires_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["group_key", "integration"], name="notifylog_once_a_group_and_way_out")
        ]
        indexes = [models.Index(fields=["expires_at"], name="notifylog_expiry")]  # serves: housekeeping

    def __str__(self) -> str:
        return f"{self.group_key[:8]} → {self.integration_id}"


class Notification(StormModel):
    """One message due to one way out; it stays as the record of what was said, tried and answered."""

    class State(models.TextChoices):
        """Where the message is on its way."""

        QUEUED = "queued", "waiting to be sent"
        SENDING = "sending", "being sent"
        SENT = "sent", "sent"
        KEPT = "kept", "kept: no way out is configured"
        DEAD = "dead", "given up"
        SUPERSEDED = "superseded", "replaced by a newer message"
        DISCARDED = "discarded", "discarded by staff"

    class Kind(models.TextChoices):
        """What the message does."""

        POST = "post", "new message"
        UPDATE = "update", "edit of the message"
        THREAD = "thread", "line in the thread"
        DIGEST = "digest", "summary of a storm"
        TEST = "test", "test"

    dedup_key = models.CharField(max_length=64, unique=True)
    integration = models.ForeignKey(
        Integration, on_delete=models.CASCADE, null=True, blank=True, related_name="notifications"
    )
    receiver_name = models.CharField(max_length=200, blank=True)
    group = models.ForeignKey(Group, on_delete=models.SET_NULL, null=True, blank=True, related_name="notifications")
    group_key = models.CharField(max_length=64, blank=True)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.POST)
    status = models.CharField(max_length=10)  # firing or resolved
    severity = models.CharField(max_length=50, blank=True)
    why = models.CharField(max_length=25, blank=True)  # the engine's word for the reason
    reason = models.TextField(blank=True)
    firing = StormJSONField(default=list)  # fingerprints it tells as firing; copied to NotifyLog once it is sent
    resolved = StormJSONField(default=list)
    log_expires_at = models.DateTimeField(null=True, blank=True)
    digest = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="digested"
    )  # the summary that told it in its place
    message = StormJSONField()  # the channel-neutral message; each way out renders it
    state = models.CharField(max_length=12, choices=State, default=State.QUEUED)
    channel_key = models.CharField(max_length=600, blank=True)
    not_before = models.DateTimeField()
    attempts = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    lease_owner = models.CharField(max_length=100, blank=True)
    is_ambiguous = models.BooleanField(default=False)  # sent, but the answer was lost
    is_shrunk = models.BooleanField(default=False)
    error_class = models.CharField(max_length=80, blank=True)
    last_error = models.TextField(blank=True)
    flushed_at = models.DateTimeField()
    step_run = models.ForeignKey(
        "StepRun", on_delete=models.SET_NULL, null=True, blank=True, related_name="notifications", db_index=False
    )  # the step of an escalation that told it
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    slack_channel = models.CharField(max_length=50, blank=True)
    slack_ts = models.CharField(max_length=30, blank=True)
    permalink = models.CharField(max_length=500, blank=True)
    chart = models.CharField(max_length=200, blank=True)  # what became of the chart in its thread; empty: not tried
    alerts = models.ManyToManyField(Alert, related_name="notifications", blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(
                fields=["not_before"], condition=models.Q(state="queued"), name="notification_due"
            ),  # serves: what is to be sent now
            models.Index(
                fields=["lease_until"], condition=models.Q(state="sending"), name="notification_lease"
            ),  # serves: sends whose worker died
            models.Index(
                fields=["group_key", "integration", "-id"], name="notification_order"
            ),  # serves: order a group
            models.Index(
                fields=["integration", "group_key", "id"],
                condition=models.Q(state__in=["queued", "sending"]),
                name="notification_open",
            ),  # serves: the first open message of each group, which alone may be sent
            models.Index(
                fields=["step_run"], condition=models.Q(step_run__isnull=False), name="notification_step_run"
            ),  # serves: what a step of an escalation came to
            models.Index(fields=["state", "-id"], name="notification_state"),  # serves: dead letters, the list
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} to {self.receiver_name or 'nobody'} ({self.state})"


class Attempt(models.Model):
    """One try to send a notification, with what came back."""

    notification = models.ForeignKey(Notification, on_delete=models.CASCADE, related_name="tries")
    at = models.DateTimeField()
    outcome = models.CharField(max_length=30)
    detail = models.TextField(blank=True)
    duration_seconds = models.FloatField(default=0)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S} {self.outcome}"


class ChannelState(models.Model):
    """Rate limit and breaker of one channel, shared by all workers."""

    class Breaker(models.TextChoices):
        """Whether messages go out."""

        CLOSED = "closed", "sending"
        OPEN = "open", "stopped after errors"
        HALF = "half", "trying one message"

    channel_key = models.CharField(max_length=600, primary_key=True)
    tokens = models.FloatField(default=0)
    refilled_at = models.DateTimeField()
    blocked_until = models.DateTimeField(null=True, blank=True)
    breaker = models.CharField(max_length=10, choices=Breaker, default=Breaker.CLOSED)
    failures = models.PositiveIntegerField(default=0)
    opened_at = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"{self.channel_key}: {self.breaker}"
