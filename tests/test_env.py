"""Settings from outside: typed, with every problem told at once and no secret shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphaq_portal import env

SECRET = "s3cr3t-value"


def test_an_empty_environment_gives_the_embedded_services(tmp_path: Path):
    read = env.read({"ALPHAQ_DATA_DIR": str(tmp_path)})
    assert read.database.embedded
    assert read.redis.embedded
    assert (read.port, read.bind) == (8000, "127.0.0.1")


def test_every_problem_is_told_at_once():
    with pytest.raises(env.EnvError) as caught:
        env.read(
            {
                "ALPHAQ_PORT": "eighty",
                "ALPHAQ_COLLECT_INTERVAL": "0",
                "DATABASE_URL": "mysql://db/portal",
                "REDIS_URL": "localhost",
                "ALPHAQ_DEBUG": "perhaps",
                "ALPHAQ_METRICS_URL": "prometheus:9090",
                "ALPHAQ_LOG_LEVEL": "loud",
                "ALPHAQ_EMAIL_SECURITY": "ssh",
                "ALPHAQ_EMAIL_FROM": "portal",
                "ALPHAQ_SCRAPE": "sometimes",
            }
        )
    told = "\n".join(caught.value.problems)
    names = "PORT COLLECT_INTERVAL DATABASE_URL REDIS_URL DEBUG METRICS_URL LOG_LEVEL EMAIL_SECURITY EMAIL_FROM SCRAPE"
    for name in names.split():
        assert name in told


@pytest.mark.parametrize(
    ("url", "host", "port", "name", "password"),
    [
        ("postgres://u:p%40ss@db.example:5433/portal", "db.example", "5433", "portal", "p@ss"),
        ("postgresql://u:p@db/portal", "db", "", "portal", "p"),
        ("postgres://u:p@/portal?host=/var/run/postgresql", "/var/run/postgresql", "", "portal", "p"),
    ],
)
def test_a_database_url_is_taken_apart(url: str, host: str, port: str, name: str, password: str):
    database = env.read({"DATABASE_URL": url}).database
    assert (database.host, database.port, database.name, database.password) == (host, port, name, password)
    assert not database.embedded


def test_a_socket_of_redis_is_spelled_as_each_client_wants_it():
    redis = env.read({"REDIS_URL": "unix:///run/redis.sock"}).redis
    assert redis.url == "unix:///run/redis.sock"
    assert redis.celery_url == "redis+socket:///run/redis.sock"


def test_a_secret_may_come_from_a_file(tmp_path: Path):
    path = tmp_path / "key"
    path.write_text(f"{SECRET}\n")
    assert env.read({"ALPHAQ_SECRET_KEY_FILE": str(path)}).secret_key == SECRET


def test_a_secret_file_that_cannot_be_read_is_a_problem(tmp_path: Path):
    with pytest.raises(env.EnvError, match="ALPHAQ_SECRET_KEY_FILE"):
        env.read({"ALPHAQ_SECRET_KEY_FILE": str(tmp_path / "missing")})


def test_no_secret_shows_in_a_repr():
    read = env.read(
        {
            "ALPHAQ_SECRET_KEY": SECRET,
            "ALPHAQ_METRICS_TOKEN": SECRET,
            "ALPHAQ_SLACK_SIGNING_SECRET": SECRET,
            "DATABASE_URL": f"postgres://u:{SECRET}@db/portal",
            "REDIS_URL": f"redis://:{SECRET}@redis/0",
        }
    )
    assert SECRET not in repr(read)


def test_a_data_folder_with_a_long_path_gets_a_short_run_folder(tmp_path: Path):
    deep = tmp_path / ("x" * 120)
    run = env.run_dir_for(deep)
    assert len(str(run / ".s.PGSQL.5432")) <= env.MAX_SOCKET_PATH
    assert run != env.run_dir_for(tmp_path / ("y" * 120))


def test_the_external_address_is_an_allowed_host_and_origin():
    read = env.read({"ALPHAQ_EXTERNAL_URL": "https://watch.example.org/"})
    assert "watch.example.org" in read.allowed_hosts
    assert "https://watch.example.org" in read.csrf_origins


@pytest.mark.parametrize(
    ("given", "security", "port"),
    [
        ({}, "none", 25),
        ({"ALPHAQ_EMAIL_HOST": "mail.example.com"}, "starttls", 587),
        ({"ALPHAQ_EMAIL_HOST": "mail.example.com", "ALPHAQ_EMAIL_SECURITY": "tls"}, "tls", 465),
        ({"ALPHAQ_EMAIL_HOST": "mail.example.com", "ALPHAQ_EMAIL_PORT": "2525"}, "starttls", 2525),
    ],
)
def test_mail_to_another_machine_is_encrypted_unless_said_otherwise(given: dict[str, str], security: str, port: int):
    email = env.read(given).email
    assert (email.security, email.port) == (security, port)


def test_a_mail_password_comes_from_a_file_and_is_never_shown(tmp_path: Path):
    path = tmp_path / "mail"
    path.write_text(SECRET + "\n")
    read = env.read({"ALPHAQ_EMAIL_HOST": "mail.example.com", "ALPHAQ_EMAIL_PASSWORD_FILE": str(path)})
    assert read.email.password == SECRET
    assert SECRET not in repr(read)
    assert SECRET in env.secret_values(read)


def test_a_worker_collects_and_scrapes_unless_told_otherwise():
    assert (env.read({}).collects, env.read({}).scrapes) == (True, True)
    assert not env.read({"ALPHAQ_COLLECT": "0"}).collects
    assert not env.read({"ALPHAQ_SCRAPE": "off"}).scrapes


@pytest.mark.parametrize(("text", "seconds"), [("", 60), ("2s", 2), ("1m", 60), ("500ms", 0.5), ("90", 90)])
def test_the_resend_delay_is_a_duration_or_a_number(text, seconds):
    assert env.read({"ALPHAQ_RESEND_DELAY": text}).resend_delay_seconds == seconds


@pytest.mark.parametrize("text", ["soon", "1.2.3s", "2d", "0s"])
def test_a_resend_delay_that_is_none_is_refused(text):
    with pytest.raises(env.EnvError, match="ALPHAQ_RESEND_DELAY"):
        env.read({"ALPHAQ_RESEND_DELAY": text})
