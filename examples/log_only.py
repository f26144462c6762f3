"""A training that knows nothing of lrwatch: it prints a line now and then, as most do.

    python examples/log_only.py > train.log &
    lrwatch run train.log                  # says when the loss no longer improves, and what it would do

`lrwatch replay train.log` does the same for a log that is finished; stdin.sh reads the output through a pipe.
"""

import numpy as np

STEPS = 20_000

rng = np.random.default_rng(0)
truth, weights, window = rng.standard_normal(8), np.zeros(8), 0.0
for step in range(1, STEPS + 1):
    x = rng.standard_normal((128, 8))
    error = x @ weights - (x @ truth + rng.standard_normal(128))
    weights -= 0.001 * 2 * x.T @ error / len(error)
    window += float(np.mean(error**2))
    if step % 20 == 0:
        print(f"step {step}/{STEPS} | loss {window / 20:.4f} | lr 0.001")
        window = 0.0
