"""Plateaus that each rule reports on real runs at its defaults, and how many of the reports were early.

The truth of a real run is unknown, so a report at step s is judged in hindsight. With the horizon h = a tenth of the
run up to s, and level(t) = the median of the values from t - h/2 to t + h/2, the report is

- *early by the next horizon* if level(s + h) lies more than MIN_IMPROVEMENT below level(s), relative to level(s);
- *early by the end* if the median of the last tenth of the run lies more than MIN_IMPROVEMENT x k below level(s), where
  k is the rest of the run in horizons, each a tenth of the run up to its start: ln(last / s) / ln(1.1), and at least
  one. MIN_IMPROVEMENT compounds, because it is relative to a falling level.

Where less than one and a half horizons remain, the end decides for both. A report in the last tenth of a run can hardly
be judged, and mostly counts as right. A run ends at the first sudden fall of its learning rate, if its log has one: the
gain from that fall is no sign that an earlier report was early. A slowly falling schedule stays in, and the loss falls
with it: an early report is then one at which a cut would have given the same gain. Unstable runs, which jump up for a
while, are included: a report at the top of a jump is early too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

import lrwatch
from bench.detect import blocks, rules
from lrwatch.core.names import role
from lrwatch.core.sample import Floats
from lrwatch.errors import LrwatchError

HORIZON = 0.1
MIN_IMPROVEMENT = 0.005

# Runs of fewer values say little about a rule that needs a tenth of them.
LEAST = 50
# Logged values a mean, and the least number of means for which a run is also judged by its means.
MEAN = 50
LEAST_MEANS = 20

# Suffix of tables about a collection of runs.
INDEX = "INDEX"

# Ratio of neighbouring logged rates below which the fall is a step of a schedule, not a slow decay.
SUDDEN = 0.7


class Run(NamedTuple):
    """A run: its name, and the steps and values of its training loss, shape (n,) each."""

    name: str
    steps: Floats
    values: Floats

    def means(self) -> Run | None:
        """Return the run as means of MEAN values at the step of the newest, or None where there are too few."""
        if len(self.values) < MEAN * LEAST_MEANS:
            return None
        return Run(self.name, self.steps[MEAN - 1 :: MEAN], blocks.means(self.values[None], MEAN)[0])


def load(path: Path) -> Run | None:
    """Return the training loss of a log, or None where it has none of sufficient length."""
    try:
        table = lrwatch.read_log(path)
    except LrwatchError:
        return None
    counts = table.notna().sum()
    losses = [name for name in table.columns if role(str(name)) == "train_loss"]
    if not losses and table.shape[1] == 2:  # a table of steps and one number
        losses = [name for name in table.columns if name != "step"]
    if not losses:
        return None
    loss = max(losses, key=lambda name: counts[name])
    table = table[np.isfinite(table[loss].to_numpy(np.float64))]
    values = table[loss].to_numpy(np.float64)
    rates = [name for name in table.columns if role(str(name)) == "lr"]
    end = len(values)
    if rates:
        rate = table[max(rates, key=lambda name: counts[name])].ffill().to_numpy(np.float64)
        falls = np.flatnonzero(rate[1:] < SUDDEN * rate[:-1])
        end = int(falls[0]) + 1 if len(falls) else end
    steps = table["step"].to_numpy(np.float64)
    if (np.diff(steps) <= 0).any():  # steps that do not increase: use the order of the records
        steps = np.arange(len(values), dtype=np.float64)
    return Run(path.name, steps[:end], values[:end]) if end >= LEAST else None


def load_all(directories: list[Path]) -> Iterator[Run]:
    """Yield the runs under the directories; a run in two formats counts once."""
    found = set()
    for path in sorted(
        path
        for directory in directories
        for path in directory.rglob("*")
        if path.is_file() and not path.stem.endswith(INDEX)
    ):
        run = load(path)
        if run is not None and (key := run.values.round(3).tobytes()) not in found:
            found.add(key)
            yield run


class Judge:
    """Hindsight about the reports in one run."""

    def __init__(self, run: Run) -> None:
        self._steps, self._values = run.steps, run.values
        self._first, self._last = float(run.steps[0]), float(run.steps[-1])

    def _level(self, start: float, end: float) -> float:
        first, after = np.searchsorted(self._steps, (start, end))
        return float(np.median(self._values[min(first, len(self._values) - 1) : max(after, first + 1)]))

    def early(self, step: float) -> tuple[bool, bool]:
        """Return whether a report at `step` was early: by the next horizon, by the end."""
        horizon = max(HORIZON * (step - self._first), 1.0)
        level = self._level(step - horizon / 2, step + horizon / 2)
        tail = self._level(self._last - HORIZON * (self._last - self._first), self._last + 1)
        remaining = math.log((self._last - self._first) / max(step - self._first, 1.0)) / math.log(1 + HORIZON)
        end = level - tail > (1 - (1 - MIN_IMPROVEMENT) ** max(1.0, remaining)) * abs(level)
        if step + 1.5 * horizon > self._last:
            return end, end
        return level - self._level(step + horizon / 2, step + 1.5 * horizon) > MIN_IMPROVEMENT * abs(level), end


class Report(NamedTuple):
    """A report: its place as a share of the run, and whether it was early by the next horizon and by the end."""

    place: float
    soon: bool
    end: bool


@dataclass(slots=True)
class Count:
    """Counts of a rule: runs, runs with a report, reports, early ones in each sense, runs with an early one."""

    runs: int = 0
    reported: int = 0
    reports: int = 0
    next: int = 0
    end: int = 0
    runs_early: int = 0

    def add(self, reports: list[Report]) -> None:
        """Count a run by its reports."""
        self.runs += 1
        self.reported += bool(reports)
        self.reports += len(reports)
        self.next += sum(report.soon for report in reports)
        self.end += sum(report.end for report in reports)
        self.runs_early += any(report.soon or report.end for report in reports)

    def row(self, name: str) -> str:
        """Return the row of the table."""
        return (
            f"| {name} | {self.runs} | {self.reported} | {self.reports} | {self.next} | {self.end} "
            f"| {self.runs_early} |"
        )


def judge(run: Run) -> dict[str, list[Report]]:
    """Return the reports of each rule, on logged values and on means."""
    hindsight = Judge(run)
    found = {}
    for kind, series in (("logged values", run), (f"means of {MEAN}", run.means())):
        if series is not None:
            for name, reports in rules.reports(series.steps, series.values).items():
                at = series.steps[reports]
                places = (at - run.steps[0]) / (run.steps[-1] - run.steps[0])
                judged = [hindsight.early(float(step)) for step in at]
                found[f"{name}, {kind}"] = [Report(float(p), *early) for p, early in zip(places, judged, strict=True)]
    return found


def compare(directories: list[Path], workers: int) -> str:
    """Make a Markdown table of the results of each rule on the runs under the directories.

    Raises:
        SystemExit: A directory is missing, or holds no run of sufficient length.
    """
    for directory in directories:
        if not directory.is_dir():
            raise SystemExit(
                f"expected a directory of logs of real runs, found none at {directory}: nothing is compared"
            )
    runs = list(load_all(directories))
    if not runs:
        raise SystemExit(f"expected logs with a training loss of {LEAST} values, found none in {directories}")
    counts: dict[str, Count] = {}
    ours: list[str] = []
    with (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
        click.progressbar(pool.map(judge, runs), len(runs), f"{len(runs)} real runs") as judged,
    ):
        for run, found in zip(runs, judged, strict=True):
            for name, reports in found.items():
                counts.setdefault(name, Count()).add(reports)
                ours += [
                    f"- {run.name}: {name}, at {100 * report.place:.1f} % of the run"
                    for report in reports
                    if name.startswith("lrwatch") and (report.soon or report.end)
                ]
    head = (
        "| rule at its defaults, fed with | runs | with a report | reports | early by the next horizon | early by the end "
        "| runs with an early one |\n|---|---|---|---|---|---|---|"
    )
    rows = [count.row(name) for name, count in sorted(counts.items(), key=lambda item: ", means" in item[0])]
    return "\n".join([head, *rows, "", "Early reports of lrwatch:", "", *(ours or ["none"])]) + "\n"
