"""Processes of the matrix: forked with everything imported, so that a life is short and its system calls are always the same."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from support.waiting import eventually

# Exit code of a forked process out of which an exception came.
RAISED = 70

# A life takes a fraction of a second; this is a hang.
HANGS_SECONDS = 120.0

# Of <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1

# Calls in which a process waits. They touch no file; that one shows in the trace tells that strace has begun.
_WAITING = "clock_nanosleep,restart_syscall"


class Flag:
    """A number that two processes share, without a system call to read or write it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    @property
    def value(self) -> int:
        """The number."""
        return int.from_bytes(self._memory[:8], "little")

    @value.setter
    def value(self, value: int) -> None:
        self._memory[:8] = value.to_bytes(8, "little")

    def wait_for(self, value: int) -> None:
        """Wait until it is at least `value`."""
        while self.value < value:
            time.sleep(0.0005)


class Life:
    """One life of a process, which waits at its beginning until `go`.

    Args:
        body: What it does, in the forked process; returns the exit code.
        home: Beside this directory its output goes.
    """

    def __init__(self, body: Callable[[], int], home: Path) -> None:
        self._gate = Flag()
        self._out, self._err = home.parent / f"{home.name}.stdout", home.parent / f"{home.name}.stderr"
        self.pid = os.fork()
        if self.pid == 0:
            self._live(body)

    def _live(self, body: Callable[[], int]) -> None:
        code = RAISED
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # it waits for ever for who has gone
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            for number, path in ((1, self._out), (2, self._err)):
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                os.dup2(handle, number)
                os.close(handle)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
            self._gate.wait_for(1)
            try:
                code = body()
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 0
            except BaseException:  # noqa: BLE001  as the interpreter does
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)

    @property
    def stderr(self) -> str:
        """What it printed for people."""
        return self._err.read_text(errors="replace")

    def go(self) -> None:
        """Let it begin."""
        self._gate.value = 1

    def wait(self, meanwhile: Callable[[], None] = lambda: None) -> int:
        """Wait for its end. Return the exit code, or minus the signal that killed it.

        Args:
            meanwhile: Called again and again until then.

        Raises:
            TimeoutError: It hangs.
        """
        ends = time.monotonic() + HANGS_SECONDS
        while True:
            meanwhile()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > ends:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"hangs; {self.stderr[-300:]}")
            time.sleep(0.001)


@contextlib.contextmanager
def traced(thread: int, calls: Sequence[str], trace: Path, inject: str = "") -> Iterator[None]:
    """Trace one thread, which waits until strace has begun, and see strace end.

    One thread alone, because strace counts the calls of each by itself: a fault at the third read would strike that of every thread.

    Args:
        thread: Its number for the kernel; that of a process is its first thread.
        calls: The system calls that are recorded.
        trace: Where they are recorded.
        inject: The fault, as strace's `inject=` takes it, or "".
    """
    trace.unlink(missing_ok=True)
    command = ["strace", "-qq", "-y", "-o", str(trace), "-e", f"trace={','.join(calls)},{_WAITING}", "-p", str(thread)]
    strace = subprocess.Popen(
        [*command, *(["-e", f"inject={inject}"] if inject else [])], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        eventually(
            lambda: strace.poll() is not None or (trace.exists() and trace.stat().st_size), what="strace attaches"
        )
        if (code := strace.poll()) is not None:
            assert strace.stderr is not None
            raise OSError(f"strace ended with {code}: {strace.stderr.read().decode()[-300:]}")
        yield
    finally:
        strace.wait(HANGS_SECONDS)
        assert strace.stderr is not None
        strace.stderr.close()


def was_hit(trace: Path, call: str, file: str, strip: Callable[[str], str]) -> bool:
    """Whether the fault struck the call that was meant.

    Args:
        trace: What strace recorded.
        call: The system call.
        file: The file of the point.
        strip: Gives the file that a line of the record is about.
    """
    lines = trace.read_text(errors="replace").splitlines()
    for line in lines:
        if "(INJECTED)" in line and f"{call}(" in line and strip(line.partition("(")[2]) == file:
            return True
    unfinished = [line for line in lines if f"{call}(" in line and ("= ?" in line or "<unfinished" in line)]
    killed = any("killed by SIGKILL" in line for line in lines)
    return killed and any(strip(line.partition("(")[2]) == file for line in unfinished)


def import_what_a_life_imports(body: Callable[[Path], int]) -> None:
    """Import here what a life imports only when it runs, so that forked ones read no code from the disk.

    Args:
        body: A whole life in a directory.
    """
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        listed = home / "modules"

        def listing() -> int:
            code = body(home)
            listed.write_text("\n".join(sys.modules))
            return code

        life = Life(listing, home)
        life.go()
        if (code := life.wait()) != 0:
            raise RuntimeError(f"a life that nothing disturbs ends with {code}: {life.stderr[-2000:]}")
        for name in listed.read_text().splitlines():
            if name not in sys.modules and not name.startswith("__"):
                with contextlib.suppress(ImportError):  # modules that exist only as attributes of others
                    importlib.import_module(name)
