"""Why a log gives the samples that it gives, or none."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrwatch.core.sample import Batch
from lrwatch.explain import HEAD_LINES, TAIL_LINES, Explanation, explain, explain_batches, hints
from lrwatch.explain.tally import NO_HISTORY
from lrwatch.formats import by_name
from lrwatch.formats.json.document import JsonDocument
from lrwatch.formats.tensorboard.format import TfEvents

NANOGPT = b"".join(b"iter %d: loss %.4f, time 35.78ms\n" % (i, 4 - i / 100) for i in range(20))


def reasons(explanation: Explanation) -> dict[str, int]:
    return {reason.text: reason.lines for reason in explanation.reasons}


def test_a_good_log_is_told_by_the_line_that_decided_and_each_metric_has_its_first_line() -> None:
    told = explain(b"Loading data\n" + NANOGPT)
    assert (told.format, told.looked, told.gave, told.watched, told.advice) == ("text", 21, 20, "loss", "")
    assert told.chosen == "line 3 decided: iter 1: loss 3.9900, time 35.78ms"  # text wants two lines
    loss = next(metric for metric in told.metrics if metric.name == "loss")
    assert (loss.role, loss.samples, loss.line) == ("train_loss", 20, 2)
    assert reasons(told) == {hints.NO_NUMBER: 1}
    assert told.reasons[0].line == 1
    assert told.others["jsonl"] == "nothing, 21 x not a JSON object"


def test_the_lines_that_gave_nothing_are_grouped_by_reason_with_the_first_of_each() -> None:
    told = explain(
        b"Loading\nLoading more\n    for step in range(10): loss = 0.5\ngpu 3 has 80 left\n"
        b"\xff\x01\x02\x03\x04\x05\n" + NANOGPT
    )
    assert reasons(told) == {hints.NO_NUMBER: 2, hints.CODE: 1, hints.NO_NAME: 1, hints.BINARY: 1}
    assert {reason.text: reason.line for reason in told.reasons} == {
        hints.NO_NUMBER: 1, hints.CODE: 3, hints.NO_NAME: 4, hints.BINARY: 5,
    }  # fmt: skip


def test_a_misspelt_loss_is_guessed() -> None:
    told = explain(b"it is 5\nlos: 2.5\nlos: 2.25\n")
    assert told.watched is None
    by_text = {reason.text: reason for reason in told.reasons}
    assert by_text[hints.NO_NAME].hint == "did you mean loss by 'los'?"
    assert "[watch] pattern" in told.advice


def test_a_metric_that_is_no_loss_has_to_be_named() -> None:
    told = explain(b'{"step": 1, "reward": 2}\n{"step": 2, "reward": 3}\n')
    assert told.watched is None
    assert [(metric.name, metric.role) for metric in told.metrics] == [("reward", "other")]
    assert told.advice == "Nothing looks like a loss. Name what to watch, reward: --metric NAME."


def test_what_a_format_counts_as_an_error_is_its_own_reason() -> None:
    told = explain(b"step,loss\n1,2.5\n2,2.4,7,8\n3,2.3\n")
    assert told.format == "csv"
    assert reasons(told) == {"names of columns": 1, "row does not fit the header": 1}
    assert {reason.text: reason.example for reason in told.reasons}["row does not fit the header"] == "2,2.4,7,8"
    told = explain(b'{"step": 1, "loss": 2}\n{"step": 2, "lo\n{"step": 3, "loss": 2}\n')
    assert [(reason.text, reason.line) for reason in told.reasons] == [("not a JSON object", 2)]


def test_a_line_without_its_metric_is_noted() -> None:
    good, bad = b'{"step": %d, "lr": 0.1, "loss": 2.5}\n', b'{"step": %d, "lr": 0.1}\n'
    told = explain(b"".join((bad if i == 7 else good) % i for i in range(20)))
    assert told.notes == [
        "1 line is like those with 'loss', but without it; first: line 8: " + '{"step": 7, "lr": 0.1}'
    ]


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        (b"", "The file is empty"),
        (b"\n \n", "The file is empty"),
        (b"\0" * 4096, "zero bytes only"),
        (b"PK\x03\x04" + bytes(range(200)) * 5, "a zip archive"),
        (b"\x28\xb5\x2f\xfd" + bytes(range(100)), "zstd -d"),
        (b"nothing to see here\n" * 50, "Print a line with a name for each number"),
    ],
)
def test_a_file_that_is_no_log_is_told_what_it_is(data: bytes, advice: str) -> None:
    told = explain(data)
    assert (told.gave, told.metrics, told.watched) == (0, [], None)
    assert advice in told.advice


def test_of_a_long_log_the_beginning_and_the_end_are_looked_at() -> None:
    lines = b"".join(b"step=%d loss=%d.5\n" % (i, i) for i in range(HEAD_LINES + TAIL_LINES + 5000))
    told = explain(lines)
    assert not told.complete
    assert told.looked == told.gave == HEAD_LINES + TAIL_LINES
    half = len(lines) // 2
    told = explain(lines[:half], lines[half:] + b"killed\n", complete=False)
    assert told.looked <= HEAD_LINES + TAIL_LINES
    assert [(reason.text, reason.line, reason.example) for reason in told.reasons] == [
        (hints.NO_NUMBER, None, "killed")
    ]


def test_a_log_of_carriage_returns_has_line_numbers_too() -> None:
    told = explain(b"hello\r" + NANOGPT.replace(b"\n", b"\r"))
    assert told.metrics[0].line == 2


def test_a_reader_that_is_given_is_taken() -> None:
    told = explain(NANOGPT, reader=by_name("jsonl"))
    assert (told.format, told.chosen, told.gave) == ("jsonl", "nothing in it decided", 0)
    assert reasons(told) == {"not a JSON object": 20}


def test_a_database_is_explained_by_its_batches() -> None:
    batch = by_name("jsonl").feed(b'{"step": 1, "loss": 2.5}\n')[0]
    told = explain_batches("mlflow", [batch, Batch(batch.steps[:0], {})], {"no number": 2})
    assert (told.looked, told.gave, told.watched) == (3, 1, "loss")
    assert reasons(told) == {"no number": 2}


def test_a_document_is_explained_as_a_whole() -> None:
    state = b'{"log_history": [{"step": 1, "loss": 2.5, "epoch": 0.1}, {"step": 2, "loss": 2.25, "epoch": 0.2}]}'
    told = explain(state, reader=JsonDocument())
    assert (told.unit, told.looked, told.gave, told.watched, told.reasons) == ("record", 2, 2, "loss", [])
    told = explain(b'{"model": {"layers": 3}}', reader=JsonDocument())
    assert reasons(told) == {NO_HISTORY: 1}
    assert "a configuration or a result" in told.advice


def test_an_event_file_with_its_version_only_says_that_nothing_was_logged_yet() -> None:
    record = b"\x09" + struct.pack("<d", 1.0) + b"\x1a\x0dbrain.Event:2"
    length = struct.pack("<Q", len(record))
    told = explain(length + _masked(length) + record + _masked(record), reader=TfEvents())
    assert (told.unit, told.looked, told.gave) == ("record", 1, 0)
    assert told.advice.startswith("Nothing was logged in it yet")


def _masked(data: bytes) -> bytes:
    """The checksum that an event file puts behind `data`, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@given(
    st.lists(
        st.sampled_from([*NANOGPT.splitlines(True)[:3], b"\0", b"\r", b"\n", b"{", b"loss: nan\n", b"a,b\n", b"\xff"]),
        max_size=40,
    )
)
def test_any_bytes_at_all_are_explained(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    told = explain(data)
    assert told.gave + sum(reason.lines for reason in told.reasons) == told.looked
    assert told.watched is not None or told.advice
