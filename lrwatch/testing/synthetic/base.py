"""Types of a run with known truth: the log of its trainer, the noise-free mean, and the correct findings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from lrwatch.core.events import Finding, Kind
from lrwatch.core.options import DetectOptions, Horizon
from lrwatch.core.sample import Batch, Column, Floats, Ints
from lrwatch.testing.synthetic.trends import flat_from, line

# Length of a run, and the improvement it is required to make: MIN_IMPROVEMENT per HORIZON values, in units of the metric.
N = 12_000
HORIZON = 1000.0
MIN_IMPROVEMENT = 0.1

# Level of a curve at its start, in required improvements.
HEIGHT = 40


class SyntheticSeries(NamedTuple):
    """One metric of a log: steps and values, shape (n,) each; times in seconds since the epoch if logged."""

    steps: Ints
    values: Floats
    times: Floats | None = None


class Span(NamedTuple):
    """The steps at which a finding is correct, both ends included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class SyntheticLog:
    """The log of a trainer, and its noise-free truth.

    Attributes:
        metrics: Name to series, in the order of the log.
        means: Name to the mean at each step from 0 on, shape (steps,), of the metrics that should improve. It excludes
            spikes, the sawtooth of an epoch and outliers.
        required: Horizon and improvement that the truth refers to.
        expected: Kinds of findings that a detector must make, and the steps at which they are correct. A plateau is
            correct in each metric from its own `flat_from` on.
        allowed: Kinds that a detector may make or omit, and their steps: `too_slow` fits any straight line.
    """

    metrics: Mapping[str, SyntheticSeries]
    means: Mapping[str, Floats]
    required: DetectOptions
    expected: Mapping[Kind, Span] = field(default_factory=dict)
    allowed: Mapping[Kind, Span] = field(default_factory=dict)

    @property
    def flat_from(self) -> dict[str, int | None]:
        """The step from which each metric with a mean improves by less than required; None where it never does."""
        return self.truth(self.required)

    def truth(self, required: DetectOptions) -> dict[str, int | None]:
        """Return `flat_from` for another horizon and improvement."""
        sign = 1.0 if required.direction == "min" else -1.0
        horizon = Horizon.parse(required.horizon)
        return {
            name: flat_from(
                sign * mean,
                np.array([horizon.steps(step) for step in range(1, len(mean))])
                if horizon.fixed is None
                else horizon.fixed,
                required.min_improvement,
                relative=required.relative,
            )
            for name, mean in self.means.items()
        }

    def is_right(self, finding: Finding) -> bool:
        """Return whether the finding is correct: of an expected or allowed kind, and within its steps."""
        spans = [spans[finding.kind] for spans in (self.expected, self.allowed) if finding.kind in spans]
        if not any(first <= finding.step <= last for first, last in spans):
            return False
        if finding.kind != "plateau" or finding.kind in self.allowed:
            return True
        since = self.flat_from.get(finding.metric)
        return since is not None and finding.step >= since

    def batch(self) -> Batch:
        """Return the log as one batch: one row a step with several metrics, one row a value with a single metric."""
        if len(self.metrics) == 1:
            ((name, series),) = self.metrics.items()
            return Batch(series.steps, {name: Column(np.arange(len(series.steps)), series.values)})
        steps = np.unique(np.concatenate([series.steps for series in self.metrics.values()]))
        columns = {
            name: Column(np.searchsorted(steps, series.steps), series.values) for name, series in self.metrics.items()
        }
        return Batch(steps, columns)

    def json_lines(self) -> bytes:
        """Return the log as JSON lines, with `time` where there is a clock; NaN and Infinity as Python writes them."""
        batch = self.batch()
        records = [{"step": step} for step in batch.steps.tolist()]
        for name, column in batch.columns.items():
            for row, value in zip(column.rows.tolist(), column.values.tolist(), strict=True):
                records[row][name] = value
        (times, *_) = (series.times for series in self.metrics.values())
        for record, time in zip(records, [] if times is None else times.tolist(), strict=False):
            record["time"] = time
        return "".join(json.dumps(record) + "\n" for record in records).encode()


@dataclass(frozen=True, slots=True)
class Plan:
    """Length of a run and its required improvement, from which a case draws its curve.

    Attributes:
        n: Steps, 0 to n - 1.
        required: Horizon (a number of steps) and improvement.
    """

    n: int
    required: DetectOptions

    @property
    def at(self) -> Ints:
        """Every step, shape (n,)."""
        return np.arange(self.n)

    @property
    def horizon(self) -> float:
        """The horizon in steps."""
        return float(self.required.horizon)

    @property
    def unit(self) -> float:
        """The required improvement; also the standard deviation of the noise unless a case says otherwise."""
        return self.required.min_improvement

    def step(self, share: float) -> int:
        """Return the step after that share of the run."""
        return int(share * self.n)

    def span(self, first: float = 0.0, last: float = 1.0) -> Span:
        """Return the steps from one share of the run to another."""
        return Span(self.step(first), min(self.step(last), self.n - 1))

    def line(self, times: float = 1.5) -> Floats:
        """Return a line that falls at `times` the required rate, shape (n,)."""
        return line(self.n, times * self.unit / self.horizon, HEIGHT * self.unit)

    def flat(self, share: float, times: float = 3.0) -> Floats:
        """Return a line as `line` does, flat from that share of the run on; shape (n,)."""
        falling = self.line(times)
        return np.asarray(np.maximum(falling, falling[min(self.step(share), self.n - 1)]), np.float64)

    def log(
        self,
        metrics: Mapping[str, SyntheticSeries],
        means: Mapping[str, Floats],
        expected: Mapping[Kind, Span] | None = None,
        allowed: Mapping[Kind, Span] | None = None,
    ) -> SyntheticLog:
        """Make a log. An expected plateau follows from the means; `too_slow` is allowed throughout.

        Args:
            metrics: Name to series, in the order of the log.
            means: Name to the mean at each step, shape (n,).
            expected: Further kinds of findings that a detector must make.
            allowed: Further kinds that a detector may make or omit.

        Returns:
            The log.
        """
        log = SyntheticLog(
            metrics, means, self.required, dict(expected or {}), {"too_slow": self.span(), **(allowed or {})}
        )
        flat = [since for since in log.flat_from.values() if since is not None]
        if not flat:
            return log
        return SyntheticLog(
            metrics, means, self.required, {"plateau": Span(min(flat), self.n - 1), **log.expected}, log.allowed
        )


Draw = Callable[[np.random.Generator, Plan], SyntheticLog]
"""Draws a log of a case."""


@dataclass(frozen=True, slots=True)
class Case:
    """A family of runs, one for each seed.

    Attributes:
        number: Number of the failure that it represents, see `lrwatch.testing.synthetic.catalog`; variants share it.
        name: Its name in the catalog.
        draw: Draws a log.
        null: Whether the means improve as required to the end: any reported plateau is false.
        n, horizon, min_improvement, relative, direction: Steps of a run, and its required improvement as in `DetectOptions`.
        disclaimed: Reason why no detector can keep its promise here: a flat stretch whose end only future values show
            (`unavoidable`), or noise that wanders as slowly as the run. Empty where the promise holds.
    """

    number: int
    name: str
    draw: Draw
    null: bool = True
    n: int = N
    horizon: float = HORIZON
    min_improvement: float = MIN_IMPROVEMENT
    relative: bool = False
    direction: Literal["min", "max"] = "min"
    disclaimed: Literal["", "unavoidable", "noise that wanders"] = ""

    def make(
        self, seed: int, *, n: int | None = None, horizon: float | None = None, min_improvement: float | None = None
    ) -> SyntheticLog:
        """Make the run of a seed.

        The curve is drawn to the required improvement: with twice the `min_improvement` it is twice as high, with twice the
        `horizon` it falls half as fast.

        Args:
            seed: Seed of everything that is random.
            n: Number of steps; a run should have 6 to 50 horizons.
            horizon: Horizon in steps; the same share of the run as in the case unless given.
            min_improvement: Required improvement per horizon.

        Returns:
            The log with its truth.

        >>> Case(1, "line", lambda rng, plan: plan.log({}, {"loss": plan.line()})).make(0, n=600).flat_from
        {'loss': None}
        """
        n = self.n if n is None else n
        horizon = self.horizon * n / self.n if horizon is None else horizon
        unit = self.min_improvement if min_improvement is None else min_improvement
        required = DetectOptions(horizon, unit, self.relative, self.direction)
        return self.draw(np.random.default_rng(seed), Plan(n, required))


def single(
    plan: Plan,
    values: Floats,
    mean: Floats,
    expected: Mapping[Kind, Span] | None = None,
    allowed: Mapping[Kind, Span] | None = None,
    name: str = "loss",
) -> SyntheticLog:
    """Make a log of one metric with a value at every step.

    Args:
        plan: Length and required improvement.
        values: Values of the metric, shape (n,).
        mean: Their mean, shape (n,).
        expected: Kinds of findings that a detector must make.
        allowed: Kinds that a detector may make or omit.
        name: Name of the metric.

    Returns:
        The log.
    """
    return plan.log({name: SyntheticSeries(plan.at, values)}, {name: mean}, expected, allowed)
