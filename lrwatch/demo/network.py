"""A multi-layer perceptron with SGD and momentum, in numpy: small enough to read, real enough to have a noise floor."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from lrwatch.demo.data import INPUTS, OUTPUTS, Floats32

HIDDEN = (32, 32)


class Network:
    """ReLU layers with a linear output layer, trained on the mean squared error.

    Attributes:
        lr: Learning rate of the next step.
    """

    def __init__(self, lr: float, momentum: float = 0.9, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 2])
        sizes = [INPUTS, *HIDDEN, OUTPUTS]
        self.lr = lr
        self._momentum = np.float32(momentum)
        self._layers = len(sizes) - 1
        self._weights = [
            rng.standard_normal((a, b), dtype=np.float32) * np.float32(np.sqrt(2 / a)) for a, b in pairwise(sizes)
        ]
        self._weights += [np.zeros((1, b), np.float32) for b in sizes[1:]]
        self._velocity = [np.zeros_like(w) for w in self._weights]

    def step(self, x: Floats32, y: Floats32) -> float:
        """Take one step of SGD with momentum, and return the mean squared error of the batch before the step."""
        activations, output = self._forward(x)
        delta = output - y
        loss = float(np.mean(delta * delta))
        delta *= np.float32(2 / delta.size)
        lr = np.float32(self.lr)
        for layer in range(self._layers - 1, -1, -1):
            gradients = activations[layer].T @ delta, delta.sum(axis=0, keepdims=True)
            if layer:
                delta = (delta @ self._weights[layer].T) * (activations[layer] > 0)
            for i, gradient in zip((layer, self._layers + layer), gradients, strict=True):
                self._velocity[i] *= self._momentum
                self._velocity[i] += gradient
                self._weights[i] -= lr * self._velocity[i]
        return loss

    def loss(self, x: Floats32, y: Floats32) -> float:
        """Return the mean squared error."""
        return float(np.mean((self._forward(x)[1] - y) ** 2))

    def _forward(self, x: Floats32) -> tuple[list[Floats32], Floats32]:
        activations = [x]
        for layer in range(self._layers - 1):
            activations.append(
                np.maximum(activations[-1] @ self._weights[layer] + self._weights[self._layers + layer], 0)
            )
        return activations, activations[-1] @ self._weights[self._layers - 1] + self._weights[-1]
