"""The same decisions in-process: for a training loop without a daemon, and for arrays in memory."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from lrwatch.core.detectors.base import NO_SILENCE
from lrwatch.core.detectors.plateau import PlateauDetector
from lrwatch.core.direction import DirectionCheck
from lrwatch.core.events import Command, Effect, Finding, RangeTest
from lrwatch.core.options import DetectOptions, PolicyOptions, Purpose, RunOptions
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.sample import Batch, Column
from lrwatch.core.tracker import GROUP

# The column of the rates that are given with a metric.
_RATE = "lr"

# A warm start begins at this share of the rate. Of 2, 3, 4 and 8 % of a run, 4 % ended best on six real trainings.
WARM_FROM = 0.1


class Controller:
    """Watches one metric and says by what to multiply the learning rate.

    Without `direction` the metric is taken for a loss. One whose name says that it should rise, or that rises from the first
    value on, makes a `UserWarning`, and the scale stays as it is.

    Args:
        total_steps: Length of the run in steps; 0 where it is unknown. A run of known length is annealed: see the strategy
            `anneal`.
        warm_start: Share of `total_steps` over which the scale rises from a tenth to 1; 0 is none. The first step already uses
            `scale`, before any update.
        purpose: "base" for a model that is trained further: see `RunOptions`.
        epoch_steps: Steps of an epoch, where the same data come again; 0 where they do not, or where that is unknown.
        **options: The keys of `[detect]` and `[policy]` (`DetectOptions`, `PolicyOptions`). `mode` is "auto" unless given:
            who asks for a scale in code has opted in. In "observe" and "suggest" the scale stays 1.

    Raises:
        TypeError: An unknown option.
        ValueError: An option out of its range.

    >>> controller = Controller(horizon=200, min_improvement=0.01)
    >>> rng = np.random.default_rng(0)
    >>> scale = 1.0
    >>> for step in range(2000):  # a loss that settles where the learning rate holds it
    ...     scale = controller.update(step, 1 + scale / 2 + 2 * 0.98**step + 0.01 * rng.standard_normal())
    >>> scale < 1
    True
    >>> print(controller.effects[0].message.partition(";")[2].strip().partition(" (")[0])
    helped: 16.6 % better
    """

    def __init__(
        self,
        *,
        total_steps: int = 0,
        warm_start: float = 0.0,
        purpose: Purpose = "model",
        epoch_steps: int = 0,
        **options: Any,
    ) -> None:
        options = {"mode": "auto", **options}
        if not 0 <= warm_start < 1:
            raise ValueError(f"warm_start must be a share of the run, 0 or more and below 1, got {warm_start!r}")
        if warm_start and not total_steps:
            raise ValueError(f"warm_start needs total_steps: it is a share of the run, got {warm_start!r}")
        self._warm_steps = round(warm_start * total_steps)
        if self._warm_steps:  # no command may come before the rate has risen
            options["warmup_steps"] = max(options.get("warmup_steps", 0), self._warm_steps)
        self._next_step = 0
        detect = {f.name for f in fields(DetectOptions)}
        policy = {f.name for f in fields(PolicyOptions)}
        if unknown := sorted(set(options) - detect - policy):
            raise TypeError(f"unknown option {unknown[0]!r}; known are {', '.join(sorted(detect | policy))}")
        self._pipeline = Pipeline(
            DetectOptions(**{k: v for k, v in options.items() if k in detect}),
            PolicyOptions(**{k: v for k, v in options.items() if k in policy}),
            run=RunOptions(total_steps, purpose, epoch_steps=epoch_steps),
        )
        # Who calls `update` uses what it returns.
        self._pipeline.policy.attached = options["mode"] == "auto"
        self._metric: str | None = None
        self._direction = None if "direction" in options else DirectionCheck(self._pipeline.detect)
        # Samples that wait for a batch, and for how long no event is guaranteed.
        self._steps: list[int] = []
        self._values: list[float] = []
        self._rates: list[float] = []
        self._waiting_for = ""
        self._silence = NO_SILENCE
        self._has_rate = False
        self.findings: list[Finding] = []
        self.commands: list[Command] = []
        self.effects: list[Effect] = []
        self.range_tests: list[RangeTest] = []

    @property
    def scale(self) -> float:
        """The multiplier of the next step."""
        return self._scale_at(self._next_step)

    def _scale_at(self, step: int) -> float:
        scale = self._pipeline.command.scale_at(step)
        if step >= self._warm_steps:
            return scale
        return float(scale * WARM_FROM ** (1 - step / self._warm_steps))

    def update(self, step: int, value: float, metric: str = "loss", *, lr: float | None = None) -> float:
        """Take one value.

        Commands are decided on the first metric that comes; findings are made on all.

        Args:
            step: Its step.
            value: The value, which may be NaN or infinite.
            metric: Its name.
            lr: The learning rate that the schedule gives at `step`, without the multiplier. Nothing is reduced
                while a schedule moves it.

        Returns:
            The multiplier to use from now on.
        """
        if self._metric is None:
            self._metric = metric
            self._pipeline.watch(metric)
            if self._direction is not None:
                _warn(self._direction.named(metric))
        steps, values = self._steps, self._values
        if metric != self._waiting_for or (steps and step < steps[-1]):
            self._feed()
            self._waiting_for = metric
        steps.append(step)
        values.append(value)
        self._rates.append(math.nan if lr is None else lr)
        # What is one batch to the run says the same as its samples one by one.
        silent, low, high = self._silence
        if len(steps) > silent or not low <= value <= high or (lr is not None and not self._has_rate):
            self._feed()
        self._next_step = step + 1
        command = self._pipeline.command
        return command.scale if command.ramp is None and step + 1 >= self._warm_steps else self._scale_at(step + 1)

    def extend(self, total_steps: int) -> None:
        """Correct the length of the run.

        Args:
            total_steps: The length in steps.

        Raises:
            ValueError: It does not lie behind the newest step.
        """
        if total_steps < self._next_step:
            raise ValueError(f"total_steps must lie behind step {self._next_step - 1}, got {total_steps}")
        self._feed()
        self._pipeline.set_total_steps(total_steps, "operator")
        self._silence = NO_SILENCE

    def _feed(self) -> None:
        """Give the run the samples that wait."""
        steps, values = self._steps, self._values
        if not steps:
            return
        columns = {self._waiting_for: Column(np.arange(len(steps)), np.array(values, np.float64))}
        rates = np.array(self._rates, np.float64)
        if self._waiting_for != _RATE and len(known := np.flatnonzero(~np.isnan(rates))):
            columns[_RATE] = Column(known, rates[known])
            self._has_rate = True
        batch = Batch(np.array(steps, np.int64), columns)
        unsure = self._direction is not None and not self._direction.known
        if self._direction is not None and unsure and self._waiting_for == self._metric:
            finite = [(step, float(value)) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
            _warn(self._direction.feed(self._metric, [step for step, _ in finite], [value for _, value in finite]))
        doubtful = self._direction is not None and self._direction.doubtful
        steps.clear()
        values.clear()
        self._rates.clear()
        for event in self._pipeline.feed(batch):
            if isinstance(event, Finding):
                self.findings.append(event)
            elif isinstance(event, Effect):
                self.effects.append(event)
            elif isinstance(event, RangeTest):
                self.range_tests.append(event)
            elif isinstance(event, Command):
                self.commands.append(event)
                if self._pipeline.options.mode == "auto" and not doubtful:
                    self._pipeline.acknowledged(event.step + 1, event.scale)
        self._silence = self._pipeline.silence(self._waiting_for)
        if unsure:  # it warns soon after the value that shows it
            self._silence = self._silence.at_most(GROUP - 1)

    def follow(self, strategy: str, *, every: int = 0, length: int = 0) -> None:
        """Let another strategy decide from now on, beginning with the scale in use.

        Args:
            strategy: As the option of that name.
            every: As the option; 0 leaves what there was.
            length: As the option; 0 leaves what there was.

        Raises:
            ValueError: A strategy that is unknown, that lacks a number which it needs, or that has no room between the bounds.
        """
        self._feed()
        self._pipeline.follow(strategy, every=every, length=length)
        self._silence = NO_SILENCE

    def state_dict(self) -> dict[str, Any]:
        """JSON-plain state, for a checkpoint. Past findings and commands are not part of it."""
        self._feed()
        direction = None if self._direction is None else self._direction.state()
        return {
            "metric": self._metric,
            "direction": direction,
            "next_step": self._next_step,
            "run": self._pipeline.state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that `state_dict` of a controller with the same options returned."""
        self._pipeline = Pipeline(self._pipeline.detect, self._pipeline.configured, run=self._pipeline.run)
        self._steps, self._values, self._rates, self._waiting_for, self._silence = [], [], [], "", NO_SILENCE
        self._has_rate = False
        self._metric, self._next_step = state["metric"], state["next_step"]
        if self._metric is not None:
            self._pipeline.watch(self._metric)
        self._pipeline.restore(state["run"])
        if self._direction is not None and state["direction"] is not None:
            self._direction.restore(state["direction"])


def _warn(message: str | None) -> None:
    """Warn at the caller of the calling method."""
    if message is not None:
        warnings.warn(message, UserWarning, stacklevel=4)


def find_plateaus(
    values: Sequence[float] | npt.ArrayLike,
    steps: Sequence[int] | npt.ArrayLike | None = None,
    *,
    horizon: str | float,
    min_improvement: float,
    relative: bool = True,
    mode: str = "min",
    false_alarms: float = 0.01,
) -> list[Finding]:
    """Run the streaming plateau detector over an array or Series.

    Args:
        values: The metric, shape (n,). Values that are not finite are left out.
        steps: The step of each value, shape (n,), not falling; 0, 1, 2, ... when None.
        horizon: A number of steps, or a fraction of the run so far written "10%".
        min_improvement: An improvement of less than this per horizon is a plateau.
        relative: Whether `min_improvement` is relative to the level of the metric or in its own units.
        mode: "min" for a loss, "max" for a metric that should rise.
        false_alarms: Probability of any false report in the whole array.

    Returns:
        One finding for each plateau, with the step at which the evidence was complete.

    Raises:
        ValueError: Shapes that do not fit, steps that fall, or an option out of its range.
    """
    curve = np.asarray(values, np.float64)
    if curve.ndim != 1:
        raise ValueError(f"values must have one dimension, got shape {curve.shape}")
    at = np.arange(len(curve)) if steps is None else _whole(np.asarray(steps))
    if at.shape != curve.shape:
        raise ValueError(f"steps must have the shape of values, {curve.shape}, got {at.shape}")
    falls = np.flatnonzero(np.diff(at) < 0)
    if len(falls):
        raise ValueError(f"steps must not fall, got {at[falls[0] + 1]} after {at[falls[0]]}")
    if mode not in ("min", "max"):
        raise ValueError(f'mode must be "min" or "max", got {mode!r}')
    options = DetectOptions(
        horizon=horizon,
        min_improvement=min_improvement,
        relative=relative,
        direction=mode,  # type: ignore[arg-type]  # validated above
        false_alarms=false_alarms,
    )
    detector = PlateauDetector(options=options)
    detector.threshold = -math.inf  # no look is needed that cannot be a finding
    finite = np.isfinite(curve)
    outputs = detector.feed(at[finite].tolist(), curve[finite].tolist())
    return [output for _, output in outputs if isinstance(output, Finding)]


def _whole(steps: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    with np.errstate(invalid="ignore"):
        whole = steps.astype(np.int64)
    if (whole != steps).any():
        raise ValueError(f"steps must be whole numbers, got {steps[whole != steps].flat[0]}")
    return whole
