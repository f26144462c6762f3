"""Event files: against the `tensorboard` package, in any pieces, and damaged.

One file because the tests share the records that they damage.
"""

from __future__ import annotations

import csv
import json
import math
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from support.event_files import TFEVENTS, VERSION, event, field, header, record, scalar, tensor, varint
from support.format_samples import cut, feed, random_cuts, samples, values
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.util.tensor_util import make_ndarray, make_tensor_proto
from torch.utils.tensorboard import SummaryWriter

from lrwatch.core.sample import Batch
from lrwatch.formats.tensorboard.format import NO_EVENT, TfEvents
from lrwatch.formats.tensorboard.framing import DAMAGED, UNFINISHED

REAL = Path(__file__).parents[4] / "shared" / "data" / "real"


def read(log: bytes) -> list[tuple[str, int, str]]:
    return samples(feed(TfEvents(), [log]))


def errors(batches: list[Batch]) -> dict[str, int]:
    return {reason: sum(b.errors.get(reason, 0) for b in batches) for b in batches for reason in b.errors}


def feed_with_restarts(chunks: list[bytes]) -> list[Batch]:
    """As `feed` does, through the state as JSON after each chunk."""
    reader, rest, batches = TfEvents(), b"", []
    for number, chunk in enumerate([*chunks, b""]):
        rest += chunk
        batch, used = reader.feed(rest, final=number == len(chunks))
        batches.append(batch)
        rest = rest[used:]
        state = reader.state()
        assert json.loads(json.dumps(state)) == state
        reader = TfEvents()
        reader.restore(state)
    return batches


def expected(records: list[Event]) -> list[tuple[str, int, str]]:
    """What a plain reader finds in events whose tensors are of one number: the last value of a tag, tags in order."""
    found = []
    for one in records:
        last = {}
        for value in one.summary.value:
            kind = value.WhichOneof("value")
            if kind == "simple_value":
                last[value.tag] = value.simple_value
            elif kind == "tensor" and value.metadata.plugin_data.plugin_name in ("", "scalars"):
                last[value.tag] = float(make_ndarray(value.tensor).item())
        found += [(tag, one.step, repr(value)) for tag, value in sorted(last.items())]
    return found


# ---- against the tensorboard package --------------------------------------------------------------------------------


def log_everything(writer: SummaryWriter) -> None:
    rng = np.random.default_rng(1)
    writer.add_text("config", "lr: 0.1, loss: 3", 0)
    for step in range(300):
        writer.add_scalar("loss", 1 / (step + 1), step)
        writer.add_scalar("train/lr", 0.1 * 0.99**step, step, new_style=True)
        writer.add_scalar("double", step / 7, step, new_style=True, double_precision=True)
        if step % 50 == 0:
            writer.add_histogram("weights", rng.normal(size=100), step)
            writer.add_image("picture", rng.random((3, 40, 40)), step)
            writer.add_pr_curve("curve", rng.integers(0, 2, 50), rng.random(50), step)
        if step % 20 == 19:
            writer.add_scalar("loss/nan", math.nan, step)
            writer.add_scalar("loss/inf", -math.inf, step)
            writer.add_scalars("both", {"train": 1.0, "val": 2.0}, step)
    writer.add_scalar("step", 7.0, 2**40)
    writer.add_scalar("epoch", 8.0, 12)
    writer.add_hparams({"lr": 0.1}, {"hparam/accuracy": 0.5})


def peer(path: Path) -> Iterator[tuple[str, int, str]]:
    """The scalars that the tensorboard package finds."""
    for one in EventFileLoader(str(path)).Load():
        for value in one.summary.value:
            if value.metadata.plugin_data.plugin_name == "scalars":
                yield value.tag, one.step, repr(float(make_ndarray(value.tensor).item()))


def test_what_a_summary_writer_wrote_is_what_the_tensorboard_package_reads(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        log_everything(writer)
    paths = sorted(path for path in tmp_path.rglob("*tfevents*") if path.is_file())
    assert len(paths) == 4  # the writer's own, two of add_scalars, one of add_hparams
    for path in paths:
        data = path.read_bytes()
        assert TfEvents.claims(data)
        batches = feed(TfEvents(), random_cuts(data, 9, 1))
        assert samples(batches) == list(peer(path))
        assert errors(batches) == {}
        assert {batch.axis for batch in batches} == {"step"}
    assert len(list(peer(max(paths, key=lambda path: path.stat().st_size)))) == 932


@pytest.mark.parametrize(
    "dtype",
    ["float32", "float64", "float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"],
)
@pytest.mark.parametrize("number", [0, 1, 100])
def test_a_tensor_of_one_number_of_any_type_is_a_sample(dtype: str, number: int) -> None:
    array = np.array(number, dtype)
    kind = make_tensor_proto(np.array(number, "float32" if dtype.startswith("u") else dtype)).dtype
    kind = {"uint8": 4, "uint16": 17, "uint32": 22, "uint64": 23}.get(dtype, kind)
    content = b"\x08" + varint(kind) + field(2, b"") + field(4, array.tobytes())
    listed = {
        "float32": field(5, array.tobytes()), "float64": field(6, array.tobytes()), "int64": field(10, varint(number)),
        "bool": field(11, varint(int(array))), "float16": field(13, varint(int.from_bytes(array.tobytes(), "little"))),
        "uint32": field(16, varint(number)), "uint64": field(17, varint(number)),
    }.get(dtype, field(7, varint(number)))  # fmt: skip
    for shape in (b"", field(2, b""), field(2, field(2, b"\x08\x01"))):  # no shape, no dimension, one of size one
        log = event(5, tensor("loss", b"\x08" + varint(kind) + shape + listed), tensor("b", content, "scalars"))
        assert read(log) == [("b", 5, repr(float(array))), ("loss", 5, repr(float(array)))]
        proto = Event.FromString(log[12:-4]).summary.value
        if dtype not in ("uint32", "uint64"):  # which the package cannot turn into numbers
            assert [float(make_ndarray(value.tensor).item()) for value in proto] == [float(array)] * 2


def test_numbers_that_are_not_packed_negative_ones_and_bfloat16_are_read() -> None:
    for content, value in [
        (b"\x08\x01\x2d" + struct.pack("<f", -2.5), -2.5),
        (b"\x08\x02\x31" + struct.pack("<d", 0.1), 0.1),
        (b"\x08\x03\x38" + varint(-3), -3.0),
        (b"\x08\x09\x50" + varint(-(2**40)), -(2.0**40)),
        (b"\x08\x0e\x68" + varint(0x3FC0), 1.5),
        (b"\x08\x0e" + field(4, b"\xc0\x7f"), math.nan),
        (b"\x08\x01", 0.0),
    ]:
        assert read(event(1, tensor("x", content))) == [("x", 1, repr(value))]


@pytest.mark.parametrize(
    "value",
    [
        tensor("several", b"\x08\x01" + field(2, field(2, b"\x08\x02")) + field(4, bytes(8)), "scalars"),
        tensor("a splat", b"\x08\x01" + field(2, field(2, b"\x08\x05")) + field(5, bytes(4)), "scalars"),
        tensor("none", b"\x08\x01" + field(2, field(2, b"\x08\x00"))),
        tensor("of unknown shape", b"\x08\x01" + field(2, b"\x18\x01") + field(5, bytes(4))),
        tensor("two without a shape", b"\x08\x01" + field(5, bytes(8))),
        tensor("two numbers", b"\x08\x09" + field(10, b"\x01\x02")),
        tensor("text", b"\x08\x07" + field(8, b"loss"), "text"),
        tensor("of another plugin", b"\x08\x01" + field(4, bytes(4)), "histograms"),
        tensor("too short", b"\x08\x02" + field(4, bytes(4))),
        field(1, field(1, b"histogram") + field(5, field(6, bytes(16)))),
        field(1, field(1, b"image") + field(4, b"\x08\x10")),
        field(1, field(1, b"no value")),
        field(1, field(1, b"simple_value as text") + field(2, b"2.5")),
        field(1, field(1, b"image after all") + b"\x15" + bytes(4) + field(4, b"\x08\x10")),
    ],
)
def test_what_is_no_scalar_gives_neither_sample_nor_error(value: bytes) -> None:
    for repeat in (1, 40):
        batches = feed(TfEvents(), [event(3, value) * repeat + event(4, scalar("loss", 1.5))])
        assert (samples(batches), errors(batches)) == ([("loss", 4, "1.5")], {})
        assert sum(batch.lines for batch in batches) == repeat + 1


# ---- fast and plain, whole and in pieces ----------------------------------------------------------------------------

TAGS = st.sampled_from(["loss", "loss", "lr", "val/loss", "accu", "step", "epoch", "ä", ""])
FLOATS = st.floats(width=32)


def with_content(tag: str, value: float) -> Summary.Value:
    made = Summary.Value(tag=tag, tensor=make_tensor_proto(np.float32(value)))
    made.metadata.plugin_data.plugin_name = "scalars"
    return made


VALUES = st.one_of(
    st.builds(lambda tag, value: Summary.Value(tag=tag, simple_value=value), TAGS, FLOATS),
    st.builds(with_content, TAGS, FLOATS),
    st.builds(lambda tag, value: Summary.Value(tag=tag, tensor=make_tensor_proto(value)), TAGS, st.integers(0, 300)),
    st.builds(lambda tag: Summary.Value(tag=tag), TAGS),
)
STEPS = st.one_of(st.integers(0, 300), st.sampled_from([2**14, 2**31, 2**53]))
EVENTS = st.builds(
    lambda wall, step, some: Event(wall_time=wall, step=step, summary=Summary(value=some)),
    st.floats(0, 2e9),
    STEPS,
    st.lists(VALUES, max_size=4),
)


@pytest.mark.slow
@given(kinds=st.lists(EVENTS, min_size=1, max_size=6), order=st.lists(st.integers(0, 5), max_size=200), data=st.data())
@settings(deadline=None, max_examples=60)
def test_events_side_by_side_one_by_one_and_by_protobuf_are_the_same(
    kinds: list[Event], order: list[int], data: st.DataObject
) -> None:
    events = []
    for number, which in enumerate(order):
        one = Event()
        one.CopyFrom(kinds[which % len(kinds)])
        one.wall_time += number
        one.step = (one.step + number) % (1 << 50)
        events.append(one)
    records = [record(one.SerializeToString()) for one in events]
    wanted = [(tag or "value", step, value) for tag, step, value in expected(events)]
    wanted = sorted(wanted, key=lambda sample: sample[0])  # an empty tag has another place among the sorted ones
    log = b"".join(records)
    by_tag = [sorted(samples(feed(TfEvents(), pieces)), key=lambda sample: sample[0]) for pieces in ([log], records)]
    assert by_tag[0] == wanted
    assert by_tag[1] == wanted
    pieces = cut(log, data.draw(st.lists(st.integers(0, len(log)), max_size=8)))
    assert samples(feed_with_restarts(pieces)) == read(log)


def many(make: Callable[[int], bytes], count: int = 400) -> tuple[bytes, list[bytes]]:
    records = [make(number) for number in range(count)]
    return b"".join(records), records


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda n: event(n, scalar(f"layer.{n % 37:02}", n)),
        lambda n: event(n, scalar("a", n), scalar("b", -n), scalar("a", n + 0.5)),
        lambda n: event(n, tensor("x", b"\x08\x09" + field(10, varint(n % 100)))),
        lambda n: event(n * n * n * 999_983, scalar("x", n)),
        lambda n: event(n, scalar("x", n)) if n % 2 else event(n, tensor("x", b"\x08\x02" + field(4, bytes(8)))),
        lambda n: record(b"\x99\x01\x02" + bytes(20)) if n % 3 else event(n, scalar("some loss", n)),
        lambda n: record(b"x" * (n % 5)) if n % 3 else event(n, scalar("x", n)),
    ],
    ids=["many tags", "a tag twice", "varints", "steps of all sizes", "two layouts", "rubbish", "malformed"],
)
def test_many_events_are_read_as_each_by_itself(make: Callable[[int], bytes]) -> None:
    log, records = many(make)
    alone = feed(TfEvents(), records)
    whole = feed(TfEvents(), [log])
    assert samples(whole) == samples(alone)
    assert len(samples(whole)) > 100
    assert errors(whole) == errors(alone)
    assert samples(feed_with_restarts(random_cuts(log, 50, 3))) == samples(whole)


def test_a_message_cut_anywhere_is_malformed_where_protobuf_says_so() -> None:
    whole = event(300, scalar("loss", 1.0))[12:-4]
    for size in range(len(whole)):
        batches = feed(TfEvents(), [record(whole[:size])])
        try:
            malformed = not isinstance(Event.FromString(whole[:size]), Event)
        except DecodeError:
            malformed = True
        assert (samples(batches), errors(batches)) == ([], {NO_EVENT: 1} if malformed else {})


@pytest.mark.slow
@given(flips=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4))
@settings(deadline=None)
def test_damaged_messages_whose_checksum_holds_are_read_side_by_side_as_each_by_itself(
    flips: list[tuple[int, int]],
) -> None:
    wholes = [
        event(300, scalar("loss", 1.0), scalar("lr", 2.0))[12:-4],
        event(7, tensor("x", b"\x08\x0a" + field(2, b"") + field(4, b"\x01"), "scalars"))[12:-4],
        event(7, tensor("x", b"\x08\x13" + field(2, b"") + field(4, b"\x01\x02")))[12:-4],
    ]
    for whole in wholes:
        damaged = bytearray(whole)
        for where, byte in flips:
            damaged[where % len(whole)] = byte
        records = [record(bytes(damaged))] * 20 + [record(whole)] * 20
        assert samples(feed(TfEvents(), [b"".join(records)])) == samples(feed(TfEvents(), records))


def test_nan_of_any_payload_is_a_sample() -> None:
    signalling = b"\x15" + struct.pack("<I", 0x7F800001)
    log = event(1, field(1, field(1, b"loss") + signalling)) * 20
    assert read(log) == read(log[: len(log) // 20]) * 20 == [("loss", 1, "nan")] * 20


# ---- places ---------------------------------------------------------------------------------------------------------


def test_the_event_places_its_values_whatever_their_tags_are_called() -> None:
    log = event(7, scalar("step", 100), scalar("epoch", 3), scalar("global_step", 50)) + event(3, scalar("loss", 1))
    assert read(log) == [("epoch", 7, "3.0"), ("global_step", 7, "50.0"), ("step", 7, "100.0"), ("loss", 3, "1.0")]


def test_steps_repeat_go_back_and_may_be_missing() -> None:
    steps = [5, 5, 9, 2, 0, 0, 1]
    batches = feed(TfEvents(), [b"".join(event(step, scalar("x", n)) for n, step in enumerate(steps))])
    assert values(batches, "x") == [(step, float(n)) for n, step in enumerate(steps)]


def test_a_step_that_cannot_be_one_is_replaced_by_the_last_one() -> None:
    steps = [-1, 4, -1, 2**62, -(2**63), 6, -2]
    log = b"".join(event(step, scalar("x", n)) for n, step in enumerate(steps))
    for batches in (feed(TfEvents(), [log]), feed_with_restarts([bytes([byte]) for byte in log])):
        assert [step for step, _ in values(batches, "x")] == [0, 4, 4, 4, 4, 6, 6]


def test_unknown_fields_and_groups_are_passed_over() -> None:
    group = b"\xa3\x06" + field(5, scalar("in a group", 1)) + b"\xa4\x06"
    value = field(
        1, field(1, b"loss") + group + b"\xf8\x3f\x05" + b"\x15" + struct.pack("<f", 2.5) + b"\xf9\x3f" + bytes(8)
    )
    log = record(group + b"\x10\x07" + field(77, b"?") + field(5, value + field(9, b"unknown")))
    assert read(log) == [("loss", 7, "2.5")]
    assert read(log * 50) == [("loss", 7, "2.5")] * 50


# ---- the end, and damage --------------------------------------------------------------------------------------------


def test_the_small_log_gives_its_samples_and_counts_what_is_damaged() -> None:
    batches = feed(TfEvents(), [TFEVENTS])
    assert samples(batches) == [
        ("loss", 1, "2.5"), ("lr", 1, "0.5"), ("loss", 2, "nan"), ("loss", 3, "2.25"), ("loss", 201, "2.125"),
        ("loss", 203, "-inf"), ("val/loss", 203, "1.75"), ("loss", 204, "1.5"), ("val/loss", 204, "1.625"),
    ]  # fmt: skip
    assert errors(batches) == {DAMAGED: 1, NO_EVENT: 1, UNFINISHED: 1}
    assert sum(batch.lines for batch in batches) == 11


def test_fed_byte_by_byte_with_restarts_it_gives_the_same() -> None:
    whole, bytewise = feed(TfEvents(), [TFEVENTS]), feed_with_restarts([bytes([byte]) for byte in TFEVENTS])
    assert samples(bytewise) == samples(whole)
    assert errors(bytewise) == errors(whole)
    assert sum(batch.lines for batch in bytewise) == sum(batch.lines for batch in whole)


def test_a_log_torn_at_any_byte_gives_its_whole_events_and_goes_on() -> None:
    records = [VERSION, *(event(step, scalar("loss", step)) for step in range(6))]
    log = b"".join(records)
    for size in range(len(log) + 1):
        reader = TfEvents()
        batch, used = reader.feed(log[:size])
        ends = [len(b"".join(records[:n])) for n in range(8)]
        assert used == max(end for end in ends if end <= size)
        assert values([batch], "loss") == [(step, float(step)) for step in range(ends.index(used) - 1)]
        rest, used_then = reader.feed(log[used:])
        assert used + used_then == len(log)
        assert len(values([batch, rest], "loss")) == 6


@pytest.mark.slow
@given(
    flips=st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 255)), min_size=1, max_size=5),
    at=st.lists(st.integers(0, 20_000), max_size=6),
)
@settings(deadline=None)
def test_flipped_bits_anywhere_raise_nothing_and_cost_no_more_than_their_records(
    flips: list[tuple[int, int]], at: list[int]
) -> None:
    records = [event(step, scalar("loss", step)) for step in range(400)]
    log = bytearray(b"".join(records))
    for where, bits in flips:
        log[where % len(log)] ^= bits
    whole = feed(TfEvents(), [bytes(log)])
    pieces = feed(TfEvents(), cut(bytes(log), at))
    assert samples(pieces) == samples(whole)
    assert errors(pieces) == errors(whole)
    assert 400 - len(flips) <= len(samples(whole)) <= 400
    assert set(samples(whole)) <= {("loss", step, repr(float(step))) for step in range(400)}


@pytest.mark.slow
@given(contents=st.lists(st.binary(max_size=60), max_size=30), junk=st.binary(max_size=100))
@settings(deadline=None)
def test_any_bytes_in_records_or_outside_raise_nothing(contents: list[bytes], junk: bytes) -> None:
    log = b"".join(map(record, contents)) + junk
    batches = feed(TfEvents(), [log])
    assert sum(batch.lines for batch in batches) >= len(contents)
    assert samples(feed(TfEvents(), cut(log, range(0, len(log), 13)))) == samples(batches)


def test_a_long_image_between_scalars_is_passed_over_in_pieces_of_a_read() -> None:
    image = header(9_000_000) + b"\x2a" * 9_000_004
    log = event(1, scalar("loss", 2.0)) + image + event(2, scalar("loss", 1.0))
    batches = feed_with_restarts([log[at : at + (1 << 20)] for at in range(0, len(log), 1 << 20)])
    assert values(batches, "loss") == [(1, 2.0), (2, 1.0)]
    assert (errors(batches), sum(batch.lines for batch in batches)) == ({}, 3)


# ---- whose it is ----------------------------------------------------------------------------------------------------


def test_an_event_file_is_known_by_its_first_bytes_and_nothing_else_is() -> None:
    assert TfEvents.claims(VERSION)
    assert TfEvents.claims(event(0, scalar("RMSE", 1.0))[:12])
    assert not TfEvents.claims(VERSION[:11])
    assert not TfEvents.claims(bytes(100))
    assert not TfEvents.claims(b'{"step": 1, "loss": 2.5}\n' * 10)
    batch, _ = TfEvents().feed(b"step 1 loss 2.5\n" * 100)
    assert (batch.rows, batch.lines) == (0, 0)


def truths() -> list[tuple[str, str, int, list[tuple[int, float]]]]:
    found = []
    if (REAL / "INDEX.csv").is_file():
        with (REAL / "INDEX.csv").open(newline="") as index:
            for row in csv.DictReader(index):
                match = re.search(r"(\w+): n=(\d+);first=(\d+):(.+?);last=(\d+):(.+?)$", row["truth"])
                if row["format"] == "tfevents" and match:
                    ends = [(int(match[3]), float(match[4])), (int(match[5]), float(match[6]))]
                    found.append((row["file"], match[1], int(match[2]), ends))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not truths(), reason=f"the collection of real logs is not at {REAL}")
def test_real_files_give_what_an_independent_reader_found() -> None:
    for file, tag, count, ends in truths():
        data = (REAL / file).read_bytes()
        assert TfEvents.claims(data)
        for pieces in (0, 50):
            batches = feed(TfEvents(), random_cuts(data, pieces, seed=pieces))
            found = values(batches, tag)
            assert len(found) == count
            for (step, value), (true_step, true_value) in zip((found[0], found[-1]), ends, strict=True):
                assert step == true_step
                assert value == pytest.approx(true_value, abs=5e-7)
            assert errors(batches) == {}
            assert samples(batches) == list(peer(REAL / file))
