"""One run of the portal: takes the lock, starts the children, watches them, and leaves nothing behind.

Hides: order of start and stop, restart policy, log files, and how a hard kill is recovered from.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from logging import LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType

from alphaq_portal import children, embedded
from alphaq_portal import env as portal_env
from alphaq_portal.children import Child

HELP = "Run the whole portal: database, broker, web, worker and beat. Ctrl-C stops all of it."
BACKLOG = 1024
LOG_BYTES, LOG_FILES = 10_240_000, 10
READY_PATIENCE_SECONDS = 60
# A child that dies more often than this within a minute will not get better by being started again.
DEATHS_A_MINUTE = 5
# Two segments of Postgres' log; with less it dies as soon as it is started.
LEAST_FREE_BYTES = 32 << 20
PLAIN_LEVELS = ("error", "critical")


class RunError(Exception):
    """The portal cannot start or go on; the text says what to change."""


class _Stop(Exception):
    """Somebody asked us to stop."""


class _LogFile(RotatingFileHandler):
    """A log file whose lines are lost while they cannot be written."""

    def handleError(self, record: LogRecord) -> None:
        """Say nothing: the screen has the problems."""


class _Logs:
    """Writes each child's lines to its own rotating file, and problems to the screen."""

    def __init__(self, folder: Path, write: Callable[[str], object], show_all: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._write, self._show_all = folder, write, show_all
        self._files: dict[str, RotatingFileHandler] = {}

    def __call__(self, name: str, line: str) -> None:
        with contextlib.suppress(OSError):  # a full disk must not keep a child from speaking
            if name not in self._files:
                self._files[name] = _LogFile(
                    self.folder / f"{name}.log", maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8"
                )
            self._files[name].emit(LogRecord(name, 20, "", 0, line, None, None))
        if self._show_all:
            self._write(f"  {name} | {line}")
        elif problem := _problem_in(line):
            self._write(f"  {name} | {problem}   (all of it: {self.folder / name}.log)")


def _problem_in(line: str) -> str:
    """What an error line says, short enough for a screen; "" for any other line."""
    if not any(level in line for level in PLAIN_LEVELS):  # most lines: not worth a parser
        return ""
    try:
        entry = json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return ""
    if entry.get("level") not in PLAIN_LEVELS:
        return ""
    causes = entry.get("exception") or [{}]
    cause = f": {causes[0].get('exc_type', '')} {causes[0].get('exc_value', '')}" if causes[0] else ""
    return f"{entry.get('event', '')}{cause}"[:300]


class PortalRun:
    """The children of one data folder, from start to stop."""

    def __init__(self, write: Callable[[str], object], show_logs: bool = False) -> None:
        self.env = portal_env.read()
        self._write = write
        self._started = time.monotonic()
        self._logs: _Logs | None = None
        self._show_logs = show_logs
        self._services: list[tuple[Callable[[], Child], Child]] = []
        self._workers: list[tuple[Callable[[], Child], Child]] = []
        self._deaths: dict[str, list[float]] = {}
        self._book = self.env.data_dir / "children.json"
        self._prepared_file = self.env.data_dir / "prepared"
        self._listener: socket.socket | None = None
        self._is_full = False

    def say(self, text: str) -> None:
        """Tell the person at the terminal how far we are."""
        self._write(f"[{time.monotonic() - self._started:5.1f} s] {text}")

    def until_stopped(self) -> None:
        """Start everything, supervise until a signal, stop everything; raises RunError."""
        with self._listening(), self._locked(), self._signals():
            self._logs = _Logs(self.env.data_dir / "logs", self._write, self._show_logs)
            try:
                self._start()
                self._supervise()
            except _Stop:
                self.say("stopping")
            except embedded.EmbeddedError as error:
                raise RunError(str(error)) from error
            finally:
                self._stop()

    # --- before the start

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Hold the port from the first moment: who asks while the web server starts, or starts anew, waits for it."""
        family = socket.AF_INET6 if ":" in self.env.bind else socket.AF_INET
        with contextlib.closing(socket.socket(family)) as self._listener:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                self._listener.bind((self.env.bind, self.env.port))
                self._listener.listen(BACKLOG)
            except OSError as error:
                raise RunError(
                    f"Port {self.env.port} on {self.env.bind} cannot be used ({error.strerror}). "
                    f"Stop what uses it, or choose another: ALPHAQ_PORT={self.env.port + 1}"
                ) from None
            yield

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock: TextIOWrapper | None = None
        try:
            self.env.data_dir.mkdir(parents=True, exist_ok=True)
            embedded.private_dir(self.env.run_dir)
            lock = (self.env.data_dir / "up.lock").open("w")
        except OSError as error:
            raise RunError(
                f"The data folder {self.env.data_dir} cannot be written ({error.strerror}). "
                "Make it yours, or choose another with ALPHAQ_DATA_DIR."
            ) from None
        except embedded.EmbeddedError as error:
            raise RunError(str(error)) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"A portal is already running on {self.env.data_dir}; stop it first.") from None
            yield
            (self.env.data_dir / "up.lock").unlink(missing_ok=True)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        asked = False

        def stop(_signal: int, _frame: FrameType | None) -> None:
            nonlocal asked
            if not asked:  # a second Ctrl-C must not break off the tidy stop
                asked = True
                raise _Stop

        watched = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, stop) for number in watched}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # --- start

    def _start(self) -> None:
        children.reap_leftovers(self._book, self.say)
        if self._lacks_room():
            raise RunError(f"Free some space on the disk of {self.env.data_dir}, or choose another: ALPHAQ_DATA_DIR.")
        key_file = self.env.data_dir / "secret.key"
        if not key_file.exists():
            embedded.write_secret(key_file, self.env.secret_key)
        os.environ["ALPHAQ_DATA_DIR"] = str(self.env.data_dir)
        self._start_services()
        if not self._is_prepared():
            self._prepare_database()
        self._start_workers()
        self._wait_ready()

    def _start_services(self) -> None:
        if self.env.database.embedded:
            postgres = embedded.Postgres(self.env.data_dir, self.env.run_dir)
            self._add(self._services, lambda: postgres.start(self.say, self._logs))
            os.environ["DATABASE_URL"] = postgres.url()
            self.say("Postgres is up")
        if self.env.redis.embedded:
            valkey = embedded.Valkey(self.env.data_dir, self.env.run_dir)
            self._add(self._services, lambda: valkey.start(self._logs))
            os.environ["REDIS_URL"] = valkey.url()
            self.say("Valkey is up")

    def _prepare_database(self) -> None:
        """Migrate and fill in another process: a supervisor that never loads Django stays small."""
        done = subprocess.run(
            [sys.executable, "manage.py", "prepare"],
            cwd=portal_env.BASE_DIR,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RunError(done.stderr.strip().removeprefix("CommandError: ") or done.stdout.strip())
        for line in done.stdout.splitlines():
            self._write(line)
        self._prepared_file.write_text(self._prepared_state())
        self.say("the database is ready")

    def _is_prepared(self) -> bool:
        """Whether this very code has prepared this very database before: that saves half of a start."""
        state = self._prepared_state()
        with contextlib.suppress(OSError):
            return bool(state) and self._prepared_file.read_text() == state
        return False

    def _prepared_state(self) -> str:
        """What changes when the code or the embedded database does; "" for any other, which is always prepared."""
        contents = embedded.prepared_contents(os.environ["DATABASE_URL"]) if self.env.database.embedded else None
        return f"{_code()} {contents}" if contents else ""

    def _start_workers(self) -> None:
        metrics_dir = self.env.run_dir / "metrics"
        shutil.rmtree(metrics_dir, ignore_errors=True)  # files of dead processes would be counted again
        metrics_dir.mkdir()
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_dir)
        os.environ.setdefault("C_FORCE_ROOT", "1")  # as root Celery refuses pickle, which we do not use
        python = [sys.executable, "-m"]
        queues, processes = "portal,deliver,ingest", str(self.env.worker_processes)
        celery = [*python, "celery", "-A"]
        worker = [*celery, "alphaq_portal", "worker", "-Q", queues, "-c", processes, "-n", "worker@%h", "-l", "INFO"]
        beat = [*celery, "alphaq_portal.schedule", "beat", "--pidfile=", "-l", "WARNING"]
        web = [*python, "gunicorn", "-c", "python:alphaq_portal.gunicorn", "alphaq_portal.wsgi"]
        assert self._listener is not None  # noqa: S101  (held since before the lock)
        listener = self._listener.fileno()
        self._add(self._workers, self._maker("web", web, 15, keep=(listener,), ALPHAQ_LISTEN_FD=str(listener)))
        self._add(self._workers, self._maker("worker", [*worker, "--without-gossip", "--without-mingle"], 20))
        # Named for Django, Celery would load it; beat needs none of it.
        self._add(self._workers, self._maker("beat", beat, 10, DJANGO_SETTINGS_MODULE=""))
        children.remember(self._book, [child for _, child in self._services + self._workers])

    def _maker(
        self, name: str, argv: list[str], grace: float, keep: tuple[int, ...] = (), **env: str
    ) -> Callable[[], Child]:
        return lambda: Child(
            name, argv, grace_seconds=grace, say=self._logs, cwd=portal_env.BASE_DIR, env=env, keep=keep
        )

    @staticmethod
    def _add(place: list[tuple[Callable[[], Child], Child]], make: Callable[[], Child]) -> None:
        place.append((make, make()))

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_PATIENCE_SECONDS
        answer = "no answer"
        while time.monotonic() < deadline:
            self._restart_the_dead()
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, answer = self._ask_ready()
                if status == 200:
                    address = self.env.external_url
                    self.say(f"ready: {address}   (Ctrl-C stops everything)")
                    return
            time.sleep(0.1)
        raise RunError(f"Not ready after {READY_PATIENCE_SECONDS} s; /ready says: {answer}\n{self._tails()}")

    def _ask_ready(self) -> tuple[int, str]:
        host = "127.0.0.1" if self.env.bind in ("0.0.0.0", "::") else self.env.bind  # noqa: S104  (compared, not bound)
        connection = http.client.HTTPConnection(host, self.env.port, timeout=2)
        with contextlib.closing(connection):
            connection.request("GET", "/ready", headers={"Host": "localhost"})
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", "replace")

    # --- supervise

    def _supervise(self) -> None:
        while True:
            self._restart_the_dead()
            time.sleep(0.3)

    def _restart_the_dead(self) -> None:
        for place in (self._services, self._workers):
            for index, (make, child) in enumerate(place):
                if child.exit_code is None or self._lacks_room():
                    continue
                self._note_death(child)
                try:
                    place[index] = (make, make())
                except embedded.EmbeddedError:
                    if not self._lacks_room():
                        raise
                    continue
                children.remember(self._book, [one for _, one in self._services + self._workers])

    def _lacks_room(self) -> bool:
        """Whether too little of the disk is left to start anything; says so when that changes."""
        free = shutil.disk_usage(self.env.data_dir).free
        if (free < LEAST_FREE_BYTES) != self._is_full:
            self._is_full = not self._is_full
            how = "is full; what stopped is started again when there is room" if self._is_full else "has room again"
            self.say(f"the disk of {self.env.data_dir} {how} ({free >> 20} MB are free)")
        return self._is_full

    def _note_death(self, child: Child) -> None:
        """Say that a child died and wait a little longer each time; raises RunError when it dies too often."""
        now = time.monotonic()
        deaths = [moment for moment in self._deaths.get(child.name, []) if now - moment < 60]
        self._deaths[child.name] = [*deaths, now]
        self.say(f"{child.name} ended with status {child.exit_code}; starting it again")
        if len(deaths) >= DEATHS_A_MINUTE:
            raise RunError(f"{child.name} does not stay up. Its last lines:\n{child.tail()}")
        time.sleep(min(0.2 * 2 ** len(deaths), 5))

    def _tails(self) -> str:
        return "\n".join(f"  {child.name}:\n{child.tail(6)}" for _, child in self._workers)

    # --- stop

    def _stop(self) -> None:
        if self._listener is not None:
            self._listener.close()  # from here on nobody shall wait for an answer
        children.stop_all([child for _, child in self._workers])
        children.stop_all([child for _, child in reversed(self._services)])
        self._book.unlink(missing_ok=True)
        (self.env.run_dir / "redis.sock").unlink(missing_ok=True)
        shutil.rmtree(self.env.run_dir / "metrics", ignore_errors=True)
        self.say("stopped")


def _code() -> str:
    """A digest of name, size and time of change of the portal's files and of the list of its libraries."""
    files = [
        path for name in ("alphaq_portal", "monitoring", "alerts") for path in (portal_env.BASE_DIR / name).rglob("*")
    ]
    digest = hashlib.sha256()
    for path in sorted([*files, portal_env.BASE_DIR / "requirements.txt"]):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `up`."""
    parser.add_argument("--show-logs", action="store_true", help="print every log line, not only problems")


def main_with(show_logs: bool) -> int:
    """Run until stopped; returns the exit status after saying what went wrong."""
    try:
        PortalRun(write=_print, show_logs=show_logs).until_stopped()
    except (RunError, portal_env.EnvError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def main(arguments: list[str]) -> int:
    """`manage.py up` without Django."""
    parser = argparse.ArgumentParser(prog="manage.py up", description=HELP)
    add_arguments(parser)
    return main_with(parser.parse_args(arguments).show_logs)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
