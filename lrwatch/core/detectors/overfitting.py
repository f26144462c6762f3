"""Overfitting: the validation metric gets worse while the training metric still improves.

What it accumulates: pairs of a validation value and the mean of the training values since the one before; and over the
pairs, for each of under 50 starts, the evidence that validation rises from there on and the evidence that training falls
(`stats.eprocess`). The null hypothesis is "validation does not rise, or training does not fall"; the smaller of two
e-values is an e-value for that. A finding is made when the sum of these, each times the weight of its start, reaches
1 over `false_alarms`: while the null hypothesis holds, that happens in the whole life of a run with a probability of at
most `false_alarms`, however often it is looked at. Besides, validation must have lost at least MIN_LOST of what it had
gained, as a mean over SMOOTH pairs, so that a rise that is certain but without meaning is not reported.

Few evaluations have a rule of their own, because so few cannot show by their scatter what their noise is: within the first
FEW pairs, a rise of validation at RISES pairs in a row from the best one, by steps whose mean is STEADY standard errors. Noise
that wanders makes as many rises in a row too, but not alike.

By simulation of healthy runs (validation that falls, flattens or never falls, with noise of 3 %, white, t3 and AR(0.5)), a
finding is made in none of 10 pairs, in 0.1 % of those of 20 and 30, in none of 160 of 100 pairs. With noise that wanders over
ten pairs (AR(0.9)) it is 0.2 % of 20 pairs, 0.3 % of 30 and 4 % of 100: there `false_alarms` is no bound. Validation that rises by
0.5 % of its level a pair with white noise of 3 % is found after about 22 pairs in a run of 100, by 2 % after 14 in one of 30; one
with noise of 0.3 % or less that rises by 1 % a pair is found after 6. A run of 20 pairs that loses no more than its noise
overfits unnoticed, and so does one that is worse from its fifth pair on and ends after five more.
"""

from __future__ import annotations

import math
from itertools import pairwise

from lrwatch.core.detectors.base import DEFAULTS, Detector, Pair
from lrwatch.core.events import Evidence, Finding
from lrwatch.core.options import DetectOptions
from lrwatch.core.stats.blocks import MAD_TO_SD
from lrwatch.core.stats.eprocess import Dependence, RiseDetector, log_sum, log_weight
from lrwatch.core.words import percent

# Pairs that a level is the mean of: one validation value alone is too noisy to be the best.
SMOOTH = 5

# The first pairs are left out: the loss of a net that has hardly begun may do anything.
SKIP = 4

# A run whose best lies within its first EARLY pairs may be in a warmup; it is believed to overfit after FROM_START pairs.
EARLY = 6
FROM_START = 14

# Share of what validation had gained that it must have lost for overfitting to matter.
MIN_LOST = 0.01

# It must also have lost this many times more than ever before on the way to a new best: validation that wanders does so again.
HEALED = 1.5

# Validation that has gained less than LEARNED times its noise from one block to the next may have learned nothing, and wander; or
# it overfits from the first on. It takes this many times more evidence there, in logarithms.
LEARNED = 10.0
UNLEARNED = 2.0

# A rise from one pair to the next, as many times in a row: one noise value in 5,000 does that. It is looked for within the first
# FEW pairs; the more there are, the more often noise gets a chance, and then there is enough to know the noise by.
RISES = 6
FEW = 60

# Mean of the steps of such a rise in their standard errors. Steps of a random walk that all go up have 3.3, give or take 1.
STEADY = 4.0

# As many pairs are looked at one by one; beyond, as many for each doubling of the run, each a mean over several pairs. So the
# work for one value does not grow.
FINE = 256

# Blocks that are stored, for the correlation of neighbours; a rise that takes longer is seen from its later half.
HISTORY = 256

# Starts that are looked at with care, those with the most evidence; to leave out others makes a sum smaller.
CAREFUL = 3


class OverfittingDetector(Detector[Pair]):
    """Watches a validation and a training metric of one run.

    >>> import random
    >>> noise = random.Random(0)
    >>> detector = OverfittingDetector("val_loss", train_metric="loss")
    >>> for i in range(100):
    ...     train = sum(3 - 0.01 * i + noise.gauss(0, 0.1) for _ in range(50)) / 50
    ...     val = 3 - 0.01 * i + 0.0004 * max(0, i - 40) ** 2 + noise.gauss(0, 0.02)
    ...     for _, finding in detector.feed([50 * i], [Pair(val, train)]):
    ...         print(finding.message)
    val_loss has got worse by 4.67 % since step 2,750 while loss improved by 5.62 %: the run overfits; keep the checkpoint of about step 2,750
    """

    KIND = "overfitting"
    NEEDS = "pair"
    MAX_STATE_BYTES = 32_000
    SAVED = (
        "_block", "_blocks", "_recent", "_history", "_pairs", "_initial", "_best", "_lost", "_healed", "_reported", "_val",
        "_train", "_rise", "_lowest",
    )  # fmt: skip

    def __init__(self, metric: str = "", options: DetectOptions = DEFAULTS, train_metric: str = "") -> None:
        super().__init__(metric, options, train_metric)
        self._threshold = -math.log(options.false_alarms)

    def restart(self) -> None:
        """See `Detector.restart`."""
        self._val = RiseDetector()
        self._train = RiseDetector()
        self._pairs = 0
        self._initial = 0.0  # mean of the first SKIP blocks
        self._best: list[float] | None = None
        self._lost = 0.0
        self._healed = 0.0
        self._reported = False
        # Step, validation and training of the best pair, and of those after it while each is worse than the one before.
        self._rise: list[list[float]] = []
        self._lowest = math.inf
        self._block: list[float] = []
        self._blocks = 0
        self._recent: list[list[float]] = []
        self._history: list[float] = []

    @property
    def overfits(self) -> bool:
        """Whether overfitting was found, and validation has not come back since."""
        return self._reported

    def feed(self, steps: list[int], values: list[Pair]) -> list[tuple[int, Finding]]:
        """See `Detector.feed`."""
        found: list[tuple[int, Finding]] = []
        for i, (step, pair) in enumerate(zip(steps, values, strict=True)):
            if (finding := self._take(step, self._sign * pair.val, self._sign * pair.train)) is not None:
                found.append((i, finding))
        return found

    def _take(self, step: int, val: float, train: float) -> Finding | None:
        self._pairs += 1
        steady = self._rises(step, val, train) if self._pairs <= FEW else None
        return self._take_block(step, val, train) or steady

    def _rises(self, step: int, val: float, train: float) -> Finding | None:
        """Take one of the first pairs. Return the finding that it is the last evidence of, by the rule for few of them."""
        pair = [step, val, train]
        if val < self._lowest:
            self._lowest, self._rise = val, [pair] if self._pairs > SKIP else []
            return None
        self._rise = [*self._rise, pair] if self._rise and val > self._rise[-1][1] else []
        if len(self._rise) <= RISES or self._reported or train >= min(pair[2] for pair in self._rise[:-1]):
            return None
        rises = [after[1] / 2 - before[1] / 2 for before, after in pairwise(self._rise)]
        learned = max(0.0, self._initial / 2 - self._lowest / 2)
        if val / 2 - self._lowest / 2 <= MIN_LOST * learned or not _is_steady(rises):
            return None
        self._reported = True
        best_step, best, best_train = self._rise[0]
        return self._report(step, int(best_step), best, best_train, pair, {"rises": len(rises)})

    def _take_block(self, step: int, val: float, train: float) -> Finding | None:
        if not self._block:
            self._block = [0, _width(self._pairs), 0.0, 0.0]
        count, width, vals, trains = self._block
        self._block = [count + 1, width, vals + val / width, trains + train / width]
        if count + 1 < width:
            return None
        val, train = self._block[2:]
        self._block = []
        self._blocks += 1
        if self._blocks <= SKIP:
            self._initial += val / SKIP
            return None
        self._val.add(val)
        self._train.add(-train)
        self._recent = [*self._recent[-SMOOTH + 1 :], [step, val, train]]
        self._history.append(val)
        if len(self._history) > HISTORY:
            del self._history[: -HISTORY // 2]
        return self._judge() if len(self._recent) == SMOOTH else None

    def _judge(self) -> Finding | None:
        now = self._level()
        if self._best is None or now[1] < self._best[1]:
            self._best = [*now, self._val.blocks]
            self._healed = max(self._healed, self._lost)
            self._lost = 0.0
            if self._reported:
                self._reported = False
                self._val.restart()
                self._train.restart()
            return None
        best_step, best, best_train, best_block = self._best
        lost, gained = now[1] / 2 - best / 2, best_train / 2 - now[2] / 2  # halves, so that nothing overflows
        self._lost = max(self._lost, lost)
        learned = max(0.0, self._initial / 2 - best / 2)
        asked = max(MIN_LOST * learned, HEALED * self._healed)
        if self._reported or gained <= 0.0 or lost <= asked:
            return None
        if best_block <= EARLY and self._val.blocks < FROM_START:
            return None
        log_e = self._log_e()
        if log_e < self._threshold * (UNLEARNED if learned < LEARNED * self._noise() else 1):
            return None
        self._reported = True
        evidence = {"log_e": log_e, "asked": self._threshold}
        return self._report(int(self._recent[-1][0]), int(best_step), best, best_train, now, evidence)

    def _level(self) -> list[float]:
        """Step, validation and training in the middle of the newest SMOOTH blocks."""
        val, train = (sum([block[i] / SMOOTH for block in self._recent]) for i in (1, 2))
        return [self._recent[SMOOTH // 2][0], val, train]

    def _noise(self) -> float:
        """Half the standard deviation of validation from one block to the next, robust; as all levels here are halves."""
        steps = sorted([after / 2 - before / 2 for before, after in pairwise(self._history)])
        trend = steps[len(steps) // 2]
        return MAD_TO_SD / 2**0.5 * sorted([abs(step - trend) for step in steps])[len(steps) // 2]

    def _log_e(self) -> float:
        vals, trains = self._val.log_es(), self._train.log_es()
        oldest = self._val.blocks - len(self._history)
        logs = [
            (log_weight(start.start) + min(val, train), start, train)
            for start, val, train in zip(self._val.starts, vals, trains, strict=True)
            if start.start >= oldest
        ]
        log_e = log_sum([log for log, _, _ in logs])
        if log_e < self._threshold:
            return log_e
        # Each validation value is the net at one moment, so neighbours are alike, and noise wanders as a rise does. The means
        # of training are over so many values that they hardly have noise.
        logs.sort(key=lambda item: item[0], reverse=True)
        careful = []
        for _, start, train in logs[:CAREFUL]:
            noise = Dependence()
            for i, val in enumerate(self._history[start.start - oldest :]):
                noise.add(val / 2 - start.slope * i)
            careful.append(log_weight(start.start) + min(start.log_e(noise.variance_factor), train))
        return log_sum(careful)

    def _report(
        self, step: int, best_step: int, best: float, best_train: float, now: list[float], evidence: Evidence
    ) -> Finding:
        metric, train_metric = self._metric or "validation", self._train_metric or "training"
        return self._finding(
            step,
            {
                "best": self._sign * best,
                "best_step": best_step,
                "now": self._sign * now[1],
                "train_at_best": self._sign * best_train,
                "train_now": self._sign * now[2],
                "train_metric": self._train_metric,
                **evidence,
                "pairs": self._pairs,
            },
            f"{metric} has got worse by {_change(best, now[1])} since step {best_step:,} while {train_metric} improved by "
            f"{_change(best_train, now[2])}: the run overfits; keep the checkpoint of about step {best_step:,}",
        )


def _is_steady(rises: list[float]) -> bool:
    """Whether the mean of `rises` (all above 0) is STEADY standard errors or more."""
    largest, n = max(rises), len(rises)
    scaled = [rise / largest for rise in rises]
    mean = sum(scaled) / n
    scatter = math.fsum([(rise - mean) ** 2 for rise in scaled]) / (n - 1) / n
    return mean * mean >= STEADY * STEADY * scatter


def _width(pairs: int) -> int:
    """Pairs a block: 1 for the first 2 * FINE pairs, twice as many for each doubling from there."""
    return 1 << max(0, (pairs // FINE).bit_length() - 1)


def _change(before: float, after: float) -> str:
    """Format the size of the change: in percent, or in the metric's unit where the level is no base for that."""
    size = abs(after / 2 - before / 2)
    relative = size / abs(before / 2) if before / 2 else math.inf
    return percent(relative) if relative < 1 else f"{2 * size:.4g}"
