"""What the Hugging Face Trainer prints: a Python dictionary a record.

``{'loss': 1.416, 'grad_norm': 0.117, 'learning_rate': 9.96e-05, 'epoch': 0.15}``, behind a progress bar that ends in CR,
or between lines of anything else. Newer versions put the numbers in quotes. There is no step: the epoch has a fraction and
is rounded to two decimals, so neither is it a place, and records are counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

from lrwatch.core.names import role
from lrwatch.formats.base import number
from lrwatch.formats.columns import Columns
from lrwatch.formats.linewise import Linewise

_RECORD = re.compile(rb"\{'[^{}\n]*\}")
_ITEM = re.compile(r"""'([^'\n]{1,200})': (?:'([^'\n]*)'|"([^"\n]*)"|([^,'"\[\]()]+))""")


class HuggingFace(Linewise):
    """The format `hf`."""

    name: ClassVar[str] = "hf"
    evidence: ClassVar[int] = 1

    def _records(self, text: bytes, found: Columns, errors: Counter[str]) -> int:
        count = 0
        for record in _dictionaries(text):
            for name, value in record.items():
                if role(name) != "epoch":
                    found.add(name, [count], [value])
            count += 1
        return count


def _dictionaries(text: bytes) -> Iterator[dict[str, float]]:
    """The numbers in each dictionary that has an epoch or a loss."""
    for match in _RECORD.finditer(text):
        record = {}
        for key, quoted, double_quoted, bare in _ITEM.findall(match.group().decode("utf-8", "replace")[:-1]):
            value = number(quoted or double_quoted or bare)
            if value is not None:
                record[key] = value
        if any(role(name) in ("epoch", "train_loss", "val_loss") for name in record):
            yield record
