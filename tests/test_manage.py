"""Commands at a terminal: what goes wrong outside is a sentence, not a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.portal import ROOT, free_port


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command on a database that nobody answers for."""
    env = {**os.environ, "DATABASE_URL": f"postgres://u:hunter2@127.0.0.1:{free_port()}/portal"}
    env["DJANGO_SETTINGS_MODULE"] = "alphaq_portal.settings"
    run = [sys.executable, "manage.py", *words]
    return subprocess.run(run, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_a_database_that_does_not_answer_is_told_in_two_lines(tmp_path: Path):
    file = tmp_path / "rules.yml"
    file.write_text("groups: []\n")
    done = command("import_rules", str(file))
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert "DATABASE_URL" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert "hunter2" not in done.stderr


def test_the_traceback_is_there_for_who_asks():
    assert "Traceback" in command("store", "--traceback", "status").stderr
