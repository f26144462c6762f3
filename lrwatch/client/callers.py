"""What called the step of an optimizer, read off the stack."""

from __future__ import annotations

from lrwatch.protocol.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

# Functions that make the state of an optimizer by a step at rate 0 with gradients of 0, of torch.distributed.checkpoint and its kin.
_HELPERS = ("_init_optim_state", "init_optim_state", "_init_optimizer_state", "init_optimizer_state")
# The file through which torch calls what it has compiled.
_COMPILER = "torch/_dynamo/eval_frame.py"
# Callers among which a helper is looked for.
_CALLERS = 8


def is_helper(frame: FrameType | None) -> bool:
    """Return whether a helper of a checkpoint made this step, which trains nothing."""
    for _ in range(_CALLERS):
        if frame is None:
            break
        if frame.f_code.co_name in _HELPERS:
            return True
        frame = frame.f_back
    return False


def is_compiled(frame: FrameType | None) -> bool:
    """Return whether `torch.compile` made a caller, and so may make what this step calls."""
    while frame is not None:
        if frame.f_code.co_filename.endswith(_COMPILER):
            return True
        frame = frame.f_back
    return False


def is_within(frame: FrameType, optimizer: object) -> bool:
    """Return whether a step of this optimizer is under way in a caller; the hooks of one that raised may not have heard of its end.

    Args:
        frame: Frame of torch's wrapper of `step`, which called the hook.
        optimizer: The optimizer.
    """
    code, caller = frame.f_code, frame.f_back
    while caller is not None:
        if caller.f_code is code and caller.f_locals.get("self") is optimizer:
            return True
        caller = caller.f_back
    return False
