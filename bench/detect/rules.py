"""All reports of each rule in one series, at its defaults; a rule that needs a length gets a tenth of the series."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

import lrwatch
from bench.detect import blocks, changes, counters, trends
from bench.detect.blocks import NEVER
from lrwatch.core.sample import Floats

# dlib's defaults: the threshold for training losses, and the number of oldest losses it drops after it lowers the LR.
DLIB_THRESHOLD = 2000
DLIB_FORGETS = 400 + DLIB_THRESHOLD // 10

# Two-sided 5 %, the default of the Mann-Kendall test, as a one-sided level.
ALPHA = 0.025


def _indices(where: npt.NDArray[np.bool_]) -> list[int]:
    return [int(index) for index in np.flatnonzero(where)]


def _lrwatch(steps: Floats, values: Floats) -> list[int]:
    whole = steps.astype(np.int64)
    if (whole != steps).any() or (np.diff(whole) <= 0).any():
        whole = np.arange(len(values))
    found = lrwatch.find_plateaus(values, whole, horizon="10%", min_improvement=0.005, false_alarms=0.01)
    return [int(np.searchsorted(whole, finding.step)) for finding in found]


def _torch(values: Floats) -> list[int]:
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    rates = [1.0]
    for value in values.tolist():
        scheduler.step(value)
        rates.append(optimizer.param_groups[0]["lr"])
    return _indices(np.diff(rates) < 0)


@lru_cache(maxsize=1)
def _optax_scales() -> Any:
    import jax
    import jax.numpy as jnp
    import optax

    rule = optax.contrib.reduce_on_plateau()

    def step(state: Any, value: Any) -> Any:
        scale, state = rule.update(jnp.ones(()), state, value=value)
        return state, scale

    return jax.jit(lambda values: jax.lax.scan(step, rule.init(jnp.ones(())), values)[1])


def _optax(values: Floats) -> list[int]:
    # Compiled for lengths that are powers of two; the padding comes after all values that count.
    padded = np.pad(values, (0, (1 << len(values).bit_length()) - len(values)), mode="edge")
    scales = np.asarray(_optax_scales()(padded.astype(np.float32)))[: len(values)]
    return _indices(np.diff(scales, prepend=1.0) < 0)


def _dlib(values: Floats) -> list[int]:
    found: list[int] = []
    start = 0
    while len(values) >= start + DLIB_THRESHOLD:
        at = counters.dlib_first(values, DLIB_THRESHOLD, start)
        if at == NEVER:
            break
        found.append(at)
        start = at + 1 - DLIB_THRESHOLD + DLIB_FORGETS
    return found


def _window(values: Floats, test: trends.Test) -> list[int]:
    span = max(blocks.A_WINDOW, len(values) // 10)
    ends, windows, _ = blocks.windows(values[None], span, 1.0)
    if not len(ends):
        return []
    flat = test(windows[0]) > ALPHA
    begins = flat & ~np.append(False, flat[:-1])  # a continuing plateau is reported once
    return [int(end) for end in ends[begins]]


def _quiet(values: Floats, fell: list[int]) -> list[int]:
    """Return the index of each time that a tenth of the series has passed without a drop."""
    wait = max(1, len(values) // 10)
    found: list[int] = []
    last = -1
    for drop in [*fell, len(values)]:
        found += range(last + wait, drop, wait)
        last = drop
    return found


def reports(steps: Floats, values: Floats) -> dict[str, list[int]]:
    """Return the indices of the reports of each installed rule; `steps` and `values` have shape (n,), n > 1."""
    found = {"lrwatch": _lrwatch(steps, values)}
    if find_spec("torch"):
        found["torch ReduceLROnPlateau"] = _torch(values)
    if find_spec("optax"):
        found["optax reduce_on_plateau"] = _optax(values)
    if find_spec("scipy"):
        found["dlib's rule"] = _dlib(values)
        found["Welch t-test of halves"] = _window(values, trends.welch_p)
    if find_spec("pymannkendall"):
        found["Mann-Kendall (Hamed-Rao)"] = _window(values, trends.mann_kendall_p)
    if find_spec("river"):
        from river.drift import ADWIN, KSWIN, PageHinkley

        make: Callable[[], changes.Detector] = ADWIN
        found["river ADWIN"] = _quiet(values, changes.drops(make(), changes.estimation, values))
        found["river PageHinkley"] = _quiet(values, changes.drops(PageHinkley(mode="down"), changes.flagged, values))
        found["river KSWIN"] = _quiet(values, changes.drops(KSWIN(seed=0), changes.recent, values))
    return found
