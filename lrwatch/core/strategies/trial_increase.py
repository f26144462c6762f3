"""A trial upwards: where the learning rate may be too low, a higher one, kept only if it is proven better.

A part of the strategies of trials. It needs permission: a `max_scale` above 1, which is not the default. There are two kinds:

- Where something can be tried, the rate is doubled while the run learns fast and its excess is proven small (`may_begin`). The line
  over the logarithm of the steps before the trial says what continuing would give (`strategies.trials`). The trial stays once its gain
  is proven, and ends as soon as it is proven to lose. If it stays, the next one may follow.
- Else the shape of a curve leads to a suspicion (`detectors.too_slow`). Then the rate goes up by FACTOR, at most once a trial. Before
  and after are paired as for a cut (`core.effect`): the level that came against the level that continuing would have given. Unless the
  lower end of the gain is above WORTH of what continuing brings, the trial is taken back. It is not repeated before the run is older
  by PATIENCE.
"""

from __future__ import annotations

from lrwatch.core.command import Asked, ReturnAsked, Status, Trial, TrialFailed, TrialKept
from lrwatch.core.events import Command, Effect, Finding
from lrwatch.core.strategies.base import Context
from lrwatch.core.strategies.limits import LAST_COMMANDS, CommandLimits
from lrwatch.core.strategies.trial_outcome import SURELY_NOT, TrialOutcome, TrialVerdict

# ---- measured by the curve ----------------------------------------------------------------------------------------------

# A larger step shows more in less time. On four real trainings of known length with a largest scale of 3, from a third of the best rate, runs
# end at 1.007 of the tuned cosine with 2, at 1.020 with 1.5, at 1.062 without such trials; with a warm start at 1.035, 1.037 and 1.079.
# From the best rate they end at 0.990 instead of 0.974, with a warm start at 0.958 instead of 0.956.
DOUBLED = 2.0

# The line before the trial covers the steps since this share of them, and the trial may last for LONGEST of them. The line is never
# continued by more than its own length.
WINDOW, LONGEST = 0.25, 0.7

# No trial unless the excess of the rate in use is surely below this share of the gain per e-fold. At 1.5, runs that begin at three times the
# best rate are raised too, and one ends at 1.8 instead of 1.3: a network that was shaken does not always recover.
EXCESS_PER_GAIN = 0.7

# After a trial that surely lost, the next one begins when the run is older by this factor. The best rate falls while a run progresses.
AFTER_LOSS = 10.0

# A trial is kept if the lower end of its gain is above this share of what continuing would have brought: a line knows nothing of the bend of
# a curve. Of 60 runs that learn as fast at any scale, none is raised for good with little noise and three with much; all but seven of those
# that learn twice as fast are. Without it 59 and 9 are raised for nothing.
SHARE = 0.25

# Probability that a trial that brings no more is kept at a single check.
ERROR = 0.01

# Values that a run must have, and by how much older than the warm-up it must be: within that the line bends.
FEW, AFTER_WARM_UP = 100, 2.0

# ---- measured by a look -------------------------------------------------------------------------------------------------

FACTOR = 1.5

# A trial is kept if the lower end of its gain is above this share of what continuing brings in a horizon; where progress
# goes with the rate it is half as much. Less may be the bend of the curve, of which the extended line knows nothing.
WORTH = 0.1

# A trial that was taken back is repeated when the run is older by this factor.
PATIENCE = 1.5


def may_begin(step: int, context: Context) -> bool:
    """Whether a trial upwards that the curve decides about may begin at `step`, as far as no line is needed to tell."""
    command, options, curve = context.command, context.options, context.curve
    allowed = context.can_try and context.learned and not context.schedule_moves and command.trial is None
    scale, enough = target(context), command.count + 2 + LAST_COMMANDS <= options.max_commands
    if not allowed or not enough or scale <= context.scale or context.refuses(scale, step):
        return False
    return step >= AFTER_WARM_UP * options.warmup_steps and curve.count(curve.first, step + 1) >= FEW


def target(context: CommandLimits) -> float:
    """Return the scale of a trial upwards that the curve decides about."""
    return context.bounded(DOUBLED * context.scale)


def is_small(excess: float, gain: float) -> bool:
    """Whether an excess is small enough for a trial upwards.

    Args:
        excess: Upper end of the excess of the rate in use, in units of the metric.
        gain: Lower end of the gain per e-fold of steps, in the same units.
    """
    return excess < EXCESS_PER_GAIN * gain


def verdict(outcome: TrialOutcome, continuing: float, *, may_stay: bool) -> TrialVerdict | None:
    """Return the verdict on a trial upwards, or None where more values may change it.

    Args:
        outcome: What it has brought.
        continuing: What continuing would have brought in the same time, in units of the metric.
        may_stay: Whether it is long enough to be proven. That it loses may be sure before.
    """
    if outcome.gain - SHARE * max(continuing, 0.0) > outcome.needed * outcome.gain_error and may_stay:
        return TrialVerdict(keep=True)
    surely_not = outcome.gain <= SURELY_NOT * outcome.gain_error
    return TrialVerdict(keep=False, surely_not=surely_not) if surely_not or outcome.is_over else None


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
