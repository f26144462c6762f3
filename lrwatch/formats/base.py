"""What every format is, and how a number is spelled.

A format is a small machine without input or output of its own: it is fed bytes and gives samples. Whatever it must
remember from one feed to the next (a CSV header, how many records there were) is in `state`, so that neither the way in
which the bytes were cut nor a restart in between changes a sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from lrwatch.core.sample import Batch

if TYPE_CHECKING:
    from typing_extensions import Self


class Format(Protocol):
    """Bytes in, samples out. One file a format; the table of them is in `lrwatch.formats`."""

    name: ClassVar[str]
    whole: ClassVar[bool]
    """The log is one document that its writer replaces or patches: `feed` is given all of it each time it changed, and
    gives all samples each time. It consumes all bytes, or none while they are not a document yet (half written)."""
    binary: ClassVar[bool]
    """Not made of lines: only `claims` can tell it."""
    evidence: ClassVar[int]
    """Rows with a step or a loss after which a log is taken for this format: 1 where a line can hardly be anything
    else, more where prose may look alike."""

    @classmethod
    def claims(cls, head: bytes) -> bool:
        """Whether the first bytes of a log alone prove this format (a magic number, a framing that checks)."""

    def feed(self, data: bytes, *, final: bool = False) -> tuple[Batch, int]:
        """Read what is complete. Never raises, whatever the bytes are.

        Args:
            data: The bytes from the first one on that was not consumed before.
            final: Nothing will follow, so an unterminated last line is complete.

        Returns:
            The samples, and how many bytes were consumed. The rest has to be presented again, with more behind it.
        """

    def state(self) -> dict[str, Any]:
        """JSON-plain: all that must survive a restart."""

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `state`."""


UNNAMED = "value"
"""What the metric of a log is called that does not name it. Where the path does, it is called after that."""

# How C and Windows spell what `float` does not know.
_ODD = {"nan(ind)": "nan", "1.#nan": "nan", "1.#qnan": "nan", "1.#snan": "nan", "1.#ind": "nan", "1.#inf": "inf"}
# No spelling of a number that a trainer prints is longer; longer text is not looked at.
_LONGEST_NUMBER = 64


def number(text: str) -> float | None:
    """The number that `text` spells, or None. NaN and the infinities are numbers, in any spelling.

    >>> number(" 5e-05"), number("-Infinity"), number("nan(ind)"), number("12:30"), number("")
    (5e-05, -inf, nan, None, None)
    """
    if len(text) > _LONGEST_NUMBER:
        return None
    try:
        return float(text)
    except ValueError:
        word = text.strip().lower()
        odd = _ODD.get(word.lstrip("+-"))
        return None if odd is None else float(word[: len(word) - len(word.lstrip("+-"))] + odd)
