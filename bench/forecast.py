"""Coverage of forecasts: how often the end of a real training lies in the 80 % interval that was given before.

Every log of a collection is cut at 30, 50, 70 and 90 % of its steps, and its end, the mean over the last twentieth of the steps, is
forecast from what came before. The hash of its name puts a log into the half on which the quantiles are tuned, or into the
half that is held out. Logs that hold the same values count once.

    python bench/forecast.py ../shared/data/curves ../shared/data/real [--tune]
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lrwatch.core import forecast as subject
from lrwatch.core.curve import Curve
from lrwatch.core.names import primary
from lrwatch.core.sample import Floats, Ints
from lrwatch.errors import LrwatchError
from lrwatch.sources.table import read

SHARES = (0.3, 0.5, 0.7, 0.9)
HALVES = ("tuned", "held out")
LEAST_VALUES = 60


class Log(NamedTuple):
    """The watched metric of a finished training, its half: 0 is the one to tune on."""

    name: str
    steps: Ints
    values: Floats
    half: int


class Case(NamedTuple):
    """One forecast and what came. `unit`: how far the bounds are from the forecast, per quantile."""

    log: Log
    share: float
    made: subject.Forecast
    end: float


def half_of(name: str) -> int:
    """Return 0 or 1, by the hash of the name."""
    return hashlib.sha256(name.encode()).digest()[-1] % 2


def load(directories: Sequence[Path]) -> Iterator[Log]:
    """Yield the logs of a collection that have values enough, each curve once."""
    seen: set[tuple[int, float]] = set()
    for path in sorted(path for directory in directories for path in directory.rglob("*") if path.is_file()):
        if path.name.endswith(("README.md", "INDEX.csv")):
            continue
        if (found := _golden(path) if "megatron_golden" in path.parts else _log(path)) is None:
            continue
        steps, values = found
        finite = np.isfinite(values)
        steps, values = steps[finite], values[finite]
        if len(values) < LEAST_VALUES or steps[-1] <= steps[0]:
            continue
        rising = steps >= np.maximum.accumulate(steps)
        steps, values = steps[rising], values[rising]
        key = len(values), round(float(values[-1]), 6)
        if key not in seen:
            seen.add(key)
            yield Log(path.name, steps - steps[0] + 1, values, half_of(path.name))


def _golden(path: Path) -> tuple[Ints, Floats]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["lm loss"]["values"]
    return np.array([int(step) for step in values]), np.array([float(value) for value in values.values()])


def _log(path: Path) -> tuple[Ints, Floats] | None:
    try:
        reading = read(path)
    except LrwatchError:
        return None
    columns = reading.columns()
    if (metric := primary(columns)) is None:
        return None
    column = columns[metric]
    return reading.steps()[column.rows], column.values


def cases(log: Log, shares: Sequence[float] = SHARES) -> Iterator[Case]:
    """Yield the forecasts of a log from each share of its steps."""
    total = int(log.steps[-1])
    whole = Curve()
    whole.add(log.steps, log.values)
    end = float(log.values[log.steps >= (1 - subject.TAIL) * total].mean())
    for share in shares:
        cut = int(np.searchsorted(log.steps, share * total, "right"))
        curve = Curve()
        curve.add(log.steps[:cut], log.values[:cut])
        curve.last = int(share * total)  # a log with wide steps may end its part a little earlier
        yield Case(log, share, subject.forecast(curve, total), end)


def table(found: Sequence[Case]) -> list[str]:
    """Return the lines of the table of coverage."""
    lines = [
        "| share of the run | tuned on | inside | held out | inside | all inside | below | above | width / change | not shown |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    for share in SHARES:
        at = [case for case in found if case.share == share]
        shown = [case for case in at if not case.made.reason]
        cells = [f"{100 * share:.0f} %"]
        for half in (0, 1):
            part = [case for case in shown if case.log.half == half]
            cells += [str(len(part)), _percent(part, inside)]
        widths = [(case.made.upper - case.made.lower) / max(abs(case.end - _now(case)), 1e-12) for case in shown]
        below = _percent(shown, lambda case: case.end < case.made.lower)
        above = _percent(shown, lambda case: case.end > case.made.upper)
        cells += [_percent(shown, inside), below, above, f"{np.median(widths):.2f}", str(len(at) - len(shown))]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def inside(case: Case) -> bool:
    """Return whether the end lies in the interval."""
    return case.made.lower <= case.end <= case.made.upper


def _now(case: Case) -> float:
    step = case.share * case.log.steps[-1]
    return float(case.log.values[(case.log.steps <= step) & (case.log.steps > 0.9 * step)].mean())


def _percent(part: Sequence[Case], which: Any) -> str:
    return f"{100 * np.mean([which(case) for case in part]):.0f} %" if part else "-"


def quantiles(found: Sequence[Case], share: float) -> tuple[float, float]:
    """Return the quantiles of the standardised errors at one share on the half to tune on, corrected for their number."""
    errors = []
    for case in found:
        if case.share == share and case.log.half == 0 and not case.made.reason:
            efolds = np.log((1 - subject.TAIL / 2) / share)
            unit = (case.made.value - case.made.lower) / -np.interp(efolds, subject._EFOLDS, subject.LOWER)
            errors.append((case.end - case.made.value) / unit)
    upper = min(1.0, 0.9 * (1 + 1 / len(errors)))
    low, high = np.quantile(errors, [1 - upper, upper])
    return float(low), float(high)


def main() -> None:
    """Print the table of coverage, and with --tune the quantiles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="+", type=Path, help="Directories of finished logs.")
    parser.add_argument("--tune", action="store_true", help="Print the quantiles of the half to tune on.")
    options = parser.parse_args()
    logs = list(load(options.directories))
    found = [case for log in logs for case in cases(log)]
    print(f"{len(logs)} logs, {sum(log.half == 0 for log in logs)} of them to tune on\n")
    print("\n".join(table(found)))
    reasons = Counter(case.made.reason.partition(" at ")[0].lstrip("0123456789 ") for case in found if case.made.reason)
    print("\nnot shown:", ", ".join(f"{count} times: {reason}" for reason, count in reasons.most_common()))
    if options.tune:
        for share in SHARES:
            print(f"{share}: {quantiles(found, share)[0]:.2f} {quantiles(found, share)[1]:.2f}")


if __name__ == "__main__":
    main()
