"""Runs real training libraries as a user does: a program of its own, with its output redirected into a file."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

# Without an extension, so that no tool imports them: each trains when it is loaded.
PROGRAMS = Path(__file__).parent / "programs"

# The libraries neither reach for a network nor for a GPU, and one core is enough for models of this size.
_ENVIRONMENT = {
    "ACCELERATE_USE_CPU": "true",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "KERAS_BACKEND": "torch",
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "",
    "WANDB_MODE": "disabled",
}
# A tiny model is trained in seconds; importing its library on a busy machine may take longer.
_LIMIT_SECONDS = 150

Samples = list[tuple[int, float]]


@dataclass(frozen=True)
class Training:
    """A finished training: its directory, and what the program itself saw (of a shape that each program chooses)."""

    directory: Path
    truth: Any

    @property
    def output(self) -> Path:
        """Standard output and standard error."""
        return self.directory / "train.log"

    def file(self, pattern: str) -> Path:
        """The one file that a library wrote under a name like this."""
        (found,) = self.directory.glob(pattern)
        return found


def train(directory: Path, program: str, *arguments: str, needs: str) -> Training:
    """Run `program > train.log 2>&1` in `directory`; skips where the library that it `needs` is not installed."""
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "train.log").open("wb") as output:
        status = subprocess.run(
            [sys.executable, PROGRAMS / program, *arguments],
            cwd=directory,
            env=os.environ | _ENVIRONMENT,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=_LIMIT_SECONDS,
            check=False,
        ).returncode
    assert status == 0, (directory / "train.log").read_text(errors="replace")
    return Training(directory, json.loads((directory / "truth.json").read_text()))


def samples(table: pd.DataFrame, metric: str) -> Samples:
    """Step and value of the rows that have the metric."""
    assert metric in table, f"{metric!r} is not among {[*table.columns]}"
    rows = table[["step", metric]].dropna()
    return [(int(step), float(value)) for step, value in rows.itertuples(index=False)]


def assert_close(found: Samples, expected: Samples, *, rel: float = 0.0, abs: float = 0.0) -> None:  # noqa: A002
    """The steps are the same, the values as near as the library prints them."""
    assert [step for step, _ in found] == [step for step, _ in expected]
    for (step, value), (_, wanted) in zip(found, expected, strict=True):
        assert math.isclose(value, wanted, rel_tol=rel, abs_tol=abs), (step, value, wanted)
