"""What the learning rate column says: rest, move or jump."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrwatch.core.lr_changes import MAX_MOVES, Change, Jump, LrChanges, Move, WarmupEnd
from lrwatch.core.sample import Floats

N = 5000
X = np.arange(N) / N
COSINE = (1 + np.cos(np.pi * X)) / 2


def changes(rates: Floats, track: LrChanges | None = None) -> list[Change]:
    return (track or LrChanges()).feed(np.arange(len(rates)), rates)


def jumps(rates: Floats) -> list[tuple[int, float]]:
    return [(change.index, change.ratio) for change in changes(rates) if isinstance(change, Jump)]


def moves(rates: Floats) -> list[int]:
    return [change.step for change in changes(rates) if isinstance(change, Move)]


def test_a_constant_rate_rests() -> None:
    assert changes(np.full(N, 1e-3)) == []
    assert changes(1e-3 * (1 + 1e-8 * np.random.default_rng(0).standard_normal(N))) == []


@pytest.mark.parametrize("factor", [0.1, 0.5, 0.2**0.5, 4.0])
def test_a_step_schedule_jumps_at_each_step(factor: float) -> None:
    rates = np.asarray(0.1 * factor ** (np.arange(N) // 1000), np.float64)
    assert [at for at, _ in jumps(rates)] == [1000, 2000, 3000, 4000]
    assert [ratio for _, ratio in jumps(rates)] == pytest.approx(4 * [factor])
    assert moves(rates) == []


def test_a_single_small_step_after_a_long_rest_is_a_jump_too() -> None:
    assert jumps(np.where(X < 0.5, 1.0, 0.9)) == [(N // 2, 0.9)]
    assert jumps(np.where(X < 0.5, 1.0, 0.97)) == []


def test_a_warmup_moves_and_the_step_after_the_rest_behind_it_jumps() -> None:
    rates = np.minimum(1e-3, 1e-6 * (1 + np.arange(N)))
    assert jumps(rates) == []
    assert min(moves(rates)) < 10
    assert 980 < max(moves(rates)) <= 999
    assert [at for at, _ in jumps(np.where(X < 0.6, rates, rates / 10))] == [3000]


@pytest.mark.parametrize("shape", ["cosine", "line", "exponential"])
@pytest.mark.parametrize("peak", [1.0, 1e-2, 1e-3, 3e-4, 1e-4, 5e-5])
@pytest.mark.parametrize("digits", [6, 17])
def test_a_gradual_schedule_moves_and_never_jumps_even_when_it_is_logged_with_6_decimals(
    shape: str, peak: float, digits: int
) -> None:
    curve = {"cosine": COSINE, "line": 1 - X, "exponential": np.exp(-4 * X)}[shape]
    rates = np.round(peak * curve, digits)
    assert jumps(rates) == []
    assert max(moves(rates)) > 0.8 * N


def test_the_first_row_is_no_change() -> None:
    assert changes(np.array([0.1])) == []
    assert changes(np.empty(0)) == []


@pytest.mark.parametrize("rates", [np.where(X < 0.5, 0.0, 1e-3), np.where(X < 0.5, 1e-3, 0.0)], ids=["from", "to"])
def test_a_rate_of_zero_is_a_move_and_no_jump_by_an_infinite_factor(rates: Floats) -> None:
    (move,) = changes(rates)
    assert isinstance(move, Move)
    assert (move.index, move.step) == (N // 2, N // 2)


@pytest.mark.parametrize("size", [1e308, 5e-324])
def test_rates_of_any_size_are_followed(size: float) -> None:
    assert len(changes(np.where(X < 0.5, size, -size))) == 1
    assert len(changes(np.where(X < 0.5, 1.0, size))) == 1


def test_moves_are_known_from_their_row_on() -> None:
    track = LrChanges()
    found = changes(np.where(np.arange(100) < 10, 1.0, 2.0), track)
    assert [(move.index, move.step) for move in found if isinstance(move, Move)] == [(10, 10)]
    assert not track.moves(11, 1000)
    track.note(found[0])
    assert [track.moves(step, 50) for step in (9, 10, 59, 60)] == [False, True, True, False]
    track.note(Jump(50, 0.5))
    assert not track.moves(59, 50)


def test_the_moves_remembered_are_the_newest_and_a_log_that_goes_back_takes_its_own_away() -> None:
    track = LrChanges()
    for step in range(3 * MAX_MOVES):
        track.note(Move(step, step))
    assert track.moves(2 * MAX_MOVES, 1)
    assert not track.moves(2 * MAX_MOVES - 1, 1e9)
    track.note(Move(0, 2 * MAX_MOVES + 10))
    assert track.moves(10**6, 10**6 - 2 * MAX_MOVES - 9)
    assert not track.moves(10**6, 10**6 - 2 * MAX_MOVES - 10)


MIXED = np.concatenate([
    np.linspace(0, 1, 50), np.ones(200), np.full(200, 0.5), np.round(0.5 * COSINE[::20], 2), np.full(100, 0.7), np.full(100, 0.07),
])  # fmt: skip


def plain(change: Change, start: int = 0) -> tuple[int, object]:
    return start + change.index, change.ratio if isinstance(change, Jump) else change.step


@given(st.lists(st.integers(1, len(MIXED) - 1), max_size=10), st.booleans())
@settings(max_examples=60, deadline=None)
def test_how_the_log_is_cut_changes_nothing(cuts: list[int], restart: bool) -> None:
    steps = np.arange(len(MIXED))
    track = LrChanges()
    said: list[tuple[int, object]] = []
    edges = [0, *sorted(set(cuts)), len(MIXED)]
    for start, end in pairwise(edges):
        said.extend(plain(change, start) for change in track.feed(steps[start:end], MIXED[start:end]))
        if restart:
            state = json.loads(json.dumps(track.state()))
            track = LrChanges()
            track.restore(state)
    assert said == [plain(change) for change in changes(MIXED)]
    assert len(jumps(MIXED)) == 2


def warmup_ends(rates: Floats) -> list[tuple[int, float]]:
    return [(change.index, change.rate) for change in changes(rates) if isinstance(change, WarmupEnd)]


@pytest.mark.parametrize("length", [10, 100, 1000])
def test_a_warmup_ends_where_the_rate_begins_to_fall_or_has_rested(length: int) -> None:
    up = np.minimum(1e-3, 1e-3 * (1 + np.arange(N)) / length)
    ((rested, rate),) = warmup_ends(up)
    assert length <= rested <= length + 20
    assert rate == 1e-3
    ((falls, peak),) = warmup_ends(np.where(np.arange(N) < length, up, 1e-3 * COSINE))
    assert falls == length
    assert peak == 1e-3


def test_a_warmup_on_stairs_ends_after_its_last_stair() -> None:
    stairs = np.minimum(10, 1 + np.arange(N) // 50) * 1e-4
    ((at, _),) = warmup_ends(stairs)
    assert 500 <= at <= 650


@pytest.mark.parametrize("name", ["constant", "cosine", "one step up", "step schedule", "restarts"])
def test_what_did_not_begin_with_a_warmup_has_no_end_of_one(name: str) -> None:
    rates = {
        "constant": np.full(N, 1.0),
        "cosine": COSINE + 0.01,
        "one step up": np.where(X < 0.1, 0.5, 1.0),
        "step schedule": 0.1 ** (np.arange(N) // 1000),
        "restarts": (1 + np.cos(np.pi * (4 * X % 1))) / 2 + 0.01,
    }[name]
    assert warmup_ends(np.asarray(rates, np.float64)) == []


@given(st.lists(st.integers(1, N - 1), max_size=20))
@settings(max_examples=20, deadline=None)
def test_the_end_of_a_warmup_is_where_it_is_however_the_log_is_cut(cuts: list[int]) -> None:
    rates = np.minimum(1e-3, 1e-6 * (1 + np.arange(N)))
    track, found = LrChanges(), []
    for start, end in pairwise(sorted({0, *cuts, N})):
        fresh = LrChanges()
        fresh.restore(json.loads(json.dumps(track.state())))
        track = fresh
        found += [
            start + c.index for c in track.feed(np.arange(start, end), rates[start:end]) if isinstance(c, WarmupEnd)
        ]
    assert found == [at for at, _ in warmup_ends(rates)]


def followed(rates: Floats, gap: int = 1) -> LrChanges:
    """Return the changes of a column whose rows are `gap` steps apart, all of them noted."""
    track = LrChanges()
    for change in track.feed(gap * np.arange(len(rates)), rates):
        track.note(change)
    return track


@pytest.mark.parametrize("rows", [1, 10, 200], ids=["a row", "ten rows", "an epoch"])
@pytest.mark.parametrize("by", [0.9999, 0.999, 0.97, 0.9], ids=str)
def test_a_rate_that_differs_on_most_rows_or_stairs_moves_however_slowly(rows: int, by: float) -> None:
    rates = 0.1 * by ** (np.arange(N) // rows)
    track = LrChanges()
    found = track.feed(50 * np.arange(N), np.asarray(rates))
    for change, following in pairwise([*found, None]):
        assert change is not None
        track.note(change)
        last = N if following is None else following.index
        assert change.index < 2 * rows or track.moves(50 * (last - 1), 50 * 10)
    assert not track.rises(50 * N)


def test_a_schedule_that_stops_moving_rests_after_three_stairs() -> None:
    rates = 0.1 * 0.99 ** np.minimum(np.arange(N) // 100, 10)
    track = followed(np.asarray(rates))
    assert track.moves(1250, 50)
    assert not track.moves(1400, 50)


EPOCHS = np.arange(N) // 200


@pytest.mark.parametrize("start", [1e-6, 1e-5, 1e-4, 3e-4])
@pytest.mark.parametrize("epochs", [3, 5, 10])
def test_a_warmup_in_stairs_of_an_epoch_rises_until_it_has_rested(start: float, epochs: int) -> None:
    rates = start + (1e-3 - start) * np.minimum(EPOCHS / epochs, 1.0)
    track = LrChanges()
    found = track.feed(50 * np.arange(N), rates)
    ends = [change for change in found if isinstance(change, WarmupEnd)]
    known = [track.rises(50 * 199)]
    for change in found:
        if ends and change is ends[0]:
            break
        track.note(change)
        known.append(all(track.rises(50 * row) for row in (change.index, change.index + 199)))
    assert known[0] is False
    assert known[1:]
    assert all(known[1:])
    assert not track.rises(50 * 200 * (epochs + 4))
    if start < 1e-3 / 5 / epochs:  # it came from far below: no stair of it is a jump
        assert [change for change in found if isinstance(change, Jump)] == []
        assert len(ends) == 1


def test_what_rises_after_it_fell_is_no_warmup_and_one_in_the_next_run_of_the_log_is() -> None:
    rises = np.where(EPOCHS < 5, 1e-3, np.where(EPOCHS < 6, 1e-4, 1e-3))
    assert not followed(rises).rises(6 * 200 + 1)
    warmup = np.asarray(1e-6 + 1e-4 * np.minimum(EPOCHS, 10))
    track = LrChanges()
    steps = np.arange(2 * N) % N
    for change in track.feed(steps, np.concatenate([warmup, warmup])):
        track.note(change)
        if change.index > N + 1000:
            break
    assert track.rises(1100)


def test_a_rise_that_a_command_made_is_no_warmup() -> None:
    track = followed(np.where(EPOCHS < 5, 1e-3, 2e-3))
    assert track.rises(1001)
    track.was_ours()
    assert not track.rises(1001)
    assert not track.moves(1001, 100)
