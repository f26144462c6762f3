"""Numbers without names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.format_samples import LOGS, cut, samples, values

from lrwatch.core.sample import Batch
from lrwatch.formats import FORMATS, detect
from lrwatch.formats.numbers import Numbers

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"

MLFLOW = b"1750103416917 0.628 0\n1750103417917 nan 1\n1750103418917 -inf 2\n1750103419917 5e-05 3\n"
STEPS = b"# step loss acc\n1 8.05 0.1\n2\t7.5\t0.2\r\n\n3, NaN, 0.25\n4; -Infinity ;0.5\n2 6.0 0.75\nsaved\n5 5.5\n6 5.25 nan(ind)\n7 5."


def feed(chunks: list[bytes], *, restart: bool = False) -> list[Batch]:
    reader, rest, batches = Numbers(), b"", []
    for chunk in chunks:
        batch, used = reader.feed(rest + chunk)
        rest = (rest + chunk)[used:]
        batches.append(batch)
        if restart:
            state = json.loads(json.dumps(reader.state()))
            reader = Numbers()
            reader.restore(state)
    batch, used = reader.feed(rest, final=True)
    assert used == len(rest)
    return [*batches, batch]


def read(log: bytes) -> list[tuple[str, int, str]]:
    return samples(feed([log]))


def errors(batches: list[Batch]) -> dict[str, int]:
    return {reason: sum(b.errors.get(reason, 0) for b in batches) for batch in batches for reason in batch.errors}


def test_a_metric_file_of_mlflow_has_time_value_and_step() -> None:
    assert read(MLFLOW) == [("value", 0, "0.628"), ("value", 1, "nan"), ("value", 2, "-inf"), ("value", 3, "5e-05")]
    assert read(MLFLOW[:22]) == [("value", 0, "0.628")]


def test_steps_that_mlflow_wrote_as_zero_stay_zero() -> None:
    batches = feed([b"1750103416917 0.5 0\n1750103417917 0.25 0\n"])
    assert values(batches, "value") == [(0, 0.5), (0, 0.25)]
    assert batches[0].axis == "step"


def test_an_old_metric_file_of_mlflow_has_no_step_and_is_counted() -> None:
    batches = feed([b"1550103416917 0.5\n1550103417917 0.25\n"])
    assert values(batches, "value") == [(0, 0.5), (1, 0.25)]
    assert batches[0].axis == "record"


def test_a_first_column_of_whole_numbers_that_do_not_fall_is_the_step() -> None:
    batches = feed([STEPS])
    assert samples(batches) == [
        ("acc", 1, "0.1"), ("loss", 1, "8.05"), ("acc", 2, "0.2"), ("loss", 2, "7.5"), ("acc", 3, "0.25"),
        ("loss", 3, "nan"), ("acc", 4, "0.5"), ("loss", 4, "-inf"), ("acc", 2, "0.75"), ("loss", 2, "6.0"),
        ("acc", 6, "nan"), ("loss", 6, "5.25"),
    ]  # fmt: skip
    assert errors(batches) == {"not a line of numbers": 1, "line with more or fewer numbers than the first": 2}


@pytest.mark.parametrize("log", [b"2.5 1\n2 2\n1.5 3\n", b"3 1\n2 2\n1 3\n", b"-1 1\n0 2\n1 3\n", b"nan 1\n1 2\n2 3\n"])
def test_a_first_column_that_is_no_step_is_a_metric_and_the_lines_are_counted(log: bytes) -> None:
    batches = feed([log])
    assert values(batches, "value2") == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert len(values(batches, "value")) == 3
    assert batches[0].axis == "record"


def test_a_single_column_is_counted() -> None:
    assert read(b"3\n2.5\n2\n") == [("value", 0, "3.0"), ("value", 1, "2.5"), ("value", 2, "2.0")]


def test_steps_as_numpy_writes_them_are_steps() -> None:
    assert read(b"1.000e+00 2.5e+00\n2.000e+00 2.0e+00\n")[1] == ("value", 2, "2.0")


@pytest.mark.parametrize(
    "log",
    [
        *(log for name, log in LOGS.items() if name != Numbers.name),
        b"hello\n1 2\n2 3\n3 4\n",
        b"1 2\n2 3\nepoch 2\n3 4\n4 5\n",
        b"1 2 " * 20,
    ],
)
def test_a_log_that_does_not_begin_with_lines_of_numbers_is_refused(log: bytes) -> None:
    batches = feed([log])
    assert sum(map(len, batches)) == 0
    assert errors(batches)["not a line of numbers"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("log", [MLFLOW, STEPS])
@given(at=st.lists(st.integers(0, 150), max_size=8), restart=st.booleans())
@settings(deadline=None)
def test_any_chunking_and_any_restart_give_the_same_samples(log: bytes, at: list[int], restart: bool) -> None:
    assert samples(feed(cut(log, at), restart=restart)) == read(log)


@given(
    begin=st.sampled_from([b"", b"1 2\n1 2\n1 2\n", MLFLOW[:24]]),
    lines=st.lists(
        st.sampled_from(
            [b"1 2\n", b"2 nan\r", b"3 4 5\n", b"x\n", b"#\n", b" \n", b"4\x1c5\n", b"6 " + b"9" * 80 + b"\n"]
        )
    ),
    at=st.lists(st.integers(0, 200), max_size=8),
)
@settings(deadline=None)
def test_any_lines_in_any_chunking_give_the_same_samples(begin: bytes, lines: list[bytes], at: list[int]) -> None:
    log = b"".join([begin, *lines])
    whole, pieces = feed([log]), feed(cut(log, at), restart=True)
    assert samples(pieces) == samples(whole)
    assert errors(pieces) == errors(whole)


@pytest.mark.slow
@given(log=st.binary(max_size=300), at=st.lists(st.integers(0, 300), max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_samples_or_counted_errors_in_any_chunking(log: bytes, at: list[int]) -> None:
    assert samples(feed(cut(log, at), restart=True)) == read(log)


def test_three_lines_are_enough_and_two_are_not() -> None:
    assert Numbers().feed(b"1 8.0\n2 7.5\n")[0].rows == 0
    assert Numbers().feed(b"1 8.0\n2 7.5\n3 7.25\n")[0].rows == Numbers.evidence
    assert Numbers.claims(MLFLOW)
    assert not Numbers.claims(b"1 8.0\n2 7.5\n3 7.25\n")
    assert not Numbers.claims(b"1750103416917 INFO 3\n")


@pytest.mark.skipif(Numbers not in FORMATS, reason="the format is not in the table of formats yet")
def test_a_header_makes_it_another_format() -> None:
    found = detect(b"step,loss\n1,2.5\n2,2.4\n3,2.3\n")
    assert found is not None
    assert found.name == "csv"


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the collection of real logs is not at {REAL}")
@pytest.mark.parametrize(
    ("file", "count", "first", "last"),
    [
        ("mlflow/rymuelle__ConvNeXt-V2-UNet__metrics_loss", 100, (0, 0.6286832690238953), (0, 0.04320835322141647)),
        ("mlflow/rymuelle__ConvNeXt-V2-UNet__metrics_lr", 10, (0, 0.00019510565162951537), (0, 0.0)),
        ("text_two_columns/pytorch__torchtitan__torchtitan_llama3_cuda.txt", 100, (1, 8.049097061157227), (100, 2.746471643447876)),
    ],
)  # fmt: skip
def test_real_logs_give_what_an_independent_reader_found(
    file: str, count: int, first: tuple[int, float], last: tuple[int, float]
) -> None:
    found = values(feed([(REAL / file).read_bytes()]), "value")
    assert (len(found), found[0], found[-1]) == (count, first, last)


def test_the_time_in_seconds_before_the_step_is_no_step() -> None:
    log = "".join(f"{1714730400 + 10 * i} {100 * i} {4 - i / 4} 0.5\n" for i in range(3)).encode()
    assert [sample for sample in read(log) if sample[0] == "value"] == [
        ("value", 0, "4.0"), ("value", 100, "3.75"), ("value", 200, "3.5"),
    ]  # fmt: skip
    tokens = "".join(f"{1500000000 + 10 * i} {4 - i / 4}\n" for i in range(3)).encode()
    assert read(tokens)[0] == ("value", 1500000000, "4.0")
