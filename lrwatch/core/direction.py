"""Check whether a metric that is taken for a loss should rise instead: by its name, or because it does rise."""

from __future__ import annotations

from dataclasses import replace

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.names import should_rise
from lrwatch.core.options import DetectOptions
from lrwatch.core.progress import ProgressCheck

_ADVICE = 'nothing is commanded on it as it is; say direction="max" for a metric that should rise, or direction="min" if it is a loss'

# What is said of a metric whose name sounds as if it should rise, and what to do where there are settings.
RATHER_RISES = "sounds like a metric that should rise, and is taken for a loss"
SAY_DIRECTION = 'Say [detect] direction = "max".'


def sounds_wrong(metric: str, direction: str) -> bool:
    """Return whether a metric that is judged as a loss sounds as if it should rise.

    >>> sounds_wrong("reward", "min"), sounds_wrong("reward", "max"), sounds_wrong("loss", "min")
    (True, False, False)
    """
    return direction == "min" and should_rise(metric)


class DirectionCheck(Checkpointed):
    """Watches a metric whose direction the user has not set.

    Args:
        options: Of the metric, with the direction that is assumed.

    Attributes:
        doubtful: Whether it should rather rise, as far as is known; then no command may go by it.

    >>> check = DirectionCheck(DetectOptions())
    >>> check.named("val/accuracy")
    'val/accuracy sounds like a metric that should rise, and is taken for a loss: nothing is commanded on it as it is; say direction="max" for a metric that should rise, or direction="min" if it is a loss'
    >>> check.doubtful
    True
    """

    SAVED = ("doubtful", "_rise", "_fall", "_known")

    def __init__(self, options: DetectOptions) -> None:
        self.doubtful = False
        self._rise = ProgressCheck(replace(options, direction="max"))
        self._fall = ProgressCheck(replace(options, direction="min"))
        # It has fallen or risen significantly.
        self._known = False

    @property
    def known(self) -> bool:
        """Whether no further value can change what it says."""
        return self._known

    def named(self, metric: str) -> str | None:
        """Learn the name of the metric. Return a warning if it should rise."""
        if not should_rise(metric):
            return None
        self.doubtful = self._known = True
        return f"{metric} {RATHER_RISES}: {_ADVICE}"

    def feed(self, metric: str, steps: list[int], values: list[float]) -> str | None:
        """Take finite values of `metric`. Return a warning, once, if its first significant move was a rise."""
        if self._known:
            return None
        fell, rose = self._fall.feed(steps, values), self._rise.feed(steps, values)
        if not fell and not rose:
            return None
        self._known = True
        if fell and (not rose or fell[0][0] <= rose[0][0]):
            return None
        self.doubtful = True
        return f"{metric} has risen since the run began, and is taken for a loss: {_ADVICE}"
