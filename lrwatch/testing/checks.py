"""What every detector promises, as one check: `check_detector` raises AssertionError with the promise that was broken."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise, zip_longest
from typing import Any, Protocol

import numpy as np

from lrwatch.core.sample import Floats, Ints

# Values of a test input; enough for the detectors' windows to fill, and for the check to take a second or two.
LENGTH = 1000

# The state of a detector is saved after every read of a log, for every metric.
MAX_STATE_BYTES = 64 << 10

# A long input, which must not make the state larger than MAX_STATE_BYTES.
LONG = 50_000


class Detector(Protocol):
    """What is checked: samples in, what is said with the index of its sample out, and state that is plain JSON."""

    def feed(self, steps: Ints, values: Floats) -> Sequence[tuple[int, Any]]:
        """Take samples (shape (n,) each, n >= 1)."""

    def state(self) -> Any:
        """JSON-plain state."""

    def restore(self, state: Any) -> None:
        """The inverse of `state`, on a new detector."""


def hard_inputs() -> Mapping[str, Floats]:
    """Finite floats that break naive statistics, by name; shape (LENGTH,) each."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(LENGTH)
    largest = np.finfo(np.float64).max
    tiny = 5e-324
    return {
        "a falling loss": 4 - np.arange(LENGTH) / LENGTH + 0.1 * noise,
        "a plateau": 2 + np.maximum(0, 1 - np.arange(LENGTH) / 300) + 0.01 * noise,
        "a constant": np.full(LENGTH, 0.1),
        "zeros": np.zeros(LENGTH),
        "two distinct values": np.where(noise > 0, 1.0, 2.0),
        "1e300": 1e300 * noise,
        "the largest floats": np.where(noise > 0, largest, -largest),
        "subnormals": tiny * np.round(3 * noise),
        "every magnitude": np.sign(noise) * 10.0 ** rng.uniform(-320, 308, LENGTH),
        "negative values": -5 + 0.1 * noise,
        "one size, both signs": 1e308 * (-1.0) ** np.arange(LENGTH),
        "huge, then tiny": np.where(np.arange(LENGTH) < LENGTH // 2, 1e200, 1e-200) * (2 + noise),
        "a ramp of subnormals": tiny * np.arange(LENGTH),
        "zeros of both signs": np.where(noise > 0, 0.0, -0.0),
        "whole numbers beyond 2^53": 2.0**60 + 2.0**10 * np.round(noise),
        "a long constant, then noise": np.where(np.arange(LENGTH) < LENGTH // 2, 2.0, 2 + 0.1 * noise),
        "thirty values": 2 + noise[:30],
        "one value": noise[:1],
    }


def ordinary_inputs() -> Mapping[str, Floats]:
    """Curves with something to find, by name; shape (n,) each."""
    rng = np.random.default_rng(4)
    at = np.arange(4 * LENGTH)
    noise = rng.standard_normal(len(at))
    falling = 4 - at / (2 * LENGTH)
    return {
        "a plateau": 2 + np.maximum(0, 1 - at / LENGTH) + 0.05 * noise,
        "a straight line": falling + 0.01 * noise,
        "a spike": falling + 0.05 * noise + 3.0 * ((at > 2500) & (at < 2510)),
        "a divergence": falling + 0.05 * noise + 0.01 * np.maximum(0, at - 2500),
        "every second value": falling + 0.05 * noise + 0.1 * (-1.0) ** at,
        "a level shift": falling + 0.05 * noise + 1.0 * (at > 2000),
    }


def inputs_not_finite() -> Mapping[str, Floats]:
    """The same with NaN and infinities among them, by name; shape (LENGTH,) each."""
    rng = np.random.default_rng(1)
    some = np.where(rng.random(LENGTH) < 0.05, np.nan, 2 + rng.standard_normal(LENGTH))
    return {
        "NaN among values": some,
        "infinities among values": np.where(np.isnan(some), np.inf * np.sign(rng.standard_normal(LENGTH)), some),
        "a burst of NaN": np.where((np.arange(LENGTH) > 300) & (np.arange(LENGTH) < 500), np.nan, some),
        "NaN alone": np.full(LENGTH, np.nan),
    }


def check_detector(
    make: Callable[[], Detector],
    *,
    finite_only: bool = False,
    max_state_bytes: int = MAX_STATE_BYTES,
    scaled: bool = False,
    mirrored: Callable[[], Detector] | None = None,
) -> None:
    """Check what every detector promises.

    1. Any floats survive, without an exception and without a warning.
    2. The same input gives the same output.
    3. How the input is cut into pieces changes nothing.
    4. A new detector restored from the state, gone through JSON, at any cut, goes on as the old one would have.
    5. The state stays small, however long the input is.
    6. If claimed: other units change nothing but the numbers, and a metric to maximise is one to minimise upside down.

    Args:
        make: Makes a new detector, always with the same options.
        finite_only: The detector is given finite values only.
        max_state_bytes: How large the state may become, as JSON.
        scaled: The same is said at the same places of values that are 1024 times as large, or as small.
        mirrored: Makes the detector for a metric to maximise, of which the same is said at the same places upside down.

    Raises:
        AssertionError: A promise is broken; the message says which, and on which input.
    """
    inputs = {**hard_inputs(), **({} if finite_only else inputs_not_finite())}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, values in inputs.items():
            _check_input(make, name, values)
        detector = make()
        rng = np.random.default_rng(2)
        for at in range(0, LONG, LENGTH):
            detector.feed(np.arange(at, at + LENGTH), 3 + rng.standard_normal(LENGTH))
            size = len(json.dumps(detector.state()))
            _expect(size <= max_state_bytes, f"the state has {size} bytes after {at + LENGTH} values")
        for name, values in ordinary_inputs().items():
            said = _places(make(), values)
            for factor in (1024.0, 1 / 1024) if scaled else ():
                _expect(_places(make(), factor * values) == said, f"{name}: times {factor:g} it is said elsewhere")
            if mirrored is not None:
                _expect(_places(mirrored(), -values) == said, f"{name}: upside down it is said elsewhere")


def _places(detector: Detector, values: Floats) -> list[tuple[int, str]]:
    """Where something is said, and of what kind."""
    said = detector.feed(np.arange(len(values)), values)
    return [(at, getattr(what, "kind", getattr(what, "state", ""))) for at, what in said]


def _check_input(make: Callable[[], Detector], name: str, values: Floats) -> None:
    steps = np.arange(len(values))
    try:
        whole = _said(make, steps, values, [], restart=False)
    except Exception as error:
        raise AssertionError(f"{name}: {error!r}") from error
    _expect(_said(make, steps, values, [], restart=False) == whole, f"{name}: the same input gives another output")
    for cuts in _cuttings(len(values)):
        for restart in (False, True):
            said = _said(make, steps, values, cuts, restart=restart)
            how = "restarted" if restart else "cut"
            differ = next((pair for pair in zip_longest(said, whole) if pair[0] != pair[1]), None)
            if differ is not None:
                raise AssertionError(f"{name}: {how} at {cuts[:5]}... it says {differ[0]}, uncut {differ[1]}")


def _cuttings(n: int) -> Iterator[list[int]]:
    rng = np.random.default_rng(3)
    if n > 1:
        yield list(range(1, min(n, 100)))
        yield sorted(set(rng.integers(1, n, 30).tolist()))


def _said(
    make: Callable[[], Detector], steps: Ints, values: Floats, cuts: list[int], *, restart: bool
) -> list[tuple[int, str]]:
    detector = make()
    said: list[tuple[int, str]] = []
    edges = [0, *cuts, len(values)]
    for start, end in pairwise(edges):
        said.extend((start + index, repr(what)) for index, what in detector.feed(steps[start:end], values[start:end]))
        if restart:
            state = json.loads(json.dumps(detector.state()))
            detector = make()
            detector.restore(state)
    return sorted(said)


def _expect(ok: bool, promise: str) -> None:
    if not ok:
        raise AssertionError(promise)
