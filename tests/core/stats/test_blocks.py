"""Block means in bounded memory, and the clipping of spikes before them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrwatch.core.sample import Floats
from lrwatch.core.stats.blocks import CAPACITY, RING, Blocks, Winsor


def clipped(values: Floats, winsor: Winsor | None = None) -> Floats:
    winsor = winsor or Winsor()
    return np.concatenate([winsor.clip(values[i : i + 8].tolist()) for i in range(0, len(values), 8)])


def whole_mean(blocks: Blocks) -> float:
    """The mean of everything that was put in, recomputed from the state."""
    state = blocks.state()
    count = state["width"] * len(state["means"]) + state["filled"]
    return float((sum(state["means"]) * state["width"] + state["sum"] * state["width"]) / count)


def test_blocks_of_width_1_are_the_values() -> None:
    blocks = Blocks()
    blocks.extend(np.array([3.0, 1.0, 2.0]))
    assert (len(blocks), blocks.width, blocks.last(2).tolist()) == (3, 1, [1.0, 2.0])


@pytest.mark.parametrize("n", [2, 3, 7, 100, 101])
def test_a_merge_halves_the_blocks_and_keeps_the_mean(n: int) -> None:
    values = np.random.default_rng(0).standard_normal(n)
    blocks = Blocks()
    blocks.extend(values)
    blocks.merge()
    assert (len(blocks), blocks.width) == (n // 2, 2)
    assert whole_mean(blocks) == pytest.approx(values.mean())
    assert blocks.last(n // 2) == pytest.approx(values[: n // 2 * 2].reshape(-1, 2).mean(axis=1))


@given(st.lists(st.integers(1, 400), min_size=1, max_size=20), st.sets(st.integers(0, 19)))
@settings(max_examples=50, deadline=None)
def test_however_values_and_merges_alternate_the_mean_stays(sizes: list[int], merges: set[int]) -> None:
    rng = np.random.default_rng(0)
    blocks = Blocks()
    values = []
    for i, size in enumerate(sizes):
        values.append(rng.standard_normal(size))
        blocks.extend(values[-1])
        if i in merges:
            blocks.merge()
    everything = np.concatenate(values)
    assert whole_mean(blocks) == pytest.approx(everything.mean())
    complete = len(blocks) * blocks.width
    assert blocks.last(len(blocks)) == pytest.approx(everything[:complete].reshape(-1, blocks.width).mean(axis=1))


def test_never_more_than_the_capacity_and_never_less_than_half_of_it() -> None:
    blocks = Blocks()
    values = np.random.default_rng(0).standard_normal(20 * CAPACITY)
    for i in range(0, len(values), 64):
        blocks.extend(values[i : i + 64])
        assert len(blocks) <= CAPACITY
        assert len(blocks) >= min(CAPACITY // 2, i + 64)
    assert blocks.width == 32
    assert whole_mean(blocks) == pytest.approx(values.mean())


def test_what_is_forgotten_is_the_oldest() -> None:
    blocks = Blocks()
    blocks.extend(np.arange(10.0))
    blocks.forget(3)
    assert blocks.last(len(blocks)).tolist() == [7.0, 8.0, 9.0]
    blocks.forget(5)
    assert len(blocks) == 3


def test_blocks_restored_from_their_state_go_on_the_same() -> None:
    rng = np.random.default_rng(0)
    one = Blocks()
    one.extend(rng.standard_normal(CAPACITY + 101))
    two = Blocks()
    two.restore(json.loads(json.dumps(one.state())))
    more = rng.standard_normal(2 * CAPACITY)
    one.extend(more)
    two.extend(more)
    assert one.state() == two.state()


def test_the_largest_floats_do_not_overflow() -> None:
    largest = np.finfo(float).max
    blocks = Blocks()
    blocks.extend(np.full(100, largest))
    blocks.merge()
    blocks.extend(np.full(101, largest))
    blocks.merge()
    assert blocks.last(len(blocks)).tolist() == [largest] * 50


def test_a_spike_is_pulled_back_and_what_is_no_spike_left_alone() -> None:
    rng = np.random.default_rng(0)
    values = 3 + 0.1 * rng.standard_normal(200)
    spiked = values.copy()
    spiked[[100, 150]] = 50.0, -50.0
    found = clipped(spiked)
    ordinary = np.delete(np.arange(200), [100, 150])
    assert found[ordinary] == pytest.approx(values[ordinary], abs=0.05)  # 3 of 1,000 lie beyond three deviations
    assert 3.2 < found[100] < 3.5
    assert 2.5 < found[150] < 2.8


@pytest.mark.parametrize("step", [-2.0, 5.0])
def test_a_shift_of_level_passes_after_a_few_dozen_values(step: float) -> None:
    values = 3 + 0.1 * np.random.default_rng(0).standard_normal(300)
    values[100:] += step
    found = clipped(values)
    assert not np.array_equal(found[100:], values[100:])
    assert found[100 + RING :] == pytest.approx(values[100 + RING :], abs=0.05)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e300])
def test_a_constant_is_left_alone_and_so_is_what_comes_after_it(value: float) -> None:
    values = np.full(100, value)
    values[90] = 7.0
    assert np.array_equal(clipped(values), values)


def test_the_first_values_are_not_judged() -> None:
    assert clipped(np.array([1.0, 2.0, 1e9, 1.0])).tolist() == [1.0, 2.0, 1e9, 1.0]


def test_a_winsor_restored_from_its_state_clips_the_same() -> None:
    rng = np.random.default_rng(0)
    one = Winsor()
    clipped(rng.standard_normal(80), one)
    two = Winsor()
    two.restore(json.loads(json.dumps(one.state())))
    more = rng.standard_normal(80) * 20
    assert np.array_equal(clipped(more, one), clipped(more, two))
