"""The network of `lrwatch demo`, many instances at once, in numpy: ReLU layers trained on the mean squared error."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from bench.closed.data import CLASSES, SIDE, Batch, Floats32
from bench.closed.layout import Layout
from lrwatch.demo.network import HIDDEN

# Target outputs by class, with mean 0 and variance 1 as the demo's targets.
TARGETS = ((np.eye(CLASSES) - 1 / CLASSES) / math.sqrt((1 - 1 / CLASSES) / CLASSES)).astype(np.float32)


class Perceptron:
    """Stacked `lrwatch.demo.network.Networks`; the targets are the classes, one high and the others low.

    Attributes:
        size: Number of weights of one network.
    """

    def __init__(self, inputs: int = SIDE * SIDE, outputs: int = CLASSES) -> None:
        self._sizes = [inputs, *HIDDEN, outputs]
        self._layers = len(self._sizes) - 1
        shapes = {f"weight {i}": pair for i, pair in enumerate(pairwise(self._sizes))}
        self._layout = Layout({**shapes, **{f"bias {i}": (1, b) for i, b in enumerate(self._sizes[1:])}})
        self.size = self._layout.size

    def start(self, rng: np.random.Generator) -> Floats32:
        """Return initial weights, shape (size,)."""
        row = np.zeros((1, self.size), np.float32)
        for name, view in self._layout.views(row).items():
            if name.startswith("weight"):
                view[:] = rng.standard_normal(view.shape, dtype=np.float32) * np.float32(np.sqrt(2 / view.shape[1]))
        return row.reshape(-1)

    def gradient(self, weights: Floats32, batch: Batch) -> tuple[Floats32, Floats32]:
        """Return losses of shape (runs,) and gradients of the shape of the weights, (runs, size)."""
        return self.gradient_of(weights, *_flat(batch))

    def losses(self, weights: Floats32, batch: Batch) -> Floats32:
        """Return mean squared errors, shape (runs,)."""
        x, y = _flat(batch)
        delta = self._forward(self._layout.views(weights), x)[1] - y
        return np.asarray(np.mean(delta * delta, axis=(1, 2)))

    def gradient_of(self, weights: Floats32, x: Floats32, y: Floats32) -> tuple[Floats32, Floats32]:
        """Do as `gradient`, for inputs of shape (n, inputs) and targets of shape (n, outputs)."""
        views = self._layout.views(weights)
        activations, output = self._forward(views, x)
        delta = output - y
        losses = np.mean(delta * delta, axis=(1, 2))
        delta *= np.float32(2 / y.size)
        gradient = np.empty_like(weights)
        into = self._layout.views(gradient)
        for layer in range(self._layers - 1, -1, -1):
            np.matmul(activations[layer].swapaxes(-1, -2), delta, out=into[f"weight {layer}"])
            np.sum(delta, axis=1, keepdims=True, out=into[f"bias {layer}"])
            if layer:
                delta = (delta @ views[f"weight {layer}"].swapaxes(1, 2)) * (activations[layer] > 0)
        return losses, gradient

    def _forward(self, views: dict[str, Floats32], x: Floats32) -> tuple[list[Floats32], Floats32]:
        activations = [x]
        for layer in range(self._layers):
            output = activations[-1] @ views[f"weight {layer}"]
            output += views[f"bias {layer}"]
            if layer < self._layers - 1:
                activations.append(np.maximum(output, 0, out=output))
        return activations, output


def _flat(batch: Batch) -> tuple[Floats32, Floats32]:
    return np.asarray(batch.x, np.float32).reshape(len(batch.x), -1), TARGETS[batch.y]
