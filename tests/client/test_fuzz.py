"""Whatever stands in `desired.json`: no exception, no scale out of bounds, and each content is answered or counted."""

from __future__ import annotations

from typing import get_args

import pytest
from support.hostile_commands import KINDS, assault

from lrwatch.protocol import FaultCode, RejectionCode


@pytest.mark.slow
def test_twenty_thousand_hostile_commands_are_answered_or_counted_and_none_leaves_the_bounds() -> None:
    outcomes = assault(20_000, seed=1)
    assert outcomes["", "changes of the scale"] > 500
    kinds = {kind for kind, _ in outcomes if kind}
    assert len(kinds) == len(KINDS)
    found = {outcome for kind, outcome in outcomes if kind}
    assert found <= {*get_args(RejectionCode), *get_args(FaultCode), "pending", "leftover"}
    assert len(found) > 15, found
    assert {outcome for kind, outcome in outcomes if kind in ("prefix", "deep", "huge", "noise")} <= {
        *get_args(FaultCode)
    }
