"""Bytes into complete lines: the common part of all formats that consist of lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from lrwatch.core.checkpoint import Checkpointed

# Longer lines are dropped and counted. The longest lines of real logs are configurations of some tens of kilobytes;
# without a limit a file without line ends would grow the process until it dies.
MAX_LINE_BYTES = 1 << 20

TOO_LONG = "line too long"

_EMPTY_LINES = re.compile(rb"\n\n+")
ANSI = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)|\x1b[@-_]")
"""Escape sequences of terminals: colours and movements of the cursor."""

_BACKSPACES = re.compile(rb"\x08+\r?")  # Keras returns with a hundred of them
# A bar that is written over its own end: `[==>..] Loss: 2.4 \b\b\b\b 1/50`.
_OVERWRITTEN = re.compile(rb"\x08(?=[ \t]*\d+/\d+[ \t]*[\r\n])")
_SEPARATOR = re.compile(rb"[\r\n]")


class Block(NamedTuple):
    """Complete lines.

    Attributes:
        text: The lines, each ended by one LF, without NUL bytes. None of them is empty, unless `Lines.marks`.
        lines: Number of lines.
        consumed: Number of bytes of the input that they took.
        dropped: Number of lines that were too long.
    """

    text: bytes
    lines: int
    consumed: int
    dropped: int

    @property
    def errors(self) -> dict[str, int]:
        """The dropped lines, for `Batch.errors`."""
        return {TOO_LONG: self.dropped} if self.dropped else {}


@dataclass
class Lines(Checkpointed):
    """Cutter of bytes into complete lines. LF, CR LF and a lone CR (progress bars) end a line.

    Attributes:
        skipping: The next bytes belong to a line that is too long and was dropped.
        marks: A line ended by a lone CR keeps it, before its LF, which marks a line that was drawn over; an LF of its
            own behind it is an empty line. No state.
    """

    SAVED: ClassVar[tuple[str, ...]] = ("skipping",)

    skipping: bool = False
    marks: bool = False

    def cut(self, data: bytes, *, final: bool) -> Block:
        """Find the complete lines at the beginning of `data`; with `final` an unterminated one as well."""
        start, dropped = 0, 0
        if self.skipping:
            separator = _SEPARATOR.search(data)
            self.skipping = separator is None and not final
            if separator is None:
                return Block(b"", 0, len(data), 0)
            start = separator.end()
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        text = data[start:end]
        if final and end < len(data):
            text += data[end:] + b"\n"
            end = len(data)
        elif len(data) - end > MAX_LINE_BYTES:
            self.skipping = True
            dropped = 1
            end = len(data)
        if self.marks and b"\b" in text:
            text = _BACKSPACES.sub(b"\r", _with_ends(text))
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\r\n" if self.marks else b"\n")
        if _may_be_too_long(text):
            short = [line for line in text.split(b"\n") if len(line) <= MAX_LINE_BYTES]
            dropped += text.count(b"\n") + 1 - len(short)
            text = b"\n".join(short)
        if b"\0" in text:
            text = text.replace(b"\0", b"")
        if self.marks:
            if b"\n\n" in text:
                text = _EMPTY_LINES.sub(b"\n\n", text)
            empty = text.count(b"\n\n") + text.startswith(b"\n")
            if b"\r" in text:
                empty += text.count(b"\n\r\n") + text.startswith(b"\r\n")
            return Block(text, text.count(b"\n") - empty, end, dropped)
        if b"\n\n" in text:
            text = _EMPTY_LINES.sub(b"\n", text)
        if text.startswith(b"\n"):
            text = text[1:]
        return Block(text, text.count(b"\n"), end, dropped)


def _with_ends(text: bytes) -> bytes:
    """Return `text` with the end of each bar that was written over its own end behind it, after two blanks."""
    parts: list[bytes] = []
    at = 0
    for found in _OVERWRITTEN.finditer(text):
        before = text[at : found.start()].rstrip(b"\b").rstrip(b" \t")
        if not before[-1:].isspace() and (before or at):
            parts += [before, b"  "]
            at = found.end()
    return b"".join([*parts, text[at:]])


def _may_be_too_long(text: bytes) -> bool:
    """Return whether a line of `text` may be longer than MAX_LINE_BYTES: it would fill one of these windows."""
    window = MAX_LINE_BYTES // 2
    return any(text.find(b"\n", at, at + window) < 0 for at in range(0, len(text) - window, window))
