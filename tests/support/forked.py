"""Programs that start at once: forked from a Python that has the heavy imports already.

A start of `lrwatch` costs half a second of imports, one of torch two or three, and the tests start hundreds. Here a server imports
them once and forks for each program. What is forked is a process like any other: its own arguments, environment, working directory
and file descriptors, signals, exit code, and the whole end of an interpreter. Nothing it does is seen by the next one.

Start a fresh interpreter (`subprocess`) where the test is about that: about imports, options of Python, another user, the memory of
a process, variables that Python or the loader reads at its start, or the first start of a program.
"""

from __future__ import annotations

import array
import atexit
import functools
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import IO, Any

# What programs import: `lrwatch` with any of its commands, and a training with torch (an optimizer's first step imports dynamo).
LRWATCH = ("pandas", "lrwatch.*")
TORCH = ("torch", "torch.distributed", "torch._dynamo", "lrwatch.client.*", "lrwatch.protocol.*")

# The servers of this process: no test has left them behind.
SERVERS: set[int] = set()

_LONGEST_REQUEST = 1 << 17
_NOT_IMPORTED = (".__main__", ".integrations", ".mcp_server")  # what needs a framework or much time
_AT_START = ("PYTHON", "LC_", "LANG", "LD_")


class Forked:
    """A running program, with the part of `subprocess.Popen` that tests use.

    Args:
        command: What to run as `python -m MODULE`, `python -c CODE` or `python FILE`, without `python` and with its arguments.
        imported: What is imported already: a package with all its modules as "lrwatch.*", or a module.
        env: Its environment; that of the test where it is left out.
        cwd: Its working directory; that of the test where it is left out.
        stdin: Where it reads; nothing where it is left out.
        stdout: Where it writes; the standard output of the test where it is left out.
        stderr: Where it complains; the standard error of the test where it is left out.
    """

    def __init__(
        self,
        command: Sequence[object],
        imported: tuple[str, ...],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        stdin: IO[Any] | int | None = None,
        stdout: IO[Any] | int | None = None,
        stderr: IO[Any] | int | None = None,
    ) -> None:
        env = dict(os.environ if env is None else env)
        assert not changes_the_start(env), "too late for a forked program: use subprocess"
        request = json.dumps({"command": [*map(str, command)], "env": env, "cwd": str(Path(cwd or "").absolute())})
        self.returncode: int | None = None
        self._answer, answer = os.pipe()
        with Path(os.devnull).open("rb") as nothing:
            given = [
                nothing if stdin is None else stdin,
                1 if stdout is None else stdout,
                2 if stderr is None else stderr,
            ]
            numbers = [one if isinstance(one, int) else one.fileno() for one in given]
            socket.send_fds(_server(imported), [request.encode()], [*numbers, answer])
        os.close(answer)
        self.pid = self._read()

    def _read(self) -> int:
        number = array.array("i", os.read(self._answer, 4))
        assert number, "the server of forked programs has ended: its standard error says why"
        return number[0]

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self._answer], [], [], 0)[0]:
            self.returncode = self._read()
            os.close(self._answer)
        return self.returncode

    def wait(self, timeout: float = 120.0) -> int:
        """Wait for its end, and return the exit code."""
        if self.returncode is None:
            select.select([self._answer], [], [], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it by force."""
        self.send_signal(signal.SIGKILL)


def changes_the_start(env: Mapping[str, str]) -> bool:
    """Whether these variables differ from our own in one that Python or the loader reads at its start."""
    return any(os.environ.get(name) != value for name, value in env.items() if name.startswith(_AT_START))


def run(
    command: Sequence[object],
    imported: tuple[str, ...],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    typed: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with `typed` as standard input."""
    file = functools.partial(tempfile.TemporaryFile, "w+")
    with file() as stdin, file() as stdout, file() as stderr:
        stdin.write(typed)
        stdin.seek(0)
        process = Forked(command, imported, env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr)
        try:
            code = process.wait()
        finally:
            process.kill()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess([*map(str, command)], code, stdout.read(), stderr.read())


@functools.cache
def _server(imported: tuple[str, ...]) -> socket.socket:
    """Start the server of one list of imports, once."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        command = [sys.executable, __file__, str(its.fileno()), *imported]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }  # a thread does not survive a fork
        process = subprocess.Popen(command, env=environment, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL)
    SERVERS.add(process.pid)

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait()

    return ours


# ---- the server's side --------------------------------------------------------------------------------------------------------


def _serve(requests: socket.socket) -> dict[str, Any] | None:
    """Fork for each request. Return it in the child, and None in the server when the tests have ended."""
    running: dict[int, tuple[int, int]] = {}
    while True:
        for ready in select.select([requests.fileno(), *running], [], [])[0]:
            if ready != requests.fileno():
                pid, answer = running.pop(ready)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                os.write(answer, array.array("i", [code]))
                os.close(answer)
                os.close(ready)
                continue
            message, numbers, _, _ = socket.recv_fds(requests, _LONGEST_REQUEST, 4)
            if not message:
                return None
            *streams, answer = numbers
            pid = os.fork()
            if pid == 0:
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                os.closerange(3, 4096)
                request: dict[str, Any] = json.loads(message)
                return request
            running[os.pidfd_open(pid)] = pid, answer
            os.write(answer, array.array("i", [pid]))
            for stream in streams:
                os.close(stream)


def _become(request: Mapping[str, Any]) -> None:
    """Be the program that was asked for, as its interpreter would begin."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.stdin = _stream(0, "r", sys.stdin)
    sys.stdout = _stream(1, "w", sys.stdout)
    sys.stderr = _stream(2, "w", sys.stderr)
    sys.stderr.reconfigure(line_buffering=True)
    kind, *arguments = request["command"]
    sys.path[0] = request["cwd"]
    if kind == "-m":
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *arguments[1:]]
        sys.modules["__main__"] = main = ModuleType("__main__")
        exec(compile(arguments[0], "<string>", "exec"), main.__dict__)
    else:
        sys.argv = [kind, *arguments]
        sys.path[0] = str(Path(kind).parent)
        runpy.run_path(kind, run_name="__main__")


def _stream(number: int, mode: str, like: Any) -> io.TextIOWrapper:
    """Open a standard stream as the interpreter does."""
    file = io.FileIO(number, mode, closefd=False)
    buffered = io.BufferedReader(file) if mode == "r" else io.BufferedWriter(file)
    return io.TextIOWrapper(buffered, like.encoding, like.errors, line_buffering=file.isatty())


def _import(name: str) -> None:
    package, every, _ = name.partition(".*")
    module = importlib.import_module(package)
    if every:
        for found in pkgutil.walk_packages(module.__path__, f"{package}."):
            if not any(part in found.name for part in _NOT_IMPORTED):
                importlib.import_module(found.name)


def _end(code: int) -> None:
    """End as the interpreter does, but for taking its modules to pieces: threads, what is to be done at the exit, streams."""
    threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter calls
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, whose end is the server's
    for name in sys.argv[2:]:
        _import(name)
    gc.freeze()  # or each program would look through all modules at its end
    wanted = _serve(socket.socket(fileno=int(sys.argv[1])))
    if wanted is not None:
        code = 0
        try:
            _become(wanted)
        except SystemExit as error:
            if not isinstance(error.code, int):
                raise
            code = error.code
        _end(code)
