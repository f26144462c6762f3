"""The common part of the line-by-line formats: where the lines end, and at which steps the records are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import ClassVar

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.sample import Batch
from lrwatch.formats.columns import Columns, StepAxis
from lrwatch.formats.lines import Lines


class Linewise(Checkpointed, ABC):
    """Base of a line-by-line format; see `lrwatch.formats.base.Format`. A new one implements `_records`."""

    SAVED: ClassVar[tuple[str, ...]] = ("_lines", "_axis")

    name: ClassVar[str]
    whole: ClassVar[bool] = False
    binary: ClassVar[bool] = False
    evidence: ClassVar[int]

    def __init__(self) -> None:
        self._lines = Lines()
        self._axis = StepAxis()
        self._final = False  # nothing follows the lines that are read now; no state

    @classmethod
    def claims(cls, head: bytes) -> bool:
        """Return False: a line has to be read first; see `Format.claims`."""
        return False

    @property
    def holds(self) -> bool:
        """Whether records wait for those that follow."""
        return False

    @abstractmethod
    def _records(self, text: bytes, found: Columns, errors: Counter[str]) -> int:
        """Read the records in some lines.

        Args:
            text: Complete lines, each ended by LF.
            found: Takes the values; rows are numbers of records, from 0 on.
            errors: Takes the reasons to count, for `Batch.errors`.

        Returns:
            The number of records.
        """

    def feed(self, data: bytes, *, final: bool = False) -> tuple[Batch, int]:
        """Read the complete lines; see `Format.feed`."""
        self._final = final
        block = self._lines.cut(data, final=final)
        errors: Counter[str] = Counter(block.errors)
        found = Columns()
        count = self._records(block.text, found, errors)
        return self._axis.batch(count, found, lines=block.lines + block.dropped, errors=errors), block.consumed
