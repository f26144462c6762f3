"""Closed loop: trainings whose loss answers to the rate, and schedules to be scored against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lrwatch import Controller
from lrwatch.testing import PROBLEMS, NoisyQuadratic, PowerLaw, final_risk, hindsight, play
from lrwatch.testing.closed_loop.play import RATES, constant, cosine, late, linear, two_steps
from lrwatch.testing.closed_loop.problems import Training

STEPS = 2000


def fixed(shape: Callable[[float], float], rate: float = 1.0) -> Callable[[int], float]:
    return lambda i: rate * shape(i / STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_rate_that_falls_beats_one_that_does_not_and_hindsight_beats_both(problem: str) -> None:
    make = PROBLEMS[problem]
    best = hindsight(STEPS, make)
    risks = {shape: final_risk(fixed(shape), STEPS, make(0)) for shape in (constant, two_steps, cosine, linear, late)}
    assert best < risks[two_steps] < risks[constant]
    assert best <= min(risks[cosine], risks[linear], risks[late])
    assert best < min(final_risk(fixed(constant, rate), STEPS, make(0)) for rate in RATES)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_log_shows_the_true_risk_in_the_mean(problem: str) -> None:
    training = PROBLEMS[problem](1)
    losses = np.array([training.observe() for _ in range(5000)])
    floor = float(losses.mean()) - training.risk
    assert floor == pytest.approx(1.0 if problem.startswith("power") else 0.1, abs=0.02)


def test_noise_follows_the_seed_and_the_risk_does_not() -> None:
    for make in PROBLEMS.values():
        one, again, other = make(1), make(1), make(2)
        for training in (one, again, other):
            training.step(0.3)
        losses = [training.observe() for training in (one, again, other)]
        assert losses[0] == losses[1] != losses[2]
        assert one.risk == other.risk


@pytest.mark.parametrize(("rate", "training"), [(3.0, NoisyQuadratic()), (2.5, PowerLaw())])
def test_a_rate_beyond_what_the_curvature_bears_blows_up_and_stays_finite(rate: float, training: Training) -> None:
    assert 1000 < final_risk(lambda _: rate, STEPS, training) < float("inf")


def test_the_noise_of_the_power_law_settles_where_its_recursion_does() -> None:
    training, rate, noise = PowerLaw(exponent=50.0, start=1.0, noise=0.1), 0.4, 0.1
    assert final_risk(lambda _: rate, STEPS, training) == pytest.approx(rate * noise / (2 - rate) / 2)


def test_a_controller_plays_and_one_that_does_nothing_is_a_constant_rate() -> None:
    make = PROBLEMS["quadratic"]
    idle = play(lambda *_: 1.0, make(0), 0.3, STEPS)
    assert idle == final_risk(lambda _: 0.3, STEPS, make(0))
    cut = play(lambda step, _: two_steps(step / STEPS), make(0), 1.0, STEPS)
    assert cut == pytest.approx(final_risk(fixed(two_steps), STEPS, make(0)), rel=0.01)


def test_lrwatch_in_closed_loop_is_nearer_to_hindsight_than_a_constant_rate() -> None:
    steps, make = 6000, PROBLEMS["quadratic, noisy gradients"]
    controlled = play(Controller(mode="auto").update, make(0), 1.0, steps)
    assert controlled < final_risk(lambda _: 1.0, steps, make(0)) / 3
