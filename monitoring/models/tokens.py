"""Tokens with which programs ask the API; only their digests are kept."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from simple_history.models import HistoricalRecords

#: So that whoever finds a token in a log knows what it opens.
MARK = "aq_"
SHOWN_CHARS = 8


class ApiToken(models.Model):
    """A secret of one program: what it may do, until when, and when it was last used."""

    class Scope(models.TextChoices):
        """What a token opens."""

        READ = "read", "read: samples, targets, rules, alerts"
        DEPLOY = "deploy", "deploy: tell of deploys of models"
        ALERTS = "alerts", "alerts: send alerts, silence them"
        CONFIG = "config", "config: import rules, routes, escalation and targets"

    name = models.CharField(max_length=100, unique=True, help_text="Who uses it: ci, grafana, prometheus-1 …")
    prefix = models.CharField(max_length=20, editable=False, help_text="How the token begins, to recognise it by.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list, help_text="What it may do.")
    created_by = models.CharField(max_length=150, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never.")
    is_enabled = models.BooleanField("enabled", default=True, help_text="Off: it is refused from now on.")
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    history = HistoricalRecords(excluded_fields=["digest", "last_used_at"])

    class Meta:
        ordering = ["name"]
        verbose_name = "API token"

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse a token that opens nothing or what does not exist; raises ValidationError."""
        known = set(self.Scope.values)
        if not isinstance(self.scopes, list) or not self.scopes or not known.issuperset(map(str, self.scopes)):
            raise ValidationError({"scopes": f"Choose at least one of {', '.join(sorted(known))}."})

    def renew(self) -> str:
        """Give the unsaved or saved row a new secret and return it; nobody can read it again."""
        secret = MARK + secrets.token_urlsafe(32)
        self.prefix, self.digest = secret[: len(MARK) + SHOWN_CHARS], digest_of(secret)
        return secret


def digest_of(secret: str) -> str:
    """Return what is kept of a token: a plain SHA-256, enough for 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def make_token(name: str, scopes: list[str], **fields: Any) -> tuple[ApiToken, str]:
    """Save a new token and return it with its secret; raises ValidationError."""
    token = ApiToken(name=name, scopes=scopes, **fields)
    secret = token.renew()
    token.full_clean()
    token.save()
    return token, secret
