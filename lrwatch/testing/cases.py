"""Training runs with known truth, one for each way in which detectors are known to fail.

`CASES` holds them by name: healthy ones, in which nothing may be reported (or only what they name), and ones with something
to find. A case makes a log for each seed, so that a rate can be counted:

>>> case = CASES["sharp plateau, mid"]
>>> log = case.make(1)
>>> log.flat_from, sorted(log.expected), len(log.metrics["loss"].values)
(6000, ['plateau'], 12000)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from lrwatch.core.sample import Floats, Ints
from lrwatch.testing.curves import (
    NOISES,
    Noise,
    autoregression,
    exponential,
    flat_from,
    hinge,
    line,
    power_law,
    student,
)

# Values of a run, and what is asked of it: an improvement of ASKED per HORIZON values, in units of the metric.
N = 12_000
HORIZON = 1000
ASKED = 0.1

# Standard deviation of the noise unless a case says otherwise.
SD = 0.1


# What may be said of a straight line, which many of the healthy curves are.
LINES = frozenset({"too_slow"})

# A metric that is far above its level for a hundred values has left it, whatever the reason.
GONE = ("divergence",)


class Series(NamedTuple):
    """One metric of a log: steps, shape (n,), and values, shape (n,)."""

    steps: Ints
    values: Floats


@dataclass(frozen=True, slots=True)
class Log:
    """What a trainer wrote, and the truth under it.

    Attributes:
        metrics: Name to series, in the order of the log. The first is the one that the truth is about.
        flat_from: Step from which on the mean improves by less than asked, or None where it never does.
        expected: Kinds of findings that are right.
        allowed: Kinds that may be found or not: a straight line is one, whatever else happens to it.
    """

    metrics: Mapping[str, Series]
    flat_from: int | None = None
    expected: frozenset[str] = frozenset()
    allowed: frozenset[str] = LINES


@dataclass(frozen=True, slots=True)
class Case:
    """A family of runs, one for each seed.

    Attributes:
        number: The case in the list of failures that it stands for; variants share it.
        name: What it is.
        make: Seed to log.
        horizon, min_improvement, relative, direction: What is asked, as `DetectOptions` takes it.
        disclaimed: No detector can keep a promise here, and none is made: a flat stretch of which only the future tells that it
            ends, or noise that wanders as slowly as the run.
    """

    number: int
    name: str
    make: Callable[[int], Log]
    horizon: float = HORIZON
    min_improvement: float = ASKED
    relative: bool = False
    direction: Literal["min", "max"] = "min"
    disclaimed: bool = False

    @property
    def null(self) -> bool:
        """Whether nothing is there to find."""
        return not self.make(0).expected


CASES: dict[str, Case] = {}


def _case(number: int, name: str, make: Callable[[int], Log], **asked: object) -> None:
    CASES[name] = Case(number, name, make, **asked)  # type: ignore[arg-type]  # fields of Case, by name


def _log(
    values: Floats,
    expected: tuple[str, ...] = (),
    since: int | None = None,
    name: str = "loss",
    allowed: tuple[str, ...] = (),
) -> Log:
    series = Series(np.arange(len(values)), values)
    return Log({name: series}, since, frozenset(expected), frozenset(allowed) | LINES)


def _noisy(mean: Floats, noise: str | Noise = "gauss", sd: float | Floats = SD) -> Callable[[int], Log]:
    """A loss with `mean`; what is to find follows from it."""
    since = flat_from(mean, HORIZON, ASKED, relative=False)
    draw = NOISES[noise] if isinstance(noise, str) else noise

    def make(seed: int) -> Log:
        return _log(
            mean + sd * draw(np.random.default_rng(seed), len(mean)), ("plateau",) if since is not None else (), since
        )

    return make


def _with(
    change: Callable[[Floats, np.random.Generator], Floats],
    mean: Floats,
    *expected: str,
    allowed: tuple[str, ...] = (),
) -> Callable[[int], Log]:
    """The same after `change(values, generator)`."""
    since = flat_from(mean, HORIZON, ASKED, relative=False)

    def make(seed: int) -> Log:
        rng = np.random.default_rng(seed)
        found = (*expected, *(("plateau",) if since is not None else ()))
        return _log(change(mean + SD * rng.standard_normal(len(mean)), rng), found, since, allowed=allowed)

    return make


AT = np.arange(N)
HEALTHY = line(N, 1.5 * ASKED / HORIZON)


def _steep_power(exponent: float) -> Floats:
    """A power law that at its end still improves by half more than is asked."""
    mean = power_law(N + HORIZON, 0.0, 1.0) * (1 + np.arange(N + HORIZON) / (N / 50)) ** -exponent
    return 2.0 + mean[:N] * float(1.5 * ASKED / (mean[N - 1] - mean[-1]))


# ---- healthy: nothing may be said ---------------------------------------------------------------------------------

for _times in (1.0, 1.5, 3.0):
    _case(1, f"line at {_times:g} times what is asked", _noisy(line(N, _times * ASKED / HORIZON)))
for _exponent in (0.1, 0.3, 0.5):
    _case(2, f"power law {_exponent:g}", _noisy(_steep_power(_exponent)))
_case(3, "exponential before it flattens", _noisy(exponential(N, 8000, 12.0, 2.0)))
_case(
    4,
    "stairs",
    lambda seed: _log(4 - 1.5 * (AT >= 6000) + SD * np.random.default_rng(seed).standard_normal(N)),
    disclaimed=True,
)
for _phi in (0.5, 0.9, 0.98):
    _case(5, f"autoregressive {_phi:g}", _noisy(HEALTHY, autoregression(_phi)))
_case(5, "white", _noisy(HEALTHY))
_case(5, "smoothed 0.99", _noisy(HEALTHY, autoregression(0.99)), disclaimed=True)
_case(6, "student 3", _noisy(HEALTHY, "t3"))
_case(6, "student 2.2", _noisy(HEALTHY, student(2.2)))
_case(6, "log-normal", _noisy(HEALTHY, "lognormal"))


def _spikes(values: Floats, rng: np.random.Generator) -> Floats:
    values[rng.integers(100, N, 3)] += 5.0
    return values


def _clusters(values: Floats, rng: np.random.Generator) -> Floats:
    for start in rng.integers(1000, N - 200, 4).tolist():
        values[start : start + 200] += 2 * np.exp(-np.arange(200) / 33)
    return values


def _dips(values: Floats, rng: np.random.Generator) -> Floats:
    values[rng.integers(100, N, 12)] -= 3.0
    return values


_case(7, "single spikes", _with(_spikes, HEALTHY, "spike"))
_case(7, "spike clusters that recover slowly", _with(_clusters, HEALTHY, "spike", allowed=GONE))
_case(7, "outliers for the better", _with(_dips, HEALTHY))
_case(8, "sawtooth", _noisy(HEALTHY, "sawtooth"))
_case(8, "batches sorted by length", _with(lambda values, _: values + 0.2 * ((AT % 500) / 500 - 0.5), HEALTHY))
_case(8, "level shift up", _with(lambda values, _: values + 1.0 * (AT >= 5000), HEALTHY, allowed=GONE))
_case(8, "level shift down", _with(lambda values, _: values - 1.0 * (AT >= 5000), HEALTHY))
_case(9, "noise that falls", _noisy(HEALTHY, sd=SD * np.linspace(2.0, 0.3, N)))
_case(9, "noise that rises", _noisy(HEALTHY, sd=SD * np.linspace(0.3, 2.0, N)))
_case(9, "larger batches from the middle on", _noisy(HEALTHY, sd=np.where(AT < N // 2, SD, SD / 4)))


def _scheduled(rate: Floats, mean: Floats) -> Callable[[int], Log]:
    def make(seed: int) -> Log:
        values = mean + SD * np.random.default_rng(seed).standard_normal(N)
        return Log({"loss": Series(AT, values), "lr": Series(AT, rate)})

    return make


_COSINE = 1e-3 * (1 + np.cos(np.pi * AT / N)) / 2
_case(10, "warmup", _scheduled(1e-3 * np.minimum(1.0, (AT + 1) / 1000), HEALTHY))
_case(10, "cosine", _scheduled(_COSINE, HEALTHY))
_case(
    10,
    "warmup, stable, decay",
    _scheduled(1e-3 * np.minimum(np.minimum(1.0, (AT + 1) / 500), (N - AT) / (0.2 * N)), HEALTHY),
)
_case(10, "cyclic", _scheduled(1e-3 * (1.1 + np.cos(2 * np.pi * AT / 2000)), HEALTHY))
_case(11, "negative", _noisy(HEALTHY - 10))
_case(
    11,
    "tiny",
    lambda seed: _log(1e-9 * (HEALTHY + SD * np.random.default_rng(seed).standard_normal(N))),
    min_improvement=1e-9 * ASKED,
)
_case(
    11,
    "from 1e5 down to 10",
    lambda seed: _log(10 * (1e4 ** (1 - AT / N)) * (1 + 0.02 * np.random.default_rng(seed).standard_normal(N))),
    min_improvement=0.02,
    relative=True,
)
_case(11, "four digits", _with(lambda values, _: np.round(values, 4), HEALTHY))
_case(11, "two digits", _with(lambda values, _: np.round(values, 2), HEALTHY))
_case(
    12,
    "accuracy near 1",
    lambda seed: _log(
        np.minimum(1.0, 1 - 0.2 * np.exp(-AT / 5000) + 0.003 * np.random.default_rng(seed).standard_normal(N)),
        name="accuracy",
    ),
    min_improvement=0.002,
    direction="max",
)


def _thinned(seed: int, steps: Ints) -> Log:
    rng = np.random.default_rng(seed)
    return Log({"loss": Series(steps, HEALTHY[steps] + SD * rng.standard_normal(len(steps)))})


def _rewound(seed: int) -> Log:
    return _thinned(seed, np.concatenate([np.arange(7000), np.arange(6000, N)]))


def _gaps(seed: int) -> Log:
    rng = np.random.default_rng([seed, 1])
    return _thinned(seed, np.sort(rng.integers(0, N, N)))  # some steps twice, some not at all


def _irregular(seed: int) -> Log:
    rng = np.random.default_rng([seed, 1])
    return _thinned(seed, np.flatnonzero(rng.random(N) < np.where(AT < 4000, 0.8, 0.2)))


def _ranks(seed: int) -> Log:
    """Four ranks write into one log, each what it saw itself."""
    return _thinned(seed, np.repeat(np.arange(0, N, 4), 4))


def _cadences(seed: int) -> Log:
    rng = np.random.default_rng(seed)
    every = np.arange(0, N, 20)
    val = HEALTHY[every] + 0.3 + SD / 2 * rng.standard_normal(len(every))
    return Log({"loss": Series(AT, HEALTHY + SD * rng.standard_normal(N)), "val_loss": Series(every, val)})


_case(13, "resume with a rewind", _rewound)
_case(13, "steps twice and missing", _gaps)
_case(13, "irregular intervals", _irregular)
_case(13, "ranks that take turns", _ranks)
_case(13, "two cadences", _cadences)
_case(
    14,
    "thirty epochs",
    lambda seed: _log(4 - 0.05 * np.arange(30) + 0.05 * np.random.default_rng(seed).standard_normal(30)),
    horizon=5,
    min_improvement=0.1,
)
_case(
    14,
    "a million values",
    lambda seed: _log(line(10**6, 1.5 * ASKED / 50_000) + SD * np.random.default_rng(seed).standard_normal(10**6)),
    horizon=50_000,
)
_case(
    15,
    "a random walk",
    lambda seed: _log(HEALTHY + 0.01 * np.cumsum(np.random.default_rng(seed).standard_normal(N))),
    disclaimed=True,
)

# ---- something to find --------------------------------------------------------------------------------------------

for _name, _at in (("early", 2500), ("mid", 6000), ("late", 9000)):
    _case(16, f"sharp plateau, {_name}", _noisy(hinge(N, _at, 2 + 3 * ASKED * _at / HORIZON)))
_case(17, "gradual plateau", _noisy(exponential(N, 1200, 6.0, 2.0)))


def _never_back(values: Floats, _: np.random.Generator) -> Floats:
    values[3000:] += 0.8
    values[3000:3020] += 5
    return values


_case(18, "plateau above the old best", _with(_never_back, hinge(N, 6000, 3.8), allowed=(*GONE, "spike")))
_case(19, "plateau after a drop of the rate", _noisy(hinge(N, 4000, 3.2) - 1.0 * (AT >= 3000)))
_case(20, "plateau under a sawtooth", _noisy(hinge(N, 6000, 3.8), "sawtooth"))


def _two(train: Floats, val: Floats, *expected: str) -> Callable[[int], Log]:
    """A training loss at every step and a validation loss at every twentieth; the truth is about the flat one of them."""

    def make(seed: int) -> Log:
        rng = np.random.default_rng(seed)
        every = np.arange(0, N, 20)
        metrics = {
            "loss": Series(AT, train + SD * rng.standard_normal(N)),
            "val_loss": Series(every, val[every] + SD / 2 * rng.standard_normal(len(every))),
        }
        return Log(metrics, flat_from(val, HORIZON, ASKED, relative=False), frozenset(expected))

    return make


_FLAT = hinge(N, 6000, 3.8)
_case(21, "validation flat while training improves", _two(HEALTHY, _FLAT, "plateau"))
_case(21, "training flat while validation improves", _two(_FLAT, HEALTHY, "plateau"))
_case(
    22,
    "slow divergence",
    _with(lambda values, _: values + np.maximum(0, AT - 6000) * 0.001, HEALTHY, "divergence", "plateau"),
)
_case(
    22,
    "fast divergence",
    _with(
        lambda values, _: values + np.minimum(20, np.maximum(0, AT - 6000) * 0.1),
        HEALTHY,
        "divergence",
        allowed=("plateau",),
    ),
)


def _set(where: slice, value: float) -> Callable[[Floats, np.random.Generator], Floats]:
    def change(values: Floats, _: np.random.Generator) -> Floats:
        values[where] = value
        return values

    return change


_case(22, "NaN at first", _with(_set(slice(0, 1), np.nan), HEALTHY, "nonfinite"))
_case(22, "NaN from the middle on", _with(_set(slice(6000, N), np.nan), HEALTHY, "nonfinite"))
_case(22, "bursts of infinities", _with(_set(slice(5000, 5050), np.inf), HEALTHY, "nonfinite"))
_case(
    23,
    "every second value is worse",
    _with(lambda values, _: values + np.where(AT >= 6000, 0.1 * (-1.0) ** AT, 0.0), HEALTHY, "oscillation"),
)
_case(
    23,
    "more noise at a worse level",
    _with(
        lambda values, rng: values + np.where(AT >= 6000, 2.0 + 0.5 * rng.standard_normal(N), 0.0),
        HEALTHY,
        "oscillation",
        allowed=("plateau", "divergence"),
    ),
)
_case(
    24,
    "overfitting",
    _two(HEALTHY, 4 - 0.0003 * np.minimum(AT, 5000) + 0.0003 * np.maximum(0.0, AT - 5000), "overfitting", "plateau"),
)
_case(
    25,
    "a straight line with little noise",
    lambda seed: _log(line(N, 3e-4) + 0.01 * np.random.default_rng(seed).standard_normal(N), ("too_slow",)),
)


def _local(seed: int) -> Log:
    """The loss of one rank beside the mean of sixteen."""
    rng = np.random.default_rng(seed)
    mean = hinge(N, 6000, 3.8)
    since = flat_from(mean, HORIZON, ASKED, relative=False)
    metrics = {
        "loss": Series(AT, mean + SD / 4 * rng.standard_normal(N)),
        "rank0/loss": Series(AT, mean + SD * rng.standard_normal(N)),
    }
    return Log(metrics, since, frozenset({"plateau"}))


_case(26, "one rank beside all", _local)
