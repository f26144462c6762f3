"""Ramps, step by step and across a resume, and the length of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from support.optimizer_doubles import build

from lrwatch.client.ramp import Ramp


def test_a_ramp_moves_the_scale_evenly_and_is_answered_at_its_first_step(pair: Callable[..., Any]) -> None:
    scales: list[float] = []
    ends = pair(scales.append)
    ends.send(0.5, ramp_steps=4, apply_at_step=3)
    reached = []
    for _ in range(7):
        ends.client.step()
        said = ends.observed
        reached.append((ends.client.scale, said.scale, said.target_scale, said.status))
    assert [scale for scale, *_ in reached] == [1.0, 0.875, 0.75, 0.625, 0.5, 0.5, 0.5]
    assert [scale for _, scale, *_ in reached] == [1.0, 0.875, 0.75, 0.625, 0.5, 0.5, 0.5]
    assert [target for *_, target, _ in reached] == [None, 0.5, 0.5, 0.5, None, None, None]
    assert scales == [0.875, 0.75, 0.625, 0.5]
    assert [status for *_, status in reached] == ["pending"] * 2 + ["applied"] * 5
    assert ends.observed.applied_step == 3
    assert ends.client.state_dict()["commands"] == 1


@pytest.mark.parametrize(("before", "wanted"), [(0.05, 0.21), (0.03, 0.01), (0.3, 0.1), (0.1, 0.7)])
def test_the_last_step_of_a_ramp_has_the_wanted_scale_to_the_last_bit(before: float, wanted: float) -> None:
    for steps in (1, 2, 3, 1000):
        ramp = Ramp(before, wanted, first_step=5, steps=steps)
        assert [ramp.at(4 + steps), ramp.at(5 + steps)] == [wanted, wanted]


def test_each_report_within_a_ramp_has_the_scale_and_the_rates_of_one_step(pair: Callable[..., Any]) -> None:
    optimizer = build(0.8, 0.4)
    ends = pair(optimizer)
    optimizer.step()
    ends.client.step()
    ends.send(0.5, ramp_steps=4)
    said = []
    for _ in range(6):
        ends.client.step()
        optimizer.step()
        said.append(ends.observed)
    assert [observed.scale for observed in said] == [0.875, 0.75, 0.625, 0.5, 0.5, 0.5]
    assert all(observed.effective_lr["1"] == observed.scale * 0.4 for observed in said)
    ends.client.step()
    ends.send(0.25, ramp_steps=4)
    for _ in range(3):
        optimizer.step()
        ends.client.step()  # the scale of the next step is in force now; the report is of the last one
        assert ends.observed.effective_lr["0"] == ends.observed.scale * 0.8


def test_a_ramp_goes_on_after_a_resume_in_its_middle(pair: Callable[..., Any]) -> None:
    straight = pair()
    straight.send(0.01, ramp_steps=16)
    scales = []
    for _ in range(5):
        straight.client.step()
        scales.append(straight.client.scale)
    state = json.loads(json.dumps(straight.client.state_dict()))
    resumed = pair()
    resumed.client.load_state_dict(state)
    hello = resumed.observed
    assert (hello.status, hello.scale, hello.target_scale) == ("hello", scales[-1], 0.01)
    for ends in (straight, resumed):
        for _ in range(13):
            ends.client.step()
        assert (ends.client.scale, ends.observed.target_scale) == (0.01, None)
    assert straight.client.state_dict() == resumed.client.state_dict()
    assert resumed.client.state_dict()["commands"] == 1


def test_a_newer_command_goes_on_from_the_scale_that_a_ramp_has_reached(pair: Callable[..., Any]) -> None:
    ends = pair()
    ends.send(0.5, ramp_steps=4)
    for _ in range(3):
        ends.client.step()
    ends.send(0.025, ramp_steps=2, apply_at_step=5)  # until its step has come the first ramp goes on
    assert ends.observed.code == "factor_too_large"
    ends.send(0.25, ramp_steps=2, apply_at_step=6)
    reached = []
    for _ in range(5):
        reached.append(ends.client.scale)
        ends.client.step()
    assert reached == [0.625, 0.5, 0.375, 0.25, 0.25]
    ends.send(0.125, ramp_steps=4)
    ends.client.step()
    ends.send(ends.client.scale)
    ends.client.step()
    ends.client.step()
    assert ends.client.scale == 0.21875, "the scale that is in force ends the ramp there"
    assert ends.observed.target_scale is None


def test_step_numbers_that_leap_over_a_ramp_never_change_the_scale_by_more_than_the_bound(
    pair: Callable[..., Any],
) -> None:
    ends = pair(min_scale=1e-3)
    ends.send(0.002, ramp_steps=1000)  # the last step is by a factor of 0.67
    reached = [1.0]
    for step in (2048, 4096, 6144, 8192):
        ends.client.step(step)
        reached.append(ends.client.scale)
    assert reached == pytest.approx([1.0, 1.0 + (0.002 - 1.0) / 1000, 0.0999002, 0.00999002, 0.002])


def test_a_callable_that_raises_within_a_ramp_is_asked_again(pair: Callable[..., Any]) -> None:
    asked: list[float] = []

    def sometimes(scale: float) -> None:
        asked.append(scale)
        if len(asked) == 2:
            raise OSError(scale)

    ends = pair(sometimes)
    ends.send(0.5, ramp_steps=4)
    for _ in range(5):
        ends.client.step()
    assert asked == [0.875, 0.75, 0.625, 0.5]
    assert ends.client.scale == 0.5
    assert ends.client.errors == {"apply": 1}
    assert ends.observed.status == "applied"


def test_the_length_of_the_run_is_told_corrected_and_kept_by_a_resume(
    pair: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    ends = pair(total_steps=1000)
    assert ends.observed.total_steps == 1000
    ends.client.extend(2000)
    assert ends.observed.total_steps == 2000
    for wrong in (0, -1, 1.5, True, "3000"):
        ends.client.extend(wrong)
    assert ends.client.errors == {"total_steps": 5}
    assert "the length stays 2000" in caplog.text
    state = json.loads(json.dumps(ends.client.state_dict()))
    for given, length in ((1000, 2000), (None, 2000), (5000, 5000)):
        resumed = pair(total_steps=given)
        resumed.client.load_state_dict(state)
        assert resumed.observed.total_steps == length, given
    old = {key: value for key, value in state.items() if key not in ("total_steps", "given_total_steps", "ramp")}
    resumed = pair(total_steps=700)
    resumed.client.load_state_dict(old)
    assert (resumed.observed.total_steps, resumed.client.errors) == (700, {})
    ends.client.extend(None)
    assert ends.observed.total_steps is None
