"""The state in a checkpoint: which one is taken, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest

from lrwatch.client.interlock import Limits, ScaleState
from lrwatch.client.ramp import Ramp
from lrwatch.client.saved import SavedState, check_total_steps, read_saved
from lrwatch.protocol import MAX_INT

LIMITS = Limits()
SAVED = SavedState(
    7, 3, ScaleState(0.5, 2, 1, 6, ramp=Ramp(1.0, 0.25, 6, 4), warm_until=9), total_steps=100, given_total_steps=90
).as_plain()


def test_a_state_comes_back_as_it_was() -> None:
    assert read_saved(SAVED, LIMITS).as_plain() == SAVED


@pytest.mark.parametrize("scale", [LIMITS.min_scale, LIMITS.max_scale])
def test_a_run_at_a_bound_of_its_scale_can_be_resumed(scale: float) -> None:
    ramp = {**SAVED["ramp"], "to_scale": scale, "first_step": 1}
    state = read_saved({**SAVED, "scale": scale, "ramp": ramp}, LIMITS).scale_state
    assert state.ramp is not None
    assert (state.scale, state.ramp.to_scale) == (scale, scale)


def test_a_count_may_be_as_large_as_a_message_can_hold() -> None:
    counts = (
        "step",
        "max_token",
        "generation",
        "commands",
        "last_step",
        "warm_until",
        "total_steps",
        "given_total_steps",
    )
    ramp = {**SAVED["ramp"], "first_step": MAX_INT, "steps": MAX_INT}
    largest = {**SAVED, **dict.fromkeys(counts, MAX_INT), "ramp": ramp}
    assert read_saved(largest, LIMITS).as_plain() == largest
    for name in counts:
        with pytest.raises(ValueError, match=str(MAX_INT + 1)):
            read_saved({**largest, name: MAX_INT + 1}, LIMITS)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"version": 2}, ["version 2", "knows 1"]),
        ({"scale": 7.0}, ["scale 7.0", "0.001 to 1.0"]),
        ({"step": -1}, ["count", "-1"]),
        ({"ramp": {**SAVED["ramp"], "to_scale": 7.0}}, ["scale 7.0", "0.001 to 1.0"]),
        ({"ramp": {**SAVED["ramp"], "from_scale": 0.0}}, ["ramp", "0.0"]),
        ({"ramp": {**SAVED["ramp"], "steps": 2.5}}, ["ramp", "2.5"]),
        ({"ramp": {**SAVED["ramp"], "steps": 0}}, ["ramp", "0"]),
        ({"ramp": {**SAVED["ramp"], "first_step": 0}}, ["ramp", "0"]),
    ],
)
def test_a_state_that_cannot_be_used_says_what_was_found(damage: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        read_saved({**SAVED, **damage}, LIMITS)
    assert [words for words in said if words not in str(refused.value)] == []


@pytest.mark.parametrize("length", [1, MAX_INT])
def test_a_run_may_have_one_step_or_as_many_as_a_message_can_hold(length: int) -> None:
    assert check_total_steps(length) == length
    with pytest.raises(ValueError, match="total_steps"):
        check_total_steps(length - 1 if length == 1 else length + 1)
