"""A command that waits for a person: how long it stands, and whether it still holds when it is approved."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrwatch.core.options import Horizon
from lrwatch.core.words import percent

if TYPE_CHECKING:
    from lrwatch.core.detectors.plateau import Trend
    from lrwatch.core.events import Command

# Horizons after which a proposal is void: as many as the longest window of a look, so that all of its evidence is older than what
# a look sees then. A metric that still stands where it stood has a new one made.
STANDS_FOR = 5.0

# Causes that an improvement of the metric contradicts.
CONTRADICTED = ("plateau", "probe", "overfitting")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A command that was not sent.

    Attributes:
        step: The step at which it was decided. expires_at: The step from which on it is void.
        scale: The scale that it asks for. scale_before: The scale in use then.
        cause, reason: As in `Command`.
        reload, ramp_steps: As in `Command`.
    """

    step: int
    expires_at: int
    scale: float
    scale_before: float
    cause: str
    reason: str
    reload: bool = False
    ramp_steps: int = 0

    @classmethod
    def of(cls, command: Command) -> Proposal:
        """Return the proposal of a command that has a step at which it expires."""
        assert command.expires_at is not None
        assert command.scale_before is not None
        return cls(
            command.step, command.expires_at, command.scale, command.scale_before, command.cause, command.reason,
            command.reload, command.ramp_steps,
        )  # fmt: skip

    def objection(self, step: int, scale: float, trend: Trend | None, worth: float) -> str:
        """Return why it may not be sent any more, as a clause; "" where it still holds.

        Args:
            step: The newest step.
            scale: The scale in use.
            trend: The newest look at the metric that decides, or None.
            worth: Improvement per horizon, relative to the level, that justifies continuing.
        """
        if step >= self.expires_at:
            return f"it was proposed at step {self.step:,} and expired at step {self.expires_at:,}; the run is at step {step:,}"
        if scale != self.scale_before:
            return f"it was proposed at scale {self.scale_before:.4g}, and scale {scale:.4g} is in use now"
        if trend is None or self.cause not in CONTRADICTED or trend.step <= self.step:
            return ""
        surely = trend.ratio(trend.improvement_now - trend.margin_now)
        if surely <= worth:
            return ""
        return (
            f"the metric improves again: by {percent(trend.ratio(trend.improvement_now))} per {trend.horizon:,.0f} steps, surely by more "
            f"than {percent(surely)}; {percent(worth)} is required to keep this rate"
        )

    def steps_left(self, step: int) -> int:
        """Return the steps of its ramp that are left at `step`, at least one; 0 where it has none."""
        return max(1, self.step + self.ramp_steps - step) if self.ramp_steps else 0


def expires_at(step: int, horizon: Horizon) -> int:
    """Return the step from which on a proposal of `step` is void."""
    return step + max(1, round(STANDS_FOR * horizon.steps(step)))


def how_to_approve(run: str, entry: int) -> str:
    """Return the command that approves the proposal of a journal entry, to be typed as it is."""
    return f"lrwatch approve {shlex.quote(run)} {entry}"
