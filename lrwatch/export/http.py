"""A small HTTP server for read-only pages, bounded in connections and time, so that no client can hold it up.

A reader is checked in this order: the TLS handshake with the client's certificate, the requested Host, the password.
"""

from __future__ import annotations

import contextlib
import gzip
import ipaddress
import logging
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from lrwatch.export.web_config import WebConfig

# Prometheus and a few people read from one daemon; each connection is a thread on a machine that has a training to do.
MAX_CONNECTIONS = 32

# A client that neither sends nor takes a byte for this long is gone; Prometheus itself gives up a scrape after 10 s.
CONNECTION_TIMEOUT_SECONDS = 5.0

# Requests of one connection; then its client opens another, and a new certificate reaches everybody some time.
MAX_REQUESTS = 1_000

# Connections that wait to be accepted; one beyond it is retried by its client a second later.
_BACKLOG = 128

# A body of fewer bytes fits into one packet. At level 4 an exposition shrinks to a tenth, at a fifth of the time of level 9.
LEAST_COMPRESSED = 1400
COMPRESSION = 4

# How long `close` may wait for the accepting thread to look up from its selector, and how long that one waits where no connection can
# be accepted.
_POLL_SECONDS = 0.1

# A thread begins within milliseconds, or never.
_START_SECONDS = 5.0

_log = logging.getLogger(__name__)


# What a page may load that does not say more: nothing but its own style.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Response(NamedTuple):
    """An HTTP response; `policy` is its content security policy."""

    status: int
    content_type: str
    body: bytes
    policy: str = POLICY


# What is said of a request that is none of HTTP/1.0 or 1.1, or too long.
_FAULTS = {
    400: "this is no request of HTTP/1.0 or 1.1 with one Host",
    414: "the path is too long",
    431: "the headers are too long, or too many",
    501: "GET and HEAD are answered, and nothing else",
    505: "HTTP/1.0 and 1.1 are spoken here",
}


def text(status: int, message: str) -> Response:
    """Return a response of one line of plain text."""
    return Response(status, "text/plain; charset=utf-8", f"{message}\n".encode())


Responder = Callable[[str, str], Response]
"""Function of the path without its query, and the Accept header. Many threads call it at once."""


class _ConnectionThread(threading.Thread):
    """Thread whose start ends even if memory is too short for the first word of the new thread."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._started = _Started()  # what `start` waits for: the accepting thread would wait for ever


class _Started(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(_START_SECONDS if timeout is None else timeout)


class Server(socketserver.ThreadingTCPServer):
    """Server of GET and HEAD: one thread a connection, which may bring several requests.

    At the limit of connections the oldest is closed instead of the newest refused: a scrape takes milliseconds, so the
    oldest is the one that dawdles.

    Args:
        host: Name or IP address to bind.
        port: Port to bind; 0 takes a free one.
        respond: Gives the response to a request.
        web: TLS and passwords; None for plain HTTP that everybody may read.
        hosts: Further names by which clients may ask for this server, as [export] hosts.

    Attributes:
        respond, web: As given.
        only_local: Whether the address is a loopback one.

    Raises:
        OSError: The address cannot be bound.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = _BACKLOG

    def __init__(
        self, host: str, port: int, respond: Responder, *, web: WebConfig | None = None, hosts: Sequence[str] = ()
    ) -> None:
        self.respond = respond
        self.web = web
        self._hosts = {"localhost", host.lower(), socket.gethostname().lower(), *(name.lower() for name in hosts)}
        self._lock = threading.Lock()
        self._open: dict[socket.socket, None] = {}
        self._thread: threading.Thread | None = None
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)
        self.only_local = ipaddress.ip_address(str(self.server_address[0])).is_loopback

    def is_called(self, host_header: str) -> bool:
        """Tell whether a Host header names this server.

        A web page can point a name of its own at any address that its reader's browser reaches, and read from there as from
        itself. It can do so with no IP address, and with none of the names that stand here.
        """
        try:
            name = (urlsplit(f"//{host_header}").hostname or "localhost").removesuffix(".")
        except ValueError:
            return False
        parents = (name[at:] for at, letter in enumerate(name) if letter == ".")
        if "*" in self._hosts or name in self._hosts or not self._hosts.isdisjoint(parents):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def start(self) -> None:
        """Serve in a thread of its own until `close`."""
        self._thread = threading.Thread(
            target=self.serve_forever, args=(_POLL_SECONDS,), name="lrwatch-http", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop accepting, close every connection, release the address."""
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        with self._lock:
            for connection in self._open:
                _hang_up(connection)
        self.server_close()

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection. The handshake is left to its thread, because the client may take its time.

        Raises:
            OSError: There is no descriptor for it; it stays in the queue, and without a pause it would be tried at once again.
        """
        try:
            connection, address = super().get_request()
        except OSError:
            time.sleep(
                _POLL_SECONDS
            )  # without descriptors the connection stays in the queue, and would be tried without a pause
            raise
        context = None if self.web is None else self.web.context()
        if context is not None:
            connection = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Note the connection, making room for it first, and hand it to a thread."""
        with self._lock:
            if len(self._open) >= MAX_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                _hang_up(oldest)
            self._open[request] = None
        try:
            _ConnectionThread(target=self.process_request_thread, args=(request, client_address), daemon=True).start()
        except (RuntimeError, MemoryError):  # there is no room for one
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection and close it."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log the exception, unless the client went away: that is not a fault of the server."""
        if not isinstance(sys.exc_info()[1], OSError):
            _log.exception("a request could not be answered")


class _Handler(BaseHTTPRequestHandler):
    timeout = CONNECTION_TIMEOUT_SECONDS
    protocol_version = "HTTP/1.1"
    server_version = "lrwatch"
    sys_version = ""
    # One packet for head and body: in two, a connection that is kept waits for the delayed confirmation of the first.
    wbufsize = -1
    disable_nagle_algorithm = True
    requests = 0

    def setup(self) -> None:
        super().setup()
        if isinstance(self.request, ssl.SSLSocket):
            self._shake_hands(self.request, cast("Server", self.server).web)

    def _shake_hands(self, connection: ssl.SSLSocket, web: WebConfig | None) -> None:
        try:
            connection.do_handshake()
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":  # a person with a browser, or a scrape without `scheme: https`
                socket.socket.recv(connection, 65_536)
                socket.socket.send(connection, b"HTTP/1.0 400 Bad Request\r\n\r\nthis address speaks https only\n")
            raise
        if web is not None and not web.knows(connection.getpeercert()):
            raise ConnectionRefusedError("the certificate has none of the names that are allowed")

    def parse_request(self) -> bool:
        """Read the head of a request. One of HTTP/0.9 has no head, so no Host that could be judged."""
        if not super().parse_request():
            return False
        hosts = len(self.headers.get_all("Host", ()))
        if self.request_version == "HTTP/0.9" or hosts > 1 or (self.request_version == "HTTP/1.1" and not hosts):
            self.send_error(400)
            return False
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that is not HTTP, in one line of text that repeats nothing of it."""
        self.close_connection = True
        if (
            self.request_version == "HTTP/0.9"
        ):  # as the library calls what it does not understand; it would send no status
            self.request_version = "HTTP/1.0"
        self._send(text(code, _FAULTS.get(code, _FAULTS[400])))

    def do_GET(self) -> None:
        self.requests += 1
        if self.requests >= MAX_REQUESTS or "Transfer-Encoding" in self.headers or "Content-Length" in self.headers:
            self.close_connection = True  # a body that nobody reads would be taken for the next request
        server = cast("Server", self.server)
        self._send(self._refusal(server) or self._response(server.respond))

    def _refusal(self, server: Server) -> Response | None:
        """Return the answer to who may not read, or None."""
        if not server.is_called(self.headers.get("Host", "")):
            return text(403, "this address answers to localhost, IP addresses and the names in [export] hosts only")
        match "admitted" if server.web is None else server.web.admits(self.headers.get("Authorization", "")):
            case "refused":
                return text(401, "a user and a password are needed: see basic_auth_users of the web configuration")
            case "busy":
                return text(503, "too many passwords are being compared; try again")
        return None

    def _response(self, respond: Responder) -> Response:
        """Answer one request; a fault of it ends no other, and is logged with its place."""
        try:
            path = urlsplit(self.path).path
        except ValueError:
            return text(400, "this is no path; see /")
        try:
            return respond(path, self.headers.get("Accept", ""))
        except Exception:  # noqa: BLE001  it may be of any part of lrwatch, and is logged
            _log.exception("the request for %r could not be answered", path)
            return text(500, "a fault of lrwatch, see its standard error; it goes on")

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the name that the library gives it)
        """Log nothing: a scrape every few seconds is no news."""

    def _send(self, response: Response) -> None:
        body, encoding = response.body, {}
        if len(body) >= LEAST_COMPRESSED and _takes_gzip(self.headers.get("Accept-Encoding", "")):
            body, encoding = gzip.compress(body, COMPRESSION), {"Content-Encoding": "gzip"}
        self.send_response(response.status)
        for name, value in {
            "Content-Type": response.content_type,
            "Content-Length": str(len(body)),
            **encoding,
            "Vary": "Accept-Encoding",
            "Content-Security-Policy": response.policy,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            **({"WWW-Authenticate": 'Basic realm="lrwatch", charset="UTF-8"'} if response.status == 401 else {}),
            **({"Connection": "close"} if self.close_connection else {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _takes_gzip(accept_encoding: str) -> bool:
    """Whether a client that sends this header reads gzip; one that gives it the weight 0 does not."""
    for one in accept_encoding.lower().split(","):
        coding, _, weight = one.replace(" ", "").partition(";")
        if coding == "gzip":
            return weight.strip("q=0.") != "" or weight == ""
    return False


def _hang_up(connection: socket.socket) -> None:
    # The connection's own thread may have closed it meanwhile; then nothing is left to do.
    # `SSLSocket.shutdown` would pull TLS from under that thread.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
