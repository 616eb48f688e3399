"""A receiver in a process of its own: takes Slack-format and webhook POSTs, remembers when, limits as Slack does.

python benchmarks/notify_receiver.py [--rate 1 --burst 5]      # prints its port; GET /stats answers JSON
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import re
import time

_TOKEN = re.compile(rb"tok-[0-9]+-")


class Receiver:
    """Arrival times (CLOCK_MONOTONIC, the same in every process) of accepted messages, and a count of all requests."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst = rate, burst
        self.arrived: list[float] = []
        self.bodies: list[bytes] = []
        self.requests = 0
        self.named: set[bytes] = set()  # the alerts that the messages name
        self.read = 0  # of so many bodies
        self.bucket: dict[str, tuple[float, float]] = {}

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str, str]:
        """Status, extra header and body for one request."""
        if method == "GET":
            for body in self.bodies[self.read :]:
                self.named.update(_TOKEN.findall(body))
            self.read = len(self.bodies)
            stats = {"arrived": self.arrived, "requests": self.requests, "bytes": sum(map(len, self.bodies))}
            return 200, "", json.dumps(stats | {"alerts": len(self.named)})
        if path == "/reset":
            self.__init__(self.rate, self.burst)
            return 200, "", ""
        self.requests += 1
        now = time.monotonic()
        if self.rate:
            tokens, since = self.bucket.get(path, (self.burst, now))
            tokens = min(self.burst, tokens + (now - since) * self.rate)
            self.bucket[path] = (max(tokens - 1, tokens if tokens < 1 else 0), now)
            if tokens < 1:
                return 429, f"Retry-After: {max(1, math.ceil((1 - tokens) / self.rate))}\r\n", "rate_limited"
        self.arrived.append(now)
        self.bodies.append(body)
        return 200, "", "ok"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive as long as the client likes."""
        try:
            while line := await reader.readline():
                method, path, _ = line.decode().split(" ", 2)
                headers: dict[str, str] = {}
                while (header := await reader.readline()) not in (b"\r\n", b""):
                    name, _, value = header.decode("latin1").partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                status, extra, text = self.answer(method, path, body)
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(text)}\r\n{extra}\r\n{text}".encode())
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def main(rate: float, burst: float) -> None:
    """Listen on a free port, print it, and serve until killed."""
    receiver = Receiver(rate, burst)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, backlog=4096, limit=2**26)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--burst", type=float, default=5.0)
    given = parser.parse_args()
    asyncio.run(main(given.rate, given.burst))
