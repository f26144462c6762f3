"""Where records are placed."""

from __future__ import annotations

import numpy as np
import pytest

from lrwatch.core.sample import Axis, Batch
from lrwatch.formats.columns import Columns, StepAxis

Record = dict[str, float]


def place(axis: StepAxis, *records: Record) -> Batch:
    found = Columns()
    for row, record in enumerate(records):
        for name, value in record.items():
            found.add(name, [row], [value])
    return axis.batch(len(records), found)


@pytest.mark.parametrize(
    ("records", "axis", "steps"),
    [
        ([{"step": 10, "loss": 1}, {"step": 20, "loss": 1}], "step", [10, 20]),
        ([{"step": 10, "loss": 1}, {"val_loss": 1}, {"epoch": 3, "acc": 1}], "step", [10, 10, 10]),
        ([{"epoch": 0, "loss": 1}, {"epoch": 1, "loss": 1}, {"lr": 1}], "epoch", [0, 1, 1]),
        ([{"epoch": 0, "loss": 1}, {"epoch": 0.5, "loss": 1}, {"epoch": 1, "loss": 1}], "record", [0, 1, 2]),
        ([{"loss": 1}, {"loss": 1}], "record", [0, 1]),
        ([{"lr": 1}, {"step": 7, "loss": 1}], "step", [0, 7]),
        ([{"step": 7, "loss": 1}, {"step": 3, "loss": 1}], "step", [7, 3]),
        (
            [{"step": np.nan, "iter": 4, "loss": 1}, {"step": 2.5, "loss": 1}, {"step": -1, "loss": 1}],
            "step",
            [4, 4, 4],
        ),
        ([{"step": 1e300, "loss": 1}, {"step": np.inf, "loss": 1}], "record", [0, 1]),
        ([{"step": 5}, {"loss": 1}, {"step": 6}], "step", [5]),
        ([{"epoch": 2, "batch": 30, "loss": 1}], "step", [30]),
    ],
)
def test_a_record_is_placed_by_step_then_epoch_then_count(records: list[Record], axis: Axis, steps: list[int]) -> None:
    whole = place(StepAxis(), *records)
    assert (whole.axis, whole.steps.tolist()) == (axis, steps)
    assert not {"step", "iter", "batch"} & set(whole.columns)

    one_by_one = StepAxis()
    places = []
    for record in records:
        places.extend(place(one_by_one, record).steps.tolist())
        state = one_by_one.state()
        one_by_one = StepAxis()
        one_by_one.restore(state)
    assert places == steps


def test_metrics_come_in_the_order_of_their_names_and_rows_in_the_order_of_the_log() -> None:
    found = Columns()
    found.add("b", [2], [1.0])
    found.add("b", [0, 1], [3.0, 4.0])
    found.add("a", [1], [2.0])
    found.add("a", [1], [5.0])
    batch = StepAxis().batch(3, found)
    assert [tuple(sample) for sample in batch.samples()] == [
        ("b", 0, 3.0, None), ("a", 1, 5.0, None), ("b", 1, 4.0, None), ("b", 2, 1.0, None),
    ]  # fmt: skip
