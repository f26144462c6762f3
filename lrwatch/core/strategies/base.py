"""The protocol of a strategy: a frozen state, and pure answers to what the run shows.

A strategy hears three things, in the order of the log: looks at the trend of the watched metric, findings, and, if it
asks for them, every value of the watched metric. To each it gives a `StrategyDecision`: itself as it is afterwards, and what it
wants. It also learns what its commands brought.

The policy (`core.policy`) checks the quorum, moves the command on (`core.command`) and reports the outcome to the
strategy. A strategy therefore never changes a command itself. It must stay within the `CommandLimits` of its context: `bounded` gives
the nearest scale that one command may ask for, `refuses` says whether one may come now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, NamedTuple

from lrwatch.core.averaged_loss import AveragedLoss
from lrwatch.core.command import Asked, CommandState, ReturnAsked, TrialFailed, TrialKept
from lrwatch.core.curve import Curve
from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.events import Command, Effect, Finding, RangeTest
from lrwatch.core.options import Horizon
from lrwatch.core.strategies.limits import CommandLimits

# `Strategy.threshold` where no look leads to a command.
NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Context(CommandLimits):
    """What a strategy may know beside its own state.

    Attributes:
        sign: +1 for a metric to minimise, -1 for one to maximise.
        horizon: The horizon of the detectors.
        last_look: The newest look of this phase, where `Strategy.acts_between_looks`, else None.
        schedule_moves: The trainer's own schedule is moving the learning rate.
        decays: The trainer's own schedule has lowered the learning rate.
        curve: The watched metric since the run began, where `Strategy.WANTS_CURVE`.
        learned: The metric has improved significantly since the run began.
        can_try: A command will be applied without anybody's approval, so that something can be tried.
        may_anneal: Somebody can take a command: a trainer listens, or the loop itself.
        total_steps: Length of the run in optimizer steps; 0 where it is unknown.
        base: The model will be trained further: the rate must not decay.
        averaged: What the loss of averaged weights says of the excess, where the loop gives it.
        epoch_steps: Steps of an epoch; 0 where they are unknown.
    """

    sign: float = 1.0
    horizon: Horizon = field(default=Horizon.parse("10%"))
    last_look: Trend | None = None
    schedule_moves: bool = False
    decays: bool = False
    curve: Curve = field(default_factory=Curve)
    learned: bool = True
    can_try: bool = False
    may_anneal: bool = False
    total_steps: int = 0
    base: bool = False
    averaged: AveragedLoss = field(default_factory=AveragedLoss)
    epoch_steps: int = 0

    def epoch_at(self, step: float) -> int:
        """Return the steps of an epoch where windows must last whole epochs: once one is over; else 0."""
        return self.epoch_steps if self.epoch_steps <= step - self.curve.first else 0


class StrategyDecision(NamedTuple):
    """What a strategy decides at a signal.

    Attributes:
        strategy: The strategy afterwards.
        output: The command that it wants, or the result of a test.
        event: What that does to the newest command: a question, or the end of a trial.
        agree_below: With a quorum, another loss agrees if its improvement per horizon is below this, relative to its level. None
            where the watched loss decides alone.
        effect: The effect of a trial, where this is its verdict.
    """

    strategy: Strategy
    output: Command | RangeTest | None = None
    event: Asked | ReturnAsked | TrialKept | None = None
    agree_below: float | None = None
    effect: Effect | None = None


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy that never commands: the base of those that do."""

    NAME: ClassVar[str] = ""
    """The value of `[policy] strategy`."""

    MEASURED: ClassVar[bool] = True
    """Whether the effect of its commands is measured against continuing at the scale before."""

    WANTS_STEPS: ClassVar[bool] = False
    """Whether it takes every value of the watched metric (`tick`)."""

    WANTS_CURVE: ClassVar[bool] = False
    """Whether it decides by the whole curve, at checks (`check`)."""

    NEEDS_TRAINER: ClassVar[bool] = False
    """Whether it is pointless without a trainer that applies its commands."""

    INTERRUPTS: ClassVar[bool] = False
    """Whether it runs for a while and hands over to the strategy before it."""

    def begin(self, step: int, context: Context) -> Strategy:
        """Return the strategy as it begins to decide at `step`, with the scale in use.

        Raises:
            ValueError: It cannot begin in this context.
        """
        return type(self)()

    def may_command_next(self) -> bool:
        """Whether it may command at any next value."""
        return self.WANTS_STEPS

    def acts_between_looks(self, context: Context) -> bool:
        """Whether a command can be issued between looks; the newest look is then its baseline."""
        return False

    def threshold(self, context: Context) -> float:
        """Return the bound of a look, relative to the level, below which it may lead to a command; NEVER if none can."""
        return NEVER

    def look(self, trend: Trend, context: Context) -> StrategyDecision:
        """Decide on a look at the trend of the watched metric."""
        return StrategyDecision(self)

    def found(self, finding: Finding, context: Context, *, watched: bool) -> StrategyDecision:
        """Decide on a finding; `watched` says whether it is of the watched metric."""
        return StrategyDecision(self)

    def tick(self, step: int, value: float, context: Context) -> StrategyDecision:
        """Decide on a value of the watched metric, which may be NaN or infinite."""
        return StrategyDecision(self)

    def acts_at_checks(self, command: CommandState, *, can_try: bool, attached: bool) -> bool:
        """Whether a check may lead to anything now. Most runs have no trainer that would take a command.

        Args:
            command: Where the newest command stands.
            can_try: As in `Context`.
            attached: Whether somebody can take a command: `Context.may_anneal`.
        """
        return self.WANTS_CURVE

    def check(self, step: int, context: Context) -> StrategyDecision:
        """Decide at a check of the curve, which holds the values up to `step`."""
        return StrategyDecision(self)

    def disturbed(self) -> Strategy:
        """Return the strategy after something else changed the curve: a level shift, a resume, another metric."""
        return self

    def measured(
        self, effect: Effect, level_ratio: float, context: Context
    ) -> tuple[Strategy, TrialKept | TrialFailed | None, float]:
        """Learn the effect of the newest applied command.

        Args:
            effect: The effect.
            level_ratio: The level of the metric now over the level before the command.
            context: The command is on trial here if the effect decides about it.

        Returns:
            The strategy, the verdict if the command is on trial, and the step before which no command may follow.
        """
        return self, None, 0.0

    def applied(self, step: int, context: Context, *, by_operator: bool) -> Strategy:
        """Return the strategy that decides after a command was applied at `step`; `context` has the new scale."""
        return self

    def refused(self, until: float, context: Context) -> tuple[Strategy, float]:
        """Learn that a command will not be applied. Return the step before which no command may follow, `until` or another."""
        return self, until

    @property
    def restores_scale(self) -> float | None:
        """The scale that it restores before another strategy decides, or None where another may decide at once."""
        return None

    def end(self) -> Strategy:
        """Return the strategy on its way to restoring the scale."""
        return self

    def decay(self, step: int, context: Context) -> Strategy:
        """Begin a decay at `step`, as an operator wishes.

        Raises:
            ValueError: It has none, or it has begun.
        """
        raise ValueError(f"strategy must be wsd to decay, got {self.NAME!r}; `lrwatch strategy RUN wsd` follows it")

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Strategy:
        """Return the strategy whose `state` this is."""
        return cls(**state)


def _plain(value: Any) -> Any:
    """Return a value of a state with lists for tuples: a named tuple would need its class to load a checkpoint."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (tuple, list)) else value
