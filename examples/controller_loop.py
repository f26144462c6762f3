"""The decisions alone: `lrwatch.Controller` in a loop without a framework, and `find_plateaus` over the finished losses."""

import numpy as np

import lrwatch

STEPS = 6000
RATE = 0.2

rng = np.random.default_rng(0)
truth = rng.standard_normal(32)
weights = np.zeros(32)
losses = []

controller = lrwatch.Controller()  # options are the keys of [detect] and [policy]
scale = controller.scale
for step in range(STEPS):
    x = rng.standard_normal((32, 32))
    error = x @ weights - (x @ truth + rng.standard_normal(32))
    losses.append(float(np.mean(error**2)))
    weights -= RATE * scale * 2 * x.T @ error / len(error)
    scale = controller.update(step, losses[-1])

for command in controller.commands:
    print(f"step {command.step}: scale {command.scale:g}: {command.reason}")
print(f"scale {scale:g}")

for finding in lrwatch.find_plateaus(losses, horizon=1000, min_improvement=0.1):
    print(f"find_plateaus: step {finding.step}: {finding.message}")
