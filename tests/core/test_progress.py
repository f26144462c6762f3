"""Whether a metric has once surely improved."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrwatch.core.options import DetectOptions
from lrwatch.core.progress import Improved, ProgressCheck
from lrwatch.core.sample import Floats

N = 2000


def known_at(values: Floats, options: DetectOptions | None = None) -> int | None:
    news = ProgressCheck(options or DetectOptions()).feed(list(range(len(values))), values.tolist())
    return news[0][0] if news else None


def wandering(kind: str, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    white = rng.standard_normal(N)
    match kind:
        case "heavy":
            return rng.standard_t(2, N)
        case "spikes":
            return np.asarray(white + (rng.random(N) < 0.01) * 20)
        case "ar9":
            for i in range(1, N):
                white[i] = 0.9 * white[i - 1] + 0.19**0.5 * white[i]
    return white


@pytest.mark.parametrize("kind", ["white", "heavy", "spikes", "ar9"])
@pytest.mark.parametrize("size", [0.01, 0.05, 0.3])
def test_noise_is_no_progress(kind: str, size: float) -> None:
    assert [known_at(1 + size * wandering(kind, seed)) for seed in range(4)] == 4 * [None]


def test_a_first_epoch_of_a_warmup_at_next_to_no_rate_is_no_progress() -> None:
    loss = 6.95 - 0.0003 * np.arange(200)
    for size in (0.0, 0.005, 0.05):
        assert known_at(loss + size * wandering("white", 1)[:200]) is None


@pytest.mark.parametrize("rests", [0, 100, 1000])
def test_a_loss_that_falls_at_first_or_later_has_improved(rests: int) -> None:
    fall = 3 + 7.4 * np.exp(-np.maximum(0, np.arange(rests + N) - rests) / 300)
    at = known_at(fall + 0.1 * np.random.default_rng(0).standard_normal(len(fall)))
    assert at is not None
    assert rests < at < rests + 300


def test_twelve_epochs_tell() -> None:
    values = 0.6 + 1.5 * np.exp(-np.arange(12) / 6) + 0.02 * wandering("white", 0)[:12]
    assert known_at(values) == 11
    assert known_at(-values, DetectOptions(direction="max")) == 11
    assert known_at(-values) is None
    assert known_at(1e306 * values) == 11
    assert known_at(1e-306 * values) == 11


def test_it_may_be_in_the_metrics_own_units_and_cross_zero() -> None:
    values = 1 - np.arange(100) / 50 + 0.01 * wandering("white", 0)[:100]
    assert known_at(values, DetectOptions(relative=False, min_improvement=0.01)) is not None
    assert known_at(values, DetectOptions(relative=False, min_improvement=1.0)) is None
    assert known_at(np.r_[np.zeros(10), -np.ones(50)]) is not None


@given(st.lists(st.integers(1, N - 1), max_size=10), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_how_the_values_are_cut_changes_nothing(cuts: list[int], seed: int) -> None:
    values = 3 - np.arange(N) / N + 0.2 * wandering("white", seed)
    progress, found = ProgressCheck(), []
    for start, end in pairwise(sorted({0, *cuts, N})):
        found += [start + at for at, _ in progress.feed(list(range(start, end)), values[start:end].tolist())]
        fresh = ProgressCheck()
        fresh.restore(json.loads(json.dumps(progress.state())))
        progress = fresh
    assert found == [known_at(values)]


def test_a_log_that_goes_back_to_its_beginning_is_of_another_run() -> None:
    progress = ProgressCheck()
    values = (10 * 0.98 ** np.arange(200)).tolist()
    assert len(progress.feed(list(range(200)), values)) == 1
    assert not progress.rewind(150)
    assert progress.feed(list(range(150, 350)), values) == []
    assert progress.rewind(3)
    ((_, news),) = progress.feed(list(range(3, 203)), values)
    assert isinstance(news, Improved)
    assert news.once
