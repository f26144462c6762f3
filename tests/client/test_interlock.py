"""The last word on what may change the learning rate."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrwatch.client.interlock import Limits, ScaleState, forbidden, misaddressed
from lrwatch.protocol import Desired, encode


def command(scale: float, **changes: Any) -> Desired:
    values: dict[str, Any] = {"run": "a", "incarnation": "i", "generation": 5, "token": 2, "scale": scale}
    return Desired(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, None),
        ({"run": "b"}, "wrong_run"),
        ({"incarnation": "j"}, "wrong_incarnation"),
        ({"token": 1}, "stale_token"),
        ({"token": 3}, None),
        ({"generation": 4}, "stale_generation"),
    ],
)
def test_a_command_must_be_meant_for_this_start_and_be_newer_than_the_last(
    changes: dict[str, Any], code: str | None
) -> None:
    assert misaddressed(command(0.5, **changes), run="a", incarnation="i", generation=4, max_token=2) == code


def test_a_trainer_without_a_name_listens_to_any() -> None:
    assert misaddressed(command(0.5, run="b"), run="", incarnation="i", generation=4, max_token=2) is None


@pytest.mark.parametrize(
    ("scale", "changes", "scale_state", "code"),
    [
        (0.1, {}, ScaleState(), None),
        (0.0999, {}, ScaleState(), "factor_too_large"),
        (0.03, {}, ScaleState(0.3), None),
        (0.8, {}, ScaleState(0.4), None),
        (0.81, {}, ScaleState(0.4), "factor_too_large"),
        (1e-3, {}, ScaleState(5e-3), None),
        (9.9e-4, {}, ScaleState(5e-3), "out_of_bounds"),
        (0.01, {"ramp_steps": 1}, ScaleState(), "factor_too_large"),
        (0.01, {"ramp_steps": 10}, ScaleState(), "factor_too_large"),  # the last step is from 0.109 to 0.01
        (0.01, {"ramp_steps": 11}, ScaleState(), None),  # from 0.1 to 0.01
        (0.005, {"ramp_steps": 500}, ScaleState(), None),
        (5e-4, {"ramp_steps": 500}, ScaleState(), "out_of_bounds"),
        (1.0, {"ramp_steps": 10}, ScaleState(0.05), "factor_too_large"),  # the first step is from 0.05 to 0.145
        (1.0, {"ramp_steps": 20}, ScaleState(0.05), None),
        (1.01, {}, ScaleState(), "out_of_bounds"),
        (0.5, {"not_after_step": 100}, ScaleState(), None),
        (0.5, {"not_after_step": 99}, ScaleState(), "expired"),
        (0.5, {"groups": {"0": 1.0}}, ScaleState(), "unsupported"),
        (0.5, {"groups": {}}, ScaleState(), None),
        (0.5, {}, ScaleState(commands=2), None),
        (0.5, {}, ScaleState(commands=3), "budget"),
        (0.5, {}, ScaleState(last_step=80), None),
        (0.5, {}, ScaleState(last_step=81), "too_soon"),
        (0.5, {}, ScaleState(last_step=100), "too_soon"),
        (0.5, {}, ScaleState(last_step=101), None),  # a resume went back to before the last change
        (0.5, {}, ScaleState(0.5, commands=3, last_step=99), None),
    ],
)
def test_a_change_must_be_within_the_limits(
    scale: float, changes: dict[str, Any], scale_state: ScaleState, code: str | None
) -> None:
    limits = Limits(max_commands=3, min_steps_between=20, warmup_steps=99)
    assert forbidden(command(scale, **changes), step=100, scale_state=scale_state, limits=limits) == code


def test_the_scale_is_locked_during_the_warmup() -> None:
    limits = Limits(warmup_steps=100)
    assert forbidden(command(0.5), step=100, scale_state=ScaleState(), limits=limits) == "warmup"
    assert forbidden(command(1.0), step=100, scale_state=ScaleState(), limits=limits) is None
    assert forbidden(command(0.5), step=101, scale_state=ScaleState(), limits=limits) is None


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"min_scale": 0}, ValueError),
        ({"min_scale": 2}, ValueError),
        ({"max_scale": 0.5}, ValueError),
        ({"max_scale": math.inf}, ValueError),
        ({"max_factor_down": 0}, ValueError),
        ({"max_factor_down": 1.5}, ValueError),
        ({"max_factor_up": 0.5}, ValueError),
        ({"max_factor_up": math.nan}, ValueError),
        ({"max_commands": -1}, ValueError),
        ({"max_commands": 1.5}, TypeError),
        ({"warmup_steps": True}, TypeError),
        ({"min_scale": "0.1"}, TypeError),
    ],
)
def test_limits_that_make_no_sense_are_refused_in_words(limits: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(limits))):
        Limits(**limits)


@pytest.mark.parametrize(
    ("name", "found", "kind"), [("max_commands", 1.5, "a whole number"), ("min_scale", "0.1", "a number")]
)
def test_a_limit_of_a_wrong_type_is_told_which_kind_of_number_it_is(name: str, found: object, kind: str) -> None:
    with pytest.raises(TypeError, match=f"{name}.* {kind}.*{found!r}"):
        Limits(**{name: found})  # type: ignore[arg-type]


def test_the_daemon_is_told_the_limits_and_what_is_used_up_of_them(pair: Callable[..., Any]) -> None:
    ends = pair(max_commands=7, min_steps_between=3)
    hello = ends.observed.limits
    assert (hello["max_commands"], hello["commands"], hello["min_steps_between"]) == (7, 0, 3)
    assert "last_change" not in hello
    ends.client.step()
    ends.send(0.5)
    ends.client.step()
    ends.client.step()
    told = ends.observed.limits
    assert (told["commands"], told["last_change"]) == (1, 3)


@pytest.mark.parametrize("scale", [0.5, 0.999, 2.0])
@pytest.mark.parametrize(
    "limits",
    [
        {"min_scale": 1, "max_scale": 1},
        {"max_scale": 2.0, "max_factor_down": 1, "max_factor_up": 1},
        {"max_scale": 2.0, "max_commands": 0},
    ],
    ids=["one scale", "one factor", "no command"],
)
def test_limits_may_leave_no_change_at_all(limits: dict[str, Any], scale: float) -> None:
    asked: dict[str, Any] = {"scale_state": ScaleState(), "limits": Limits(**limits), "step": 1}
    assert forbidden(command(scale), **asked) is not None
    assert forbidden(command(1.0), **asked) is None


numbers = st.floats() | st.integers() | st.sampled_from([0.5, 0.1, 1.0, 1e-3, 5e-324, 1e308, -0.0, 0])
wild = st.dictionaries(
    st.sampled_from(
        ["v", "run", "incarnation", "generation", "token", "scale", "groups", "apply_at_step", "ramp_steps"]
    ),
    numbers | st.none() | st.booleans() | st.text(max_size=5) | st.lists(numbers, max_size=2),
)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(files=st.lists(st.binary(max_size=200) | wild | numbers, max_size=12), ramp=st.integers(0, 4))
def test_whatever_is_on_disk_the_scale_stays_in_bounds_and_moves_in_steps(
    pair: Callable[..., Any], files: list[Any], ramp: int
) -> None:
    scales: list[float] = []
    ends = pair(scales.append, max_commands=5, min_scale=0.01)
    for content in files:
        if isinstance(content, bytes):
            raw = content
        else:
            base = json.loads(encode(ends.command(0.5, ramp_steps=ramp)))
            raw = json.dumps(base | (content if isinstance(content, dict) else {"scale": content})).encode()
        ends.worker.consider(raw)
        for _ in range(ramp + 2):
            before = ends.client.scale
            ends.client.step(loss=1.0)
            assert 0.1 - 1e-9 <= ends.client.scale / before <= 2 + 1e-9
    assert all(0.01 <= scale <= 1.0 for scale in scales)
    assert ends.client.state_dict()["commands"] <= 5
    assert ends.client._box.errors == {}
    assert ends.observed.scale == ends.client.scale
