"""Who somebody in Slack is here: by an entered or confirmed link, else by the same e-mail address.

Hides how a member proves to be a user: the code in the link page's address is signed and lasts a quarter of an hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from django.contrib.auth import get_user_model
from django.core import signing

from alerts.channels import slack_people
from alerts.channels.base import DeliveryError
from alerts.channels.slack import SlackBotConfig
from alerts.models import SlackLink

log = structlog.get_logger(__name__)
_SALT = "alerts.slack-link"
CODE_SECONDS = 900


class BadCode(ValueError):
    """The code is not ours or too old; the text says what to do."""


@dataclass(frozen=True)
class Member:
    """Somebody in a Slack workspace; home_team_id is another workspace's for guests of a shared channel."""

    team_id: str
    user_id: str
    name: str = ""
    home_team_id: str = ""

    @property
    def is_guest(self) -> bool:
        """Whether another workspace vouches for this member's name and address."""
        return bool(self.home_team_id) and self.home_team_id != self.team_id


def find(member: Member, config: SlackBotConfig | None) -> SlackLink | None:
    """The link of a member to an active user, made now where both have the same e-mail address; else None.

    Asks Slack once where there is no link yet. A guest's address is not believed: their own workspace decides it.
    """
    links = SlackLink.objects.filter(slack_user_id=member.user_id, team_id__in=(member.team_id, ""))
    link = links.select_related("user").order_by("-team_id").first()
    if link is not None:
        return link if link.user.is_active else None
    if config is None or member.is_guest:
        return None
    try:
        profile = slack_people.profile_of(config, member.user_id)
    except DeliveryError as error:
        log.info("slack_member_not_read", error=error.text)
        return None
    user = _user_of(profile)
    return None if user is None else _link(member, user, SlackLink.How.EMAIL, profile.time_zone)


def code_of(member: Member) -> str:
    """The code that lets a signed-in user take this member as their own."""
    return signing.dumps({"t": member.team_id, "u": member.user_id, "n": member.name}, salt=_SALT, compress=True)


def member_of(code: str) -> Member:
    """The member that a code speaks of; raises BadCode."""
    try:
        known = signing.loads(code, salt=_SALT, max_age=CODE_SECONDS)
        return Member(known["t"], known["u"], known["n"])
    except signing.SignatureExpired:
        raise BadCode("This address is older than 15 minutes. Press a button in Slack for a new one.") from None
    except (signing.BadSignature, KeyError, TypeError):
        raise BadCode("This address is not complete. Press a button in Slack and open the address it shows.") from None


def confirm(code: str, user: Any, config: SlackBotConfig | None = None) -> SlackLink:
    """Link the member of a code to `user`, who says that they are one; raises BadCode."""
    member = member_of(code)
    time_zone = ""
    if config is not None:
        try:
            time_zone = slack_people.profile_of(config, member.user_id).time_zone
        except DeliveryError as error:
            log.info("slack_member_not_read", error=error.text)
    return _link(member, user, SlackLink.How.CODE, time_zone)


def _user_of(profile: slack_people.Profile) -> Any | None:
    if not profile.email or not profile.is_person:
        return None
    users = list(get_user_model().objects.filter(email__iexact=profile.email, is_active=True)[:2])
    return users[0] if len(users) == 1 else None


def _link(member: Member, user: Any, how: str, time_zone: str) -> SlackLink:
    values = {"user": user, "how": how, "time_zone": time_zone}
    link, _ = SlackLink.objects.update_or_create(team_id=member.team_id, slack_user_id=member.user_id, defaults=values)
    log.info("slack_user_linked", slack_user=member.user_id, user=user.get_username(), how=how)
    return link
