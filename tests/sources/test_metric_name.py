"""The metric that a path names."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrwatch.sources.reader import metric_name

RUN = "mlruns/187479759740700411/ea71e54bc850434eaa5170c17d564de6"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (f"{RUN}/metrics/loss", "loss"),
        (f"{RUN}/metrics/train/loss", "train/loss"),
        (f"/data/metrics/{RUN}/metrics/train/metrics/top1", "train/metrics/top1"),
        ("metrics/val_loss", "val_loss"),
        ("metrics/old/metrics/loss", "loss"),
        (f"{RUN}/metrics", None),
        (f"{RUN}/params/lr", None),
        ("runs/metrics.csv", None),
        ("", None),
    ],
)
def test_a_file_below_the_metrics_of_a_run_is_called_after_its_path(path: str, name: str | None) -> None:
    assert metric_name(path) == name
    assert metric_name(Path(path)) == name
