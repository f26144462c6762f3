"""The dictionaries that the Hugging Face Trainer prints."""

from __future__ import annotations

import math

from format_samples import HF, feed, samples, values

from lrwatch.formats.hf import HuggingFace


def test_records_are_counted_because_the_epoch_is_no_place() -> None:
    batches = feed(HuggingFace(), [HF])
    assert batches[-1].axis == "record"
    assert values(batches, "loss")[0] == (0, 1.416)
    assert math.isnan(values(batches, "loss")[1][1])
    assert values(batches, "eval_loss") == [(2, 1.5)]
    assert values(batches, "epoch") == []


def test_a_file_with_carriage_returns_only_is_read_as_it_grows() -> None:
    reader = HuggingFace()
    batch, used = reader.feed(b" 10%|#| 1/10\r{'loss': 1.5, 'epoch': 0.1}\r 20%|##| 2/10")
    assert samples([batch]) == [("loss", 0, "1.5")]
    assert used == len(b" 10%|#| 1/10\r{'loss': 1.5, 'epoch': 0.1}\r")


def test_numbers_in_quotes_count_and_other_dictionaries_do_not() -> None:
    lines = (
        b"{'loss': '1.25', 'grad_norm': '-inf', 'epoch': '0.5'}\n{'lr': 0.1}\n{'content': 'loss of 3', 'x': [1, 2]}\n"
    )
    assert samples(feed(HuggingFace(), [lines])) == [("grad_norm", 0, "-inf"), ("loss", 0, "1.25")]
