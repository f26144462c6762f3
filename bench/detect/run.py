"""Run all rules on all curves in a pool of processes, and make the tables of the results."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any

import click
import numpy as np

from bench.detect.curves import NOISES, SHAPES, Cell, Size, cell, cells
from bench.detect.peers import PEERS, Peer
from bench.detect.score import Figures, Tally, floor, frontier, strictest
from lrwatch.core.sample import Ints

Task = tuple[str, str, int, int, Size]

# False-alarm rates at which rules are compared, and those at which the floor is drawn.
EQUAL = (0.01, 0.05)
FLOOR_RATES = tuple(np.geomspace(0.0005, 0.9, 24).tolist())


def installed(only: Sequence[str] = ()) -> tuple[list[Peer], list[Peer]]:
    """Return the rules whose libraries are installed, and the others; `only` are parts of names, all unless given."""
    chosen = [peer for peer in PEERS if not only or any(part.lower() in peer.name.lower() for part in only)]
    there = [peer for peer in chosen if not peer.library or find_spec(peer.library)]
    return there, [peer for peer in chosen if peer not in there]


def _one_thread() -> None:
    # The pool has one process a core; threads of the libraries would only compete.
    os.environ |= {"OMP_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}


def look(task: Task, names: list[str]) -> tuple[Cell, dict[str, dict[str, Ints]]]:
    """Return the curves of a task, without their values, and for each rule and setting the first reports, shape (runs,)."""
    runs = cell(*task)
    found = {}
    for peer in PEERS:
        if peer.name in names:
            found[peer.name] = dict(peer.look(runs.values, runs.size.horizon))
    return Cell(runs.noise, runs.shape, runs.size, runs.sd, runs.values[:, :0], runs.tau, runs.unit), found


@dataclass(slots=True)
class Result:
    """The results.

    Attributes:
        figures: Figures by rule and setting.
        floor: Pairs of a false-alarm rate and the least possible delay at it, in units.
    """

    figures: dict[str, dict[str, Figures]]
    floor: list[tuple[float, float]]
    runs: int
    seed: int
    size: Size
    missing: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """Return the results for JSON."""
        return {
            "runs": self.runs,
            "seed": self.seed,
            "values a run": self.size.values,
            "horizon": self.size.horizon,
            "not installed": self.missing,
            "floor": [[round(rate, 5), round(delay, 4)] for rate, delay in self.floor],
            "rules": {
                peer.name: {
                    "default": peer.default,
                    "frontier": frontier(self.figures[peer.name]),
                    "settings": {name: figures.plain() for name, figures in self.figures[peer.name].items()},
                }
                for peer in PEERS
                if peer.name in self.figures
            },
        }


def _results(tasks: list[Task], names: list[str], workers: int) -> Iterator[tuple[Cell, dict[str, dict[str, Ints]]]]:
    _one_thread()
    if workers == 1:
        for task in tasks:
            yield look(task, names)
        return
    # Spawned, because a fork of a process in which jax or torch has threads can hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(look, task, names) for task in tasks]):
            yield done.result()


def measure(a_cell: int, seed: int, size: Size, workers: int, most: int = 10, only: Sequence[str] = ()) -> Result:
    """Run the installed rules over all shapes and noises.

    Args:
        a_cell: Number of runs of each shape in each noise.
        seed: Seed of the curves.
        size: Length and horizon of a run.
        workers: Number of processes.
        most: Largest number of runs in a task.
        only: Parts of the names of rules; all unless given.

    Returns:
        The figures of each rule and setting.
    """
    there, missing = installed(only)
    tasks = list(cells(a_cell, seed, size, most))
    total = len(NOISES) * len(SHAPES) * a_cell
    tallies: dict[str, dict[str, Tally]] = {}
    measured: list[Cell] = []
    with click.progressbar(length=len(tasks), label=f"{len(there)} rules, {total} runs") as bar:
        for runs, found in _results(tasks, [peer.name for peer in there], workers):
            measured.append(runs)
            for name, settings in found.items():
                for setting, at in settings.items():
                    tallies.setdefault(name, {}).setdefault(setting, Tally()).add(runs, np.minimum(at, size.values))
            bar.update(1)
    ordered = sorted(measured, key=lambda runs: (runs.noise, runs.shape, runs.tau.tolist()))
    room = np.concatenate([runs.room() for runs in ordered])
    sd, unit = (np.concatenate([getattr(runs, name) for runs in ordered])[room] for name in ("sd", "unit"))
    lrv = np.concatenate([np.full(len(runs.sd), NOISES[runs.noise].lrv) for runs in ordered])[room]
    least = floor(sd, lrv, unit, size.horizon, FLOOR_RATES).tolist()
    return Result(
        {peer.name: {s: t.figures() for s, t in tallies[peer.name].items()} for peer in there},
        list(zip(FLOOR_RATES, least, strict=True)),
        total,
        seed,
        size,
        [peer.name for peer in missing],
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _delays(figures: Figures) -> str:
    each = [f"{delay:.2f}" if np.isfinite(delay) else "-" for delay in (figures.delay50, figures.delay90)]
    missed = "-" if np.isnan(figures.missed) else _percent(figures.missed)
    return f"{each[0]} | {each[1]} | {missed}"


def _row(name: str, setting: str, figures: Figures) -> str:
    interval = f"{_percent(figures.false)} ({100 * figures.low:.1f} to {100 * figures.high:.1f})"
    return f"| {name} | {setting} | {interval} | {_delays(figures)} |"


def tables(result: Result) -> str:
    """Make the Markdown tables: at the defaults, and at equal false-alarm rate."""
    head = "| rule | setting | false alarms a run (95 %) | median delay | 90th percentile | missed |\n|---|---|---|---|---|---|"
    there = [peer for peer in PEERS if peer.name in result.figures]
    lines = ["At the default of each rule:", "", head]
    lines += [_row(peer.name, peer.default, result.figures[peer.name][peer.default]) for peer in there]
    for rate in EQUAL:
        lines += [
            "",
            f"At equal false-alarm rate, the fastest setting with at most {100 * rate:g} % of the runs:",
            "",
            head,
        ]
        for peer in there:
            settings = result.figures[peer.name]
            best = strictest(settings, rate)
            lines.append(
                _row(peer.name, best, settings[best]) if best is not None else f"| {peer.name} | none | | | | |"
            )
    lines += ["", "False alarms at the defaults by noise:", "", f"| rule | {' | '.join(NOISES)} |", "|---" * 9 + "|"]
    for peer in there:
        by = result.figures[peer.name][peer.default].false_by_noise
        lines.append(f"| {peer.name} | {' | '.join(_percent(by[noise]) for noise in NOISES)} |")
    return "\n".join(lines) + "\n"
