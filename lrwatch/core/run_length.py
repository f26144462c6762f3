"""The length of a run: how many optimizer steps it has, and who says so."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from lrwatch.core.sample import Axis

LengthSource = Literal["", "log", "trainer", "config", "operator"]
"""Sources of the length, the least reliable first: none, the log (`i/N`), the trainer, the settings, an operator."""

UNKNOWN = "length unknown: set it with [run] total_steps, attach(total_steps=) or `lrwatch extend RUN STEPS`"
"""The sentence for a run whose length nobody knows."""

_RANK = {source: rank for rank, source in enumerate(get_args(LengthSource))}


class RunLength(NamedTuple):
    """The length of a run.

    Attributes:
        total_steps: In optimizer steps; 0 where it is unknown.
        source: Who says so.

    >>> RunLength().said(1000, "log").said(2000, "trainer").said(1500, "log")
    RunLength(total_steps=2000, source='trainer')
    """

    total_steps: int = 0
    source: LengthSource = ""

    def counted_in(self, axis: Axis) -> int:
        """Return the length in units of `axis`; 0 where it is unknown. Trainers and settings count steps, whatever the log counts.

        >>> RunLength(900, "trainer").counted_in("epoch"), RunLength(90, "log").counted_in("epoch")
        (0, 90)
        """
        return 0 if self.source in ("trainer", "config") and axis != "step" else self.total_steps

    def said(self, total_steps: int, source: LengthSource) -> RunLength:
        """Return the length after `source` named `total_steps`; 0 takes back what the same source said before."""
        if _RANK[source] < _RANK[self.source]:
            return self
        if total_steps <= 0:
            return RunLength() if source == self.source else self
        return RunLength(total_steps, source)
