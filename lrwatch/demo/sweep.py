"""Sweep that chose the learning rates of the demo: the best constant rate for its number of steps, and its neighbours.

`python -m lrwatch.demo.sweep` prints the table; `LR` is the rate with the lowest mean.
"""

from __future__ import annotations

import io
import os

# Four rates, a factor of three apart, as in usual sweeps.
RATES = (0.001, 0.003, 0.01, 0.03)
SEEDS = (0, 1, 2)
STEPS = 20_000

LR = 0.01
"""The winner: final validation loss 0.0981, against 0.1022 at 0.003 and 0.1023 at 0.03 (mean of three seeds)."""

START_RATES = (0.003, 0.01, 0.03)
"""Where the trainings of the demo start: about a third of the best, the best, and three times the best."""


def main() -> None:
    """Train each rate with each seed and print the final validation losses."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the matrices are too small to share
    from lrwatch.demo.network import Networks
    from lrwatch.demo.trainer import train

    losses = [train(Networks(RATES, seed=seed), STEPS, [io.StringIO() for _ in RATES], seed=seed) for seed in SEEDS]
    print(f"final validation loss after {STEPS} steps at a constant learning rate")
    print("lr        " + "".join(f"seed {seed:<6}" for seed in SEEDS) + "mean")
    for rate, row in zip(RATES, zip(*losses, strict=True), strict=True):
        print(f"{rate:<10g}" + "".join(f"{loss:<11.4f}" for loss in row) + f"{sum(row) / len(row):.4f}")


if __name__ == "__main__":
    main()
