"""The same decisions in-process, and from bytes to a wanted scale."""

from __future__ import annotations

import json
import math
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from lrwatch.controller import Controller, find_plateaus
from lrwatch.core.events import Command
from lrwatch.core.options import DetectOptions, PolicyOptions
from lrwatch.core.pipeline import Pipeline
from lrwatch.formats import detect
from lrwatch.testing import curve
from lrwatch.testing.synthetic.curves import hinge

CURVE = curve(hinge(4000, 1000), "gauss", 0.02, 0, horizon=300, delta=0.02)
OPTIONS: dict[str, Any] = {"horizon": 300, "min_improvement": 0.02, "first_cut": 0.02}


def fed(controller: Controller, start: int = 0, end: int = 4000) -> list[float]:
    return [controller.update(step, CURVE.values[step]) for step in range(start, end)]


def test_a_plateau_brings_the_scale_down() -> None:
    controller = Controller(**OPTIONS)
    scales = fed(controller)
    assert scales[1000] == 1.0
    assert scales.index(0.5) == controller.commands[0].step
    assert controller.findings[0].step > 1000
    assert controller.scale == scales[-1]
    assert len(controller.effects) >= 1


@pytest.mark.parametrize("mode", ["observe", "suggest", "approve"])
def test_in_every_other_mode_the_scale_stays_1(mode: str) -> None:
    controller = Controller(mode=mode, **OPTIONS)
    assert set(fed(controller)) == {1.0}
    assert len(controller.findings) == 1
    assert len(controller.commands) == (0 if mode == "observe" else 1)


@pytest.mark.slow
def test_the_first_metric_decides_and_findings_are_made_on_all_losses() -> None:
    controller = Controller(**OPTIONS, probe=False)
    for step in range(3000):
        controller.update(step, 9 - step / 1000, "loss")
        controller.update(step, 2.0, "val_loss")
    assert [(f.metric, f.kind) for f in controller.findings] == [("val_loss", "plateau"), ("loss", "too_slow")]
    assert controller.scale == 1.0


@pytest.mark.slow
def _curves() -> dict[str, npt.NDArray[np.float64]]:
    rng, at = np.random.default_rng(5), np.arange(800)
    falls = 2 + 8 / np.sqrt(1 + at / 100) + 0.05 * rng.standard_normal(len(at))
    return {
        "falls": falls,
        "has spikes": np.where(at % 331 // 6 == 40, falls + 9, falls),
        "diverges": falls + 0.02 * np.maximum(0, at - 500),
        "jumps": falls + 2.0 * (at > 400),
        "has gaps": np.where(at % 211 == 200, np.nan, falls),
        "rests": 1 + 2 * 0.98**at + 0.01 * rng.standard_normal(len(at)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", _curves())
@pytest.mark.parametrize(("horizon", "rated"), [(200, False), ("10%", False), ("10%", True)])
def test_nothing_comes_later_because_values_wait_for_each_other(name: str, horizon: int | str, rated: bool) -> None:
    values = _curves()[name]
    waits, at_once = (Controller(horizon=horizon, min_improvement=0.01) for _ in range(2))
    for step, value in enumerate(values.tolist()):
        lr = (0.1 if step < 300 else 0.01) if rated and step > 50 else None
        scales = [one.update(step, value, lr=lr) for one in (waits, at_once)]
        at_once.state_dict()  # nothing waits
        assert scales[0] == at_once.scale
        assert waits.findings == at_once.findings
        assert waits.commands == at_once.commands
    assert waits.state_dict() == at_once.state_dict()


def test_restored_from_its_state_it_goes_on_the_same() -> None:
    whole = Controller(**OPTIONS)
    expected = fed(whole)
    for at in (0, 1, 1500, 2500):
        first, second = Controller(**OPTIONS), Controller(**OPTIONS)
        fed(first, 0, at)
        fed(second, 0, 700)  # what it saw before is forgotten
        second.update(700, 1.0, "another metric")
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert fed(second, at) == expected[at:]
        assert second.state_dict() == whole.state_dict()


def test_an_option_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(TypeError, match=r"unknown option 'patience'; known are .*horizon.*min_scale"):
        Controller(patience=10)
    with pytest.raises(ValueError, match="factor"):
        Controller(factor=2)


@pytest.mark.slow
def test_bounds_hold_whatever_the_values_are() -> None:
    rng = np.random.default_rng(0)
    n = 100_000
    values = 2 + np.sin(np.arange(n) / 50) * np.where(rng.random(n) < 0.5, 1, -1)
    values[:1000] += np.linspace(200, 0, 1000)
    values += 10.0 ** rng.uniform(-5, 3, n) * (rng.random(n) < 0.05)
    values[rng.random(n) < 0.01] = np.nan
    for start in rng.integers(0, n, 30):
        values[start : start + 200] = rng.choice([np.nan, np.inf, -np.inf, 1e300])
    controller = Controller(min_scale=0.2, max_commands=7, first_cut=1.0, cooldown=0.0, probe=False)
    scales = {controller.update(step, value) for step, value in enumerate(values.tolist())}
    assert min(scales) >= 0.2
    assert max(scales) <= 1.0
    assert 1 <= len(controller.commands) <= 7
    assert all(math.isfinite(command.scale) for command in controller.commands)


def test_an_array_is_the_stream() -> None:
    whole = find_plateaus(CURVE.values, horizon=300, min_improvement=0.02)
    controller = Controller(mode="observe", **OPTIONS)
    fed(controller)
    assert [(f.step, f.evidence) for f in whole] == [(f.step, f.evidence) for f in controller.findings]
    assert len(whole) == 1


def test_lists_and_series_are_arrays() -> None:
    expected = find_plateaus(CURVE.values, horizon="10%", min_improvement=0.02)
    series = pd.Series(CURVE.values, index=range(7, 4007))
    assert find_plateaus(CURVE.values.tolist(), range(4000), horizon="10%", min_improvement=0.02) == expected
    assert find_plateaus(series, horizon="10%", min_improvement=0.02) == expected != []
    assert find_plateaus([], horizon="10%", min_improvement=0.02) == []


def test_values_that_are_not_finite_are_left_out() -> None:
    holes = CURVE.values.copy()
    holes[::7] = np.nan
    keep = np.isfinite(holes)
    assert find_plateaus(holes, horizon=300, min_improvement=0.02) == find_plateaus(
        holes[keep], np.flatnonzero(keep), horizon=300, min_improvement=0.02
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"values": np.ones((3, 2))}, r"one dimension, got shape \(3, 2\)"),
        ({"values": 1.0}, "one dimension"),
        ({"steps": [0, 1]}, r"steps must have the shape of values, \(3,\), got \(2,\)"),
        ({"steps": [0, 5, 4]}, "steps must not fall, got 4 after 5"),
        ({"steps": [0, 0.5, 1]}, "steps must be whole numbers, got 0.5"),
        ({"steps": [0, math.nan, 1]}, "steps must be whole numbers, got nan"),
        ({"horizon": "x%"}, "horizon"),
        ({"horizon": 0}, "horizon"),
        ({"horizon": "100%"}, "horizon"),
        ({"min_improvement": -1}, "min_improvement"),
        ({"min_improvement": math.nan}, "min_improvement"),
        ({"mode": "minimum"}, 'mode must be "min" or "max"'),
        ({"false_alarms": 0}, "false_alarms"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(arguments: dict[str, Any], complaint: str) -> None:
    good: dict[str, Any] = {"values": [3.0, 2.0, 1.0], "horizon": 10, "min_improvement": 0.1}
    assert find_plateaus(**good) == []
    with pytest.raises(ValueError, match=complaint):
        find_plateaus(**{**good, **arguments})


def test_an_argument_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="patience"):
        find_plateaus([1.0], horizon=10, min_improvement=0.1, patience=3)  # type: ignore[call-arg]


def test_from_bytes_to_the_wanted_scale() -> None:
    rows = [
        b'{"step": %d, "loss": %s, "lr": 0.001}\n' % (10 * i, b"%.4f" % (2 + max(0, 300 - i) / 100))
        for i in range(3000)
    ]
    text = b"starting\n" + b"".join(rows)
    reader = detect(text)
    assert reader is not None
    run = Pipeline(DetectOptions(), PolicyOptions(mode="auto"))
    batch, used = reader.feed(text)
    commands = [event for event in run.feed(batch) if isinstance(event, Command)]
    command = commands[0]
    # Nobody takes it. So it is made again, each time when the one before is void.
    assert all(later.step >= (first.expires_at or 0) for first, later in pairwise(commands))
    assert used == len(text)
    assert 3000 < command.step < 30_000
    assert command.scale == 0.5


def test_a_metric_that_says_that_it_should_rise_is_warned_of_and_never_acted_on() -> None:
    controller = Controller(horizon=300, min_improvement=0.02, first_cut=0.02)
    with pytest.warns(UserWarning, match='val/reward sounds like .* say direction="max"'):
        controller.update(0, 0.0, metric="val/reward")
    for step in range(1, 4000):
        controller.update(step, max(0.0, 1 - step / 500) + 0.01 * math.sin(step), metric="val/reward")
    assert controller.scale == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["plateau", "rescue"])
def test_a_metric_that_rises_from_the_first_value_on_is_warned_of_once_and_never_acted_on(strategy: str) -> None:
    rng = np.random.default_rng(0)
    values = 5 - 4 * np.exp(-np.arange(6000) / 800) + 0.05 * rng.standard_normal(6000)
    controller = Controller(strategy=strategy)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for step, value in enumerate(values.tolist()):
            if step == 3000:
                again = Controller(strategy=strategy)
                again.load_state_dict(json.loads(json.dumps(controller.state_dict())))
                controller = again
            controller.update(step, value)
    assert [str(one.message).partition(",")[0] for one in seen] == ["loss has risen since the run began"]
    assert controller.scale == 1.0


def test_whoever_says_the_direction_is_not_warned(recwarn: pytest.WarningsRecorder) -> None:
    for direction in ("max", "min"):
        controller = Controller(direction=direction)
        for step in range(500):
            controller.update(step, step / 100, metric="accuracy")
    falls = Controller()
    for step in range(500):
        falls.update(step, 5 - step / 100)
    assert [str(one.message) for one in recwarn] == []


# ---- runs of known length ---------------------------------------------------------------------------------------------

TOTAL = 2000
REST = (
    3
    + 3 * np.exp(-np.arange(3 * TOTAL) / 80)
    - 0.1 * np.log(np.arange(1, 3 * TOTAL + 1))
    + 0.02 * np.random.default_rng(0).standard_normal(3 * TOTAL)
)


def resting(controller: Controller, start: int = 0, end: int = TOTAL) -> list[float]:
    """Feed a run that settles. Return the scale after each step, which is that of the next one."""
    return [controller.update(step, REST[step]) for step in range(start, end)]


def test_a_run_of_known_length_is_annealed_along_a_line_to_its_end() -> None:
    controller = Controller(total_steps=TOTAL, probe=False, first_cut=0.0)
    scales = [controller.scale, *resting(controller)]
    (command,) = controller.commands
    assert (command.cause, command.step + command.ramp_steps) == ("anneal", TOTAL)
    ramp = scales[command.step + 1 : TOTAL + 1]
    assert scales[: command.step + 1] == [1.0] * (command.step + 1)
    assert ramp == pytest.approx(np.linspace(1, command.scale, command.ramp_steps + 1)[1:])
    assert controller.scale == scales[-1] == command.scale


def test_a_base_model_is_not_annealed() -> None:
    controller = Controller(total_steps=TOTAL, purpose="base")
    assert set(resting(controller)) == {1.0}
    assert controller.commands == []


def test_a_warm_start_rises_from_a_tenth_before_any_update_to_1() -> None:
    controller = Controller(total_steps=TOTAL, warm_start=0.04)
    assert controller.scale == pytest.approx(0.1)
    scales = [controller.scale]
    for step in range(200):
        assert controller.update(step, REST[step]) == controller.scale
        scales.append(controller.scale)
    assert np.all(np.diff(scales[:81]) > 0)
    assert scales[79] < 1.0
    assert scales[80:] == [1.0] * 121
    assert scales[40] == pytest.approx(0.1**0.5)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"warm_start": 0.04}, "warm_start needs total_steps"),
        (
            {"warm_start": -0.1, "total_steps": 100},
            "warm_start must be a share of the run, 0 or more and below 1, got -0.1",
        ),
        ({"warm_start": 1.0, "total_steps": 100}, "warm_start must be a share of the run"),
        ({"warm_start": math.nan, "total_steps": 100}, "warm_start must be a share of the run"),
        ({"total_steps": -1}, "total_steps must be 0 or more"),
        ({"purpose": "toy"}, "purpose must be one of model, base"),
    ],
)
def test_a_length_or_a_warm_start_that_cannot_be_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Controller(**options)


def test_a_length_that_was_corrected_continues_the_line() -> None:
    controller = Controller(total_steps=TOTAL, probe=False, first_cut=0.0)
    scales = resting(controller, end=TOTAL - 100)
    controller.extend(2 * TOTAL)
    scales += resting(controller, TOTAL - 100, 2 * TOTAL)
    first, second = controller.commands
    assert second.step + second.ramp_steps == 2 * TOTAL
    falls = np.diff(scales[first.step + 1 :])
    assert np.all(falls < 0)
    assert np.all(falls > -1 / first.ramp_steps * 1.01)
    assert controller.scale == second.scale == first.scale
    with pytest.raises(ValueError, match=f"total_steps must lie behind step {2 * TOTAL - 1}, got 100"):
        controller.extend(100)


@pytest.mark.parametrize("at", [40, 1500, TOTAL - 100])
def test_in_the_middle_of_a_ramp_it_is_restored_and_goes_on_the_same(at: int) -> None:
    options: dict[str, Any] = {"total_steps": TOTAL, "warm_start": 0.04, "probe": False, "first_cut": 0.0}
    whole, first, second = Controller(**options), Controller(**options), Controller(**options)
    expected = resting(whole)
    resting(first, end=at)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.scale == first.scale
    assert resting(second, at) == expected[at:]
    assert second.state_dict() == whole.state_dict()


def test_a_corrected_length_is_part_of_the_state() -> None:
    first, second = (Controller(total_steps=TOTAL, probe=False, first_cut=0.0) for _ in range(2))
    resting(first, end=1000)
    first.extend(3 * TOTAL)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert resting(second, 1000, TOTAL) == [1.0] * (TOTAL - 1000)
