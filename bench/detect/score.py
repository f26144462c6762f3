"""Scores of a rule: false alarms with their interval, delay, missed plateaus, and the least possible delay."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.detect.curves import Cell
from lrwatch.core.sample import Floats, Ints

# Quantile of the standard normal for intervals of 95 %.
Z95 = 1.959964


def wilson(count: int, of: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share."""
    if not of:
        return 0.0, 1.0
    share, z2 = count / of, Z95**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = Z95 / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of**2))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(slots=True)
class Tally:
    """Tally of one rule at one setting, over all runs so far.

    Attributes:
        false: Whether each run had a report before the truth.
        noise: Kind of noise of each run.
        delays: Delays in units, of the runs with room for a plateau and no false report; infinite where it was missed.
    """

    false: list[bool] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)

    def add(self, cell: Cell, at: Ints) -> None:
        """Count the runs of a cell; `at` has shape (runs,)."""
        n = cell.size.values
        false = (at < n) & (at < cell.tau)
        self.false += false.tolist()
        self.noise += [cell.noise] * len(at)
        delay = np.where(at < n, (at - cell.tau) / cell.unit, np.inf)
        self.delays += delay[cell.room() & ~false].tolist()

    def figures(self) -> Figures:
        """Return the figures so far."""
        false, noise = np.array(self.false), np.array(self.noise)
        low, high = wilson(int(false.sum()), len(false))
        return Figures(
            runs=len(false),
            false=float(false.mean()),
            low=low,
            high=high,
            delay50=_quantile(self.delays, 0.5),
            delay90=_quantile(self.delays, 0.9),
            missed=float(np.mean(np.isinf(self.delays))) if self.delays else math.nan,
            judged=len(self.delays),
            false_by_noise={kind: float(false[noise == kind].mean()) for kind in dict.fromkeys(self.noise)},
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one rule at one setting.

    Attributes:
        runs: Number of runs.
        false: Share of the runs with a report before the truth.
        low, high: Wilson's 95 % interval of `false`.
        delay50, delay90: Median and 90th percentile of the delay in units; a missed plateau counts as infinite.
        missed: Share of the plateaus not reported by the end of the run.
        judged: Number of runs with a plateau and no false report, on which the last three figures are based.
        false_by_noise: `false` by kind of noise.
    """

    runs: int
    false: float
    low: float
    high: float
    delay50: float
    delay90: float
    missed: float
    judged: int
    false_by_noise: dict[str, float]

    def plain(self) -> dict[str, Any]:
        """Return the figures for JSON: rounded, and null for infinite or missing ones."""
        return {
            name: {kind: round(share, 4) for kind, share in value.items()} if isinstance(value, dict)
            else value if isinstance(value, int)
            else round(value, 4) if math.isfinite(value)
            else None
            for name, value in asdict(self).items()
        }  # fmt: skip


def _quantile(delays: list[float], share: float) -> float:
    return float(np.quantile(delays, share, method="higher")) if delays else math.nan


def frontier(settings: dict[str, Figures]) -> list[str]:
    """Return the settings that no other beats in both false alarms and median delay, ordered by false alarms."""
    best, undominated = math.inf, []
    for name, figures in sorted(settings.items(), key=lambda item: (item[1].false, item[1].delay50)):
        if figures.delay50 < best:
            best = figures.delay50
            undominated.append(name)
    return undominated


def strictest(settings: dict[str, Figures], limit: float) -> str | None:
    """Return the fastest setting with a false-alarm rate of at most `limit`: the comparison at equal false alarms."""
    accepted = [name for name in frontier(settings) if settings[name].false <= limit]
    return accepted[-1] if accepted else None


def floor(cells_sd: Floats, lrv: Floats, unit: Floats, horizon: int, rate: npt.ArrayLike) -> Floats:
    """Return the median over the runs of the least delay at which a false-alarm rate is possible, in units.

    It is (6 LRV sd^2 horizon^2 ln(1/rate))^(1/3): the mean time in which an oracle that knows the level, the noise and
    the old slope has enough evidence against a fall of 1 per horizon, if the metric goes flat at once.

    Args:
        cells_sd: Standard deviation of the noise of each run, shape (runs,).
        lrv: Long-run variance over variance, shape (runs,).
        unit: Unit of delay, shape (runs,).
        horizon: Horizon in values.
        rate: False-alarm rates, shape (k,).

    Returns:
        The delays, shape (k,).
    """
    evidence = np.log(1 / np.asarray(rate, np.float64))[:, None]
    return np.asarray(np.median(np.cbrt(6 * lrv * cells_sd**2 * horizon**2 * evidence) / unit, axis=1))
