"""Targets for the benchmark of scraping: one process that replays captured texts, and counts who read how much.

    python benchmarks/scrape_server.py PORT FOLDER

/t/<number> gives the texts in turn, packed where the client can unpack; /count gives samples served by user agent.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections import Counter
from pathlib import Path


class Replay:
    """The captured texts and how many samples of them each client has taken."""

    def __init__(self, folder: Path) -> None:
        self.texts = [path.read_bytes() for path in sorted(folder.glob("*.txt"))]
        self.packed = [gzip.compress(text, 1) for text in self.texts]
        self.samples = [sum(line[:1] not in (b"#", b"") for line in text.split(b"\n")) for text in self.texts]
        self.served: Counter[str] = Counter()
        self.turns: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                writer.write(self.answer(head))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def answer(self, head: str) -> bytes:
        """Return a whole answer to the head of a request."""
        path = head.split(" ", 2)[1]
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        agent = fields.get("user-agent", "").partition("/")[0]
        if path == "/count":
            body = json.dumps(self.served).encode()
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        place = f"{agent} {path}"
        turn = (self.turns[place] + int(path.rpartition("/")[2])) % len(self.texts)
        self.turns[place] += 1
        self.served[agent] += self.samples[turn]
        is_packed = "gzip" in fields.get("accept-encoding", "")
        body = (self.packed if is_packed else self.texts)[turn]
        encoding = b"Content-Encoding: gzip\r\n" if is_packed else b""
        kind = b"Content-Type: text/plain; version=0.0.4\r\n"
        return b"HTTP/1.1 200 OK\r\n%s%sContent-Length: %d\r\n\r\n%s" % (kind, encoding, len(body), body)


async def run(port: int, folder: Path) -> None:
    """Serve until killed."""
    server = await asyncio.start_server(Replay(folder).serve, "127.0.0.1", port, backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]), Path(sys.argv[2])))
