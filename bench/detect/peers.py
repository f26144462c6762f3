"""The compared rules, including lrwatch, with their settings from lax to strict.

A rule receives the values and the horizon, in which the metric must improve by 1. It returns the index of its first
report of a plateau, or NEVER.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

import lrwatch
from bench.detect import changes, counters, trends
from bench.detect.blocks import NEVER
from lrwatch.core.sample import Floats, Ints

FALSE_ALARMS = (0.2, 0.05, 0.01, 0.001)

# Mean reports a horizon of the random rule.
RATES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)

Look = Callable[[Floats, int], Mapping[str, Ints]]
"""Maps values of shape (runs, n) and the horizon to the index of the first report by setting, shape (runs,) each."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A rule.

    Attributes:
        name: Name in the table.
        label: Short name in the figure; "" leaves it out.
        library: Library that it needs, or "".
        default: The setting that a user would start with.
        look: Applies the rule at all its settings.
    """

    name: str
    label: str
    library: str
    default: str
    look: Look


def _lrwatch(values: Floats, horizon: int) -> dict[str, Ints]:
    found = {}
    for alarms in FALSE_ALARMS:
        at = np.full(len(values), NEVER)
        for run, curve in enumerate(values):
            reports = lrwatch.find_plateaus(
                curve, horizon=horizon, min_improvement=1.0, relative=False, false_alarms=alarms
            )
            if reports:
                at[run] = reports[0].step
        found[f"false_alarms {alarms:g}"] = at
    return found


def _never(values: Floats, _horizon: int) -> dict[str, Ints]:
    return {"": np.full(len(values), NEVER)}


def _random(values: Floats, horizon: int) -> dict[str, Ints]:
    rng = np.random.default_rng(values[:, 0].view(np.uint64))  # the same guess for the same curves
    at = {f"{rate:g} a horizon": rng.exponential(horizon / rate, len(values)).astype(np.int64) for rate in RATES}
    return {setting: np.where(when < values.shape[1], when, NEVER) for setting, when in at.items()}


PEERS = (
    Peer("lrwatch", "lrwatch", "", "false_alarms 0.01", _lrwatch),
    Peer("torch ReduceLROnPlateau", "torch ReduceLROnPlateau", "torch", "patience 1, raw", counters.torch_plateau),
    Peer("optax reduce_on_plateau", "optax reduce_on_plateau", "optax", "patience 1, raw", counters.optax_plateau),
    Peer("dlib's rule", "dlib's rule", "scipy", "threshold 1", counters.dlib_rule),
    Peer("Mann-Kendall (Hamed-Rao): no decrease shown", "Mann-Kendall", "pymannkendall",
         "alpha 0.025, window 1", trends.mann_kendall),
    Peer("Mann-Kendall (Hamed-Rao): less than required shown", "Mann-Kendall, null turned round", "pymannkendall",
         "alpha 0.05, window 1", trends.mann_kendall_turned),
    Peer("Welch t-test of halves: no decrease shown", "Welch t-test", "scipy",
         "alpha 0.025, window 1", trends.welch),
    Peer("Welch t-test of halves: less than required shown", "Welch t-test, null turned round", "scipy",
         "alpha 0.05, window 1", trends.welch_turned),
    Peer("river ADWIN", "ADWIN", "river", "delta 0.002, wait 1", changes.adwin),
    Peer("river PageHinkley", "Page-Hinkley", "river", "threshold 50, wait 1", changes.page_hinkley),
    Peer("river KSWIN", "KSWIN", "river", "alpha 0.005, wait 1", changes.kswin),
    Peer("fires at random", "fires at random", "", "0.1 a horizon", _random),
    Peer("never fires", "", "", "", _never),
)  # fmt: skip
