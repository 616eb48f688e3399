"""django-prometheus' Postgres backend that calls a lost connection by its name."""

from __future__ import annotations

from types import TracebackType

import psycopg2
from django.db.utils import DatabaseErrorWrapper, OperationalError
from django.utils.functional import cached_property
from django_prometheus.db.backends.postgresql import base


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
