"""A command as a service manager or a container runtime starts it: with its user, its mounts and its environment alone.

Bubblewrap gives it a root of its own, in which nothing can be written but what is mounted so, and a network of its own.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.waiting import eventually

ROOT = Path(__file__).parents[2]


def _why_not() -> str:
    """Return why no sandbox can be made here, or "". A container may have bwrap and not the right to use it."""
    if os.geteuid() != 0 or shutil.which("bwrap") is None:
        return "needs root and bwrap (Debian: bubblewrap)"
    tried = subprocess.run(["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True, text=True)
    return f"bwrap may make no namespaces here: {tried.stderr.strip()}" if tried.returncode else ""


_REASON = _why_not()
needs_bubblewrap = pytest.mark.skipif(bool(_REASON), reason=_REASON or "a sandbox can be made")

# What every image and every machine has; and what the interpreter of these tests needs.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime")
_PYTHON = {str(ROOT), sys.prefix, sys.base_prefix, *(path for path in sys.path if os.path.isdir(path))}  # noqa: PTH112

# Of <linux/sched.h>: what of a process a thread enters.
_CLONE_NEWNET = 0x40000000


class Sandbox:
    """One command in a sandbox of its own.

    Args:
        command: Its words.
        user: The user and group that it sees itself as.
        mounts: What is mounted, by the place within, in the order of mounting.
        writable: The places within that may be written.
        environ: Its whole environment.
        home: Where its output goes.
    """

    def __init__(
        self, command: Sequence[str], *, user: int, mounts: Mapping[str, Path], writable: set[str],
        environ: Mapping[str, str], home: Path,
    ) -> None:  # fmt: skip
        self._environ = dict(environ)
        about, told = os.pipe()
        arguments = ["--unshare-all", "--uid", str(user), "--gid", str(user), "--cap-drop", "ALL", "--as-pid-1"]
        arguments += ["--die-with-parent", "--clearenv", "--info-fd", str(told), "--dev", "/dev", "--proc", "/proc"]
        for path in _SYSTEM:
            arguments += ["--ro-bind-try", path, path]
        for place, source in mounts.items():
            arguments += ["--bind" if place in writable else "--ro-bind", str(source), place]
        for path in sorted(_PYTHON):  # behind the mounts: this checkout may lie in /tmp, which is one of them
            arguments += ["--ro-bind-try", path, path]
        for name, value in environ.items():
            arguments += ["--setenv", name, value]
        self._out, self._err = home / "stdout", home / "stderr"
        with self._out.open("w") as out, self._err.open("w") as err:
            self._process = subprocess.Popen(
                ["bwrap", *arguments, "--remount-ro", "/", "--chdir", "/", "--", *command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, pass_fds=[told],
            )  # fmt: skip
        os.close(told)
        with os.fdopen(about) as file:
            self.pid: int = json.load(file)["child-pid"]

    @property
    def stdout(self) -> str:
        """What it printed as data."""
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        """What it printed for people."""
        return self._err.read_text()

    def get(self, path: str) -> str:
        """Return what it serves there, asked from within its network; "" where it does not answer."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("listening on ")]
        if not lines:
            return ""
        port = urlsplit(lines[0].split()[-1]).port
        with ThreadPoolExecutor(1) as pool:  # a network is that of a thread
            return pool.submit(_get_within, self.pid, f"http://127.0.0.1:{port}{path}").result(30)

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric with these labels, or None."""
        for family in text_string_to_metric_families(self.get("/metrics")):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return None

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command within it, with its environment, as `kubectl exec` does."""
        within = [
            "nsenter",
            "--target",
            str(self.pid),
            "--user",
            "--preserve-credentials",
            "--mount",
            "--pid",
            "--net",
            "--",
        ]
        return subprocess.run([*within, *command], env=self._environ, capture_output=True, text=True, timeout=60)

    def send(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def end(self) -> int:
        """End it as a service manager does, and return its exit code."""
        if self._process.poll() is None:
            eventually(lambda: self._process.poll() is not None or "listening" in self.stderr, what="a start")
            self.send(signal.SIGTERM)
        return self._process.wait(30)

    def wait(self) -> int:
        """Wait until it ends by itself, and return its exit code."""
        return self._process.wait(60)

    def kill(self) -> None:
        """Kill it, if it still runs."""
        self._process.kill()
        self._process.wait()


def _get_within(pid: int, url: str) -> str:
    """Enter the network of a process for the rest of this thread, and return what is served there; "" where nothing is."""
    with Path(f"/proc/{pid}/ns/net").open("rb") as network:
        if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    try:
        with urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""
