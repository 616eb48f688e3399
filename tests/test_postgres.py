"""What Django is told when a connection to Postgres is lost."""

import psycopg2
import pytest
from django.db import DatabaseError, OperationalError, ProgrammingError, connection, transaction

pytestmark = pytest.mark.django_db


def test_a_lost_connection_is_an_operational_error_whatever_psycopg2_calls_it():
    """Now and then it raises its base class, as it did under a commit whose server had just been killed."""
    was = connection.errors_occurred
    with pytest.raises(OperationalError, match="server closed") as told, connection.wrap_database_errors:
        raise psycopg2.DatabaseError("server closed the connection unexpectedly")
    assert isinstance(told.value.__cause__, psycopg2.DatabaseError)
    assert connection.errors_occurred  # looked at before it is used again
    connection.errors_occurred = was


def test_what_postgres_refuses_stays_what_it_is():
    with pytest.raises(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT nothing_of_that_name")
    with pytest.raises(DatabaseError) as told, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DO $$ BEGIN RAISE EXCEPTION SQLSTATE 'AQ001'; END $$")
    assert not isinstance(told.value, OperationalError)
