"""What Django is told when a connection to Postgres is lost."""

import time

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


@pytest.fixture
def kept():
    """A connection of its own to the database of the test, as a request finds it."""
    other = connection.copy()
    other.connect()
    yield other
    other.close()


def test_a_connection_that_lives_is_usable_without_a_question(kept):
    with kept.cursor() as cursor:
        cursor.execute("SELECT 'the last statement'")
    assert kept.is_usable()
    assert "the last statement" in _last_statement(kept)


def test_one_that_the_server_ended_is_not_usable(kept):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [kept.connection.info.backend_pid])
    assert not kept.is_usable()


def test_after_a_failure_and_in_a_transaction_left_open_the_server_is_asked(kept):
    kept.errors_occurred = True
    assert kept.is_usable()
    assert "SELECT 1" in _last_statement(kept)
    kept.errors_occurred = False
    with kept.cursor() as cursor:
        cursor.execute("BEGIN")
        with pytest.raises(ProgrammingError):
            cursor.execute("SELECT nothing_of_that_name")
    kept.errors_occurred = False
    assert not kept.is_usable()


def test_what_the_server_says_unasked_does_not_end_a_connection(kept):
    with kept.cursor() as cursor:
        cursor.execute("LISTEN portal_test")
    with psycopg2.connect(kept.connection.dsn, password=connection.settings_dict["PASSWORD"]) as other:
        other.cursor().execute("NOTIFY portal_test")
    _wait_until_readable(kept)
    assert kept.is_usable()


def _last_statement(kept) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [kept.connection.info.backend_pid])
        return cursor.fetchone()[0]


def _wait_until_readable(kept) -> None:
    deadline = time.monotonic() + 10
    while not kept._has_news():
        assert time.monotonic() < deadline
        time.sleep(0.01)
