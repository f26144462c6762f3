"""Cost of the client in the training thread; ratios compare measurements of one run."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

import lrwatch
from lrwatch.client.torch_hooks import TorchAdapter

TENSORS = 50
# Too few to make the client wake its worker: only the training thread is measured.
CALLS = 1000
ROUNDS = 200
STEPS = 1000
# Consecutive steps under one condition.
BLOCK = 20


def median_seconds(function: Callable[[], object], between: Callable[[], object]) -> float:
    """Return the median over rounds of the mean over calls; `between` is called before each round and not counted."""
    costs = []
    for _ in range(ROUNDS):
        between()
        begin = time.perf_counter()
        for _ in range(CALLS):
            function()
        costs.append((time.perf_counter() - begin) / CALLS)
    return statistics.median(costs)


def step_costs() -> list[tuple[str, float]]:
    """Return the seconds of one `Client.step` with nothing to do, including the call of the measured function.

    Raises:
        RuntimeError: Records were dropped: the wrong path was measured.
    """
    with tempfile.TemporaryDirectory() as directory, lrwatch.attach(None, directory, poll_seconds=3600.0) as watch:
        box = watch._box  # the queue is emptied between rounds: a full one would be faster
        tensor = torch.tensor(0.5)
        rows = [
            ("Client.step()", median_seconds(watch.step, box.queue.clear)),
            ("Client.step(loss=float)", median_seconds(lambda: watch.step(loss=0.5), box.queue.clear)),
            ("Client.step(loss=tensor)", median_seconds(lambda: watch.step(loss=tensor), box.queue.clear)),
        ]
        if watch.dropped:
            raise RuntimeError(f"{watch.dropped} records were dropped: the wrong path was measured")
    return rows


def whole_costs() -> list[tuple[str, float]]:
    """Return the seconds of a whole AdamW step over `TENSORS` tensors, followed by `Client.step`, as in a script.

    The cases are: without lrwatch, attached with nothing to do, and scaled. All use one optimizer, in blocks of steps
    in random order.
    """
    tensors = [torch.randn(32, 32, requires_grad=True) for _ in range(TENSORS)]
    for tensor in tensors:
        tensor.grad = torch.randn(32, 32)
    optimizer = torch.optim.AdamW(tensors, lr=1e-3)
    found: dict[str, list[float]] = {"plain": [], "attached": [], "scaled": []}
    order = list(found) * (STEPS // BLOCK)
    random.Random(2).shuffle(order)
    with tempfile.TemporaryDirectory() as directory:
        for name in order:
            if name == "plain":
                found[name] += [_timed(optimizer.step) for _ in range(BLOCK)]
                continue
            with lrwatch.attach(optimizer, directory, poll_seconds=3600.0, metrics_file=False) as watch:
                state = watch.state_dict()
                watch.load_state_dict({**state, "scale": 0.5 if name == "scaled" else 1.0})
                optimizer.step()  # takes the one sample of a poll interval

                def both(watch: lrwatch.Client = watch) -> None:
                    optimizer.step()
                    watch.step()

                found[name] += [_timed(both) for _ in range(BLOCK)]
    return [(f"AdamW step and Client.step, {name}", statistics.median(costs)) for name, costs in found.items()]


def _timed(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


class Alone:
    """Group of one rank that answers at once: what remains is the client's own cost."""

    rank = 0

    def largest(self, numbers: Sequence[int]) -> Callable[[], Sequence[int]]:
        return lambda: numbers


def rank_costs() -> list[tuple[str, float]]:
    """Return the seconds of `Client.step` with ranks, on a group of one, at the default cadence."""
    with (
        tempfile.TemporaryDirectory() as directory,
        lrwatch.attach(None, directory, poll_seconds=3600.0, ranks=Alone()) as watch,
    ):
        return [("Client.step(), with ranks", median_seconds(watch.step, lambda: None))]


def hook_costs(groups: int) -> list[tuple[str, float]]:
    """Return the seconds of an AdamW step over `TENSORS` small tensors: plain, and with hooks at scales 1 and 0.5.

    All three cases use the same optimizer, in random order: neither a busy machine nor the place of the tensors in
    memory favours one.
    """
    tensors = [torch.randn(32, 32, requires_grad=True) for _ in range(TENSORS)]
    for tensor in tensors:
        tensor.grad = torch.randn(32, 32)
    size = TENSORS // groups
    parts = [{"params": tensors[i * size : (i + 1) * size]} for i in range(groups)]
    optimizer = torch.optim.AdamW(parts, lr=1e-3)
    found: dict[float | None, list[float]] = {None: [], 1.0: [], 0.5: []}
    order = list(found) * STEPS
    random.Random(1).shuffle(order)
    for scale in order:
        adapter = None if scale is None else TorchAdapter([optimizer])
        if adapter is not None and scale is not None:
            adapter.set(scale)
            for hooks in adapter._hooks:
                hooks.wanted = False  # a sample is taken once a poll, not at each step
        begin = time.perf_counter()
        optimizer.step()
        found[scale].append(time.perf_counter() - begin)
        if adapter is not None:
            adapter.open = False
            adapter.release()
    names = {None: "plain", 1.0: "scale 1", 0.5: "scale 0.5"}
    rows = [(f"AdamW step, {groups} group(s), {names[s]}", statistics.median(costs)) for s, costs in found.items()]
    for scale in (1.0, 0.5):
        adapter = TorchAdapter([optimizer])
        adapter.set(scale)
        hooks = adapter._hooks[0]

        def both(hooks: Any = hooks) -> None:
            hooks._before(optimizer, (), {})
            hooks._after(optimizer, (), {})

        rows.append((f"the hooks alone, {groups} group(s), {names[scale]}", median_seconds(both, lambda: None)))
        adapter.open = False
        adapter.release()
    return rows


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    for name, cost in step_costs() + rank_costs():
        print(f"{name:42} {cost * 1e6:10.3f} us")
    rows = whole_costs()
    for name, cost in rows:
        print(f"{name:42} {cost * 1e6:10.1f} us   x {cost / rows[0][1]:.4f} of plain")
    for groups in (1, TENSORS):
        rows = hook_costs(groups)
        plain = rows[0][1]
        for name, cost in rows:
            print(f"{name:42} {cost * 1e6:10.1f} us   x {cost / plain:.4f} of plain")


if __name__ == "__main__":
    main()
