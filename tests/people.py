"""Makers of users for tests of pages."""

from __future__ import annotations

from django.contrib.auth.models import Group, User
from django.test import Client

from alphaq_portal.bootstrap import make_groups


def member(group: str, name: str = "vera") -> User:
    """A user of one of the portal's groups: Viewer, Responder, Editor or Admin."""
    make_groups()
    user = User.objects.create_user(name, password="x", is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    return user


def signed_in(user: User) -> Client:
    """A client of its own in which `user` is signed in."""
    client = Client()
    client.force_login(user)
    return client


def superuser(name: str = "root") -> User:
    """A superuser."""
    return User.objects.create_superuser(name, password="x")
