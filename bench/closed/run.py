"""Run every controller on every cell, in an order that lets earlier results tune later ones; results are cached.

The schedules come first, at each learning rate of a sweep; the best rate is that of the lowest final loss of the
cosine. The controllers start from it, from a third of it and from three times it. The held-out cells come last: of the
grid of torch's rule they have the one setting that was the best for all other cells.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from io import StringIO
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import Any

import click

import lrwatch
from bench.closed import controllers
from bench.closed.averaged import Averaged
from bench.closed.cells import PROBLEM_RATES, Cell, cells, sources
from bench.closed.play import Outcome, Plan, play
from bench.closed.trainings import REAL, Networks, Runs
from lrwatch.testing.closed_loop.play import hindsight
from lrwatch.testing.closed_loop.problems import PROBLEMS

SCHEDULES, STARTED, PEERS, ADALRS = "schedules", "started", "peers", "adalrs"
LRWATCH, KNOWN, AVERAGED = "lrwatch", "known", "averaged"
GROUPS = (SCHEDULES, STARTED, PEERS, ADALRS, LRWATCH, KNOWN, AVERAGED)

# Start rates of controllers, relative to the best rate.
STARTS = (1 / 3, 1.0, 3.0)

PACKAGE = Path(lrwatch.__file__).parent

# Sources that determine what lrwatch decides.
DECIDED_BY = (*sorted((PACKAGE / "core").rglob("*.py")), PACKAGE / "controller.py")


@dataclass(frozen=True, slots=True)
class Size:
    """Size of the measurement.

    Attributes:
        seeds: Seeds of initial weights and batches.
        reads: The two lengths of a real training.
        problem_reads: The two lengths of a problem.
        rates: Rates of the sweep, relative to its middle.
        short: Whether the grid of torch's rule is small.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    reads: tuple[int, ...] = (2000, 8000)
    problem_reads: tuple[int, ...] = (4000, 20000)
    rates: tuple[float, ...] = (1 / 3, 3**-0.5, 1.0, 3**0.5, 3.0)
    short: bool = False


SHORT = Size(seeds=(0,), reads=(1000, 4000), rates=(1 / 3, 1.0, 3.0), short=True)


@dataclass(slots=True)
class Measured:
    """All results of a cell.

    Attributes:
        reads: The lengths.
        starts: The rates that controllers start from, the best one in the middle.
        outcomes: Outcomes of each seed.
        best: For a problem, the risk of the best schedule in hindsight, for each length.
        edge: Whether the best rate is the smallest or the largest of the sweep: a better one may lie beyond.
    """

    cell: Cell
    reads: tuple[int, ...]
    starts: tuple[float, ...] = PROBLEM_RATES
    outcomes: dict[int, list[Outcome]] = field(default_factory=dict)
    best: dict[int, float] = field(default_factory=dict)
    edge: bool = False

    def group(self, name: str) -> dict[tuple[str, float], list[Outcome]]:
        """Return the outcomes of a controller by setting and start rate, one of each seed."""
        found: dict[tuple[str, float], list[Outcome]] = {}
        for outcomes in self.outcomes.values():
            # Only once where the constant rate of a sweep is also a start rate.
            for at, outcome in {(o.setting, o.rate): o for o in outcomes if o.name == name}.items():
                found.setdefault(at, []).append(outcome)
        return found

    def tuned(
        self, name: str, steps: int, starts: Sequence[float] | None = None, setting: str | None = None
    ) -> list[Outcome]:
        """Return the outcomes of the best setting and start rate of a controller.

        Args:
            name: Name of the controller.
            steps: Number of steps after which the loss counts.
            starts: Start rates to choose from; all unless given.
            setting: The setting; all unless given.

        Returns:
            An outcome for each seed; empty where there is none.
        """
        candidates = [
            outcomes
            for (at, rate), outcomes in self.group(name).items()
            if (starts is None or rate in starts)
            and setting in (None, at)
            and all(steps in outcome.losses for outcome in outcomes)
        ]
        return min(candidates, key=lambda outcomes: mean_loss(outcomes, steps), default=[])

    def reference(self, steps: int) -> float:
        """Return the loss of the reference: the tuned cosine, and for a problem the best schedule in hindsight."""
        return self.best[steps] if self.best else mean_loss(self.tuned(controllers.COSINE, steps), steps)


def mean_loss(outcomes: Sequence[Outcome], steps: int) -> float:
    """Return the mean loss over the seeds; infinite where one of them diverged, or there is none."""
    return fmean(outcome.losses[steps] for outcome in outcomes) if outcomes else math.inf


class Cache:
    """Cache of measurements in a directory.

    Args:
        directory: A file for each cell, seed and group.
        again: Groups whose cached measurements are ignored.
    """

    def __init__(self, directory: Path, again: Sequence[str] = ()) -> None:
        self._directory, self._again = directory, again
        directory.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, group: str, key: Any, measure: Callable[[], Any]) -> Any:
        """Return the cached measurement if its key is the same; measure and cache it otherwise."""
        if not self.holds(name, group, key):
            self.put(name, group, key, measure())
        return self.held(name, group)

    def holds(self, name: str, group: str, key: Any) -> bool:
        """Return whether there is a measurement with this key that may be used."""
        path = self._path(name, group)
        return group not in self._again and path.exists() and json.loads(path.read_text())["key"] == _plain(key)

    def held(self, name: str, group: str) -> Any:
        """Return a measurement."""
        return json.loads(self._path(name, group).read_text())["measured"]

    def put(self, name: str, group: str, key: Any, measured: Any) -> None:
        """Cache a measurement."""
        path = self._path(name, group)
        # Renamed when complete: an interrupted run leaves no partial file.
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"key": _plain(key), "measured": measured}) + "\n")
        part.rename(path)

    def _path(self, name: str, group: str) -> Path:
        return self._directory / f"{name}-{group.replace(', ', '-').replace(' ', '-')}.json"


def _plain(key: Any) -> Any:
    """Return a key as it is read from a file."""
    return json.loads(json.dumps(key))


def ratio(measured: Measured, outcomes: Sequence[Outcome], steps: int) -> float:
    """Return the mean final loss over that of the reference."""
    return mean_loss(outcomes, steps) / measured.reference(steps)


def ratios(
    found: Sequence[Measured], name: str, length: int, start: int | None, setting: str | None = None
) -> list[float]:
    """Return for each cell the final loss over that of the reference.

    Args:
        found: The cells.
        name: Name of the controller.
        length: 0 for the shorter length, 1 for the longer one.
        start: Index of the start rate; None for the best of all rates.
        setting: Setting of the controller; the best one unless given.
    """
    out = []
    for measured in found:
        steps = measured.reads[length]
        starts = None if start is None else (measured.starts[start],)
        out.append(ratio(measured, measured.tuned(name, steps, starts, setting), steps))
    return out


def one_for_all(found: Sequence[Measured]) -> str:
    """Return the setting of torch's rule with the best mean over all starts and lengths of the cells that are not held out."""
    tuned_on = [measured for measured in found if not measured.cell.held_out]
    tuned_on = [measured for measured in tuned_on if measured.cell.optimizer] or tuned_on
    known = {setting for measured in tuned_on for setting, _ in measured.group(controllers.GRID)}

    def mean(setting: str) -> float:
        return geometric_mean(
            [
                each
                for length, start in product((0, 1), range(len(STARTS)))
                for each in ratios(tuned_on, controllers.GRID, length, start, setting)
            ]
        )

    return min(sorted(known), key=mean, default="")


def measure(
    size: Size, cache: Cache, only: Sequence[str] = (), progress: bool = True, workers: int = 1,
    without: Collection[str] = (),
) -> list[Measured]:  # fmt: skip
    """Measure the cells.

    Args:
        size: Size of the measurement.
        cache: Cache of earlier measurements.
        only: Parts of the names of cells; all cells unless given.
        progress: Whether to show progress bars.
        workers: Number of processes. With one, a bar counts steps; with more, one counts cells.
        without: Groups that are left out; `SCHEDULES` cannot be.

    Returns:
        The results of each cell; the held-out ones last.
    """
    real, _, problems = cells(only)
    tuned_on = [cell for cell in real if not cell.held_out]
    held_out = [cell for cell in real if cell.held_out]
    cells_bar = None if progress and workers > 1 else StringIO()
    with click.progressbar(length=len(real) + len(problems), label=f"{workers} cells at once", file=cells_bar) as bar:
        how = _How(size, cache, progress and workers == 1, frozenset(without))
        found = _all(how, [*tuned_on, *problems], controllers.settings(size.short), workers, bar.update)
        one = one_for_all(found)
        grid = [setting for setting in controllers.settings(size.short) if controllers.named(setting) == one]
        return found + _all(how, held_out, grid, workers, bar.update)


@dataclass(frozen=True, slots=True)
class _How:
    """What is the same for all cells: see `measure`."""

    size: Size
    cache: Cache
    progress: bool
    without: frozenset[str]


def _all(
    how: _How, chosen: Sequence[Cell], grid: Sequence[tuple[int, int, float]], workers: int, done: Callable[[int], Any]
) -> list[Measured]:
    if workers == 1:
        return [_measure(cell, how, grid) for cell in chosen]
    # Spawned, because a fork of a process in which torch has threads can hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        # The last ones cost most: a process that has them at the end lets the others wait.
        tasks = {cell: pool.submit(_measure, cell, how, grid) for cell in reversed(chosen)}
        for _ in as_completed(tasks.values()):
            done(1)
        return [tasks[cell].result() for cell in chosen]


def _measure(cell: Cell, how: _How, grid: Sequence[tuple[int, int, float]]) -> Measured:
    size, cache = how.size, how.cache
    reads = size.reads if cell.optimizer else size.problem_reads
    measured = Measured(cell, reads, outcomes={seed: [] for seed in size.seeds})

    def add(group: str, make: Callable[[], Sequence[Plan]]) -> None:
        if group in how.without:
            return
        plans = make()
        for seed in size.seeds:
            key = {
                "training": cell.fingerprint(),
                "plans": [[plan.name, plan.setting, plan.rate, plan.reads, plan.first] for plan in plans],
                "lrwatch": sources(DECIDED_BY) if group in (LRWATCH, KNOWN, AVERAGED) else "",
            }

            def now(seed: int = seed) -> list[dict[str, Any]]:
                label = f"{cell.name}, seed {seed}: {len(plans)} {group}"
                runs = cell.runs(seed)
                if group == AVERAGED and isinstance(runs, Networks):
                    runs = Averaged(runs)
                return [outcome.plain() for outcome in _play(plans, runs, label, how.progress)]

            outcomes = cache.get(f"{cell.file}-{seed}", group, key, now)
            measured.outcomes[seed] += [Outcome.of(plain) for plain in outcomes]

    if cell.optimizer:
        rates = [REAL[cell.training].centre[cell.optimizer] * factor for factor in size.rates]
        # Steps are no peer of a controller on held-out cells, which cost enough.
        left_out = {controllers.STEPS} if cell.held_out else set()
        swept, started = (
            [(name, shape) for name, shape in shapes if name not in left_out]
            for shapes in (controllers.SWEPT, controllers.STARTED)
        )
        add(SCHEDULES, lambda: [*controllers.constants(rates, reads), *controllers.schedules(rates, reads, swept)])
        best = measured.tuned(controllers.COSINE, max(reads))[0].rate
        measured.starts = tuple(best * factor for factor in STARTS)
        add(STARTED, lambda: controllers.schedules(measured.starts, reads, started))
        measured.edge = best in (min(rates), max(rates)) and len(rates) > 1
    else:
        key = [cell.fingerprint(), reads]
        risks = cache.get(cell.file, SCHEDULES, key, lambda: [hindsight(n, PROBLEMS[cell.training]) for n in reads])
        measured.best = dict(zip(reads, risks, strict=True))
    add(PEERS, lambda: controllers.peers(measured.starts, reads, grid))
    add(ADALRS, lambda: controllers.searches(measured.starts, reads))
    add(LRWATCH, lambda: controllers.ours(measured.starts, reads))
    add(KNOWN, lambda: controllers.told(measured.starts, reads))
    if cell.optimizer:  # a problem has no weights
        add(AVERAGED, lambda: controllers.averaged(measured.starts, reads))
    return measured


def _play(plans: Sequence[Plan], runs: Runs, label: str, progress: bool) -> list[Outcome]:
    steps = max(step for plan in plans for step in plan.reads)
    to = None if progress else StringIO()
    with click.progressbar(length=steps, label=label, update_min_steps=max(1, steps // 100), file=to) as bar:
        return play(plans, runs, lambda: bar.update(1))
