"""CSV."""

from __future__ import annotations

import math

import pytest
from support.format_samples import CSV, feed, samples, values

from lrwatch.formats.csv import Csv


def read(text: bytes) -> list[tuple[str, int, str]]:
    return samples(feed(Csv(), [text]))


@pytest.mark.parametrize("separator", [b",", b"\t", b";"])
def test_the_separator_is_found(separator: bytes) -> None:
    text = b"step,loss,lr\n1,2.5,0.1\n2,,0.1\n".replace(b",", separator)
    assert read(text) == [("loss", 1, "2.5"), ("lr", 1, "0.1"), ("lr", 2, "0.1")]


def test_padded_names_and_cells_are_stripped() -> None:
    assert read(b"     epoch,   train/box_loss\n         0,       1.5\n") == [
        ("epoch", 0, "0.0"),
        ("train/box_loss", 0, "1.5"),
    ]


def test_empty_cells_words_and_na_are_no_samples_but_nan_is() -> None:
    batches = feed(Csv(), [b"step,loss,note\n1,NA,x\n2,,\n3,nan,y\n4,-Infinity,z\n"])
    assert [step for step, _ in values(batches, "loss")] == [3, 4]
    assert math.isnan(values(batches, "loss")[0][1])
    assert values(batches, "note") == []


def test_a_repeated_header_is_no_row_and_a_new_one_counts_from_there() -> None:
    batches = feed(Csv(), [CSV])
    assert values(batches, "train/loss")[-3:] == [(6, -math.inf), (7, 1.5), (8, 1.25)]
    assert values(batches, "val_loss") == [(7, 1.75), (8, 1.5)]


def test_a_torn_row_is_counted_and_left_out() -> None:
    (batch, _) = feed(Csv(), [b"step,loss,lr\n1,2.5,0.1\n2,2.\n3,2.25,0.1\n"])
    assert [step for step, _ in values([batch], "loss")] == [1, 3]
    assert batch.errors == {"row does not fit the header": 1}


def test_lines_before_the_header_are_counted() -> None:
    (batch, _) = feed(Csv(), [b"1,2\n3\nstep,loss\n1,2.5\n"])
    assert samples([batch]) == [("loss", 1, "2.5")]
    assert batch.errors == {"line before the header": 2}


def test_comments_and_the_index_of_a_data_frame_are_passed_over() -> None:
    assert read(b'#{"t_start": 1.5}\n,step,loss\n0,10,2.5\n') == [("loss", 10, "2.5")]


def test_rows_without_a_step_of_their_own_stay_at_the_last_one() -> None:
    assert read(b"step,loss,val_loss\n5,2.5,\n,,2.75\n") == [("loss", 5, "2.5"), ("val_loss", 5, "2.75")]
