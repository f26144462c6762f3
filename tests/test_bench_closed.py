"""The benchmark in closed loop, with the real trainings and controllers at a tiny size."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from support import forked

from bench.closed import adalrs, controllers, data, picture, run, tables
from bench.closed.averaged import HALF_LIFE, Averaged
from bench.closed.cells import cells
from bench.closed.data import Batch
from bench.closed.play import Outcome, Plan, Update, play
from bench.closed.trainings import REAL
from lrwatch.client.average import Average
from lrwatch.core.sample import Floats
from lrwatch.testing.closed_loop.play import cosine

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small matrices shared among busy cores take a hundred times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


ROOT = Path(__file__).parents[1]


class Counted:
    """Runs whose loss is the sum of the rates so far; counts how many are trained."""

    def __init__(self) -> None:
        self._sums = np.zeros(1)
        self.trained: list[int] = []

    def step(self, rates: Floats) -> Floats:
        self._sums = self._sums + rates
        self.trained.append(len(rates))
        return self._sums

    def take(self, rows: list[int]) -> None:
        self._sums = self._sums[rows]

    def saved(self, row: int) -> float:
        return float(self._sums[row])

    def restore(self, row: int, saved: float) -> None:
        self._sums[row] = saved

    def final(self) -> Floats:
        return self._sums


class Once:
    """Saves the state after the first step, and goes back to it after the fourth."""

    wants: Literal["", "save", "restore"] = ""

    def __call__(self, step: int, _loss: float) -> float:
        self.wants = "save" if step == 0 else "restore" if step == 3 else ""
        return 1.0


def _halved_at(*steps: int) -> Callable[[], Update]:
    return lambda: lambda step, _loss: 0.5 ** sum(step + 1 >= at for at in steps)


def test_who_asks_for_the_same_shares_a_run_until_they_do_not() -> None:
    plans = [
        Plan("a", "", 1.0, (4, 10), _halved_at()),
        Plan("b", "", 1.0, (10,), _halved_at(6)),
        Plan("c", "", 1.0, (10,), _halved_at(6, 8)),
        Plan("d", "", 1.0, (4,), _halved_at(2)),
    ]
    runs = Counted()
    outcomes = play(plans, runs)
    assert runs.trained == [1, 1, 2, 2, 1, 1, 2, 2, 3, 3]
    assert [outcome.losses for outcome in outcomes] == [{4: 4.0, 10: 10.0}, {10: 8.0}, {10: 7.5}, {4: 3.0}]
    assert outcomes[2].changes == [(6, 0.5), (8, 0.25)]


def test_who_goes_back_has_the_state_that_was_saved_and_leaves_a_run_that_was_shared() -> None:
    plans = [Plan("a", "", 1.0, (3, 4, 6), lambda: Once()), Plan("b", "", 1.0, (3, 4, 6), _halved_at())]
    runs = Counted()
    gone_back, alone = play(plans, runs)
    assert alone.losses == {3: 3.0, 4: 4.0, 6: 6.0}
    assert gone_back.losses == {3: 3.0, 4: 4.0, 6: 3.0}
    assert runs.trained == [1, 1, 1, 1, 2, 2]


class Sinking(Counted):
    """Runs whose loss falls by a share that grows with the rate, as long as that is not too high."""

    def step(self, rates: Floats) -> Floats:
        self._sums = np.where(self._sums == 0, 4.0, self._sums) * np.where(rates < 1.5, 1 - 4e-4 * rates, 1.02)
        self.trained.append(len(rates))
        return self._sums


def test_adalrs_keeps_a_higher_rate_that_is_faster_and_goes_back_from_one_that_is_worse() -> None:
    plan = Plan("a", "", 0.1, (4000,), lambda: adalrs.AdaLrs(0.1, lambda _share: 1.0, 4000))
    constant = Plan("b", "", 0.1, (4000,), lambda: controllers.scheduled(lambda _share: 1.0, 0.1, 4000))
    searched, kept = play([plan, constant], Sinking())
    window = round(adalrs.WINDOW * 4000)
    begun, rates = zip(*searched.changes[:4], strict=True)
    assert begun[0] == 2 * window  # of the windows in the search, the first one that is slower than the one before
    assert rates == pytest.approx([0.3, 0.9, 2.6, 0.45], rel=0.1)
    assert begun[3] - begun[2] < window  # above all losses before, so the window ends before its time
    assert searched.losses[4000] < 0.7 * kept.losses[4000]


def test_adalrs_searches_in_a_part_of_the_run_and_follows_its_schedule_elsewhere() -> None:
    plans = controllers.searches([0.1], [2000])
    assert [plan.name for plan in plans] == [controllers.ADALRS_COSINE, controllers.ADALRS_WSD40]
    for plan in plans:
        update = plan.make()
        rates = np.array([update(step, 1 + 3 * 0.998**step + 0.3 * math.sin(step * step)) for step in range(2000)])
        shape = cosine if plan.name == controllers.ADALRS_COSINE else partial(controllers.wsd, 0.4)
        multiples = rates / [max(shape((step + 1) / 2000), 1e-12) for step in range(2000)]
        moved = np.flatnonzero(np.abs(np.diff(multiples[:-1])) > 1e-9)
        assert len(moved) > 1
        assert moved[0] / 2000 >= adalrs.FIRST
        assert moved[-1] / 2000 <= adalrs.LAST + adalrs.WINDOW
        assert rates[-1] == pytest.approx(0.0, abs=1e-9)


def test_the_slope_of_a_window_has_the_error_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    found = [adalrs.slope((5 - 0.01 * np.arange(200) + rng.standard_normal(200)).tolist()) for _ in range(400)]
    velocities = [one.velocity for one in found]
    assert np.mean(velocities) == pytest.approx(0.01, abs=0.001)
    assert np.mean([one.error for one in found]) == pytest.approx(np.std(velocities), rel=0.1)


def test_cuts_and_what_is_taken_back_are_counted_as_far_as_a_step_was_done_with_them() -> None:
    outcome = Outcome("a", "", 1.0, {10: 2.0}, [(3, 0.5), (5, 1.0), (7, 0.5), (10, 0.25)])
    assert [(outcome.cuts(steps), outcome.raises(steps)) for steps in (3, 4, 6, 10, 11)] == [
        (0, 0), (1, 0), (1, 1), (2, 1), (3, 1),
    ]  # fmt: skip
    assert Outcome.of(json.loads(json.dumps(outcome.plain()))) == outcome


def test_a_loss_that_blew_up_is_infinite_after_it_was_cached() -> None:
    outcome = Outcome("a", "", 1.0, {10: math.nan})
    assert Outcome.of(json.loads(json.dumps(outcome.plain(), allow_nan=False))).losses == {10: math.inf}


def test_averaged_runs_have_the_average_that_the_client_keeps() -> None:
    real = REAL["perceptron"]
    runs, rates = Averaged(real.runs("SGD", 0)), np.array([0.06])
    alone = real.runs("SGD", 0)
    weight = torch.nn.Parameter(torch.from_numpy(alone.weights[0].copy()))
    optimizer = torch.optim.SGD([weight])
    average = Average([optimizer], HALF_LIFE, Counter())
    for _ in range(60):
        assert runs.step(rates) == alone.step(rates)
        with torch.no_grad():
            weight.copy_(torch.from_numpy(alone.weights[0]))
        optimizer.step()  # without a gradient: the average alone moves
    weights = alone.final()
    (part,) = average.state()["optimizers"]
    alone.weights[0] = part["averages"][0].numpy()
    assert runs.final() == pytest.approx(alone.final(), rel=1e-4)
    assert runs.final() != pytest.approx(weights, rel=1e-4)
    runs.take([0, 0])
    assert len(runs.final()) == 2


def _noisy(step: int) -> float:
    return 2 + math.exp(-step / 100) + 0.01 * math.sin(step * step)


@pytest.mark.parametrize("plan", [*controllers.schedules([0.1], [40, 3000], controllers.STARTED),
                                  *controllers.peers([0.1], [3000], controllers.settings(short=False)),
                                  *controllers.ours([0.1], [3000])], ids=lambda plan: f"{plan.name} {plan.setting}")  # fmt: skip
def test_everybody_answers_with_a_rate_and_turns_it_down_on_a_plateau_or_by_the_clock(plan: Plan) -> None:
    update = plan.make()
    rates = [update(step, 1 + 3 * 0.98**step + 0.01 * math.sin(13.0 * step)) for step in range(max(plan.reads))]
    assert all(0 <= rate <= 1 for rate in rates)
    patient = "patience 25 means of 100" in plan.setting or (plan.name == controllers.GREEDY and not plan.setting)
    if plan.name == controllers.CONSTANT:
        assert set(rates) == {0.1}
    elif not patient:  # more than these steps
        assert min(rates) < 0.1


def test_torchs_rule_at_its_defaults_cuts_to_a_tenth_after_eleven_means_that_are_no_better() -> None:
    (default,) = [plan for plan in controllers.peers([0.1], [9], ()) if plan.name == controllers.PLATEAU]
    update = default.make()
    rates = [update(step, 2.0) for step in range(1300)]
    assert rates.index(0.1 * 0.1) == 12 * controllers.EPOCH - 1
    assert set(rates) == {0.1, 0.1 * 0.1}


def test_lrwatch_decides_as_a_user_has_it_who_sets_nothing() -> None:
    (plan,) = controllers.ours([0.25], [9])
    update, watch = plan.make(), controllers.LrwatchController(1.0).controller
    for step in range(3000):
        assert update(step, _noisy(step)) == 0.25 * watch.update(step, _noisy(step))
    assert watch.commands


def test_schedules_of_a_known_length_end_at_zero_and_a_warm_up_begins_at_a_tenth() -> None:
    plans = {plan.name: plan for plan in controllers.schedules([2.0], [100], controllers.STARTED)}
    rates = {}
    for name, plan in plans.items():
        update = plan.make()
        rates[name] = [plan.rate * plan.first, *(update(step, 1.0) for step in range(100))]
    assert {name for name, rate in rates.items() if rate[-1] == pytest.approx(0.0)} == set(plans) - {controllers.STEPS}
    assert rates[controllers.LINEAR][50] == pytest.approx(1.0)
    assert [rates[controllers.WSD20][step] for step in (0, 80, 90)] == pytest.approx([2.0, 2.0, 1.0])
    assert [rates[controllers.WSD40][step] for step in (0, 60, 80)] == pytest.approx([2.0, 2.0, 1.0])
    warm = rates[controllers.WARM_WSD40]
    assert [warm[step] for step in (0, 2, 4, 60, 80)] == pytest.approx([0.2, 0.2 * 10**0.5, 2.0, 2.0, 1.0])
    outcome = play([plans[controllers.WARM_WSD40]], Counted())[0]
    assert outcome.losses[100] == pytest.approx(sum(warm[:100]))
    assert [step for step, _ in outcome.changes] == [1, 61]  # a ramp is one move
    assert (outcome.cuts(100), outcome.raises(100)) == (1, 1)
    assert Outcome.of(json.loads(json.dumps(outcome.plain()))) == outcome


def test_lrwatch_that_knows_the_length_is_told_each_and_may_start_warm() -> None:
    plans = controllers.told([0.5], [400, 3000])
    assert [(plan.name, plan.reads, plan.first) for plan in plans] == [
        (controllers.KNOWN, (400,), 1.0), (controllers.KNOWN, (3000,), 1.0),
        (controllers.WARM, (400,), pytest.approx(0.1)), (controllers.WARM, (3000,), pytest.approx(0.1)),
    ]  # fmt: skip
    for plan in plans:
        update, rates = plan.make(), [plan.rate * plan.first]
        for step in range(max(plan.reads)):  # a loss that settles where the rate holds it
            rates.append(update(step, 1 + rates[-1] + 3 * 0.98**step + 0.01 * math.sin(13.0 * step)))
        assert max(rates) <= 0.5
        assert (rates[1] < 0.1) is (plan.name == controllers.WARM)
        assert rates[-1] < 0.05  # at the end it anneals


TINY = run.Size((0, 1), (20, 60), (30, 90), (1 / 3, 1.0), short=True)
PARTS = ("transformer, SGD", "power law, slow")
HELD_OUT = "transformer of 24, AdamW"


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    def little() -> Batch:
        every = data.evaluated_text()
        return Batch(every.x[:64], every.y[:64])

    with pytest.MonkeyPatch.context() as patch:
        for name in ("transformer", "transformer of 24"):
            patch.setitem(REAL, name, replace(REAL[name], evaluated=little))
        yield tmp_path_factory.mktemp("cached")


@pytest.fixture(scope="module")
def found(cached: Path) -> list[run.Measured]:
    return run.measure(TINY, run.Cache(cached), PARTS, progress=False)


def test_a_cell_has_every_controller_from_every_start_with_every_seed(found: list[run.Measured]) -> None:
    real, problem = found
    assert real.starts == tuple(REAL["transformer"].centre["SGD"] * at for at in (1 / 3, 1.0, 3.0))
    assert real.edge  # of two rates, each is at an edge
    for measured in found:
        for name in (controllers.CONSTANT, controllers.PLATEAU, controllers.ADALRS_COSINE, controllers.LRWATCH):
            group = measured.group(name)
            assert {rate for _, rate in group} >= set(measured.starts)
            assert all(len(outcomes) == 2 for outcomes in group.values())
            assert {steps for outcomes in group.values() for steps in outcomes[0].losses} == set(measured.reads)
        assert len(measured.group(controllers.GRID)) == 3 * len(controllers.settings(short=True))
    assert len(real.group(controllers.COSINE)) == 2 * len(
        {*real.starts, *(rate for _, rate in real.group(controllers.COSINE))}
    )
    for name in (controllers.LINEAR, controllers.WSD20, controllers.WSD40, controllers.WARM_WSD40):
        assert {rate for _, rate in real.group(name)} == set(real.starts)
        assert not problem.group(name)
    assert not problem.group(controllers.COSINE)
    assert set(problem.best) == {30, 90}


def test_the_tables_and_the_picture_are_the_same_from_the_cache(cached: Path, found: list[run.Measured]) -> None:
    again = run.measure(TINY, run.Cache(cached), PARTS, progress=False)
    for write in (tables.summary, tables.answers, tables.details, picture.draw):
        assert write(again) == write(found)
    rows = [row for row in tables.summary(found).splitlines() if row.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert (
        "tuned cosine | learning rate, for each cell and length; knows the length | - | 1.000 (1.000) | - |" in rows[3]
    )
    assert rows[0].startswith("| who | tuned in hindsight | 20, best / 3 | 20, best | 20, best x 3 | 60, best / 3 |")
    assert "at or below the best of the grid from the same start in 1 of 1 cells" in tables.answers(found)
    assert "at the edge of its sweep" in tables.answers(found)
    one = run.one_for_all(found)
    assert one in {setting for setting, _ in found[0].group(controllers.GRID)}
    assert any(one in row for row in rows)
    texts = [text.text for text in ElementTree.fromstring(picture.draw(found)).iter("{http://www.w3.org/2000/svg}text")]
    assert {"lrwatch", "transformer, SGD", "best / 3"} <= set(texts)


def test_held_out_cells_stand_apart_and_have_the_setting_that_was_best_elsewhere(
    cached: Path, found: list[run.Measured]
) -> None:
    every = run.measure(TINY, run.Cache(cached), [*PARTS, HELD_OUT], progress=False)
    held_out = every[-1]
    assert held_out.cell.name == HELD_OUT
    one = run.one_for_all(found)
    assert run.one_for_all(every) == one
    assert {setting for setting, _ in held_out.group(controllers.GRID)} == {one}
    assert not held_out.group(controllers.STEPS)
    first, second, third = (part.splitlines() for part in tables.summary(every).split("## ")[1:])
    assert first[0] == "Held out: nothing was tuned on these trainings"
    assert sum("ReduceLROnPlateau" in row for row in first) == 2  # its default, and one of its grid for all
    assert sum("ReduceLROnPlateau" in row for row in second) == 3
    assert second[2:] == tables.summary(found).split("## ")[1].splitlines()[2:]
    assert third[2].startswith("| who | tuned in hindsight | 30, rate 0.3 |")
    assert "- held out, lrwatch: " in tables.answers(every)
    assert "held out" not in tables.answers(found)
    assert "- tuned on, lrwatch: " in tables.answers(found)
    assert "transformer of 24, AdamW (held out)" in picture.draw(every)


def test_only_what_changed_or_was_chosen_is_measured_again(cached: Path, found: list[run.Measured]) -> None:
    assert found
    files = {path: path.stat().st_mtime_ns for path in cached.iterdir()}
    run.measure(TINY, run.Cache(cached, [run.LRWATCH]), PARTS, progress=False)
    changed = {path.name for path, at in files.items() if path.stat().st_mtime_ns != at}
    assert changed == {
        f"{cell}-{seed}-lrwatch.json" for cell in ("transformer-SGD", "power-law-slow") for seed in (0, 1)
    }
    store, counted = run.Cache(cached), iter(range(9))
    asked = [store.get("one", run.PEERS, key, counted.__next__) for key in ([1, (2,)], [1, [2]], [3])]
    assert asked == [0, 0, 1]


def test_a_loss_that_is_worse_loses_the_cell_and_says_by_how_much(found: list[run.Measured]) -> None:
    real = found[0]
    worse = {
        seed: [
            Outcome(o.name, o.setting, o.rate, {steps: 1.1 * loss for steps, loss in o.losses.items()}, o.changes)
            if o.name == controllers.LRWATCH
            else o
            for o in outcomes
        ]
        for seed, outcomes in real.outcomes.items()
    }
    said = tables.answers([run.Measured(real.cell, real.reads, real.starts, worse)])
    assert "in 0 of 1 cells; transformer, SGD +10.0 %" in said


def test_cells_that_cannot_be_trained_here_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.closed.cells.find_spec", lambda name: name != "sklearn")
    there, missing, problems = cells()
    assert {cell.training for cell in there} == {"transformer", "transformer of 24", "transformer of 4 heads"}
    assert {cell.training for cell in missing} == {
        "perceptron", "convolutional", "softmax", "deep 8", "deep 32", "wide convolutional",
    }  # fmt: skip
    assert len(problems) == 8


def test_a_part_of_no_name_is_said_to_be_none(tmp_path: Path) -> None:
    ran = forked.run(["bench/closed", "--cells", "nothing", "--out", tmp_path], forked.TORCH, cwd=ROOT)
    assert ran.returncode == 2
    assert "no cell has nothing in its name" in ran.stderr
