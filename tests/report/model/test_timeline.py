from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from lrwatch.core.events import Counterfactual, Effect, as_json
from lrwatch.report import MetricCurve, ReportData
from lrwatch.report.model.summary import final_level, summary
from lrwatch.report.model.timeline import lr_changes


def command(step: int, scale: float, generation: int | None = None) -> dict[str, Any]:
    event: dict[str, Any] = {"event": "command", "step": step, "scale": scale, "reason": "plateau", "cause": "plateau"}
    return event if generation is None else event | {"generation": generation}


def answer(kind: str, step: int, scale: float | None, generation: int | None = None, code: str = "") -> dict[str, Any]:
    return {"event": kind, "step": step, "scale": scale, "generation": generation, "code": code}


def log(*events: dict[str, Any], values: list[float] | None = None) -> ReportData:
    level = np.array([3.0, 2.0, 1.0] if values is None else values, np.float64)
    return ReportData("r", "r", "loss", "step", (MetricCurve("loss", "train", np.arange(len(level)), level),), events)


def words(data: ReportData) -> str:
    return summary(data, lr_changes(data.events))


def test_an_answer_belongs_to_the_command_of_its_generation() -> None:
    rows = lr_changes([command(10, 0.5, 1), command(20, 0.25, 2), answer("acknowledged", 21, 0.5, 1)])

    assert [(r.answer, r.answer_step) for r in rows] == [("acknowledged", 21), ("", None)]


def test_without_generations_an_answer_belongs_to_the_newest_command_of_its_scale() -> None:
    rows = lr_changes(
        [command(10, 0.5), command(20, 0.5), answer("acknowledged", 21, 0.5), answer("acknowledged", 22, 0.5)]
    )

    assert [r.answer_step for r in rows] == [22, 21]


def test_a_refusal_leaves_the_scale_as_it_was() -> None:
    rows = lr_changes(
        [
            command(10, 0.5, 1),
            answer("acknowledged", 11, 0.5, 1),
            command(20, 0.1, 2),
            answer("rejected", 21, 0.5, 2, "factor"),
            command(30, 0.25, 3),
        ]
    )

    assert [(r.before, r.scale, r.answer, r.code) for r in rows] == [
        (1.0, 0.5, "acknowledged", ""),
        (0.5, 0.1, "rejected", "factor"),
        (0.5, 0.25, "", ""),
    ]


def test_in_a_log_that_nobody_answers_each_change_begins_at_the_one_before() -> None:
    assert [(r.before, r.scale) for r in lr_changes([command(10, 0.5), command(20, 0.2)])] == [(1.0, 0.5), (0.5, 0.2)]


def test_an_answer_or_an_effect_without_a_command_has_a_row_of_its_own() -> None:
    rows = lr_changes(
        [
            answer("acknowledged", 5, 0.5, 9),
            {"event": "effect", "step": 9, "scale": 0.3, "gain": 0.1, "lower": 0.0, "upper": 0.2, "message": ""},
        ]
    )

    assert [(r.step, r.scale, r.answer, r.effect is not None) for r in rows] == [
        (5, 0.5, "acknowledged", False),
        (9, 0.3, "", True),
    ]


def operator(step: int, verb: str, argument: str = "", *, done: bool = True) -> dict[str, Any]:
    event = {"verb": verb, "argument": argument, "actor": "anna", "done": done, "message": "so be it"}
    return {"event": "operator", "run": "r", "step": step, **event}


def test_what_an_operator_set_is_told_as_asked_for_by_the_operator() -> None:
    rows = lr_changes(
        [
            operator(2, "set", "9", done=False),
            operator(3, "set", "0.5"),
            answer("acknowledged", 5, 0.5, 1),
            operator(8, "set", "0.25"),
            operator(9, "undo"),
            answer("rejected", 10, 0.5, 2, "held"),
            answer("acknowledged", 11, 0.25, 3),
            answer("acknowledged", 12, 0.1, 4),
        ]
    )

    assert [(r.step, r.before, r.scale, r.answer_step, r.reason) for r in rows] == [
        (3, 1.0, 0.5, 5, "set by anna"),
        (9, 0.5, 0.5, 10, "set by anna"),
        (8, 0.5, 0.25, 11, "set by anna"),
        (12, 0.25, 0.1, 12, "no command in this record"),
    ]


def test_a_refused_order_for_a_scale_names_the_scale_that_was_asked_for() -> None:
    (row,) = lr_changes([operator(3, "set", "4"), answer("rejected", 5, 1.0, 1, "out_of_bounds")])

    assert (row.scale, row.answer, row.code) == (4.0, "rejected", "out_of_bounds")


def test_the_verdict_counts_findings_answers_and_effects(full_run: ReportData) -> None:
    assert words(full_run) == (
        "1 plateau and 1 run of non-finite values; 2 changes of the learning rate, 1 acknowledged and 1 refused. "
        "Measured against continuing, 1 helped. "
        "val loss ends at 0.4222, against 0.4722 without lrwatch (10.6\u00a0% lower)."
    )


def effect(step: int, scale: float, gain: float, margin: float = 0.01) -> dict[str, Any]:
    return as_json(Effect(step, scale, gain, gain - margin, gain + margin, ""), "r")


def restore(step: int, scale: float) -> dict[str, Any]:
    return {**command(step, scale), "cause": "restore"}


def test_what_helped_what_did_not_and_what_was_taken_back_is_counted() -> None:
    said = words(
        log(
            *(command(10, 0.5), effect(20, 0.5, 0.05)),
            *(command(30, 0.25), effect(40, 0.25, -0.002), restore(41, 0.5)),
            *(command(60, 0.25), effect(70, 0.25, -0.05), restore(71, 0.5)),
            {"event": "effect"},
        )
    )

    assert (
        "Measured against continuing, 1 helped, 1 brought no certain gain and 1 cost progress; 2 were taken back."
        in said
    )


def test_a_change_is_taken_back_once_even_in_two_steps_and_not_by_what_was_refused() -> None:
    rows = lr_changes(
        [
            *(command(10, 0.5), answer("acknowledged", 11, 0.5)),
            *(command(30, 0.1), answer("acknowledged", 31, 0.1)),
            *(restore(41, 0.5), answer("rejected", 42, 0.5)),
            *(restore(51, 0.2), answer("acknowledged", 52, 0.2)),
            *(restore(61, 0.5), answer("acknowledged", 62, 0.5)),
        ]
    )

    assert [r.taken_back for r in rows] == [None, 4, None, None, None]


def test_the_line_of_an_effect_is_read_whole_or_not_at_all() -> None:
    line = Counterfactual(12, 1.0, 0.1, 0.9, 0.1, 0.8, 0.1)
    event = as_json(Effect(30, 0.5, 0.1, 0.0, 0.2, "", line), "r")
    odd: list[dict[str, Any]] = [
        {"came": None},
        {"came": "NaN"},
        {"expected": 1e200},
        {"since": 30},
        {"since": -(10**300)},
    ]

    (row,) = lr_changes([event])
    assert row.effect is not None
    assert (row.effect.line, row.effect.step) == (line, 30)
    for fields in odd:
        (row,) = lr_changes([{**event, **fields}])
        assert row.effect is not None
        assert row.effect.line is None


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
            log(command(1, 0.5), answer("acknowledged", 2, 0.5)),
            "No findings; 1 change of the learning rate, acknowledged. loss ends at 1.",
        ),
        (
            log({"event": "finding", "kind": "brand_new", "step": 1}),
            "1 finding of kind brand_new; no change of the learning rate. loss ends at 1.",
        ),
    ],
)
def test_empty_and_odd_runs_have_a_verdict_in_words(data: ReportData, expected: str) -> None:
    assert words(data) == expected


def test_a_run_without_any_curve_has_a_verdict() -> None:
    data = dataclasses.replace(log(), curves=(), metric="")

    assert words(data).endswith("There are no values of any metric.")


def test_odd_fields_of_old_journals_are_shown_as_missing() -> None:
    rows = lr_changes(
        [
            {"event": "command", "step": "ten", "scale": None},
            {"event": "acknowledged", "step": float("nan"), "scale": 10**400, "generation": True},
            {"event": "effect"},
        ]
    )

    assert [(r.step, r.scale, r.answer) for r in rows] == [(None, None, "acknowledged"), (None, None, "")]


def test_the_final_level_is_a_median_where_there_are_many_values() -> None:
    values = np.full(1000, 0.5)
    values[-1] = 99.0

    assert final_level(MetricCurve("loss", "train", np.arange(1000), values)) == 0.5


def test_a_curve_whose_steps_and_values_differ_in_number_is_refused() -> None:
    with pytest.raises(ValueError, match="'loss' has 2 steps and 3 values"):
        MetricCurve("loss", "train", np.arange(2), np.zeros(3))
