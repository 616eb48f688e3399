"""From alerts to groups, and what a group says when it is due."""

from datetime import timedelta

import pytest

from alerts import dispatch
from alerts.models import Integration, Notification
from tests import build
from tests.build import T0

pytestmark = pytest.mark.django_db


def seconds(n):
    """T0 plus n seconds."""
    return T0 + timedelta(seconds=n)


def flush(n):
    """The messages made at T0 + n seconds."""
    ids = dispatch.flush_due(seconds(n))
    return list(Notification.objects.filter(pk__in=ids).order_by("id"))


def told(message):
    """The fingerprints of a message: firing, resolved."""
    return message.firing, message.resolved


@pytest.fixture
def webhook():
    """A root route to one webhook."""
    route = build.route(group_wait_seconds=10, group_interval_seconds=60, repeat_interval_seconds=600)
    return build.integration(route.receiver, Integration.Kind.WEBHOOK, url="http://127.0.0.1:1/hook/x")
