"""Competitors: schedules that know the length of the run, and controllers that observe the loss.

All controllers receive the loss of each batch. Those that count epochs, as `ReduceLROnPlateau` does, receive means over
windows. AdaLRS, which has no public code, is our own (`bench.closed.adalrs`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import product
from typing import Any

import lrwatch
from bench.closed.adalrs import AdaLrs
from bench.closed.play import Plan, Update
from lrwatch.testing.closed_loop.play import constant, cosine, linear, two_steps

# Steps that count as an epoch.
EPOCH = 100

# Grid of torch's rule: window of a mean, means without improvement, factor. A cut follows 80 to 2,500 steps without
# improvement. The threshold is torch's.
WINDOWS, PATIENCES, FACTORS = (20, 100), (4, 10, 25), (0.1, 0.3, 0.5)

# GreedyLR's lower bound, relative to its start rate: its default is absolute, and above most learning rates; its
# authors set it in each of their examples. The upper bound is its default.
LOWEST, HIGHEST = 0.001, 1.0

# Warm-up of a schedule and warm start of lrwatch: a share of the run in which the rate rises from a tenth.
WARM_UP = 0.04

CONSTANT, COSINE, STEPS, LINEAR = "constant", "cosine", "steps", "linear"
WSD20, WSD40, WARM_WSD40 = "WSD 20", "WSD 40", "warm-up, WSD 40"
PLATEAU, GRID, GREEDY = "ReduceLROnPlateau", "ReduceLROnPlateau, grid", "GreedyLR"
ADALRS_COSINE, ADALRS_WSD40 = "AdaLRS, cosine", "AdaLRS, WSD 40"
LRWATCH, KNOWN, WARM = "lrwatch", "lrwatch, length known", "lrwatch, length known, warm start"
CONSTANT_AVERAGED, LRWATCH_AVERAGED = "constant, averaged weights", "lrwatch, averaged weights"


def wsd(decay: float, share: float) -> float:
    """Keep the rate, then decay to zero along a line in the last `decay` of the run."""
    return min(1.0, (1 - share) / decay)


def warmed_up(share: float) -> float:
    """Rise from a tenth, exponentially, then do as `wsd` with 40 %."""
    return 0.1 ** (1 - share / WARM_UP) if share < WARM_UP else wsd(0.4, share)


# Schedules that are swept over learning rates, and those that run from the controllers' start rates.
SWEPT = ((COSINE, cosine), (STEPS, two_steps))
STARTED = (
    *SWEPT, (LINEAR, linear), (WSD20, partial(wsd, 0.2)), (WSD40, partial(wsd, 0.4)), (WARM_WSD40, warmed_up),
)  # fmt: skip


def scheduled(shape: Callable[[float], float], rate: float, steps: int) -> Update:
    """Make a schedule of a known length."""
    return lambda step, _loss: rate * shape((step + 1) / steps)


class LrwatchController:
    """`lrwatch.Controller` as an `Update`; at its defaults unless options are given."""

    def __init__(self, rate: float, **options: Any) -> None:
        self._rate = rate
        self.controller = lrwatch.Controller(direction="min", **options)

    def __call__(self, step: int, loss: float) -> float:
        """Return the learning rate of the next step."""
        return self._rate * self.controller.update(step, loss)


class Windowed:
    """A torch scheduler with `step(metric)` as an `Update`, fed with means over windows."""

    def __init__(self, make: Callable[[Any], Any], rate: float, window: int) -> None:
        import torch

        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
        self._scheduler = make(optimizer)
        self._group = optimizer.param_groups[0]
        self._window, self._sum = window, 0.0

    def __call__(self, step: int, loss: float) -> float:
        """Return the learning rate of the next step."""
        self._sum += loss
        if (step + 1) % self._window == 0:
            self._scheduler.step(self._sum / self._window)
            self._sum = 0.0
        return float(self._group["lr"])


def _plateau(optimizer: Any, **options: Any) -> Any:
    import torch

    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)


def _greedy(optimizer: Any, rate: float) -> Any:
    from transformers.optimization import GreedyLR

    return GreedyLR(optimizer, min_lr=LOWEST * rate, max_lr=max(rate, HIGHEST))


def greedy_is_there() -> bool:
    """Return whether an installed transformers has GreedyLR."""
    if not find_spec("transformers"):
        return False
    from transformers import optimization

    return hasattr(optimization, "GreedyLR")


def schedules(
    rates: Sequence[float], reads: Sequence[int], shapes: Sequence[tuple[str, Callable[[float], float]]] = SWEPT
) -> list[Plan]:
    """Return the plans of schedules that know the length: each shape at each rate for each length."""
    return [
        Plan(name, f"{steps} steps", rate, (steps,), partial(scheduled, shape, rate, steps), shape(0.0))
        for (name, shape), rate, steps in product(shapes, rates, reads)
    ]


def constants(rates: Sequence[float], reads: Sequence[int], name: str = CONSTANT) -> list[Plan]:
    """Return the plans of constant rates."""
    return [Plan(name, "", rate, tuple(reads), partial(scheduled, constant, rate, max(reads))) for rate in rates]


def settings(short: bool) -> list[tuple[int, int, float]]:
    """Return the settings of torch's rule: window, patience, factor."""
    windows, patiences, factors = ((100,), (4, 10), (0.1, 0.3)) if short else (WINDOWS, PATIENCES, FACTORS)
    return list(product(windows, patiences, factors))


def peers(rates: Sequence[float], reads: Sequence[int], grid: Sequence[tuple[int, int, float]]) -> list[Plan]:
    """Return the controllers of other libraries, and a constant rate, from each start rate.

    Args:
        rates: The start rates.
        reads: The lengths.
        grid: Settings of torch's rule, as `settings` returns them.
    """
    plans, at = constants(rates, reads), tuple(reads)
    for rate in rates:
        plans.append(Plan(PLATEAU, "", rate, at, partial(Windowed, _plateau, rate, EPOCH)))
        for setting in grid:
            window, patience, factor = setting
            make = partial(_plateau, patience=patience, factor=factor)
            plans.append(Plan(GRID, named(setting), rate, at, partial(Windowed, make, rate, window)))
        if greedy_is_there():
            make = partial(_greedy, rate=rate)
            for window, feed in ((EPOCH, ""), (1, "each step")):
                plans.append(Plan(GREEDY, feed, rate, at, partial(Windowed, make, rate, window)))
    return plans


def searches(rates: Sequence[float], reads: Sequence[int]) -> list[Plan]:
    """Return the plans of AdaLRS on top of two schedules, from each start rate for each length."""
    shapes: tuple[tuple[str, Callable[[float], float]], ...]
    shapes = (ADALRS_COSINE, cosine), (ADALRS_WSD40, partial(wsd, 0.4))
    return [
        Plan(name, f"{steps} steps", rate, (steps,), partial(AdaLrs, rate, shape, steps))
        for (name, shape), rate, steps in product(shapes, rates, reads)
    ]


def named(setting: tuple[int, int, float]) -> str:
    """Return the name of a setting of torch's rule."""
    window, patience, factor = setting
    return f"patience {patience} means of {window}, factor {factor:g}"


def ours(rates: Sequence[float], reads: Sequence[int], name: str = LRWATCH) -> list[Plan]:
    """Return the plans of lrwatch that is not told the length, one for each start rate."""
    return [Plan(name, "", rate, tuple(reads), partial(LrwatchController, rate)) for rate in rates]


def averaged(rates: Sequence[float], reads: Sequence[int]) -> list[Plan]:
    """Return the plans of runs of unknown length that are measured at an average of their weights: with lrwatch, and without."""
    return [*constants(rates, reads, CONSTANT_AVERAGED), *ours(rates, reads, LRWATCH_AVERAGED)]


def told(rates: Sequence[float], reads: Sequence[int]) -> list[Plan]:
    """Return the plans of lrwatch that is told the length, without and with a warm start."""
    plans = []
    for (name, more), rate, steps in product(((KNOWN, {}), (WARM, {"warm_start": WARM_UP})), rates, reads):
        make = partial(LrwatchController, rate, total_steps=steps, **more)
        plans.append(Plan(name, f"{steps} steps", rate, (steps,), make, make().controller.scale))
    return plans
