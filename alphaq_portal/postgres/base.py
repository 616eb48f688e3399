"""django-prometheus' Postgres backend that calls a lost connection by its name, and asks the kernel whether one is."""

from __future__ import annotations

import select
from types import TracebackType

import psycopg2
from django.db.utils import DatabaseErrorWrapper, OperationalError
from django.utils.functional import cached_property
from django_prometheus.db.backends.postgresql import base
from psycopg2 import extensions


class _LostIsOperational(DatabaseErrorWrapper):
    """psycopg2 usually raises OperationalError when a server dies, and now and then its base class, with no SQLSTATE.

    Whoever waits for a database to come back must know both: what Postgres itself refuses always has a SQLSTATE.
    """

    wrapper: base.DatabaseWrapper

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is psycopg2.DatabaseError and isinstance(error, psycopg2.DatabaseError) and error.pgcode is None:
            self.wrapper.errors_occurred = True
            raise OperationalError(*error.args).with_traceback(traceback) from error
        super().__exit__(kind, error, traceback)


class DatabaseWrapper(base.DatabaseWrapper):
    """The backend of settings.DATABASES."""

    @cached_property
    def wrap_database_errors(self) -> DatabaseErrorWrapper:
        """What turns psycopg2's errors into Django's."""
        return _LostIsOperational(self)

    def is_usable(self) -> bool:
        """Whether the connection still leads to a server.

        A server that ended it has said so to the kernel: something is there to be read. Where nothing is, and nothing
        has failed, the question `SELECT 1` of Django, before the first statement of each request, is spared.
        """
        if self.connection is None or self.errors_occurred or self.connection.closed or self._has_news():
            return bool(super().is_usable())
        return True

    def _has_news(self) -> bool:
        if self.connection.get_transaction_status() != extensions.TRANSACTION_STATUS_IDLE:
            return True
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))
