"""Commands and the scale stay within the limits, whatever the metric does."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from lrwatch import Controller
from lrwatch.core.options import PolicyOptions

N = 40_000


def _bursts(rng: np.random.Generator) -> np.ndarray:
    values = 1 + rng.standard_normal(N)
    values[rng.random(N) < 0.3] = math.nan
    values[1000:1400] = math.nan
    values[5000:5100] = math.inf
    return values


METRICS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "noise alone": lambda rng: rng.standard_normal(N),
    "heavy noise": lambda rng: rng.standard_cauchy(N),
    "an oscillation as long as a horizon": lambda _: 2 + np.sin(np.arange(N) / 300),
    "an oscillation that grows with the run": lambda _: 2 + np.sin(20 * np.log1p(np.arange(N))),
    "two levels in turn": lambda rng: 1 + (np.arange(N) // 2500 % 2) + 0.01 * rng.standard_normal(N),
    "bursts that are not finite": _bursts,
    "huge and tiny in turn": lambda rng: 10.0 ** rng.integers(-300, 300, N),
    "constant": lambda _: np.ones(N),
    "zero": lambda _: np.zeros(N),
}


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_commands_and_scale_stay_within_the_limits(metric: str) -> None:
    options = PolicyOptions(mode="auto")
    controller = Controller(mode="auto", direction="min")
    scales = [controller.update(i, value) for i, value in enumerate(METRICS[metric](np.random.default_rng(0)).tolist())]
    assert options.min_scale <= min(scales) <= max(scales) <= options.max_scale
    assert len(controller.commands) <= options.max_commands
    asked = [1.0, *(command.scale for command in controller.commands)]
    ratios = [after / before for before, after in pairwise(asked)]
    assert all(options.max_factor_down <= ratio <= options.max_factor_up for ratio in ratios)
    cuts = [command.step for command in controller.commands if command.cause == "plateau"]
    applied = [command.step for command in controller.commands]
    for cut in cuts:  # a horizon is a tenth of the run so far
        assert all(cut - step >= options.cooldown * 0.1 * cut - 1 for step in applied if step < cut)
