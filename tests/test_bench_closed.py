"""The benchmark in closed loop, with the real trainings and controllers at a tiny size."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from bench.closed import controllers, data, picture, run, tables
from bench.closed.cells import Cell, cells
from bench.closed.data import Batch
from bench.closed.optimizers import OPTIMIZERS, Sgd
from bench.closed.perceptron import Perceptron
from bench.closed.play import Outcome, Plan, Update, play
from bench.closed.torched import Convolutional, Torched, Transformer
from bench.closed.trainings import REAL, Network, Networks
from lrwatch.core.sample import Floats
from lrwatch.demo.network import Network as DemoNetwork

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small matrices shared among busy cores take a hundred times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


ROOT = Path(__file__).parents[1]

RATES = np.array([[0.03], [0.01], [0.001]], np.float32)


class Images:
    """As the digits are, without scikit-learn."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def next(self) -> Batch:
        labels = self._rng.integers(0, data.CLASSES, 4)
        images = 0.3 * self._rng.standard_normal((4, data.SIDE, data.SIDE), dtype=np.float32)
        images[:, 0] += labels[:, None].astype(np.float32) / 5
        return Batch(images, labels)


def _optimizer(name: str, weights: list[torch.Tensor], rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(weights, rate, momentum=0.9) if name == "SGD" else torch.optim.AdamW(weights, rate)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_of_many_is_stepped_as_torch_steps_it(name: str) -> None:
    rng = np.random.default_rng(0)
    ours = rng.standard_normal((3, 7), dtype=np.float32)
    theirs = [torch.from_numpy(row.copy()).requires_grad_() for row in ours]
    optimizers = [_optimizer(name, [w], float(rate)) for w, rate in zip(theirs, RATES[:, 0], strict=True)]
    own = OPTIMIZERS[name]()
    for _ in range(50):
        gradient = rng.standard_normal((3, 7), dtype=np.float32)
        for weight, optimizer, row in zip(theirs, optimizers, gradient, strict=True):
            weight.grad = torch.from_numpy(row.copy())
            optimizer.step()
        own.step(ours, gradient, RATES)
    assert ours == pytest.approx(torch.stack(theirs).detach().numpy(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("make", [Convolutional, Transformer])
def test_a_run_among_others_ends_as_it_does_alone_in_torch(make: Callable[[], Torched], name: str) -> None:
    network, seed = make(), 3
    stream: Callable[[int], data.Stream] = Images if make is Convolutional else data.Text
    runs = Networks(network, OPTIMIZERS[name](), stream(seed), stream(9).next(), seed)
    alone = torch.from_numpy(network.start(np.random.default_rng([seed, 2]))).requires_grad_()
    optimizer, batches = _optimizer(name, [alone], 0.01), stream(seed)
    for step in range(30):
        if step == 0:
            runs.take([0, 0, 0])
        elif step == 10:
            runs.take([2, 1])  # its row is moved, another run ends
        rates = np.array([0.1, 0.01, 0.03] if step < 10 else [0.03, 0.01])
        losses = runs.step(rates)
        batch = batches.next()
        optimizer.zero_grad()
        row = 1
        (loss,) = network.losses_of(alone[None], torch.from_numpy(batch.x), torch.from_numpy(batch.y))
        loss.backward()
        optimizer.step()
        assert losses[row] == pytest.approx(loss.item(), rel=1e-4)
    assert runs.weights[1] == pytest.approx(alone.detach().numpy(), rel=1e-3, abs=1e-5)
    assert runs.final()[1] == pytest.approx(network.losses(alone.detach().numpy()[None], stream(9).next())[0], rel=1e-3)


def test_the_convolutions_are_those_of_torch() -> None:
    network, x = Convolutional(3, 5), torch.from_numpy(np.asarray(Images(0).next().x, np.float32))
    views = network.layout.views(np.random.default_rng(0).standard_normal((2, network.size), dtype=np.float32))
    weights = {name: torch.from_numpy(view) for name, view in views.items()}
    said = network.logits(weights, x)
    for row in range(2):
        first, second, last = (weights[name][row] for name in ("first", "second", "last"))
        hidden = F.conv2d(x[:, None], first.T.reshape(3, 1, 3, 3), weights["first bias"][row, 0], padding=1).relu()
        kernel = second.view(2, 2, 3, 5).permute(3, 2, 0, 1)
        hidden = F.conv2d(hidden, kernel, weights["second bias"][row, 0], stride=2).relu()
        quarters = F.avg_pool2d(hidden, 2).permute(0, 2, 3, 1).flatten(1)
        assert said[row].numpy() == pytest.approx((quarters @ last + weights["last bias"][row, 0]).numpy(), rel=1e-3)


def test_a_letter_says_nothing_of_the_letters_behind_it_to_those_before() -> None:
    network = Transformer()
    weights = network.start(np.random.default_rng(0))[None]
    batch = data.Text(0).next()
    changed = batch.x.copy()
    changed[:, 9:] = (changed[:, 9:] + 1) % data.LETTERS
    views = {name: torch.from_numpy(view) for name, view in network.layout.views(weights).items()}
    said, said_then = (
        network.logits(views, torch.from_numpy(x)).numpy().reshape(len(x), data.WINDOW, data.LETTERS)
        for x in (batch.x, changed)
    )
    assert said[:, :9] == pytest.approx(said_then[:, :9], abs=1e-6)
    assert np.abs(said[:, 9:] - said_then[:, 9:]).max() > 0.01


def test_the_perceptron_is_the_network_of_the_demo() -> None:
    rng = np.random.default_rng(0)
    network, demo = Perceptron(8, 4), DemoNetwork(0.02, seed=5)
    weights = np.stack([network.start(np.random.default_rng([5, 2]))] * 2)
    optimizer = Sgd()
    for _ in range(20):
        x, y = rng.standard_normal((16, 8), dtype=np.float32), rng.standard_normal((16, 4), dtype=np.float32)
        losses, gradient = network.gradient_of(weights, x, y)
        optimizer.step(weights, gradient, np.array([[0.1], [0.02]], np.float32))
        assert losses[1] == pytest.approx(demo.step(x, y), rel=1e-5)


@pytest.mark.parametrize("make", [Perceptron, Convolutional])
def test_a_loss_falls_along_its_gradient_as_much_as_the_gradient_says(make: Callable[[], Network]) -> None:
    network, batch = make(), Images(0).next()
    weights = network.start(np.random.default_rng(0))[None]
    _, gradient = network.gradient(weights.copy(), batch)
    square = float((gradient * gradient).sum())
    apart = 1e-3 / math.sqrt(square)
    there, back = (network.losses(weights + np.float32(sign * apart) * gradient, batch)[0] for sign in (1, -1))
    assert (there - back) / (2 * apart) == pytest.approx(square, rel=0.02)


def test_batches_of_text_are_the_same_for_a_seed_and_not_for_another() -> None:
    first, again, other = (data.Text(seed) for seed in (1, 1, 2))
    for _ in range(3):
        batch = first.next()
        assert batch.x.tobytes() == again.next().x.tobytes()
        assert batch.x.tobytes() != other.next().x.tobytes()
    assert batch.x[:, 1:].tolist() == batch.y[:, :-1].tolist()


@pytest.mark.frameworks
def test_batches_of_digits_are_the_same_for_a_seed_and_not_for_another() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: make test-frameworks does it")
    first, again, other = (data.Digits(seed) for seed in (1, 1, 2))
    for _ in range(data.AHEAD + 2):
        batch = first.next()
        assert batch.x.tobytes() == again.next().x.tobytes()
        assert batch.x.tobytes() != other.next().x.tobytes()
    many = data.evaluated_digits(2000)
    assert many.x.mean() == pytest.approx(0, abs=0.15)
    assert many.x.std() == pytest.approx(1, abs=0.15)
    assert set(many.y.tolist()) == set(range(data.CLASSES))


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

    def final(self) -> Floats:
        return self._sums


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


def test_cuts_and_what_is_taken_back_are_counted_as_far_as_a_step_was_done_with_them() -> None:
    outcome = Outcome("a", "", 1.0, {10: 2.0}, [(3, 0.5), (5, 1.0), (7, 0.5), (10, 0.25)])
    assert [(outcome.cuts(steps), outcome.raises(steps)) for steps in (3, 4, 6, 10, 11)] == [
        (0, 0), (1, 0), (1, 1), (2, 1), (3, 1),
    ]  # fmt: skip
    assert Outcome.of(json.loads(json.dumps(outcome.plain()))) == outcome


def test_a_loss_that_blew_up_is_infinite_after_it_was_cached() -> None:
    outcome = Outcome("a", "", 1.0, {10: math.nan})
    assert Outcome.of(json.loads(json.dumps(outcome.plain(), allow_nan=False))).losses == {10: math.inf}


def _noisy(step: int) -> float:
    return 2 + math.exp(-step / 100) + 0.01 * math.sin(step * step)


@pytest.mark.parametrize("plan", [*controllers.schedules([0.1], [40, 3000]), *controllers.peers([0.1], [3000]),
                                  *controllers.ours([0.1], [3000])], ids=lambda plan: f"{plan.name} {plan.setting}")  # fmt: skip
def test_everybody_answers_with_a_rate_and_turns_it_down_on_a_plateau_or_by_the_clock(plan: Plan) -> None:
    update = plan.make()
    rates = [update(step, _noisy(step)) for step in range(max(plan.reads))]
    assert all(0 <= rate <= 1 for rate in rates)
    patient = "patience 25 means of 100" in plan.setting or (plan.name == controllers.GREEDY and not plan.setting)
    if plan.name == controllers.CONSTANT:
        assert set(rates) == {0.1}
    elif not patient:  # more than these steps
        assert min(rates) < 0.1


def test_torchs_rule_at_its_defaults_cuts_to_a_tenth_after_eleven_means_that_are_no_better() -> None:
    (default,) = [plan for plan in controllers.peers([0.1], [9]) if plan.name == controllers.PLATEAU]
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


TINY = run.Size((0, 1), (20, 60), (30, 90), (1 / 3, 1.0), short=True)
PARTS = ("transformer, SGD", "power law, slow")


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    def little() -> Batch:
        every = data.evaluated_text()
        return Batch(every.x[:64], every.y[:64])

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REAL, "transformer", replace(REAL["transformer"], evaluated=little))
        yield tmp_path_factory.mktemp("cached")


@pytest.fixture(scope="module")
def found(cached: Path) -> list[run.Measured]:
    return run.measure(TINY, run.Cache(cached), PARTS, progress=False)


def test_a_cell_has_every_controller_from_every_start_with_every_seed(found: list[run.Measured]) -> None:
    real, problem = found
    assert real.starts == tuple(REAL["transformer"].centre["SGD"] * at for at in (1 / 3, 1.0, 3.0))
    assert real.edge  # of two rates, each is at an edge
    for measured in found:
        for name in (controllers.CONSTANT, controllers.PLATEAU, controllers.LRWATCH):
            group = measured.group(name)
            assert {rate for _, rate in group} >= set(measured.starts)
            assert all(
                len(outcomes) == 2 and set(outcomes[0].losses) == set(measured.reads) for outcomes in group.values()
            )
        assert len(measured.group(controllers.GRID)) == 3 * len(controllers.settings(short=True))
    assert len(real.group(controllers.COSINE)) == 2 * len(
        {*real.starts, *(rate for _, rate in real.group(controllers.COSINE))}
    )
    assert not problem.group(controllers.COSINE)
    assert set(problem.best) == {30, 90}


def test_the_tables_and_the_picture_are_the_same_from_the_cache(cached: Path, found: list[run.Measured]) -> None:
    again = run.measure(TINY, run.Cache(cached), PARTS, progress=False)
    for write in (tables.summary, tables.answers, tables.details, picture.draw):
        assert write(again) == write(found)
    rows = tables.summary(found).splitlines()
    assert len({row.count("|") for row in rows}) == 1
    assert "tuned cosine | learning rate, for each cell and length; knows the length | 1.000 (1.000) |" in rows[3]
    assert "at or below the best of the grid from the same start in 1 of 1 cells" in tables.answers(found)
    assert "at the edge of its sweep" in tables.answers(found)
    one = tables.one_for_all(found)
    assert one in {setting for setting, _ in found[0].group(controllers.GRID)}
    assert any(one in row for row in rows)
    texts = [text.text for text in ElementTree.fromstring(picture.draw(found)).iter("{http://www.w3.org/2000/svg}text")]
    assert {"lrwatch", "transformer, SGD", "best / 3"} <= set(texts)


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


@pytest.mark.frameworks
@pytest.mark.parametrize("training", ["perceptron", "convolutional"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_real_cells_learn(training: str, optimizer: str) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: make test-frameworks does it")
    runs = Cell(training, optimizer).runs(0)
    rate = np.array([REAL[training].centre[optimizer]])
    before = runs.final()[0]
    for _ in range(200):
        runs.step(rate)
    assert runs.final()[0] < 0.9 * before


def test_cells_that_cannot_be_trained_here_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.closed.cells.find_spec", lambda name: name != "sklearn")
    there, missing, problems = cells()
    assert {cell.training for cell in there} == {"transformer"}
    assert {cell.training for cell in missing} == {"perceptron", "convolutional"}
    assert len(problems) == 8


def test_a_part_of_no_name_is_said_to_be_none(tmp_path: Path) -> None:
    command = [sys.executable, "bench/closed", "--cells", "nothing", "--out", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "no cell has nothing in its name" in ran.stderr
