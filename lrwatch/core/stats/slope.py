"""The slope of a noisy curve, with honest standard errors under autocorrelated noise.

An ordinary least-squares slope is easy; its error is not, because training noise is correlated (smoothing in the
logger, epochs, data order). What the noise does at low frequencies is what moves a slope, and it is read from the
projections of the window on cosines, made orthogonal to the constant and the trend; the curvature is left out, so that a
bent curve does not pass for noise. They are divided by the spectrum of a first-order autoregression, where one is clearly
more likely than none, fitted to them and to those of the window before (Whittle likelihood; prewhitening after Andrews &
Monahan 1992, Econometrica 60). There are two readings, and a bound takes the tighter one, each at its share of the
probability (`Slope.margin`):

- *low*: the mean square over the LOW_COSINES lowest, the equal-weighted cosine estimator. It assumes least of the
  noise, and the slope over it is Student's t with few degrees of freedom, whose tails are long (Lazarus, Lewis, Stock &
  Watson 2018, "HAR Inference: Recommendations for Practice", J. Business & Economic Statistics 36).
- *sharp*: the mean square over five times as many. Three times the degrees of freedom; where the lowest cosines still have
  more than their share, the error is widened by what they have.

Both are widened where the noise is larger towards the ends of the window, which is where it turns a line most (White 1980,
Econometrica 48).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from lrwatch.core.sample import Floats, Ints
from lrwatch.core.stats.student import t_quantile

# Cosines of the low reading. More give a shorter tail and a worse picture of the lowest frequencies; 12 is where the two
# meet on autocorrelated curves of 64 blocks.
LOW_COSINES = 12

# Cosines of the sharp reading, at the most: half of those that a window has, the smooth half.
SHARP_COSINES = 64

# Fewer blocks than this have too few cosines for a sharp reading.
MIN_SHARP_BLOCKS = 64

# Degrees of freedom for a cosine of the sharp reading: some are lost to the fit of the spectrum. By simulation.
SHARP_DF_SHARE = 2 / 3

# Share of the probability that the sharp reading gets; the low one has the rest. By simulation: 0.5 and 0.8 are as good.
SHARP_SHARE = 0.7

# A cosine that holds this many times the median of those beside it, as many on either side as LINE_REACH, is a line: the
# period of an epoch. It does not tell how neighbouring blocks are correlated.
LINE = 10.0
LINE_REACH = 4

# Twice the logarithm of the likelihood that one more parameter must bring (Akaike 1974, IEEE Trans. Automatic Control 19).
AKAIKE = 2.0

# A spectrum is not fitted to fewer cosines, those of both windows together.
MIN_FITTED = 30

# Correlations of neighbouring blocks that are tried: none, and so dense towards 1 that the spectrum changes evenly.
CORRELATIONS = (0.0, *(1 - np.geomspace(0.9, 0.03, 20)).tolist())

# Fewer blocks than this leave too few cosines for a useful t.
MIN_BLOCKS = 20

# Relative difference that the rounding of an outline may make: some thousand times what it does.
ROUNDING = 1e-9

# A window is averaged down to at most this many blocks: the cosines need no more, and the cached bases stay small.
MAX_BLOCKS = 128


class Slope(NamedTuple):
    """A fitted line.

    Attributes:
        per_block: Change of the mean from one block of the window to the next, in units of the metric.
        error: Standard error of `per_block`, low reading.
        df: Degrees of freedom of `per_block / error`.
        sharp_error, sharp_df: The same, sharp reading; infinite where there is none.
        end: Height of the line at the last block.
        end_error: Standard error of `end`.
        blocks: How many blocks of the caller one block of the window averages.
    """

    per_block: float
    error: float
    df: int
    sharp_error: float
    sharp_df: int
    end: float
    end_error: float
    blocks: int

    def margin(self, alpha: float) -> float:
        """How far a one-sided bound of `per_block` lies from it, if it may err with probability `alpha`."""
        return _margin(alpha, self.error, self.df, self.sharp_error, self.sharp_df)


def _margin(alpha: float, error: float, df: int, sharp_error: float, sharp_df: int) -> float:
    if sharp_df == 0:
        return t_quantile(alpha, df) * error
    low = t_quantile((1 - SHARP_SHARE) * alpha, df) * error
    return min(low, t_quantile(SHARP_SHARE * alpha, sharp_df) * sharp_error)


class _Basis(NamedTuple):
    """What a window of n blocks is multiplied with.

    Attributes:
        rows: Unit trend (row 0) and cosines (other rows), all orthogonal to the constant, shape (1 + cosines, n).
        length: Length of 0..n-1 centred.
        low: How many cosines are low.
        sharp_df: Degrees of freedom of the sharp reading, 0 where there is none.
        whiten: One over the spectrum at each cosine, relative to that at 0, for each correlation.
        shape: Mean logarithm of the spectrum for each correlation.
        beside: For each cosine, the indices of those around it, shape (cosines, 2 LINE_REACH + 1).
    """

    rows: Floats
    length: float
    low: int
    sharp_df: int
    whiten: Floats
    shape: Floats
    beside: Ints


@lru_cache(maxsize=MAX_BLOCKS)
def _basis(n: int) -> _Basis:
    t = np.arange(n, dtype=np.float64)
    centred = t - t.mean()
    low = min(LOW_COSINES, n // 2 - 2)
    count = min(SHARP_COSINES, n // 2 - 2)
    order = [2, 1, *range(3, count + 2)]  # the curvature first, so that all others are orthogonal to it
    columns = [np.ones(n), centred, *(np.cos(np.pi * j * (t + 0.5) / n) for j in order)]
    q, _ = np.linalg.qr(np.stack(columns, axis=1))
    rows = np.concatenate([q[:, 1:2], q[:, 3:]], axis=1).T
    length = float(np.linalg.norm(centred))
    rows[0] = centred / length
    rho = np.array(CORRELATIONS)[:, None]
    # The first cosine that is used has one period in two windows: the trend and the curvature take what is lower.
    angle = np.pi * np.arange(2, len(rows) + 1) / n
    spectrum = (1 - rho) ** 2 / (1 + rho**2 - 2 * rho * np.cos(angle))
    sharp_df = round(SHARP_DF_SHARE * count) if n >= MIN_SHARP_BLOCKS else 0
    around = np.abs(np.arange(count)[:, None] + np.arange(-LINE_REACH, LINE_REACH + 1))
    beside = np.minimum(around, 2 * (count - 1) - around)  # mirrored at both ends
    return _Basis(
        rows=np.ascontiguousarray(rows),
        length=length,
        low=low,
        sharp_df=sharp_df,
        whiten=1 / spectrum,
        shape=np.log(spectrum).mean(axis=1),
        beside=beside,
    )


@lru_cache(maxsize=MAX_BLOCKS)
def _weights(n: int) -> Floats:
    """Return the weights that give the slope and the mean of `n` values."""
    rows, length = _basis(n)[:2]
    return np.ascontiguousarray(np.vstack([rows[:1] / length, np.full((1, n), 1 / n)]))


@lru_cache(maxsize=MAX_BLOCKS)
def _evenly(n: int) -> Floats:
    return np.full(n, 1 / n)


class Outline:
    """What `fit` finds in a window (shape (n,), n >= MIN_BLOCKS), to within rounding, at a fraction of its cost.

    It is for windows of which nothing more is wanted than to know that they are nothing special.

    Attributes:
        per_block, end, blocks: As in `Slope`.
        rounding: A thousand times the difference that rounding makes to the metric's level, or more.
    """

    __slots__ = ("_noise", "_window", "blocks", "end", "per_block", "rounding")

    def __init__(self, window: Floats) -> None:
        n = len(window)
        self.blocks = 1
        if n > MAX_BLOCKS:
            self.blocks = -(-n // MAX_BLOCKS)
            n //= self.blocks
            window = window[-n * self.blocks :].reshape(n, self.blocks).dot(_evenly(self.blocks))
        self._window = window
        self._noise: tuple[float, float] | None = None
        self.per_block, mean = _weights(n).dot(window).tolist()
        reach = (n - 1) / 2 * self.per_block
        self.end = mean + reach
        self.rounding = ROUNDING * (abs(mean) + abs(reach)) + math.ulp(0.0)

    def margin_at_least(self, alpha: float) -> float:
        """No more than `Slope.margin` is: what widens an error is left out."""
        error, sharp_error = self._errors()
        basis = self._basis
        return _margin(alpha, error, basis.low, sharp_error, basis.sharp_df)

    def error_at_least(self) -> float:
        """No more than `Slope.error` is."""
        return self._errors()[0]

    @property
    def _basis(self) -> _Basis:
        return _basis(len(self._window))

    @property
    def df(self) -> int:
        """As in `Slope`."""
        return self._basis.low

    def _errors(self) -> tuple[float, float]:
        if self._noise is None:
            basis = self._basis
            noise, low, length = basis.rows[1:].dot(self._window).tolist(), basis.low, basis.length
            # An autoregression has no more at any frequency than at 0, so to divide by its spectrum makes nothing smaller.
            self._noise = (
                math.hypot(*noise[:low]) / math.sqrt(low) / length,
                math.hypot(*noise) / math.sqrt(len(noise)) / length,
            )
        return self._noise


def fit(window: Floats, before: Floats | None = None) -> Slope | None:
    """Return the slope over `window` (shape (n,), oldest first), or None when it cannot be estimated.

    None means fewer than MIN_BLOCKS blocks, or values whose squares leave the range of a double. `before`, the same number
    of blocks before it, helps to know how its noise is correlated.
    """
    with np.errstate(all="ignore"):
        return fit_quietly(window, before)


def fit_quietly(window: Floats, before: Floats | None = None) -> Slope | None:
    """`fit` for a caller that has silenced the warnings of numpy: doing so costs half as much as the fit itself."""
    n = len(window)
    if n < MIN_BLOCKS:
        return None
    group = 1
    if n > MAX_BLOCKS:
        group = -(-n // MAX_BLOCKS)
        n //= group
        window = _averaged(window, n, group)
        before = None if before is None else _averaged(before, n, group)
    basis = _basis(n)
    origin = window[-1]
    deviations = window - origin
    # Reductions by name of the ufunc: the methods of an array cost twice as much on so few values.
    scale = float(np.maximum.reduce(np.absolute(deviations)))
    if not math.isfinite(scale):
        return None
    if scale == 0.0:
        return Slope(0.0, 0.0, basis.low, math.inf, basis.sharp_df, float(origin), 0.0, group)
    deviations /= scale
    projections = basis.rows.dot(deviations)
    other = None if before is None else basis.rows[1:].dot((before - origin) / scale)
    low, sharp = _noise(projections[1:], other, basis)
    along, level = float(projections[0]), float(np.add.reduce(deviations)) / n
    widened = _widened(deviations - level - along * basis.rows[0], basis.rows[0])
    sd = scale * low  # of one block, in the long run
    per_block = scale * along / basis.length
    half = (n - 1) / 2
    return Slope(
        per_block=per_block,
        error=sd * widened / basis.length,
        df=basis.low,
        sharp_error=scale * sharp * widened / basis.length,
        sharp_df=basis.sharp_df,
        end=float(origin) + scale * level + half * per_block,
        end_error=sd * math.sqrt(1 / n + (half / basis.length) ** 2),
        blocks=group,
    )


def _averaged(window: Floats, n: int, group: int) -> Floats:
    return np.asarray(np.add.reduce(window[-n * group :].reshape(n, group), axis=1) / group)


def _widened(residual: Floats, trend: Floats) -> float:
    """By how much noise that is larger towards the ends makes the error of a slope larger; 1 at the least."""
    squares = residual * residual
    total = float(np.add.reduce(squares))
    if total == 0.0:
        return 1.0
    return math.sqrt(max(1.0, len(trend) * float(squares.dot(trend * trend)) / total))


def _noise(noise: Floats, before: Floats | None, basis: _Basis) -> tuple[float, float]:
    """Long-run standard deviation of one block by the low and by the sharp reading (infinite where there is none)."""
    squares = noise * noise
    total = float(np.add.reduce(squares))
    if total == 0.0:
        return 0.0, 0.0 if basis.sharp_df else math.inf
    pooled, windows = squares / total, 1
    if before is not None:
        others = before * before
        total = float(np.add.reduce(others))
        if 0.0 < total < math.inf:
            pooled, windows = pooled + others / total, 2
    whiten = basis.whiten[_autoregression(pooled, windows, basis)]
    white = squares * whiten
    low = math.sqrt(float(np.add.reduce(white[: basis.low])) / basis.low)
    if not basis.sharp_df:
        return low, math.inf
    pooled = pooled * whiten
    excess = float(np.add.reduce(pooled[: basis.low]) / basis.low / np.add.reduce(pooled) * len(pooled))
    # One standard deviation of the excess that chance gives.
    chance = 1 + math.sqrt(2 / (basis.low * windows))
    return low, math.sqrt(float(np.add.reduce(white)) / len(white) * max(1.0, excess / chance))


def _autoregression(pooled: Floats, windows: int, basis: _Basis) -> int:
    """Which of CORRELATIONS the spectrum `pooled` of `windows` windows has: none, unless another is clearly more likely."""
    if len(pooled) * windows < MIN_FITTED:
        return 0
    beside = np.partition(pooled[basis.beside], LINE_REACH, axis=1)[:, LINE_REACH]
    likelihood = np.log(basis.whiten.dot(np.minimum(pooled, LINE * beside))) + basis.shape
    best = int(np.argmin(likelihood))
    gain = (float(likelihood[0]) - float(likelihood[best])) * len(pooled) * windows
    return best if gain > AKAIKE else 0
