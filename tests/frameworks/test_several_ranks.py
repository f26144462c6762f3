"""The callbacks in trainings of two processes: one scale from one step on, and one process at the control directory."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import eventually

from lrwatch.control.directory import ControlDirectory
from lrwatch.protocol import Desired

pytestmark = pytest.mark.frameworks

PROGRAM = Path(__file__).parent / "programs" / "ranks_train"
ROOT = Path(__file__).parents[2]
STEPS = 400


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("framework", ["transformers", "lightning"])
def test_every_rank_uses_the_scale_from_the_same_step_on(
    framework: str, tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    pytest.importorskip(framework)
    shared = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "NODE_RANK": "0",
        "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TORCHELASTIC_RUN_ID": "test",
        "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
    }  # fmt: skip
    for rank in ("0", "1"):
        command = [sys.executable, str(PROGRAM), framework, str(tmp_path), str(STEPS)]
        environment = {**shared, "RANK": rank, "LOCAL_RANK": rank}
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path))
    control = ControlDirectory(tmp_path / "lrwatch")

    def hello() -> str:
        assert all(process.poll() is None for process in processes), [
            p.communicate()[1][-2000:] for p in processes if p.poll()
        ]
        observed = control.read_observed()
        return observed.incarnation if observed is not None else ""

    incarnation = eventually(hello, timeout=120, what="a hello")
    control.publish(Desired(run="", incarnation=incarnation, generation=1, token=1, scale=0.5))
    errors = [process.communicate(timeout=150)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    rates = []
    for name in ("rates-0", "rates-1"):
        data = (tmp_path / name).read_bytes()
        rates.append(list(struct.unpack(f"{len(data) // 8}d", data)))
    assert rates[0] == rates[1]
    assert len(rates[0]) == STEPS
    assert (rates[0][0], rates[0][-1]) == (0.01, 0.005)
    assert set(rates[0]) == {0.01, 0.005}
    observed = control.read_observed()
    assert observed is not None
    assert (observed.status, observed.scale) == ("applied", 0.5)
