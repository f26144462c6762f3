"""Moves over many optimizer steps: the ramp of a command, and the warm start of a run. Pure, and the same on every rank."""

from __future__ import annotations

from lrwatch.protocol.lean import dataclass

# Factor of the first step of a warm start.
WARM_START_FROM = 0.1


@dataclass(frozen=True)
class Ramp:
    """A move of the scale along a line.

    Attributes:
        from_scale: The scale before the first step.
        to_scale: The scale of the last step, and after it.
        first_step: The first optimizer step that used another scale than `from_scale`.
        steps: Number of optimizer steps, at least 1.
    """

    from_scale: float
    to_scale: float
    first_step: int
    steps: int

    def at(self, step: int) -> float:
        """Return the scale of an optimizer step; one before the first counts as the first."""
        done = max(step - self.first_step + 1, 1)
        if done >= self.steps:
            return self.to_scale
        between = self.from_scale + (self.to_scale - self.from_scale) * (done / self.steps)
        low, high = sorted((self.from_scale, self.to_scale))
        return min(max(between, low), high)

    @property
    def steepest(self) -> float:
        """The factor between two neighbouring steps that is farthest from 1: of the last step down, of the first step up."""
        if self.steps <= 1:
            return self.to_scale / self.from_scale
        a_step = (self.to_scale - self.from_scale) / self.steps
        if self.to_scale < self.from_scale:
            return self.to_scale / (self.to_scale - a_step)
        return (self.from_scale + a_step) / self.from_scale


def warm_start_factor(done: int, until: int | None) -> float:
    """Return the factor of the warm start for the optimizer step after `done` steps: a geometric rise from 0.1 to 1.

    Args:
        done: Optimizer steps done.
        until: Length of the warm start in optimizer steps, or None without one.
    """
    if until is None or done >= until:
        return 1.0
    return float(WARM_START_FROM ** (1 - done / until))
