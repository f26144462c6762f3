r"""The format `wrapped`: another format inside the records of a container runtime, a JSON logger or UTF-16.

===========  ==========================================================================================================
wrapping     a line of it
===========  ==========================================================================================================
json         an object whose message is the line: docker's json-file (``{"log": "step 1 loss 2\\n", ...}``), journald,
             Fluentd, Google Cloud, python-json-logger. An object with a step or a loss of its own stays as it is
cri          ``2024-05-01T10:00:04.1Z stdout F text`` of Kubernetes; ``P`` is a part that the next record goes on with
utf-16       all of the log, as its first two bytes say (PowerShell writes it)
===========  ==========================================================================================================

The first line with a wrapping decides which it is. What is inside has its own format, which is found as that of any other log is.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.sample import Batch
from lrwatch.formats.base import Format
from lrwatch.formats.json.lines import decoded, tells
from lrwatch.formats.lines import MAX_LINE_BYTES, Lines

Wrapping = Literal["", "none", "json", "cri", "utf-16-le", "utf-16-be"]

_MARKS: Mapping[bytes, Wrapping] = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
# Keys of the message of a record, the surest first.
_MESSAGES = ("log", "MESSAGE", "message", "msg", "textPayload", "jsonPayload", "line", "event", "text")
_CRI = re.compile(rb"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[-+]\d\d:?\d\d) (std(?:out|err)) ([FP]) ?")
_STDERR = "stderr"

# Lines of which one has to be wrapped: what started the training may have printed some of its own before.
_FIRST_LINES = 64
# Objects of records in messages that are followed, as in `{"jsonPayload": {"message": ...}}`.
_DEPTH = 2


class Wrapped(Checkpointed, ABC):
    """The format `wrapped`; see `lrwatch.formats.base.Format`. How the inner format is found is given by a subclass."""

    SAVED: ClassVar[tuple[str, ...]] = ("_lines", "_wrapping", "_plain", "_held")

    name: ClassVar[str] = "wrapped"
    whole: ClassVar[bool] = False
    binary: ClassVar[bool] = False
    evidence: ClassVar[int] = 1

    def __init__(self) -> None:
        self._lines = Lines()
        self._wrapping: Wrapping = ""
        self._plain = 0  # lines without a wrapping, before it is known
        self._held: dict[str, str] = {}  # by stream, a part of a line, as Latin-1, until the rest of it comes
        self._inner: Format | None = None

    @classmethod
    def claims(cls, head: bytes) -> bool:
        """Return whether the log is UTF-16, by its first bytes; see `Format.claims`."""
        return head[:2] in _MARKS and head[2:4] != b"\0\0"

    @abstractmethod
    def _find(self, head: bytes, *, final: bool) -> Format | None:
        """Find the format of what is inside; see `lrwatch.formats.detect.detect`."""

    @abstractmethod
    def _restored(self, name: str, state: Mapping[str, Any]) -> Format:
        """Return the inner format as it was when it gave `state`."""

    def feed(self, data: bytes, *, final: bool = False) -> tuple[Batch, int]:
        """Read the complete lines; see `Format.feed`. Nothing is consumed before the inner format is known."""
        before = self.state()
        text, lines, consumed, errors = self._unwrap(data, final=final)
        if self._wrapping in ("", "none"):
            return _nothing(lines, errors), consumed
        if self._inner is None:
            self._inner = self._find(text, final=final)
        if self._inner is not None:
            batch, _ = self._inner.feed(text, final=final)
            return replace(batch, lines=lines, errors={**batch.errors, **errors}), consumed
        if not final and len(data) < MAX_LINE_BYTES:
            self.restore(before)
            return _nothing(0, {}), 0
        return _nothing(lines, errors), consumed  # a megabyte without a record

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values; see `Checkpointed.state`."""
        inner = None if self._inner is None else [self._inner.name, self._inner.state()]
        return {**super().state(), "inner": inner}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        super().restore(state)
        self._inner = None if state["inner"] is None else self._restored(*state["inner"])

    # ---- bytes to lines -------------------------------------------------------------------------------------------

    def _unwrap(self, data: bytes, *, final: bool) -> tuple[bytes, int, int, Mapping[str, int]]:
        """Return the lines inside, the number of lines, the number of bytes consumed, and the reasons of errors."""
        if not self._wrapping and len(data) > 1 and self.claims(data):
            self._wrapping = _MARKS[data[:2]]
        if self._wrapping.startswith("utf-16"):
            text, consumed = _decoded(data, self._wrapping, final=final)
            return text, text.count(b"\n"), consumed, {}
        block = self._lines.cut(data, final=final)
        lines = block.text.split(b"\n")[:-1]
        if block.text and not self._wrapping:
            lines = lines[self._decide(lines) :]
        if self._wrapping in ("", "none"):
            return b"", block.lines + block.dropped, block.consumed, block.errors
        inside = b"".join(self._messages(lines) if self._wrapping == "json" else self._joined(lines))
        if final:
            inside += b"".join(self._take(b"", stream) + b"\n" for stream in tuple(self._held))
        return inside, block.lines + block.dropped, block.consumed, block.errors

    def _decide(self, lines: list[bytes]) -> int:
        """Take the wrapping of the first line that has any, and return its number in `lines`."""
        for i, line in enumerate(lines[: _FIRST_LINES - self._plain]):
            if wrapping := _wrapping_of(line):
                self._wrapping = wrapping
                return i
        self._plain += len(lines)
        if self._plain >= _FIRST_LINES:
            self._wrapping = "none"
        return 0

    def _messages(self, lines: list[bytes]) -> Iterator[bytes]:
        for line in lines:
            record = decoded(line) if line.startswith(b"{") else None
            if not isinstance(record, dict) or tells(record):
                yield line + b"\n"
            elif (message := _message(record)) is not None:
                whole = "stream" not in record or message.endswith((b"\n", b"\r"))
                stream = (
                    _STDERR if record.get("stream") == _STDERR else ""
                )  # of any other name there is one: names have no bound
                if whole:
                    yield self._take(message.rstrip(b"\n"), stream) + b"\n"
                else:
                    self._hold(message, stream)

    def _joined(self, lines: list[bytes]) -> Iterator[bytes]:
        for line in lines:
            prefix = _CRI.match(line)
            if prefix is None:
                yield line + b"\n"
            elif prefix[2] == b"P":
                self._hold(line[prefix.end() :], prefix[1].decode())
            else:
                yield self._take(line[prefix.end() :], prefix[1].decode()) + b"\n"

    def _hold(self, part: bytes, stream: str) -> None:
        self._held[stream] = (self._held.get(stream, "") + part.decode("latin-1"))[:MAX_LINE_BYTES]

    def _take(self, rest: bytes, stream: str) -> bytes:
        """Return what was held back of a stream, and `rest`."""
        return self._held.pop(stream, "").encode("latin-1") + rest


def _nothing(lines: int, errors: Mapping[str, int]) -> Batch:
    return Batch(np.empty(0, np.int64), {}, "record", lines, errors)


def _wrapping_of(line: bytes) -> Wrapping:
    """Return the wrapping of a line; "none" for a record with a loss of its own, "" for any other line."""
    if _CRI.match(line):
        return "cri"
    record = decoded(line) if line.startswith(b"{") else None
    if not isinstance(record, dict):
        return ""
    return "json" if not tells(record) and _message(record) is not None else "none"


def _message(record: Mapping[str, Any], depth: int = _DEPTH) -> bytes | None:
    """Return the message of a record; None if it has none."""
    for key in _MESSAGES:
        value = record.get(key)
        if isinstance(value, str):
            return value.encode("utf-8", "replace")
        if isinstance(value, list) and value and all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):
            return bytes(value)  # journald spells a message with control characters as a list of bytes
        if depth > 1 and isinstance(value, dict) and (inner := _message(value, depth - 1)) is not None:
            return inner
    return None


def _decoded(data: bytes, encoding: str, *, final: bool) -> tuple[bytes, int]:
    """Return the complete lines at the beginning of `data` as UTF-8, and the number of bytes that they took."""
    end = len(data)
    if not final:
        ends = [b"\n\0", b"\r\0"] if encoding == "utf-16-le" else [b"\0\n", b"\0\r"]
        end = max(_last(data, mark) for mark in ends)
    return data[:end].decode(encoding, "replace").removeprefix("\ufeff").encode("utf-8", "replace"), end


def _last(data: bytes, mark: bytes) -> int:
    """Return the offset behind the last `mark` at an even offset; 0 if there is none."""
    at = data.rfind(mark)
    while at % 2 and at >= 0:
        at = data.rfind(mark, 0, at + 1)
    return at + 2 if at >= 0 else 0
