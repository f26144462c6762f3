"""A trial upwards: where the learning rate may be too low, a somewhat higher one, kept only if it is proven better.

A part of the plateau strategy. That a rate is too low is a suspicion from the shape of a curve (`detectors.too_slow`), so it
needs permission: a `max_scale` above 1, which is not the default. The rate goes up by FACTOR, at most once a trial. Before
and after are paired as for a cut (`core.effect`): the level that came against the level that continuing would have given.
Unless the lower end of the gain is above WORTH of what continuing brings, the trial is taken back. It is not repeated before
the run is older by PATIENCE.
"""

from __future__ import annotations

from lrwatch.core.command import Asked, ReturnAsked, Status, Trial, TrialFailed, TrialKept
from lrwatch.core.events import Command, Effect, Finding
from lrwatch.core.strategies.limits import CommandLimits

FACTOR = 1.5

# A trial is kept if the lower end of its gain is above this share of what continuing brings in a horizon; where progress
# goes with the rate it is half as much. Less may be the bend of the curve, of which the extended line knows nothing.
WORTH = 0.1

# A trial that was taken back is repeated when the run is older by this factor.
PATIENCE = 1.5


def is_on(limits: CommandLimits) -> bool:
    """Whether the newest command is a trial upwards that has no verdict yet, or is to be taken back."""
    trial, wanted = limits.command.trial, limits.command.wanted
    return trial is not None and trial.previous <= (limits.scale if wanted is None else wanted)


def ask(
    finding: Finding, continuing: float, not_before: float, limits: CommandLimits
) -> tuple[Command, Asked] | tuple[None, None]:
    """Return the trial that the suspicion leads to.

    Args:
        finding: The suspicion that the rate is too low.
        continuing: What continuing is worth per horizon, relative to the level of the metric.
        not_before: No trial before this step.
        limits: What may be commanded now.

    Returns:
        The command and its event, or None twice if it is too early, a trial is under way, or a limit is in the way.
    """
    step, scale = finding.step, limits.bounded(limits.scale * FACTOR)
    early = is_on(limits) or step < not_before
    if early or scale <= limits.scale or limits.refuses(scale, step):
        return None, None
    reason = f"{finding.message}; scale {scale:.4g} is tried, and stays only if it is proven better"
    trial = Trial(limits.scale, continuing)
    return Command(step, scale, reason, cause="too_slow"), Asked(scale, trial=trial)


def judge(effect: Effect, worth: float) -> TrialKept | TrialFailed:
    """Return the verdict on a trial; continuing was worth `worth` per horizon, relative to the level."""
    return TrialKept() if effect.lower > WORTH * max(worth, 0.0) else TrialFailed()


def take_back(step: int, limits: CommandLimits) -> tuple[Command | None, ReturnAsked | TrialKept | None]:
    """Return the way back of a trial that failed, or whose effect is unknown.

    Args:
        step: The step now.
        limits: What may be commanded now; `is_on` holds.

    Returns:
        The command and its event. Without a command, the end of a trial that somebody has taken back already, or None if the
        way back must wait.
    """
    command = limits.command
    if command.trial is None or not (command.status is Status.TAKING_BACK or command.effect_is_unknown):
        return None, None
    scale = limits.bounded(command.trial.previous)
    if scale >= limits.scale:
        return None, TrialKept()
    if limits.refuses(scale, step):
        return None, None
    reason = f"scale {limits.scale:.4g} is taken back: it is not proven better; it is not tried again before step {PATIENCE * step:,.0f}"
    return Command(step, scale, reason, cause="restore"), ReturnAsked(scale, command.quiet_until)
