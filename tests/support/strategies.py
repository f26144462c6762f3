"""One strategy and one command, advanced step by step as the policy does, from states that a test makes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from lrwatch.core.command import Applied, CommandState, EffectMeasured, Event, Refused, step
from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.events import Command, Effect, Finding, RangeTest
from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies.base import Context, Strategy, StrategyDecision


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

    def step(self, event: Event) -> Moment:
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

    def _take(self, decision: StrategyDecision) -> tuple[Moment, Command | None]:
        assert not isinstance(decision.output, RangeTest)
        after = replace(self, strategy=decision.strategy)
        return (after if decision.event is None else after.step(decision.event)), decision.output

    def applied(self, at: int, scale: float) -> Moment:
        """Return the moment after the trainer applied `scale` at step `at`."""
        return self.step(Applied(at, scale, 1.0, in_log=True))

    def measured(self, effect: Effect, level_ratio: float = 1.0) -> Moment:
        """Return the moment after the newest command was measured."""
        strategy, verdict, quiet = self.strategy.measured(effect, level_ratio, self.at())
        after = replace(self, strategy=strategy).step(EffectMeasured(quiet))
        return after if verdict is None else after.step(verdict)

    def refused(self, until: float) -> Moment:
        """Return the moment after a command was refused."""
        strategy, until = self.strategy.refused(until, self.at())
        return replace(self, strategy=strategy).step(Refused(until))
