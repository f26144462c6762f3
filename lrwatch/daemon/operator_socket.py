"""The socket of operators: one JSON object a line in each direction, and the kernel says who is at the other end.

A request is `{"v": 1, "verb": "set", "run": "a", "argument": "0.5"}`; the answer `{"v": 1, "done": true, "text": "..."}`, or
`{"v": 1, "error": "..."}` where the daemon cannot say. The verb `runs` asks who listens here, for whom, and what may be asked. A request
with `"through": "mcp"` comes from a program that asks through the process at the other end; it may what `[operators]` grants to that.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from lrwatch.config import OperatorOptions
from lrwatch.daemon import rendezvous
from lrwatch.daemon.access import allowed, peer_of, refusal
from lrwatch.daemon.inbox import Inbox

VERSION = 1
"""Version of the lines; a reader refuses a higher one."""

THROUGH_MCP = "mcp"
"""What a request says that an MCP server passes on."""

# The daemon answers at every turn: the poll interval and the longest read, with room to spare.
ANSWER_SECONDS = 30.0

# A line is a hundred bytes; more is an accident or an attack.
MAX_LINE_BYTES = 64 * 1024

# One who connects and says nothing for this long is gone.
LINE_SECONDS = 5.0

# Connections at a time; each is a thread on a machine that has a training to do.
MAX_CONNECTIONS = 16

# How long `close` may wait for the accepting thread.
_POLL_SECONDS = 0.1

# A socket that nobody listens on, and that is older, is left over from a daemon that was killed.
_STALE_SECONDS = 60.0


class OperatorSocket:
    """Takes the requests of operators until it is closed.

    Args:
        state: The state directory of the daemon.
        options: Who may ask what.
        inbox: Where the requests go.
        runs: Returns the names of the runs that are watched.
        wake: Wakes the loop.
        environ: The environment, which may name the runtime directory.

    Attributes:
        path: The socket, or None where none could be made.
        problem: Why not, as a sentence, or "".
    """

    def __init__(
        self,
        state: Path,
        options: OperatorOptions,
        inbox: Inbox,
        *,
        runs: Callable[[], Iterable[str]],
        wake: Callable[[], object],
        environ: Mapping[str, str],
    ) -> None:
        self.state = state
        self.options = options
        self.inbox = inbox
        self.runs = runs
        self.wake = wake
        self.path: Path | None = None
        self.problem = ""
        self._server: _SocketServer | None = None
        places = rendezvous.places(state, environ) if hasattr(socket, "SO_PEERCRED") else []
        failures = [] if places else ["this system does not tell who is at the other end"]
        for path in places:
            if not (failure := self._listen(path)):
                break
            failures.append(failure)
        else:
            self.problem = (
                f"no socket for operators could be made ({'; '.join(failures)}); verbs reach this daemon through its state "
                "directory only"
            )

    def _listen(self, path: Path) -> str:
        """Listen at `path`. Return why that cannot be, or ""."""
        try:
            self._server = _listen(path, self)
        except OSError as error:
            return f"{path.parent}: {error.strerror or error}"
        self.path = path
        return ""

    def close(self) -> None:
        """Stop, and take the socket away."""
        self.inbox.close()
        if self._server is not None and self.path is not None:
            self._server.shutdown()
            self._server.server_close()
            with contextlib.suppress(OSError):
                self.path.unlink()


def _listen(path: Path, owner: OperatorSocket) -> _SocketServer:
    if not path.parent.exists():
        path.parent.mkdir(mode=0o755)
    _sweep(path.parent)
    path.unlink(missing_ok=True)  # of a daemon that was killed: this one holds the lock of the state
    server = _SocketServer(str(path), _RequestHandler, owner)
    try:
        path.chmod(0o666)  # anyone who gets here may connect, and learns whether they may ask
    except OSError:
        server.server_close()
        raise
    threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="lrwatch-operators", daemon=True).start()
    return server


def _sweep(directory: Path) -> None:
    """Remove the sockets of daemons that were killed."""
    for path in directory.glob(f"*{rendezvous.SUFFIX}"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            if time.time() - path.stat().st_mtime < _STALE_SECONDS:
                continue
            probe.settimeout(LINE_SECONDS)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()


class _SocketServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, path: str, handler: type[_RequestHandler], owner: OperatorSocket) -> None:
        self.owner = owner
        self.places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(path, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the other end went away, or took too long."""


class _RequestHandler(socketserver.StreamRequestHandler):
    timeout = LINE_SECONDS

    def handle(self) -> None:
        line = self.rfile.readline(MAX_LINE_BYTES + 1)
        if line:
            answer = {"v": VERSION, **self._answer(line)}
            self.wfile.write(json.dumps(answer).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        owner = cast("_SocketServer", self.server).owner
        try:
            message = json.loads(line)
            verb, run, argument, through = (str(message.get(key, "")) for key in ("verb", "run", "argument", "through"))
            if message["v"] > VERSION:
                return {"error": f"this daemon knows requests of version {VERSION}, found {message['v']}; update it"}
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            return {"error": "expected a request as one JSON object on a line, found something else"}
        if through not in ("", THROUGH_MCP):
            return {"error": f"expected `through` to be {THROUGH_MCP!r} or left out, found {through!r}"}
        runs = sorted(owner.runs())
        peer = replace(peer_of(self.connection), through=through)
        if verb == "runs":
            may = allowed(peer, owner.options)
            return {"runs": runs, "state": str(owner.state), "pid": os.getpid(), "may": may}
        if run not in runs:
            return {"error": f"expected the name of a run, found {run!r}", "runs": runs}
        answer = owner.inbox.ask(
            run, verb, argument, peer,
            refusal=refusal(peer, verb, owner.options), wake=owner.wake, seconds=ANSWER_SECONDS,
        )  # fmt: skip
        if answer is None:
            return {
                "error": f"none within {ANSWER_SECONDS:.0f} s, or it ends; the request is withdrawn unless the journal has it"
            }
        return answer
