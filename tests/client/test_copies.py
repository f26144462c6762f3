"""What people save with their models: a client, or a callback that holds one. The copy is inert and knows the state."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.forked import TORCH, run
from support.waiting import eventually

import lrwatch


def by_torch(value: Any) -> Any:
    file = io.BytesIO()
    torch.save({"it": value}, file)
    file.seek(0)
    return torch.load(file, weights_only=False)["it"]


WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "torch.save": by_torch,
}


def optimizer() -> torch.optim.SGD:
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.ones(1)
    return torch.optim.SGD([parameter], lr=0.1)


def at_half(directory: Path, opt: Any) -> lrwatch.Client:
    watch = lrwatch.attach(opt, directory, poll_seconds=60, min_scale=0.01)
    state = watch.state_dict()
    watch.load_state_dict({**state, "scale": 0.5, "step": 7, "commands": 1, "last_step": 3})
    return watch


def files_of(control: Path) -> list[str]:
    """The files in a control directory, without one that the client is about to rename."""
    return sorted(path.name for path in control.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_inert_and_knows_the_state(way: str, tmp_path: Path) -> None:
    opt = optimizer()
    threads = threading.active_count()
    with at_half(tmp_path / "c", opt) as watch:
        other = WAYS[way](watch)
        assert other.state_dict() == watch.state_dict()
        assert (other.scale, other.lr) == (0.5, {})
        eventually((tmp_path / "c" / "observed.json").exists, what="the client's hello")
        eventually((tmp_path / "c" / "metrics.jsonl").exists, what="its metrics file")
        before = files_of(tmp_path / "c")
        for _ in range(3):
            other.step(loss=1.0)
        other.close()
        assert files_of(tmp_path / "c") == before
        assert threading.active_count() == threads + 1
        opt.step()
        watch.step()
        assert watch.lr == {"0": 0.05}, "the client itself goes on"
        assert watch.state_dict()["step"] == 8
        with lrwatch.attach(optimizer(), tmp_path / "again", poll_seconds=60) as resumed:
            resumed.load_state_dict(other.state_dict())
            assert resumed.scale == 0.5


class Model(torch.nn.Module):
    """Holds the client, as a LightningModule may."""

    def __init__(self, watch: Any) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.watch = watch


def test_a_model_that_holds_the_client_can_be_averaged_and_saved(tmp_path: Path) -> None:
    with at_half(tmp_path, optimizer()) as watch:
        averaged: Any = torch.optim.swa_utils.AveragedModel(Model(watch))
        assert averaged.module.watch.scale == 0.5
        assert by_torch(averaged).module.watch.scale == 0.5


WORKERS = """
import sys, torch, lrwatch

class Holds(torch.utils.data.Dataset):
    def __init__(self, watch):
        self.watch = watch
    def __len__(self):
        return 4
    def __getitem__(self, index):
        return int(index * self.watch.scale * 2)

if __name__ == "__main__":
    weight = torch.nn.Parameter(torch.zeros(1))
    with lrwatch.attach(torch.optim.SGD([weight], lr=0.1), sys.argv[1]) as watch:
        watch.load_state_dict({**watch.state_dict(), "scale": 0.5})
        loader = torch.utils.data.DataLoader(Holds(watch), num_workers=1, multiprocessing_context=sys.argv[2])
        print([int(value) for value in loader])
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_workers_of_a_loader_get_a_copy(method: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"  # spawn imports the script again
    script.write_text(WORKERS)
    done = run([script, tmp_path / "c", method], TORCH)
    assert (done.returncode, done.stdout) == (0, "[0, 1, 2, 3]\n"), done.stderr
