"""AdaLRS: a search for the learning rate in a running training, which goes back where a higher rate was worse.

After Dong et al. 2025, "AdaLRS: Loss-Guided Adaptive Learning Rate Search for Efficient Foundation Model Pretraining" (arXiv 2506.13274);
there is no public code of it. The *velocity* v of a training is the slope at which its loss falls, by least squares over a window of k
steps, and e is the error of that. Between a tenth and four tenths of the run:

- Where the velocity falls from one window to the next, the rate is multiplied by a' = max(a * l^t, 1) for a window.
- If v rises by more than 2 e, the higher rate stays. If it falls by more than 2 e, model and optimizer go back to where they were, and the
  rate is divided by b' = max(b * l^t, 1). In between, the rate from before is used again.
- A loss above all before ends such a window at once, as one that was worse.
- Where the loss rises over two windows in a row, the rate is divided by b'.

Otherwise a schedule of known length decides; the rate is a multiple of what it gives. The factors are a = 3, b = 2 and l = 0.99.

What the sources known to us leave open: k is WINDOW of the run; 2 e is the sum of the standard errors of the two slopes; t counts windows
of the search; the loss that must not be above all before is a mean over one of PARTS of a window. Batches go on where the training goes
back, and the steps that were lost count.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

# The search, in shares of the run.
FIRST, LAST = 0.1, 0.4

UP, DOWN, DECAY = 3.0, 2.0, 0.99

# Steps of a window, as a share of the run: of 0.01, 0.02 and 0.05 the one that suits two small networks best. Parts of it whose mean loss is
# compared with the highest before.
WINDOW, PARTS = 0.05, 8


class Slope(NamedTuple):
    """The slope of the losses of a window.

    Attributes:
        velocity, error: Fall per step, and its standard error.
        mean: Mean of the losses.
    """

    velocity: float
    error: float
    mean: float


WORSE = Slope(-math.inf, 0.0, math.inf)


class AdaLrs:
    """The search as an `Update`.

    Args:
        rate: The start rate.
        shape: The schedule: maps a share of the run to a multiplier of the rate.
        steps: Length of the run.

    Attributes:
        wants: As in `bench.closed.play.Backtracks`.
    """

    def __init__(self, rate: float, shape: Callable[[float], float], steps: int) -> None:
        self.wants: Literal["", "save", "restore"] = ""
        self._rate, self._shape, self._steps = rate, shape, steps
        self._part = max(1, round(WINDOW * steps / PARTS))
        self._losses: list[float] = []
        self._highest = -math.inf  # of the means of parts
        self._before: Slope | None = None
        self._rises = self._windows = 0
        self._leaves: float | None = None  # the rate before a higher one is tried

    def __call__(self, step: int, loss: float) -> float:
        """Return the learning rate of the next step."""
        self.wants = ""
        self._losses.append(loss)
        share = (step + 1) / self._steps
        if len(self._losses) % self._part == 0:
            mean = float(np.mean(self._losses[-self._part :]))
            if self._leaves is not None and not mean <= self._highest:
                self._judge(WORSE)
            elif len(self._losses) == PARTS * self._part:
                now, self._losses = slope(self._losses), []
                if self._leaves is not None:
                    self._judge(now)
                else:
                    self._search(now, begun=FIRST <= share < LAST)
            self._highest = max(self._highest, mean)
        return self._rate * self._shape(share)

    def _search(self, now: Slope, *, begun: bool) -> None:
        """End a window, and decide whether the next one has another rate."""
        before, self._before = self._before, now
        if before is None:
            return
        self._rises = self._rises + 1 if now.mean > before.mean else 0
        if not begun:
            return
        if self._rises >= 2:
            self._rate, self._rises = self._rate / self._factor(DOWN), 0
        elif now.velocity < before.velocity:
            self._leaves, self._rate, self.wants = self._rate, self._rate * self._factor(UP), "save"
        self._windows += 1

    def _judge(self, now: Slope) -> None:
        """End a window at a higher rate."""
        assert self._before is not None
        assert self._leaves is not None
        faster, error = now.velocity - self._before.velocity, now.error + self._before.error
        if faster > error:
            self._before = now
        elif faster >= -error:
            self._rate = self._leaves
        else:
            self._rate, self.wants = self._leaves / self._factor(DOWN), "restore"
        self._losses, self._leaves = [], None
        self._windows += 1

    def _factor(self, first: float) -> float:
        return max(first * DECAY**self._windows, 1.0)


def slope(losses: list[float]) -> Slope:
    """Fit a line to the losses of a window by least squares."""
    y = np.array(losses)
    x = np.arange(len(y)) - (len(y) - 1) / 2
    squares, mean = float(x @ x), float(y.mean())
    rise = float(x @ y) / squares
    rest = y - mean - rise * x
    return Slope(-rise, math.sqrt(float(rest @ rest) / (len(y) - 2) / squares), mean)
