"""The range test: on a training whose answer to the rate is known, and a step at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from lrwatch.controller import Controller
from lrwatch.core import command as life
from lrwatch.core.command import Applied, CommandState
from lrwatch.core.events import Command, RangeTest
from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies.base import Context, Strategy
from lrwatch.core.strategies.limits import CommandLimits
from lrwatch.core.strategies.range_test import STAIRS, LrRangeTest, Stair, Sweep, result

OPTIONS = PolicyOptions(mode="auto", strategy="range_test", max_scale=8.0, length=1200, max_commands=20)


def walk(
    loss: Callable[[float, int], float], options: PolicyOptions = OPTIONS, late: int = 0
) -> tuple[list[Command], RangeTest]:
    """A test on a training that answers `loss` (of scale and step) and applies commands `late` steps after they came."""
    strategy: Strategy = LrRangeTest().begin(0, Context(options=options))
    command = CommandState()
    commands: list[Command] = []
    for at in range(10 * options.length):
        if command.wanted is not None and at >= commands[-1].step + late:
            command = life.step(command, Applied(at, command.wanted, 1.0))
        strategy = LrRangeTest.from_state(json.loads(json.dumps(strategy.state())))
        strategy, output, event, *_ = strategy.tick(at, loss(command.scale, at), Context(command, options))
        if isinstance(output, RangeTest):
            assert command.scale == 1.0
            return commands, output
        if output is not None and event is not None:
            commands.append(output)
            command = life.step(command, event)
    raise AssertionError("it does not end")


def falls_best_around(best: float, blows_up: float = math.inf) -> Callable[[float, int], float]:
    """A loss that falls fastest where the scale is `best`, and goes up tenfold from `blows_up` on."""
    level = [10.0]
    rng = np.random.default_rng(0)

    def loss(scale: float, _: int) -> float:
        level[0] -= 0.005 * math.exp(-(math.log(scale / best) ** 2))
        return (level[0] if scale < blows_up else 10 * level[0]) + 0.01 * float(rng.standard_normal())

    return loss


@pytest.mark.slow
@pytest.mark.parametrize("late", [0, 7])
def test_it_finds_the_steepest_scale_output_that_it_did_not_diverge_and_restores(late: int) -> None:
    commands, found = walk(falls_best_around(1.2), late=late)
    scales = [command.scale for command in commands]
    assert scales[:-1] == sorted(scales[:-1])
    assert (scales[0], scales[STAIRS - 1], scales[-1]) == (0.1, 8.0, 1.0)
    assert all(after / before <= 2.0 for before, after in pairwise(scales[:-1]))
    assert found.steepest is not None
    assert abs(math.log(found.steepest / 1.2)) < math.log(scales[1] / scales[0])  # no further than a stair
    assert found.diverges is None
    assert found.scales == tuple(scales[:STAIRS])
    assert "it fell fastest at" in found.message
    assert "did not diverge; scale 1 is restored" in found.message


def test_it_stops_where_the_run_gets_worse_and_the_valley_lies_below() -> None:
    commands, found = walk(falls_best_around(1.0, blows_up=3.0))
    assert found.diverges == next(c.scale for c in commands if c.scale >= 3.0)
    assert max(command.scale for command in commands) == found.diverges
    assert found.valley is not None
    assert found.valley < found.diverges
    assert len(found.levels) == len(found.scales) < STAIRS


def test_a_value_that_is_not_finite_ends_it_at_once() -> None:
    commands, found = walk(lambda scale, step: math.nan if scale > 1 else 5 - step / 1000)
    assert [c.scale > 1 for c in commands] == [False] * (len(commands) - 2) + [True, False]
    assert found.diverges == commands[-2].scale


def test_a_loss_that_falls_nowhere_has_no_steepest_scale() -> None:
    _, found = walk(lambda *_: 1.0)
    assert (found.steepest, found.valley, found.diverges) == (None, None, None)
    assert "the loss fell on none" in found.message


def test_the_way_back_from_far_away_takes_as_many_commands_as_the_limits_ask() -> None:
    options = replace(OPTIONS, max_scale=1.0, max_factor_down=0.1, min_scale=0.01)
    commands, _ = walk(lambda _, step: 1.0 if step < 150 else math.nan, options)
    assert [c.scale for c in commands] == pytest.approx([0.1, 0.1 * 10 ** (1 / 11), 0.2 * 10 ** (1 / 11), 0.4 * 10 ** (1 / 11), 0.8 * 10 ** (1 / 11), 1.0])  # fmt: skip


@pytest.mark.parametrize(
    ("options", "commands", "message"),
    [
        (replace(OPTIONS, max_scale=1.0, min_scale=1.0), 0, "room between the bounds, got 1 to 1"),
        (OPTIONS, 9, r"from 0.1 to 8 must have 12 commands, and 11 are left"),  # 8 up, and 4 back from 0.1 to 1
        (replace(OPTIONS, max_factor_up=1.0), 0, "and 20 are left"),
        (OPTIONS, 30, "and 0 are left"),
    ],
)
def test_without_room_or_commands_it_does_not_begin(options: PolicyOptions, commands: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sweep.plan(0, 1200, CommandLimits(CommandState(count=commands), options))


def test_with_few_commands_the_stairs_are_higher() -> None:
    sweep = Sweep.plan(0, 1200, CommandLimits(CommandState(count=8), OPTIONS))
    assert (len(sweep.scales), sweep.stair_steps) == (8, 150.0)
    assert (sweep.scales[0], sweep.scales[-1]) == (0.1, 8.0)


def test_the_valley_is_in_the_middle_of_the_longest_descent_with_gaps_allowed() -> None:
    levels = [5.0, 4.0, 4.5, 3.0, 2.0, 6.0, 1.0, 9.0]
    stairs = tuple(Stair(scale=float(i), values=1, mean=level) for i, level in enumerate(levels))
    found = result(replace(Sweep(0, 1.0, tuple(range(8)), 1.0), stairs=stairs), 100)
    assert found.valley == 3.0  # of 5, 4, 3, 2, 1 at 0, 1, 3, 4, 6
    assert found.steepest == 6.0


# ---- in a run -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_is_tested_while_it_goes_on_and_the_strategy_before_goes_on_after_it() -> None:
    controller = Controller(max_scale=8.0, max_commands=40, strategy="step", every=10_000)
    loss = falls_best_around(1.0, blows_up=4.0)
    for step in range(500):
        controller.update(step, loss(controller.scale, step))
    controller.follow("range_test", length=600)
    for step in range(500, 15_000):
        controller.update(step, loss(controller.scale, step))
    (found,) = controller.range_tests
    assert found.diverges is not None
    assert 500 < found.step < 1200
    assert [c.cause for c in controller.commands][-2:] == ["range_test", "schedule"]
    assert controller.scale == 0.5


def test_a_metric_that_should_rise_is_tested_upside_down() -> None:
    controller = Controller(max_scale=8.0, strategy="range_test", length=600, direction="max")
    loss = falls_best_around(1.0, blows_up=4.0)
    for step in range(1500):
        controller.update(step, -loss(controller.scale, step))
    (found,) = controller.range_tests
    assert found.diverges is not None
    assert all(level < 0 for level in found.levels)


def test_where_nothing_may_be_commanded_there_is_no_range_test_and_it_output_why() -> None:
    controller = Controller(mode="suggest", strategy="range_test", length=600, max_scale=8.0)
    for step in range(100):
        controller.update(step, 1.0)
    (found,) = controller.range_tests
    assert found.message.startswith("no range test: mode must be auto")
    assert controller.commands == []
    with pytest.raises(ValueError, match="mode must be auto"):
        controller.follow("range_test", length=600)


def test_another_strategy_that_is_asked_for_meanwhile_begins_once_the_scale_is_restored() -> None:
    controller = Controller(max_scale=8.0, strategy="range_test", length=600)
    for step in range(400):
        controller.update(step, 1.0)
    assert controller.scale not in (0.1, 1.0)
    with pytest.raises(ValueError, match="one is under way"):
        controller.follow("range_test", length=600)
    controller.follow("step", every=1000)
    for step in range(400, 1500):
        controller.update(step, 1.0)
    assert len(controller.range_tests) == 1
    assert [c.scale for c in controller.commands][-2:] == [1.0, 0.5]
    assert controller.commands[-1].step == 1399
