"""The messages: `Desired`, the state that the daemon wants, and `Observed`, the state that the trainer sees.

A message that exists is valid, because its constructor refuses everything else with a `ProtocolError` and a code from a
closed list.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from lrwatch.protocol.lean import Literal, dataclass

ObservedStatus = Literal["hello", "applied", "rejected", "pending", "superseded"]
"""State of the command with number `observed_generation` in the trainer; `hello` before the first."""

RejectionCode = Literal[
    "bad_mac",  # the signature is missing or wrong
    "wrong_run",  # meant for another run
    "wrong_incarnation",  # meant for an earlier or another start of the trainer
    "stale_token",  # a controller with a higher token has been seen
    "stale_generation",  # this command or a newer one was accepted before
    "expired",  # its last step has passed
    "warmup",  # the learning rate is locked while the run warms up
    "budget",  # the run has used up its number of commands
    "too_soon",  # too few steps since the last change
    "out_of_bounds",  # the scale is outside the bounds
    "factor_too_large",  # the change is too big for one command
    "unsupported",  # asks for something that this client cannot do
    "apply_failed",  # the optimizer or the callable did not take it
    "lr_written_in_step",  # the optimizer's step writes its own learning rate
]
"""Reason for which a trainer refuses a command that it could read."""

FaultCode = Literal[
    "too_large", "not_utf8", "not_json", "too_deep", "not_finite", "duplicate_key", "missing", "version", "wrong_type",
    "out_of_range", "not_regular", "linked", "owner", "mode", "key",
]  # fmt: skip
"""Reason for which bytes, a file or the values of a message are not used."""

NotActing = Literal[
    "no_step",  # no attached optimizer steps while the training goes on
    "some_no_step",  # some of the attached optimizers do not step
    "lr_written_in_step",  # the optimizer's step writes its own learning rate
    "no_lr",  # the optimizer has no learning rate that could be scaled, or does not use it
]
"""Reason for which the scale does not act on the training, or not on all of it."""

Goodbye = Literal[
    "close",  # the training closed the client
    "callback",  # the training that the callback belongs to ended
    "exit",  # the interpreter ended
    "released",  # nobody holds the client any more
    "interrupt",  # a person interrupted the training
    "exception",  # an exception ended the training
]
"""Reason for which a trainer says that the training has ended."""

TrainerLife = Literal["running", "ended"]
"""Life of the training as the trainer says."""

STATUSES: tuple[ObservedStatus, ...] = ObservedStatus.__args__  # type: ignore[attr-defined]
NOT_ACTING: tuple[NotActing, ...] = NotActing.__args__  # type: ignore[attr-defined]
GOODBYES: tuple[Goodbye, ...] = Goodbye.__args__  # type: ignore[attr-defined]
TRAINER_LIVES: tuple[TrainerLife, ...] = TrainerLife.__args__  # type: ignore[attr-defined]
REJECTION_CODES: tuple[RejectionCode, ...] = RejectionCode.__args__  # type: ignore[attr-defined]

# A message is under 1 KiB in practice; with the largest number of groups it stays under 48 KiB. More is an accident or an attack.
MAX_BYTES = 64 * 1024
# Integers beyond this are not exact in every JSON reader.
MAX_INT = 2**53 - 1
# Tokens and generations grow by one at a time. One that is further above all that are known is an accident or an attack: believed, the
# last one there is would end control for good.
MAX_AHEAD = 2**20
# Names are used as label values and in terminals.
MAX_NAME = 128
# One or two sentences for people.
MAX_TEXT = 1000
# Enough for layer-wise learning rates of any model seen; keeps a message under `MAX_BYTES`.
MAX_GROUPS = 256
# A group is called by its number, "0", or by optimizer and number, "1.0".
MAX_GROUP_NAME = 32

_INCARNATION = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_HEX = frozenset("0123456789abcdef")
_MAC_LENGTH = 64
_NO_RATES: Mapping[str, float] = MappingProxyType({})


class ProtocolError(ValueError):
    """A message or file that cannot be used: `code` out of the closed list `FaultCode`, and `detail` for people."""

    def __init__(self, code: FaultCode, detail: str) -> None:
        self.code: FaultCode = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")


@dataclass(frozen=True)
class Desired:
    """The state that the daemon wants.

    Attributes:
        run: Name of the run.
        incarnation: Random name of the trainer's start that the command is meant for.
        generation: Number of the command, growing.
        token: Fencing number of the controlling daemon, growing from one controller to the next.
        scale: Absolute multiplier on the schedule's learning rate, finite and > 0.
        groups: Multipliers on top of `scale` for single parameter groups, or None.
        apply_at_step: The first optimizer step that may use the scale, or None for the next.
        not_after_step: The last optimizer step at which the change may begin, or None.
        ramp_steps: Number of optimizer steps over which the scale moves linearly; 0 is at once.
        reload: Continue from the last checkpoint, if the training offers to. The key is left out where this is false, so that
            a client that does not know it can verify the signature.
        reason: A sentence for people.
        actor: Person or program that issued the command.
        prev: Hash of the journal entry before this one.
        mac: HMAC-SHA256 of everything else in hexadecimal digits, or "".

    Raises:
        ProtocolError: A value is of the wrong kind or out of range.
    """

    run: str
    incarnation: str
    generation: int
    token: int
    scale: float
    groups: Mapping[str, float] | None = None
    apply_at_step: int | None = None
    not_after_step: int | None = None
    ramp_steps: int = 0
    reload: bool = False
    reason: str = ""
    actor: str = ""
    prev: str = ""
    mac: str = ""

    def __post_init__(self) -> None:
        _text("run", self.run, MAX_NAME)
        _text("incarnation", self.incarnation, MAX_NAME, least=1, alphabet=_INCARNATION)
        _whole("generation", self.generation, least=1)
        _whole("token", self.token)
        object.__setattr__(self, "scale", _number("scale", self.scale, positive=True))
        if self.groups is not None:
            object.__setattr__(self, "groups", _numbers("groups", self.groups, positive=True))
        for name in ("apply_at_step", "not_after_step"):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name))
        _whole("ramp_steps", self.ramp_steps)
        if not isinstance(self.reload, bool):
            raise ProtocolError("wrong_type", f"reload is true or false, found {type(self.reload).__name__}")
        _text("reason", self.reason, MAX_TEXT)
        _text("actor", self.actor, MAX_NAME)
        _text("prev", self.prev, MAX_NAME)
        _text("mac", self.mac, _MAC_LENGTH, alphabet=_HEX)


@dataclass(frozen=True)
class Observed:
    """The state that the trainer reports.

    Attributes:
        run: Name of the run, "" where the trainer has none.
        incarnation: Random name, drawn at each start and each resume of the trainer.
        resumed_from_step: Step of the checkpoint that the trainer continues from, or None after a fresh start.
        step: Optimizer steps done.
        observed_generation: Number of the command that `status` and `code` refer to; 0 for none.
        status: State of that command.
        code: Reason of the rejection, with status `rejected` only.
        applied_step: First optimizer step that used the scale of the last command that was applied, or a scale of its ramp.
        scale: The multiplier in force, without the factor of a warm start.
        target_scale: The scale at which the ramp that is under way will end, or None without one.
        total_steps: Length of the run in optimizer steps, as the training knows it, or None.
        warm_until: The last optimizer step of the warm start that is under way, or None. Until then `effective_lr` is less than
            `scale` times `schedule_lr`.
        schedule_lr, effective_lr: Parameter group to learning rate of one and the same optimizer step, as the
            schedule gave it and as the optimizer used it; empty where the trainer cannot know.
        limits: Bound to value, named as the arguments of `attach`, and what is used up of them: `commands` so far, and
            `last_change`, the first step of the newest one. Empty from a client that does not tell.
        max_token: Highest token seen.
        max_generation: Highest number of a command that was accepted; 0 from a client that does not tell. A refused one may be lower.
        client: Version of the client, its kind of optimizer, and the errors that it survived, for people.
        life: Whether the training runs or has ended; None where the client does not say.
        goodbye: Why it has ended, with life `ended` only.
        pid, pid_start, machine: The process of the trainer, as `lrwatch.protocol.process.Process` names it; None, None and "" where
            the system does not tell.
        not_acting: Why the scale does not act on the training, or not on all of it; None where it does or nobody can tell.
        two_trainers: Whether another process that runs uses the control directory.

    Raises:
        ProtocolError: A value is of the wrong kind or out of range.
    """

    run: str
    incarnation: str
    step: int
    scale: float
    status: ObservedStatus = "hello"
    code: RejectionCode | None = None
    observed_generation: int = 0
    applied_step: int | None = None
    resumed_from_step: int | None = None
    schedule_lr: Mapping[str, float] = _NO_RATES
    effective_lr: Mapping[str, float] = _NO_RATES
    limits: Mapping[str, float] = _NO_RATES
    max_token: int = 0
    client: str = ""
    target_scale: float | None = None
    total_steps: int | None = None
    warm_until: int | None = None
    life: TrainerLife | None = None
    goodbye: Goodbye | None = None
    pid: int | None = None
    pid_start: int | None = None
    machine: str = ""
    not_acting: NotActing | None = None
    two_trainers: bool = False
    max_generation: int = 0

    def __post_init__(self) -> None:
        _text("run", self.run, MAX_NAME)
        _text("incarnation", self.incarnation, MAX_NAME, least=1, alphabet=_INCARNATION)
        for name in ("resumed_from_step", "applied_step", "total_steps", "warm_until", "pid", "pid_start"):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), least=int(name in ("total_steps", "pid")))
        if self.target_scale is not None:
            object.__setattr__(self, "target_scale", _number("target_scale", self.target_scale, positive=True))
        for name in ("step", "observed_generation", "max_token", "max_generation"):
            _whole(name, getattr(self, name))
        object.__setattr__(self, "scale", _number("scale", self.scale, positive=True))
        if self.status not in STATUSES:
            raise ProtocolError("out_of_range", f"status {self.status!r} is none of {STATUSES}")
        if self.code not in (REJECTION_CODES if self.status == "rejected" else (None,)):
            raise ProtocolError("out_of_range", f"code {self.code!r} does not go with status {self.status!r}")
        for name in ("schedule_lr", "effective_lr", "limits"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        _text("client", self.client, MAX_TEXT)
        if self.life not in (*TRAINER_LIVES, None):
            raise ProtocolError("out_of_range", f"life {self.life!r} is none of {TRAINER_LIVES}")
        if self.goodbye not in (GOODBYES if self.life == "ended" else (None,)):
            raise ProtocolError("out_of_range", f"goodbye {self.goodbye!r} does not go with life {self.life!r}")
        _text("machine", self.machine, MAX_NAME)
        if self.not_acting not in (*NOT_ACTING, None):
            raise ProtocolError("out_of_range", f"not_acting {self.not_acting!r} is none of {NOT_ACTING}")
        if not isinstance(self.two_trainers, bool):
            raise ProtocolError(
                "wrong_type", f"two_trainers is true or false, found {type(self.two_trainers).__name__}"
            )


Message = Desired | Observed


def _text(name: str, value: object, most: int, *, least: int = 0, alphabet: frozenset[str] | None = None) -> None:
    if not isinstance(value, str):
        raise ProtocolError("wrong_type", f"{name} is text, found {type(value).__name__}")
    if not least <= len(value) <= most:
        raise ProtocolError("out_of_range", f"{name} has {least} to {most} characters, found {len(value)}")
    if alphabet is not None and not alphabet.issuperset(value):
        raise ProtocolError("out_of_range", f"{name} holds characters that are not allowed there")
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        raise ProtocolError("out_of_range", f"{name} holds half a character")


def _whole(name: str, value: object, *, least: int = 0) -> None:
    if type(value) is not int:  # True is an int in Python, and no number
        raise ProtocolError("wrong_type", f"{name} is a whole number, found {type(value).__name__}")
    if not least <= value <= MAX_INT:
        raise ProtocolError("out_of_range", f"{name} is {least} to {MAX_INT}")


def _number(name: str, value: object, *, positive: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ProtocolError("wrong_type", f"{name} is a number, found {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        raise ProtocolError("out_of_range", f"{name} is too large") from None
    if not math.isfinite(number):
        raise ProtocolError("not_finite", f"{name} is {number}")
    if positive and number <= 0:
        raise ProtocolError("out_of_range", f"{name} is greater than 0, found {number}")
    return number


def _numbers(name: str, value: object, *, positive: bool = False) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise ProtocolError("wrong_type", f"{name} is an object, found {type(value).__name__}")
    if len(value) > MAX_GROUPS:
        raise ProtocolError("out_of_range", f"{name} has at most {MAX_GROUPS} entries, found {len(value)}")
    for group in value:
        _text(f"a key of {name}", group, MAX_GROUP_NAME, least=1)
    return {group: _number(f"{name}[{group!r}]", number, positive=positive) for group, number in value.items()}
