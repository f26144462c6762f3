"""A Slurm of one node on free ports of 127.0.0.1, as long as a test lasts: munged, slurmctld and slurmd of Debian."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.prometheus_server import free_port
from support.waiting import eventually

needs_slurm = pytest.mark.skipif(
    os.geteuid() != 0 or any(shutil.which(name) is None for name in ("munged", "slurmctld", "slurmd", "sbatch")),
    reason="needs root, munged, slurmctld, slurmd and sbatch (Debian: munge, slurmctld, slurmd, slurm-client)",
)

CONFIG = """
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket
CredType=cred/munge
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
KillWait=5
{settings}
NodeName={node} NodeAddr=127.0.0.1 Port={node_port} CPUs=4 RealMemory=100 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """A running node.

    Attributes:
        home: Its configuration, state and logs.
    """

    home: Path

    def run(self, *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """Run a command of Slurm, and return what it printed."""
        environ = {**os.environ, "SLURM_CONF": str(self.home / "slurm.conf"), **(env or {})}
        done = subprocess.run(
            [str(word) for word in command], cwd=cwd, env=environ, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{self.logs()}"
        return done.stdout

    def logs(self) -> str:
        """The last lines of its logs."""
        return "".join(f"\n{log.name}:\n{log.read_text()[-2000:]}" for log in sorted(self.home.glob("*.log")))


@contextmanager
def slurm(home: Path, settings: Sequence[str] = ()) -> Iterator[Slurm]:
    """Start a node with further lines of slurm.conf, and end it afterwards.

    Args:
        home: An empty directory with a short name: the socket of munge lies in it.
        settings: The lines.
    """
    for name in ("munge", "state", "spool"):
        (home / name).mkdir(mode=0o700)
    key = home / "munge/key"
    key.write_bytes(os.urandom(64))
    key.chmod(0o600)
    (home / "slurm.conf").write_text(
        CONFIG.format(
            node=socket.gethostname().partition(".")[0], home=home, controller_port=free_port(), node_port=free_port(),
            settings="\n".join(settings),
        )
    )  # fmt: skip
    munge = [
        f"--{name}={home}/munge/{name.partition('-')[0]}"
        for name in ("key-file", "socket", "log-file", "pid-file", "seed-file")
    ]
    node = Slurm(home)
    with ExitStack() as stack:
        _start(stack, home / "munged.log", ["munged", "--foreground", "--force", *munge])
        eventually((home / "munge/socket").exists, what="the socket of munged")
        environ = {"SLURM_CONF": str(home / "slurm.conf")}
        _start(stack, home / "controller.log", ["slurmctld", "-D"], environ)
        _start(stack, home / "node.log", ["slurmd", "-D"], environ)
        try:
            eventually(lambda: "idle" in _state(home), timeout=60, what="an idle node")
        except AssertionError as error:
            raise AssertionError(f"{error}{node.logs()}") from error
        yield node


def _state(home: Path) -> str:
    environ = {**os.environ, "SLURM_CONF": str(home / "slurm.conf")}
    return subprocess.run(["sinfo", "-h", "-o", "%T"], env=environ, capture_output=True, text=True, timeout=60).stdout


def _start(stack: ExitStack, log: Path, command: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **(environ or {})})
    stack.callback(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
