"""The content tells the format."""

from __future__ import annotations

import pytest
from support.format_samples import LOGS

from lrwatch.formats import HEAD_BYTES, detect
from lrwatch.formats.base import Format


def name(reader: Format | None) -> str | None:
    return None if reader is None else reader.name


@pytest.mark.parametrize("expected", LOGS)
def test_each_log_is_told_by_its_content(expected: str) -> None:
    assert name(detect(LOGS[expected])) == expected


@pytest.mark.slow
@pytest.mark.parametrize("expected", LOGS)
def test_the_answer_never_changes_while_the_log_grows(expected: str) -> None:
    log = LOGS[expected]
    answers = [name(detect(log[:end])) for end in range(len(log))]
    answered = [answer for answer in answers if answer is not None]
    assert set(answered) == {expected}
    assert answers == [None] * (len(answers) - len(answered)) + answered


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b'{"step": 1, "loss": 2}\n', "jsonl"),
        (b"step,loss\n1,2.5\n", "csv"),
        (b"iter\tRMSE\n0\t1.5\n", "csv"),
        (b"step,loss\n", None),
        (b"{'loss': 1.5, 'epoch': 0.1}\r{'loss': 1.5, 'epoch': 0.2}\r", "text"),
        (b"step: 1 loss: 2.5\n", None),
        (b"step: 1 loss: 2.5\nstep: 2 loss: 2.25\n", "text"),
        (b'config: loss 3\n{"step": 1, "loss": 2}\n', "jsonl"),
        (b"", None),
        (b"hello, world\n1, 2\n", None),
    ],
)
def test_nothing_is_told_before_there_is_evidence(head: bytes, expected: str | None) -> None:
    assert name(detect(head)) == expected


def test_at_the_end_of_a_log_the_numbers_in_it_are_evidence_enough() -> None:
    assert name(detect(b"a,b\n1,2\n", final=True)) == "csv"
    assert name(detect(b"step: 1 loss: 2.5", final=True)) == "text"
    assert detect(b"nothing\n", final=True) is None
    assert detect(b"", final=True) is None


@pytest.mark.slow
def test_after_a_long_head_without_evidence_it_is_taken_for_text() -> None:
    assert name(detect(b"noise without numbers\n" * (HEAD_BYTES // 20))) == "text"
