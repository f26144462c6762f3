"""Strategies: who decides the scale. One file each, and one line in `STRATEGIES`.

`base` says what a strategy is, `limits` what none of them may do. `trial_increase` is a part of `plateau`.
"""

from __future__ import annotations

from lrwatch.core.strategies.base import Strategy
from lrwatch.core.strategies.observe import Observe
from lrwatch.core.strategies.plateau import Plateau
from lrwatch.core.strategies.range_test import LrRangeTest
from lrwatch.core.strategies.rescue import Rescue
from lrwatch.core.strategies.schedules import Cosine, Exponential, Step, Wsd

STRATEGIES: dict[str, type[Strategy]] = {
    strategy.NAME: strategy for strategy in (Plateau, Observe, Step, Exponential, Cosine, Wsd, LrRangeTest, Rescue)
}
"""The strategies by their value of `[policy] strategy`."""
