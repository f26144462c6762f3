"""Records out of bytes that may be torn, holed or damaged."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.event_files import header, record
from support.format_samples import cut

from lrwatch.formats.tensorboard.framing import (
    DAMAGED,
    MAX_RECORD_BYTES,
    UNFINISHED,
    EventFraming,
    is_header,
    next_header,
)

A, B, C = record(b"first"), record(b"the second"), record(b"")
# What one read of the daemon gives: all that is waited for has to fit into it.
READ_BYTES = 2 << 20


def read(chunks: list[bytes], *, final: bool = True) -> tuple[list[bytes], Counter[str], int]:
    """Cut chunks as a tail presents them, with a restart after each.

    Returns:
        The data of the records, the errors, and the number of bytes that wait.
    """
    framing = EventFraming()
    found: list[bytes] = []
    errors: Counter[str] = Counter()
    rest = b""
    for number, chunk in enumerate([*chunks, b""] if final else chunks):
        rest += chunk
        frames = framing.cut(rest, final=final and number == len(chunks))
        found += [rest[a : a + n] for a, n in zip(frames.starts.tolist(), frames.lengths.tolist(), strict=True)]
        errors += frames.errors
        rest = rest[frames.consumed :]
        assert len(rest) < READ_BYTES
        state = framing.state()
        framing = EventFraming()
        framing.restore(state)
    return found, errors, len(rest)


def test_whole_records_are_read() -> None:
    assert read([A + B + C]) == ([b"first", b"the second", b""], {}, 0)


@pytest.mark.parametrize("size", range(len(B)))
def test_a_torn_record_is_waited_for_and_counted_only_when_nothing_will_follow(size: int) -> None:
    assert read([A + B[:size]], final=False) == ([b"first"], {}, size)
    assert read([A + B[:size], B[size:] + C]) == ([b"first", b"the second", b""], {}, 0)
    assert read([A + B[:size]]) == ([b"first"], {UNFINISHED: 1} if size else {}, 0)


@pytest.mark.parametrize("zeros", [1, 11, 12, 40, 5000])
def test_zeros_at_the_end_are_waited_for_and_passed_over_when_a_record_follows(zeros: int) -> None:
    assert read([A + bytes(zeros)], final=False) == ([b"first"], {}, zeros)
    assert read([A, bytes(zeros), B]) == ([b"first", b"the second"], {DAMAGED: 1}, 0)


def test_zeros_that_become_data_are_no_damage() -> None:
    framing = EventFraming()
    hole = framing.cut(A + B[:14] + bytes(len(B) - 14), final=False)
    assert (len(hole.starts), hole.consumed, hole.errors) == (1, len(A), {})
    filled = framing.cut(B + C, final=False)
    assert (len(filled.starts), filled.consumed, filled.errors) == (2, len(B + C), {})


@pytest.mark.parametrize("at", range(len(B)))
def test_one_damaged_byte_costs_one_record(at: int) -> None:
    damaged = B[:at] + bytes([B[at] ^ 0x10]) + B[at + 1 :]
    for chunks in ([A + damaged + A + C], [A, damaged, A, C], cut(A + damaged + A + C, range(200))):
        assert read(chunks) == ([b"first", b"first", b""], {DAMAGED: 1}, 0)
    assert read([A + damaged], final=False) == ([b"first"], {}, len(B))
    assert read([A + damaged]) == ([b"first"], {DAMAGED: 1}, 0)


def test_a_damaged_record_with_rubbish_behind_it_counts_once() -> None:
    damaged = B[:-1] + bytes([B[-1] ^ 1])
    for chunks in ([damaged + b"rubbish" * 5 + A], cut(damaged + b"rubbish" * 5 + A, range(200))):
        assert read(chunks) == ([b"first"], {DAMAGED: 1}, 0)


@pytest.mark.slow
@pytest.mark.parametrize("rubbish", [b"\0", b"y", b"\0\0\0\0\0\1\0"])
def test_damage_without_end_is_given_up_and_counted_once_and_the_next_record_is_found(rubbish: bytes) -> None:
    data = A + rubbish * (3_000_000 // len(rubbish)) + B + C
    expected = ([b"first", b"the second", b""], {DAMAGED: 1}, 0)
    for size in (1 << 16, 700_001, len(data)):
        assert read([data[at : at + size] for at in range(0, len(data), size)]) == expected


@pytest.mark.parametrize("length", [MAX_RECORD_BYTES + 1, 5_000_000])
def test_a_record_that_is_too_long_is_passed_over_in_any_pieces(length: int) -> None:
    data = A + header(length) + bytes(length + 4) + B
    for size in (1 << 16, 1_000_003, len(data)):
        framing, rest, passed, found = EventFraming(), b"", 0, 0
        for at in range(0, len(data), size):
            rest += data[at : at + size]
            frames = framing.cut(rest, final=False)
            rest = rest[frames.consumed :]
            passed, found = passed + frames.passed, found + len(frames.starts)
            assert not frames.errors
        assert (passed, found, rest, framing) == (1, 2, b"", EventFraming())


def test_a_long_record_that_ends_early_is_counted_when_nothing_will_follow() -> None:
    assert read([A + header(5_000_000) + b"x" * 100_000]) == ([b"first"], {UNFINISHED: 1}, 0)


@pytest.mark.slow
def test_the_longest_record_that_is_looked_into_is_whole_in_one_read() -> None:
    longest = random.Random(3).randbytes(MAX_RECORD_BYTES)
    data = A + record(longest) + B
    assert read([data[at : at + 300_000] for at in range(0, len(data), 300_000)])[0] == [
        b"first",
        longest,
        b"the second",
    ]


def test_a_length_beyond_any_message_is_damage_though_its_checksum_holds() -> None:
    for length in ((1 << 31) + 1, 1 << 32, (1 << 64) - 1):
        assert not is_header(header(length))
        assert read([A + header(length) + B]) == ([b"first", b"the second"], {DAMAGED: 1}, 0)


@given(before=st.binary(max_size=2000), at=st.integers(0, 2100), length=st.integers(0, 1 << 31))
def test_the_next_header_is_found_where_it_is(before: bytes, at: int, length: int) -> None:
    data = before + header(length) + b"tail"
    assert next_header(data, at) == (len(before) if at <= len(before) else None)


@pytest.mark.slow
@given(data=st.data())
@settings(deadline=None)
def test_damage_of_any_kind_raises_nothing_and_the_cut_changes_nothing(data: st.DataObject) -> None:
    parts = st.sampled_from([A, B, C, A[:7], B[:-3], B[:-1] + b"?", bytes(30), b"\1", header(3), header(90)])
    log = bytearray(b"".join(data.draw(st.lists(parts, max_size=20))))
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3)):
        if at < len(log):
            log[at] = byte
    whole = read([bytes(log)])
    assert read(cut(bytes(log), data.draw(st.lists(st.integers(0, 400), max_size=10)))) == whole
    assert read([bytes([byte]) for byte in log]) == whole
    assert set(whole[0]) <= {b"first", b"the second", b""}


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "log",
    [
        (A[:-1] + b"?") * 60_000,
        (A[:2] + b"?" + A[3:] + A) * 30_000,
        b"".join(record(bytes(length)) for length in range(600)) * 4,
        b"".join(header(1_000_000) for _ in range(100_000)),
    ],
    ids=["damaged data", "damaged headers", "many lengths", "headers inside of records"],
)
def test_hostile_records_do_not_stall(log: bytes) -> None:
    # The limit of time is some ten to a hundred times what it takes; quadratic work would take hours.
    framing = EventFraming()
    assert framing.cut(log, final=True).consumed == len(log)


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_a_record_whose_checksum_is_that_of_rfc_3720_is_read_and_any_other_is_damage(
    data: bytes, checksum: int
) -> None:
    masked = (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    assert read([header(32) + data + masked.to_bytes(4, "little")]) == ([data], {}, 0)
    assert read([header(32) + data + (masked ^ 1).to_bytes(4, "little") + A]) == ([b"first"], {DAMAGED: 1}, 0)


def test_headers_of_all_lengths_are_found_at_once() -> None:
    for length in (0, 1, 255, 256, 65_535, 1 << 24, 1 << 31):
        assert next_header(bytes(1000) + header(length), 1) == 1000
