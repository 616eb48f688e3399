"""People in Slack: who they are here, and what they pressed."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from alerts.models.notifications import Notification


class SlackLink(models.Model):
    """A member of a Slack workspace and the portal user whose rights that member has."""

    class How(models.TextChoices):
        """Who says that both are one person."""

        EMAIL = "email", "the same e-mail address"
        CODE = "code", "confirmed by the user"
        STAFF = "staff", "entered by staff"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="slack_links")
    # Empty: of any workspace; for links that staff enter by hand.
    team_id = models.CharField("workspace", max_length=30, blank=True, help_text="Its ID, T…; empty: any.")
    slack_user_id = models.CharField("Slack user", max_length=30, help_text="The member ID, U… or W….")
    how = models.CharField(max_length=10, choices=How, default=How.STAFF, editable=False)
    time_zone = models.CharField(max_length=64, blank=True, help_text="Such as Europe/Berlin; empty: UTC.")
    linked_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "Slack user"
        ordering = ["user__username"]
        constraints = [
            models.UniqueConstraint(
                fields=["team_id", "slack_user_id"],
                name="slacklink_once_a_member",
                violation_error_message="This Slack user is linked already.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.slack_user_id} is {self.user}"


class SlackClick(models.Model):
    """One press of a button or sent dialogue in Slack: who, what, and what came of it; pressed twice it counts once."""

    key = models.CharField(max_length=64, unique=True)  # sha256 of workspace, member, time and name of the action
    at = models.DateTimeField()
    team_id = models.CharField(max_length=30, blank=True)
    slack_user_id = models.CharField(max_length=30)
    slack_user_name = models.CharField(max_length=100, blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    action = models.CharField(max_length=60)
    notification = models.ForeignKey(Notification, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    # What is needed to act and answer, while it is not done: channel, thread, trigger_id, response_url, values.
    request = models.JSONField(default=dict)
    done_at = models.DateTimeField(null=True, blank=True)
    outcome = models.TextField(blank=True)

    class Meta:
        verbose_name = "Slack click"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["id"], condition=models.Q(done_at=None), name="slackclick_waiting")
        ]  # serves: what is still to be done

    def __str__(self) -> str:
        return f"{self.action} by {self.slack_user_name or self.slack_user_id}"
