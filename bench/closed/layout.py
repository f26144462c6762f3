"""Layout of the weights of a network in one row of numbers; any number of trainings is one array of such rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate

from bench.closed.data import Floats32


class Layout:
    """Names and shapes of weights, in the order of the row.

    >>> import numpy as np
    >>> layout = Layout({"first": (2, 3), "bias": (1, 3)})
    >>> layout.size
    9
    >>> {name: view.shape for name, view in layout.views(np.zeros((5, 9), np.float32)).items()}
    {'first': (5, 2, 3), 'bias': (5, 1, 3)}
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = dict(shapes)
        self.sizes = [math.prod(shape) for shape in shapes.values()]
        self._ends = list(accumulate(self.sizes))
        self.size = sum(self.sizes)

    def views(self, rows: Floats32) -> dict[str, Floats32]:
        """Return each weight by name, shape (runs, ...), as a view of rows of shape (runs, size)."""
        parts = zip(self.shapes.items(), self.sizes, self._ends, strict=True)
        return {name: rows[:, end - size : end].reshape(len(rows), *shape) for (name, shape), size, end in parts}
