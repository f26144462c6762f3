"""The range test: on a training whose answer to the rate is known, and a step at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from lrwatch.controller import Controller
from lrwatch.core import command as life
from lrwatch.core.command import Applied, CommandState
from lrwatch.core.events import Command, Finding, Kind, RangeTest
from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies.base import Context, Strategy
from lrwatch.core.strategies.limits import CommandLimits
from lrwatch.core.strategies.range_test import STAIRS, LrRangeTest, Stair, Sweep, advance, result

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


# ---- each part of it, alone ------------------------------------------------------------------------------------------


def under_way(**changes: Any) -> LrRangeTest:
    """A test of twelve stairs of a hundred steps, on its first one."""
    return LrRangeTest(replace(Sweep.plan(0, 1200, CommandLimits(options=OPTIONS)), **changes))


NOW = Context(options=OPTIONS)


def test_every_stair_is_as_long_as_the_others_and_each_command_says_which_it_is() -> None:
    commands, found = walk(lambda *_: 1.0)
    assert [command.step for command in commands] == [*range(0, 1225, 102)], (
        "a hundred, and a step each to ask and to apply"
    )
    assert {command.cause for command in commands} == {"range_test"}
    assert commands[0].reason == "range test, stair 1 of 12: scale 0.1"
    assert commands[11].reason == "range test, stair 12 of 12: scale 8"
    assert commands[-1].reason.startswith("the range test is over: scale ")
    assert found.scales == tuple(command.scale for command in commands[:STAIRS])
    assert found.step > commands[-1].step


def test_the_level_of_a_stair_is_the_mean_of_its_second_half() -> None:
    ages = dict.fromkeys(range(50), 9.0) | {50: 2.51}
    _, found = walk(lambda _, step: ages.get((step - 1) % 102, 2.0) - 0.1 * ((step - 1) // 102))
    assert found.levels == pytest.approx([2.01 - 0.1 * i for i in range(STAIRS)]), "of its last 51 values"
    stair = Stair(0.5).add(1.0).add(2.0).add(6.0)
    assert (stair.scale, stair.values, stair.mean, stair.deviation) == pytest.approx((0.5, 3, 3.0, math.sqrt(7.0)))


def test_a_value_that_is_not_finite_counts_from_the_first_step_of_a_stair() -> None:
    _, found = walk(lambda scale, step: math.nan if step == 1 and scale == 0.1 else 2.0)
    assert (found.scales, found.diverges) == ((), 0.1)


@pytest.mark.parametrize(
    ("best", "noise", "now", "diverges"),
    [
        (10.0, 0.0, 10.3, False),  # by less than SHARE
        (10.0, 0.0, 10.6, True),
        (0.1, 0.0, 0.106, True),
        (10.0, 1.0, 12.5, False),  # by less than DEVIATIONS
        (10.0, 1.0, 13.5, True),
    ],
)
def test_a_stair_is_worse_by_its_scatter_and_by_its_size(best: float, noise: float, now: float, diverges: bool) -> None:
    first = Stair(0.1).add(best - noise).add(best).add(best + noise)
    sweep = under_way(stairs=(first,), now=Stair(0.2).add(now), stair_steps=1.0).sweep
    assert sweep is not None
    command = CommandState(scale=sweep.scales[1], applied_at=10)
    after, _ = advance(sweep, 11, now, CommandLimits(command, OPTIONS))
    assert (after.diverges is not None) is diverges


@pytest.mark.parametrize("kind", ["divergence", "nonfinite"])
def test_a_run_that_leaves_its_course_ends_it(kind: Kind) -> None:
    finding = Finding(kind, "loss", 50, {}, "")
    ended = under_way().found(finding, NOW, watched=True).strategy
    assert isinstance(ended, LrRangeTest)
    assert ended.sweep is not None
    assert (ended.sweep.over, ended.sweep.diverges) == (True, 0.1)


@pytest.mark.parametrize(
    ("test", "kind", "watched"),
    [
        (under_way(), "divergence", False),
        (under_way(), "plateau", True),
        (LrRangeTest(), "divergence", True),
        (under_way(over=True), "nonfinite", True),
    ],
)
def test_no_other_finding_ends_it(test: LrRangeTest, kind: Kind, watched: bool) -> None:
    assert test.found(Finding(kind, "loss", 50, {}, ""), NOW, watched=watched) == (test, None, None, None, None)


def test_a_scale_that_the_trainer_refuses_ends_it_and_the_way_back_need_not_wait() -> None:
    context = Context(CommandState(quiet_until=7.0), OPTIONS)
    test, until = under_way().refused(500.0, context)
    assert test.sweep is not None
    assert (test.sweep.refused, test.sweep.over, until) == (0.1, True, 7.0)
    assert test.refused(600.0, context) == (test, 600.0), "the way back was refused: it waits"
    assert LrRangeTest().refused(500.0, context) == (LrRangeTest(), 500.0)
    sweep = test.sweep
    assert "; 0.1 was refused; scale 1 is restored" in result(sweep, 10).message


def test_another_strategy_waits_for_the_way_back() -> None:
    assert under_way().end() == under_way(over=True)
    assert LrRangeTest().end() == LrRangeTest()


def test_a_limit_keeps_a_stair_back() -> None:
    quiet = Context(CommandState(quiet_until=7.0), OPTIONS)
    assert under_way().tick(6, 1.0, quiet) == (under_way(), None, None, None, None)
    assert under_way().tick(7, 1.0, quiet).output is not None


def test_where_there_is_no_room_the_result_is_empty() -> None:
    found = LrRangeTest().tick(5, 1.0, Context(options=replace(OPTIONS, mode="suggest"))).output
    assert isinstance(found, RangeTest)
    assert (found.step, found.scales, found.levels) == (5, (), ())


def test_the_levels_of_a_metric_that_should_rise_are_its_own() -> None:
    over = under_way(stairs=(Stair(0.1, 1, -4.0), Stair(0.15, 1, -5.0)), over=True)
    found = over.tick(9, 5.0, Context(options=OPTIONS, sign=-1.0)).output
    assert isinstance(found, RangeTest)
    assert found.levels == (4.0, 5.0)


@pytest.mark.parametrize(
    ("options", "base", "needed"),
    [
        (replace(OPTIONS, max_scale=1.0, min_scale=0.6), 1.0, 3),  # two stairs, and one command back
        (replace(OPTIONS, max_factor_up=16.0, max_factor_down=0.5), 0.5, 7),  # three stairs, and four from 8 to 0.5
        (replace(OPTIONS, max_scale=1.0, max_factor_down=0.25), 1.0, 5),  # by 4, which two commands of 2 do
    ],
)
def test_a_test_takes_the_commands_of_its_stairs_and_of_the_longest_way_back(
    options: PolicyOptions, base: float, needed: int
) -> None:
    spent = options.max_commands - needed
    sweep = Sweep.plan(0, 1200, CommandLimits(CommandState(scale=base, count=spent), options))
    assert len(sweep.scales) >= 2
    with pytest.raises(ValueError, match=f"must have {needed} commands, and {needed - 1} are left"):
        Sweep.plan(0, 1200, CommandLimits(CommandState(scale=base, count=spent + 1), options))


def test_the_result_says_what_was_tried_and_where_the_loss_fell() -> None:
    def found(levels: list[float], **changes: Any) -> RangeTest:
        stairs = tuple(Stair(0.1 * 2**i, 1, level) for i, level in enumerate(levels))
        scales = (0.1, 0.2, 0.4, 0.8)
        return result(replace(Sweep(0, 1.0, scales, 1.0), stairs=stairs, **changes), 100)

    fell = found([5.0, 5.5, 5.4, 5.2])
    assert (fell.step, fell.steepest, fell.valley) == (100, 0.8, 0.4)
    assert fell.message == (
        "4 of 4 scales from 0.1 to 0.8 were tried; it fell fastest at 0.8; the valley, in the middle of its longest fall, is at 0.4; "
        "it did not diverge; scale 1 is restored"
    )
    twice = found([5.0, 4.9], diverges=0.4)
    assert (twice.steepest, twice.valley) == (0.2, 0.1)
    assert "; it diverges at 0.4; scale 1" in twice.message
    nothing = found([], diverges=0.1)
    assert (nothing.steepest, nothing.valley) == (None, None)
    assert nothing.message.startswith("0 of 4 scales from 0.1 to 0.8 were tried; the loss fell on none; ")


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
