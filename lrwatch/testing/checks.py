"""What every detector promises, as one check: `check_detector` raises AssertionError with the promise that was broken."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, zip_longest
from types import NoneType
from typing import Any, Protocol

import numpy as np

from lrwatch.core.events import Finding
from lrwatch.core.sample import Floats, Ints

# Values of a test input; enough for the detectors' windows to fill, and for the check to take a second or two.
LENGTH = 1000

# The state of a detector is saved after every read of a log, for every metric.
MAX_STATE_BYTES = 64 << 10

# A long input, which must not make the state larger than MAX_STATE_BYTES.
LONG = 20_000


# Ordinary inputs are multiples of this.
GRID = 2.0**-30

# What other units are: so many times as large; another origin: so much higher.
FACTORS = (1024.0, 1 / 1024)
SHIFT = 1024.0


class Detector(Protocol):
    """What is checked: samples in, what is said with the index of its sample out, and state that is plain JSON."""

    def feed(self, steps: Ints, values: Floats) -> Sequence[tuple[int, Any]]:
        """Take samples, shape (n,) each."""

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
        "no value": noise[:0],
    }


def ordinary_inputs() -> Mapping[str, Floats]:
    """Curves with something to find, by name; shape (n,) each.

    All are whole multiples of GRID, so that those 1024 times as large, or 1024 higher, are so exactly.
    """
    rng = np.random.default_rng(4)
    at = np.arange(4 * LENGTH)
    noise = rng.standard_normal(len(at))
    falling = 4 - at / (2 * LENGTH)
    curves = {
        "a plateau": 2 + np.maximum(0, 1 - at / LENGTH) + 0.05 * noise,
        "a straight line": falling + 0.01 * noise,
        "a spike": falling + 0.05 * noise + 3.0 * ((at > 2500) & (at < 2510)),
        "a divergence": falling + 0.05 * noise + 0.01 * np.maximum(0, at - 2500),
        "every second value": falling + 0.05 * noise + 0.1 * (-1.0) ** at,
        "a level shift": falling + 0.05 * noise + 1.0 * (at > 2000),
    }
    return {name: GRID * np.round(values / GRID) for name, values in curves.items()}


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
    shifted: bool = False,
    mirrored: Callable[[], Detector] | None = None,
) -> None:
    """Check what every detector promises.

    1. Any floats survive, without an exception and without a warning.
    2. The same input gives the same output.
    3. How the input is cut into pieces changes nothing: single values, pieces of any size, pieces without a value.
    4. A new detector restored from the state, gone through JSON, at any cut, goes on as the old one would have.
    5. The state stays small, however long the input is.
    6. The evidence of a finding holds plain numbers, strings and None, as what reads it from a journal expects.
    7. If claimed: other units, another origin change nothing but the numbers (with both, the detector is affine invariant), and
       a metric to maximise is one to minimise upside down.

    Args:
        make: Makes a new detector, always with the same options.
        finite_only: The detector is given finite values only.
        max_state_bytes: How large the state may become, as JSON.
        scaled: The same is said at the same places of values that are 1024 times as large, or as small.
        shifted: The same is said at the same places of values that are 1024 higher.
        mirrored: Makes the detector for a metric to maximise, of which the same is said at the same places upside down.

    Raises:
        AssertionError: A promise is broken; the message says which, and on which input.
    """
    inputs = {**hard_inputs(), **({} if finite_only else inputs_not_finite())}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, values in inputs.items():
            _check_input(make, name, values, _cuttings(len(values)))
        for name, values in ordinary_inputs().items():
            _check_input(make, name, values, [(_sized(len(values)), True)])
            said = _places(make(), values)
            for factor in FACTORS if scaled else ():
                _expect(_places(make(), factor * values) == said, f"{name}: times {factor:g} it is said elsewhere")
            if shifted:
                _expect(_places(make(), values + SHIFT) == said, f"{name}: {SHIFT:g} higher it is said elsewhere")
            if mirrored is not None:
                _expect(_places(mirrored(), -values) == said, f"{name}: upside down it is said elsewhere")
        _check_size(make(), max_state_bytes)


def _check_size(detector: Detector, most: int) -> None:
    rng = np.random.default_rng(2)
    for at in range(0, LONG, LENGTH):
        detector.feed(np.arange(at, at + LENGTH), 3 + rng.standard_normal(LENGTH))
        size = len(json.dumps(detector.state()))
        _expect(size <= most, f"the state has {size} bytes after {at + LENGTH} values")


def _places(detector: Detector, values: Floats) -> list[tuple[int, str]]:
    """Where something is said, and of what kind."""
    said = detector.feed(np.arange(len(values)), values)
    return [(at, getattr(what, "kind", getattr(what, "state", ""))) for at, what in said]


def _check_input(
    make: Callable[[], Detector], name: str, values: Floats, cuttings: Iterable[tuple[list[int], bool]]
) -> None:
    whole = _said(make, name, values, [], restart=False)
    for cuts, restart in cuttings:
        said = _said(make, name, values, cuts, restart=restart)
        how = "the same input gives another output;" if not cuts else "restarted" if restart else "cut"
        differ = next((pair for pair in zip_longest(said, whole) if pair[0] != pair[1]), None)
        if differ is not None:
            raise AssertionError(f"{name}: {how} at {cuts[:5]}... it says {differ[0]}, uncut {differ[1]}")


def _cuttings(n: int) -> Iterator[tuple[list[int], bool]]:
    """Where to cut, and whether to go on with a new detector there; the first is not to cut."""
    yield [], False
    if n > 1:
        yield _sized(n), False
        yield list(range(1, min(n, 100))), True
        yield sorted(set(np.random.default_rng(3).integers(1, n, 30).tolist())), True


def _sized(n: int) -> list[int]:
    """Where pieces end that have sizes around those of detectors' groups, and none among them."""
    cuts = np.cumsum(np.resize([0, 1, 15, 16, 17, 31, 0, 33, 63, 64, 65, 255, 257], n)).tolist()
    return [at for at in cuts if at < n]


def _said(
    make: Callable[[], Detector], name: str, values: Floats, cuts: list[int], *, restart: bool
) -> list[tuple[int, str]]:
    detector = make()
    steps = np.arange(len(values))
    said: list[tuple[int, str]] = []
    for start, end in pairwise([0, *cuts, len(values)]):
        try:
            new = detector.feed(steps[start:end], values[start:end])
            if restart:
                state = json.loads(json.dumps(detector.state()))
                detector = make()
                detector.restore(state)
        except Exception as error:
            raise AssertionError(f"{name}: {error!r}, at values {start} to {end}") from error
        for index, what in new:
            _expect(_is_plain(what), f"{name}: the evidence is not plain: {what!r}")
            said.append((start + index, repr(what)))
    return sorted(said)


def _is_plain(what: object) -> bool:
    """Whether a finding holds nothing but what JSON knows; a numpy float is a float, and is none of these."""
    return not isinstance(what, Finding) or all(
        type(value) in (float, int, str, bool, NoneType) for value in (what.step, *what.evidence.values())
    )


def _expect(ok: bool, promise: str) -> None:
    if not ok:
        raise AssertionError(promise)
