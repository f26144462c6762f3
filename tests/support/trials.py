"""A strategy that tries cuts whenever it may, and runs whose first trial is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from support.strategies import ClosedLoop, Loss, Moment, curve_of

from lrwatch.core.command import Status, Trial
from lrwatch.core.options import PolicyOptions
from lrwatch.core.stats.log_line import LogLine
from lrwatch.core.strategies.base import Context
from lrwatch.core.strategies.trial_outcome import TrialOutcome, TrialVerdict
from lrwatch.core.strategies.trials import Trials

AUTO = PolicyOptions(mode="auto")
# A cut from 1 to 0.5 that is in use and has no verdict yet.
CUT: dict[str, Any] = {"status": Status.ON_TRIAL, "scale": 0.5, "trial": Trial(1.0), "count": 1}


@dataclass(frozen=True, slots=True)
class Tries(Trials):
    """Tries whenever it may, and keeps what is proven when the time of the trial is over."""

    NAME: ClassVar[str] = "tries"
    demands: float = 0.0
    surely: bool = False

    def begins(self, line: LogLine, step: int, context: Context) -> str:
        """Always."""
        return "it may be worth it"

    def judges(self, outcome: TrialOutcome, line: LogLine, context: Context) -> TrialVerdict | None:
        """When the time is over: whether the gain is proven and as large as demanded."""
        if not outcome.is_over:
            return None
        return TrialVerdict(outcome.is_proven and outcome.gain > self.demands, surely_not=self.surely)


def settling(floor: float) -> Loss:
    """A run that has settled, and that the rate holds up by `floor` times the scale."""
    return lambda progress, scale: 2 + 3 * np.exp(-progress / 100) + floor * scale


def noise(n: int, seed: int = 0) -> Any:
    return 0.02 * np.random.default_rng(seed).standard_normal(n)


FLAT = curve_of(2 + noise(1000))
FRESH = Moment(Tries(), AUTO, context={"can_try": True, "curve": FLAT})


def tries(moment: Moment) -> Tries:
    assert isinstance(moment.strategy, Tries)
    return moment.strategy


def options(**changes: Any) -> Moment:
    return replace(FRESH, options=replace(AUTO, **changes))


def on_trial(loss: Loss, strategy: Tries = Tries(), start: int = 1000, **context: Any) -> ClosedLoop:
    """A run whose first trial is asked for at step `start` or just behind."""
    begins = replace(FRESH, strategy=replace(strategy, not_before=start)).knows(**context)
    return ClosedLoop(begins, loss).until(2 * start, command=True)


def outcome(excess: float, error: float) -> TrialOutcome:
    return TrialOutcome(
        gain=0.0, gain_error=error, excess=excess, excess_error=error, x=0.05, came=2.0, came_error=error
    )
