"""Receivers of messages on 127.0.0.1: a webhook, and a mail server that knows just enough SMTP."""

from __future__ import annotations

import base64
import email
import email.policy
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Of a test that is over; a hanging webhook holds its thread for no longer.
_HANG_SECONDS = 30.0


@dataclass
class Webhook:
    """A webhook for `json://` of apprise, and for other services that post to an address of one's own.

    Attributes:
        port: Its port.
        messages: What came, the newest last: title, message and type of what is JSON, pictures as bytes, and the raw request.
        status: What it answers. hangs: Whether it answers nothing until `release`.
    """

    port: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    hangs: bool = False
    release: threading.Event = field(default_factory=threading.Event)

    def url(self, token: str = "T0KENofHook") -> str:
        """Return its URL for apprise, with a token and a password."""
        return f"json://anna:pa55word@127.0.0.1:{self.port}/{token}?rto=20"

    def titles(self) -> list[str]:
        """Return the titles of what came."""
        return [message["title"] for message in self.messages]

    def text(self) -> str:
        """Return all of it as one text."""
        return "\n".join(f"{message['title']}\n{message['message']}" for message in self.messages)


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Run a webhook."""
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_json = "json" in self.headers.get("Content-Type", "")
            message: dict[str, Any] = json.loads(body) if is_json else {"title": "", "message": ""}
            message["raw"] = self.path.encode() + body
            message["pictures"] = [base64.b64decode(one["base64"]) for one in message.pop("attachments", [])]
            if hook.hangs:
                hook.release.wait(_HANG_SECONDS)
            if hook.status == 200:
                hook.messages.append(message)
            self.send_response(hook.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing about a client that was killed."""

    server = Server(("127.0.0.1", 0), Handler)
    hook.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hook
    finally:
        hook.release.set()
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class MailServer:
    """A mail server; `mails` is what came."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Run a mail server."""
    sink = MailServer()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 sink\r\n")
            while line := self.rfile.readline():
                verb = line.split()[0].upper()
                if verb == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = iter(self.rfile.readline, b".\r\n")
                    made = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                    sink.mails.append(made)
                self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
                if verb == b"QUIT":
                    break

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        sink.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield sink
        finally:
            server.shutdown()
            thread.join()
