"""Why a log gives the samples that it gives, or none."""

from __future__ import annotations

import sqlite3
import struct
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrwatch.explain import HEAD_LINES, TAIL_LINES, Explanation, explain, hints
from lrwatch.explain.tally import NO_HISTORY
from lrwatch.sources.reader import END_BYTES

NANOGPT = b"".join(b"iter %d: loss %.4f, time 35.78ms\n" % (i, 4 - i / 100) for i in range(20))


def explained(data: bytes, format_name: str = "auto") -> Explanation:
    """The explanation of a file that holds `data`."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "log")
        log.write_bytes(data)
        return explain(log, format_name)


def reasons(explanation: Explanation) -> dict[str, int]:
    return {reason.text: reason.lines for reason in explanation.reasons}


def test_a_good_log_is_found_by_the_line_that_decided_and_each_metric_has_its_first_line() -> None:
    found = explained(b"Loading data\n" + NANOGPT)
    assert (found.format, found.looked, found.gave, found.watched, found.advice) == ("text", 21, 20, "loss", "")
    assert found.chosen == "line 3 decided: iter 1: loss 3.9900, time 35.78ms"  # text wants two lines
    loss = next(metric for metric in found.metrics if metric.name == "loss")
    assert (loss.role, loss.samples, loss.line) == ("train_loss", 20, 2)
    assert reasons(found) == {hints.NO_NUMBER: 1}
    assert found.reasons[0].line == 1
    assert found.others["jsonl"] == "nothing, 21 x not a JSON object"


def test_the_lines_that_gave_nothing_are_grouped_by_reason_with_the_first_of_each() -> None:
    found = explained(
        b"Loading\nLoading more\n    for step in range(10): loss = 0.5\ngpu 3 has 80 left\n"
        b"\xff\x01\x02\x03\x04\x05\n" + NANOGPT
    )
    assert reasons(found) == {hints.NO_NUMBER: 2, hints.CODE: 1, hints.NO_NAME: 1, hints.BINARY: 1}
    assert {reason.text: reason.line for reason in found.reasons} == {
        hints.NO_NUMBER: 1, hints.CODE: 3, hints.NO_NAME: 4, hints.BINARY: 5,
    }  # fmt: skip


def test_a_misspelt_loss_is_guessed() -> None:
    found = explained(b"it is 5\nlos: 2.5\nlos: 2.25\n")
    assert found.watched is None
    by_text = {reason.text: reason for reason in found.reasons}
    assert by_text[hints.NO_NAME].hint == "did you mean loss by 'los'?"
    assert "[watch] pattern" in found.advice


def test_a_metric_that_is_no_loss_has_to_be_named() -> None:
    found = explained(b'{"step": 1, "reward": 2}\n{"step": 2, "reward": 3}\n')
    assert found.watched is None
    assert [(metric.name, metric.role) for metric in found.metrics] == [("reward", "other")]
    assert found.advice == "Nothing looks like a loss. Name what to watch, reward: --metric NAME."


def test_what_a_format_counts_as_an_error_is_its_own_reason() -> None:
    found = explained(b"step,loss,lr\n1,2.5,0.1\n2,2.4\n3,2.3,0.1\n")
    assert found.format == "csv"
    assert reasons(found) == {"names of columns": 1, "row does not fit the header": 1}
    assert {reason.text: reason.example for reason in found.reasons}["row does not fit the header"] == "2,2.4"
    found = explained(b'{"step": 1, "loss": 2}\n{"step": 2, "lo\n{"step": 3, "loss": 2}\n')
    assert [(reason.text, reason.line) for reason in found.reasons] == [("not a JSON object", 2)]


def test_a_line_without_its_metric_is_noted() -> None:
    good, bad = b'{"step": %d, "lr": 0.1, "loss": 2.5}\n', b'{"step": %d, "lr": 0.1}\n'
    found = explained(b"".join((bad if i == 7 else good) % i for i in range(20)))
    assert found.notes == [
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
def test_a_file_that_is_no_log_is_found_what_it_is(data: bytes, advice: str) -> None:
    found = explained(data)
    assert (found.gave, found.metrics, found.watched) == (0, [], None)
    assert advice in found.advice


@pytest.mark.slow
def test_of_a_long_log_the_beginning_and_the_end_are_looked_at() -> None:
    lines = b"".join(b"step=%d loss=%d.5\n" % (i, i) for i in range(HEAD_LINES + TAIL_LINES + 5000))
    found = explained(lines)
    assert not found.complete
    assert found.looked == found.gave == HEAD_LINES + TAIL_LINES
    assert found.metrics[0].samples == HEAD_LINES + TAIL_LINES


@pytest.mark.slow
def test_the_lines_at_the_end_of_a_long_log_have_no_numbers() -> None:
    lines = b"".join(b"step=%d loss=%d.5%s\n" % (i, i, b" " * 200) for i in range(HEAD_LINES))
    found = explained(lines + b"x" * END_BYTES + b"\n" + lines + b"killed\n")
    assert not found.complete
    assert found.gave == HEAD_LINES + TAIL_LINES - 1
    assert [(reason.text, reason.line, reason.example) for reason in found.reasons] == [
        (hints.NO_NUMBER, None, "killed")
    ]


def test_a_long_line_without_an_end_is_passed() -> None:
    found = explained(NANOGPT + b"x" * (5 << 20) + b"\n" + NANOGPT)
    assert found.metrics[0].samples == 40


def test_a_log_of_carriage_returns_has_line_numbers_too() -> None:
    found = explained(b"hello\r" + NANOGPT.replace(b"\n", b"\r"))
    assert found.metrics[0].line == 2


def test_a_format_that_is_named_is_taken() -> None:
    found = explained(NANOGPT, "jsonl")
    assert (found.format, found.chosen, found.gave) == ("jsonl", "nothing in it decided", 0)
    assert reasons(found) == {"not a JSON object": 20}


def test_a_database_is_explained_by_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "trackio.db"
    with closing(sqlite3.connect(path)) as opened, opened:
        opened.execute("CREATE TABLE metrics (id INTEGER PRIMARY KEY, run_id, run_name, step, metrics)")
        opened.execute("INSERT INTO metrics VALUES (1, 'a', 'a', 1, '{\"loss\": 2.5}'), (2, 'a', 'a', 2, 'no object')")
    found = explain(path)
    assert (found.format, found.unit, found.looked, found.gave, found.watched) == ("trackio", "row", 2, 1, "loss")
    assert reasons(found) == {"not a JSON object": 1}
    assert found.complete


def test_a_document_is_explained_as_a_whole() -> None:
    state = b'{"log_history": [{"step": 1, "loss": 2.5, "epoch": 0.1}, {"step": 2, "loss": 2.25, "epoch": 0.2}]}'
    found = explained(state, "json")
    assert (found.unit, found.looked, found.gave, found.watched, found.reasons) == ("record", 2, 2, "loss", [])
    found = explained(b'{"model": {"layers": 3}}', "json")
    assert reasons(found) == {NO_HISTORY: 1}
    assert "a configuration or a result" in found.advice


def test_an_event_file_with_its_version_only_says_that_nothing_was_logged_yet() -> None:
    record = b"\x09" + struct.pack("<d", 1.0) + b"\x1a\x0dbrain.Event:2"
    length = struct.pack("<Q", len(record))
    found = explained(length + _masked(length) + record + _masked(record))
    assert (found.unit, found.looked, found.gave) == ("record", 1, 0)
    assert found.advice.startswith("Nothing was logged in it yet")


def _masked(data: bytes) -> bytes:
    """The checksum that an event file puts behind `data`, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@pytest.mark.slow
@given(
    st.lists(
        st.sampled_from([*NANOGPT.splitlines(True)[:3], b"\0", b"\r", b"\n", b"{", b"loss: nan\n", b"a,b\n", b"\xff"]),
        max_size=40,
    )
)
def test_any_bytes_at_all_are_explained(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    found = explained(data)
    assert found.gave + sum(reason.lines for reason in found.reasons) == found.looked
    assert found.watched is not None or found.advice


def test_a_learning_rate_that_was_not_used_is_named_and_a_summary_too() -> None:
    found = explained(b"learning rate 0.1 of the schedule\nstep 1 loss 2\nstep 2 loss 1\nBest loss: 9\nwandb: loss 3\n")
    assert reasons(found) == {hints.RATE_UNUSED: 1, hints.SUMMARY: 2}


def test_the_line_that_is_shown_is_the_one_that_spells_the_sample() -> None:
    log = b"Train: 0 [ 90/100]  Loss: 2.5 (2.75)\nTest: [ 0/39]  Loss: 2.0 (2.0)\nTest: [39/39]  Loss: 2.25 (2.125)\nTrain: 1 [ 0/100]  Loss: 1.5 (1.5)\n"
    lines = {metric.name: metric.line for metric in explained(log).metrics}
    assert lines["Loss"] == 1
    assert lines["test.Loss"] == 3


def test_bytes_that_are_no_text_are_never_shown() -> None:
    found = explained(b"\x7fELF\x02\x01\x01\0\0\0\0\x1b]0;title\x07\0\0\0\n" * 3)
    assert [reason.example for reason in found.reasons] == ["(24 bytes)"]


def test_a_line_of_broken_bytes_with_a_control_character_is_not_shown() -> None:
    found = explained(b"abcdefghijklmnopqrstuvwxyz 0123456789 \x15 \xff\xfe loss\n" * 3)
    assert reasons(found) == {hints.BINARY: 3}
    assert found.reasons[0].example == "(47 bytes)"
