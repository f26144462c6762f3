"""Counting rules: ReduceLROnPlateau of torch, reduce_on_plateau of optax, and the rule of dlib."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from bench.detect import blocks
from bench.detect.blocks import NEVER
from lrwatch.core.sample import Floats, Ints

# Patiences in horizons.
PATIENCES = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)

# Smoothing of the values that a counter receives.
SMOOTHING = 0.99

# dlib's defaults: probability above which it takes a loss to be decreasing, share of the largest values that its robust
# variant leaves out, and number of tests during as many values as its buffer has.
DECREASING = 0.51
LEFT_OUT = 0.1
TESTS = 182


def torch_counts(values: Floats, patience: int, threshold: float = 1.0) -> Ints:
    """Run ReduceLROnPlateau, value by value, until it lowers the LR of an optimizer.

    Until then patience matters only in the comparison "more bad values than this". One pass at the largest patience
    therefore shows when every smaller one would have been exhausted.

    Args:
        values: Shape (n,).
        patience: Patience of the scheduler, in values.
        threshold: Threshold in the units of the values.

    Returns:
        `num_bad_epochs` after each value, shape (m,), m <= n; the value that lowers the LR counts as `patience` + 1.
    """
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, patience=patience, threshold=threshold, threshold_mode="abs"
    )
    group, counts = optimizer.param_groups[0], []
    for value in values.tolist():
        scheduler.step(value)
        if group["lr"] < 1.0:
            counts.append(patience + 1)
            break
        counts.append(scheduler.num_bad_epochs)
    return np.array(counts)


def smoothed(values: Floats, share: float = SMOOTHING) -> Floats:
    """Return the exponential moving average of each run, starting at its first value, shape (runs, n)."""
    from scipy.signal import lfilter

    return np.asarray(lfilter([1 - share], [1, -share], values, axis=1, zi=share * values[:, :1])[0])


def torch_plateau(values: Floats, horizon: int) -> dict[str, Ints]:
    """Apply torch.optim.lr_scheduler.ReduceLROnPlateau, threshold_mode "abs", to raw, smoothed and mean values."""
    size = max(1, horizon // blocks.A_HORIZON)
    fed = {"raw": (values, 1), f"EMA {SMOOTHING}": (smoothed(values), 1), "means": (blocks.means(values, size), size)}
    found: dict[str, Ints] = {}
    for name, (series, each) in fed.items():
        patiences = [round(patience * horizon / each) for patience in PATIENCES]
        at = np.full((len(PATIENCES), len(values)), NEVER)
        for run, curve in enumerate(series):
            counts = np.maximum.accumulate(torch_counts(curve, max(patiences)))
            for row, patience in zip(at, patiences, strict=True):
                index = int(np.searchsorted(counts, patience, side="right"))
                if index < len(counts):
                    row[run] = (index + 1) * each - 1
        found |= {f"patience {p:g}, {name}": row for p, row in zip(PATIENCES, at, strict=True)}
    return found


@lru_cache(maxsize=1)
def _optax_first() -> Callable[[Floats, Ints, Ints], Any]:
    """Make the function of values (runs, n), patience (k,) and accumulation size (k,) that gives the index or -1 (runs, k)."""
    import jax
    import jax.numpy as jnp
    import optax

    def first(curve: Any, patience: Any, size: Any) -> Any:
        rule = optax.contrib.reduce_on_plateau(patience=patience, rtol=0.0, atol=1.0, accumulation_size=size)

        def step(carry: Any, pair: Any) -> Any:
            state, at = carry
            index, value = pair
            scaled, state = rule.update(jnp.ones(()), state, value=value)
            return (state, jnp.where((scaled < 1) & (at < 0), index, at)), None

        start = (rule.init(jnp.ones(())), jnp.asarray(-1))
        return jax.lax.scan(step, start, (jnp.arange(len(curve)), curve))[0][1]

    every: Callable[[Floats, Ints, Ints], Any] = jax.jit(jax.vmap(jax.vmap(first, (None, 0, 0)), (0, None, None)))
    return every


def optax_plateau(values: Floats, horizon: int) -> dict[str, Ints]:
    """Apply optax.contrib.reduce_on_plateau with an absolute tolerance, by patience and accumulation size."""
    sizes = {1: "raw", max(2, horizon // blocks.A_HORIZON): "means", max(3, horizon // 20): "means of 1/20"}
    settings = {
        f"patience {patience:g}, {name}": (max(1, round(patience * horizon / size)), size)
        for size, name in sizes.items()
        for patience in PATIENCES
    }
    patiences, accumulated = np.array(list(settings.values())).T
    at = np.asarray(_optax_first()(values.astype(np.float32), patiences, accumulated), np.int64)
    return dict(zip(settings, np.where(at < 0, NEVER, at).T, strict=True))


def _decreasing(count: Floats | int, cov: Floats | float, var_y: Floats | float) -> Floats | float:
    """Return P(slope < 0) of a line through `count` points as dlib does; takes sums of squares, not means."""
    from scipy.special import ndtr

    sxx = (count**3 - count) / 12
    slope = cov / sxx
    error = np.sqrt(np.maximum(var_y - slope * cov, 1e-300) / (count - 2) / sxx)
    return np.asarray(ndtr(-slope / error))


def _robustly_decreasing(window: Floats) -> float:
    smallest = window[window <= np.quantile(window, 1 - LEFT_OUT)]
    x = np.arange(len(smallest)) - (len(smallest) - 1) / 2
    off = smallest - smallest.mean()
    return float(_decreasing(len(smallest), float(x @ off), float(off @ off)))


def dlib_first(curve: Floats, size: int, start: int = 0) -> int:
    """Return the first index at which both counts of dlib reach `size` values, of those from `start` on, or NEVER.

    dlib counts back to the farthest value from which the loss shows no significant decrease, in a buffer of as many values
    as the threshold. The count reaches the threshold exactly if the line through the whole buffer shows no decrease.
    """
    ends = np.arange(start + size, len(curve) + 1, math.ceil(size / TESTS))
    off = curve - curve.mean()
    sums = [np.cumsum(np.append(0.0, part)) for part in (off, np.arange(len(off)) * off, off * off)]
    total, weighted, squares = (part[ends] - part[ends - size] for part in sums)
    cov = weighted - (ends - (size + 1) / 2) * total
    probable = _decreasing(size, cov, squares - total**2 / size)
    for end in ends[np.asarray(probable) < DECREASING].tolist():
        if _robustly_decreasing(curve[end - size : end]) < DECREASING:
            return int(end) - 1
    return NEVER


def dlib_rule(values: Floats, horizon: int) -> dict[str, Ints]:
    """Apply the rule of dlib: count_steps_without_decrease and its robust variant both reach the threshold."""
    return {
        f"threshold {threshold:g}": np.array([dlib_first(curve, round(threshold * horizon)) for curve in values])
        for threshold in PATIENCES
    }
