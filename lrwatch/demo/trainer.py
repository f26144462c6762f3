"""Training script of the demo: an ordinary training loop with lrwatch attached, in a separate process."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import numpy as np

import lrwatch
from lrwatch.demo import data
from lrwatch.demo.network import Network

BATCH = 16
LOG_EVERY = 10
VALIDATE_EVERY = 500

# Poll interval of the client. The run of the demo is short; the default of a second suits a real one.
POLL_SECONDS = 0.05


class Pace:
    """Pace limit of a loop: steps a second since the creation of the object; 0 sets no limit."""

    def __init__(self, steps_a_second: float) -> None:
        self._steps_a_second = steps_a_second
        self._began = time.monotonic()

    def keep(self, step: int) -> None:
        """Wait until `step` is due."""
        if self._steps_a_second and step % LOG_EVERY == 0:
            time.sleep(max(0.0, self._began + step / self._steps_a_second - time.monotonic()))


def train(
    network: Network, steps: int, log: TextIO, *, seed: int = 0, after_step: Callable[[int], None] | None = None
) -> float:
    """Train and write a log.

    Args:
        network: Network, trained in place.
        steps: Number of steps.
        log: File of the log.
        seed: Seed of data and batches.
        after_step: Called with the number of each completed step, from 1.

    Returns:
        The final validation loss.
    """
    samples = data.make(seed)
    rng = np.random.default_rng([seed, 3])
    window = 0.0
    loss = float("nan")
    for step in range(1, steps + 1):
        at = rng.integers(0, data.TRAIN_SAMPLES, BATCH)
        lr = network.lr
        window += network.step(samples.x[at], samples.y[at])
        if after_step is not None:
            after_step(step)
        if step % LOG_EVERY == 0:
            log.write(f"step={step} loss={window / LOG_EVERY:.5f} lr={lr:.6g}\n")
            window = 0.0
        if step % VALIDATE_EVERY == 0 or step == steps:
            loss = network.loss(samples.x_validation, samples.y_validation)
            log.write(f"step={step} val_loss={loss:.6f}\n")
            log.flush()
    return loss


def main() -> None:
    """Run the script, `python -m lrwatch.demo.trainer`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument(
        "--pace", type=float, default=0.0, help="largest number of steps a second, so that a person can watch"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument(
        "--control", type=Path, help="control directory of lrwatch; without it the training does not use lrwatch"
    )
    given = parser.parse_args()
    network = Network(given.lr, seed=given.seed)
    pace = Pace(given.pace)
    with given.log.open("w", buffering=1) as log:
        if given.control is None:
            train(network, given.steps, log, seed=given.seed, after_step=pace.keep)
            return

        def set_scale(scale: float) -> None:
            network.lr = given.lr * scale

        def after_step(step: int) -> None:
            watch.step(step)
            pace.keep(step)

        with lrwatch.attach(
            set_scale, given.control, total_steps=given.steps, poll_seconds=POLL_SECONDS, metrics_file=False
        ) as watch:
            train(network, given.steps, log, seed=given.seed, after_step=after_step)


if __name__ == "__main__":
    main()
