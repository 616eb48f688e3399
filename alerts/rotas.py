"""Rotas and people as the engine and the outbox need them: who is on call, and the ways out of one person.

A person is told through a receiver of their own, made from their e-mail address and Slack link when first needed; staff
may add ways to it or switch one off like those of any receiver.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from alerts.engine import rota as engine
from alerts.models import Integration, Receiver, Rota, SlackApp, SlackLink

User = Any  # settings.AUTH_USER_MODEL


def value(row: Rota) -> engine.Rota:
    """A rota as the engine sees it; people are named by their user name."""
    return engine.Rota(
        name=row.name,
        members=tuple(member.user.get_username() for member in row.members.select_related("user")),
        starts_on=row.starts_on,
        handover_minute=row.handover_at.hour * 60 + row.handover_at.minute,
        location=row.location,
        weeks_per_turn=row.weeks_per_turn,
        overrides=tuple(
            engine.Override(one.user.get_username(), one.starts_at, one.ends_at)
            for one in row.overrides.select_related("user").order_by("starts_at", "id")
        ),
    )


def on_call(row: Rota, at: datetime) -> engine.Shift | None:
    """Who is on call at `at` and until when; None before the first handover or without members."""
    return engine.on_call(value(row), at)


def own_receiver(user: User) -> Receiver:
    """The receiver of one person, with the ways out that are known of them now; it may have none."""
    receiver = Receiver.objects.filter(user=user).first() or _new_receiver(user)
    kinds = set(receiver.integrations.values_list("kind", flat=True))
    if user.email and Integration.Kind.EMAIL not in kinds:
        Integration.objects.create(receiver=receiver, kind=Integration.Kind.EMAIL, target=user.email)
    link = SlackLink.objects.filter(user=user).order_by("-linked_at").first()
    app = SlackApp.objects.exclude(bot_token="").order_by("id").first()
    if link is not None and app is not None and Integration.Kind.SLACK not in kinds:
        # Slack opens a direct message when a member's ID stands in place of a channel's.
        Integration.objects.create(
            receiver=receiver, kind=Integration.Kind.SLACK, slack_app=app, target=link.slack_user_id
        )
    return receiver


def _new_receiver(user: User) -> Receiver:
    name = f"{user.get_username()} (personal)"
    if Receiver.objects.filter(name=name).exists():
        name = f"{name} {user.pk}"
    return Receiver.objects.create(name=name, user=user)


def ways(receivers: Iterable[Receiver]) -> list[Integration]:
    """The ways out of these receivers that are switched on, each once."""
    rows = Integration.objects.filter(receiver__in=list(receivers), is_enabled=True)
    return list(rows.select_related("receiver", "slack_app").order_by("id"))
