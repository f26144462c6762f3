"""Run every training with its constant rate and with lrwatch; results are cached as those of `bench.closed` are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import torch

import lrwatch
from bench.closed.cells import sources
from bench.closed.run import DECIDED_BY, Cache
from bench.harm.held_out import HELD_OUT
from bench.harm.training import Make, Result, Scaler, drive
from bench.harm.trainings import SEEN
from lrwatch.client.ramp import warm_start_factor

CONSTANT, UNKNOWN, KNOWN, WARM = "constant", "unknown length", "known length", "known length, warm start"
WARM_ALONE = "warm start alone"

# Share of a run in which a warm start raises the rate: that of the documentation.
WARM_START = 0.04


class WarmStart:
    """A warm start without lrwatch's decisions, for what it costs by itself.

    Args:
        steps: Length of the run.
    """

    def __init__(self, steps: int) -> None:
        self._until = round(WARM_START * steps)
        self.scale = warm_start_factor(0, self._until)

    def update(self, step: int, value: float) -> float:
        """Return the multiplier of the next step."""
        return warm_start_factor(step + 1, self._until)


WATCHED: dict[str, Callable[[int], Scaler]] = {
    UNKNOWN: lambda _: lrwatch.Controller(direction="min"),
    KNOWN: lambda steps: lrwatch.Controller(total_steps=steps, direction="min"),
    WARM: lambda steps: lrwatch.Controller(total_steps=steps, warm_start=WARM_START, direction="min"),
    WARM_ALONE: WarmStart,
}
"""Makes the controller of a run of so many steps."""

# The strategies were looked at on the first ones; nothing was tuned on the others.
SEEN_SEEDS, UNSEEN_SEEDS = (0, 1, 2), (100, 101, 102)

QUICK = ("stairs", "matfac", "finetune", "power")
"""Trainings of `--short`: among the quickest, one of each kind of trouble."""

TRAININGS: dict[str, Make] = {**SEEN, **HELD_OUT}

HERE = Path(__file__).parent

# Sources that determine a run, apart from lrwatch.
RUN_BY = (
    *(HERE / f"{name}.py" for name in ("training", "trainings", "held_out")),
    *(HERE.parent / "closed" / f"{name}.py" for name in ("data", "play")),
)


@dataclass(frozen=True, slots=True)
class Task:
    """One run of a training.

    Attributes:
        training: Name of the training.
        seed: Its seed.
        who: `CONSTANT`, or a key of `WATCHED`.
        share: Share of the training's steps that is run.
    """

    training: str
    seed: int
    who: str
    share: float = 1.0

    @property
    def name(self) -> str:
        """The name in file names."""
        return f"{self.training}-{self.seed}"

    def run(self) -> Result:
        """Run it."""
        torch.set_num_threads(1)  # a result must not depend on the number of cores
        training = TRAININGS[self.training](self.seed)
        steps = max(1, round(self.share * training.steps))
        return drive(training, None if self.who == CONSTANT else WATCHED[self.who](steps), steps)


@dataclass(frozen=True, slots=True)
class Harm:
    """The results of a training with a seed.

    Attributes:
        constant: Final loss with the rate as it is.
        watched: Result of each controller.
    """

    training: str
    seed: int
    constant: float
    watched: dict[str, Result]

    @property
    def unseen(self) -> bool:
        """Whether nothing was tuned on this training or on this seed."""
        return self.training in HELD_OUT or self.seed in UNSEEN_SEEDS

    def ratio(self, who: str) -> float:
        """Return the final loss of a controller over that of the constant rate."""
        return self.watched[who].loss / self.constant


def there(names: Iterable[str]) -> list[str]:
    """Return those of the trainings whose libraries are installed."""
    return [name for name in names if name != "residual" or find_spec("sklearn")]


def measure(
    names: Sequence[str], seeds: Sequence[int], who: Sequence[str], cache: Cache, share: float = 1.0, workers: int = 1,
    progress: bool = True,
) -> list[Harm]:  # fmt: skip
    """Measure trainings.

    Args:
        names: The trainings.
        seeds: Seeds of each.
        who: The controllers.
        cache: Cache of earlier measurements, with a file for each run.
        share: Share of each training's steps that is run.
        workers: Number of processes.
        progress: Whether to show a progress bar.

    Returns:
        The results of each training and seed.
    """
    tasks = [Task(name, seed, one, share) for name in names for seed in seeds for one in (CONSTANT, *who)]
    code, core = sources(RUN_BY), sources(DECIDED_BY)
    keys = {task: [code, task.share, "" if task.who == CONSTANT else core] for task in tasks}
    todo = [task for task in tasks if not cache.holds(task.name, task.who, keys[task])]
    found: dict[Task, Result] = {}
    to = None if progress else StringIO()
    with click.progressbar(length=len(tasks), label=f"{len(names)} trainings", file=to) as bar:
        bar.update(len(tasks) - len(todo))
        for task, result in _results(todo, workers):
            cache.put(task.name, task.who, keys[task], [result.loss, result.moves])
            found[task] = result
            bar.update(1)
    for task in tasks:
        if task not in found:
            found[task] = _restored(cache.held(task.name, task.who))
    return [
        Harm(
            name, seed, found[Task(name, seed, CONSTANT, share)].loss,
            {one: found[Task(name, seed, one, share)] for one in who},
        )
        for name in names for seed in seeds
    ]  # fmt: skip


def _restored(plain: Any) -> Result:
    loss, moves = plain
    return Result(loss, tuple((step, scale) for step, scale in moves))


def _run(task: Task) -> tuple[Task, Result]:
    return task, task.run()


def _results(tasks: Sequence[Task], workers: int) -> Iterator[tuple[Task, Result]]:
    if workers == 1:
        yield from map(_run, tasks)
        return
    # Spawned, because a fork of a process in which torch has threads can hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(_run, task) for task in tasks]):
            yield done.result()
