"""The policy: hands each signal of the run to the strategy that decides, within quorum and limits, and measures effects.

Signals come in the order of the log: looks at the trend (`look`), findings (`found`), and, for strategies that want them,
parts of the curve (`check`) or every value of the watched metric (`tick`). `applied`, `refused` and their siblings say what became of a
command. Where a command stands is in `command`, a `core.command.CommandState`; what a strategy remembers is in the strategy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from lrwatch.core import effect
from lrwatch.core.averaged_loss import AveragedLoss
from lrwatch.core.command import (
    AlreadyInUse,
    Applied,
    Asked,
    BaselineTooOld,
    CommandInput,
    CommandState,
    EffectMeasured,
    Joined,
    LevelShifted,
    LogFollowed,
    MetricChanged,
    Refused,
    Reset,
    Status,
    TrialKept,
    step,
)
from lrwatch.core.curve import Curve
from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.events import Command, Effect, Finding, RangeTest
from lrwatch.core.options import DetectOptions, Horizon, PolicyOptions, RunOptions
from lrwatch.core.strategies import STRATEGIES, chosen
from lrwatch.core.strategies.base import Context, Strategy, StrategyDecision
from lrwatch.core.strategies.observe import Observe


class ScheduleState(NamedTuple):
    """What the trainer's own schedule does: it moves the rate now, and it has lowered the rate in this run."""

    moves: bool = False
    decays: bool = False


class Policy:
    """The strategy of one run, and its newest command.

    Args:
        detect: The direction of the metric, and the horizon.
        options: The settings.
        run: What is known of the run before it begins.

    Attributes:
        options: As given, except for what an operator chose since (`follow`).
        total_steps: Length of the run in optimizer steps; 0 where it is unknown.
        epoch_steps: Steps of an epoch; 0 where they are unknown.
        attached: Whether somebody takes commands: a trainer that listens, or the loop itself.
        unanswered: Whether a command was sent that the trainer has not answered.
        curve: The watched metric up to the newest check.
        averaged: What the loss of averaged weights says of the excess.
        command: The scale in use, and where the newest command stands.
    """

    def __init__(
        self,
        detect: DetectOptions,
        options: PolicyOptions,
        run: RunOptions = RunOptions(),  # noqa: B008  frozen
    ) -> None:
        self._horizon = Horizon.parse(detect.horizon)
        self._sign = 1.0 if detect.direction == "min" else -1.0
        self._configured = self.options = options
        self._base = run.purpose == "base"
        self.total_steps = self.epoch_steps = 0
        self.attached = self.unanswered = False
        self.curve = Curve()
        self.averaged = AveragedLoss()
        # The choices of an operator, as options; and those that hold after a strategy that interrupts.
        self._chosen: dict[str, Any] = {}
        self._afterwards: dict[str, Any] = {"strategy": Observe.NAME}
        self._strategies: dict[str, Strategy] = {}
        self.command = CommandState()
        self._last_look: Trend | None = None

    @property
    def strategy(self) -> Strategy:
        """The strategy that decides."""
        name = self._chosen_name(self.options.strategy)
        strategy = self._strategies.get(name)
        if strategy is None:
            strategy = self._strategies[name] = STRATEGIES[name]()
        return strategy

    def _chosen_name(self, setting: str) -> str:
        return chosen(setting, length_is_known=self.total_steps > 0, is_base=self._base)

    def _become(self, strategy: Strategy) -> None:
        self._strategies[strategy.NAME] = strategy

    def _context(self, schedule: ScheduleState | None = None, *, learned: bool = True) -> Context:
        schedule = schedule or ScheduleState()
        return Context(
            self.command, self.options, self._sign, self._horizon, self._last_look, schedule.moves, schedule.decays,
            self.curve, learned, self._can_try, self.attached, self.total_steps, self._base, self.averaged,
            self.epoch_steps,
        )  # fmt: skip

    @property
    def _can_try(self) -> bool:
        return self.attached and self.options.mode == "auto" and self.options.probe

    def _step(self, event: CommandInput) -> None:
        self.command = step(self.command, event)

    @property
    def _waits_for_answer(self) -> bool:
        """Whether the log shows a command that the trainer has not answered. Another one would replace it unnoticed."""
        return self.unanswered and self.command.wanted is None

    # ---- signals ------------------------------------------------------------------------------------------------------

    @property
    def wants_steps(self) -> bool:
        """Whether the strategy takes every value of the watched metric."""
        return self.strategy.WANTS_STEPS

    @property
    def may_command_next(self) -> bool:
        """Whether a command may follow any next value."""
        return self.strategy.may_command_next()

    @property
    def threshold(self) -> float | None:
        """Relative bound below which a look can lead to anything; None if every look must be evaluated."""
        command, context = self.command, self._context()
        waits_for_log = command.log_ratio is not None and command.wanted is None
        measuring = command.baseline is not None or command.restores
        if measuring or waits_for_log or self.strategy.acts_between_looks(context):
            return None
        return self.strategy.threshold(context)

    def measure(self, trend: Trend) -> Effect | None:
        """Measure the newest applied command by a look, and let the strategy learn from it.

        Returns:
            The effect, if this look measures it.
        """
        command = self.command
        if (
            command.wanted is None
            and command.applied_at is not None
            and trend.step - command.applied_at >= trend.horizon
        ):
            self._step(LogFollowed())  # this log does not show our changes: the next jump is not ours
        baseline = command.baseline
        if baseline is not None and not baseline.reaches(trend.step):
            self._step(BaselineTooOld())
            return None
        if baseline is None or (measured := effect.measure(baseline, trend)) is None:
            return None
        level_ratio = trend.level / baseline.level if trend.level and baseline.level else 1.0
        strategy, verdict, quiet_until = self.strategy.measured(measured, level_ratio, self._context())
        self._become(strategy)
        self._step(EffectMeasured(quiet_until))
        if verdict is not None:
            self._step(verdict)
        return measured

    @property
    def acts_at_checks(self) -> bool:
        """Whether a check may lead to anything now."""
        return self.strategy.acts_at_checks(self.command, can_try=self._can_try, attached=self.attached)

    def check(self, step: int, curve: Curve, schedule: ScheduleState, *, learned: bool) -> list[Effect | Command]:
        """Take a check of the curve.

        Args:
            step: The step of the check.
            curve: The watched metric up to there.
            schedule: What the trainer's own schedule does.
            learned: The metric has improved significantly since the run began.

        Returns:
            The effect of a trial and the command that the check leads to, as far as there are any.
        """
        self.curve = curve
        if self._waits_for_answer:
            return []
        decision = self.strategy.check(step, self._context(schedule, learned=learned))
        command = self._take(decision)
        assert not isinstance(command, RangeTest)
        return [event for event in (decision.effect, command) if event is not None]

    def look(
        self,
        trend: Trend,
        others: Collection[Trend] = (),
        schedule: ScheduleState | None = None,
        *,
        learned: bool = True,
    ) -> Command | None:
        """Take a look at the trend of the watched metric.

        Args:
            trend: The look.
            others: The newest looks at the other losses, in this phase.
            schedule: What the trainer's own schedule does; None where it rests.
            learned: The metric has improved significantly since the run began.

        Returns:
            The command that it leads to, if any.
        """
        context = self._context(schedule, learned=learned)
        if self.strategy.acts_between_looks(context):
            self._last_look = trend
        if self._waits_for_answer:
            return None
        strategy, command, event, agree_below, _ = self.strategy.look(trend, context)
        if agree_below is not None:
            agree = 1 + sum(other.ratio(other.upper_now) < agree_below for other in others)
            if agree < self.options.quorum:
                return None
        self._strategies[strategy.NAME] = strategy
        if event is not None:
            self.command = step(self.command, event, look=self._baseline(event, trend))
        return command if isinstance(command, Command) else None

    def found(self, finding: Finding, *, watched: bool) -> Command | None:
        """Take a finding; `watched` says whether it is of the watched metric. Return the command that it leads to."""
        if self._waits_for_answer:
            return None
        output = self._take(self.strategy.found(finding, self._context(), watched=watched))
        return output if isinstance(output, Command) else None

    def tick(self, step: int, value: float) -> Command | RangeTest | None:
        """Take a value of the watched metric. Return the command or the result that a strategy by steps gives."""
        if self._waits_for_answer:
            return None
        return self._take(self.strategy.tick(step, value, self._context()))

    def _take(self, decision: StrategyDecision) -> Command | RangeTest | None:
        self._become(decision.strategy)
        if decision.event is not None:
            self.command = step(self.command, decision.event, look=self._baseline(decision.event, self._last_look))
        if isinstance(decision.output, RangeTest):
            self._hand_over()
        return decision.output

    def _baseline(self, event: CommandInput, look: Trend | None) -> Trend | None:
        """Return the look that the effect of the command is measured against; None where the strategy measures it itself."""
        own_trial = isinstance(event, Asked) and event.trial is not None and event.trial.worth is None
        return None if not self.strategy.MEASURED or (self.strategy.WANTS_CURVE and own_trial) else look

    # ---- operators ----------------------------------------------------------------------------------------------------

    def ask(self, scale: float, look: Trend | None) -> None:
        """Ask for the `scale` of an operator. It is no trial, and a schedule continues from it."""
        look = look if self.strategy.MEASURED else None
        self.command = step(self.command, Asked(scale, by_operator=True), look=look)

    def follow(self, strategy: str, step: int, *, every: int = 0, length: int = 0) -> None:
        """Let another strategy decide from `step` on, beginning with the scale in use.

        Args:
            strategy: One of `STRATEGIES`.
            step: The newest step.
            every: As in `PolicyOptions`; 0 leaves it unchanged.
            length: As in `PolicyOptions`; 0 leaves it unchanged.

        Raises:
            ValueError: The strategy is unknown, lacks a number that it needs, or cannot begin now.
        """
        given = {"every": every, "length": length}
        wanted = {**self._chosen, "strategy": strategy, **{key: value for key, value in given.items() if value}}
        options = replace(self.options, **wanted)
        context = replace(self._context(), options=options)
        name = self._chosen_name(strategy)
        current, following = self.strategy, self._strategies.get(name, STRATEGIES[name]())
        if (restored := current.restores_scale) is not None and not following.INTERRUPTS:  # it restores the scale first
            command = replace(self.command, scale=restored)
            self._become(following.begin(step, replace(context, command=command)))
            self._become(current.end())
            self._afterwards = wanted
            return
        following = following.begin(step, context)
        if following.INTERRUPTS:
            self._afterwards = self._chosen
        self.options, self._chosen = options, wanted
        self._become(following)
        # A person sees a trial that is in use, and keeps it. A trial in flight is judged later, by a strategy that makes trials.
        on_its_way = self.command.status is Status.IN_FLIGHT and following.WANTS_CURVE
        if self.command.trial is not None and not on_its_way:
            self._step(TrialKept())

    def _hand_over(self) -> None:
        """Return to the strategy before the one that interrupted it."""
        self._strategies.pop(self.options.strategy, None)
        self._chosen, self._afterwards = self._afterwards, {"strategy": Observe.NAME}
        self.options = replace(self._configured, **self._chosen)

    def decay_now(self, step: int) -> None:
        """Begin the decay of the strategy at `step`.

        Raises:
            ValueError: It has none, or it has begun.
        """
        self._become(self.strategy.decay(step, self._context()))

    # ---- what became of a command ---------------------------------------------------------------------------------------

    def applied(self, step: int, scale: float, *, in_log: bool = False) -> None:
        """Learn that the trainer uses `scale` from `step` on; `in_log` if the log showed it and no acknowledgement did."""
        by_operator = self.command.by_operator
        self._step(Applied(step, scale, self._sign, in_log))
        before = self.strategy
        strategy = before.applied(step, self._context(), by_operator=by_operator)
        if before.NAME != strategy.NAME:
            self._chosen = {**self._chosen, "strategy": strategy.NAME}
            self.options = replace(self.options, **self._chosen)
        self._become(strategy)
        self._last_look = None

    def already_in_use(self, scale: float) -> None:
        """Learn that the trainer uses `scale`, as it did before."""
        if self.command.wanted == scale:
            self._step(AlreadyInUse())

    def refused(self, until: float) -> None:
        """Learn that a command will not be applied: no command before step `until`, unless the strategy knows better."""
        strategy, until = self.strategy.refused(until, self._context())
        self._become(strategy)
        self._step(Refused(until))

    def denied(self, until: float) -> None:
        """Learn that a person denied a command: as `refused`, and where it was the way back of a trial, the trial stays."""
        self.refused(until)
        if self.command.restores:
            self._step(TrialKept())

    def log_jumped(self, ratio: float) -> bool:
        """Learn of a jump of the logged learning rate. Return whether it is that of a command which was applied already."""
        command = self.command
        known = command.explained_earlier(ratio) or (command.wanted is None and command.explains(ratio))
        if known:
            self._step(LogFollowed())
        return known

    def joined(self, step: int, scale: float) -> None:
        """Learn that a trainer connects at `step` with `scale`, which is not the known one."""
        self._step(Joined(step, scale))

    def reset(self) -> None:
        """Drop the command in flight and the baseline: the curve has changed by force."""
        self._step(Reset())
        self._disturbed()

    def level_shifted(self) -> None:
        """Learn that the level shifted for another reason: effects cannot be told apart from it."""
        self._step(LevelShifted())
        self._disturbed()

    def metric_changed(self) -> None:
        """Learn that another metric is watched: no line of the one before is a baseline for it."""
        self._step(MetricChanged())
        self._disturbed()

    def _disturbed(self) -> None:
        self._last_look = None
        self._become(self.strategy.disturbed())

    # ---- state --------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values."""
        return {
            "command": self.command.as_json(),
            "strategies": {name: strategy.state() for name, strategy in self._strategies.items()},
            "unanswered": self.unanswered,
            "chosen": self._chosen,
            "afterwards": self._afterwards,
            "last_look": None if self._last_look is None else asdict(self._last_look),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        self.command = CommandState.from_json(state["command"])
        self._strategies = {name: STRATEGIES[name].from_state(saved) for name, saved in state["strategies"].items()}
        self.unanswered = state["unanswered"]
        self._chosen, self._afterwards = dict(state["chosen"]), dict(state["afterwards"])
        self.options = replace(self._configured, **self._chosen)
        self._last_look = None if state["last_look"] is None else Trend(**state["last_look"])
