"""A large JSON document, decoded piece by piece: as objects of Python a history takes thirty times its size.

Its long lists are `LazyList`s, which keep the text of their elements and decode some of them at a time. All else is as
`decoded` gives it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, overload

import msgspec

from lrwatch.formats.json.lines import BARE, QUOTED, decoded, without_surrogates

# Smaller texts are decoded at once: at the worst they take some 30 MB.
LARGE_BYTES = 1 << 20
# Elements decoded at once.
_PIECE = 1024
# Bytes of one element. A record is a line in other logs, and has the same limit there.
MAX_ELEMENT_BYTES = 1 << 20
# Keys of one object of a large document on average, and of all: a history has many objects of few keys, or few keys.
_MOST_KEYS = 2000
_MANY_KEYS = 100_000

# Levels of objects that are looked into, as far as a history is searched for.
_DEPTH = 2

_OBJECT = re.compile(rb"\{")

_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class LazyList(Sequence[Any]):
    """The elements of a long list; one that is too long or no JSON is None.

    >>> list(LazyList([b'{"loss": 1}', b'"b"', b"{"]))
    [{'loss': 1}, 'b', None]
    """

    def __init__(self, elements: Sequence[bytes | msgspec.Raw]) -> None:
        self._elements = elements

    def __len__(self) -> int:
        return len(self._elements)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> LazyList: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return LazyList(self._elements[index])
        return _each([bytes(self._elements[index])])[0]

    def __iter__(self) -> Iterator[Any]:
        for piece in self.pieces():
            yield from piece

    def pieces(self) -> Iterator[list[Any]]:
        """Iterate over the elements, some at a time."""
        for start in range(0, len(self), _PIECE):
            texts = [bytes(element) for element in self._elements[start : start + _PIECE]]
            together = decoded(b"[" + b",".join(texts) + b"]") if sum(map(len, texts)) <= MAX_ELEMENT_BYTES else None
            yield together if together is not None and len(together) == len(texts) else _each(texts)


def _each(texts: Sequence[bytes]) -> list[Any]:
    return [decoded(text) if len(text) <= MAX_ELEMENT_BYTES else None for text in texts]


def pieces(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Iterate over a list in pieces: a `LazyList` in its own, another one as it is."""
    if isinstance(values, LazyList):
        yield from values.pieces()
    else:
        yield values


def decoded_large(text: bytes) -> Any:
    """Decode a document as `decoded` does, with each long list of objects as a `LazyList`."""
    if len(text) <= LARGE_BYTES:
        return decoded(text)
    keys = text.count(b'":')
    if keys > _MANY_KEYS and keys > _MOST_KEYS * text.count(b"{"):
        return None
    document = _parts(text)
    if document is None:  # bare NaN, bytes that are no UTF-8, half of a pair of surrogates
        document = _parts(BARE.sub(QUOTED, text))
    if document is None:
        document = _parts(without_surrogates(BARE.sub(QUOTED, text)))
    return document


def _parts(text: bytes | memoryview, depth: int = _DEPTH) -> Any:
    """Decode the outer object or list of a text; None if it is neither."""
    try:
        if text[:1] == b"{":
            return {key: _value(memoryview(value), depth) for key, value in _decode_object(text).items()}
        return LazyList(_decode_list(text))
    except (ValueError, RecursionError):
        return None


def _value(text: memoryview, depth: int) -> Any:
    """Decode the value of a key; None where it is large and too deep to be looked at."""
    first = bytes(text[:1])
    if len(text) <= LARGE_BYTES or first not in b"{[" or (first == b"[" and _OBJECT.search(text) is None):
        return decoded(bytes(text))
    return _parts(text, depth - 1) if depth or first == b"[" else None
