"""Strategies in a run: independent of how the log is cut, within the limits, changeable during the run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import batch, cut, feed, restarted

from lrwatch.controller import Controller
from lrwatch.core import command as lifecycle
from lrwatch.core.command import Asked, Status, Trial
from lrwatch.core.events import Command, Effect, Event, Finding, Phase
from lrwatch.core.options import DetectOptions, PolicyOptions, RunOptions
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.policy import Policy
from lrwatch.core.sample import Batch

N = 4000
DETECT = DetectOptions(horizon=300, min_improvement=0.02)


def faulty() -> Batch:
    """Two losses, a plateau, values that are not finite, a divergence, and a resume."""
    rng = np.random.default_rng(0)
    steps = np.concatenate([np.arange(3000), np.arange(2500, 3500)])
    loss = 2 + np.maximum(0, 1 - np.arange(N) / 500) + 0.02 * rng.standard_normal(N)
    loss[[700, 3333]] = np.nan
    loss[1600:1750] += 20
    val = np.where(np.arange(N) % 5 == 0, loss + 1, -1.0)
    return batch(steps, {"loss": np.where(np.arange(N) % 10 != 3, loss, -1.0), "val_loss": val}, -1.0)


LOG = faulty()
STRATEGIES: dict[str, dict[str, Any]] = {
    "plateau with a quorum": {"strategy": "plateau", "first_cut": 0.02, "quorum": 2},
    "plateau that answers overfitting": {"strategy": "plateau", "first_cut": 0.02, "overfitting": "cut"},
    "plateau that may raise": {"strategy": "plateau", "first_cut": 0.02, "max_scale": 4.0},
    "step": {"strategy": "step", "every": 700},
    "exponential": {"strategy": "exponential", "every": 700},
    "cosine": {"strategy": "cosine", "length": 3000},
    "wsd": {"strategy": "wsd", "length": 2000},
    "range_test": {"strategy": "range_test", "length": 1000, "max_scale": 4.0},
    "rescue": {"strategy": "rescue"},
    "plateau that tries": {"strategy": "plateau"},
    "anneal": {"strategy": "anneal", "probe": False, "first_cut": 0.0},
    "anneal that tries": {"strategy": "anneal"},
}
# The length of the run, where the strategy needs one.
LENGTHS = {"anneal": 3500, "anneal that tries": 3500}


def settles() -> Batch:
    """A loss that falls and rests, and is lower for some of the trial that rests lead to; a value that is none, and a resume."""
    rng = np.random.default_rng(1)
    steps = np.concatenate([np.arange(3000), np.arange(2900, 3500)])
    loss = 2 + 3 * np.exp(-steps / 80) + 0.02 * rng.standard_normal(len(steps)) - 0.2 * (steps > 1100)
    loss[[700, 2222]] = np.nan
    return batch(steps, {"loss": loss})


def log_of(strategy: str) -> Batch:
    return settles() if strategy in ("plateau that tries", *LENGTHS) else LOG


def started(strategy: str) -> Pipeline:
    """A run that a trainer listens to where the strategy has to try something."""
    options = PolicyOptions(mode="auto", **STRATEGIES[strategy])
    run = Pipeline(DETECT, options, run=RunOptions(LENGTHS.get(strategy, 0)))
    run.attached = log_of(strategy) is not LOG
    return run


def play(strategy: str, cuts: list[int], *, restart: bool = False, late: int = 0) -> list[Event]:
    """Feed the log in pieces to a run whose trainer applied each command at its own step, and says so `late` rows later."""
    log, run = log_of(strategy), started(strategy)
    run.attached = True
    said: list[Event] = []
    row = 0
    for piece in cut(log, [*cuts]):
        said.extend(run.feed(piece))
        row += piece.rows
        while (asked := run.command.wanted) is not None and row >= late:
            step = next(e.step for e in reversed(said) if isinstance(e, Command))
            said.extend(run.acknowledged(step + 1, asked))
        if restart:
            run = restarted(run)
            run.attached = True
    return said


@cache
def whole(strategy: str) -> tuple[list[Event], dict[str, Any]]:
    """What is said of a log that is read at once, and the state at its end."""
    run = started(strategy)
    return feed(run, [log_of(strategy)]), run.state()


@pytest.mark.slow
@given(st.sampled_from(sorted(STRATEGIES)), st.lists(st.integers(1, N - 1), max_size=12), st.booleans())
@settings(max_examples=25, deadline=None)
def test_how_the_log_is_cut_and_where_lrwatch_is_restarted_changes_nothing(
    strategy: str, cuts: list[int], restart: bool
) -> None:
    expected, state = whole(strategy)
    run = started(strategy)
    said: list[Event] = []
    for piece in cut(log_of(strategy), cuts):
        said.extend(run.feed(piece))
        run = restarted(run) if restart else run
    assert said == expected
    assert run.state() == state


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_answer_that_comes_later_changes_nothing(strategy: str) -> None:
    """Answers come after a row each, or after ten: commands, phases and findings are the same."""
    fine = [e for e in play(strategy, list(range(N))) if isinstance(e, (Command, Phase))]
    coarse = [e for e in play(strategy, list(range(0, N, 10)), restart=True) if isinstance(e, (Command, Phase))]
    assert [e for e in fine if isinstance(e, Command)] == [e for e in coarse if isinstance(e, Command)]
    assert len(fine) == len(coarse)
    if log_of(strategy) is not LOG:
        causes = [e.cause for e in fine if isinstance(e, Command)]
        assert ("anneal" if strategy == "anneal" else "probe") in causes


def steady(controller: Controller, until: int, value: Callable[[int], float] = lambda _: 2.0, start: int = 0) -> None:
    for step in range(start, until):
        controller.update(step, value(step))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"strategy": "step", "every": 100, "factor": 0.1}, [(100, 0.1), (200, 0.01), (300, 0.001)]),
        ({"strategy": "step", "every": 100, "factor": 0.01}, [(100, 0.1), (101, 0.01), (200, 0.001)]),
        ({"strategy": "step", "every": 100, "factor": 0.1, "warmup_steps": 150}, [(150, 0.1), (200, 0.01), (300, 0.001)]),
        ({"strategy": "step", "every": 100, "factor": 0.1, "max_commands": 1}, [(100, 0.1)]),
        ({"strategy": "observe"}, []),
    ],
)  # fmt: skip
def test_what_goes_by_steps_comes_at_its_step_and_within_the_limits(
    options: dict[str, Any], expected: list[tuple[int, float]]
) -> None:
    controller = Controller(**options)
    steady(controller, 1000)
    assert [c.step for c in controller.commands] == [step for step, _ in expected]
    assert [c.scale for c in controller.commands] == pytest.approx([scale for _, scale in expected])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["cosine", "wsd", "exponential"])
def test_a_whole_decay_fits_into_the_budget_of_commands(strategy: str) -> None:
    controller = Controller(strategy=strategy, length=2000, every=200)
    steady(controller, 2500)
    assert controller.scale == 0.001
    assert len(controller.commands) <= 20


def test_a_suggestion_that_nobody_answers_makes_room_for_the_next_stair() -> None:
    controller = Controller(mode="suggest", strategy="step", every=100)
    steady(controller, 350)
    assert [(c.step, c.scale) for c in controller.commands] == [(100, 0.5), (200, 0.25), (300, 0.125)]
    assert controller.scale == 1.0


def test_the_strategy_is_changed_while_the_run_goes_on_from_the_scale_that_is_in_use() -> None:
    controller = Controller(strategy="step", every=100)
    steady(controller, 150)
    controller.follow("cosine", length=1000)
    steady(controller, 1200, start=150)
    cosine = [c.scale for c in controller.commands if c.step > 150]
    assert cosine == sorted(cosine, reverse=True)
    assert cosine[0] == pytest.approx(0.5, abs=0.03)
    assert controller.scale == 0.001
    with pytest.raises(ValueError, match="length must be 1 or more for range_test"):
        Controller().follow("range_test")
    with pytest.raises(ValueError, match="strategy must be one of auto, plateau, anneal, observe"):
        controller.follow("patience")
    assert json.loads(json.dumps(controller.state_dict()))


# ---- operators ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("strategy", "is_judged"), [("plateau", True), ("observe", False)])
def test_a_trial_that_is_on_its_way_is_judged_also_where_a_person_chooses_the_strategy_meanwhile(
    strategy: str, is_judged: bool
) -> None:
    policy = Policy(DetectOptions(), PolicyOptions())
    policy.command = lifecycle.step(policy.command, Asked(0.5, trial=Trial(1.0)))
    policy.follow(strategy, 10)
    policy.applied(12, 0.5)
    assert (policy.command.status, policy.command.trial) == (
        (Status.ON_TRIAL, Trial(1.0)) if is_judged else (Status.IDLE, None)
    )
    policy.follow(strategy, 20)  # one that is in use is kept
    assert (policy.command.status, policy.command.trial) == (Status.IDLE, None)


def commanded(run: Pipeline, steps: range) -> list[Command]:
    """Feed these steps one by one, with a trainer that applies at once."""
    said: list[Command] = []
    for step in steps:
        for event in run.feed(batch([step], {"loss": [2.0]})):
            if isinstance(event, Command):
                said.append(event)
                run.acknowledged(step, event.scale)
    return said


def test_a_plan_goes_on_from_what_an_operator_set() -> None:
    run = Pipeline(DETECT, PolicyOptions(mode="auto", strategy="step", every=100, factor=0.5))
    run.attached = True
    commanded(run, range(150))
    run.ask(0.4)
    run.acknowledged(150, 0.4)
    assert [(c.step, c.scale) for c in commanded(run, range(150, 320))] == [(200, 0.2), (300, 0.1)]


def test_behind_the_end_of_a_plan_an_operator_has_the_last_word() -> None:
    run = Pipeline(DETECT, PolicyOptions(mode="auto", strategy="cosine", length=100, max_factor_down=0.01))
    run.attached = True
    commanded(run, range(150))
    assert run.command.scale == 0.001
    run.ask(0.01)
    run.acknowledged(150, 0.01)
    assert commanded(run, range(150, 300)) == []
    assert run.options.strategy == "observe"


def test_the_decay_of_wsd_begins_when_an_operator_says_so_and_only_once() -> None:
    run = Pipeline(DETECT, PolicyOptions(mode="auto", strategy="wsd", decay_share=0.2))
    run.attached = True
    assert commanded(run, range(800)) == []
    run.decay_now()
    assert commanded(run, range(800, 1010))[-1].scale == 0.001
    with pytest.raises(ValueError, match="must not have begun"):
        run.decay_now()
    with pytest.raises(ValueError, match="strategy must be wsd to decay, got 'plateau'"):
        Pipeline(DETECT, PolicyOptions(mode="auto")).decay_now()


# ---- findings -----------------------------------------------------------------------------------------------------


def noise(n: int, seed: int = 0) -> Any:
    return 0.02 * np.random.default_rng(seed).standard_normal(n)


def test_rescue_cuts_a_run_that_diverges_waits_and_goes_back() -> None:
    controller = Controller(strategy="rescue")
    scatter = noise(8000)
    for step in range(8000):
        worse = 20.0 if 3000 <= step < 3200 else 0.0
        controller.update(step, 3 - step / 10_000 + worse + scatter[step])
    assert [c.scale for c in controller.commands] == pytest.approx([0.5, 0.5**0.5, 1.0])
    cut, first, second = controller.commands
    assert 3000 < cut.step < 3200
    assert first.step - 3199 == pytest.approx(0.1 * cut.step, rel=0.02)
    assert second.step - first.step < first.step - cut.step
    assert controller.effects == []


def test_rescue_asks_for_a_checkpoint_where_the_loss_is_no_number() -> None:
    controller = Controller(strategy="rescue")
    steady(controller, 600, lambda step: math.nan if step >= 500 else 2.0)
    (command,) = controller.commands
    assert (command.step, command.scale, command.cause, command.reload) == (500, 0.5, "rescue", True)


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["advise", "cut"])
def test_overfitting_is_answered_as_the_setting_says(setting: str) -> None:
    controller = Controller(overfitting=setting, first_cut=0.0)
    scatter = noise(20_000)
    for step in range(20_000):
        controller.update(step, 3 - step / 10_000 + scatter[step], "loss")
        if step % 50 == 0:
            controller.update(step, 3 - step / 10_000 + max(0, step - 5000) / 4000 + noise(1, step)[0], "val_loss")
    assert any(f.kind == "overfitting" for f in controller.findings)
    cuts = [c for c in controller.commands if c.cause == "overfitting"]
    assert bool(cuts) == (setting == "cut")
    assert all(c.scale == 0.5 for c in cuts[:1])


def straight(scale: float, gone: float, faster: bool) -> float:
    """What one step adds to the way that a straight curve has gone."""
    return gone + (scale if faster else min(scale, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("faster", [True, False])
def test_a_rate_that_may_be_too_low_is_tried_higher_and_kept_only_where_that_is_better(faster: bool) -> None:
    controller = Controller(
        max_scale=1.5, warmup_steps=4000, probe=False
    )  # a line looks flat while a tenth of the run is short
    scatter = 0.2 * noise(12_000)
    gone = 0.0
    for step in range(12_000):
        gone = straight(controller.scale, gone, faster)
        controller.update(step, 10 - gone / 4000 + scatter[step])
    assert controller.commands[0].cause == "too_slow"
    assert controller.commands[0].scale == 1.5
    if faster:
        assert controller.scale == 1.5
        assert controller.effects[0].verdict == "helped"
    else:
        assert (controller.commands[1].cause, controller.commands[1].scale) == ("restore", 1.0)


def test_without_leave_a_rate_that_may_be_too_low_is_only_reported() -> None:
    controller = Controller(warmup_steps=4000, probe=False)
    scatter = 0.2 * noise(12_000)
    for step in range(12_000):
        controller.update(step, 10 - step / 4000 + scatter[step])
    assert "too_slow" in [f.kind for f in controller.findings]
    assert controller.commands == []


# ---- quorum -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("quorum", "val_improves", "cuts"), [(1, True, True), (2, True, False), (2, False, True)])
def test_with_a_quorum_both_losses_must_agree(quorum: int, val_improves: bool, cuts: bool) -> None:
    run = Pipeline(DETECT, PolicyOptions(mode="auto", first_cut=0.02, quorum=quorum))
    fall = np.arange(N) / 500 if val_improves else np.zeros(N)
    learned = np.clip(1 - np.arange(N) / 200, 0, 1)  # a metric that has not once improved is no reason to act
    log = batch(np.arange(N), {"loss": 2 + learned + noise(N), "val_loss": 20 + learned - fall + noise(N, 1)})
    assert any(isinstance(e, Command) for e in feed(run, [log])) is cuts


def test_with_a_quorum_a_loss_of_which_nothing_is_known_does_not_agree() -> None:
    run = Pipeline(DETECT, PolicyOptions(mode="auto", first_cut=0.02, quorum=2))
    assert not any(isinstance(e, Command) for e in feed(run, [batch(np.arange(N), {"loss": 2 + noise(N)})]))


# ---- limits, whatever comes ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_whatever_the_values_are_the_limits_hold(strategy: str) -> None:
    rng = np.random.default_rng(1)
    n = 30_000
    values = 2 + np.sin(np.arange(n) / 50) * np.where(rng.random(n) < 0.5, 1, -1)
    values += 10.0 ** rng.uniform(-5, 3, n) * (rng.random(n) < 0.05)
    values[rng.random(n) < 0.01] = np.nan
    values[::997] = np.inf
    controller = Controller(**STRATEGIES[strategy], total_steps=n if strategy in LENGTHS else 0)
    options = replace(PolicyOptions(mode="auto"), **STRATEGIES[strategy])
    before = 1.0
    for step, value in enumerate(values):
        scale = controller.update(step, value)
        if scale != before:  # a step of a ramp, too, is within the limits of a command
            assert options.min_scale <= scale <= options.max_scale
            assert options.max_factor_down * (1 - 1e-9) <= scale / before <= options.max_factor_up * (1 + 1e-9)
            before = scale
    assert len(controller.commands) <= options.max_commands


@pytest.mark.slow
def test_findings_go_on_whatever_the_strategy_is() -> None:
    kinds = {
        strategy: {
            e.kind
            for e in feed(Pipeline(DETECT, PolicyOptions(mode="auto", **options)), [LOG])
            if isinstance(e, Finding)
        }
        for strategy, options in STRATEGIES.items()
    }
    assert all({"nonfinite", "divergence"} <= found for found in kinds.values())


@pytest.mark.slow
def test_what_a_stair_brought_is_measured_and_neither_learned_from_nor_taken_back() -> None:
    controller = Controller(strategy="step", every=3000, horizon=300, direction="min")
    scatter = noise(8000)
    for step in range(8000):
        controller.update(step, 2 + (0.5 if controller.scale < 1 else 0.0) + scatter[step])
    assert [e.verdict for e in controller.effects if isinstance(e, Effect)][:1] == ["cost progress"]
    assert [c.cause for c in controller.commands] == ["schedule", "schedule"]
