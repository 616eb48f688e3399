"""manage.py link_slack: say which user of the portal a member of Slack is."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from alerts.models import SlackLink


class Command(BaseCommand):
    """Links a member of Slack to a user, whose rights their presses then have."""

    help = "Say which user of the portal a member of Slack is: presses of the member have the user's rights."

    def add_arguments(self, parser: CommandParser) -> None:
        """The user and the member."""
        parser.add_argument("username")
        parser.add_argument("slack_user_id", help="the member ID, U… or W…")
        parser.add_argument("--team", default="", help="the workspace's ID, T…; without it: any workspace")
        parser.add_argument("--time-zone", default="", help="where 09:00 is, such as Europe/Berlin; without it: UTC")

    def handle(self, *args: Any, **options: Any) -> None:
        """Link, or say what is wrong."""
        user = get_user_model().objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['username']!r}.")
        known = {"team_id": options["team"], "slack_user_id": options["slack_user_id"]}
        link = SlackLink.objects.filter(**known).first() or SlackLink(**known)
        link.user, link.how, link.time_zone = user, SlackLink.How.STAFF, options["time_zone"]
        try:
            link.full_clean()
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        link.save()
        self.stdout.write(f"{link.slack_user_id} is {user.get_username()}.")
