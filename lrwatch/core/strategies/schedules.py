"""Schedules: step, exponential, cosine and WSD, as a scale for each step.

Each is a staircase, because every change is a command that the trainer acknowledges and the budget counts. Nothing is
remembered from one step to the next: the scale that is wanted at a step follows from the plan and the step alone. A daemon
that was killed, a refused command and a late one all end at the same scale.

Formulas: exponential, `factor ** (age / every)`; cosine without restarts, Loshchilov and Hutter (arXiv 1608.03983); WSD
(warmup, stable, decay), a constant followed by a line to zero, Hu et al. (arXiv 2404.06395) and Hagele et al. (arXiv
2405.18392). The warmup is the trainer's own. "Zero" is `min_scale`: a learning rate of nothing learns nothing.

>>> options = PolicyOptions(strategy="cosine", length=1000)
>>> [round(Cosine().wanted(step, options), 3) for step in (0, 100, 500, 900, 1000)]
[1.0, 0.978, 0.451, 0.022, 0.001]
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

from lrwatch.core.command import Asked
from lrwatch.core.events import Command
from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies.base import Context, Strategy, StrategyDecision
from lrwatch.core.strategies.limits import equal
from lrwatch.core.strategies.observe import Observe

# Stairs of a whole decay: the budget of 20 commands holds it, and each lies within 6 % of the start scale from its curve.
STAIRS = 16

# Stairs of an exponential decay for each `factor`: from 1 to the smallest scale with 20 commands, at the defaults.
STAIRS_A_FACTOR = 2


@dataclass(frozen=True, slots=True)
class Schedule(Strategy, ABC):
    """A strategy that goes by the steps of the run.

    Attributes:
        began_at: The step that ages are counted from.
        base: The scale that it begins with.
    """

    WANTS_STEPS: ClassVar[bool] = True

    began_at: int = 0
    base: float = 1.0

    @abstractmethod
    def share(self, step: int, options: PolicyOptions) -> float:
        """Return the share of the first scale that is left at `step`, from 0 to 1."""

    def wanted(self, step: int, options: PolicyOptions) -> float:
        """Return the scale that the schedule wants at `step`, within the bounds of the run."""
        return min(max(self.base * self.share(step, options), options.min_scale), options.max_scale)

    def begin(self, step: int, context: Context) -> Schedule:
        """Return the schedule from `step` on, down from the scale in use."""
        return type(self)(began_at=step, base=context.scale)

    def acts_between_looks(self, context: Context) -> bool:
        """Return True: stairs come at their steps."""
        return True

    def tick(self, step: int, value: float, context: Context) -> StrategyDecision:
        """Ask for the next stair when its step has come."""
        wanted = self.wanted(step, context.options)
        scale = context.bounded(wanted)
        if equal(scale, context.scale) or context.refuses(scale, step):
            return StrategyDecision(self)
        reason = f"{self.NAME}: scale {wanted:.4g} from step {step} on"
        return StrategyDecision(self, Command(step, scale, reason, cause="schedule"), Asked(scale))

    def applied(self, step: int, context: Context, *, by_operator: bool) -> Strategy:
        """Continue from the scale that an operator set: what is left of the plan is left of that scale."""
        if not by_operator:
            return self
        if share := self.share(step, context.options):
            return replace(self, base=context.scale / share)
        return Observe()  # nothing is left, and the operator has the last word

    def _age(self, step: int) -> int:
        return max(step - self.began_at, 0)


@dataclass(frozen=True, slots=True)
class Step(Schedule):
    """Reduce by `factor` every `every` steps, at once."""

    NAME: ClassVar[str] = "step"

    def share(self, step: int, options: PolicyOptions) -> float:
        """Return `factor ** (age // every)`."""
        return float(options.factor ** (self._age(step) // options.every))


@dataclass(frozen=True, slots=True)
class Exponential(Schedule):
    """Reduce by `factor` every `every` steps, in STAIRS_A_FACTOR stairs."""

    NAME: ClassVar[str] = "exponential"

    def share(self, step: int, options: PolicyOptions) -> float:
        """Return `factor ** (age / every)`, on its stair."""
        return float(options.factor ** (STAIRS_A_FACTOR * self._age(step) // options.every / STAIRS_A_FACTOR))


@dataclass(frozen=True, slots=True)
class Cosine(Schedule):
    """Follow half a cosine from the first scale to nothing in `length` steps."""

    NAME: ClassVar[str] = "cosine"

    def share(self, step: int, options: PolicyOptions) -> float:
        """Return `(1 + cos(pi * age / length)) / 2`, on its stair."""
        return (1 + math.cos(math.pi * _stair(self._age(step) / options.length))) / 2


@dataclass(frozen=True, slots=True)
class Wsd(Schedule):
    """Keep the scale, then decay along a line: in the last `decay_share` of `length`, or when an operator says so.

    Attributes:
        decay_at: The step at which an operator began the decay, or None.
    """

    NAME: ClassVar[str] = "wsd"

    decay_at: int | None = None

    def share(self, step: int, options: PolicyOptions) -> float:
        """Return 1 before the decay, then a line to 0, on its stair."""
        decay_from, decay_steps = self._decay(options)
        return 1 - _stair((self._age(step) - decay_from) / decay_steps)

    def decay(self, step: int, context: Context) -> Wsd:
        """Begin the decay at `step`.

        Raises:
            ValueError: It has begun.
        """
        if self.share(step, context.options) < 1:
            raise ValueError(f"the decay must not have begun, and has at step {step}")
        return replace(self, decay_at=step)

    def _decay(self, options: PolicyOptions) -> tuple[float, float]:
        """Return the age at which the decay begins and its steps; a decay that is not planned never begins."""
        if self.decay_at is not None:
            begins = float(self.decay_at - self.began_at)
            # Of a run whose length is unknown, the decay is the same share as of one that was planned.
            of_the_run = options.length or begins / (1 - options.decay_share)
            return begins, max(options.decay_share * of_the_run, 1.0)
        if not options.length:
            return math.inf, 1.0
        return (1 - options.decay_share) * options.length, options.decay_share * options.length


def _stair(progress: float) -> float:
    """Return `progress` (0 to 1) in the middle of its stair; 0 on the first one and before, 1 from the end on."""
    if progress * STAIRS < 1:
        return 0.0
    stair = math.floor(STAIRS * progress)
    return 1.0 if stair >= STAIRS else (stair + 0.5) / STAIRS
