"""Attached again: a notebook cell, a second stage, two clients of one process, two processes on one directory."""

from __future__ import annotations

import contextlib
import gc
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.waiting import eventually

import lrwatch


def weight() -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    parameter.grad = torch.ones(1, dtype=torch.float64)
    return parameter


def at_half(directory: Path, optimizer: Any, **options: Any) -> lrwatch.Client:
    watch = lrwatch.attach(optimizer, directory, poll_seconds=0.02, **options)
    state = watch.state_dict()
    watch.load_state_dict({**state, "scale": 0.5, "step": 7, "commands": 3, "last_step": 3})
    return watch


def observed(directory: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((directory / "observed.json").read_text()))
    except FileNotFoundError:
        return {}


@pytest.mark.parametrize("ended", ["closed", "open", "forgotten"])
def test_a_cell_that_is_run_again_goes_on_and_says_so(
    ended: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parameter = weight()
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    first: lrwatch.Client | None = at_half(tmp_path, optimizer)
    assert first is not None
    if ended == "closed":
        first.close()
    elif ended == "forgotten":
        first = None
        gc.collect()
    with lrwatch.attach(optimizer, tmp_path, poll_seconds=0.02) as watch:
        assert (watch.scale, watch.state_dict()["commands"], watch.state_dict()["step"]) == (0.5, 3, 7)
        assert "goes on at scale 0.5 from step 7, with 3 of 100 changes used" in caplog.text
        optimizer.step()
        assert parameter.item() == pytest.approx(-0.05)
        watch.step()
        eventually(lambda: observed(tmp_path).get("step") == 8, what="the new client's report")
        assert observed(tmp_path)["incarnation"] == watch._incarnation
        assert observed(tmp_path)["resumed_from_step"] == 7
        if first is not None:
            first.step(loss=1.0)
            first.close()
            first._worker._exit()  # as at the end of the interpreter
            assert observed(tmp_path)["incarnation"] == watch._incarnation
            assert observed(tmp_path)["life"] == "running"
    assert observed(tmp_path)["life"] == "ended"


def test_a_second_stage_with_a_new_optimizer_of_the_same_weights_goes_on(tmp_path: Path) -> None:
    trunk, head = weight(), weight()
    at_half(tmp_path, torch.optim.SGD([head], lr=0.1)).close()
    with lrwatch.attach(torch.optim.SGD([trunk, head], lr=0.1), tmp_path, poll_seconds=60) as watch:
        assert watch.scale == 0.5


def test_another_model_starts_at_scale_one(tmp_path: Path) -> None:
    parameter = weight()
    at_half(tmp_path, torch.optim.SGD([parameter], lr=0.1)).close()
    with lrwatch.attach(torch.optim.SGD([weight()], lr=0.1), tmp_path, poll_seconds=60) as fold:
        assert (fold.scale, fold.state_dict()["step"]) == (1.0, 0)
    elsewhere = lrwatch.attach(torch.optim.SGD([parameter], lr=0.1), tmp_path / "other run", poll_seconds=60)
    assert elsewhere.scale == 1.0
    elsewhere.close()


def test_a_checkpoint_that_is_loaded_afterwards_holds(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD([weight()], lr=0.1)
    first = at_half(tmp_path, optimizer)
    saved = {**first.state_dict(), "scale": 0.25, "step": 3}
    first.close()
    with lrwatch.attach(optimizer, tmp_path, poll_seconds=60) as watch:
        watch.load_state_dict(saved)
        assert (watch.scale, watch.state_dict()["step"]) == (0.25, 3)


def test_the_same_callable_goes_on_and_another_does_not(tmp_path: Path) -> None:
    scales: list[float] = []
    at_half(tmp_path, scales.append).close()
    with lrwatch.attach(scales.append, tmp_path, poll_seconds=60) as watch:
        assert watch.scale == 0.5
    with lrwatch.attach([].append, tmp_path, poll_seconds=60) as other:
        assert other.scale == 1.0


def test_a_link_to_the_directory_is_the_same_directory(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "latest").symlink_to(tmp_path / "runs")
    scales: list[float] = []
    first = at_half(tmp_path / "runs" / "control", scales.append)
    with lrwatch.attach(scales.append, tmp_path / "latest" / "control", poll_seconds=60) as watch:
        assert watch.scale == 0.5
        assert first._worker.retired, "one of two clients on one directory is inert"


TRAINER = """
import sys, lrwatch, logging
logging.basicConfig(format="%(message)s")
watch = lrwatch.attach(None, sys.argv[1], poll_seconds=0.02)
watch.step()
print("ready", flush=True)
for line in sys.stdin:
    watch.step()
watch.close()
"""


class Trainer:
    """A trainer in a process of its own, which steps at each line that it is given."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRAINER, str(directory)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def step(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> str:
        return self.process.communicate(timeout=20)[1]


@pytest.fixture
def trainers() -> Iterator[list[Trainer]]:
    made: list[Trainer] = []
    yield made
    for trainer in made:
        if trainer.process.poll() is None:
            trainer.process.kill()
        with contextlib.suppress(ValueError):  # its pipes are closed already
            trainer.process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("end", ["killed", "closed"])
def test_a_second_process_is_noticed_by_both_and_the_newer_one_is_heard(
    end: str, tmp_path: Path, trainers: list[Trainer]
) -> None:
    trainers.append(Trainer(tmp_path))
    older = trainers[0]
    eventually(lambda: observed(tmp_path).get("pid") == older.process.pid, what="the first trainer's hello")
    assert observed(tmp_path)["two_trainers"] is False
    trainers.append(Trainer(tmp_path))
    newer = trainers[1]
    eventually(lambda: observed(tmp_path).get("pid") == newer.process.pid, what="the second trainer's hello")
    assert observed(tmp_path)["two_trainers"] is True
    for step in range(2, 12):
        older.step()
        newer.step()
        eventually(lambda step=step: observed(tmp_path)["step"] == step, what="the newer one's step")  # type: ignore[misc]
        assert observed(tmp_path)["pid"] == newer.process.pid, "the older one does not come between"
    if end == "killed":
        newer.process.send_signal(signal.SIGKILL)
        newer.process.communicate()
    else:
        assert "another training" in newer.end()
    older.step()
    eventually(lambda: observed(tmp_path).get("pid") == older.process.pid, what="the older one alone again")
    eventually(lambda: observed(tmp_path)["two_trainers"] is False, what="it is alone")
    assert "another training" in older.end()
    assert observed(tmp_path)["life"] == "ended"
