"""What every test may ask for: real services, started once a run and only when a test needs them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from django.conf import settings
from django.core.cache import caches
from django.db import connections
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from alphaq_portal import env as portal_env
from alphaq_portal import logs
from alphaq_portal.children import stop_all
from alphaq_portal.embedded import Postgres, Valkey, private_dir

# A loaded machine is no fault of an example: tests assert no time, and neither does hypothesis here.
hypothesis_settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("suite")
SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@contextlib.contextmanager
def running_services() -> Iterator[dict[str, str]]:
    """DATABASE_URL and REDIS_URL of real services: the given ones, else embedded ones of this run."""
    given = {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL") if os.environ.get(name)}
    # As root, Postgres runs as another account and must be able to reach its folder.
    folder = Path(tempfile.mkdtemp(prefix="aq-test-"))
    folder.chmod(0o711)
    run = folder / "run"
    private_dir(run)
    children, urls = [], dict(given)
    try:
        if "DATABASE_URL" not in given:
            postgres = Postgres(folder, run)
            children.append(postgres.start(say=lambda _: None))
            urls["DATABASE_URL"] = postgres.url()
        if "REDIS_URL" not in given:
            valkey = Valkey(folder, run)
            children.append(valkey.start())
            urls["REDIS_URL"] = valkey.url()
        yield urls
    finally:
        connections.close_all()
        stop_all(children)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def services() -> Iterator[dict[str, str]]:
    """DATABASE_URL and REDIS_URL of real services: the given ones, else embedded ones of this run."""
    with running_services() as urls:
        yield urls


@pytest.fixture(scope="session", autouse=True)
def _quick_passwords() -> None:
    """Real password hashing takes most of a second on purpose; tests make many users."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session", autouse=True)
def _no_profiles() -> None:
    """Rates are read every ten seconds: a question more that no test counting questions should meet by chance."""
    settings.ENV = dataclasses.replace(settings.ENV, profiles_kept=0)


@pytest.fixture(scope="session", autouse=True)
def _own_log() -> None:
    """The settings name the Redis of whoever works here: warnings of tests do not belong on that portal's page."""
    logs.configure("INFO")


@pytest.fixture(autouse=True)
def _nothing_bound() -> None:
    """A test's lines carry what that test binds to them, not what the signals of an earlier one left bound."""
    structlog.contextvars.clear_contextvars()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(services: dict[str, str]) -> None:
    """Point Django at the services before the test database is made."""
    use(portal_env.read({**os.environ, **services}))


def use(env: portal_env.Env) -> None:
    """Point the loaded settings of this process at the services that `env` names."""
    database = settings.DATABASES["default"]
    database.update(
        NAME=env.database.name,
        USER=env.database.user,
        PASSWORD=env.database.password,
        HOST=env.database.host,
        PORT=env.database.port,
    )
    connections["default"].close()
    connections["default"].settings_dict.update(database)
    settings.REDIS_URL = env.redis.url
    settings.CACHES["default"]["LOCATION"] = env.redis.url
    for name in caches.settings:
        with contextlib.suppress(AttributeError):  # nobody has used this cache yet
            del caches[name]  # a client made for the old address
