"""Each watched metric has one state in words, and none is undecided without a reason and a time."""

from __future__ import annotations

import json
import re
from typing import get_args

import numpy as np
import pytest
from support.batches import batch

from lrwatch.core.events import Command
from lrwatch.core.options import DetectOptions, PolicyOptions
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.sample import Floats
from lrwatch.core.snapshot import MetricState, MetricStatus

DETECT = DetectOptions(horizon=500, min_improvement=0.01)


def stands(values: Floats, detect: DetectOptions = DETECT, metric: str = "loss", **others: Floats) -> MetricStatus:
    """Where a metric stands after its values."""
    run = Pipeline(detect, PolicyOptions(mode="observe"))
    run.feed(batch(np.arange(len(values)), {metric: values, **others}))
    return next(status for status in run.metrics.statuses() if status.name == metric)


def noisy(mean: Floats, sd: float, seed: int = 0) -> Floats:
    return mean + sd * np.random.default_rng(seed).standard_normal(len(mean))


FLAT = np.full(6000, 2.0)
FALLING = 5 - np.arange(6000) / 2000

CASES: dict[MetricState, tuple[MetricStatus, str]] = {
    "improving": (stands(noisy(FALLING, 0.02)), r"improving: by [\d.]+ % ± [\d.]+ % per 500 steps"),
    "plateau": (
        stands(noisy(np.maximum(FALLING, 4.0), 0.02)),
        r"plateau since step [\d,]+: (improves|gets worse|moves) by [\d.]+ % ± [\d.]+ % per 500 steps, and 1 % is required",
    ),
    "cannot_tell_yet": (
        stands(noisy(FLAT, 2.0), DetectOptions(min_improvement=0.01)),
        r"cannot tell yet: .* the noise hides the required 1 % \([\d.]+ % would show by now\); it can tell by about step [\d,]+",
    ),
    "rising": (stands(noisy(5 - FALLING, 0.02)), r"rising: by [\d.]+ % ± [\d.]+ % per 500 steps, since step [\d,]+"),
    "not_judged": (stands(noisy(FLAT, 0.1), metric="d_loss"), r"not judged: it is the loss of a game.*"),
}


@pytest.mark.parametrize("state", get_args(MetricState))
def test_each_state_is_said_with_its_numbers(state: MetricState) -> None:
    status, words = CASES[state]
    assert status.state == state
    assert re.fullmatch(words, status.words), status.words
    assert (status.since is not None) == (state in ("plateau", "rising"))
    assert (status.tells_at is not None) == (state == "cannot_tell_yet")


def test_a_metric_to_maximise_that_falls_gets_worse() -> None:
    status = stands(noisy(FALLING, 0.02), DetectOptions(horizon=500, direction="max"))
    assert status.state == "rising"
    assert status.words.startswith("falling, and it should rise: ")


def test_a_fixed_horizon_that_is_too_short_for_the_noise_says_so() -> None:
    status = stands(noisy(FLAT, 3.0), DetectOptions(horizon=50, min_improvement=0.01))
    assert (status.state, status.tells_at) == ("cannot_tell_yet", None)
    assert "a longer [detect] horizon can" in status.words


def test_where_no_improvement_is_asked_for_only_a_rise_can_be_told() -> None:
    status = stands(noisy(FLAT, 0.02), DetectOptions(min_improvement=0))
    assert (status.state, status.tells_at) == ("cannot_tell_yet", None)
    assert "no improvement is required, so only a rise can be told" in status.words


def test_a_metric_says_how_many_values_it_lacks_and_until_when() -> None:
    status = stands(FLAT[:8])
    assert (
        status.words
        == "cannot tell yet: 8 values in this phase, and at least 20 are needed; it can tell by about step 500"
    )
    assert stands(FLAT[:8], DetectOptions()).tells_at == 19
    assert stands(FLAT[:200]).words.startswith(
        "cannot tell yet: 200 values in this phase, and the horizon of 500 is not over"
    )


def test_a_plateau_of_a_run_that_has_never_improved_says_that_nothing_is_done() -> None:
    assert (
        "has not surely improved since the run began, so lrwatch does nothing about it"
        in stands(noisy(FLAT, 0.02)).words
    )


def test_a_metric_that_is_not_a_number_now_is_not_judged() -> None:
    assert stands(np.append(noisy(FALLING, 0.02), np.nan)).words == "not judged: its newest value is nan"


def test_a_metric_that_is_not_watched_says_how_to_watch_it() -> None:
    status = stands(noisy(FLAT, 0.02), metric="grad_norm", loss=noisy(FLAT, 0.02, 1))
    assert (status.watched, status.state) == (False, "not_judged")
    assert "--metric NAME" in status.words


def test_a_command_on_the_bound_of_one_look_says_why_that_is_no_plateau() -> None:
    """`surely by less than` beside `cannot tell yet` has its reason."""
    said = 0
    for seed in range(12):
        mean = np.full(16_000, 2.0) + 3 * np.exp(-np.arange(16_000) / 150)
        run = Pipeline(DetectOptions(), PolicyOptions(mode="suggest"))
        values = noisy(mean, 0.4, seed)
        for at in range(0, 16_000, 50):
            for event in run.feed(batch(np.arange(at, at + 50), {"loss": values[at : at + 50]})):
                if not isinstance(event, Command):
                    continue
                (loss,) = run.metrics.statuses()
                assert re.search(r"surely (improves )?by (less|more) than ", event.reason)
                explained = "the bound is that of one look, and over all looks of the run it is" in event.reason
                said += explained
                assert explained or loss.state == "plateau"
    assert said > 0


def test_a_validation_loss_that_overfits_is_rising_until_it_comes_back() -> None:
    at = np.arange(60)
    rng = np.random.default_rng(0)
    train = 3 - np.minimum(at, 40) * 0.05 + 0.005 * rng.standard_normal(60)
    val = np.maximum(3.1 - at * 0.05, 2.6 + (at - 10) * 0.03) + 0.005 * rng.standard_normal(60)
    run = Pipeline(DetectOptions(), PolicyOptions(mode="observe"))
    run.feed(batch(100 * at, {"loss": train, "val_loss": val}))
    (status,) = (status for status in run.metrics.statuses() if status.name == "val_loss")
    assert status.state == "rising"
    assert "got worse by" in status.words or "per " in status.words
    again = Pipeline(DetectOptions(), PolicyOptions(mode="observe"))
    again.restore(json.loads(json.dumps(run.state())))
    assert again.metrics.statuses() == run.metrics.statuses()
