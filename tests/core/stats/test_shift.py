"""Shifts of the level for the worse, and what is none."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from lrwatch.core.detectors.plateau import PlateauDetector
from lrwatch.core.events import Finding, Phase
from lrwatch.core.options import DetectOptions
from lrwatch.core.sample import Floats
from lrwatch.core.stats.shift import CONFIRM, GROUP, LevelShift
from lrwatch.testing.synthetic.curves import NOISES, sawtooth

N = 4000
AT = 2000


def noise(seed: int = 0, n: int = N) -> Floats:
    return 2.0 + 0.1 * np.random.default_rng(seed).standard_normal(n)


def accepted(values: Floats, sign: float = 1.0) -> list[int]:
    """Indices of the values that confirmed a shift."""
    shift, found, at = LevelShift(sign), [], 0
    plain = values.tolist()
    while at := shift.feed(plain, at, len(plain)):
        found.append(at - 1)
    return found


def later(amount: Any) -> Floats:
    """Zeros, and `amount` from AT on."""
    return np.asarray(np.where(np.arange(N) >= AT, amount, 0.0), np.float64)


@pytest.mark.parametrize("size", [0.5, 1.0, 30.0])
def test_a_level_that_is_worse_at_once_and_stays_is_accepted_a_few_groups_later(size: float) -> None:
    for values, sign in ((noise() + later(size), 1.0), (-noise() - later(size), -1.0)):
        (at,) = accepted(values, sign)
        assert AT + CONFIRM * GROUP <= at < AT + (CONFIRM + 2) * GROUP


@pytest.mark.slow
@pytest.mark.parametrize("kind", NOISES)
def test_noise_of_any_kind_has_none(kind: str) -> None:
    for seed in range(5):
        assert accepted(2 + 0.1 * NOISES[kind](np.random.default_rng(seed), 50_000)) == []


NONE: dict[str, Any] = {
    "an improvement": noise() - later(1.0),
    "a rise": noise() + later(0.002 * (np.arange(N) - AT)),
    "a spike that recovers": noise() + later(5 * np.exp(-(np.arange(N) - AT) / 20)),
    "a cluster of spikes": noise() + later(5.0 * (np.arange(N) < AT + 60)),
    "a clear sawtooth": 2 + 0.3 * sawtooth(np.random.default_rng(0), N) + np.where(np.arange(N) % 250 < 125, 1.0, 0.0),
    "a constant, then another": np.where(np.arange(N) < AT, 1.0, 2.0),
    "a line": np.arange(N, dtype=float),
}


@pytest.mark.parametrize("name", NONE)
def test_what_is_no_shift_is_not_accepted(name: str) -> None:
    assert accepted(NONE[name]) == []


def test_cut_into_pieces_and_restored_it_goes_on_the_same() -> None:
    values = (noise() + later(1.0)).tolist()
    shift, found = LevelShift(), []
    for at in range(0, N, 7):
        if shift.feed(values, at, min(at + 7, N)):
            found.append(at)
        fresh = LevelShift()
        fresh.restore(json.loads(json.dumps(shift.state())))
        shift = fresh
    (expected,) = accepted(np.array(values))
    assert [at // 7 for at in found] == [expected // 7]


def test_a_run_that_improves_on_both_sides_of_a_shift_is_no_plateau() -> None:
    options = DetectOptions(horizon=500, min_improvement=0.02, relative=False)
    falling = 3 - np.arange(N) * 1.5 * 0.02 / 500
    for seed in range(5):
        values = falling + 0.02 * np.random.default_rng(seed).standard_normal(N) + later(0.3)
        outputs = PlateauDetector("loss", options).feed(list(range(N)), values.tolist())
        assert not any(isinstance(output, Finding) for _, output in outputs)
        (shift,) = [output for _, output in outputs if isinstance(output, Phase)]
        assert AT < shift.step < AT + 200
        before, after = map(float, re.findall(r"\d\.\d+", shift.message))
        assert after - before == pytest.approx(0.3, abs=0.05)


def test_a_plateau_behind_a_shift_is_found() -> None:
    options = DetectOptions(horizon=500, min_improvement=0.02, relative=False)
    values = (
        3 - np.minimum(np.arange(N), AT) * 0.06 / 500 + 0.02 * np.random.default_rng(0).standard_normal(N) + later(0.3)
    )
    outputs = PlateauDetector("loss", options).feed(list(range(N)), values.tolist())
    (finding,) = [output for _, output in outputs if isinstance(output, Finding)]
    assert AT + 500 < finding.step < AT + 1200


def test_a_shift_behind_a_spike_is_one_too() -> None:
    (at,) = accepted(noise() + later(0.8) + later(5.0 * (np.arange(N) < AT + 20)))
    assert AT + CONFIRM * GROUP <= at < AT + (CONFIRM + 4) * GROUP
