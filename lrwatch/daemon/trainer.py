"""Faults that a trainer reports about itself, as kinds and in words: its learning rate or its commands are not what they seem."""

from __future__ import annotations

from lrwatch.protocol import NOT_ACTING, NotActing, Observed

TRAINER_FAULTS: tuple[str, ...] = (*NOT_ACTING, "two_trainers")
"""Kinds of faults of a trainer."""

_WORDS: dict[NotActing, str] = {
    "no_step": (
        "not acting: the optimizer that is attached does not step while the training goes on, so its learning rate is unknown; "
        "attach the one that steps (it was created again, or is inside another)"
    ),
    "some_no_step": (
        "not acting on all: some of the attached optimizers do not step, so their learning rates are unknown; attach those that step"
    ),
    "lr_written_in_step": (
        "not acting: the optimizer writes its own learning rate in its step and cannot be scaled; attach a callable, or None and "
        "read watch.scale"
    ),
    "no_lr": (
        "not acting: the optimizer has no learning rate in its parameter groups, or does not use it; attach a callable, or None and "
        "read watch.scale"
    ),
}
_TWO = (
    "two trainers: another process that runs uses the control directory, and a command reaches only one of the two; end one of them, "
    "or give each its own directory"
)


def trainer_faults(observed: Observed | None, *, gone: bool, takes_turns: bool = False) -> tuple[str, ...]:
    """Return the kinds of the faults of a trainer, in the order of `TRAINER_FAULTS`.

    Args:
        observed: Its newest report, or None.
        gone: Whether it has ended; then nothing of it holds any more.
        takes_turns: Whether it takes turns with another one that does not notice, as from a machine of its own.
    """
    if observed is None or gone:
        return ()
    found = () if observed.not_acting is None else (observed.not_acting,)
    return (*found, *(("two_trainers",) if observed.two_trainers or takes_turns else ()))


def trainer_problem(observed: Observed | None, *, gone: bool, takes_turns: bool = False) -> str:
    """Return what `trainer_faults` gives as sentences, or ""."""
    if observed is None or gone:
        return ""
    words = [] if observed.not_acting is None else [_WORDS[observed.not_acting]]
    return "; ".join([*words, *([_TWO] if observed.two_trainers or takes_turns else [])])
