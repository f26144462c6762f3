"""The curve as a small PNG: drawn into an array and packed with zlib, so that a message needs no drawing library.

It is the mean and the spread of what the daemon keeps of the whole run, in blocks of equally many steps. The axes have their first
and last number and no more.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lrwatch.core.curve import Curve
from lrwatch.core.sample import Floats

# Wide enough for a telephone, and a few kilobytes.
WIDTH, HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 92, 14, 14, 34

_PAPER, _INK, _GRID = (255, 255, 255), (60, 60, 60), (225, 225, 225)
_BAND, _LINE, _MARK = (205, 222, 243), (31, 95, 173), (196, 60, 40)

# Digits of 3 x 5 pixels, a row an octal digit; they are drawn three times as large.
_GLYPHS = {
    "0": 0o75557, "1": 0o26227, "2": 0o71747, "3": 0o71717, "4": 0o55711, "5": 0o74717, "6": 0o74757, "7": 0o71122,
    "8": 0o75757, "9": 0o75717, "-": 0o00700, "+": 0o02720, ".": 0o00002, "e": 0o03747,
}  # fmt: skip
_SCALE = 3

# Where a few blocks stand higher than that many times the rest, they would make a flat line of it, and are cut.
_REST = 0.98
_MOST = 4.0

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Plot:
    """The data of a picture.

    Attributes:
        metric: The metric.
        steps, means, spreads: Mean step, mean and standard deviation of each block of the run, shape (n,).
        mark: The step of what happened, or None.
    """

    metric: str
    steps: Floats
    means: Floats
    spreads: Floats
    mark: int | None = None

    @classmethod
    def of(cls, metric: str, curve: Curve, mark: int | None = None) -> Plot | None:
        """Take a copy of a curve; None where it has fewer than two blocks that can be drawn."""
        rows = curve.window(-np.inf, np.inf)
        rows = rows[np.isfinite(rows).all(axis=1)]  # squares of a loss of 1e200 have no sum
        if len(rows) < 2:
            return None
        count, steps, values, squares = rows.T
        means = values / count
        spreads = np.sqrt(np.maximum(squares / count - means**2, 0.0))
        return cls(metric, steps / count, means, spreads, mark)

    @property
    def caption(self) -> str:
        """The caption of the picture."""
        low, high = self.bounds
        is_cut = self.means.max() > high or self.means.min() < low
        cut = f"; what is not within {low:.4g} and {high:.4g} is cut" if is_cut else ""
        return (
            f"{self.metric}, steps {self.steps[0]:.0f} to {self.steps[-1]:.0f}: from {self.means[0]:.4g} to {self.means[-1]:.4g}, "
            f"lowest {self.means.min():.4g}{cut}"
        )

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value that the picture shows."""
        upper, lower = self.means + self.spreads, self.means - self.spreads
        above, below = float(np.quantile(upper, _REST)), float(np.quantile(lower, 1 - _REST))
        room = (_MOST - 1) * (above - below)
        high = float(upper.max()) if upper.max() - above <= room else above
        low = float(lower.min()) if below - lower.min() <= room else below
        if not np.isfinite(high - low) or low == high:
            return float(self.means.min()) - 0.5, float(self.means.max()) + 0.5
        return low, high

    def png(self) -> bytes:
        """Draw it."""
        with np.errstate(over="ignore", invalid="ignore"):
            return _packed(_drawn(self))


def _drawn(plot: Plot) -> Pixels:
    pixels: Pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:] = _PAPER
    upper, lower = plot.means + plot.spreads, plot.means - plot.spreads
    low, high = plot.bounds
    left, right, top, bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        pixels[top + round(share * (bottom - top)), left:right] = _GRID
    columns = np.arange(left, right)
    first, last = float(plot.steps[0]), float(plot.steps[-1])
    at = first + (columns - left) / (right - 1 - left) * (last - first)

    def rows(values: Floats) -> npt.NDArray[np.int64]:
        shares = np.clip((high - np.interp(at, plot.steps, values)) / (high - low), 0.0, 1.0)
        found: npt.NDArray[np.int64] = np.rint(top + shares * (bottom - top)).astype(np.int64)
        return found

    for column, above, below in zip(columns, rows(upper), rows(lower), strict=True):
        pixels[above : below + 1, column] = _BAND
    if plot.mark is not None and first <= plot.mark <= last and last > first:
        place = left + round((plot.mark - first) / (last - first) * (right - 1 - left))
        pixels[top:bottom, max(left, place - 1) : place + 1] = _MARK
    line = rows(plot.means)
    for column, here, before in zip(columns, line, np.concatenate([line[:1], line[:-1]]), strict=True):
        pixels[min(here, before) - 1 : max(here, before) + 1, column] = _LINE
    pixels[top : bottom + 1, left - 1] = pixels[bottom, left - 1 : right] = _INK
    _write(pixels, f"{high:.4g}", top, left - 8)
    _write(pixels, f"{low:.4g}", bottom - 5 * _SCALE, left - 8)
    _write(pixels, f"{first:.0f}", bottom + 10, left + _wide(f"{first:.0f}"))
    _write(pixels, f"{last:.0f}", bottom + 10, right)
    return pixels


def _wide(text: str) -> int:
    return 4 * _SCALE * len(text)


def _write(pixels: Pixels, text: str, top: int, right: int) -> None:
    """Write a number that ends at the column `right`."""
    left = right - _wide(text)
    for place, character in enumerate(text):
        bits = _GLYPHS.get(character, 0)
        for cell in range(15):
            if bits >> (14 - cell) & 1:
                y = top + _SCALE * (cell // 3)
                x = left + _SCALE * (4 * place + cell % 3)
                if x >= 0:
                    pixels[y : y + _SCALE, x : x + _SCALE] = _INK


def _packed(pixels: Pixels) -> bytes:
    """Return the pixels as a PNG: header, one compressed block of rows without filters, end."""
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, 3 * width)], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, red green blue, no interlace
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
