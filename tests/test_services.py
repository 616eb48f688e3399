"""The services that tests and `up` stand on."""

import pytest
import redis
from django.db import connection


@pytest.mark.django_db
def test_the_database_is_a_real_postgres():
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version_num")
        assert int(cursor.fetchone()[0]) >= 150000


def test_the_broker_answers(services):
    assert redis.Redis.from_url(services["REDIS_URL"]).ping()
