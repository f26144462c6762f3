"""Sweep that chose the learning rate of the demo: the best constant rate for the number of steps of the demo.

`python -m lrwatch.demo.sweep` prints the table; `LR` is the rate with the lowest mean.
"""

from __future__ import annotations

import io
import os

# Four rates, a factor of three apart, as in usual sweeps.
RATES = (0.001, 0.003, 0.01, 0.03)
SEEDS = (0, 1, 2)
STEPS = 30_000

LR = 0.01
"""The winner: final validation loss 0.0081, against 0.0091 at 0.003 and 0.0142 at 0.03 (mean of three seeds)."""


def main() -> None:
    """Train each rate with each seed and print the final validation losses."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the matrices are too small to share
    from lrwatch.demo.network import Network
    from lrwatch.demo.trainer import train

    print(f"final validation loss after {STEPS} steps at a constant learning rate")
    print("lr        " + "".join(f"seed {seed:<6}" for seed in SEEDS) + "mean")
    for rate in RATES:
        losses = [train(Network(rate, seed=seed), STEPS, io.StringIO(), seed=seed) for seed in SEEDS]
        print(
            f"{rate:<10g}" + "".join(f"{loss:<11.4f}" for loss in losses) + f"{sum(losses) / len(losses):.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
