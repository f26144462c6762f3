"""The format `json`: a history that is one JSON document, rewritten as a whole or patched at its end.

Half a document is not consumed: its writer is at work. Two kinds of incomplete documents are read for their complete
parts: that of CatBoost, which grows in place, and one to which nothing will be added.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import ClassVar

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.sample import Batch
from lrwatch.formats.json.documents import EMPTY, history, is_history
from lrwatch.formats.json.large import decoded_large
from lrwatch.formats.json.lines import decoded
from lrwatch.formats.lines import MAX_LINE_BYTES

NOT_A_DOCUMENT = "not a JSON document"

# NUL bytes: a block that a network file system has not filled yet.
_BLANK = b" \t\r\n\0"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BEGINNING = re.compile(rb'\{\s*"|\[\s*\{\s*"|\[\s*\[\s*\d')
_CATBOOST = re.compile(rb'\{\s*"meta"\s*:')
# A string, also one that is cut off, or a bracket, brace or comma.
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[{}\[\],]', re.DOTALL)
# Deeper nesting is no history; without a limit the work for a hostile text would be quadratic.
_MAX_DEPTH = 64
_CLOSING = {b"{": b"}", b"[": b"]"}


class JsonDocument(Checkpointed):
    """The format `json`; see `lrwatch.formats.base.Format`. It has no state."""

    name: ClassVar[str] = "json"
    whole: ClassVar[bool] = True
    binary: ClassVar[bool] = True
    evidence: ClassVar[int] = 1

    @classmethod
    def claims(cls, head: bytes) -> bool:
        """Return whether `head` is, or begins, the history of a run; one record of a log of JSON lines is none."""
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
        """Read the document; see `Format.feed`. `data` is the whole of it."""
        text = _stripped(data)
        document = decoded_large(text) if text.startswith((b"{", b"[")) else None
        if document is None and _CATBOOST.match(text):
            document = decoded_large(text[: text.rfind(b"}") + 1] + b"]}")
        if document is None and final:
            document = decoded_large(_completed(text))
        if document is not None:
            return replace(history(document), lines=1), len(data)
        if not final:
            return EMPTY, 0
        return (replace(EMPTY, lines=1, errors={NOT_A_DOCUMENT: 1}) if text else EMPTY), len(data)


def _stripped(data: bytes) -> bytes:
    return data.strip(_BLANK).removeprefix(_BYTE_ORDER_MARK).lstrip(_BLANK)


def _completed(text: bytes) -> bytes:
    """Cut the beginning of a document behind its last complete value, and close it.

    A record in a list counts when it has its end: the missing part may be its step.

    Returns:
        The closed document; empty if nothing is complete, or if there is more than one document.
    """
    opened: list[bytes] = []
    record = _MAX_DEPTH  # depth of the open record
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
