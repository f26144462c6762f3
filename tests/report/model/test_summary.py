from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from support.report_events import answer, command, effect, restore

from lrwatch.report import MetricCurve, ReportData
from lrwatch.report.model.summary import final_level, summary
from lrwatch.report.model.timeline import lr_changes


def log(*events: dict[str, Any], values: list[float] | None = None) -> ReportData:
    level = np.array([3.0, 2.0, 1.0] if values is None else values, np.float64)
    return ReportData("r", "r", "loss", "step", (MetricCurve("loss", "train", np.arange(len(level)), level),), events)


def words(data: ReportData) -> str:
    return summary(data, lr_changes(data.events))


def test_the_summary_counts_findings_answers_and_effects(full_run: ReportData) -> None:
    assert words(full_run) == (
        "1 plateau and 1 run of non-finite values; 2 changes of the learning rate, 1 acknowledged and 1 refused. "
        "Measured against the old rate, 1 helped. "
        "val loss ends at 0.4222, against 0.4722 without lrwatch (10.6\u00a0% lower)."
    )


def test_what_helped_what_did_not_and_what_was_taken_back_is_counted() -> None:
    paragraph = words(
        log(
            *(command(10, 0.5), effect(20, 0.5, 0.05)),
            *(command(30, 0.25), effect(40, 0.25, -0.002), restore(41, 0.5)),
            *(command(60, 0.25), effect(70, 0.25, -0.05), restore(71, 0.5)),
            {"event": "effect"},
        )
    )

    assert (
        "Measured against the old rate, 1 helped, 1 brought no certain gain and 1 cost progress; 2 were taken back."
        in paragraph
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (log(), "No findings; no change of the learning rate. loss ends at 1."),
        (log(values=[]), "No findings; no change of the learning rate. There are no values of loss."),
        (
            log(values=[float("nan")] * 3),
            "No findings; no change of the learning rate. None of the 3 values of loss is finite.",
        ),
        (log(command(1, 0.5)), "No findings; 1 change of the learning rate, not acknowledged. loss ends at 1."),
        (
            log({**command(1, 0.5), "state": "suggested"}, {**command(3, 0.5), "state": "suggested"}),
            "No findings; 2 proposals that were not sent; no change of the learning rate. loss ends at 1.",
        ),
        (
            log(command(1, 0.5), answer("acknowledged", 2, 0.5)),
            "No findings; 1 change of the learning rate, acknowledged. loss ends at 1.",
        ),
        (
            log({"event": "finding", "kind": "brand_new", "step": 1}),
            "1 finding of kind brand_new; no change of the learning rate. loss ends at 1.",
        ),
    ],
)
def test_empty_and_odd_runs_are_summed_up_in_words(data: ReportData, expected: str) -> None:
    assert words(data) == expected


def test_a_run_without_any_curve_is_summed_up() -> None:
    data = dataclasses.replace(log(), curves=(), metric="")

    assert words(data).endswith("There are no values of any metric.")


def test_the_final_level_is_a_median_where_there_are_many_values() -> None:
    values = np.full(1000, 0.5)
    values[-1] = 99.0

    assert final_level(MetricCurve("loss", "train", np.arange(1000), values)) == 0.5
