"""A multi-layer perceptron with SGD and momentum, in numpy: small enough to read, real enough to have a noise floor.

Several of them, which differ in their learning rates only, train in one go: the demo's comparisons cost one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lrwatch.demo.data import INPUTS, OUTPUTS, Floats32

HIDDEN = (32, 32)


class Networks:
    """Networks of ReLU layers with a linear output layer, trained on the mean squared error of the same batches.

    They begin with the same weights. Arrays have the networks along their first axis.

    Attributes:
        lrs: Learning rate of each network in the next step.
    """

    def __init__(self, lrs: Sequence[float], momentum: float = 0.9, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 2])
        sizes = [INPUTS, *HIDDEN, OUTPUTS]
        self.lrs = list(lrs)
        self._momentum = np.float32(momentum)
        self._layers = len(sizes) - 1
        weights = [
            rng.standard_normal((a, b), dtype=np.float32) * np.float32(np.sqrt(2 / a)) for a, b in pairwise(sizes)
        ]
        weights += [np.zeros((1, b), np.float32) for b in sizes[1:]]
        self._weights = [np.repeat(w[np.newaxis], len(lrs), axis=0) for w in weights]
        self._velocity = [np.zeros_like(w) for w in self._weights]

    def step(self, x: Floats32, y: Floats32) -> Floats32:
        """Take one step of SGD with momentum, and return the mean squared error of each network before the step."""
        activations, output = self._forward(x)
        delta = output - y
        losses: Floats32 = np.mean(delta * delta, axis=(1, 2))
        delta *= np.float32(2 / y.size)
        lrs = np.asarray(self.lrs, np.float32)[:, np.newaxis, np.newaxis]
        for layer in range(self._layers - 1, -1, -1):
            gradients = activations[layer].swapaxes(-1, -2) @ delta, delta.sum(axis=1, keepdims=True)
            if layer:
                delta = (delta @ self._weights[layer].swapaxes(1, 2)) * (activations[layer] > 0)
            for i, gradient in zip((layer, self._layers + layer), gradients, strict=True):
                self._velocity[i] *= self._momentum
                self._velocity[i] += gradient
                self._weights[i] -= lrs * self._velocity[i]
        return losses

    def losses(self, x: Floats32, y: Floats32) -> Floats32:
        """Return the mean squared error of each network."""
        losses: Floats32 = np.mean((self._forward(x)[1] - y) ** 2, axis=(1, 2))
        return losses

    def _forward(self, x: Floats32) -> tuple[list[Floats32], Floats32]:
        activations = [x]
        for layer in range(self._layers - 1):
            activations.append(
                np.maximum(activations[-1] @ self._weights[layer] + self._weights[self._layers + layer], 0)
            )
        return activations, activations[-1] @ self._weights[self._layers - 1] + self._weights[-1]
