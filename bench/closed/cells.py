"""The cells of the comparison: each training with each optimizer, and each problem of known risk."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench.closed import data
from bench.closed.trainings import REAL, Problems, Runs
from lrwatch.testing.closed_loop.problems import PROBLEMS

HERE = Path(__file__).parent

# Sources that determine a training, apart from the controller.
TRAINED_BY = tuple(
    HERE / f"{name}.py" for name in ("data", "layout", "optimizers", "perceptron", "torched", "play", "trainings")
)
PROBLEMS_ARE = tuple(sorted((HERE.parents[1] / "lrwatch" / "testing" / "closed_loop").glob("*.py")))

# Start rates of the controllers on the problems.
PROBLEM_RATES = (0.3, 1.0, 1.6)


@dataclass(frozen=True, slots=True)
class Cell:
    """A training with an optimizer; the optimizer of a problem is ""."""

    training: str
    optimizer: str = ""

    @property
    def name(self) -> str:
        """The name in tables."""
        return f"{self.training}, {self.optimizer}" if self.optimizer else self.training

    @property
    def held_out(self) -> bool:
        """Whether it is a real training that nothing was tuned on."""
        return bool(self.optimizer) and REAL[self.training].held_out

    @property
    def file(self) -> str:
        """The name in file names."""
        return self.name.replace(", ", "-").replace(" ", "-")

    def runs(self, seed: int) -> Runs:
        """Return one run at its start."""
        return REAL[self.training].runs(self.optimizer, seed) if self.optimizer else Problems(self.training, seed)

    def fingerprint(self) -> str:
        """Return a digest of the training; a cached measurement with another digest is not used."""
        if not self.optimizer:
            return sources(PROBLEMS_ARE)
        return f"{sources(TRAINED_BY)} {data.fingerprint(REAL[self.training].stream(0)):08x}"


def sources(files: Iterable[Path]) -> str:
    """Return a digest of Python code without its comments."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(ast.dump(ast.parse(file.read_text())).encode())
    return digest.hexdigest()[:16]


def cells(only: Sequence[str] = ()) -> tuple[list[Cell], list[Cell], list[Cell]]:
    """Return the real cells that can be trained here, those that cannot, and the problems.

    Args:
        only: Parts of names; all cells unless given.
    """
    every = [Cell(training, optimizer) for training, real in REAL.items() for optimizer in real.centre]
    chosen = [cell for cell in every if _is_chosen(cell, only)]
    there = [cell for cell in chosen if find_spec("torch") and find_spec(REAL[cell.training].library)]
    problems = [Cell(problem) for problem in PROBLEMS if _is_chosen(Cell(problem), only)]
    return there, [cell for cell in chosen if cell not in there], problems


def _is_chosen(cell: Cell, only: Sequence[str]) -> bool:
    return not only or any(part in cell.name for part in only)
