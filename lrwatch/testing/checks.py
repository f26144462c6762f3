"""Conformance check for detectors: `check_detector` raises AssertionError with the promise that was broken."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise, zip_longest
from types import NoneType
from typing import Any

import numpy as np

from lrwatch.core.detectors.base import DEFAULTS, Detector, Pair, Poll
from lrwatch.core.events import Finding
from lrwatch.core.options import DetectOptions
from lrwatch.core.sample import Floats

# Number of values of a test input: enough to fill the detectors' windows; the check takes a second or two.
LENGTH = 1000

# Number of values of the long input, during which the state must stay below a detector's MAX_STATE_BYTES.
LONG = 20_000

# A detector of pairs gets every fifth value of an input: a run has few pairs. Odd, to preserve alternations.
PAIR_EVERY = 5

# Ordinary inputs are multiples of this.
GRID = 2.0**-30

# Factors of the change of units, and the offset of the shift of the origin.
FACTORS = (1024.0, 1 / 1024)
SHIFT = 1024.0


def hard_inputs() -> Mapping[str, Floats]:
    """Return finite floats that break naive statistics, by name; shape (LENGTH,) each."""
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
    """Return curves with something to detect, by name; shape (n,) each.

    All values are whole multiples of GRID. Scaling by 1024 and shifting by 1024 are therefore exact.
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
    """Return inputs with NaN and infinities among the values, by name; shape (LENGTH,) each."""
    rng = np.random.default_rng(1)
    some = np.where(rng.random(LENGTH) < 0.05, np.nan, 2 + rng.standard_normal(LENGTH))
    return {
        "NaN among values": some,
        "infinities among values": np.where(np.isnan(some), np.inf * np.sign(rng.standard_normal(LENGTH)), some),
        "a burst of NaN": np.where((np.arange(LENGTH) > 300) & (np.arange(LENGTH) < 500), np.nan, some),
        "NaN alone": np.full(LENGTH, np.nan),
    }


def check_detector(detector: type[Detector[Any]], options: DetectOptions = DEFAULTS) -> None:
    """Check the promises of a detector.

    1. Any floats are accepted, without an exception and without a warning.
    2. The same input gives the same output.
    3. The division of the input into pieces changes nothing: single values, pieces of any size, empty pieces.
    4. A new detector restored from the state at any cut, through JSON, continues as the old one would.
    5. The state stays below `MAX_STATE_BYTES` for inputs of any length.
    6. The evidence of a finding holds plain numbers, strings and None, as readers of a journal expect.
    7. There is no output within its `silence`.
    8. If declared by `SCALE_INVARIANT` and `SHIFT_INVARIANT`: values scaled by 1024 or 1 / 1024, or shifted by 1024,
       change only the numbers of a report. Maximising a metric equals minimising the negated metric.

    For a detector of a pair the values are validation values, and the training metric improves; for a detector of the
    clock they are the times of polls.

    Args:
        detector: The detector class.
        options: Options of each instance.

    Raises:
        AssertionError: A promise is broken; the message says which, and on which input.
    """
    check = _Check(detector, options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        every = PAIR_EVERY if detector.NEEDS == "pair" else 1
        for name, whole in {**hard_inputs(), **({} if detector.FINITE_ONLY else inputs_not_finite())}.items():
            values = whole[::every]
            check.input(name, values, _cuttings(len(values)))
        for name, whole in ordinary_inputs().items():
            values = whole[::every]
            check.input(name, values, [(_sized(len(values)), True)])
            check.silence(name, values)
            places = check.places(values)
            for factor in FACTORS if detector.SCALE_INVARIANT else ():
                _expect(check.places(factor * values) == places, f"{name}: times {factor:g} it is reported elsewhere")
            if detector.SHIFT_INVARIANT:
                _expect(check.places(values + SHIFT) == places, f"{name}: {SHIFT:g} higher it is reported elsewhere")
            if detector.NEEDS != "clock":
                _expect(check.mirrored.places(-values) == places, f"{name}: upside down it is reported elsewhere")
                check.mirrored.silence(f"{name}, upside down", -values)
        check.size()


class _Check:
    """Feeder of a detector with given options."""

    def __init__(self, detector: type[Detector[Any]], options: DetectOptions) -> None:
        self._detector, self._options = detector, options

    @property
    def mirrored(self) -> _Check:
        """The same check for the opposite direction."""
        return _Check(
            self._detector, replace(self._options, direction="max" if self._options.direction == "min" else "min")
        )

    def make(self) -> Detector[Any]:
        """Make a new detector."""
        return self._detector("loss", self._options)

    def places(self, values: Floats) -> list[tuple[int, str]]:
        """Return the index and the kind of each report."""
        outputs = self.make().feed(list(range(len(values))), self._samples(values, 0))
        return [(at, getattr(output, "kind", getattr(output, "state", ""))) for at, output in outputs]

    def size(self) -> None:
        """Check promise 5."""
        rng = np.random.default_rng(2)
        detector = self.make()
        for at in range(0, LONG, LENGTH):
            detector.feed(list(range(at, at + LENGTH)), self._samples(3 + rng.standard_normal(LENGTH), at))
            size = len(json.dumps(detector.state()))
            _expect(size <= detector.MAX_STATE_BYTES, f"the state has {size} bytes after {at + LENGTH} values")

    def input(self, name: str, values: Floats, cuttings: Iterable[tuple[list[int], bool]]) -> None:
        """Check promises 1 to 4 and 6 on one input.

        Raises:
            AssertionError: A promise is broken.
        """
        whole = self._outputs(name, values, [], restore=False)
        for cuts, restore in cuttings:
            outputs = self._outputs(name, values, cuts, restore=restore)
            how = "the same input gives another output;" if not cuts else "restored" if restore else "cut"
            differ = next((pair for pair in zip_longest(outputs, whole) if pair[0] != pair[1]), None)
            if differ is not None:
                raise AssertionError(f"{name}: {how} at {cuts[:5]}... it yields {differ[0]}, uncut {differ[1]}")

    def silence(self, name: str, values: Floats) -> None:
        """Check promise 7 on one input of finite values.

        Raises:
            AssertionError: It is broken.
        """
        detector = self.make()
        samples, steps, at = self._samples(values, 0), list(range(len(values))), 0
        while at < len(values):
            silence = detector.silence
            within = values[at : at + max(silence.samples, 0)]
            beyond = np.flatnonzero((within < silence.low) | (within > silence.high))
            end = at + (int(beyond[0]) if len(beyond) else len(within))
            found = detector.feed(steps[at:end], samples[at:end])
            _expect(not found, f"{name}: it promises {silence} at {at}, and yields {found[:1]}")
            detector.feed(steps[end : end + 1], samples[end : end + 1])
            at = end + 1

    def _outputs(self, name: str, values: Floats, cuts: list[int], *, restore: bool) -> list[tuple[int, str]]:
        detector = self.make()
        samples, steps = self._samples(values, 0), list(range(len(values)))
        outputs: list[tuple[int, str]] = []
        for start, end in pairwise([0, *cuts, len(values)]):
            try:
                new = detector.feed(steps[start:end], samples[start:end])
                if restore:
                    state = json.loads(json.dumps(detector.state()))
                    detector = self.make()
                    detector.restore(state)
            except Exception as error:
                raise AssertionError(f"{name}: {error!r}, at values {start} to {end}") from error
            for index, output in new:
                _expect(_is_plain(output), f"{name}: the evidence is not plain: {output!r}")
                outputs.append((start + index, repr(output)))
        return sorted(outputs)

    def _samples(self, values: Floats, at: int) -> list[Any]:
        """Return the values as samples: plain, as pairs whose training metric improves, or as times of polls."""
        match self._detector.NEEDS:
            case "metric":
                return list(values.tolist())
            case "pair":
                sign = 1.0 if self._options.direction == "min" else -1.0
                return [Pair(value, sign * (3 - i / 10_000)) for i, value in enumerate(values.tolist(), at)]
            case "clock":
                return [Poll(value, arrived=i % 10 < 8) for i, value in enumerate(values.tolist(), at)]


def _cuttings(n: int) -> Iterator[tuple[list[int], bool]]:
    """Yield lists of cuts, each with whether a restored detector continues there; the first list is empty."""
    yield [], False
    if n > 1:
        yield _sized(n), False
        yield list(range(1, min(n, 100))), True
        yield sorted(set(np.random.default_rng(3).integers(1, n, 30).tolist())), True


def _sized(n: int) -> list[int]:
    """Return the ends of pieces whose sizes are close to those of detectors' groups; some pieces are empty."""
    cuts = np.cumsum(np.resize([0, 1, 15, 16, 17, 31, 0, 33, 63, 64, 65, 255, 257], n)).tolist()
    return [at for at in cuts if at < n]


def _is_plain(output: object) -> bool:
    """Return whether a finding holds only the types of JSON; `numpy.float64` is a subclass of float and is refused."""
    return not isinstance(output, Finding) or all(
        type(value) in (float, int, str, bool, NoneType) for value in (output.step, *output.evidence.values())
    )


def _expect(ok: bool, promise: str) -> None:
    if not ok:
        raise AssertionError(promise)
