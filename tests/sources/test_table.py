"""A whole log as a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from format_samples import LOGS

from lrwatch.errors import ConfigError, InputError
from lrwatch.sources.table import read_log


def test_a_record_is_a_row_and_a_metric_a_column(tmp_path: Path) -> None:
    log = tmp_path / "any.name"
    log.write_text('{"step": 10, "loss": 2.5, "lr": 0.1}\n{"step": 10, "val_loss": 3}\n{"step": 20, "loss": NaN}')
    table = read_log(log)
    assert table.columns.tolist() == ["step", "loss", "lr", "val_loss"]
    assert table["step"].tolist() == [10, 10, 20]
    np.testing.assert_equal(table["loss"].to_numpy(), [2.5, np.nan, np.nan])
    np.testing.assert_equal(table["val_loss"].to_numpy(), [np.nan, 3.0, np.nan])
    assert table.attrs == {"axis": "step", "format": "jsonl", "lines": 3, "errors": {}}


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
    with pytest.raises(ConfigError, match="one of jsonl"):
        read_log(tmp_path, format="xml")
