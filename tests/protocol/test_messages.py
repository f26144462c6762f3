"""Messages that exist are valid."""

from __future__ import annotations

from typing import get_args

import pytest

from lrwatch.protocol import (
    REJECTION_CODES,
    Desired,
    FaultCode,
    Observed,
    ObservedStatus,
    ProtocolError,
    RejectionCode,
    replace,
)
from lrwatch.protocol.messages import STATUSES

OBSERVED = Observed(run="a", incarnation="i1", step=7, scale=0.5, schedule_lr={"0": 0.1}, effective_lr={"0": 0.05})


def test_an_observed_state_has_a_code_exactly_when_it_is_rejected() -> None:
    assert replace(OBSERVED, status="rejected", code="budget").code == "budget"
    with pytest.raises(ProtocolError, match="does not go with"):
        replace(OBSERVED, status="rejected")
    with pytest.raises(ProtocolError, match="does not go with"):
        replace(OBSERVED, status="applied", code="budget")
    with pytest.raises(ProtocolError, match="is none of"):
        replace(OBSERVED, status="fine")  # type: ignore[arg-type]


def test_a_change_is_checked_as_a_new_message_is() -> None:
    desired = Desired(run="a", incarnation="i1", generation=3, token=2, scale=0.5)
    with pytest.raises(ProtocolError) as caught:
        replace(desired, scale=-1.0)
    assert caught.value.code == "out_of_range"
    with pytest.raises(AttributeError, match="cannot be changed"):
        desired.scale = -1.0  # type: ignore[misc]
    assert desired.scale == 0.5


def test_numbers_become_floats_and_mappings_are_copied() -> None:
    rates = {"0": 1}
    observed = Observed(run="", incarnation="i", step=0, scale=1, schedule_lr=rates)
    rates["0"] = 2
    assert type(observed.scale) is float
    assert dict(observed.schedule_lr) == {"0": 1.0}
    assert observed.effective_lr == {}


def test_the_closed_lists_are_types_and_values_at_once() -> None:
    assert get_args(ObservedStatus) == STATUSES
    assert get_args(RejectionCode) == REJECTION_CODES
    assert len(set(REJECTION_CODES)) == len(REJECTION_CODES) > 10
    assert "not_json" in get_args(FaultCode)
