"""The contract of a format, and the spelling of numbers.

A format is a small machine without input or output of its own: it takes bytes and returns samples. All that it must
remember from one feed to the next (a CSV header, the number of records) is in `state`, so that neither the way in which
the bytes were cut nor a restart in between changes a sample.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from lrwatch.core.sample import Batch


class Format(Protocol):
    """A parser of bytes into samples. Each format is one file, and a line in the table `lrwatch.formats.FORMATS`.

    Attributes:
        name: Its name in configurations and messages.
        whole: The log is one document that its writer replaces or patches. `feed` then takes all of it each time it
            changed, and returns all samples each time. It consumes all bytes, or none while the document is half
            written.
        binary: The log does not consist of lines: only `claims` can recognise it.
        evidence: Number of rows with a step or a loss after which a log is taken for this format: 1 if a line can
            hardly be anything else, more if prose may look alike.
    """

    name: ClassVar[str]
    whole: ClassVar[bool]
    binary: ClassVar[bool]
    evidence: ClassVar[int]

    @classmethod
    def claims(cls, head: bytes) -> bool:
        """Return whether the first bytes of a log alone prove this format (a magic number, a framing that checks)."""

    def feed(self, data: bytes, *, final: bool = False) -> tuple[Batch, int]:
        """Read what is complete. Never raises, whatever the bytes are.

        Args:
            data: The bytes from the first one on that has not been consumed.
            final: Nothing will follow, so an unterminated last line is complete.

        Returns:
            The samples, and the number of bytes consumed. The rest has to be presented again, with more behind it.
        """

    def state(self) -> dict[str, Any]:
        """Return all that must survive a restart, as JSON-plain values; see `lrwatch.core.checkpoint.Checkpointed`."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""


UNNAMED = "value"
"""Name of a metric whose log does not name it. Where the path does, the metric is called after that."""

# How C and Windows spell what `float` does not know.
_ODD = {"nan(ind)": "nan", "1.#nan": "nan", "1.#qnan": "nan", "1.#snan": "nan", "1.#ind": "nan", "1.#inf": "inf"}
# Fortran's `8.7D+00`, Julia's `8.7f0`, and powers of ten as people write them: `3.1x10^-3`, `9.0*^-3`.
_POWER = re.compile(
    r"([-+]?(?:\d+\.?\d*|\.\d+))(?:(?<=[.\d])[dD](?=[-+]\d\d)|(?<=\d)f(?=-?\d)|\s?[x*\xd7]\s?10\^|\*\^)([-+]?\d{1,3})"
)
LONGEST_NUMBER = 64
"""Characters of a number. No trainer prints a longer one; longer text is not parsed."""


def number(text: str) -> float | None:
    """Parse a number; None if `text` is not one. NaN and the infinities are numbers, in any spelling.

    >>> number(" 5e-05"), number("-Infinity"), number("nan(ind)"), number("8.7D+00"), number("12:30"), number("")
    (5e-05, -inf, nan, 8.7, None, None)
    """
    if len(text) > LONGEST_NUMBER:
        return None
    try:
        return float(text)
    except ValueError:
        word = text.strip().lower()
        if ("^" in word or "d" in word or "f" in word) and (power := _POWER.fullmatch(word)) is not None:
            return float(f"{power[1]}e{power[2]}")
        odd = _ODD.get(word.lstrip("+-"))
        return None if odd is None else float(word[: len(word) - len(word.lstrip("+-"))] + odd)
