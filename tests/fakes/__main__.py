"""A fake Slack as a process: prints its addresses, then one JSON line a request. `python -m tests.fakes --help`."""

from __future__ import annotations

import argparse
import json
import sys

from tests.fakes.slack import FakeSlack


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A Slack workspace on loopback that keeps nothing.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--strict", action="store_true", help="enforce Slack's limits and rates")
    given = parser.parse_args()
    with FakeSlack(given.port, strict=given.strict) as slack:
        say({"api_base": slack.api_base, "webhook_url": slack.webhook_url("NAME"), "token": "xoxb-anything"})
        told = 0
        while True:
            with slack.changed:
                slack.changed.wait_for(lambda: len(slack.requests) > told)  # noqa: B023
                fresh, told = slack.requests[told:], len(slack.requests)
            for request in fresh:
                say({"method": request.method, "to": request.key, "status": request.status, "data": request.data})


def say(value: object) -> None:
    """One JSON line on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
