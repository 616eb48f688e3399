"""A generic webhook receiver on loopback."""

from __future__ import annotations

from typing import Any

from tests.fakes.server import LoopbackServer, Reply, Request


class FakeWebhook(LoopbackServer):
    """Takes any POST under /hook/NAME and keeps its JSON body under NAME."""

    def hook_url(self, name: str = "default") -> str:
        """The address of one receiver."""
        return f"{self.url}/hook/{name}"

    def bodies(self, name: str = "default") -> list[dict[str, Any]]:
        """The accepted bodies of one receiver, oldest first."""
        with self.changed:
            return [request.data for request in self.requests if request.key == name and request.accepted]

    def identify(self, request: Request) -> None:
        """The receiver's name is what follows /hook/."""
        request.key = request.path.removeprefix("/hook/")
        request.method = "webhook"

    def accept(self, request: Request) -> Reply:
        """Answer 200 with an empty object."""
        request.accepted = True
        return Reply.of_json({})
