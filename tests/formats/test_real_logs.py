"""Logs that other people's trainers wrote, against the counts and values that an independent reader found."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from support.format_samples import feed, random_cuts, values

from lrwatch.formats import HEAD_BYTES, by_name, detect

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"
if not (REAL / "INDEX.csv").is_file():
    pytest.skip(f"the collection of real logs is not at {REAL}", allow_module_level=True)

# Directory -> format, and the metric that each kind of truth is about.
COVERED: dict[str, tuple[str, dict[str, str]]] = {
    "text_llmc": ("text", {"train": "trl", "val": "tel", "lr": "lr"}),
    "text_modded_nanogpt": ("text", {"train": "trl", "val": "tel"}),
    "text_nanogpt": ("text", {"train": "loss", "val": "val loss"}),
    "text_megatron": ("text", {"train": "lm loss", "val": "val.lm loss value", "lr": "learning rate"}),
    "jsonl_deit": ("jsonl", {"train": "train_loss", "val": "test_loss", "lr": "train_lr"}),
    "jsonl_mmcv": ("jsonl", {"train": "loss", "lr": "lr"}),
    "jsonl_llamafactory": ("jsonl", {"train": "loss", "lr": "learning_rate"}),
    "csv_algoperf": ("csv", {"train": "loss", "val": "validation/loss"}),
    "csv_keras": ("csv", {"train": "loss", "val": "val_loss"}),
    "tsv_catboost": ("csv", {"train": "RMSE"}),
    "json_catboost": ("json", {"train": "learn.RMSE", "val": "test.RMSE"}),
    "json_hf_trainer_state": ("json", {"train": "loss", "lr": "learning_rate"}),
    "text_torch7": ("prefixed", {"train": "loss", "val": "test_acc", "lr": "lr"}),
    "text_mlperf": ("prefixed", {"train": "train_loss", "lr": "learning_rate"}),
    "mlflow": ("numbers", {"train": "value"}),
    "text_two_columns": ("numbers", {"train": "value"}),
    "text_hf_trainer": ("text", {"train": "loss", "lr": "learning_rate"}),
}


class Truth(NamedTuple):
    file: str
    format: str
    metric: str
    samples: int
    first: tuple[float, float]
    last: tuple[float, float]


def truths() -> list[Truth]:
    found = []
    with (REAL / "INDEX.csv").open(newline="") as index:
        for row in csv.DictReader(index):
            format_, metrics = COVERED.get(row["file"].partition("/")[0], ("", {}))
            for part in row["truth"].split("||"):
                match = re.match(r"(\w+): n=(\d+);first=(.+?):(.+?);last=(.+?):(.+)$", part)
                if match and match[1] in metrics:
                    numbers = [float(text) for text in match.groups()[2:]]
                    found.append(
                        Truth(
                            row["file"],
                            format_,
                            metrics[match[1]],
                            int(match[2]),
                            (numbers[0], numbers[1]),
                            (numbers[2], numbers[3]),
                        )
                    )
    return found


TRUTHS = truths()


def test_every_covered_kind_of_log_is_in_the_collection() -> None:
    assert {truth.file.partition("/")[0] for truth in TRUTHS} == set(COVERED)


@pytest.mark.slow
@pytest.mark.parametrize("pieces", [0, 7, 200])
@pytest.mark.parametrize("file", sorted({truth.file for truth in TRUTHS}))
def test_a_real_log_gives_what_an_independent_reader_found(file: str, pieces: int) -> None:
    data = (REAL / file).read_bytes()
    detected = detect(data[:HEAD_BYTES], final=len(data) < HEAD_BYTES)
    assert detected is not None
    batches = feed(by_name(detected.name), random_cuts(data, pieces, seed=pieces))
    for truth in TRUTHS:
        if truth.file != file:
            continue
        assert detected.name == truth.format
        found: list[tuple[float, float]] = [*values(batches, truth.metric)]
        assert len(found) == truth.samples
        assert (found[0][1], found[-1][1]) == (truth.first[1], truth.last[1])
        if truth.first[0] % 1:  # the dictionaries of the Hugging Face Trainer have only a fractional epoch
            found = [(epoch, value) for (_, epoch), (_, value) in zip(values(batches, "epoch"), found, strict=True)]
        assert (found[0][0], found[-1][0]) == (truth.first[0], truth.last[0])
