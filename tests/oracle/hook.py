"""What the alert bench asks for before and while it plays a scenario on the portal.

`hook.py setup` gives the scenario an empty portal: a data folder that was started once and stopped again, made for the
first scenario and copied for the others, since making the tables takes longest.
`hook.py COMMAND FILE` posts a file to the portal while it runs, which takes no start of Django; before that it is only
noted.
`hook.py` alone works off what was noted, in one process.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = Path(os.environ["AQ_WORK"])
NOTED, TOKEN = WORK / "imports.txt", WORK / "portal.token"


def setup() -> None:
    """Copy the prepared data folder to where the scenario's portal looks for its own."""
    files = sorted(path for app in ("alerts", "monitoring") for path in (ROOT / app / "migrations").glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
    prepared = WORK.parent / f".portal-{digest}"
    with (WORK.parent / ".portal.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (prepared / "prepared").exists():
            _prepare(prepared)
    subprocess.run(["cp", "-a", str(prepared), os.environ["ALPHAQ_DATA_DIR"]], check=True)


def _prepare(folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "ALPHAQ_DATA_DIR": str(folder), "ALPHAQ_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "manage.py", "up"]
    run = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.stdout is not None
    for line in run.stdout:
        if "ready: http" in line:
            run.send_signal(signal.SIGINT)
    if run.wait():
        sys.exit(f"the portal did not start on {folder}; see {folder}/logs")


def main(arguments: list[str]) -> None:
    """Note one import, or do one or all of them; a refused file ends with an error and changes nothing."""
    if arguments == ["setup"]:
        setup()
        return
    if arguments:
        if not (TOKEN.exists() and _post(*arguments)):
            with NOTED.open("a") as noted:
                noted.write(" ".join(arguments) + "\n")
        return
    if not NOTED.exists():  # started again
        return
    sys.path.insert(0, str(ROOT))
    import django

    django.setup()
    from django.core.management import call_command

    from monitoring.models import ApiToken
    from monitoring.models.tokens import make_token

    noted = NOTED.read_text().splitlines()
    # The evaluation interval of the configuration holds for the rules that come after it.
    for line in sorted(noted, key=lambda line: not line.startswith("import_prometheus ")):
        call_command(*line.split(" ", 1))
    NOTED.unlink()
    call_command("link_slack", "admin", "U123")  # who presses buttons in the bench
    if not TOKEN.exists():
        TOKEN.write_text(make_token("bench", [ApiToken.Scope.CONFIG])[1])


def _post(command: str, file: str) -> bool:
    """Send a file; a refused one is told on standard error and ends with 1. False when no portal runs."""
    path = Path(file)
    query = urllib.parse.urlencode({"owner": str(path.resolve())})
    address = f"http://127.0.0.1:{os.environ['ALPHAQ_PORT']}/api/v1/import/{command.removeprefix('import_')}?{query}"
    headers = {"Content-Type": "application/yaml", "Authorization": f"Bearer {TOKEN.read_text()}"}
    request = urllib.request.Request(address, path.read_bytes(), headers)  # noqa: S310  (loopback)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            sys.stdout.write(answer.read().decode())
    except urllib.error.HTTPError as error:
        sys.exit(error.read().decode())
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
