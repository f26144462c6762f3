"""Networks in PyTorch, many instances at once: perceptrons of any depth, a convolutional network, a character transformer.

One call of a small network costs mostly Python and dispatch; among forty at once, each costs a half to a fifth.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from bench.closed.data import CLASSES, LETTERS, SIDE, WINDOW, Batch, Floats32
from bench.closed.layout import Layout

Weights = dict[str, torch.Tensor]

# Rows of an evaluation in memory at once.
AT_ONCE = 512


class Torched(ABC):
    """A network trained on the cross entropy, with torch's gradient.

    Attributes:
        layout: Layout of the weights of one network.
        size: Number of weights.
    """

    def __init__(self, layout: Layout, spreads: dict[str, float]) -> None:
        self.layout, self._spreads = layout, spreads
        self.size = layout.size

    @abstractmethod
    def logits(self, weights: Weights, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs of the networks for a batch, shape (runs, n, classes)."""

    def start(self, rng: np.random.Generator) -> Floats32:
        """Return initial weights, shape (size,)."""
        row = np.zeros((1, self.size), np.float32)
        for name, view in self.layout.views(row).items():
            if name in self._spreads:
                view[:] = np.float32(self._spreads[name]) * rng.standard_normal(view.shape, dtype=np.float32)
        return row.reshape(-1)

    def gradient(self, weights: Floats32, batch: Batch) -> tuple[Floats32, Floats32]:
        """Return losses of shape (runs,) and gradients of the shape of the weights, (runs, size)."""
        rows = torch.from_numpy(weights).requires_grad_()
        losses = self.losses_of(rows, torch.from_numpy(batch.x), torch.from_numpy(batch.y))
        (gradient,) = torch.autograd.grad(losses.sum(), rows)
        return losses.detach().numpy(), gradient.numpy()

    def losses(self, weights: Floats32, batch: Batch) -> Floats32:
        """Return mean cross entropies, shape (runs,)."""
        rows, sums = torch.from_numpy(weights), np.zeros(len(weights), np.float64)
        with torch.no_grad():
            for at in range(0, len(batch.x), AT_ONCE):
                x, y = batch.x[at : at + AT_ONCE], batch.y[at : at + AT_ONCE]
                sums += len(x) * self.losses_of(rows, torch.from_numpy(x), torch.from_numpy(y)).numpy()
        return (sums / len(batch.x)).astype(np.float32)

    def losses_of(self, rows: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Do as `losses`, with a gradient."""
        parts = torch.split(rows, self.layout.sizes, dim=1)
        shapes = self.layout.shapes.items()
        weights = {name: part.view(-1, *shape) for (name, shape), part in zip(shapes, parts, strict=True)}
        logits = self.logits(weights, x)
        runs, n, classes = logits.shape
        each = F.cross_entropy(logits.reshape(runs * n, classes), y.reshape(-1).repeat(runs), reduction="none")
        return each.view(runs, n).mean(dim=1)


class Perceptrons(Torched):
    """Layers of `hidden` units with a ReLU and a linear one behind them; without hidden layers softmax regression."""

    def __init__(self, layers: int = 0, hidden: int = 48) -> None:
        sizes = [SIDE * SIDE, *[hidden] * layers, CLASSES]
        shapes: dict[str, tuple[int, ...]] = {}
        spreads: dict[str, float] = {}
        for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
            shapes |= {f"layer {layer}": (inputs, outputs), f"bias {layer}": (1, outputs)}
            spreads[f"layer {layer}"] = math.sqrt(2 / inputs) if layer < layers else 0.0
        self._layers = layers
        super().__init__(Layout(shapes), spreads)

    def logits(self, weights: Weights, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs for images of shape (n, SIDE, SIDE), shape (runs, n, CLASSES)."""
        hidden = x.reshape(1, len(x), -1).expand(len(weights["bias 0"]), -1, -1)
        for layer in range(self._layers):
            hidden = torch.baddbmm(weights[f"bias {layer}"], hidden, weights[f"layer {layer}"]).relu()
        return torch.baddbmm(weights[f"bias {self._layers}"], hidden, weights[f"layer {self._layers}"])


class Convolutional(Torched):
    """Convolutions of 3 by 3, and 2 by 2 with stride 2, each with a ReLU; the mean over quarters; a linear layer."""

    def __init__(self, first: int = 8, second: int = 16) -> None:
        self._channels = first, second
        shapes = {
            "first": (9, first),
            "first bias": (1, first),
            "second": (4 * first, second),
            "second bias": (1, second),
            "last": (4 * second, CLASSES),
            "last bias": (1, CLASSES),
        }
        spreads = {name: math.sqrt(2 / shape[0]) for name, shape in shapes.items() if "bias" not in name}
        super().__init__(Layout(shapes), {**spreads, "last": math.sqrt(1 / (4 * second))})

    def logits(self, weights: Weights, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs for images of shape (n, SIDE, SIDE), shape (runs, n, CLASSES)."""
        runs, n = len(weights["first"]), len(x)
        first, second = self._channels
        patches = F.unfold(x[:, None], 3, padding=1).transpose(1, 2).reshape(n * SIDE * SIDE, 9)
        hidden = torch.baddbmm(weights["first bias"], patches.expand(runs, -1, -1), weights["first"]).relu()
        half = SIDE // 2
        blocks = hidden.view(runs, n, half, 2, half, 2, first).transpose(3, 4).reshape(runs, -1, 4 * first)
        hidden = torch.baddbmm(weights["second bias"], blocks, weights["second"]).relu()
        quarters = hidden.view(runs, n, 2, half // 2, 2, half // 2, second).mean(dim=(3, 5)).view(runs, n, -1)
        return torch.baddbmm(weights["last bias"], quarters, weights["last"])


class Transformer(Torched):
    """One pre-norm transformer block; input and output share the embedding of the letters."""

    def __init__(self, width: int = 32, heads: int = 2, hidden: int = 64) -> None:
        self._width, self._heads = width, heads
        shapes = {
            "embedding": (LETTERS, width),
            "position": (WINDOW, width),
            "attention": (width, 3 * width),
            "mixed": (width, width),
            "up": (width, hidden),
            "down": (hidden, width),
        }
        spreads = {name: math.sqrt(1 / shape[0]) for name, shape in shapes.items()}
        super().__init__(Layout(shapes), {**spreads, "embedding": 0.1, "position": 0.1})
        self._hidden = torch.full((WINDOW, WINDOW), -math.inf).triu(1)

    def logits(self, weights: Weights, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs for letters of shape (n, WINDOW), shape (runs, n * WINDOW, LETTERS)."""
        runs, (n, length), width = len(weights["up"]), x.shape, self._width
        letters = F.one_hot(x.reshape(-1), LETTERS).float().expand(runs, -1, -1)
        state = torch.bmm(letters, weights["embedding"])
        state = (state.view(runs, n, length, width) + weights["position"][:, None]).view(runs, n * length, width)
        state = state + torch.bmm(self._attend(weights["attention"], state, n), weights["mixed"])
        up = torch.bmm(F.layer_norm(state, (width,)), weights["up"]).relu()
        state = state + torch.bmm(up, weights["down"])
        return torch.bmm(F.layer_norm(state, (width,)), weights["embedding"].transpose(1, 2))

    def _attend(self, weight: torch.Tensor, state: torch.Tensor, n: int) -> torch.Tensor:
        runs, heads, each = len(weight), self._heads, self._width // self._heads
        parts = torch.bmm(F.layer_norm(state, (self._width,)), weight).view(runs, n, -1, 3, heads, each)
        query, key, value = parts.permute(3, 0, 1, 4, 2, 5).reshape(3, runs * n * heads, -1, each).unbind(0)
        hidden = self._hidden.expand(len(query), -1, -1)
        shares = torch.baddbmm(hidden, query, key.transpose(1, 2), alpha=each**-0.5).softmax(dim=-1)
        mixed = torch.bmm(shares, value).view(runs, n, heads, -1, each)
        return mixed.transpose(2, 3).reshape(runs, -1, self._width)
