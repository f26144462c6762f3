"""Damage to bytes, the same for the same seed: what a fuzzer does without looking at the code that is reached."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

_TOKENS = (
    b"\n", b"\r", b"\r\n", b"\0", b"\b", b"\x1b[2K", b'"', b"'", b"{", b"}", b"[", b"]", b":", b",", b"=", b"|", b"nan", b"-inf",
    b"1e999", b"9" * 40, b"\xff", b"\xe2\x80\xae", b"\\ud800", b"\\", b"loss", b"step", b"epoch", b"<script>", b"&", b"  ", b"\t", b"-", b".",
)  # fmt: skip


def damaged(seeds: Sequence[bytes], seed: int, most: int) -> Iterator[bytes]:
    """Yield damaged seeds without end, each of at most `most` bytes."""
    chance = random.Random(seed)
    while True:
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 2, 4, 8))):
            at = chance.randrange(len(data) + 1)
            end = min(len(data), at + chance.choice((1, 1, 4, 32)))
            match chance.randrange(6):
                case 0:
                    data[at:at] = chance.choice(_TOKENS)
                case 1:
                    del data[at:end]
                case 2:
                    data[at:end] = chance.choice(_TOKENS)
                case 3:
                    data[at:at] = data[at:end] * chance.choice((1, 2, 20))
                case 4:
                    other = chance.choice(seeds)
                    begin = chance.randrange(len(other) + 1)
                    data[at:at] = other[begin : begin + chance.choice((4, 40, 400))]
                case _ if at < len(data):
                    data[at] ^= 1 << chance.randrange(8)
        yield bytes(data[:most])
