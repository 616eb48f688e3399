"""Who is told: receivers with their ways out, and the tree that leads there."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from simple_history.models import HistoricalRecords

from alerts.engine.intervals import IntervalError, zone
from alerts.engine.matching import MatcherError, parse_alertmanager_matchers
from alerts.models.fields import DurationField


class SlackApp(models.Model):
    """A Slack app with a bot token; its secrets are written, never shown again."""

    name = models.CharField(max_length=100, unique=True, default="Slack")
    bot_token = models.CharField(max_length=500, help_text="Starts with xoxb-. Needs chat:write.")
    signing_secret = models.CharField(max_length=200, blank=True)
    app_token = models.CharField(max_length=500, blank=True, help_text="Starts with xapp-. For buttons by Socket Mode.")
    team = models.CharField(max_length=200, blank=True, editable=False)

    class Meta:
        verbose_name = "Slack app"

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<SlackApp {self.pk} {self.name}>"


class Receiver(models.Model):
    """A name that routes point to; it tells through each of its ways out."""

    name = models.CharField(max_length=200, unique=True)
    fallback = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="Told instead when a message here is given up.",
    )
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="own_receiver",
        help_text="Whose ways out these are, when an escalation tells a person.",
    )
    managed_by = models.CharField(max_length=200, blank=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Integration(models.Model):
    """One way out of a receiver: a Slack channel, a webhook address, a mailbox."""

    class Kind(models.TextChoices):
        """The kind of way out (in DESIGN's word: channel)."""

        SLACK = "slack", "Slack channel by bot token"
        SLACK_WEBHOOK = "slack_webhook", "Slack incoming webhook"
        EMAIL = "email", "email"
        WEBHOOK = "webhook", "webhook (Alertmanager JSON)"
        APPRISE = "apprise", "other service (Apprise address)"

    receiver = models.ForeignKey(Receiver, on_delete=models.CASCADE, related_name="integrations")
    kind = models.CharField(max_length=20, choices=Kind, default=Kind.SLACK)
    slack_app = models.ForeignKey(SlackApp, on_delete=models.PROTECT, null=True, blank=True)
    target = models.CharField(
        max_length=500, blank=True, help_text="#channel or channel id for Slack; an address for email."
    )
    url = models.CharField("address", max_length=2000, blank=True, help_text="Webhook address; written, never shown.")
    send_resolved = models.BooleanField("tell resolved", default=True)
    title_template = models.TextField(blank=True)
    text_template = models.TextField(blank=True)
    max_alerts = models.PositiveIntegerField(
        "most alerts", default=0, help_text="A webhook is told of this many alerts at most; 0: of all."
    )
    managed_by = models.CharField(max_length=200, blank=True, editable=False)
    is_enabled = models.BooleanField("on", default=True)
    last_ok_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_error = models.TextField(blank=True, editable=False)
    last_error_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["receiver", "id"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.target}".strip()

    def clean(self) -> None:
        """Each kind needs its own fields; raises ValidationError by field."""
        problems: dict[str, str] = {}
        if self.kind == self.Kind.SLACK:
            if not self.slack_app_id:
                problems["slack_app"] = "Choose the Slack app whose bot token posts here, or use an incoming webhook."
            if not self.target.strip():
                problems["target"] = "Give the channel, such as #ml-alerts."
        elif self.kind == self.Kind.EMAIL:
            if "@" not in self.target:
                problems["target"] = "Give an email address."
        elif self.kind == self.Kind.APPRISE:
            if "://" not in self.url:
                problems["url"] = "Give the service's Apprise address, such as ntfy://ntfy.example.org/alerts."
        elif not self.url.startswith(("https://", "http://")):
            problems["url"] = "Give the address of the webhook; it starts with https://."
        if problems:
            raise ValidationError(problems)

    @property
    def channel_key(self) -> str:
        """What shares one rate limit: a channel of one app, or one webhook address."""
        if self.kind == self.Kind.SLACK:
            return f"slack:{self.slack_app_id}:{self.target}"
        return f"{self.kind}:{self.pk}"


class TimeInterval(models.Model):
    """A named set of times, in Alertmanager's notation."""

    name = models.CharField(max_length=200, unique=True)
    spec = models.JSONField(default=list)
    managed_by = models.CharField(max_length=200, blank=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


def clean_location(value: str) -> None:
    """Refuse what is no IANA time zone; raises ValidationError."""
    try:
        zone(value)
    except IntervalError as error:
        raise ValidationError(f"Unknown time zone {value!r}; write a name such as Europe/Zagreb.") from error


def clean_matchers(value: Any) -> None:
    """A JSON list of matchers such as `severity="critical"`; raises ValidationError."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValidationError('Give a JSON list of matchers, such as ["severity=\\"critical\\""].')
    for text in value:
        try:
            parse_alertmanager_matchers(text)
        except MatcherError as error:
            raise ValidationError(f"{text}: {error}") from error


def clean_group_by(value: Any) -> None:
    """A JSON list of label names, or ["..."] alone; None inherits. Raises ValidationError (AR-7)."""
    if value is None:
        return
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValidationError('Give a JSON list of label names, such as ["alertname"], or ["..."] for all labels.')
    if len(set(value)) != len(value) or ("..." in value and len(value) > 1):
        raise ValidationError('Name each label once; "..." stands alone.')


class Route(models.Model):
    """A node of the routing tree; what it leaves empty it inherits from its parent."""

    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, blank=True, related_name="children")
    position = models.PositiveIntegerField(default=0)
    matchers = models.JSONField(default=list, blank=True, validators=[clean_matchers])
    receiver = models.ForeignKey(Receiver, on_delete=models.PROTECT, null=True, blank=True, related_name="routes")
    group_by = models.JSONField(null=True, blank=True, validators=[clean_group_by])
    group_wait_seconds = DurationField("group wait", null=True, blank=True)
    group_interval_seconds = DurationField(
        "group interval", null=True, blank=True, validators=[MinValueValidator(0.001)]
    )
    repeat_interval_seconds = DurationField(
        "repeat interval", null=True, blank=True, validators=[MinValueValidator(0.001)]
    )
    goes_on = models.BooleanField("continue", default=False, help_text="Try the following siblings as well.")
    mute_intervals = models.ManyToManyField(TimeInterval, blank=True, related_name="+")
    active_intervals = models.ManyToManyField(TimeInterval, blank=True, related_name="+")
    escalation = models.ForeignKey(
        "EscalationPolicy", on_delete=models.SET_NULL, null=True, blank=True, related_name="routes",
        help_text="What happens when nobody acknowledges; empty: as the parent.",
    )  # fmt: skip
    managed_by = models.CharField(max_length=200, blank=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["parent_id", "position", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["parent"], condition=models.Q(parent__isnull=True), nulls_distinct=False, name="route_one_root"
            )
        ]

    def __str__(self) -> str:
        return ", ".join(self.matchers) if self.parent_id else "root"

    def clean(self) -> None:
        """The root matches everything; a node is no ancestor of itself (AR-5). Raises ValidationError."""
        if self.parent_id is None:
            if self.matchers:
                raise ValidationError({"matchers": "The root route matches everything; empty its matchers."})
            if self.goes_on:
                raise ValidationError({"goes_on": "The root route has no siblings to continue with."})
            return
        node, seen = self.parent, {self.pk}
        while node is not None:
            if node.pk in seen:
                raise ValidationError({"parent": "This route would lie under itself; choose another parent."})
            seen.add(node.pk)
            node = node.parent
