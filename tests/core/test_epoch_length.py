"""The length of an epoch: found from the column of epochs, and what lasts whole epochs because of it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import batch, cut
from support.strategies import Moment, curve_of

from lrwatch.core.detectors.plateau import PlateauDetector
from lrwatch.core.epoch_length import EpochLength, EpochSteps
from lrwatch.core.events import Event, Finding
from lrwatch.core.options import EPOCHS, DetectOptions, Horizon, PolicyOptions, RunOptions
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.sample import Batch, Floats, Ints
from lrwatch.core.strategies.plateau import Plateau
from lrwatch.core.strategies.trial_outcome import TRANSIENT, measure

EPOCH = 200
STEPS = np.arange(0, 4000, 10)
DROP = 0.1


def stairs(steps: Ints) -> Floats:
    """A loss that rests within an epoch, and falls by DROP where the next one begins."""
    return np.asarray(4.0 - DROP * (steps // EPOCH), np.float64)


def rows(epochs: Floats, steps: Ints = STEPS, name: str = "epoch") -> Batch:
    return batch(steps, {"loss": np.ones(len(steps)), name: epochs})


# ---- the length -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["epoch", "train/epoch"])
@pytest.mark.parametrize("first", [0, 1, 7])
def test_whole_numbers_show_the_length_when_the_third_epoch_begins(name: str, first: int) -> None:
    epochs = first + STEPS // EPOCH
    assert EpochLength().find(rows(epochs.astype(float), name=name)) == [EpochSteps(2 * EPOCH // 10, EPOCH)]


def test_fractions_show_it_too() -> None:
    assert EpochLength().find(rows(np.round(STEPS / EPOCH, 2))) == [EpochSteps(2 * EPOCH // 10, EPOCH)]


def test_rows_that_come_less_often_than_epochs_show_it_by_and_by() -> None:
    steps = np.arange(0, 4000, 500)
    assert EpochLength().find(rows((steps // EPOCH).astype(float), steps)) == [EpochSteps(2, 167), EpochSteps(3, 200)]


def test_a_row_before_the_first_step_of_an_epoch_makes_no_other_length() -> None:
    """Rows come each 30 steps, so epochs of 200 steps seem to have 180, 210, 210, 180 ...: the mean settles, and is said once."""
    steps = np.arange(0, 4000, 30)
    found = EpochLength().find(rows((steps // EPOCH).astype(float), steps))
    assert len(found) == 1
    assert found[0].steps == pytest.approx(EPOCH, rel=0.15)


def test_another_batch_size_makes_another_length() -> None:
    steps = np.arange(0, 40_000, 10)
    epochs = np.where(steps < 1000, steps // 200, 5 + (steps - 1000) // 1000).astype(float)
    lengths = [one.steps for one in EpochLength().find(rows(epochs, steps))]
    assert lengths[0] == 200
    assert lengths[-1] > 800


@pytest.mark.parametrize(
    "epochs",
    [np.full(400, 3.0), np.full(400, np.nan), np.full(400, np.inf), -np.arange(400.0), np.full(400, 1e300)],
    ids=["one", "nan", "inf", "falling", "huge"],
)
def test_what_shows_no_length_is_none(epochs: Floats) -> None:
    assert EpochLength().find(rows(epochs)) == []


def test_a_resume_from_an_earlier_epoch_makes_no_other_length() -> None:
    again = np.concatenate([STEPS, STEPS[200:]])
    assert EpochLength().find(rows((again // EPOCH).astype(float), again)) == [EpochSteps(40, EPOCH)]


def test_where_the_axis_is_epochs_there_is_nothing_to_find() -> None:
    of_epochs = rows(np.arange(400.0))
    assert EpochLength().find(Batch(of_epochs.steps, of_epochs.columns, "epoch")) == []


def test_the_settings_are_believed_and_not_the_log() -> None:
    known = EpochLength(77)
    assert known.find(rows((STEPS // EPOCH).astype(float))) == []
    assert known.steps == 77


@given(st.lists(st.integers(1, len(STEPS) - 1), max_size=20))
@settings(max_examples=50, deadline=None)
def test_how_the_log_is_cut_and_a_restart_change_nothing(cuts: list[int]) -> None:
    epochs = np.concatenate([STEPS[:200] // 200, 10 + STEPS[:200] // 70]).astype(float)
    whole = EpochLength()
    wanted = whole.find(rows(epochs))
    assert len(wanted) > 1
    found, at, length = [], 0, EpochLength()
    for piece in cut(rows(epochs), cuts):
        found += [EpochSteps(at + one.row, one.steps) for one in length.find(piece)]
        at += piece.rows
        saved = json.loads(json.dumps(length.state()))
        length = EpochLength()
        length.restore(saved)
    assert found == wanted
    assert length.state() == whole.state()


# ---- horizons -----------------------------------------------------------------------------------------------------------------


def test_a_horizon_lasts_two_epochs_once_one_is_over() -> None:
    share = Horizon.parse("10%")
    assert share.steps(150, EPOCH) == 15  # nothing has come again yet
    assert share.steps(EPOCH, EPOCH) == EPOCHS * EPOCH
    assert share.steps(100 * EPOCH, EPOCH) == 10 * EPOCH
    assert Horizon.parse(50).steps(1000, EPOCH) == 50  # who names steps means them
    assert share.steps(1000) == 100


def test_a_look_at_data_that_come_again_spans_whole_epochs() -> None:
    steps = np.arange(2000)
    values = stairs(steps) + 0.01 * np.random.default_rng(0).standard_normal(2000)
    pipeline = Pipeline(DetectOptions(), PolicyOptions())
    pipeline.feed(batch(steps, {"loss": values, "epoch": (steps // EPOCH).astype(float)}))
    trend = pipeline.trend
    assert trend is not None
    assert trend.horizon == EPOCHS * EPOCH
    assert trend.state == "improving"
    assert trend.improvement == pytest.approx(EPOCHS * DROP, rel=0.2)
    without = Pipeline(DetectOptions(), PolicyOptions())
    without.feed(batch(steps, {"loss": values}))
    assert without.trend is not None
    assert without.trend.horizon < EPOCH


def test_a_plateau_is_found_in_epochs_as_well() -> None:
    steps = np.arange(20_000)
    values = 2 + 3 * np.exp(-steps / 500) + 0.02 * np.random.default_rng(1).standard_normal(len(steps))
    pipeline = Pipeline(DetectOptions(), PolicyOptions())
    said = pipeline.feed(batch(steps, {"loss": values, "epoch": (steps // EPOCH).astype(float)}))
    assert [event.kind for event in said if isinstance(event, Finding)] == ["plateau"]


def test_the_budget_of_false_alarms_counts_horizons_of_epochs_that_are_read_again() -> None:
    detector = PlateauDetector("loss", DetectOptions())
    detector.epoch_steps = EPOCH
    steps = np.arange(1000)
    detector.feed(steps.tolist(), stairs(steps).tolist())
    passed = detector.state()["horizons"]
    detector.restart()  # a phase that is known late
    detector.feed(steps[500:].tolist(), stairs(steps[500:]).tolist())
    assert detector.state()["horizons"] == passed
    assert passed > 0


@pytest.mark.slow
@given(st.lists(st.integers(1, 1999), max_size=20), st.booleans())
@settings(max_examples=10, deadline=None)
def test_events_do_not_depend_on_when_the_length_was_read(cuts: list[int], restart: bool) -> None:
    steps = np.arange(2000)
    values = np.maximum(2.0, 4 - steps / 300) + 0.01 * np.random.default_rng(2).standard_normal(2000)
    log = batch(steps, {"loss": values, "epoch": (steps // 50).astype(float)})

    def fresh() -> Pipeline:
        return Pipeline(DetectOptions(), PolicyOptions(mode="suggest"))

    whole = fresh()
    wanted = whole.feed(log)
    assert wanted
    pipeline = fresh()
    said: list[Event] = []
    for piece in cut(log, cuts):
        said += pipeline.feed(piece)
        if restart:
            saved = json.loads(json.dumps(pipeline.state()))
            pipeline = fresh()
            pipeline.restore(saved)
    assert said == wanted
    assert pipeline.state() == whole.state()


def test_the_setting_counts_from_the_beginning() -> None:
    steps = np.arange(1000)
    pipeline = Pipeline(DetectOptions(), PolicyOptions(), run=RunOptions(epoch_steps=EPOCH))
    pipeline.feed(batch(steps, {"loss": stairs(steps)}))
    assert pipeline.trend is not None
    assert pipeline.trend.horizon == EPOCHS * EPOCH
    with pytest.raises(ValueError, match="epoch_steps must be 0 or more"):
        RunOptions(epoch_steps=-1)


# ---- trials -------------------------------------------------------------------------------------------------------------------


def test_what_falls_where_an_epoch_begins_is_nobodys_gain() -> None:
    """Trials that do nothing, begun anywhere in an epoch: what a short one shows depends on whether an epoch begins in it."""
    steps = np.arange(1, 4001)
    noise = 0.001 * np.random.default_rng(3).standard_normal(len(steps))
    curve = curve_of(5 - 2 * np.log(1 + steps // EPOCH) + noise)
    plain = Moment(Plateau(), PolicyOptions(mode="auto"), context={"curve": curve})
    known = plain.knows(epoch_steps=EPOCH)
    short: list[float] = []
    whole: list[float] = []
    for applied_at in range(15 * EPOCH, 16 * EPOCH, 25):
        for found, moment, lasts in ((short, plain, 75), (whole, known, math.ceil(EPOCH / (1 - TRANSIENT)))):
            assert isinstance(moment.strategy, Plateau)
            line = moment.strategy.fitted(applied_at - 1, moment.at())
            assert line is not None
            outcome = measure(line, moment.at(), applied_at, applied_at + lasts, 0.5)
            assert outcome is not None
            found.append(outcome.gain)
    assert np.ptp(short) > 4 * np.ptp(whole)
    assert isinstance(known.strategy, Plateau)
    line = known.strategy.fitted(15 * EPOCH - 1, known.at())
    assert line is not None
    assert (line.step - line.first) / EPOCH == pytest.approx(
        7, abs=0.05
    )  # of the seven and a half in the last half of the steps


def test_no_trial_begins_before_a_run_has_epochs_enough() -> None:
    steps = np.arange(1, 2001)
    flat = curve_of(2 + 3 * np.exp(-steps / 50) + 0.01 * np.random.default_rng(4).standard_normal(len(steps)))
    tries = Moment(Plateau(), PolicyOptions(mode="auto"), context={"curve": flat, "can_try": True})
    assert tries.check(2000)[1] is not None
    assert tries.knows(epoch_steps=50).check(2000)[1] is not None
    assert tries.knows(epoch_steps=400).check(2000)[1] is None  # a trial of an epoch would hold back too much
    assert tries.knows(epoch_steps=3000).check(2000)[1] is not None  # nothing has come again yet
