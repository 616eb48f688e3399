"""Connections of tasks to the database: kept from one to the next, replaced when Postgres was started again."""

from types import SimpleNamespace

import pytest
from celery import signals
from celery.fixups.django import DjangoWorkerFixup
from django.db import connection, connections

from alphaq_portal.celery import app

pytestmark = pytest.mark.django_db(transaction=True)


def backend() -> int:
    """Which process of Postgres serves this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def between_tasks() -> None:
    """What a worker does after one task and before the next."""
    task = SimpleNamespace(name="one", request=SimpleNamespace(is_eager=False))
    fixup = DjangoWorkerFixup(app)
    for signal, own in ((signals.task_postrun, fixup.on_task_postrun), (signals.task_prerun, fixup.on_task_prerun)):
        own(task)
        signal.send(sender="a worker", task=task, task_id="1")


def test_the_next_task_has_the_connection_of_the_one_before():
    connection.close()  # an earlier test's may be so old that it is renewed
    before = backend()
    between_tasks()
    assert backend() == before


def test_a_connection_that_broke_fails_no_task():
    before = backend()
    other = connections.create_connection("default")
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [before])
    other.close()
    between_tasks()
    assert backend() != before
