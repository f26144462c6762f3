"""Training script of the demo: an ordinary training loop, in a process of its own.

With a control directory one training has lrwatch attached. Without, it runs the comparisons: each start rate once as it is, and
once with torch's rule.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

import lrwatch
from lrwatch.demo import data
from lrwatch.demo.network import Networks
from lrwatch.demo.torch_rule import TorchRule

BATCH = 16
LOG_EVERY = 10

# Of one run. torch's rule takes the loss of each: at its patience of 10 a tenth of the run.
EVALUATIONS = 100

# Poll interval of the client. The run of the demo is short; the default of a second suits a real one.
POLL_SECONDS = 0.05


class Pace:
    """Pace limit of a loop. Time that was lost is not made up for: a command takes as many steps as it takes seconds.

    Args:
        steps_a_second: The limit; 0 sets none.
    """

    def __init__(self, steps_a_second: float) -> None:
        self._seconds = LOG_EVERY / steps_a_second if steps_a_second else 0.0
        self._due = 0.0

    def keep(self, step: int) -> None:
        """Wait until `step` is due."""
        if self._seconds and step % LOG_EVERY == 0:
            now = time.monotonic()
            time.sleep(max(0.0, self._due - now))
            self._due = max(self._due, now) + self._seconds


def train(
    networks: Networks, steps: int, logs: Sequence[TextIO], *, seed: int = 0,
    after_step: Callable[[int], None] | None = None, after_evaluation: Callable[[list[float]], None] | None = None,
) -> list[float]:  # fmt: skip
    """Train and write a log for each network.

    Args:
        networks: Networks, trained in place.
        steps: Number of steps.
        logs: File of each network's log.
        seed: Seed of data and batches.
        after_step: Called with the number of each completed step, from 1.
        after_evaluation: Called with the validation loss of each network.

    Returns:
        The final validation losses.
    """
    samples = data.make(seed)
    rng = np.random.default_rng([seed, 3])
    window = np.zeros(len(logs))
    losses: list[float] = []
    for step in range(1, steps + 1):
        at = rng.integers(0, data.TRAIN_SAMPLES, BATCH)
        lrs = list(networks.lrs)
        window += networks.step(samples.x[at], samples.y[at])
        if after_step is not None:
            after_step(step)
        if step % LOG_EVERY == 0:
            for log, total, lr in zip(logs, window, lrs, strict=True):
                log.write(f"step={step} loss={total / LOG_EVERY:.5f} lr={lr:.6g}\n")
            window[:] = 0.0
        if step % max(1, steps // EVALUATIONS) == 0 or step == steps:
            losses = [float(loss) for loss in networks.losses(samples.x_validation, samples.y_validation)]
            for log, loss in zip(logs, losses, strict=True):
                log.write(f"step={step} val_loss={loss:.6f}\n")
                log.flush()
            if after_evaluation is not None:
                after_evaluation(losses)
    return losses


def train_with_lrwatch(lr: float, steps: int, log: TextIO, control: Path, *, seed: int, pace: Pace) -> None:
    """Train one network with lrwatch attached.

    Args:
        lr: The learning rate at the start.
        steps: Number of steps.
        log: File of the log.
        control: Control directory of lrwatch.
        seed: Seed of weights, data and batches.
        pace: Limit of the pace.
    """
    networks = Networks([lr], seed=seed)

    def set_scale(scale: float) -> None:
        networks.lrs[0] = lr * scale

    def after_step(step: int) -> None:
        watch.step(step)
        pace.keep(step)

    with lrwatch.attach(set_scale, control, total_steps=steps, poll_seconds=POLL_SECONDS, metrics_file=False) as watch:
        train(networks, steps, [log], seed=seed, after_step=after_step)


def train_without(
    lrs: Sequence[float], steps: int, alone: Sequence[TextIO], torch: Sequence[TextIO], *, seed: int, pace: Pace
) -> None:
    """Train a network for each rate as it is, and another one with torch's rule.

    Args:
        lrs: The learning rates at the start.
        steps: Number of steps.
        alone: Files of the logs of those that keep their rate.
        torch: Files of the logs of those with torch's rule.
        seed: Seed of weights, data and batches.
        pace: Limit of the pace.
    """
    networks = Networks([*lrs, *lrs], seed=seed)
    rules = [TorchRule(lr) for lr in lrs]

    def after_evaluation(losses: list[float]) -> None:
        for rule, loss in zip(rules, losses[len(lrs) :], strict=True):
            rule.step(loss)
        networks.lrs[len(lrs) :] = [rule.lr for rule in rules]

    train(networks, steps, [*alone, *torch], seed=seed, after_step=pace.keep, after_evaluation=after_evaluation)


def main() -> None:
    """Run the script, `python -m lrwatch.demo.trainer`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--lr", type=float, action="append", required=True)
    parser.add_argument(
        "--pace", type=float, default=0.0, help="largest number of steps a second, so that a person can watch"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, action="append", required=True, help="one for each rate")
    parser.add_argument(
        "--torch-log",
        type=Path,
        action="append",
        default=[],
        help="one for each rate: train each with torch's rule too",
    )
    parser.add_argument("--control", type=Path, help="control directory of lrwatch, for one rate")
    given = parser.parse_args()
    pace = Pace(given.pace)
    with contextlib.ExitStack() as files:
        logs, torch_logs = (
            [files.enter_context(log.open("w", buffering=1)) for log in paths] for paths in (given.log, given.torch_log)
        )
        if given.control is not None:
            train_with_lrwatch(given.lr[0], given.steps, logs[0], given.control, seed=given.seed, pace=pace)
        else:
            train_without(given.lr, given.steps, logs, torch_logs, seed=given.seed, pace=pace)


if __name__ == "__main__":
    main()
