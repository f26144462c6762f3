"""The effect of a command is told for all losses, and validation may ask to undo it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from support.batches import batch, cut

from lrwatch.core.events import Command, Effect, Event, as_json
from lrwatch.core.options import DetectOptions, PolicyOptions
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.sample import Batch

DETECT = DetectOptions(horizon=300, min_improvement=0.01)
N = 3000
AT = 1500


def log(val_after: float, *, sparse: int = 20, seed: int = 0) -> Batch:
    """A training loss that a cut at step AT helps, and a validation loss that goes to `val_after` meanwhile."""
    steps = np.arange(N)
    rng = np.random.default_rng(seed)
    train = 2 + 3 * np.exp(-steps / 100) - 0.6 * (1 - np.exp(-np.maximum(steps - AT, 0) / 40))
    val = 1.96 + (val_after - 1.96) * np.clip((steps - AT) / 200, 0, 1)
    val_loss = np.where(steps % sparse == 0, val + 0.01 * rng.standard_normal(N), -1.0)
    return batch(steps, {"loss": train + 0.02 * rng.standard_normal(N), "val_loss": val_loss}, absent=-1.0)


def play(whole: Batch, cuts: Iterable[int] = (), answer_at: int = AT, **policy: Any) -> list[Event]:
    """Everything that is said of the log, where an operator's cut is asked for at step AT and answered at `answer_at`."""
    run = Pipeline(DETECT, PolicyOptions(**{"mode": "auto", "strategy": "observe", **policy}))
    run.joined(0, 1.0)
    events: list[Event] = []
    edges = sorted({*cuts, AT, answer_at})
    for part in cut(whole, edges):
        if len(part.steps) and part.steps[0] == AT:
            run.ask(0.5)
        if len(part.steps) and part.steps[0] == answer_at:
            events += run.acknowledged(AT, 0.5)
        events += run.feed(part)
        state = json.loads(json.dumps(run.state()))
        again = Pipeline(run.detect, run.configured)
        again.restore(state)
        run = again
    return events


def effect_of(events: list[Event]) -> Effect:
    (effect,) = (event for event in events if isinstance(event, Effect))
    return effect


def test_what_helped_the_training_loss_is_not_said_without_the_validation_loss() -> None:
    effect = effect_of(play(log(2.99)))
    assert effect.verdict == "helped"
    (other,) = effect.others
    assert (other.metric, other.validation, other.got_worse) == ("val_loss", True, True)
    assert other.before == pytest.approx(1.96, abs=0.02)
    assert other.after == pytest.approx(2.9, abs=0.1)
    assert "helped" in effect.message
    assert f"; meanwhile {other.words}" in effect.message
    assert other.words.startswith("val_loss rose 4")
    assert as_json(effect, "r")["others"][0]["metric"] == "val_loss"


def test_a_validation_loss_that_does_not_move_is_said_to_do_so_and_one_that_falls_too() -> None:
    assert "val_loss shows no certain change" in effect_of(play(log(1.96))).message
    assert "val_loss fell 19 % (1.957 to 1.582)" in effect_of(play(log(1.5))).message


def test_a_single_value_on_each_side_is_no_proof() -> None:
    (other,) = effect_of(play(log(2.99, sparse=850))).others
    assert (other.error, other.is_sure) == (None, False)
    assert "too few values to be certain" in other.words


@pytest.mark.parametrize("policy", [{}, {"validation": "undo", "mode": "approve"}], ids=["advise", "approve"])
def test_validation_may_ask_to_undo_and_a_person_decides(policy: dict[str, Any]) -> None:
    (command,) = (event for event in play(log(2.99), **policy) if isinstance(event, Command))
    assert (command.cause, command.scale, command.scale_before) == ("validation", 1.0, 0.5)
    assert command.expires_at is not None
    assert "val_loss rose" in command.reason
    assert "since scale 0.5" in command.reason
    assert "goes back to scale 1" in command.reason


def test_validation_undoes_by_itself_where_the_settings_permit_it() -> None:
    (command,) = (event for event in play(log(2.99), validation="undo") if isinstance(event, Command))
    assert (command.cause, command.scale, command.expires_at) == ("validation", 1.0, None)


def test_nothing_is_undone_where_validation_is_as_good() -> None:
    for after in (1.5, 1.96):
        assert not [event for event in play(log(after), validation="undo") if isinstance(event, Command)]
    assert not [event for event in play(log(2.99), mode="observe") if isinstance(event, Command)]


@pytest.mark.slow
def test_neither_batches_nor_restarts_nor_the_time_of_the_answer_change_what_is_said() -> None:
    whole = log(2.99)
    calm = play(whole)
    rng = np.random.default_rng(1)
    for _ in range(6):
        cuts = rng.integers(1, N, 12).tolist()
        assert play(whole, cuts) == calm
    for answer_at in (AT + 7, AT + 120, AT + 200):
        assert effect_of(play(whole, [*range(100, N, 333)], answer_at)) == effect_of(calm)
