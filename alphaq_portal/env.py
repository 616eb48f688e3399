"""Every setting that comes from outside, read once and typed; one error lists every problem.

Hides: environment names, `*_FILE` variants for secrets, and where the embedded services live.
Nothing here starts or creates anything.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

BASE_DIR = Path(__file__).resolve().parent.parent
# sun_path is 108 bytes on Linux and 104 on macOS, with a closing zero; Postgres adds "/.s.PGSQL.5432".
MAX_SOCKET_PATH = 103
# By kind of security; a relay on this machine speaks plainly.
MAIL_PORTS = {"starttls": 587, "tls": 465, "none": 25}
LOCAL_NAMES = ["localhost", "127.0.0.1", "[::1]"]


class EnvError(Exception):
    """The environment holds values that cannot be used; `problems` lists all of them."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("Settings that need a change:\n" + "\n".join(f"  - {problem}" for problem in problems))


@dataclass(frozen=True)
class Database:
    """Where Postgres is; `embedded` means that `manage.py up` runs it."""

    host: str
    port: str
    name: str
    user: str
    password: str = field(repr=False)
    options: dict[str, str] = field(default_factory=dict)
    embedded: bool = False


@dataclass(frozen=True)
class Redis:
    """Where Redis or Valkey is, in the two spellings its clients want."""

    url: str = field(repr=False)
    embedded: bool = False

    @property
    def celery_url(self) -> str:
        """The same address as Celery writes it (`redis+socket://` for a socket)."""
        return "redis+socket://" + self.url.removeprefix("unix://") if self.url.startswith("unix://") else self.url


@dataclass(frozen=True)
class Env:
    """All settings of one process."""

    data_dir: Path
    run_dir: Path
    bind: str
    port: int
    debug: bool
    secret_key: str = field(repr=False)
    allowed_hosts: list[str]
    csrf_origins: list[str]
    database: Database
    redis: Redis
    host_name: str
    collect_interval_seconds: float
    external_url: str
    metrics_token: str = field(repr=False)
    metrics_allow: list[str]
    metrics_url: str = field(repr=False)  # may hold a password
    slack_api_base: str
    slack_signing_secret: str = field(repr=False)
    acknowledge_remind_hours: float
    acknowledge_expire_hours: float
    api_open_on_loopback: bool
    trusted_proxies: int
    log_level: str
    log_dir: str
    retention_days: int
    web_workers: int
    worker_processes: int
    tick_seconds: float
    flapping_changes: int
    most_groups: int
    # Prometheus' --rules.alert.resend-delay: alerts of a rule that its file has no more end after four of these.
    resend_delay_seconds: float
    for_grace_seconds: float
    outage_tolerance_seconds: float
    query_max_steps: int
    query_max_samples: int
    query_max_series: int
    query_timeout_seconds: float
    rule_timeout_seconds: float
    rule_max_series: int
    group_timeout_seconds: float
    evaluation_stopped: str  # "show", "resolve" or "announce"
    collects: bool
    scrapes: bool
    starter_rules: bool
    profiles_kept: int
    email: Email


@dataclass(frozen=True)
class Email:
    """The mail server that email receivers use; without a host nothing can be sent."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    security: str  # "starttls", "tls" or "none"
    sender: str
    timeout_seconds: float


def secret_values(env: Env) -> frozenset[str]:
    """Return the secrets of this process, for whoever must keep them out of texts."""
    holders: tuple[Any, ...] = (env, env.database, env.email)
    found = {getattr(holder, one.name) for holder in holders for one in fields(holder) if not one.repr}
    return frozenset(value for value in found if isinstance(value, str) and value)


class _Reader:
    """Reads typed values and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []

    def text(self, name: str, default: str = "") -> str:
        return self.environ.get(name, "").strip() or default

    def secret(self, name: str) -> str:
        """The value of NAME, or the content of the file that NAME_FILE names."""
        path = self.text(f"{name}_FILE")
        if not path:
            return self.text(name)
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(f"{name}_FILE={path}: cannot be read ({type(error).__name__}); give a readable file")
            return ""

    def number(self, name: str, default: float, low: float, high: float) -> float:
        raw = self.text(name)
        if not raw:
            return default
        try:
            value = float(raw)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            self.problems.append(f"{name}={raw!r}: give a number from {low:g} to {high:g}")
            return default
        return value

    def duration(self, name: str, default: float, low: float, high: float) -> float:
        """Seconds of a number or of a text such as 2s or 1m."""
        raw = self.text(name)
        units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
        found = re.fullmatch(r"([0-9.]+)(ms|s|m|h)", raw)
        if found is None:
            return self.number(name, default, low, high)
        try:
            seconds = float(found[1]) * units[found[2]]
        except ValueError:
            seconds = float("nan")
        if not low <= seconds <= high:
            self.problems.append(f"{name}={raw!r}: give a duration from {low:g} s to {high:g} s, such as 2s or 1m")
            return default
        return seconds

    def flag(self, name: str, default: bool) -> bool:
        raw = self.text(name).lower()
        if raw in ("", "1", "true", "yes", "on", "0", "false", "no", "off"):
            return default if raw == "" else raw in ("1", "true", "yes", "on")
        self.problems.append(f"{name}={raw!r}: give 1 or 0")
        return default

    def choice(self, name: str, default: str, *others: str) -> str:
        """One of some words; the first is what counts when nothing is said."""
        raw = self.text(name).lower() or default
        if raw in (default, *others):
            return raw
        self.problems.append(f"{name}={raw!r}: give {', '.join(others)} or {default}")
        return default

    def items(self, name: str, default: list[str]) -> list[str]:
        raw = self.text(name)
        return [item.strip() for item in raw.split(",") if item.strip()] if raw else default


def run_dir_for(data_dir: Path) -> Path:
    """Where sockets live: `<data>/run`, or a short private folder when that path is too long for a socket."""
    run = data_dir / "run"
    if len(os.fsencode(str(run / ".s.PGSQL.5432"))) <= MAX_SOCKET_PATH:
        return run
    digest = hashlib.sha256(os.fsencode(str(data_dir))).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"alphaq-{os.getuid()}-{digest}"


def _database(reader: _Reader, data_dir: Path, run_dir: Path) -> Database:
    url = reader.secret("DATABASE_URL")
    embedded = not url
    if embedded:
        # Written by the embedded server at its start; before that, the place where it will listen.
        written = data_dir / "database.url"
        url = written.read_text() if os.access(written, os.R_OK) else f"postgres://alphaq@/alphaq?host={run_dir}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    name = unquote(parts.path.lstrip("/"))
    if parts.scheme not in ("postgres", "postgresql") or not name:
        reader.problems.append("DATABASE_URL: give postgres://USER:PASSWORD@HOST:PORT/NAME (a socket: ?host=/folder)")
        return Database("", "", "", "", "")
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    host = options.pop("host", None) or unquote(parts.hostname or "")
    return Database(
        host, str(port or ""), name, unquote(parts.username or ""), unquote(parts.password or ""), options, embedded
    )


def _redis(reader: _Reader, run_dir: Path) -> Redis:
    url = reader.secret("REDIS_URL")
    if not url:
        return Redis(f"unix://{run_dir}/redis.sock", embedded=True)
    if url.startswith("redis+socket://"):
        url = "unix://" + url.removeprefix("redis+socket://")
    if not re.match(r"(rediss?://[^/]+|unix:///.+)", url):
        reader.problems.append("REDIS_URL: give redis://HOST:PORT/0, rediss://… or unix:///path/to/socket")
    return Redis(url)


def _email(reader: _Reader) -> Email:
    host = reader.text("ALPHAQ_EMAIL_HOST")
    security = reader.text("ALPHAQ_EMAIL_SECURITY", "starttls" if host else "none").lower()
    if security not in MAIL_PORTS:
        reader.problems.append(f"ALPHAQ_EMAIL_SECURITY={security!r}: give starttls, tls or none")
        security = "starttls"
    user = reader.text("ALPHAQ_EMAIL_USER")
    sender = reader.text("ALPHAQ_EMAIL_FROM", user if "@" in user else "alphaq@localhost")
    if not re.search(r"[^@\s<]+@[^@\s>]+", sender):
        reader.problems.append(f"ALPHAQ_EMAIL_FROM={sender!r}: give an address such as Alpha-Q <alphaq@example.com>")
    return Email(
        host=host or "localhost",
        port=int(reader.number("ALPHAQ_EMAIL_PORT", MAIL_PORTS[security], 1, 65535)),
        user=user,
        password=reader.secret("ALPHAQ_EMAIL_PASSWORD"),
        security=security,
        sender=sender,
        timeout_seconds=reader.number("ALPHAQ_EMAIL_TIMEOUT", 10, 1, 60),
    )


def _url(reader: _Reader, name: str, default: str) -> str:
    value = reader.text(name, default)
    if value and urlsplit(value).scheme not in ("http", "https"):
        reader.problems.append(f"{name}={value!r}: give an http:// or https:// address")
    return value


def _query_limits(reader: _Reader) -> dict[str, Any]:
    """How much one question may ask for."""
    return {
        "query_max_steps": int(reader.number("ALPHAQ_QUERY_MAX_STEPS", 11_000, 10, 1e6)),
        "query_max_samples": int(reader.number("ALPHAQ_QUERY_MAX_SAMPLES", 50e6, 1000, 1e10)),
        "query_max_series": int(reader.number("ALPHAQ_QUERY_MAX_SERIES", 200_000, 10, 1e8)),
        "query_timeout_seconds": reader.number("ALPHAQ_QUERY_TIMEOUT", 60, 0.1, 3600),
        # A rule is asked again and again, next to others: it may take less than a person's question. A group must end
        # well before the worker's own time limit (90 s), or its slot would be rolled back for ever.
        "rule_timeout_seconds": reader.duration("ALPHAQ_RULE_TIMEOUT", 15, 0.1, 60),
        "rule_max_series": int(reader.number("ALPHAQ_RULE_MAX_SERIES", 200_000, 10, 1e8)),
        "group_timeout_seconds": reader.duration("ALPHAQ_GROUP_TIMEOUT", 45, 0.1, 60),
    }


def _parts(reader: _Reader) -> dict[str, Any]:
    """What this process does of the portal's work, and with how many processes."""
    return {
        "web_workers": int(reader.number("ALPHAQ_WEB_WORKERS", 2, 1, 64)),
        "worker_processes": int(reader.number("ALPHAQ_WORKER_PROCESSES", 2, 1, 64)),
        "collects": reader.flag("ALPHAQ_COLLECT", True),
        "scrapes": reader.flag("ALPHAQ_SCRAPE", True),
        "starter_rules": reader.flag("ALPHAQ_STARTER_RULES", True),
    }


def read(environ: Mapping[str, str] | None = None) -> Env:
    """Return the settings of this process; raises EnvError naming every value that cannot be used."""
    reader = _Reader(os.environ if environ is None else environ)
    data_dir = Path(reader.text("ALPHAQ_DATA_DIR", str(BASE_DIR / "var"))).expanduser().absolute()
    run_dir = run_dir_for(data_dir)
    key_file = data_dir / "secret.key"
    stored_key = key_file.read_text().strip() if os.access(key_file, os.R_OK) else ""
    port = int(reader.number("ALPHAQ_PORT", 8000, 1, 65535))
    bind = reader.text("ALPHAQ_BIND", "127.0.0.1")
    log_level = reader.text("ALPHAQ_LOG_LEVEL", "INFO").upper()
    if log_level not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        reader.problems.append(f"ALPHAQ_LOG_LEVEL={log_level!r}: give DEBUG, INFO, WARNING, ERROR or CRITICAL")
    external_url = _url(reader, "ALPHAQ_EXTERNAL_URL", f"http://localhost:{port}").rstrip("/")
    external = urlsplit(external_url)
    values: dict[str, Any] = {
        "data_dir": data_dir,
        "run_dir": run_dir,
        "bind": bind,
        "port": port,
        "debug": reader.flag("ALPHAQ_DEBUG", False),
        "secret_key": reader.secret("ALPHAQ_SECRET_KEY") or stored_key or secrets.token_urlsafe(48),
        # The address in our own links works without being named twice.
        "allowed_hosts": [*reader.items("ALPHAQ_ALLOWED_HOSTS", LOCAL_NAMES), external.hostname or "localhost"],
        "csrf_origins": [*reader.items("ALPHAQ_CSRF_TRUSTED_ORIGINS", []), f"{external.scheme}://{external.netloc}"],
        "database": _database(reader, data_dir, run_dir),
        "redis": _redis(reader, run_dir),
        "host_name": reader.text("ALPHAQ_HOST_NAME", socket.gethostname()),
        "collect_interval_seconds": reader.number("ALPHAQ_COLLECT_INTERVAL", 15, 1, 3600),
        "external_url": external_url,
        "metrics_token": reader.secret("ALPHAQ_METRICS_TOKEN"),
        "metrics_allow": reader.items("ALPHAQ_METRICS_ALLOW", []),
        "metrics_url": _url(reader, "ALPHAQ_METRICS_URL", ""),
        "slack_api_base": _url(reader, "ALPHAQ_SLACK_API_BASE", "https://slack.com/api/"),
        "slack_signing_secret": reader.secret("ALPHAQ_SLACK_SIGNING_SECRET"),
        "acknowledge_remind_hours": reader.number("ALPHAQ_ACKNOWLEDGE_REMIND_HOURS", 4, 0, 720),
        "acknowledge_expire_hours": reader.number("ALPHAQ_ACKNOWLEDGE_EXPIRE_HOURS", 24, 0, 720),
        "api_open_on_loopback": reader.flag("ALPHAQ_API_OPEN_ON_LOOPBACK", True),
        "trusted_proxies": int(reader.number("ALPHAQ_TRUSTED_PROXIES", 0, 0, 10)),
        "log_level": log_level,
        "log_dir": reader.text("ALPHAQ_LOG_DIR"),
        "retention_days": int(reader.number("ALPHAQ_RETENTION_DAYS", 15, 1, 3650)),
        "tick_seconds": reader.number("ALPHAQ_TICK_SECONDS", 1, 0.1, 60),
        "flapping_changes": int(reader.number("ALPHAQ_FLAPPING_CHANGES", 10, 0, 1000)),
        "most_groups": int(reader.number("ALPHAQ_MOST_GROUPS", 20_000, 100, 1_000_000)),
        "resend_delay_seconds": reader.duration("ALPHAQ_RESEND_DELAY", 60, 0.1, 86400),
        # As Prometheus' --rules.alert.for-grace-period and -for-outage-tolerance: clocks of “for” after an outage.
        "for_grace_seconds": reader.duration("ALPHAQ_FOR_GRACE", 600, 0, 86400),
        "outage_tolerance_seconds": reader.duration("ALPHAQ_OUTAGE_TOLERANCE", 3600, 0, 7 * 86400),
        **_query_limits(reader),
        **_parts(reader),
        "evaluation_stopped": reader.choice("ALPHAQ_EVALUATION_STOPPED", "show", "resolve", "announce"),
        "profiles_kept": int(reader.number("ALPHAQ_PROFILES_KEPT", 200, 0, 10_000)),
        "email": _email(reader),
    }
    if reader.problems:
        raise EnvError(reader.problems)
    return Env(**values)
