"""One strategy and one command, advanced step by step as the policy does, from states that a test makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from support.batches import batch

from lrwatch.core.command import Applied, CommandInput, CommandState, EffectMeasured, Refused, step
from lrwatch.core.curve import Curve
from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.events import Command, Effect, Finding, RangeTest
from lrwatch.core.options import PolicyOptions
from lrwatch.core.sample import Floats, Ints
from lrwatch.core.strategies.base import Context, Strategy, StrategyDecision
from lrwatch.core.watched_curve import BLOCKS, WatchedCurve

Loss = Callable[[Floats, Floats], Floats]
"""A training: the loss without noise, from the sum of the scales so far and the scale of each step."""


@dataclass(frozen=True)
class Moment:
    """A strategy and a command at one moment of a run."""

    strategy: Strategy
    options: PolicyOptions
    command: CommandState = field(default=CommandState())
    context: dict[str, Any] = field(default_factory=dict)

    def but(self, **command: Any) -> Moment:
        """Return the moment with other fields of the command."""
        return replace(self, command=replace(self.command, **command))

    def at(self) -> Context:
        """Return what the strategy may know."""
        return Context(self.command, self.options, **self.context)

    def step(self, event: CommandInput) -> Moment:
        """Return the moment after an event of the command."""
        return replace(self, command=step(self.command, event))

    def look(self, trend: Trend) -> tuple[Moment, Command | None]:
        """Show a look. Return the moment after it, and the command that it led to."""
        return self._take(self.strategy.look(trend, self.at()))

    def found(self, finding: Finding, *, watched: bool = True) -> tuple[Moment, Command | None]:
        """Show a finding. Return the moment after it, and the command that it led to."""
        return self._take(self.strategy.found(finding, self.at(), watched=watched))

    def tick(self, at: int, value: float) -> tuple[Moment, Command | None]:
        """Show a value. Return the moment after it, and the command that it led to."""
        return self._take(self.strategy.tick(at, value, self.at()))

    def knows(self, **context: Any) -> Moment:
        """Return the moment at which the strategy may know these as well."""
        return replace(self, context={**self.context, **context})

    def learned(self, **attributes: Any) -> Moment:
        """Return the moment with other attributes of the strategy."""
        return replace(self, strategy=replace(self.strategy, **attributes))

    def check(self, at: int) -> tuple[Moment, Command | None]:
        """Let the curve be checked at step `at`. Return the moment after it, and the command that it led to."""
        return self._take(self.strategy.check(at, self.at()))

    def _take(self, decision: StrategyDecision) -> tuple[Moment, Command | None]:
        assert not isinstance(decision.output, RangeTest)
        after = replace(self, strategy=decision.strategy)
        return (after if decision.event is None else after.step(decision.event)), decision.output

    def applied(self, at: int, scale: float) -> Moment:
        """Return the moment after the trainer applied `scale` at step `at`."""
        after = self.step(Applied(at, scale, self.context.get("sign", 1.0), in_log=True))
        by_operator = self.command.by_operator
        return replace(after, strategy=self.strategy.applied(at, after.at(), by_operator=by_operator))

    def disturbed(self, event: CommandInput) -> Moment:
        """Return the moment after something else changed the curve."""
        after = self.step(event)
        return replace(after, strategy=after.strategy.disturbed())

    def measured(self, effect: Effect, level_ratio: float = 1.0) -> Moment:
        """Return the moment after the newest command was measured."""
        strategy, verdict, quiet = self.strategy.measured(effect, level_ratio, self.at())
        after = replace(self, strategy=strategy).step(EffectMeasured(quiet))
        return after if verdict is None else after.step(verdict)

    def refused(self, until: float) -> Moment:
        """Return the moment after a command was refused."""
        strategy, until = self.strategy.refused(until, self.at())
        return replace(self, strategy=strategy).step(Refused(until))


def curve_of(values: Floats, steps: Ints | None = None) -> Curve:
    """Return a curve as a run has it, of these values from step 1 on."""
    curve = Curve(BLOCKS)
    curve.add(np.arange(1, len(values) + 1) if steps is None else steps, values)
    return curve


class ClosedLoop:
    """A run in closed loop: the curve answers to the scale, and the trainer applies each command at the next step.

    Args:
        start: The strategy and its context; the curve is added.
        loss: The training.
        noise: Standard deviation of the noise.
        seed: Its seed.
        sign: -1 for a metric that rises as the loss falls.

    Attributes:
        moment: The strategy and the command now.
        now: The newest step.
        commands: Commands so far.
        effects: Verdicts on trials so far, with the scale after each.
        scales: The scale of each step so far, from step 1 on.
    """

    def __init__(self, start: Moment, loss: Loss, *, noise: float = 0.02, seed: int = 0, sign: float = 1.0) -> None:
        self.watched = WatchedCurve()
        self.moment = start.knows(curve=self.watched.curve, sign=sign)
        self.now = 0
        self.commands: list[Command] = []
        self.effects: list[Effect] = []
        self.scales: list[float] = []
        self._loss, self._sign, self._noise = loss, sign, noise
        self._rng = np.random.default_rng(seed)
        self._progress = 0.0

    def until(self, end: int, *, command: bool = False) -> ClosedLoop:
        """Run to step `end`, or, with `command`, to the next command, which is on its way then."""
        said = len(self.commands)
        while self.now < end and not (command and len(self.commands) > said):
            if (wanted := self.moment.command.wanted) is not None:
                self.moment = self.moment.applied(self.now + 1, wanted)
            steps = np.arange(self.now + 1, min(self.now + self.watched.room, end) + 1)
            scales = np.array([self.moment.command.scale_at(step) for step in steps.tolist()])
            progress = self._progress + np.cumsum(scales)
            values = self._sign * (self._loss(progress, scales) + self._noise * self._rng.standard_normal(len(steps)))
            for _, _, part in self.watched.parts(batch(steps, {"loss": values}), [(-1, "loss")]):
                self.watched.take(part)
            self.now, self._progress = int(steps[-1]), float(progress[-1])
            self.scales += scales.tolist()
            self._check()
        return self

    def _check(self) -> None:
        decision = self.moment.strategy.check(self.now, self.moment.at())
        self.moment, command = self.moment._take(decision)
        if command is not None:
            self.commands.append(command)
        if decision.effect is not None:
            self.effects.append(decision.effect)
