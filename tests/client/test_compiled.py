"""Steps that `torch.compile` has made: they use the scale, and the compiler is never led through the client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.waiting import eventually

import lrwatch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*(torch.jit|Profiler record function|isinstance.treespec)"),
]


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("rate", "counted"), [(0.1, "within"), (torch.tensor(0.1), "outside")], ids=["number", "tensor"]
)
def test_a_worker_that_is_busy_never_disturbs_the_compiler(
    rate: float | torch.Tensor, counted: str, tmp_path: Path
) -> None:
    """The worker changes what the hooks read, at any time. A trace of them that begins again found something else, and raised."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=rate.clone() if isinstance(rate, torch.Tensor) else rate)
    with lrwatch.attach(optimizer, tmp_path, poll_seconds=0.001, average=10) as watch:

        @torch.compile(backend="eager")
        def step() -> None:
            optimizer.step()
            if counted == "within":
                watch.step(loss=1.0)

        used = []
        for scale in (1.0, 0.5, 0.25):
            watch.load_state_dict({**watch.state_dict(), "scale": scale})
            for _ in range(4):
                before = weight.item()
                weight.grad = torch.ones(1)
                step()
                if counted == "outside":
                    watch.step(loss=1.0)
                used.append(before - weight.item())
        assert used == pytest.approx([0.1] * 4 + [0.05] * 4 + [0.025] * 4)
        assert watch.errors == {}
        assert watch.state_dict()["step"] == 12
        assert watch.lr == pytest.approx({"0": 0.025})
        eventually(lambda: (tmp_path / "observed.json").exists(), what="the worker has published")
