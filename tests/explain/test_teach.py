"""A pattern from one line whose numbers somebody names."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lrwatch.errors import InputError
from lrwatch.explain.teach import Lesson, NumberedLine, learn
from lrwatch.formats.pattern import Pattern


def lesson(texts: Sequence[str], line: int | None = None, **values: str) -> Lesson:
    """What is learned from these lines."""
    return learn([NumberedLine(i, text) for i, text in enumerate(texts, 1)], values, "train.log", line)


def read(pattern: str, texts: Sequence[str]) -> tuple[list[int], dict[str, list[float]]]:
    """Steps, and values of each metric, that a pattern finds."""
    batch, _ = Pattern([pattern]).feed("".join(f"{text}\n" for text in texts).encode(), final=True)
    return batch.steps.tolist(), {name: column.values.tolist() for name, column in batch.columns.items()}


@pytest.mark.parametrize(
    "line",
    [
        "<{step}> ~{loss}~ rate {lr}",
        "it{step}|obj={loss}|eta {lr}|",
        "{step} {loss} {lr}",
        "    {step}    {loss}\t{lr}",
        "[2026-11-29 14:20:30,123] host7 worker: done {step} of 50000; objective {loss}, at {lr}",
        "Schritt {step}/90000: Verlust={loss}% (Rate: {lr})",
        "损失：{loss}；步：{step}；学习率：{lr}",  # noqa: RUF001
        "{{'a': [{step}, {loss}, {lr}]}}",
        "w${step}$ ({loss}) [{lr}] ^ x*",
    ],
)
def test_what_was_learned_from_one_line_reads_all_that_are_like_it(line: str) -> None:
    rows = [(3, 2.75, 3e-4), (120, 2.31, 2.5e-4), (7000, -0.5, 1e-5), (7010, 12.0, 1e-5)]
    texts = ["Starting on host7 with 8 GPUs", "", *(line.format(step=s, loss=v, lr=r) for s, v, r in rows)]
    learned = lesson(texts, step="120", loss="2.31", lr="2.5e-4")
    assert learned.line.number == 4
    steps, metrics = read(learned.pattern, texts)
    assert steps == [step for step, _, _ in rows]
    assert metrics["loss"] == [loss for _, loss, _ in rows]
    assert metrics["lr"] == [rate for _, _, rate in rows]


def test_nan_and_infinity_are_read_where_a_number_was_taught() -> None:
    texts = ["<1> ~2.31~", "<2> ~nan~", "<3> ~-inf~", "<4> ~1e+20~"]
    steps, metrics = read(lesson(texts, step="1", loss="2.31").pattern, texts)
    assert steps == [1, 2, 3, 4]
    assert [repr(value) for value in metrics["loss"]] == ["2.31", "nan", "-inf", "1e+20"]


def test_lines_of_a_validation_are_not_taken_for_those_of_the_training() -> None:
    texts = [f"{i}: {'val ' if i % 2 else ''}objective {9 - i / 10}" for i in range(20)]
    learned = lesson(texts, step="4", loss="8.6")
    assert read(learned.pattern, texts)[0] == list(range(0, 20, 2))
    assert [line.number for line in learned.missed] == [2]


def test_words_that_change_with_each_line_do_not_narrow_the_pattern() -> None:
    texts = [
        f"job-{word} it {i} took goal={9 - i}.5" for i, word in enumerate(["ash", "oak", "elm", "fir", "yew", "bay"])
    ]
    assert read(lesson(texts, step="2", loss="7.5").pattern, texts)[0] == [0, 1, 2, 3, 4, 5]


def test_thousands_and_rounded_values_are_found() -> None:
    texts = ["at 12,000 goal 2.3104", "at 13,000 goal 2.2104"]
    assert read(lesson(texts, step="12000", loss="2.31").pattern, texts) == ([12000, 13000], {"loss": [2.3104, 2.2104]})


def test_a_number_that_stands_twice_is_told_by_its_name_or_by_another_line() -> None:
    texts = ["epoch 12 step 12 goal 2.31"]
    assert read(lesson(texts, step="12", loss="2.31").pattern, ["epoch 1 step 30 goal 2.5"])[0] == [30]
    with pytest.raises(InputError, match=r"line 1: expected the step 12 once, found it at 2 places"):
        lesson(["12 2.31 12"], step="12", loss="2.31")


def test_errors_say_which_value_is_not_there_and_what_is() -> None:
    texts = ["starts", "<11> ~2.5~", "<12> ~2.4~"]
    with pytest.raises(InputError, match=r"train.log, line 3: expected the loss 2.31 once, found the numbers 12, 2.4"):
        lesson(texts, step="12", loss="2.31")
    with pytest.raises(InputError, match=r"line 2: expected the step 12 once, found the numbers 11, 2.5"):
        lesson(texts, 2, step="12", loss="2.5")
    with pytest.raises(InputError, match=r"line 1: .* found no number in 'starts'"):
        lesson(texts, 1, loss="2.5")
    with pytest.raises(InputError, match=r"expected line 9 with something in it, found none; the last one is 3"):
        lesson(texts, 9, loss="2.5")
    with pytest.raises(InputError, match="expected a number, found 'two'"):
        lesson(texts, loss="two")
    with pytest.raises(InputError, match="found none of these numbers in 3 lines"):
        lesson(texts, step="77", loss="99")
