from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.report_events import answer, command, restore

from lrwatch.core.events import Counterfactual, Effect, as_json
from lrwatch.report import MetricCurve
from lrwatch.report.model.timeline import lr_changes


def test_an_answer_belongs_to_the_command_of_its_generation() -> None:
    rows = lr_changes([command(10, 0.5, 1), command(20, 0.25, 2), answer("acknowledged", 21, 0.5, 1)])

    assert [(r.answer, r.answer_step) for r in rows] == [("acknowledged", 21), ("", None)]


def test_without_generations_an_answer_belongs_to_the_newest_command_of_its_scale() -> None:
    rows = lr_changes(
        [command(10, 0.5), command(20, 0.5), answer("acknowledged", 21, 0.5), answer("acknowledged", 22, 0.5)]
    )

    assert [r.answer_step for r in rows] == [22, 21]


def test_a_proposal_changes_nothing_until_somebody_takes_it_up() -> None:
    proposed = {"state": "suggested"}
    nobody = lr_changes([{**command(10, 0.5), **proposed}, {**command(20, 0.5), **proposed}])
    assert [(r.before, r.scale, r.not_taken_up) for r in nobody] == [(1.0, 0.5, True), (1.0, 0.5, True)]
    approved = lr_changes(
        [{**command(10, 0.5), **proposed}, {**command(20, 0.5), **proposed}, answer("acknowledged", 25, 0.5, 7)]
    )
    assert [(r.before, r.scale, r.not_taken_up) for r in approved] == [(1.0, 0.5, True), (1.0, 0.5, False)]
    sent = lr_changes([{**command(10, 0.5), "state": "sent"}])
    assert not sent[0].not_taken_up


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
    fields = {"verb": verb, "argument": argument, "actor": "anna", "done": done, "message": "so be it"}
    return {"event": "operator", "run": "r", "step": step, **fields}


def test_a_scale_that_an_operator_set_names_the_operator() -> None:
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


def test_a_refused_action_for_a_scale_names_the_wanted_scale() -> None:
    (row,) = lr_changes([operator(3, "set", "4"), answer("rejected", 5, 1.0, 1, "out_of_bounds")])

    assert (row.scale, row.answer, row.code) == (4.0, "rejected", "out_of_bounds")


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


def test_a_way_back_that_nobody_sent_takes_nothing_back() -> None:
    rows = lr_changes(
        [
            *(command(10, 0.5), answer("acknowledged", 11, 0.5)),
            {**restore(30, 1.0), "state": "held"},
            *(command(60, 0.25), answer("acknowledged", 61, 0.25)),
        ]
    )

    assert [r.taken_back for r in rows] == [None, None, None]


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


def test_odd_fields_of_old_journals_are_shown_as_missing() -> None:
    rows = lr_changes(
        [
            {"event": "command", "step": "ten", "scale": None},
            {"event": "acknowledged", "step": float("nan"), "scale": 10**400, "generation": True},
            {"event": "effect"},
        ]
    )

    assert [(r.step, r.scale, r.answer) for r in rows] == [(None, None, "acknowledged"), (None, None, "")]


def test_a_curve_whose_steps_and_values_differ_in_number_is_refused() -> None:
    with pytest.raises(ValueError, match="'loss' has 2 steps and 3 values"):
        MetricCurve("loss", "train", np.arange(2), np.zeros(3))
