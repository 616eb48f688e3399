"""A mail server on loopback that speaks enough SMTP to take a message or to refuse it."""

from __future__ import annotations

import email
import email.policy
import socketserver
import threading
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, Self


@dataclass
class Mail:
    """One message as it was accepted."""

    sender: str
    recipients: list[str]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        """The parsed message."""
        parsed = email.message_from_bytes(self.raw, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed


class FakeMail:
    """An SMTP server; `answers` maps a verb (MAIL, RCPT, DATA, END) to the line it answers, "drop" to hang up."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.answers: dict[str, str] = {}
        self.recipient_answers: dict[str, str] = {}
        server = _Server(("127.0.0.1", 0), _Session)
        server.fake = self
        self._server, self.port = server, int(server.server_address[1])
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True, name="mail").start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    fake: FakeMail

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error of ours."""


class _Session(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        """One conversation."""
        fake, sender, recipients = self.server.fake, "", []
        self._say("220 loopback")
        while line := self.rfile.readline():
            words = line.decode("utf-8", "replace").strip()
            verb, address = words[:4].upper(), words.partition("<")[2].partition(">")[0]
            answer = fake.answers.get(verb, {"DATA": "354 go on", "QUIT": "221 bye"}.get(verb, "250 ok"))
            if verb == "MAIL":
                sender, recipients = address, []
            elif verb == "RCPT":
                answer = fake.recipient_answers.get(address, answer)
                recipients += [address] if answer.startswith("2") else []
            if not self._say(answer) or verb == "QUIT":
                return
            if verb == "DATA" and answer.startswith("354"):
                raw = b""
                while (part := self.rfile.readline()) not in (b".\r\n", b""):
                    raw += part.removeprefix(b".")
                end = fake.answers.get("END", "250 queued")
                if end.startswith("250") or end == "drop":
                    fake.mails.append(Mail(sender, recipients, raw))
                if not self._say(end):
                    return

    def _say(self, line: str) -> bool:
        if line == "drop":
            return False
        self.wfile.write(line.encode() + b"\r\n")
        return True
