"""What a run of known truth is: what its trainer wrote, the mean under it, and what there is to find."""

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

# Values of a run, and what is asked of it: an improvement of ASKED per HORIZON values, in units of the metric.
N = 12_000
HORIZON = 1000.0
ASKED = 0.1

# Improvements that a curve is above zero at its start.
HEIGHT = 40


class SyntheticSeries(NamedTuple):
    """One metric of a log: steps, shape (n,), and values, shape (n,); seconds since the epoch where the log has a clock."""

    steps: Ints
    values: Floats
    times: Floats | None = None


class Span(NamedTuple):
    """The steps at which a finding is right, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class SyntheticLog:
    """What a trainer wrote, and the truth under it.

    Attributes:
        metrics: Name to series, in the order of the log.
        means: Name to the mean at each step from 0 on, shape (steps,), of the metrics that are to improve. What comes back
            (spikes, an epoch's sawtooth) is no part of it, nor are outliers.
        asked: The improvement that the truth is about.
        expected: Kinds of findings that are to be made, and when that is right. A plateau is right in each metric from its
            own `flat_from` on.
        allowed: Kinds that may be found or not, and when: a straight line is one, whatever else happens to it.
    """

    metrics: Mapping[str, SyntheticSeries]
    means: Mapping[str, Floats]
    asked: DetectOptions
    expected: Mapping[Kind, Span] = field(default_factory=dict)
    allowed: Mapping[Kind, Span] = field(default_factory=dict)

    @property
    def flat_from(self) -> dict[str, int | None]:
        """For each metric with a mean the step from which on it improves by less than was asked, None where it never does."""
        return self.truth(self.asked)

    def truth(self, asked: DetectOptions) -> dict[str, int | None]:
        """`flat_from`, if that were asked."""
        sign = 1.0 if asked.direction == "min" else -1.0
        horizon = Horizon.parse(asked.horizon)
        return {
            name: flat_from(
                sign * mean,
                np.array([horizon.steps(step) for step in range(1, len(mean))])
                if horizon.fixed is None
                else horizon.fixed,
                asked.min_improvement,
                relative=asked.relative,
            )
            for name, mean in self.means.items()
        }

    def is_right(self, finding: Finding) -> bool:
        """Whether the finding is right: of a kind that is there to find, or may be, and not before it was there."""
        spans = [spans[finding.kind] for spans in (self.expected, self.allowed) if finding.kind in spans]
        if not any(first <= finding.step <= last for first, last in spans):
            return False
        if finding.kind != "plateau" or finding.kind in self.allowed:
            return True
        since = self.flat_from.get(finding.metric)
        return since is not None and finding.step >= since

    def batch(self) -> Batch:
        """The log as one read: a row for each step where there are several metrics, else one for each value."""
        if len(self.metrics) == 1:
            ((name, series),) = self.metrics.items()
            return Batch(series.steps, {name: Column(np.arange(len(series.steps)), series.values)})
        steps = np.unique(np.concatenate([series.steps for series in self.metrics.values()]))
        columns = {
            name: Column(np.searchsorted(steps, series.steps), series.values) for name, series in self.metrics.items()
        }
        return Batch(steps, columns)

    def json_lines(self) -> bytes:
        """The log as JSON lines, with `time` where there is a clock; NaN and Infinity as Python writes them."""
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
    """How long a run is, and what is asked of it; what a case draws its curve to.

    Attributes:
        n: Steps, 0 to n - 1.
        asked: Horizon (a number of steps) and improvement.
    """

    n: int
    asked: DetectOptions

    @property
    def at(self) -> Ints:
        """Every step, shape (n,)."""
        return np.arange(self.n)

    @property
    def horizon(self) -> float:
        """In steps."""
        return float(self.asked.horizon)

    @property
    def unit(self) -> float:
        """The improvement that is asked for; the noise has this standard deviation unless a case says otherwise."""
        return self.asked.min_improvement

    def step(self, share: float) -> int:
        """The step after that share of the run."""
        return int(share * self.n)

    def span(self, first: float = 0.0, last: float = 1.0) -> Span:
        """From one share of the run to another."""
        return Span(self.step(first), min(self.step(last), self.n - 1))

    def line(self, times: float = 1.5) -> Floats:
        """A line that falls at so many times the rate that is asked for."""
        return line(self.n, times * self.unit / self.horizon, HEIGHT * self.unit)

    def flat(self, share: float, times: float = 3.0) -> Floats:
        """Such a line down to that share of the run, and flat from there."""
        falling = self.line(times)
        return np.asarray(np.maximum(falling, falling[min(self.step(share), self.n - 1)]), np.float64)

    def log(
        self,
        metrics: Mapping[str, SyntheticSeries],
        means: Mapping[str, Floats],
        expected: Mapping[Kind, Span] | None = None,
        allowed: Mapping[Kind, Span] | None = None,
    ) -> SyntheticLog:
        """A log; that a plateau is to be found follows from the means, and a straight line may be called one."""
        log = SyntheticLog(
            metrics, means, self.asked, dict(expected or {}), {"too_slow": self.span(), **(allowed or {})}
        )
        flat = [since for since in log.flat_from.values() if since is not None]
        if not flat:
            return log
        return SyntheticLog(
            metrics, means, self.asked, {"plateau": Span(min(flat), self.n - 1), **log.expected}, log.allowed
        )


Draw = Callable[[np.random.Generator, Plan], SyntheticLog]
"""Draws a log of a case."""


@dataclass(frozen=True, slots=True)
class Case:
    """A family of runs, one for each seed.

    Attributes:
        number: The way to fail that it stands for, see `lrwatch.testing.synthetic.catalog`; variants share it.
        name: What it is.
        draw: Draws a log.
        null: The means improve by what is asked to the end, so that a plateau is false whenever it is said.
        n, horizon, min_improvement, relative, direction: Steps of a run, and what is asked, as `DetectOptions` takes it.
        disclaimed: Why no detector can keep a promise here, and none is made: a flat stretch of which only the future tells
            that it ends, noise that wanders as slowly as the run. Empty where the promise holds.
    """

    number: int
    name: str
    draw: Draw
    null: bool = True
    n: int = N
    horizon: float = HORIZON
    min_improvement: float = ASKED
    relative: bool = False
    direction: Literal["min", "max"] = "min"
    disclaimed: Literal["", "unavoidable", "noise that wanders"] = ""

    def make(
        self, seed: int, *, n: int | None = None, horizon: float | None = None, min_improvement: float | None = None
    ) -> SyntheticLog:
        """The run of this seed.

        The curve is drawn to what is asked: with twice the `min_improvement` it is twice as high, with twice the `horizon` it
        falls half as fast. Without `horizon`, that stays the same share of the run. A run should have 6 to 50 horizons.

        >>> Case(1, "line", lambda rng, plan: plan.log({}, {"loss": plan.line()})).make(0, n=600).flat_from
        {'loss': None}
        """
        n = self.n if n is None else n
        horizon = self.horizon * n / self.n if horizon is None else horizon
        unit = self.min_improvement if min_improvement is None else min_improvement
        asked = DetectOptions(horizon, unit, self.relative, self.direction)
        return self.draw(np.random.default_rng(seed), Plan(n, asked))


def single(
    plan: Plan,
    values: Floats,
    mean: Floats,
    expected: Mapping[Kind, Span] | None = None,
    allowed: Mapping[Kind, Span] | None = None,
    name: str = "loss",
) -> SyntheticLog:
    """A log of one metric with a value at every step."""
    return plan.log({name: SyntheticSeries(plan.at, values)}, {name: mean}, expected, allowed)
