"""Checksums of many stretches at once are those of each by itself."""

from __future__ import annotations

import random

import numpy as np
import pytest
from support.event_files import masked_crc32c

from lrwatch.formats.tensorboard.crc32c import crc32c, crc32c_lengths, crc32c_many, masked, masked_many


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_the_examples_of_rfc_3720_hold(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum
    assert crc32c_many(b"...." + data, np.array([4]), np.array([32])).tolist() == [checksum]


def test_stretches_of_any_length_have_the_checksum_of_each_by_itself() -> None:
    rng = random.Random(1)
    lengths = [*range(70), *(rng.randrange(600) for _ in range(60)), 4095, 4096, 4097, 70_000]
    rng.shuffle(lengths)
    data = rng.randbytes(sum(lengths) + 4 * len(lengths))
    starts = np.cumsum([4, *(length + 4 for length in lengths[:-1])])
    expected = [crc32c(data[start : start + length]) for start, length in zip(starts.tolist(), lengths, strict=True)]
    assert crc32c_many(data, starts, np.array(lengths)).tolist() == expected


def test_more_stretches_than_are_worked_on_together_come_out_in_order() -> None:
    data = random.Random(2).randbytes(8 * 10_000)
    starts = np.arange(10_000) * 8 + 4
    found = crc32c_many(data, starts, np.full(10_000, 4)).tolist()
    assert found == [crc32c(data[start : start + 4]) for start in starts.tolist()]


def test_lengths_and_masks_agree_with_those_of_single_numbers() -> None:
    numbers = [0, 1, 255, 256, 65_535, 1 << 24, (1 << 32) - 1]
    found = crc32c_lengths(np.array(numbers, np.uint32))
    assert found.tolist() == [crc32c(number.to_bytes(8, "little")) for number in numbers]
    assert masked_many(found).tolist() == [masked(checksum) for checksum in found.tolist()]
    assert masked(crc32c(b"lrwatch")) == masked_crc32c(b"lrwatch")
