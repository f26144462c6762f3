"""The metrics file that the worker writes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lrwatch.client.handoff import QUEUE_LIMIT
from lrwatch.client.metrics import MetricsFile


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """Descriptor of the directory."""
    made = os.open(tmp_path, os.O_RDONLY)
    yield made
    os.close(made)


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_a_line_holds_step_time_metrics_scale_and_learning_rate(pair: Callable[..., Any]) -> None:
    weight = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    ends = pair(optimizer)
    ends.send(0.5)
    ends.client.step(10, loss=2)
    weight.grad = torch.ones(1)
    optimizer.step()
    ends.client.step(loss=1.5, accuracy=0.25)
    ends.worker.round()
    first, second = lines(ends.control.path)
    assert abs(first.pop("time") - second.pop("time")) < 60
    assert first == {"step": 10, "loss": 2.0, "scale": 1.0}
    assert second == {"step": 11, "loss": 1.5, "accuracy": 0.25, "scale": 0.5, "lr": 0.05}


def test_the_time_of_a_step_is_kept_to_the_microsecond(tmp_path: Path, folder: int) -> None:
    MetricsFile().append(folder, [(2, 1234567890.1234567, {}, None, 1.0)])
    assert lines(tmp_path)[0]["time"] == 1234567890.123457


def test_the_file_is_for_its_owner_alone(tmp_path: Path, folder: int) -> None:
    MetricsFile().append(folder, [(2, 0.0, {}, None, 1.0)])
    assert (tmp_path / "metrics.jsonl").stat().st_mode & 0o777 == 0o600


def test_without_anything_to_write_the_file_is_made_once_and_only_where_it_is_asked_for(
    tmp_path: Path, folder: int
) -> None:
    path, file = tmp_path / "metrics.jsonl", MetricsFile()
    file.append(folder, [])
    assert not path.exists()
    file.append(folder, [], begin=True)
    assert path.exists()
    path.unlink()
    file.append(folder, [], begin=True)
    assert not path.exists(), "somebody moved it away, and there is nothing to write yet"


def test_values_of_any_library_become_numbers_and_the_rest_is_counted(pair: Callable[..., Any]) -> None:
    ends = pair()
    graph = torch.ones(1, requires_grad=True)
    ends.client.step(
        a=graph.sum(), b=torch.tensor(2), c=math.nan, d=-math.inf, e=True, f="text", g=torch.ones(3), h=None, i=object()
    )
    ends.worker.round()
    (line,) = lines(ends.control.path)
    assert math.isnan(line.pop("c"))
    assert (line["a"], line["b"], line["d"], line["e"]) == (1.0, 2.0, -math.inf, 1.0)
    assert not {"f", "g", "h", "i"} & line.keys()
    assert ends.client.errors == {"metric": 4}


def test_a_tensor_is_neither_read_nor_kept_nor_followed_by_the_training_thread(pair: Callable[..., Any]) -> None:
    ends = pair()
    running = torch.zeros(()) + torch.ones(1, requires_grad=True).sum()
    ends.client.step(loss=running)
    with torch.no_grad():
        running.add_(41)
    (waiting,) = ends.client._box.queue
    assert waiting[2]["loss"].grad_fn is None  # the graph is not kept alive
    ends.worker.round()
    assert lines(ends.control.path)[0]["loss"] == 1.0


def test_records_that_find_no_room_are_counted(pair: Callable[..., Any]) -> None:
    ends = pair()
    for _ in range(QUEUE_LIMIT + 7):
        ends.client.step(loss=1.0)
    assert ends.client.dropped == 7
    ends.worker.round()
    assert len(lines(ends.control.path)) == QUEUE_LIMIT
    assert ends.client.errors == {"dropped": 7}


def test_a_line_that_a_killed_process_left_unfinished_is_ended_first(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"ste')
    folder = os.open(tmp_path, os.O_RDONLY)
    MetricsFile().append(folder, [(2, 0.0, {}, None, 1.0)])
    os.close(folder)
    assert path.read_bytes().split(b"\n")[:2] == [b'{"step": 1}', b'{"ste']
    assert json.loads(path.read_bytes().split(b"\n")[2])["step"] == 2


def test_what_a_full_disk_did_not_take_is_written_later(tmp_path: Path) -> None:
    # A limit on the size of files is the full disk that any user can have; a child keeps it from the tests.
    script = """
import os, resource, signal, sys
from lrwatch.client.metrics import MetricsFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = os.open(sys.argv[1], os.O_RDONLY)
file = MetricsFile()
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
try:
    file.append(folder, [(step, 0.0, {"loss": 1.0}, None, 1.0) for step in range(50)])
except OSError:
    print("full", file.ready, file.unsaved)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
file.append(folder, [])
print(file.ready, file.unsaved)
"""
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert ended.stdout.split("\n")[:2] == ["full False 50", "True 0"], ended.stderr
    assert [line["step"] for line in lines(tmp_path)] == list(range(50))


def test_nothing_but_a_regular_file_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.jsonl")
    folder = os.open(tmp_path, os.O_RDONLY)
    file = MetricsFile()
    with pytest.raises(OSError, match="not a regular file"):
        file.append(folder, [(1, 0.0, {}, None, 1.0)])
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"metrics\.jsonl"):
        file.append(folder, [])
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "of another").write_text("precious\n")
    (tmp_path / "metrics.jsonl").hardlink_to(tmp_path / "of another")
    with pytest.raises(OSError, match="2 names"):
        file.append(folder, [])
    assert (tmp_path / "of another").read_text() == "precious\n"
    assert not (tmp_path / "elsewhere").exists()
    assert file.unsaved == 1
    (tmp_path / "metrics.jsonl").unlink()
    file.append(folder, [])
    os.close(folder)
    assert [line["step"] for line in lines(tmp_path)] == [1]
