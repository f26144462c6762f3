from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lrwatch.export.labels import MAX_LABEL_CHARS, label_value


@given(st.text(st.characters(codec=None), max_size=300))
def test_any_text_becomes_short_printable_and_encodable(text: str) -> None:
    value = label_value(text)
    assert len(value) <= MAX_LABEL_CHARS
    assert value.isprintable()
    assert value.encode().decode() == value


def test_names_that_people_use_stay_as_they_are() -> None:
    for name in ("loss", "train/loss", "Loss (val) %", "потеря", "损失", 'say "loss"', "a\\b"):
        assert label_value(name) == name


def test_long_names_with_the_same_beginning_stay_apart() -> None:
    assert label_value("x" * 1_000_000 + "a") != label_value("x" * 1_000_000 + "b")
    assert label_value("loss\n") != label_value("loss\r")
