#!/usr/bin/env python
"""The command line of the portal: `manage.py up` runs all of it."""

import os
import sys


def main() -> int:
    """Run one management command; returns its exit status."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "alphaq_portal.settings")
    if sys.argv[1:2] == ["up"]:  # the supervisor does without Django: 20 MB instead of 70
        from alphaq_portal.run import main as up

        return up(sys.argv[2:])
    from django.core.management import execute_from_command_line
    from django.db import InterfaceError, OperationalError

    try:
        execute_from_command_line(sys.argv)
    except (OperationalError, InterfaceError) as error:
        if "--traceback" in sys.argv:
            raise
        sys.stderr.write(f"The database: {str(error).strip().splitlines()[0]}\n")
        sys.stderr.write("Is the portal running (manage.py up), or DATABASE_URL right? --traceback shows more.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
