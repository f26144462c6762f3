"""Limits on every strategy's commands: the mode, the budget, the warmup, and how far one command may go."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from lrwatch.core.command import CommandState
from lrwatch.core.options import PolicyOptions

# Scales that differ by less are equal: 0.1 * 0.1 is not 0.01 in binary.
EQUAL = 1e-12

# Commands that trials leave for the end of the run.
LAST_COMMANDS = 1


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """The bounds of the next command.

    Attributes:
        command: The newest command, and the scale in use.
        options: The settings.
    """

    command: CommandState = field(default=CommandState())
    options: PolicyOptions = field(default=PolicyOptions())

    @property
    def scale(self) -> float:
        """The scale that the trainer is known to use."""
        return self.command.scale

    @property
    def forbids(self) -> bool:
        """Whether commands are blocked at every step: the mode is `observe`, one is in flight, or the budget is spent."""
        spent = self.command.count >= self.options.max_commands
        return self.options.mode == "observe" or self.command.wanted is not None or spent

    def refuses(self, scale: float, step: int) -> bool:
        """Whether no command to `scale` may come at `step`.

        As `forbids` and `earliest`, but an unanswered proposal of another scale does not block this one.
        """
        wanted, options = self.command.wanted, self.options
        in_flight = wanted is not None and (options.mode == "auto" or wanted == scale)
        spent = self.command.count >= options.max_commands
        return options.mode == "observe" or in_flight or spent or step < self.earliest

    @property
    def earliest(self) -> float:
        """The first step at which a strategy may command: after the warmup, and after a refusal."""
        return max(self.options.warmup_steps, self.command.quiet_until)

    def bounded(self, scale: float) -> float:
        """Return the scale nearest to `scale` that one command may ask for, within the bounds of the run and of a command."""
        options = self.options
        low = max(options.min_scale, self.scale * options.max_factor_down)
        high = min(options.max_scale, self.scale * options.max_factor_up)
        nearest = min(max(scale, min(low, high)), high)
        return scale if equal(scale, nearest) else nearest

    @property
    def way_back(self) -> float:
        """How many commands lead from a cut back to the scale in use; infinity where none may go as far."""
        up = self.options.max_factor_up
        if up <= 1 or self.bounded(self.scale) < self.scale:
            return math.inf
        return math.ceil(math.log(self.scale / self.cut) / math.log(up) - EQUAL)

    @property
    def cut(self) -> float:
        """The scale after a cut by `factor`, within the bounds."""
        return self.bounded(self.scale * self.options.factor)


def equal(scale: float, other: float) -> bool:
    """Whether two scales differ by rounding alone."""
    return math.isclose(scale, other, rel_tol=EQUAL)
