"""A trial upward: where the learning rate may be too low, a somewhat higher one, kept only if it is surely better.

That a rate is too low is a suspicion from the shape of a curve (`detectors.too_slow`), so it takes leave: a `max_scale` above 1, which
it is not unless somebody says so. The rate goes up by FACTOR, no more than once a trial. Before and
after are paired as for a cut (`core.effect`): the level that came against the level that going on would have given. Unless
it is surely better, by WORTH of what going on brings, the trial is taken back, and not made again before the run is older by
PATIENCE.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lrwatch.core.events import Command, Effect, Finding
from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies import limits

FACTOR = 1.5

# A trial is kept if it surely brings this share of what going on brings in a horizon; where progress goes with the rate it is
# half as much. Less may be the bend of the curve, of which the line that is continued knows nothing.
WORTH = 0.1

# A trial that was taken back is made again when the run is older by this factor.
PATIENCE = 1.5


@dataclass(frozen=True, slots=True)
class Trial:
    """What is remembered of a trial.

    Attributes:
        previous: The scale before the trial, while that is neither kept nor taken back, or None.
        going: What going on was worth per horizon when the trial began, relative to the level.
        take_back: It was measured, and is not surely better.
        quiet_until: No trial before this step.
    """

    previous: float | None = None
    going: float = 0.0
    take_back: bool = False
    quiet_until: float = 0.0


def answer(
    trial: Trial, standing: limits.Standing, finding: Finding, going: float, options: PolicyOptions
) -> tuple[Trial, Command | None]:
    """What the suspicion that the rate is too low leads to; `going` on is worth so much per horizon, relative to the level."""
    scale = limits.bounded(standing.scale * FACTOR, standing, options)
    early = trial.previous is not None or finding.step < trial.quiet_until
    if early or scale <= standing.scale or limits.refuses(standing, scale, finding.step, options):
        return trial, None
    reason = f"{finding.message}; scale {scale:.4g} is tried, and kept if it is surely better"
    return replace(trial, previous=standing.scale, going=going), Command(finding.step, scale, reason, cause="too_slow")


def learned(trial: Trial, effect: Effect) -> Trial:
    """The trial was measured."""
    if effect.lower > WORTH * max(trial.going, 0.0):
        return Trial()
    return replace(trial, take_back=True)


def due(trial: Trial, standing: limits.Standing, step: int, options: PolicyOptions) -> tuple[Trial, Command | None]:
    """The way back of a trial that was not surely better."""
    if not trial.take_back or trial.previous is None:
        return trial, None
    scale = limits.bounded(trial.previous, standing, options)
    quiet = PATIENCE * step
    if scale >= standing.scale:
        return Trial(quiet_until=quiet), None
    if limits.refuses(standing, scale, step, options):
        return trial, None
    reason = f"scale {standing.scale:.4g} was not surely better; it is taken back, and not tried again before step {quiet:.0f}"
    return Trial(quiet_until=quiet), Command(step, scale, reason, cause="restore")
