"""Decisions of the worker about commands and overrides, as pure functions: no thread, no file, no clock.

`WorkerState` is everything that this start of the trainer has accepted and answered. Each event takes it to the next one, and
`observed.json` publishes it:

=======================================  ================  ==========================================================
event                                    function          next state
=======================================  ================  ==========================================================
a command in `desired.json`              `judge_command`   `pending`; `rejected` with a code; unchanged for a leftover
a content of the override file           `judge_override`  override `pending`, or the reason of its refusal
the result of either in the training     `conclude`        `applied`; `rejected` with a code
a checkpoint was loaded                  `resume`          `hello`, under a new incarnation
=======================================  ================  ==========================================================

A newer command supersedes a pending override and the other way round. The training thread checks a command a second time
when its step has come, with `lrwatch.client.interlock` as here.
"""

from __future__ import annotations

from lrwatch.client.handoff import CommandResult, Resumed
from lrwatch.client.interlock import Limits, ScaleState, forbidden, misaddressed
from lrwatch.client.override import Override, read_override
from lrwatch.protocol import MAX_AHEAD, Desired, ObservedStatus, ProtocolError, RejectionCode, replace, verify
from lrwatch.protocol.lean import dataclass

LEFTOVER = "leftover"
"""Refusal of a command or an override that an earlier start of the trainer left behind."""


@dataclass(frozen=True)
class Rules:
    """The fixed part of every decision.

    Attributes:
        run: Name of the run, "" for any.
        limits: The bounds.
        key: Key that every command must be signed with, or None.
    """

    run: str
    limits: Limits
    key: bytes | None = None


@dataclass(frozen=True)
class WorkerState:
    """The commands of this start of the trainer.

    Attributes:
        incarnation: Name of this start, or of the newest resume.
        resumed_from_step: Step of the checkpoint that the training continues from, or None.
        generation: Number of the last command that was accepted.
        max_token: Highest token seen.
        answered: Number of the command that `status` and `code` refer to.
        status: Status of that command.
        code: Reason of its rejection, or None.
        applied_step: First optimizer step at the last applied scale, or None.
        order: The newest command or override that was accepted, or None.
        override: Status of the override file, or the reason of its refusal; "" without one.
        warm_until: The last optimizer step of the warm start that is under way, or None.
    """

    incarnation: str
    resumed_from_step: int | None = None
    generation: int = 0
    max_token: int = 0
    answered: int = 0
    status: ObservedStatus = "hello"
    code: RejectionCode | None = None
    applied_step: int | None = None
    order: Desired | None = None
    override: str = ""
    warm_until: int | None = None


@dataclass(frozen=True)
class Decision:
    """Decision about one event.

    Attributes:
        state: The next state.
        refusal: Reason of the refusal, or "".
        detail: A sentence about the refusal for people, or "".
    """

    state: WorkerState
    refusal: str = ""
    detail: str = ""


def judge_command(
    state: WorkerState, desired: Desired, *, rules: Rules, step: int, scale_state: ScaleState, first_look: bool
) -> Decision:
    """Accept or refuse a command.

    Args:
        state: The state before.
        desired: The command.
        rules: Run, bounds and key.
        step: Optimizer steps done.
        scale_state: State of the training thread.
        first_look: The command was found by the first look since the start or resume. If it is meant for another incarnation it
            is a leftover of the run before: the daemon sends a new one after the hello.

    Returns:
        The decision. `refusal` is a `RejectionCode` or `LEFTOVER`.
    """
    if rules.key is not None and not verify(desired, rules.key):
        return _reject(state, desired, "bad_mac")
    code = misaddressed(
        desired,
        run=rules.run,
        incarnation=state.incarnation,
        generation=state.generation,
        max_token=state.max_token,
    )
    if code == "wrong_incarnation" and first_look:
        return Decision(state, LEFTOVER)
    if code not in ("wrong_run", "wrong_incarnation"):
        state = replace(state, max_token=max(state.max_token, desired.token))
    first_step = max(step + 1, desired.apply_at_step or 0)
    code = code or forbidden(desired, step=first_step, scale_state=scale_state, limits=rules.limits)
    if code is not None:
        return _reject(state, desired, code)
    if isinstance(state.order, Override):
        state = _supersede_override(state)
    state = replace(state, generation=desired.generation, order=desired)
    return Decision(_answer(state, desired, "pending"))


def check_reach(state: WorkerState, desired: Desired) -> None:
    """Check that token and number of a command are such as a daemon can have come to.

    Args:
        state: The state before.
        desired: The command.

    Raises:
        ProtocolError: One is so far above those that are known that to believe it would let no daemon command any more.
    """
    for name, value, known in (
        ("token", desired.token, state.max_token),
        ("generation", desired.generation, max(state.generation, state.answered)),
    ):
        if value > known + MAX_AHEAD:
            raise ProtocolError(
                "out_of_range", f"{name} {value} is more than {MAX_AHEAD} above {known}, the last one known"
            )


def judge_override(
    state: WorkerState, content: bytes, *, rules: Rules, step: int, scale_state: ScaleState, rate: float
) -> Decision:
    """Accept or refuse what a person wrote into the override file, by the bounds that hold for commands.

    Args:
        state: The state before.
        content: Content of the file.
        rules: Run and bounds.
        step: Optimizer steps done.
        scale_state: State of the training thread.
        rate: Learning rate of the first parameter group as the schedule gives it; 0 where it is unknown.

    Returns:
        The decision. `refusal` is a `RejectionCode` or `invalid`.
    """
    wanted = read_override(content)
    if wanted is None:
        detail = "The override file holds one number: 3e-4 is a learning rate, 0.5x a multiplier."
        return answer_override(state, "invalid", detail)
    if wanted.is_rate and not rate > 0:
        detail = "The schedule's learning rate is unknown; write a multiplier, such as 0.5x."
        return answer_override(state, "unsupported", detail)
    scale = wanted.number / rate if wanted.is_rate else wanted.number
    try:
        desired = Override(
            run=rules.run, incarnation=state.incarnation, generation=max(scale_state.generation, 1),
            token=state.max_token, scale=scale, actor="override_file",
        )  # fmt: skip
    except ProtocolError:  # a rate so far from the schedule's that their ratio is no number
        return answer_override(state, "out_of_bounds")
    code = forbidden(desired, step=step + 1, scale_state=scale_state, limits=rules.limits)
    if code is not None:
        return answer_override(state, code, f"Requested scale: {scale:g}.")
    if state.status == "pending":  # its sender hears that it was replaced
        state = replace(state, status="superseded")
    return answer_override(replace(state, order=desired), "pending")


def answer_override(state: WorkerState, answer: str, detail: str = "") -> Decision:
    """Publish `answer` for the override file; every answer but `pending` and `applied` is a refusal."""
    refusal = "" if answer in ("pending", "applied") else answer
    return Decision(replace(state, override=answer), refusal, detail)


def conclude(state: WorkerState, result: CommandResult) -> Decision:
    """Take over the result of a command or override in the training thread."""
    desired, code = result.desired, result.code
    state = replace(state, applied_step=result.step if result.status == "applied" else state.applied_step)
    if isinstance(desired, Override):
        return answer_override(state, code or result.status)
    if desired.generation == state.answered:  # else a newer command has been answered meanwhile
        state = _answer(state, desired, result.status, code)
    return Decision(state, code or "")


def resume(state: WorkerState, resumed: Resumed) -> WorkerState:
    """Return the state after a checkpoint was loaded: commands for the incarnation before no longer count."""
    return replace(
        _supersede_override(state),
        incarnation=resumed.incarnation,
        resumed_from_step=resumed.step,
        generation=resumed.generation,
        answered=resumed.generation,
        max_token=max(state.max_token, resumed.max_token),
        status="hello",
        code=None,
        applied_step=None,
        warm_until=resumed.warm_until,
    )


def _answer(
    state: WorkerState, desired: Desired, status: ObservedStatus, code: RejectionCode | None = None
) -> WorkerState:
    return replace(state, answered=desired.generation, status=status, code=code)


def _reject(state: WorkerState, desired: Desired, code: RejectionCode) -> Decision:
    return Decision(_answer(state, desired, "rejected", code), code)


def _supersede_override(state: WorkerState) -> WorkerState:
    return replace(state, override="superseded") if state.override == "pending" else state
