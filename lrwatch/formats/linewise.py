"""What the formats have in common that read a log line by line: where the lines end, and where the records lie."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lrwatch.core.sample import Batch
from lrwatch.formats.columns import Columns, StepAxis
from lrwatch.formats.lines import Lines

if TYPE_CHECKING:
    from typing_extensions import Self


class Linewise(ABC):
    """A format that is read line by line; see `lrwatch.formats.base.Format`. A new one says what its records are."""

    name: ClassVar[str]
    whole: ClassVar[bool] = False
    binary: ClassVar[bool] = False
    evidence: ClassVar[int]

    def __init__(self) -> None:
        self._lines = Lines()
        self._axis = StepAxis()

    @classmethod
    def claims(cls, head: bytes) -> bool:
        """See `Format.claims`: a line has to be understood."""
        return False

    @abstractmethod
    def _records(self, text: bytes, found: Columns, errors: Counter[str]) -> int:
        """Put the records in `text`, complete lines that end in LF, into `found`. -> how many they were."""

    def feed(self, data: bytes, *, final: bool = False) -> tuple[Batch, int]:
        """See `Format.feed`."""
        block = self._lines.cut(data, final=final)
        errors: Counter[str] = Counter(block.errors)
        found = Columns()
        count = self._records(block.text, found, errors)
        return self._axis.batch(count, found, lines=block.lines + block.dropped, errors=errors), block.consumed

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {"skipping": self._lines.skipping, "axis": self._axis.state()}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `state`."""
        restored = cls()
        restored._lines = Lines(state["skipping"])
        restored._axis = restored._axis.restore(state["axis"])
        return restored
