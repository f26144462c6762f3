"""The story that the demo tells: each change in one sentence, and a fault never as a success."""

from __future__ import annotations

from typing import Any

import click
import pytest

from lrwatch.core.events import Counterfactual, Effect, as_json
from lrwatch.demo.story import Ending, faults_of, mean_ratio, sentences, tell
from lrwatch.report.model.timeline import lr_changes

STEPS = 20_000


def command(step: int, scale: float, cause: str = "probe", **more: Any) -> dict[str, Any]:
    return {"event": "command", "step": step, "scale": scale, "cause": cause, "reason": "r", "state": "sent", **more}


def acknowledged(step: int, scale: float) -> dict[str, Any]:
    return {"event": "acknowledged", "step": step, "scale": scale}


def effect(step: int, scale: float, gain: float, error: float) -> dict[str, Any]:
    line = Counterfactual(step - 20, 1.0, 0.01, 1.0, 0.01, 1.0 - gain, 0.01)
    return as_json(Effect(step, scale, gain, gain - error, gain + error, "", line), "train")


TRIAL = [command(1000, 0.5), acknowledged(1040, 0.5)]
TAKEN_BACK = [*TRIAL, effect(1100, 0.5, 0.01, 0.02), command(1110, 1.0, "restore"), acknowledged(1150, 1.0)]
LINE = [command(9000, 0.001, "anneal"), acknowledged(9030, 0.001)]


def ending(
    events: list[dict[str, Any]], lr: float = 0.01, alone: float = 0.1, torch: float = 0.098, own: float = 0.095
) -> Ending:
    return Ending(lr, alone, torch, own, tuple(lr_changes(events)))


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (
            TAKEN_BACK,
            "step  1,000: tried half the rate. Taken back at step 1,150: not proven to bring more than it costs.",
        ),
        ([*TRIAL, effect(1100, 0.5, 0.03, 0.01)], "step  1,000: tried half the rate. Proven to help, so it stayed."),
        (TRIAL, "step  1,000: tried half the rate. Not judged when the training ended."),
        ([command(1000, 1.5)], "step  1,000: tried 1.5 times the rate. Not acknowledged: no answer."),
        (
            LINE,
            "step  9,000: lowered the rate along a line to almost zero at step 20,000. Proven: the loss ended 5.0 % lower than in the same training alone.",
        ),
    ],
    ids=["taken back", "proven", "not judged", "not acknowledged", "line"],
)
def test_a_change_is_one_sentence_with_its_outcome(events: list[dict[str, Any]], said: str) -> None:
    assert [click.unstyle(one) for one in sentences(ending(events), STEPS)] == [said]


def test_a_trial_that_is_proven_twice_is_told_as_it_went() -> None:
    again = [
        command(1110, 1.0, "restore"),
        acknowledged(1150, 1.0),
        command(1260, 0.5, "plateau"),
        acknowledged(1300, 0.5),
    ]
    told = [click.unstyle(one) for one in sentences(ending([*TRIAL, *again, effect(1310, 0.5, 0.03, 0.01)]), STEPS)]
    assert told == [
        "step  1,000: tried half the rate. The loss was lower, and rose again when the rate went back at step 1,150.",
        "step  1,260: went to half the rate for good. Proven to help, so it stayed.",
    ]


def test_what_came_too_late_to_be_sent_is_not_told_and_counts_for_nothing() -> None:
    late = command(500, 0.5, state="outdated")
    assert sentences(ending([late, *TAKEN_BACK]), STEPS) == sentences(ending(TAKEN_BACK), STEPS)
    assert not faults_of([ending([late, *TAKEN_BACK])])


def test_a_trial_that_the_line_overtook_is_not_judged() -> None:
    first, _ = sentences(ending([*TRIAL, *LINE]), STEPS)
    assert first.endswith("tried half the rate. Not judged when the next change came.")


def test_a_line_that_brought_nothing_is_not_proven() -> None:
    (said,) = sentences(ending(LINE, own=0.101), STEPS)
    assert said.endswith("Not proven: the loss ended 1.0 % higher than in the same training alone.")


def test_the_story_is_one_table_and_the_best_of_each_row_needs_no_colour() -> None:
    lines = tell(
        [ending(TAKEN_BACK, lr=0.003, own=0.101), ending(LINE, own=0.092), ending([], lr=0.03, own=0.093)], 0.01, STEPS
    )
    text = click.unstyle("\n".join(lines))
    assert lines[0] == "Loss on unseen data after 20,000 steps; lower is better:"
    assert "0.01   the best constant rate" in text
    assert "0.1000        0.0980" in text
    assert "8.0 % lower than alone" in text
    assert "It left the rate as it was." in text
    assert "From 0.003 it ended 1.0 % higher: of one training, up to 2 % may be chance." in text
    assert "Every change was acknowledged" in text


@pytest.mark.parametrize(
    ("endings", "fault"),
    [
        ([ending(LINE, own=0.09), ending([command(1000, 0.5)])], "from 0.01 1 of 1 changes were not acknowledged (step 1000: no answer)"),
        ([ending(LINE, own=0.08), ending(LINE, lr=0.03, own=0.103)], "from 0.03 the loss ended 3.0 % higher than alone"),
        ([ending(LINE, own=0.08), ending(LINE, lr=0.03, own=float("nan"))], "from 0.03 the loss ended nan % higher than alone"),
        ([ending(LINE, own=0.1), ending(LINE, own=0.1)], "on average the loss ended no lower than alone"),
    ],
    ids=["not acknowledged", "harm", "nan", "no gain"],
)  # fmt: skip
def test_a_fault_is_named_and_nothing_else_is_claimed(endings: list[Ending], fault: str) -> None:
    assert fault in faults_of(endings)
    text = "\n".join(tell(endings, 0.01, STEPS))
    assert f"FAILED: {fault}." in text
    assert "Every change was acknowledged" not in text


def test_chance_of_one_training_is_no_fault_while_lrwatch_helps_on_average() -> None:
    endings = [ending(LINE, own=0.101), ending(LINE, own=0.09)]
    assert faults_of(endings) == []
    assert mean_ratio(endings, "alone") == pytest.approx((1.01 * 0.9) ** 0.5)
    assert mean_ratio(endings, "torch") == pytest.approx((1.01 * 0.9) ** 0.5 / 0.98)
