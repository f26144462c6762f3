"""Further shapes of a history in a JSON document."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.reading import read

from lrwatch.formats.json.document import JsonDocument

LOSSES, VALIDATION = [3.5, 3.25, 3.0], [3.75, 3.5, 3.25]
RECORDS = [{"loss": loss, "val_loss": val} for loss, val in zip(LOSSES, VALIDATION, strict=True)]

DOCUMENTS: dict[str, tuple[Any, list[int]]] = {
    "epochs as keys": ({f"epoch_{i}": record for i, record in enumerate(RECORDS, 1)}, [1, 2, 3]),
    "numbers of epochs as keys": ({str(i): record for i, record in enumerate(RECORDS)}, [0, 1, 2]),
    "numbers of steps as keys": ({str(i * 10): record for i, record in enumerate(RECORDS)}, [0, 10, 20]),
    "below another key": ({"metrics": {f"step {i}": record for i, record in enumerate(RECORDS)}}, [0, 1, 2]),
    "a split table": (
        {"columns": ["step", "loss", "val_loss"], "data": [[10, 3.5, 3.75], [20, 3.25, 3.5], [30, 3.0, 3.25]]},
        [10, 20, 30],
    ),
    "a table of columns": (
        {
            "step": {"0": 10, "1": 20, "2": 30},
            "loss": {"0": 3.5, "1": 3.25, "2": 3.0},
            "val_loss": {"0": 3.75, "1": 3.5, "2": 3.25},
        },
        [10, 20, 30],
    ),
    "pairs": (
        {"loss": [[10, 3.5], [20, 3.25], [30, 3.0]], "val_loss": [[10, 3.75], [20, 3.5], [30, 3.25]]},
        [10, 20, 30],
    ),
}


@pytest.mark.parametrize(("document", "steps"), DOCUMENTS.values(), ids=DOCUMENTS)
@pytest.mark.parametrize("indent", [None, 1])
def test_the_losses_of_a_document(document: Any, steps: list[int], indent: int | None) -> None:
    data = json.dumps(document, indent=indent).encode()
    assert JsonDocument.claims(data)
    batch, _ = JsonDocument().feed(data)
    for loss, wanted in (("loss", LOSSES), ("val_loss", VALIDATION)):
        (name,) = [name for name in batch.columns if name.rpartition(".")[2] == loss]
        column = batch.columns[name]
        assert (batch.steps_of(column).tolist(), column.values.tolist()) == (steps, wanted)


def test_times_steps_and_values() -> None:
    batch, _ = JsonDocument().feed(b"[[1714730400.1, 10, 3.5], [1714730401.2, 20, 3.25]]")
    column = batch.columns["value"]
    assert (batch.steps_of(column).tolist(), column.values.tolist()) == ([10, 20], [3.5, 3.25])


def test_two_folds_are_no_epochs() -> None:
    batch, _ = JsonDocument().feed(json.dumps({"0": RECORDS[0], "1": RECORDS[1]}, indent=1).encode())
    assert "loss" not in batch.columns


def test_a_line_for_each_step_stays_one() -> None:
    assert read('{"step": 10, "loss": 3.5}\n{"step": 20, "loss": 3.25}\n')["loss"] == [(10, 3.5), (20, 3.25)]
