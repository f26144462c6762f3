"""The trainings of the benchmark in closed loop: many networks at once are what each is alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from bench.closed import data
from bench.closed.cells import Cell
from bench.closed.data import Batch
from bench.closed.optimizers import OPTIMIZERS, Sgd
from bench.closed.perceptron import Perceptron
from bench.closed.torched import Convolutional, Perceptrons, Torched, Transformer
from bench.closed.trainings import REAL, Network, Networks
from lrwatch.demo.network import Networks as DemoNetworks

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small matrices shared among busy cores take a hundred times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_that_goes_back_continues_as_one_that_never_left(name: str) -> None:
    network, batches = Perceptron(8, 4), np.random.default_rng(1).standard_normal((9, 16, 12), dtype=np.float32)
    optimizer, weights = OPTIMIZERS[name](), np.stack([network.start(np.random.default_rng(5))] * 2)

    def train(first: int, end: int) -> None:
        for batch in batches[first:end]:
            _, gradient = network.gradient_of(weights, batch[:, :8], batch[:, 8:])
            optimizer.step(weights, gradient, np.array([[0.01], [0.01]], np.float32))

    train(0, 3)
    left, state = weights[1].copy(), optimizer.saved(1)
    train(3, 6)
    weights[:] = left
    for row in (0, 1):
        optimizer.restore(row, state)
    optimizer.take([1, 0])
    train(6, 9)
    again, alone = weights.copy(), OPTIMIZERS[name]()
    optimizer, weights = alone, np.stack([network.start(np.random.default_rng(5))] * 2)
    train(0, 3)
    train(6, 9)
    assert (again == weights).all()


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
    network, demo = Perceptron(8, 4), DemoNetworks([0.02], seed=5)
    weights = np.stack([network.start(np.random.default_rng([5, 2]))] * 2)
    optimizer = Sgd()
    for _ in range(20):
        x, y = rng.standard_normal((16, 8), dtype=np.float32), rng.standard_normal((16, 4), dtype=np.float32)
        losses, gradient = network.gradient_of(weights, x, y)
        optimizer.step(weights, gradient, np.array([[0.1], [0.02]], np.float32))
        assert losses[1] == pytest.approx(demo.step(x, y)[0], rel=1e-5)


@pytest.mark.parametrize("make", [Perceptron, Convolutional, partial(Perceptrons, 2)])
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


EVERY = [Cell(training, optimizer) for training, real in REAL.items() for optimizer in real.centre]


@pytest.mark.frameworks
@pytest.mark.parametrize(
    "cell", [cell for cell in EVERY if REAL[cell.training].library == "sklearn"], ids=lambda cell: cell.name
)
def test_real_cells_learn(cell: Cell) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: make test-frameworks does it")
    runs = cell.runs(0)
    rate = np.array([REAL[cell.training].centre[cell.optimizer]])
    before = runs.final()[0]
    for _ in range(200):
        runs.step(rate)
    assert runs.final()[0] < 0.9 * before
