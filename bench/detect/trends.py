"""Rules that test a window: Mann-Kendall with the correction of Hamed and Rao, and Welch's t-test of the two halves.

Each has two readings. The usual one: a plateau is a window without a significant decrease (p > alpha). The reversed
one: a plateau is a window in which the metric plus the required improvement rises significantly (p < alpha). A strict
setting is a large alpha in the first, a small alpha in the second.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from bench.detect import blocks
from bench.detect.blocks import NEVER
from lrwatch.core.sample import Floats, Ints

NOT_SHOWN = (0.025, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999)
SHOWN = (0.05, 0.01, 0.001, 0.0001, 0.00001)

Test = Callable[[Floats], Floats]
"""Maps block means of shape (looks, blocks) to P of at most this rise where there is none, shape (looks,)."""


def mann_kendall_p(windows: Floats) -> Floats:
    """Compute P by pymannkendall.hamed_rao_modification_test."""
    import pymannkendall
    from scipy.special import ndtr

    with warnings.catch_warnings():  # the corrected variance can be negative: no verdict then
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(ndtr([pymannkendall.hamed_rao_modification_test(window).z for window in windows]))


def welch_p(windows: Floats) -> Floats:
    """Compute P by scipy.stats.ttest_ind of the two halves."""
    from scipy.stats import ttest_ind

    half = windows.shape[1] // 2
    return np.asarray(
        ttest_ind(windows[:, half:], windows[:, :half], axis=1, equal_var=False, alternative="less").pvalue
    )


def _looks(values: Floats, horizon: int, test: Test, turned: bool) -> dict[str, Ints]:
    found = {}
    for length in blocks.WINDOWS:
        ends, windows, ramp = blocks.windows(values, horizon, length)
        if turned:
            windows = windows + ramp * np.arange(blocks.A_WINDOW)
        p = np.array([test(run) for run in windows])
        for alpha in SHOWN if turned else NOT_SHOWN:
            reports = (1 - p < alpha) if turned else (p > alpha)
            first = np.where(reports.any(axis=1), ends[reports.argmax(axis=1)], NEVER)
            found[f"alpha {alpha:g}, window {length}"] = first
    return found


def mann_kendall(values: Floats, horizon: int) -> dict[str, Ints]:
    """Apply pymannkendall.hamed_rao_modification_test: no decrease shown."""
    return _looks(values, horizon, mann_kendall_p, turned=False)


def mann_kendall_turned(values: Floats, horizon: int) -> dict[str, Ints]:
    """Apply pymannkendall.hamed_rao_modification_test: shown to improve by less than required."""
    return _looks(values, horizon, mann_kendall_p, turned=True)


def welch(values: Floats, horizon: int) -> dict[str, Ints]:
    """Apply scipy.stats.ttest_ind of the halves: no decrease shown."""
    return _looks(values, horizon, welch_p, turned=False)


def welch_turned(values: Floats, horizon: int) -> dict[str, Ints]:
    """Apply scipy.stats.ttest_ind of the halves: shown to improve by less than required."""
    return _looks(values, horizon, welch_p, turned=True)
