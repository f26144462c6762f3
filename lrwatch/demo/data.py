"""The demo's data: a regression problem drawn from a fixed seed, with enough noise that training has a noise floor.

A teacher network with random weights maps 8 inputs to 4 outputs, scaled to unit variance. The student trains on these
outputs plus noise of a tenth of their variance, and is validated on others of the same kind. So both losses have one scale,
and neither falls below the variance of the noise by learning.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats32 = npt.NDArray[np.float32]

INPUTS, TEACHER_WIDTH, OUTPUTS = 8, 8, 4

# The demo uses each sample only a few times: the limit is the noise floor, not overfitting.
TRAIN_SAMPLES, VALIDATION_SAMPLES = 400_000, 8_000

# Standard deviation of the noise on the targets; that of the targets is 1.
NOISE = 0.3


class Data(NamedTuple):
    """Inputs of shape (n, INPUTS) and targets of shape (n, OUTPUTS), for training and validation."""

    x: Floats32
    y: Floats32
    x_validation: Floats32
    y_validation: Floats32


def make(seed: int = 0) -> Data:
    """Make the data set of `seed`."""
    rng = np.random.default_rng([seed, 1])
    n = TRAIN_SAMPLES
    x = rng.standard_normal((n + VALIDATION_SAMPLES, INPUTS), dtype=np.float32)
    first = rng.standard_normal((INPUTS, TEACHER_WIDTH), dtype=np.float32) / np.float32(np.sqrt(INPUTS))
    second = rng.standard_normal((TEACHER_WIDTH, OUTPUTS), dtype=np.float32)
    y = np.tanh(np.float32(1.0) * x @ first) @ second
    y /= y.std()
    y += np.float32(NOISE) * rng.standard_normal(y.shape, dtype=np.float32)
    return Data(x[:n], y[:n], x[n:], y[n:])
