"""Keeps the last of the database's disk for everything but samples.

A Postgres that cannot write its log stops altogether, and with it rules, alerts and messages. So whoever takes samples
in asks first; what is refused is kept where it is (scrapers, broker, hosts) and written when there is room again.
"""

from __future__ import annotations

import os
import shutil
from functools import lru_cache

from django.db import OperationalError, connection

#: Six segments of Postgres' log; alerts, messages and the house write far less in an hour.
LEAST_FREE_BYTES = 100 << 20


class DiskFull(OperationalError):
    """Samples are refused for want of room; the same call works when there is some."""


def check_room() -> None:
    """Raise DiskFull when the database is on this machine and little of its disk is left."""
    place = _place(str(connection.settings_dict["HOST"]))
    if place is None:
        return
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return
    if free < LEAST_FREE_BYTES:
        raise DiskFull(
            f"No space left for samples: {free >> 20} MB are free on the disk of {place}, and the last"
            f" {LEAST_FREE_BYTES >> 20} MB are kept for everything else. Free some space or shorten the retention;"
            " samples wait meanwhile."
        )


@lru_cache(maxsize=4)
def _place(host: str) -> str | None:
    """Return where a database on a socket of this machine keeps its files; None for any other, or if it hides that."""
    if not host.startswith("/"):
        return None
    with connection.cursor() as cursor:
        cursor.execute("select setting from pg_settings where name = 'data_directory'")
        row = cursor.fetchone()
    return row[0] if row and os.path.isdir(row[0]) else None
