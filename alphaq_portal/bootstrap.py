"""What a new portal starts with: groups, the first admin, starter rules, dashboards; harmless when repeated."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.contrib.auth.models import Group, Permission, User
from django.db import connection, transaction
from django.db.models import Q

from alerts import revisions, starter
from alphaq_portal.embedded import write_secret
from monitoring.dashboards.builtins import load_builtins

# Any constant does; it only has to differ from the other advisory locks of the portal.
LOCK_KEY = 0x616C7068
ADMIN_NAME = "admin"
_RESPONDER = ("alert", "silence", "notification", "event")
_EDITOR_APPS = ("alerts", "monitoring")


@dataclass(frozen=True)
class FirstAdmin:
    """The account made on the first start; the password is also in `password_file`."""

    name: str
    password: str
    password_file: Path

    def __repr__(self) -> str:
        return f"FirstAdmin({self.name!r})"


def make_groups() -> None:
    """Viewer sees, Responder acts on alerts, Editor changes rules and routes, Admin manages people as well.

    What staff changed stays: later only models that none of the groups knows yet are added, those of a new release.
    """
    portal = Q(content_type__app_label__in=_EDITOR_APPS)
    viewer = portal & Q(codename__startswith="view_")
    responder = viewer | (
        Q(content_type__app_label="alerts")
        & Q(content_type__model__in=_RESPONDER)
        & (Q(codename__startswith="change_") | Q(codename__startswith="add_"))
    )
    admin = portal | Q(content_type__app_label__in=("auth", "admin", "axes"))
    rights = {"Viewer": viewer, "Responder": responder, "Editor": portal, "Admin": admin}
    known = set(
        Permission.objects.filter(group__name__in=rights)
        .values_list("content_type_id", flat=True)
        .distinct()
        .order_by()
    )
    for name, which in rights.items():
        group, made = Group.objects.get_or_create(name=name)
        given = Permission.objects.filter(which)
        group.permissions.add(*(given if made else given.exclude(content_type_id__in=known)))


def make_first_admin(data_dir: Path) -> FirstAdmin | None:
    """Make a superuser with a random password when there is no user at all; None otherwise."""
    if User.objects.exists():
        return None
    password = secrets.token_urlsafe(12)
    password_file = data_dir / "admin.password"
    write_secret(password_file, password + "\n")
    User.objects.create_superuser(ADMIN_NAME, password=password)
    return FirstAdmin(ADMIN_NAME, password, password_file)


def prepare(data_dir: Path, at: datetime, with_starter_rules: bool = True) -> FirstAdmin | None:
    """Bring a migrated database to a usable state, in one transaction and one process at a time."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_KEY])
        make_groups()
        starter.root_receiver()
        if with_starter_rules:
            starter.load(at)
        load_builtins(at)
        revisions.keep_missing(at)
        return make_first_admin(data_dir)
