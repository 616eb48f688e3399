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

    execute_from_command_line(sys.argv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
