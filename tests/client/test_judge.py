"""The decisions of the worker, as a table of states and events."""

from __future__ import annotations

from typing import Any

import pytest

from lrwatch.client.handoff import CommandResult, Resumed
from lrwatch.client.interlock import Limits, ScaleState
from lrwatch.client.judge import (
    LEFTOVER,
    Rules,
    WorkerState,
    answer_override,
    check_reach,
    conclude,
    judge_command,
    judge_override,
    resume,
)
from lrwatch.client.override import Override
from lrwatch.protocol import MAX_AHEAD, Desired, ProtocolError, RejectionCode, replace, sign

KEY = b"0123456789abcdef"
RULES = Rules("a", Limits())
START = WorkerState("i")
BUSY = WorkerState("i", generation=4, max_token=2, answered=4, status="applied", applied_step=7)


def command(scale: float = 0.5, **changes: Any) -> Desired:
    values: dict[str, Any] = {"run": "a", "incarnation": "i", "generation": 5, "token": 2, "scale": scale}
    return Desired(**(values | changes))


def override(scale: float = 0.5) -> Override:
    return Override(run="a", incarnation="i", generation=1, token=2, scale=scale)


def judged(state: WorkerState, desired: Desired, *, rules: Rules = RULES, first_look: bool = False) -> Any:
    return judge_command(state, desired, rules=rules, step=10, scale_state=ScaleState(), first_look=first_look)


def test_an_accepted_command_is_the_order_and_pends() -> None:
    desired = command(token=3)
    decision = judged(BUSY, desired)
    assert decision.refusal == ""
    assert decision.state == replace(
        BUSY, generation=5, answered=5, status="pending", max_token=3, order=desired, code=None
    )


@pytest.mark.parametrize(
    ("changes", "code", "max_token"),
    [
        ({"run": "b", "token": 9}, "wrong_run", 2),
        ({"incarnation": "j", "token": 9}, "wrong_incarnation", 2),
        ({"token": 1}, "stale_token", 2),
        ({"generation": 4, "token": 9}, "stale_generation", 9),
        ({"scale": 2.0, "token": 9}, "out_of_bounds", 9),
        ({"scale": 0.05}, "factor_too_large", 2),
        ({"not_after_step": 10}, "expired", 2),
        ({"groups": {"0": 0.5}}, "unsupported", 2),
    ],
)
def test_a_refusal_is_answered_and_only_a_command_for_this_start_raises_the_token(
    changes: dict[str, Any], code: RejectionCode, max_token: int
) -> None:
    desired = command(**changes)
    decision = judged(BUSY, desired)
    assert decision.refusal == code
    assert decision.state == replace(
        BUSY, answered=desired.generation, status="rejected", code=code, max_token=max_token
    )


def test_a_command_expires_at_the_step_from_which_it_would_count() -> None:
    assert judged(START, command(not_after_step=11)).refusal == ""
    assert judged(START, command(not_after_step=11, apply_at_step=12)).refusal == "expired"


@pytest.mark.parametrize("first_look", [True, False])
def test_only_the_first_look_takes_a_command_of_another_start_for_a_leftover(first_look: bool) -> None:
    decision = judged(BUSY, command(incarnation="j"), first_look=first_look)
    assert decision.refusal == (LEFTOVER if first_look else "wrong_incarnation")
    assert (decision.state is BUSY) == first_look
    assert judged(BUSY, command(run="b"), first_look=True).refusal == "wrong_run"
    assert judged(BUSY, command(), first_look=True).refusal == ""


def test_with_a_key_the_signature_is_checked_first() -> None:
    rules = Rules("a", Limits(), KEY)
    assert judged(START, sign(command(), KEY), rules=rules).refusal == ""
    for forged in (command(), sign(command(), KEY * 2), replace(sign(command(), KEY), scale=0.25)):
        assert judged(START, forged, rules=rules).refusal == "bad_mac"
    assert judged(START, command(incarnation="j"), rules=rules, first_look=True).refusal == "bad_mac"


@pytest.mark.parametrize(("field", "known"), [("token", BUSY.max_token), ("generation", BUSY.answered)])
def test_a_number_is_believed_up_to_a_distance_that_a_daemon_can_have_come(field: str, known: int) -> None:
    check_reach(BUSY, command(**{field: known + MAX_AHEAD}))
    with pytest.raises(ProtocolError, match=field):
        check_reach(BUSY, command(**{field: known + MAX_AHEAD + 1}))


@pytest.mark.parametrize(
    ("content", "rate", "refusal", "scale"),
    [
        (b"0.5x", 0.0, "", 0.5),
        (b"0.5x", 0.1, "", 0.5),
        (b"0.05", 0.1, "", 0.5),
        (b"0.05", 0.0, "unsupported", None),
        (b"5x", 0.1, "out_of_bounds", None),
        (b"1e300", 1e-300, "out_of_bounds", None),  # the ratio is no number
        (b"0.05x", 0.1, "factor_too_large", None),
        (b"half", 0.1, "invalid", None),
    ],
)
def test_an_override_passes_the_bounds_of_a_command(
    content: bytes, rate: float, refusal: str, scale: float | None
) -> None:
    decision = judge_override(BUSY, content, rules=RULES, step=10, scale_state=ScaleState(), rate=rate)
    assert decision.refusal == refusal
    assert decision.state.override == (refusal or "pending")
    assert replace(decision.state, override="", order=None) == BUSY
    order = decision.state.order
    assert (None if order is None else order.scale) == scale
    assert not (decision.detail and order), "there is nothing to say of one that is accepted"
    if order is not None:
        assert isinstance(order, Override)
        assert (order.generation, order.token, order.incarnation) == (1, BUSY.max_token, "i")


@pytest.mark.parametrize(
    ("content", "refusal", "said"),
    [
        (b"half", "invalid", ["3e-4", "0.5x"]),  # what the file may hold
        (b"0.05", "unsupported", ["rate is unknown", "0.5x"]),  # what works without the rate
        (b"0.05x", "factor_too_large", ["0.05"]),  # what was asked for
    ],
)
def test_the_refusal_of_an_override_says_what_was_found_or_what_to_write(
    content: bytes, refusal: str, said: list[str]
) -> None:
    decision = judge_override(BUSY, content, rules=RULES, step=10, scale_state=ScaleState(), rate=0.0)
    assert decision.refusal == refusal
    assert [words for words in said if words not in decision.detail] == []


@pytest.mark.parametrize(("warmup", "refusal"), [(10, ""), (11, "warmup")])
def test_an_override_counts_from_the_next_step_on_under_the_newest_number(warmup: int, refusal: str) -> None:
    rules = Rules("a", Limits(warmup_steps=warmup))
    decision = judge_override(BUSY, b"0.5x", rules=rules, step=10, scale_state=ScaleState(generation=4), rate=0.0)
    assert decision.refusal == refusal
    order = decision.state.order
    assert (None if order is None else (order.generation, order.actor, order.run)) == (
        None if refusal else (4, "override_file", "a")
    )


def test_the_newer_of_command_and_override_supersedes_the_older_one_that_pends() -> None:
    pending = judged(BUSY, command()).state
    after = judge_override(pending, b"0.4x", rules=RULES, step=10, scale_state=ScaleState(), rate=0.0).state
    assert (after.status, after.code, after.answered, after.override) == ("superseded", None, 5, "pending")
    again = judged(after, command(generation=6)).state
    assert (again.status, again.answered, again.override) == ("pending", 6, "superseded")
    refused = judged(after, command(5.0, generation=6)).state
    assert (refused.override, refused.order) == ("pending", after.order)
    applied = replace(after, override="applied")
    assert judged(applied, command(generation=6)).state.override == "applied"


@pytest.mark.parametrize(
    ("result", "changes", "refusal"),
    [
        (CommandResult(command(), "applied", step=12), {"status": "applied", "applied_step": 12}, ""),
        (CommandResult(command(), "rejected", "expired"), {"status": "rejected", "code": "expired"}, "expired"),
        (CommandResult(command(generation=4), "applied", step=12), {"applied_step": 12}, ""),  # answered before
        (CommandResult(command(generation=4), "rejected", "expired"), {}, "expired"),
        (CommandResult(override(), "applied", step=12), {"override": "applied", "applied_step": 12}, ""),
        (CommandResult(override(), "rejected", "budget"), {"override": "budget"}, "budget"),
    ],
)
def test_a_result_of_the_training_thread_changes_the_answer_to_its_own_command_only(
    result: CommandResult, changes: dict[str, Any], refusal: str
) -> None:
    pending = judged(BUSY, command()).state
    decision = conclude(pending, result)
    assert decision.state == replace(pending, **changes)
    assert decision.state is not pending, "it is published in any case"
    assert decision.refusal == refusal


@pytest.mark.parametrize(("before", "after"), [("pending", "superseded"), ("applied", "applied"), ("", "")])
def test_a_resume_says_hello_under_the_new_name_and_never_lowers_the_token(before: str, after: str) -> None:
    state = replace(judged(BUSY, command()).state, override=before, status="rejected", code="expired")
    resumed = resume(state, Resumed("k", step=3, generation=2, max_token=1, warm_until=9))
    assert resumed == WorkerState(
        "k", 3, generation=2, max_token=2, answered=2, order=state.order, override=after, warm_until=9
    )
    assert resume(state, Resumed("k", step=3, generation=2, max_token=8)).max_token == 8
    assert judged(resumed, command(generation=3)).refusal == "wrong_incarnation"
    assert judged(resumed, command(generation=3, incarnation="k")).refusal == ""


@pytest.mark.parametrize(("answer", "refusal"), [("pending", ""), ("applied", ""), ("unreadable", "unreadable")])
def test_an_answer_to_the_override_file_is_published_and_mostly_a_refusal(answer: str, refusal: str) -> None:
    decision = answer_override(START, answer, "Why.")
    assert (decision.state, decision.refusal, decision.detail) == (replace(START, override=answer), refusal, "Why.")
