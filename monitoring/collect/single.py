"""One collector a host: several workers on one machine must not each send the same series.

Hides how the others are seen: a socket in Linux' abstract namespace, which is nobody's file, needs no permission,
ends with its process however that dies, and is apart in each container with a network of its own.
"""

from __future__ import annotations

import hashlib
import socket
import sys


class SinglePlace:
    """The place of the one collector for a host and a portal on this machine; free again when its holder is gone."""

    def __init__(self, host: str, portal: str) -> None:
        digest = hashlib.blake2b(f"{host}\0{portal}".encode(), digest_size=12).hexdigest()
        self._address = f"\0alphaq-collector-{digest}"
        self._socket: socket.socket | None = None

    def take(self) -> bool:
        """Return whether this process has the place, taking it when it is free."""
        # Elsewhere nobody runs several workers a host (macOS is for development): everybody may.
        if self._socket is not None or sys.platform != "linux":
            return True
        candidate = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            candidate.bind(self._address)
        except OSError:
            candidate.close()
            return False
        self._socket = candidate
        return True

    def leave(self) -> None:
        """Give the place to the next one that asks."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
