"""What the Hugging Face Trainer prints: a Python dictionary a record.

``{'loss': 1.416, 'grad_norm': 0.117, 'learning_rate': 9.96e-05, 'epoch': 0.15}``, behind a progress bar that ends in CR,
or between lines of anything else. Newer versions put the numbers in quotes. There is no step: the epoch has a fraction and
is rounded to two decimals, so neither is it a place, and records are counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from lrwatch.core.names import role
from lrwatch.core.sample import Batch
from lrwatch.formats.base import number
from lrwatch.formats.columns import Columns, StepAxis
from lrwatch.formats.lines import Lines

_RECORD = re.compile(rb"\{'[^{}\n]*\}")
_ITEM = re.compile(r"""'([^'\n]{1,200})': (?:'([^'\n]*)'|"([^"\n]*)"|([^,'"\[\]()]+))""")


class HuggingFace:
    """The format `hf`."""

    name: ClassVar[str] = "hf"
    evidence: ClassVar[int] = 1

    def __init__(self) -> None:
        self._lines = Lines()
        self._axis = StepAxis()

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {"skipping": self._lines.skipping, "axis": self._axis.state()}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> HuggingFace:
        """The inverse of `state`."""
        restored = cls()
        restored._lines = Lines(state["skipping"])
        restored._axis = StepAxis.restore(state["axis"])
        return restored

    def feed(self, data: bytes, *, final: bool = False) -> tuple[Batch, int]:
        """See `Format.feed`."""
        block = self._lines.cut(data, final=final)
        found = Columns()
        count = 0
        for record in _records(block.text):
            for name, value in record.items():
                if role(name) != "epoch":
                    found.add(name, [count], [value])
            count += 1
        return self._axis.batch(count, found, lines=block.lines + block.dropped, errors=block.errors), block.consumed


def _records(text: bytes) -> Iterator[dict[str, float]]:
    """The numbers in each dictionary that has an epoch or a loss."""
    for match in _RECORD.finditer(text):
        record = {}
        for key, quoted, double_quoted, bare in _ITEM.findall(match.group().decode("utf-8", "replace")[:-1]):
            value = number(quoted or double_quoted or bare)
            if value is not None:
                record[key] = value
        if any(role(name) in ("epoch", "train_loss", "val_loss") for name in record):
            yield record
