"""Trainings: real networks and problems of known risk, any number of parallel runs of each."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np

from bench.closed.data import Batch, Digits, Floats32, Stream, Text, evaluated_digits, evaluated_text
from bench.closed.optimizers import OPTIMIZERS, Optimizer
from bench.closed.perceptron import Perceptron
from lrwatch.core.sample import Floats
from lrwatch.testing.closed_loop.problems import PROBLEMS, Training


class Runs(Protocol):
    """Parallel runs of one training, initially one. All receive the same batches."""

    def step(self, rates: Floats) -> Floats:
        """Take one step with a learning rate for each run, and return the logged losses, shape (runs,) both."""

    def take(self, rows: list[int]) -> None:
        """Replace the runs by those of `rows`; a row may occur twice, or not at all."""

    def saved(self, row: int) -> Any:
        """Return a copy of the state of a run: its weights and its optimizer. Batches go on."""

    def restore(self, row: int, saved: Any) -> None:
        """Give a run the state that `saved` returned."""

    def final(self) -> Floats:
        """Return the final loss of each run, shape (runs,)."""


class Network(Protocol):
    """A network whose weights form a row of `size` numbers."""

    size: int

    def start(self, rng: np.random.Generator) -> Floats32: ...

    def gradient(self, weights: Floats32, batch: Batch) -> tuple[Floats32, Floats32]: ...

    def losses(self, weights: Floats32, batch: Batch) -> Floats32: ...


class Networks:
    """Runs of a network.

    An infinite or NaN loss does not end the run, as in an unattended run.
    """

    def __init__(self, network: Network, optimizer: Optimizer, stream: Stream, evaluated: Batch, seed: int) -> None:
        self._network, self._optimizer, self._stream, self._evaluated = network, optimizer, stream, evaluated
        self.weights = network.start(np.random.default_rng([seed, 2]))[None]

    def step(self, rates: Floats) -> Floats:
        """Take one step of each run."""
        with np.errstate(all="ignore"):
            losses, gradient = self._network.gradient(self.weights, self._stream.next())
            self._optimizer.step(self.weights, gradient, rates[:, None].astype(np.float32))
        return np.asarray(losses, np.float64)

    def take(self, rows: list[int]) -> None:
        """Continue with the runs of `rows`."""
        self.weights = self.weights[rows]
        self._optimizer.take(rows)

    def saved(self, row: int) -> tuple[Floats32, dict[str, Floats32]]:
        """Return a copy of the weights and the state of the optimizer."""
        return self.weights[row].copy(), self._optimizer.saved(row)

    def restore(self, row: int, saved: tuple[Floats32, dict[str, Floats32]]) -> None:
        """Give a run the state that `saved` returned."""
        self.weights[row], state = saved
        self._optimizer.restore(row, state)

    def final(self) -> Floats:
        """Return the mean loss over the evaluated sample."""
        with np.errstate(all="ignore"):
            return np.asarray(self._network.losses(self.weights, self._evaluated), np.float64)


class Problems:
    """Runs of a problem of `lrwatch.testing.closed_loop.problems`, whose true risk is known."""

    def __init__(self, problem: str, seed: int) -> None:
        self._runs: list[Training] = [PROBLEMS[problem](seed)]

    def step(self, rates: Floats) -> Floats:
        """Take one step of each run."""
        for run, rate in zip(self._runs, rates.tolist(), strict=True):
            run.step(rate)
        return np.array([run.observe() for run in self._runs])

    def take(self, rows: list[int]) -> None:
        """Continue with copies of the runs of `rows`."""
        self._runs = [copy.deepcopy(self._runs[row]) for row in rows]

    def saved(self, row: int) -> Training:
        """Return a copy of a run."""
        return copy.deepcopy(self._runs[row])

    def restore(self, row: int, saved: Training) -> None:
        """Give a run the state that `saved` returned."""
        self._runs[row] = copy.deepcopy(saved)

    def final(self) -> Floats:
        """Return the true risk."""
        return np.array([run.risk for run in self._runs])


@dataclass(frozen=True, slots=True)
class Real:
    """A real training.

    Attributes:
        about: Description for the table.
        library: Library that it needs.
        network: Function that makes the network.
        stream: Function that makes the batches of a seed.
        evaluated: Function that makes the sample of the final loss.
        centre: For each optimizer, the middle of the sweep of learning rates.
        held_out: Whether nothing was tuned on it.
    """

    about: str
    library: str
    network: Callable[[], Network]
    stream: Callable[[int], Stream]
    evaluated: Callable[[], Batch]
    centre: dict[str, float]
    held_out: bool = False

    def runs(self, optimizer: str, seed: int) -> Networks:
        """Return one run, of a seed."""
        return Networks(self.network(), OPTIMIZERS[optimizer](), self.stream(seed), self.evaluated(), seed)


def _torched(name: str, *shape: int) -> Callable[[], Network]:
    """Return a function that makes a network of `bench.closed.torched`, which is imported only then."""

    def make() -> Network:
        from bench.closed import torched

        network: Network = getattr(torched, name)(*shape)
        return network

    return make


_digits, _text = lru_cache(evaluated_digits), lru_cache(evaluated_text)

REAL = {
    "perceptron": Real("numpy network of the demo, digits", "sklearn", Perceptron, Digits, _digits,
                       {"SGD": 0.06, "AdamW": 0.007}),
    "convolutional": Real("convolutional network, digits", "sklearn", _torched("Convolutional"), Digits, _digits,
                          {"SGD": 0.03, "AdamW": 0.012}),
    "transformer": Real("character transformer, text", "torch", _torched("Transformer"), Text, _text,
                        {"SGD": 0.04, "AdamW": 0.0035}),
    # Held out: other networks, other sizes of a batch.
    "softmax": Real("softmax regression, digits in batches of 4", "sklearn", _torched("Perceptrons"),
                    partial(Digits, size=4), _digits, {"SGD": 0.003}, held_out=True),
    "deep 8": Real("four hidden layers, digits in batches of 8", "sklearn", _torched("Perceptrons", 4),
                   partial(Digits, size=8), _digits, {"AdamW": 0.003}, held_out=True),
    "deep 32": Real("four hidden layers, digits in batches of 32", "sklearn", _torched("Perceptrons", 4),
                    partial(Digits, size=32), _digits, {"SGD": 0.017}, held_out=True),
    "wide convolutional": Real("half as many channels again, digits in batches of 32", "sklearn",
                               _torched("Convolutional", 12, 24), partial(Digits, size=32), _digits,
                               {"AdamW": 0.012}, held_out=True),
    "transformer of 24": Real("narrower, with one head, text in batches of 4", "torch",
                              _torched("Transformer", 24, 1, 48), partial(Text, size=4), _text,
                              {"AdamW": 0.0035}, held_out=True),
    "transformer of 4 heads": Real("four heads, twice the hidden units, text in batches of 16", "torch",
                                   _torched("Transformer", 32, 4, 128), partial(Text, size=16), _text,
                                   {"SGD": 0.1}, held_out=True),
}  # fmt: skip
