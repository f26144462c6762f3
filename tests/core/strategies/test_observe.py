"""Observe: it answers no signal, and what every strategy knows of epochs."""

from __future__ import annotations

import numpy as np
import pytest
from support.strategies import Moment, curve_of

from lrwatch.core.command import CommandState
from lrwatch.core.events import Effect, Finding
from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies.base import NEVER, StrategyDecision
from lrwatch.core.strategies.observe import Observe

FRESH = Moment(Observe(), PolicyOptions(mode="auto"), context={"can_try": True, "may_anneal": True})


def test_it_answers_nothing() -> None:
    observe, context = Observe(), FRESH.at()
    nothing = StrategyDecision(observe)
    effect = Effect(step=100, scale=0.5, gain=-0.5, lower=-0.6, upper=-0.4, message="")
    assert observe.tick(100, float("nan"), context) == nothing
    assert observe.check(100, context) == nothing
    assert observe.found(Finding("divergence", "loss", 100, {}, ""), context, watched=True) == nothing
    assert observe.measured(effect, 1.0, context) == (observe, None, 0.0)
    assert observe.threshold(context) == NEVER
    assert not observe.acts_between_looks(context)
    assert not observe.acts_at_checks(CommandState(), can_try=True, attached=True)


@pytest.mark.parametrize(("step", "expected"), [(100, 0), (109, 0), (110, 100), (1000, 100)])
def test_epochs_count_once_one_is_over(step: int, expected: int) -> None:
    curve = curve_of(np.ones(10), np.arange(10, 20))
    assert FRESH.knows(curve=curve, epoch_steps=100).at().epoch_at(step) == expected
    assert FRESH.knows(curve=curve).at().epoch_at(step) == 0
