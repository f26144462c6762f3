"""The loss of averaged weights beside the watched one: what it says does not depend on how it came, and decides instead of a trial."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import batch, cut, restarted
from support.strategies import Moment, curve_of

from lrwatch.core.averaged_loss import KEPT, MIN_PAIRS, AveragedLoss, LossDifference
from lrwatch.core.options import DetectOptions, PolicyOptions
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.sample import Batch
from lrwatch.core.stats.log_line import fit
from lrwatch.core.strategies.anneal import DECLINE, LONGEST_SHARE, RHO, SLOWED, Anneal
from lrwatch.core.strategies.plateau import Plateau

N = 400
AUTO = PolicyOptions(mode="auto")


def losses(n: int = N, every: int = 10) -> dict[str, np.ndarray]:
    """Columns of a run that evaluates every tenth step: the average is better by a tenth."""
    rng = np.random.default_rng(0)
    loss = 2 + 3 / np.sqrt(np.arange(1, n + 1)) + 0.05 * rng.standard_normal(n)
    averaged = np.where(np.arange(n) % every == 0, 0.9 * loss, -1.0)
    return {"loss": loss, "averaged_loss": averaged}


RUN = batch(np.arange(N), losses(), absent=-1.0)


def fed(pieces: list[Batch], *, restart: bool = False) -> Pipeline:
    run = Pipeline(DetectOptions(), AUTO)
    for piece in pieces:
        run.feed(piece)
        if restart:
            run = restarted(run)
    return run


def test_the_differences_are_taken_where_both_losses_are_there() -> None:
    told = fed([RUN]).policy.averaged.excess(200, N)
    assert told is not None
    loss = losses()["loss"][200::10]
    assert told[0] == pytest.approx(0.1 * loss.mean())
    assert told[1] == pytest.approx(0.1 * loss.std(ddof=1) / np.sqrt(len(loss)))
    assert fed([RUN.part(0, 30)]).policy.averaged.excess(0, 30) is None, f"fewer than {MIN_PAIRS}"


@pytest.mark.slow
@given(st.lists(st.integers(1, N - 1), max_size=20), st.booleans())
@settings(max_examples=15, deadline=None)
def test_how_the_log_is_cut_and_where_lrwatch_is_restarted_changes_nothing(cuts: list[int], restart: bool) -> None:
    assert fed(cut(RUN, cuts), restart=restart).state()["averaged"] == fed([RUN]).state()["averaged"]


@pytest.mark.parametrize("heard_at", [205, 260, 399])
def test_when_the_acknowledgement_arrives_changes_nothing(heard_at: int) -> None:
    """The scale is in use from step 205 on, whenever the trainer says so."""
    run = Pipeline(DetectOptions(), AUTO)
    run.attached = True
    run.feed(RUN.part(0, 200))
    run.ask(0.5)
    run.feed(RUN.part(200, heard_at))
    run.acknowledged(205, 0.5)
    run.feed(RUN.part(heard_at, N))
    assert run.state()["averaged"]["known"] == fed([RUN]).state()["averaged"]["known"]


def test_a_resume_replaces_what_came_after_its_step_and_the_oldest_go() -> None:
    averaged = AveragedLoss()
    for step in range(2 * KEPT):
        averaged.add(LossDifference(step, 1.0))
    assert averaged.excess(0, KEPT) is None
    for step in range(2 * KEPT - 10, 2 * KEPT):
        averaged.add(LossDifference(step, 3.0))
    assert averaged.excess(2 * KEPT - 20, 2 * KEPT) == pytest.approx((2.0, 1.026 / np.sqrt(20)), rel=0.01)


# ---- what strategies make of it --------------------------------------------------------------------------------------

FLAT = curve_of(2 + 0.01 * np.random.default_rng(1).standard_normal(2000) + 3 / np.arange(1, 2001))
TOTAL = 4000


def moment(strategy: Plateau, values: tuple[float, ...], **context: object) -> Moment:
    averaged = AveragedLoss()
    for step, value in zip(range(1100, 2000, 100), values, strict=False):
        averaged.add(LossDifference(step, value))
    return Moment(
        strategy, AUTO, context={"curve": FLAT, "can_try": True, "may_anneal": True, "averaged": averaged, **context}
    )


BETTER = (0.19, 0.21, 0.2, 0.2, 0.21, 0.19)
WORSE = tuple(-value for value in BETTER)


def test_plateau_tries_what_the_average_promises_and_nothing_that_it_excludes() -> None:
    assert moment(Plateau(), ()).check(2000)[1] is not None, "flat, so it is tried"
    _, command = moment(Plateau(), BETTER).check(2000)
    assert command is not None
    assert command.reason.startswith(
        "the averaged weights are better by 9.99 % \u00b1 0.18 %, which is more than a cut costs"
    )
    assert command.cause == "probe", "it is a trial all the same"
    assert moment(Plateau(), WORSE).check(2000)[1] is None


def test_anneal_asks_the_average_instead_of_a_trial() -> None:
    known = {"total_steps": TOTAL}
    assert Anneal().may_try(1990, moment(Anneal(), (), **known).at())
    told = moment(Anneal(), BETTER, **known)
    assert not Anneal().may_try(1990, told.at())
    line = fit(FLAT, 1000, 2001)
    assert line is not None
    shares = [
        Anneal().share(line._replace(gain=1e-9, gain_variance=0.0), moment(Anneal(), one, **known).at())
        for one in ((), BETTER, WORSE)
    ]
    assert shares == [SLOWED, LONGEST_SHARE, 0.0]
    _, command = told.check(2000)
    assert command is not None
    assert "the averaged weights are better by" in command.reason
    assert command.cause == "anneal"


@pytest.mark.parametrize(
    ("values", "gain", "error", "reason"),
    [
        (BETTER, 0.25, 0.0, "the averaged weights are better by 10.00 %"),
        (BETTER, 0.32, 0.0, ""),  # less than a cut costs
        (BETTER, 0.25, 0.1, ""),  # the gain is hardly known, and too large for a plateau
        ((0.7, -0.3, 0.7, -0.3), 0.0, 0.0, "the run has slowed down"),  # the differences are hardly known
    ],
)
def test_the_average_decides_where_it_is_surely_more_or_less_than_a_cut_costs(
    values: tuple[float, ...], gain: float, error: float, reason: str
) -> None:
    line = fit(FLAT, 1000, 2001)
    assert line is not None
    line = line._replace(level=2.0, gain=gain, gain_variance=error**2)
    begins = Plateau().begins(line, 2000, moment(Plateau(), values).at())
    assert begins.startswith(reason)
    assert bool(begins) is bool(reason)


def test_the_differences_count_since_half_of_the_steps_up_to_this_one_for_less_is_better() -> None:
    averaged = AveragedLoss()
    for step in (499, 500, 600, 700, 800, 900, 1000, 1001):
        averaged.add(LossDifference(step, {499: 9.0, 1001: 9.0, 1000: 0.3}.get(step, 0.2)))
    at = moment(Plateau(), (), averaged=averaged, sign=-1.0).at()
    told = Plateau().averaged_excess(1000, at)
    assert told is not None
    assert told[0] == pytest.approx(-(5 * 0.2 + 0.3) / 6)
    later = Plateau(since=700.0).averaged_excess(1000, at)
    assert later is not None
    assert later == pytest.approx((-(3 * 0.2 + 0.3) / 4, 0.1 / 4))


def test_the_share_of_the_line_is_by_the_excess_of_the_average_relative_to_the_level() -> None:
    """Known to a tenth of a percent of the level 2, so that the guess of 10 % hardly counts."""
    line = fit(FLAT, 1000, 2001)
    assert line is not None
    line = line._replace(level=2.0, gain=0.5, gain_variance=0.0)
    told = moment(Anneal(), tuple(value / 2 for value in BETTER), total_steps=TOTAL)
    share = Anneal().share(line, told.at())
    assert share == pytest.approx(RHO * 0.1 / (0.5 * (2001 / TOTAL) ** DECLINE), rel=0.01)
    _, command = told.check(2000)
    assert command is not None
    assert "(the averaged weights are better by 4.994 % \u00b1 0.091 %)" in command.reason


def test_the_share_of_the_line_is_by_what_the_average_says_up_to_its_last_step() -> None:
    line = fit(FLAT, 1000, 2001)
    assert line is not None
    line = line._replace(level=2.0, gain=0.5, gain_variance=0.0)
    shares = []
    for further in ((), (2000,), (2000, 2001)):
        averaged = AveragedLoss()
        for step in (1600, 1700, 1800, 1900, *further):
            averaged.add(LossDifference(step, 0.2 if step == 2000 else 0.1))
        shares.append(Anneal().share(line, moment(Anneal(), (), averaged=averaged, total_steps=TOTAL).at()))
    assert shares[0] < shares[1] == shares[2]
