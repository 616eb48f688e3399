"""Imports for the alert bench: `hook.py COMMAND FILE` at once while the portal runs, before that only noted.

`hook.py` alone works off what was noted, in one process, and has the portal's own rules keep quiet: the machine that
runs the bench is busy, and their alerts are no part of a scenario.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = Path(os.environ["AQ_WORK"])
NOTED, RUNNING = WORK / "imports.txt", WORK / "portal-runs"


def main(arguments: list[str]) -> None:
    """Note one import, or do one or all of them; a refused file ends with an error and changes nothing."""
    if arguments and not RUNNING.exists():
        with NOTED.open("a") as noted:
            noted.write(" ".join(arguments) + "\n")
        return
    sys.path.insert(0, str(ROOT))
    import django

    django.setup()
    from django.core.management import call_command

    if arguments:
        call_command(*arguments)
        return
    from alerts.models import RuleGroup
    from alerts.starter import GROUP_NAME

    RuleGroup.objects.filter(name=GROUP_NAME, managed_by="").update(is_enabled=False)
    for line in NOTED.read_text().splitlines() if NOTED.exists() else ():
        call_command(*line.split(" ", 1))
    RUNNING.touch()


if __name__ == "__main__":
    main(sys.argv[1:])
