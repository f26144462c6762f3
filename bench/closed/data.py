"""Streams of fresh mini-batches: the loss has a noise floor, as in a long run, and never falls to 0.

Digits: the 1,797 scans of 8 by 8 pixels that scikit-learn ships, each drawn with a shift of up to one pixel and fresh
noise on the pixels. Text: the language reference that Python ships as `pydoc_data.topics`, random windows of its first
nine tenths.
"""

from __future__ import annotations

import zlib
from collections import Counter
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from lrwatch.core.sample import Ints

Floats32 = npt.NDArray[np.float32]

SIDE, CLASSES = 8, 10

# Standard deviation of the noise on pixels from 0 to 1: a good network errs in a few of a hundred.
PIXEL_NOISE = 0.3
MOVES = 1

# Number of character classes; the last one holds all rare characters.
LETTERS = 40
WINDOW = 16

# Size of the fixed sample for final losses: large enough to resolve a thousandth of the loss.
EVALUATED_DIGITS = 8192

# Seed of the evaluated sample; no training uses it.
EVALUATION = 2**32 - 1

# Batches drawn at once: each draw has a fixed cost.
AHEAD = 64


class Batch(NamedTuple):
    """Inputs of a network, shape (n, ...), and targets, shape (n,) or (n, ...)."""

    x: Floats32 | Ints
    y: Ints


class Stream(Protocol):
    """Endless stream of batches."""

    def next(self) -> Batch:
        """Return the next batch."""


class Digits:
    """Batches of `size` digits."""

    def __init__(self, seed: int, size: int = 16) -> None:
        self._rng = np.random.default_rng([seed, 4])
        self._size, self._at = size, 0
        self._drawn: Batch | None = None

    def next(self) -> Batch:
        """Return images of shape (size, SIDE, SIDE) and labels of shape (size,)."""
        if self._drawn is None or self._at == AHEAD:
            self._drawn, self._at = _draw_digits(self._rng, AHEAD * self._size), 0
        part = slice(self._at * self._size, (self._at + 1) * self._size)
        self._at += 1
        return Batch(self._drawn.x[part], self._drawn.y[part])


def evaluated_digits(count: int = EVALUATED_DIGITS) -> Batch:
    """Return digits with the same noise, drawn once."""
    return _draw_digits(np.random.default_rng(EVALUATION), count)


def _draw_digits(rng: np.random.Generator, count: int) -> Batch:
    images, labels = _digits()
    at = rng.integers(0, len(images), count)
    down, across = rng.integers(0, 2 * MOVES + 1, (2, count, 1))
    side = np.arange(SIDE)
    moved = images[at[:, None, None], (down + side)[:, :, None], (across + side)[:, None, :]]
    noisy = moved + np.float32(PIXEL_NOISE) * rng.standard_normal(moved.shape, dtype=np.float32)
    inner = images[:, MOVES:-MOVES, MOVES:-MOVES]
    spread = np.float32(np.hypot(inner.std(), PIXEL_NOISE))
    return Batch((noisy - inner.mean()) / spread, labels[at])


@lru_cache(maxsize=1)
def _digits() -> tuple[Floats32, Ints]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    scans = (images.reshape(-1, SIDE, SIDE) / 16).astype(np.float32)
    return np.pad(scans, ((0, 0), (MOVES, MOVES), (MOVES, MOVES))), labels.astype(np.int64)


class Text:
    """Batches of `size` windows of text."""

    def __init__(self, seed: int, size: int = 8) -> None:
        self._rng = np.random.default_rng([seed, 5])
        self._size = size
        self._text = _text()
        self._text = self._text[: _held_out(len(self._text))]

    def next(self) -> Batch:
        """Return letters of shape (size, WINDOW), and the next letter after each."""
        starts = self._rng.integers(0, len(self._text) - WINDOW, self._size)
        return _windows(self._text, starts)


def evaluated_text() -> Batch:
    """Return the last tenth of the text, window by window."""
    text = _text()
    text = text[_held_out(len(text)) :]
    return _windows(text, np.arange(0, len(text) - WINDOW, WINDOW))


def _held_out(length: int) -> int:
    return length * 9 // 10


def _windows(text: Ints, starts: Ints) -> Batch:
    windows = text[starts[:, None] + np.arange(WINDOW + 1)]
    return Batch(windows[:, :-1], windows[:, 1:])


@lru_cache(maxsize=1)
def _text() -> Ints:
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics)).lower()
    common = [
        letter for letter, _ in sorted(Counter(text).items(), key=lambda item: (-item[1], item[0]))[: LETTERS - 1]
    ]
    number = {letter: index for index, letter in enumerate(common)}
    return np.array([number.get(letter, LETTERS - 1) for letter in text], np.int64)


def fingerprint(stream: Stream) -> int:
    """Return a checksum of the first batch, which differs between releases of the data."""
    batch = stream.next()
    return zlib.crc32(batch.x.tobytes() + batch.y.tobytes())
