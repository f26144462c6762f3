"""Healthy runs: cases 1 to 15 of `lrwatch.testing.synthetic.catalog`. Their means improve as required to the end."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lrwatch.core.events import Kind
from lrwatch.core.sample import Floats, Ints
from lrwatch.testing.synthetic.base import Case, Draw, Plan, Span, SyntheticLog, SyntheticSeries, single
from lrwatch.testing.synthetic.draws import Mean, Transform, approach, healthy, noisy, power, transformed
from lrwatch.testing.synthetic.noise import (
    autoregression,
    averaged,
    lognormal,
    mirrored,
    periodic,
    sawtooth,
    spikes,
    student,
)


def _stairs(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
    """Draw three drops, each as large as a healthy run's improvement since the previous one; flat between them."""
    mean = plan.line(1.5)[(plan.at * 4 // plan.n) * plan.n // 4]
    values = mean + plan.unit * rng.standard_normal(plan.n)
    return single(plan, values, mean, allowed={"plateau": plan.span()})


# ---- 7: spikes ----------------------------------------------------------------------------------------------------

# Steps within which a spike is over and reported.
REPORTED_WITHIN = 400


def _spiked(plan: Plan, rng: np.random.Generator, shape: Floats, count: int, *allowed: Kind) -> SyntheticLog:
    """Add `shape` at `count` places, one in each part of the run from the first tenth on."""
    mean = healthy(plan)
    values = mean + plan.unit * rng.standard_normal(plan.n)
    part = 0.9 / count
    places = [plan.step(0.1 + part * (i + 0.5 * rng.random())) for i in range(count)]
    for place in places:
        end = min(plan.n, place + len(shape))
        values[place:end] += plan.unit * shape[: end - place]
    reported = Span(places[0], min(places[-1] + REPORTED_WITHIN, plan.n - 1))
    return single(plan, values, mean, {"spike": reported}, {kind: Span(places[0], plan.n - 1) for kind in allowed})


def _singles(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
    return _spiked(plan, rng, np.array([50.0]), 3)


def _clusters(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
    return _spiked(plan, rng, 20 * np.exp(-np.arange(200) / 33), 4, "divergence")


def _dips(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
    mean = healthy(plan)
    values = mean + plan.unit * rng.standard_normal(plan.n)
    values[rng.integers(plan.n // 100, plan.n, 12)] -= 30 * plan.unit
    return single(plan, values, mean)


# ---- 8, 10: data order, schedules ---------------------------------------------------------------------------------


def _unshuffled(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
    return noisy(healthy, periodic(max(2, plan.n // 24)))(rng, plan)


def _sorted_by_length(plan: Plan, values: Floats) -> Floats:
    epoch = max(2, plan.n // 24)
    return values + 2 * plan.unit * ((plan.at % epoch) / epoch - 0.5)


def _shifted(units: float) -> Transform:
    return lambda plan, values: values + units * plan.unit * (plan.at >= plan.step(5 / 12))


def _scheduled(rate: Mean, mean: Mean = healthy) -> Draw:
    """Draw a log that includes its learning rate."""

    def draw(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
        curve = mean(plan)
        values = curve + plan.unit * rng.standard_normal(plan.n)
        return plan.log(
            {"loss": SyntheticSeries(plan.at, values), "lr": SyntheticSeries(plan.at, 1e-3 * rate(plan))},
            {"loss": curve},
        )

    return draw


def _ramp(plan: Plan, share: float) -> Floats:
    return np.asarray(np.minimum(1.0, (plan.at + 1) / (share * plan.n)), np.float64)


def _decay(plan: Plan) -> Floats:
    """Keep the rate until the last fifth, then decay to zero."""
    return np.asarray(np.minimum(1.0, (plan.n - plan.at) / (0.2 * plan.n)), np.float64)


def _falls_while_decaying(plan: Plan) -> Floats:
    """Fall twice as fast while the rate decays."""
    faster = np.maximum(0.0, plan.at - 0.8 * plan.n) * 1.5 * plan.unit / plan.horizon
    return healthy(plan) - np.asarray(faster, np.float64)


def _cycle(plan: Plan) -> Floats:
    return np.asarray(1.1 + np.cos(2 * np.pi * plan.at / plan.horizon), np.float64)


def _follows_the_cycle(plan: Plan) -> Floats:
    """Let the noise floor follow the rate; it never cancels more than half of the improvement."""
    depth = 0.5 * 1.5 * plan.unit / (2 * np.pi)
    return np.asarray(plan.line(3.0) + depth * np.cos(2 * np.pi * plan.at / plan.horizon), np.float64)


def _restarts(plan: Plan) -> Floats:
    return 0.5 + 0.5 * np.cos(np.pi * ((plan.at / plan.horizon) % 1.0))


# ---- 11, 12: scales -----------------------------------------------------------------------------------------------


def _relative(times: float, height: float, sd: float) -> Draw:
    """Fall from `height` by the same share in each horizon, `times` the required one; noise of `sd` times the level."""

    def draw(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
        rate = -math.log1p(-times * plan.unit / plan.horizon)
        mean = np.asarray(height * np.exp(-rate * plan.at), np.float64)
        return single(plan, mean * (1 + sd * rng.standard_normal(plan.n)), mean)

    return draw


def _accuracy(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
    """Approach 1, which no value exceeds."""
    mean = 1 - (approach(plan) - 19 * plan.unit)
    values = np.minimum(1.0, mean + 1.5 * plan.unit * rng.standard_normal(plan.n))
    return single(plan, values, mean, name="accuracy")


def _constant(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
    values = np.full(plan.n, float(rng.random()))
    return single(plan, values, values)


# ---- 13: irregular logs -------------------------------------------------------------------------------------------


def _at_steps(steps: Callable[[np.random.Generator, int], Ints]) -> Draw:
    """Draw a loss that is logged at these steps, in that order."""

    def draw(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
        at, mean = steps(rng, plan.n), healthy(plan)
        series = SyntheticSeries(at, mean[at] + plan.unit * rng.standard_normal(len(at)))
        return plan.log({"loss": series}, {"loss": mean})

    return draw


def _rewound(_: np.random.Generator, n: int) -> Ints:
    return np.concatenate([np.arange(7 * n // 12), np.arange(n // 2, n)])


def _twice_and_missing(rng: np.random.Generator, n: int) -> Ints:
    return np.sort(rng.integers(0, n, n))


def _irregular(rng: np.random.Generator, n: int) -> Ints:
    return np.flatnonzero(rng.random(n) < np.where(np.arange(n) < n // 3, 0.8, 0.2))


def _ranks(_: np.random.Generator, n: int) -> Ints:
    """Let four ranks write into one log, each the loss of its own batch."""
    return np.repeat(np.arange(0, n, 4), 4)


def _cadences(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
    """Validate at every twentieth step."""
    mean, every = healthy(plan), plan.at[::20]
    val_mean = mean + 3 * plan.unit
    val = SyntheticSeries(every, val_mean[every] + plan.unit / 2 * rng.standard_normal(len(every)))
    train = SyntheticSeries(plan.at, mean + plan.unit * rng.standard_normal(plan.n))
    return plan.log({"loss": train, "val_loss": val}, {"loss": mean, "val_loss": val_mean})


def _clock(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
    """Step once a second, on a clock that is set back by an hour and later ahead by a day."""
    mean = healthy(plan)
    times = 1.7e9 + plan.at - 3600.0 * (plan.at >= plan.n // 3) + 86_400.0 * (plan.at >= 2 * plan.n // 3)
    series = SyntheticSeries(plan.at, mean + plan.unit * rng.standard_normal(plan.n), times)
    return plan.log({"loss": series}, {"loss": mean})


def _walk(rng: np.random.Generator, n: int) -> Floats:
    """Draw a random walk whose standard deviation at the end is 10 times that of the other noises."""
    return np.asarray(10 / n**0.5 * np.cumsum(rng.standard_normal(n)), np.float64)


HEALTHY: tuple[Case, ...] = (
    *(Case(1, f"line at {x:g} times the required rate", noisy(lambda p, x=x: p.line(x))) for x in (1.0, 1.5, 3.0)),  # type: ignore[misc]
    *(Case(2, f"power law {x:g}", noisy(power(x))) for x in (0.1, 0.2, 0.3, 0.4, 0.5)),
    Case(3, "exponential before it flattens", noisy(approach)),
    Case(4, "stairs", _stairs, disclaimed="unavoidable"),
    Case(5, "white", noisy(healthy)),
    *(Case(5, f"autoregressive {x:g}", noisy(healthy, autoregression(x))) for x in (0.5, 0.9, 0.99)),
    *(Case(5, f"smoothed {x:g}", noisy(healthy, averaged(lognormal, x))) for x in (0.9, 0.98, 0.99)),
    Case(6, "student 3", noisy(healthy, student(3.0))),
    Case(6, "student 2.2", noisy(healthy, student(2.2))),
    Case(6, "log-normal", noisy(healthy, lognormal)),
    Case(6, "log-normal downwards", noisy(healthy, mirrored(lognormal))),
    Case(7, "single spikes", _singles),
    Case(7, "spike clusters that recover slowly", _clusters),
    Case(7, "one value in 200 is a spike", noisy(healthy, spikes, allowed=("spike",))),
    Case(7, "outliers for the better", _dips),
    Case(8, "sawtooth", noisy(healthy, sawtooth)),
    Case(8, "the same order each epoch", _unshuffled),
    Case(8, "batches sorted by length", transformed(healthy, _sorted_by_length)),
    Case(8, "level shift up", transformed(healthy, _shifted(10), moves=True, allowed=("divergence",))),
    Case(8, "level shift down", transformed(healthy, _shifted(-10), moves=True)),
    Case(9, "noise that falls", noisy(healthy, sd=lambda plan: np.linspace(2.0, 0.3, plan.n))),
    Case(9, "noise that rises", noisy(healthy, sd=lambda plan: np.linspace(0.3, 2.0, plan.n))),
    Case(
        9,
        "larger batches from the middle on",
        noisy(healthy, sd=lambda plan: np.where(plan.at < plan.n // 2, 1.0, 0.25)),
    ),
    Case(10, "warmup", _scheduled(lambda plan: _ramp(plan, 1 / 12))),
    Case(10, "cosine", _scheduled(lambda plan: 0.5 + 0.5 * np.cos(np.pi * plan.at / plan.n))),
    Case(
        10, "warmup, stable, decay", _scheduled(lambda plan: _ramp(plan, 1 / 24) * _decay(plan), _falls_while_decaying)
    ),
    Case(10, "cyclic", _scheduled(_cycle, _follows_the_cycle)),
    Case(10, "cosine with restarts", _scheduled(_restarts)),
    Case(11, "negative", noisy(lambda plan: healthy(plan) - 140 * plan.unit)),
    Case(11, "through zero", noisy(lambda plan: healthy(plan) - 31 * plan.unit)),
    Case(11, "tiny", noisy(healthy), min_improvement=1e-10),
    Case(11, "huge", noisy(healthy), min_improvement=1e8),
    Case(11, "from 1e5 down to 10", _relative(38.4, 1e5, 0.02), min_improvement=0.02, relative=True),
    Case(11, "half more than 1 % of the level", _relative(1.5, 4.0, 0.01), min_improvement=0.01, relative=True),
    Case(11, "four digits", transformed(healthy, lambda _, values: np.round(values, 4))),
    Case(11, "two digits", transformed(healthy, lambda _, values: np.round(values, 2))),
    Case(11, "one digit", transformed(healthy, lambda _, values: np.round(values, 1))),
    Case(11, "constant", _constant, null=False),
    Case(12, "accuracy near 1", _accuracy, min_improvement=0.002, direction="max"),
    Case(13, "resume with a rewind", _at_steps(_rewound)),
    Case(13, "steps twice and missing", _at_steps(_twice_and_missing)),
    Case(13, "irregular intervals", _at_steps(_irregular)),
    Case(13, "ranks that take turns", _at_steps(_ranks)),
    Case(13, "two cadences", _cadences),
    Case(13, "a clock that jumps", _clock),
    Case(14, "thirty epochs", noisy(healthy), n=30, horizon=5),
    Case(14, "a million values", noisy(healthy), n=1_000_000, horizon=50_000),
    Case(15, "nearly a random walk", noisy(healthy, autoregression(0.999)), disclaimed="noise that wanders"),
    Case(15, "a random walk", noisy(healthy, _walk), disclaimed="noise that wanders"),
)
