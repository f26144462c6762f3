"""The last word: which commands the training process takes, as two pure functions.

`misaddressed` checks that the command is meant for this process and that no newer controller has replaced its sender.
`forbidden` checks the change against the bounds of the run. A command that changes nothing is never forbidden and costs
nothing, so that repeating one after a restart is harmless.
"""

from __future__ import annotations

import math

from lrwatch.client.ramp import Ramp
from lrwatch.protocol import Desired, RejectionCode
from lrwatch.protocol.lean import dataclass

# Two factors that differ by less are the same; 0.3 / 3 is not 0.1 in binary.
_FACTOR_TOLERANCE = 1e-9


@dataclass(frozen=True)
class ScaleState:
    """State of the training thread that commands are checked against and that a checkpoint keeps.

    Attributes:
        scale: The multiplier in force, without the factor of a warm start.
        generation: Number of the last command that took effect, 0 for none.
        commands: Changes of the scale so far.
        last_step: First optimizer step of the last change, or None.
        ramp: The ramp that is under way, or None.
        warm_until: The last optimizer step of the warm start that is under way, or None.
    """

    scale: float = 1.0
    generation: int = 0
    commands: int = 0
    last_step: int | None = None
    ramp: Ramp | None = None
    warm_until: int | None = None


@dataclass(frozen=True)
class Limits:
    """The bounds of a run.

    Attributes:
        min_scale: Lower bound of the scale, itself allowed; at most 1.
        max_scale: Upper bound of the scale, itself allowed; at least 1.
        max_factor_down: Smallest factor by which the scale may change from one step to the next.
        max_factor_up: Largest factor by which the scale may change from one step to the next.
        min_steps_between: Optimizer steps from one change to the next.
        warmup_steps: Number of optimizer steps at the start in which the scale is locked.
        max_commands: Number of changes in the whole life of the run, checkpoints included.

    Raises:
        TypeError: A bound is not a number.
        ValueError: The bounds contradict each other.
    """

    min_scale: float = 1e-3
    max_scale: float = 1.0
    max_factor_down: float = 0.1
    max_factor_up: float = 2.0
    min_steps_between: int = 0
    warmup_steps: int = 0
    max_commands: int = 100

    def __post_init__(self) -> None:
        for name in self.__match_args__:
            value = getattr(self, name)
            whole = isinstance(getattr(Limits, name), int)
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                kind = "a whole number" if whole else "a number"
                raise TypeError(f"{name} is {kind}, found {value!r}")
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"{name} is finite and not negative, found {value!r}")
        if not 0 < self.min_scale <= 1 <= self.max_scale:
            raise ValueError(f"0 < min_scale <= 1 <= max_scale must hold, found {self.min_scale} and {self.max_scale}")
        if not 0 < self.max_factor_down <= 1 <= self.max_factor_up:
            raise ValueError(
                "0 < max_factor_down <= 1 <= max_factor_up must hold, "
                f"found {self.max_factor_down} and {self.max_factor_up}"
            )


def misaddressed(
    desired: Desired, *, run: str, incarnation: str, generation: int, max_token: int
) -> RejectionCode | None:
    """Return the reason for which this process ignores the command, or None.

    Args:
        desired: The command.
        run: Name of this run; "" accepts every name.
        incarnation: The start of the trainer that is running.
        generation: Number of the last command that was accepted.
        max_token: Highest token seen.
    """
    if run and desired.run != run:
        return "wrong_run"
    if desired.incarnation != incarnation:
        return "wrong_incarnation"
    if desired.token < max_token:
        return "stale_token"
    if desired.generation <= generation:
        return "stale_generation"
    return None


def forbidden(desired: Desired, *, step: int, scale_state: ScaleState, limits: Limits) -> RejectionCode | None:
    """Return the reason for which the command may not change the scale, or None.

    Args:
        desired: The command.
        step: First optimizer step that would use the new scale.
        scale_state: State of the training thread.
        limits: The bounds of the run.
    """
    if desired.not_after_step is not None and step > desired.not_after_step:
        return "expired"
    if desired.groups:
        return "unsupported"
    if not limits.min_scale <= desired.scale <= limits.max_scale:
        return "out_of_bounds"
    if desired.scale == scale_state.scale:
        return None
    if step <= max(limits.warmup_steps, scale_state.warm_until or 0):
        return "warmup"
    if scale_state.commands >= limits.max_commands:
        return "budget"
    if scale_state.last_step is not None and 0 <= step - scale_state.last_step < limits.min_steps_between:
        return "too_soon"
    lowest, highest = _factors(limits)
    if not lowest <= Ramp(scale_state.scale, desired.scale, step, desired.ramp_steps).steepest <= highest:
        return "factor_too_large"
    return None


def bounds_in_force(limits: Limits, scale_state: ScaleState) -> dict[str, float]:
    """Return `limits` by name, and what is used up of them, as `Observed.limits` tells the daemon."""
    told: dict[str, float] = {name: getattr(limits, name) for name in limits.__match_args__}
    told["commands"] = scale_state.commands
    if scale_state.last_step is not None:
        told["last_change"] = scale_state.last_step
    return told


def bounded(scale: float, before: float, limits: Limits) -> float:
    """Return `scale`, or the nearest one that a single step may reach from `before`."""
    lowest, highest = _factors(limits)
    return min(max(scale, before * lowest), before * highest)


def _factors(limits: Limits) -> tuple[float, float]:
    return limits.max_factor_down * (1 - _FACTOR_TOLERANCE), limits.max_factor_up * (1 + _FACTOR_TOLERANCE)
