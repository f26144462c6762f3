"""Faulty runs, with something to detect: cases 16 to 26 of `lrwatch.testing.synthetic.catalog`."""

from __future__ import annotations

import numpy as np

from lrwatch.core.sample import Floats
from lrwatch.testing.synthetic.base import Case, Draw, Plan, Span, SyntheticLog, SyntheticSeries, single
from lrwatch.testing.synthetic.draws import Mean, healthy, noisy
from lrwatch.testing.synthetic.noise import Noise, autoregression, sawtooth, spikes
from lrwatch.testing.synthetic.trends import exponential

MID = 0.5


def _flat(share: float) -> Mean:
    """Fall at three times the required rate, then stay flat from that share of the run on."""
    return lambda plan: plan.flat(share)


def _gradual(plan: Plan) -> Floats:
    """Improve ever more slowly; the rate falls below the required one about a third into the run."""
    return exponential(plan.n, plan.n / 10, 60 * plan.unit, 20 * plan.unit)


def _after(plan: Plan, share: float) -> Floats:
    """Return the steps since that share of the run, 0 before; shape (n,)."""
    return np.maximum(0.0, plan.at - plan.step(share))


def _never_back(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
    """Draw a spike after which the level stays above the best before it (pytorch issue 30873)."""
    mean = plan.flat(MID)
    place = plan.step(MID)
    mean[place:] += 8 * plan.unit
    values = mean + plan.unit * rng.standard_normal(plan.n)
    values[place : place + 20] += 50 * plan.unit
    there = Span(place, plan.n - 1)
    return single(plan, values, mean, allowed={"spike": there, "divergence": there})


def _after_a_drop(plan: Plan) -> Floats:
    """Cut the learning rate at a quarter of the run: the loss drops, then falls for another twelfth."""
    return plan.flat(1 / 3) - 10 * plan.unit * (plan.at >= plan.step(0.25))


def _train_and_val(train: Mean, val: Mean, sd: float = 0.5, noise: Noise | None = None) -> Draw:
    """Draw a training loss at every step and a validation loss, which lies above it, at every twentieth."""

    def draw(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
        every = plan.at[::20]
        means = {"loss": train(plan), "val_loss": val(plan) + 3 * plan.unit}
        own = rng.standard_normal(len(every)) if noise is None else noise(rng, len(every))
        metrics = {
            "loss": SyntheticSeries(plan.at, means["loss"] + plan.unit * rng.standard_normal(plan.n)),
            "val_loss": SyntheticSeries(every, means["val_loss"][every] + sd * plan.unit * own),
        }
        return plan.log(metrics, means)

    return draw


# ---- 22: divergence -----------------------------------------------------------------------------------------------


def _diverges(per_horizon: float, most: float = np.inf) -> Draw:
    """Rise by `per_horizon` improvements per horizon from the middle on, until the level is `most` higher."""

    def draw(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
        mean = healthy(plan) + plan.unit * np.minimum(most, _after(plan, MID) * per_horizon / plan.horizon)
        values = mean + plan.unit * rng.standard_normal(plan.n)
        there = plan.span(MID)
        return single(plan, values, mean, {"divergence": there}, {"plateau": there} if np.isfinite(most) else None)

    return draw


def _not_finite(first: float, last: float, *values: float) -> Draw:
    """Write `values` in turn from one share of the run to another, at least once."""

    def draw(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
        mean = healthy(plan)
        series = mean + plan.unit * rng.standard_normal(plan.n)
        begin = plan.step(first)
        end = max(begin + 1, plan.step(last))
        series[begin:end] = np.resize(values, end - begin)
        return single(plan, series, mean, {"nonfinite": Span(begin, begin)})

    return draw


# ---- 23: oscillation ----------------------------------------------------------------------------------------------


def _alternating(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
    """Make every second value worse from the middle on."""
    mean = healthy(plan)
    swing = np.where(plan.at >= plan.step(MID), plan.unit * (-1.0) ** plan.at, 0.0)
    values = mean + plan.unit * rng.standard_normal(plan.n) + swing
    return single(plan, values, mean, {"oscillation": plan.span(MID)})


def _noisier_and_worse(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
    """Raise the level and make the noise five times as large from the middle on."""
    late = plan.at >= plan.step(MID)
    mean = healthy(plan) + 20 * plan.unit * late
    values = mean + plan.unit * np.where(late, 5.0, 1.0) * rng.standard_normal(plan.n)
    there = plan.span(MID)
    return single(plan, values, mean, {"oscillation": there}, {"divergence": there})


def _slow_wave(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
    """Let the loss rise and fall within half a horizon from the middle on, without improving."""
    mean = plan.flat(MID)
    wave = 3 * plan.unit * np.sin(4 * np.pi * _after(plan, MID) / plan.horizon)
    values = mean + wave + plan.unit * rng.standard_normal(plan.n)
    there = plan.span(MID)
    return single(plan, values, mean, allowed={"oscillation": there, "divergence": there})


# ---- 24 to 26 -----------------------------------------------------------------------------------------------------


def _valley(plan: Plan) -> Floats:
    """Fall at three times the required rate until 5/12 of the run, and rise as fast from there."""
    return plan.line(3.0) + _after(plan, 5 / 12) * 6 * plan.unit / plan.horizon


def _overfits(noise: float | Noise) -> Draw:
    def draw(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
        drawn = (
            _train_and_val(healthy, _valley, noise)
            if isinstance(noise, float)
            else _train_and_val(healthy, _valley, 0.5, noise)
        )
        log = drawn(rng, plan)
        return SyntheticLog(
            log.metrics, log.means, log.required, {**log.expected, "overfitting": plan.span(5 / 12)}, log.allowed
        )

    return draw


def _straight(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
    """Draw a line with little noise and no bend."""
    mean = plan.line(3.0)
    values = mean + plan.unit / 10 * rng.standard_normal(plan.n)
    return single(plan, values, mean, {"too_slow": plan.span()})


def _rank_and_mean(mean: Mean) -> Draw:
    """Draw the loss of one rank beside the mean of sixteen, of which it is one."""

    def draw(rng: np.random.Generator, plan: Plan) -> SyntheticLog:
        curve = mean(plan)
        own, others = rng.standard_normal(plan.n), rng.standard_normal(plan.n)
        together = own / 16 + 15**0.5 / 16 * others
        metrics = {
            "loss": SyntheticSeries(plan.at, curve + plan.unit * together),
            "rank0/loss": SyntheticSeries(plan.at, curve + plan.unit * own),
        }
        return plan.log(metrics, {"loss": curve, "rank0/loss": curve})

    return draw


def _case(number: int, name: str, draw: Draw) -> Case:
    return Case(number, name, draw, null=False)


FAULTY: tuple[Case, ...] = (
    _case(16, "sharp plateau, early", noisy(_flat(5 / 24))),
    _case(16, "sharp plateau, mid", noisy(_flat(MID))),
    _case(16, "sharp plateau, late", noisy(_flat(0.75))),
    _case(16, "sharp plateau, autoregressive 0.9", noisy(_flat(5 / 24), autoregression(0.9))),
    _case(16, "sharp plateau, spikes", noisy(_flat(5 / 24), spikes, allowed=("spike",))),
    _case(17, "gradual plateau", noisy(_gradual)),
    _case(18, "plateau above the old best", _never_back),
    _case(19, "plateau after a drop of the rate", noisy(_after_a_drop)),
    _case(20, "plateau under a sawtooth", noisy(_flat(MID), sawtooth)),
    _case(21, "validation flat while training improves", _train_and_val(healthy, _flat(MID))),
    _case(21, "training flat while validation improves", _train_and_val(_flat(MID), healthy)),
    _case(22, "slow divergence", _diverges(10)),
    _case(22, "fast divergence", _diverges(1000, 200)),
    _case(22, "NaN at first", _not_finite(0, 0, np.nan)),
    _case(22, "NaN from the middle on", _not_finite(MID, 1, np.nan)),
    _case(22, "bursts of infinities", _not_finite(5 / 12, 5 / 12 + 0.004, np.inf, -np.inf)),
    _case(23, "every second value is worse", _alternating),
    _case(23, "more noise at a worse level", _noisier_and_worse),
    _case(23, "a slow wave", _slow_wave),
    _case(24, "overfitting", _overfits(0.5)),
    _case(24, "overfitting, noisy validation", _overfits(3.0)),
    _case(25, "a straight line with little noise", _straight),
    _case(26, "one rank beside all", _rank_and_mean(_flat(MID))),
)
