"""Strategies: who decides the scale. One file each, and one line in `STRATEGIES`.

`base` says what a strategy is, `limits` what none of them may do. `trials` is the base of `plateau` and `anneal`, and
`trial_increase` a part of `plateau`. `chosen` says which of the two decides where the settings leave it open.
"""

from __future__ import annotations

from lrwatch.core.strategies.anneal import Anneal
from lrwatch.core.strategies.base import Strategy
from lrwatch.core.strategies.observe import Observe
from lrwatch.core.strategies.plateau import Plateau
from lrwatch.core.strategies.range_test import LrRangeTest
from lrwatch.core.strategies.rescue import Rescue
from lrwatch.core.strategies.schedules import Cosine, Exponential, Step, Wsd

AUTO = "auto"
"""The value of `[policy] strategy` that leaves the choice to what is known of the run."""

STRATEGIES: dict[str, type[Strategy]] = {
    strategy.NAME: strategy
    for strategy in (Plateau, Anneal, Observe, Step, Exponential, Cosine, Wsd, LrRangeTest, Rescue)
}
"""The strategies by their value of `[policy] strategy`."""


def chosen(name: str, *, length_is_known: bool, is_base: bool) -> str:
    """Return the strategy that decides under the setting `name`.

    Args:
        name: The setting. "auto" is anneal where the length of the run is known, and plateau otherwise.
        length_is_known: Whether it is.
        is_base: Whether the model will be trained further: then "auto" observes, because a decay can hurt later.
    """
    if name != AUTO:
        return name
    if is_base:
        return Observe.NAME
    return Anneal.NAME if length_is_known else Plateau.NAME
