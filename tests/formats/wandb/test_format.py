"""Weights & Biases' offline files, framed by hand. Files of the real library: tests/frameworks/test_wandb_logs.py."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.format_samples import cut, samples, values
from support.wandb_files import BLOCK, HEADER, field, framed, history

from lrwatch.core.sample import Batch
from lrwatch.formats.wandb.format import Wandb
from lrwatch.formats.wandb.framing import MAX_RECORD_BYTES


def feed(chunks: list[bytes], *, restart: bool = False) -> list[Batch]:
    """Feed as a tail does; with `restart` through the state as JSON."""
    reader, rest, batches = Wandb(), b"", []
    for chunk in chunks:
        batch, used = reader.feed(rest + chunk)
        rest = (rest + chunk)[used:]
        batches.append(batch)
        if restart:
            state = json.loads(json.dumps(reader.state()))
            reader = Wandb()
            reader.restore(state)
    batch, used = reader.feed(rest, final=True)
    assert used == len(rest)
    return [*batches, batch]


def errors(batches: list[Batch]) -> dict[str, int]:
    found: dict[str, int] = {}
    for batch in batches:
        for reason, count in batch.errors.items():
            found[reason] = found.get(reason, 0) + count
    return found


def losses(log: bytes) -> list[tuple[int, float]]:
    return values(feed([log]), "loss")


def losses_of(count: int, start: int = 0, size: int = 0) -> list[bytes]:
    pad = {"text": json.dumps("x" * size)} if size else {}
    return [history({"loss": str(i / 4), "_step": str(i), **pad}) for i in range(start, start + count)]


LOG = framed([
    field(1, 1) + field(17, b"run"),
    history({"loss": "2.5", "lr": "0.001", "_step": "0", "_timestamp": "1.7e9", "_runtime": "1"}),
    history({"train.loss": "NaN", "train.deep.x": "-Infinity", "_step": "1"}),
    history({"loss": '"NaN"', "flag": "true", "note": '"text"', "none": "null", "_step": "2"}),
    history({"a.b": '{"c": 1, "d": NaN}', "h": '{"_type": "histogram", "values": [1]}', "_step": "3"}, nested=False),
    history({"loss": "1e-3"}, step=4),
    history({"loss": "Infinity", "_step": "5"}),
    *losses_of(40, 6, 2000),
])  # fmt: skip


def test_the_header_proves_the_format() -> None:
    assert Wandb.claims(LOG)
    assert not Wandb.claims(LOG[:6])
    assert not Wandb.claims(b":W&B\xe1\xbe\x01" + LOG[7:])


def test_numbers_in_any_spelling_are_samples_and_other_values_are_none() -> None:
    found = samples(feed([LOG]))[:10]
    assert found == [
        ("loss", 0, "2.5"), ("lr", 0, "0.001"), ("train.deep.x", 1, "-inf"), ("train.loss", 1, "nan"), ("loss", 2, "nan"),
        ("a.b.c", 3, "1.0"), ("a.b.d", 3, "nan"), ("loss", 4, "0.001"), ("loss", 5, "inf"), ("loss", 6, "1.5"),
    ]  # fmt: skip
    assert errors(feed([LOG])) == {}
    assert sum(batch.lines for batch in feed([LOG])) == 47


def test_records_over_several_blocks_are_put_together() -> None:
    assert len(LOG) > 2 * BLOCK
    assert losses(LOG)[-40:] == [(i, i / 4) for i in range(6, 46)]
    assert losses(framed(losses_of(3, 0, 5 * BLOCK))) == [(i, i / 4) for i in range(3)]


@pytest.mark.slow
@given(at=st.lists(st.integers(0, len(LOG)), max_size=12), restart=st.booleans())
@settings(deadline=None)
def test_any_chunking_and_any_restart_give_the_same_samples(at: list[int], restart: bool) -> None:
    whole, pieces = feed([LOG]), feed(cut(LOG, at), restart=restart)
    assert samples(pieces) == samples(whole)
    assert sum(b.lines for b in pieces) == sum(b.lines for b in whole)


@pytest.mark.parametrize("left", range(1, 16))
def test_the_end_of_a_block_too_small_for_a_fragment_is_passed_over(left: int) -> None:
    padding = next(n for n in range(BLOCK - 100, BLOCK) if len(framed(losses_of(1, 0, n))) == BLOCK - left)
    log = framed([*losses_of(1, 0, padding), *losses_of(2, 1)])
    assert losses(log) == [(i, i / 4) for i in range(3)]
    assert log[BLOCK - left : BLOCK] == bytes(left) or left >= 7


def test_a_torn_tail_is_waited_for_and_read_when_it_is_complete() -> None:
    log = framed(losses_of(4))
    for end in range(len(HEADER), len(log)):
        reader = Wandb()
        before, used = reader.feed(log[:end])
        after, rest = reader.feed(log[used:])
        assert values([before, after], "loss") == losses(log)
        assert used + rest == len(log)
        assert not before.errors
        assert not after.errors


@pytest.mark.parametrize("tail", [bytes(500), bytes(3), b"\x01" * 30])
def test_zeros_or_a_bad_checksum_at_the_tail_mean_not_yet(tail: bytes) -> None:
    log = framed(losses_of(2))
    reader = Wandb()
    batch, used = reader.feed(log + tail)
    assert (len(batch), used, dict(batch.errors)) == (2, len(log), {})
    rest = framed(losses_of(2, 2), log)[used:]
    assert values([reader.feed(rest)[0]], "loss") == [(2, 0.5), (3, 0.75)]


def test_what_is_torn_for_good_is_counted_once_at_the_end() -> None:
    log = framed(losses_of(2))
    assert errors(feed([log[:-1]])) == {"unfinished record": 1}
    assert errors(feed([b":W&"])) == {"no W&B header": 1}


def test_damage_within_a_file_costs_the_rest_of_its_block_and_is_counted_once() -> None:
    log = bytearray(framed(losses_of(60, 0, 2000)))
    log[20_000] ^= 1
    left = [step for step, _ in losses(bytes(log))]
    assert left == [*range(9), *range(16, 60)]  # 2 kB each: from the tenth to the one that reaches into the next block
    assert errors(feed([bytes(log)])) == {"damaged record": 1}
    assert errors(feed([bytes(log[i : i + 1000]) for i in range(0, len(log), 1000)])) == {"damaged record": 1}


def test_a_record_that_is_too_long_is_passed_over_in_bounded_memory() -> None:
    long = field(1, 3) + field(6, b"f" * (3 * MAX_RECORD_BYTES))
    table = history({"t": json.dumps("x" * MAX_RECORD_BYTES), "_step": "9"})
    log = framed([*losses_of(2), long, *losses_of(2, 2), table, *losses_of(2, 4)])
    reader, rest, batches = Wandb(), b"", []
    for start in range(0, len(log), 50_000):
        rest += log[start : start + 50_000]
        batch, used = reader.feed(rest)
        rest = rest[used:]
        batches.append(batch)
        assert len(rest) <= 1 << 20
    assert values(batches, "loss") == [(i, i / 4) for i in range(6)]
    assert errors(batches) == {"history record too long": 1}  # no metric is lost with the other one


def test_a_record_is_placed_by_the_step_of_its_trainer_where_it_has_one() -> None:
    log = framed([
        history({"warm": "1", "_step": "0"}),
        history({"loss": "3", "trainer/global_step": "49", "epoch": "0", "_step": "1"}),
        history({"val_loss": "4", "_step": "2"}),
        history({"loss": "2", "trainer/global_step": "99", "batch": "3", "_step": "3"}),
    ])  # fmt: skip
    assert [(s.metric, s.step) for b in feed([log]) for s in b.samples()] == [
        ("warm", 0), ("epoch", 49), ("loss", 49), ("val_loss", 49), ("loss", 99)
    ]  # fmt: skip
    within_epoch = framed([history({"loss": "1", "batch": str(i % 2), "_step": str(i)}) for i in range(4)])
    assert [step for step, _ in losses(within_epoch)] == [0, 1, 2, 3]


@pytest.mark.slow
@given(
    noise=st.binary(min_size=1, max_size=40),
    at=st.integers(0, len(LOG)),
    cuts=st.lists(st.integers(0, len(LOG)), max_size=5),
)
@settings(deadline=None)
def test_damaged_bytes_raise_nothing_and_do_not_depend_on_the_cut(noise: bytes, at: int, cuts: list[int]) -> None:
    damaged = LOG[:at] + noise + LOG[at + len(noise) :]
    whole, pieces = feed([damaged]), feed(cut(damaged, cuts), restart=True)
    assert samples(pieces) == samples(whole)
    assert errors(pieces) == errors(whole)


@given(records=st.lists(st.binary(max_size=60), max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_bytes_as_records_give_samples_or_counted_errors(records: list[bytes]) -> None:
    batches = feed([framed([*records, *(field(2, record) for record in records), *losses_of(1)])])
    assert values(batches, "loss")[-1][1] == 0.0


@given(log=st.binary(max_size=300))
def test_what_is_no_such_file_is_counted_once(log: bytes) -> None:
    assert errors(feed([b"x" + log, log])) == {"no W&B header": 1}
