"""A whole log as a table."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from support.format_samples import LOGS

from lrwatch.errors import ConfigError, InputError
from lrwatch.sources import table as module
from lrwatch.sources.metric_names import LEFT_OUT, MAX_NAMES
from lrwatch.sources.table import SPARSE, read, read_log

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"


def test_a_record_is_a_row_and_a_metric_a_column(tmp_path: Path) -> None:
    log = tmp_path / "any.name"
    log.write_text('{"step": 10, "loss": 2.5, "lr": 0.1}\n{"step": 10, "val_loss": 3}\n{"step": 20, "loss": NaN}')
    table = read_log(log)
    assert table.columns.tolist() == ["step", "loss", "lr", "val_loss"]
    assert table["step"].tolist() == [10, 10, 20]
    np.testing.assert_equal(table["loss"].to_numpy(), [2.5, np.nan, np.nan])
    np.testing.assert_equal(table["val_loss"].to_numpy(), [np.nan, 3.0, np.nan])
    assert table.attrs == {
        "axis": "step", "format": "jsonl", "lines": 3, "errors": {}, "smoothing": {}, "segments": [0],
    }  # fmt: skip


@pytest.mark.parametrize("name", LOGS)
def test_every_format_is_found_and_can_be_named(tmp_path: Path, name: str) -> None:
    log = tmp_path / "log"
    log.write_bytes(LOGS[name])
    found = read_log(log)
    assert found.attrs["format"] == name
    assert len(found) > 2
    assert read_log(log, format=name).equals(found)


def test_a_log_longer_than_one_read_is_read_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"step:{i} loss:{i}.5\n" for i in range(400_000)))
    table = read_log(log)
    assert table["step"].tolist() == list(range(400_000))
    assert float(table["loss"].iloc[-1]) == 399_999.5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"", "an empty file"),
        (b"\n  \nHello there\n", r"first line is 'Hello there'"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_says_what_was_seen(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    log = tmp_path / "log"
    if content is not None:
        log.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_log(log)


def test_a_named_format_that_does_not_fit_says_why(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("step: 1 loss: 2\n")
    with pytest.raises(InputError, match="1 x not a JSON object"):
        read_log(log, format="jsonl")


def test_a_directory_and_an_unknown_format_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="directory"):
        read_log(tmp_path)
    with pytest.raises(ConfigError, match="auto, one of"):
        read_log(tmp_path, format="xml")


def test_steps_that_go_back_begin_a_segment_once_for_all_metrics(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    first = [f'{{"step": {i}, "loss": 1, "lr": 0.1}}\n' for i in range(10)]
    evaluated = ['{"step": 9, "val_loss": 2}\n']
    resumed = [f'{{"step": {i}, "loss": 1, "lr": 0.1}}\n' for i in range(5, 9)] + ['{"step": 8, "val_loss": 2}\n']
    log.write_text("".join(first + evaluated + resumed + first[:2]))
    table = read_log(log)
    assert table.attrs["segments"] == [0, 11, 16]
    assert table["step"].iloc[11] == 5


def test_rows_of_an_evaluation_that_lag_behind_are_no_segment(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    rows = [
        f'{{"step": {i}, "loss": 1, "hours": 1}}\n{{"step": {i - 3}, "val_loss": 1, "hours": 1}}\n'
        for i in range(5, 30)
    ]
    log.write_text("".join(rows))
    assert read_log(log).attrs["segments"] == [0]


def test_a_log_in_gzip_is_read_as_if_it_were_not(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(LOGS["csv"])
    packed = tmp_path / "log.gz"
    packed.write_bytes(gzip.compress(LOGS["csv"]))
    assert read_log(packed).equals(read_log(log))


def test_how_the_trainer_smoothed_a_metric_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"{{'loss': {9 - i / 9:.3f}, 'learning_rate': 0.1, 'epoch': {i}.0}}\n" for i in range(5)))
    assert read_log(log).attrs["smoothing"] == {"loss": "window"}


def test_a_log_with_too_many_names_keeps_its_loss_and_says_how_many_are_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(
        "".join(f'{{"step": {i}, "n{i}": 1}}\n' for i in range(MAX_NAMES + 500)) + '{"step": 9999, "loss": 2}\n'
    )
    table = read_log(log)
    assert len(table.columns) == 1 + MAX_NAMES + 1
    assert table["loss"].dropna().tolist() == [2.0]
    assert table.attrs["errors"] == {LEFT_OUT: 500}


def test_a_table_of_too_many_cells_keeps_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CELLS", 100)
    log = tmp_path / "log.jsonl"
    log.write_text("".join(f'{{"step": {i}, "a": 1, "b": 2, "c": 3, "loss": 4}}\n' for i in range(50)))
    table = read_log(log)
    assert table.columns.tolist() == ["step", "a", "loss"]
    assert table.attrs["errors"] == {SPARSE: 2}


def test_only_the_beginning_is_read_on_demand(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"step:{i} loss:{i}.5\n" for i in range(400_000)))
    reading = read(log, only_beginning=True)
    assert 0 < reading.rows < 100_000
    assert reading.format == "text"


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="no regular file"):
        read_log(pipe)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the collection of real logs is not here")
def test_every_real_log_gives_a_table() -> None:
    for file in sorted(REAL.glob("*/*")):
        table = read_log(file)
        assert len(table) > 1, file
        assert table.attrs["segments"][0] == 0
