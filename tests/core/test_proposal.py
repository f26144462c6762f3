"""A proposal is void after its steps, whatever the batches, and is made again while the metric stands there."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from support.batches import batch, cut

from lrwatch.core.events import Command, Event, Expired
from lrwatch.core.options import DetectOptions, Horizon, PolicyOptions
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.proposal import STANDS_FOR, Proposal, expires_at, how_to_approve
from lrwatch.core.sample import Batch

N = 6000


def log() -> Batch:
    """A loss that falls, and stands from step 300 on."""
    rng = np.random.default_rng(0)
    return batch(np.arange(N), {"loss": 2 + 3 * np.exp(-np.arange(N) / 60) + 0.02 * rng.standard_normal(N)})


def play(cuts: list[int], mode: str = "suggest", *, attached: bool = True) -> list[Event]:
    """Everything that is said of the log, cut into batches with a restart after each."""
    options = PolicyOptions(mode=mode)  # type: ignore[arg-type]
    run, events = Pipeline(DetectOptions(), options), list[Event]()
    if attached:
        run.joined(0, 1.0)
    for part in cut(log(), cuts):
        events += run.feed(part)
        saved = json.loads(json.dumps(run.state()))
        run = Pipeline(DetectOptions(), options)
        run.restore(saved)
    return events


@pytest.mark.parametrize("mode", ["suggest", "approve"])
def test_a_proposal_expires_by_its_steps_and_another_follows(mode: str) -> None:
    said = [event for event in play([], mode) if isinstance(event, (Command, Expired))]
    assert len(said) >= 4
    assert [type(event) for event in said[:4]] == [Command, Expired, Command, Expired]
    for command, expired in pairwise(said[:4]):
        if isinstance(command, Command) and isinstance(expired, Expired):
            assert command.expires_at == expired.step == expires_at(command.step, Horizon.parse("10%"))
            assert (expired.scale, expired.proposed_at) == (command.scale, command.step)
            assert expired.step == pytest.approx((1 + 0.1 * STANDS_FOR) * command.step, abs=1)
    assert len(said) < 15, "the number of proposals grows with the logarithm of the steps"


@pytest.mark.slow
def test_how_the_log_is_cut_and_where_the_daemon_restarts_changes_nothing() -> None:
    calm = play([])
    rng = np.random.default_rng(3)
    expired = [event.step for event in calm if isinstance(event, Expired)]
    for extra in ([], [expired[0]], [expired[0] - 1, expired[0] + 1]):
        assert play([*rng.integers(1, N, 15).tolist(), *extra]) == calm


def test_what_is_sent_by_itself_does_not_expire() -> None:
    assert not [event for event in play([], "auto") if isinstance(event, Expired)]
    assert [event for event in play([], "auto", attached=False) if isinstance(event, Expired)]


def test_an_approval_that_comes_late_moves_along_what_is_left_of_the_ramp() -> None:
    line = Proposal(1000, 1500, 0.01, 1.0, "anneal", "the run ends", ramp_steps=400)
    assert [line.steps_left(step) for step in (1000, 1300, 1450)] == [400, 100, 1]
    assert Proposal(1000, 1500, 0.5, 1.0, "plateau", "").steps_left(1200) == 0


def test_what_to_type_is_safe_to_paste() -> None:
    assert how_to_approve("b", 2) == "lrwatch approve b 2"
    assert how_to_approve("a; rm -rf x", 7) == "lrwatch approve 'a; rm -rf x' 7"
