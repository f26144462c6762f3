"""A history that is one JSON document: written anew as a whole, or patched at its end.

Half a document says nothing, and nothing of it is consumed: its writer is at work. Two are read for what is complete in
them: that of CatBoost, which grows in place, and one to which nothing more will be added.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from lrwatch.core.sample import Batch
from lrwatch.formats.json.documents import EMPTY, history, is_history
from lrwatch.formats.json.lines import decoded
from lrwatch.formats.lines import MAX_LINE_BYTES

if TYPE_CHECKING:
    from typing_extensions import Self

NOT_A_DOCUMENT = "not a JSON document"

# NUL bytes: a block that a network file system did not fill yet.
_BLANK = b" \t\r\n\0"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BEGINNING = re.compile(rb'\{\s*"|\[\s*\{\s*"')
_CATBOOST = re.compile(rb'\{\s*"meta"\s*:')
# A string, also one that is cut off, or what opens, closes and separates.
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[{}\[\],]', re.DOTALL)
# Deeper nesting is no history; without a limit the work on a hostile text would be quadratic.
_MAX_DEPTH = 64
_CLOSING = {b"{": b"}", b"[": b"]"}


class JsonDocument:
    """The format `json`; see `lrwatch.formats.base.Format`."""

    name: ClassVar[str] = "json"
    whole: ClassVar[bool] = True
    binary: ClassVar[bool] = True
    evidence: ClassVar[int] = 1

    @classmethod
    def claims(cls, head: bytes) -> bool:
        """Whether `head` is, or begins, the history of a run; one record of a log of JSON lines is none."""
        text = _stripped(head)
        if not _BEGINNING.match(text):
            return False
        first, line_end, _ = text.partition(b"\n")
        if line_end and first.rstrip().endswith(b"}") and first.startswith(b"{") and decoded(first) is not None:
            return False  # whatever follows: a document would have ended with that line
        document = decoded(text)
        if document is None:
            if not line_end and first.startswith(b"{") and len(head) < MAX_LINE_BYTES:
                return False  # it may become a line of JSON; longer ones are dropped
            document = decoded(_completed(text))
        ended = head.rstrip(b"\0").endswith((b"\n", b"\r"))
        return is_history(document, one_line=not line_end, ended=ended)

    def feed(self, data: bytes, *, final: bool = False) -> tuple[Batch, int]:
        """See `Format.feed`: `data` is the whole document."""
        text = _stripped(data)
        document = decoded(text) if text.startswith((b"{", b"[")) else None
        if document is None and _CATBOOST.match(text):
            document = decoded(text[: text.rfind(b"}") + 1] + b"]}")
        if document is None and final:
            document = decoded(_completed(text))
        if document is not None:
            return replace(history(document), lines=1), len(data)
        if not final:
            return EMPTY, 0
        return (replace(EMPTY, lines=1, errors={NOT_A_DOCUMENT: 1}) if text else EMPTY), len(data)

    def state(self) -> dict[str, Any]:
        """JSON-plain state: a document says all by itself."""
        return {}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `state`."""
        return cls()


def _stripped(data: bytes) -> bytes:
    return data.strip(_BLANK).removeprefix(_BYTE_ORDER_MARK).lstrip(_BLANK)


def _completed(text: bytes) -> bytes:
    """What is complete in the beginning of a document, closed; empty where there is nothing, or more than one document.

    Of a record in a list nothing counts until it has its end: its step may be what is missing.
    """
    opened: list[bytes] = []
    record = _MAX_DEPTH  # how deep the record lies that is open
    end, missing = 0, b""
    for token in _TOKEN.finditer(text):
        match mark := token[0]:
            case b"{" | b"[":
                if mark == b"{" and opened and opened[-1] == b"]":
                    record = min(record, len(opened))
                opened.append(_CLOSING[mark])
                if len(opened) > _MAX_DEPTH:
                    return b""
                continue
            case b"}" | b"]":
                if not opened or opened.pop() != mark:
                    return b""
                if len(opened) == record:
                    record = _MAX_DEPTH
                cut = token.end()
            case b",":
                cut = token.start()
            case _:
                continue
        if not opened:
            return text if cut == len(text) else b""
        if record == _MAX_DEPTH:
            end, missing = cut, b"".join(reversed(opened))
    return text[:end] + missing
