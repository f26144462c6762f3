"""What daemon and trainer agree on: two small files in the run's control directory.

`desired.json` is written by the daemon and says which scale the learning rate shall have; `observed.json` is written by
the trainer and says what it made of that. Both are level-triggered: a file states what *is* wanted or seen, never a
change to make, so a repeated, lost or re-read file does no harm.

A `Desired` or `Observed` that exists is valid: the constructor refuses everything else, and `decode_desired` and
`decode_observed` build them from bytes that nobody vouches for. Files are published by rename and read with the
checks that a hostile neighbour makes necessary. Standard library only, because the training process imports this.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar, cast, get_args

VERSION = 1
"""Version of the format; a reader refuses a higher one."""

DESIRED_NAME = "desired.json"
OBSERVED_NAME = "observed.json"
METRICS_NAME = "metrics.jsonl"
EVIDENCE_NAME = "desired.{code}.rejected"
"""The newest command that was refused with a code, byte for byte; the list of codes is closed, so these files are few."""

Status = Literal["hello", "applied", "rejected", "pending", "superseded"]
"""What the trainer made of the command with number `observed_generation`; `hello` before the first."""

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
]
"""Why a trainer refuses a command that it could read."""

FaultCode = Literal[
    "too_large", "not_utf8", "not_json", "too_deep", "not_finite", "duplicate_key", "missing", "version", "wrong_type",
    "out_of_range", "not_regular", "linked", "owner", "mode", "key",
]  # fmt: skip
"""Why bytes, a file or the values of a message are not to be used."""

# A message is under 1 KiB in practice; with the largest number of groups it stays under 48 KiB. More is an accident or an attack.
MAX_BYTES = 64 * 1024
# Integers beyond this are not exact in every JSON reader.
MAX_INT = 2**53 - 1
# Names are used as label values and in terminals.
MAX_NAME = 128
# One or two sentences for people.
MAX_TEXT = 1000
# Enough for layer-wise learning rates of any model seen; keeps a message under `MAX_BYTES`.
MAX_GROUPS = 256
# A group is called by its number, "0", or by optimizer and number, "1.0".
MAX_GROUP_NAME = 32
# HMAC-SHA256 with a shorter key could be guessed.
MIN_KEY_BYTES = 16

_INCARNATION = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_HEX = frozenset("0123456789abcdef")
_MAC_LENGTH = 64


class ProtocolError(ValueError):
    """A message or file that cannot be used: `code` out of the closed list `FaultCode`, and `detail` for people."""

    def __init__(self, code: FaultCode, detail: str) -> None:
        self.code: FaultCode = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")


@dataclass(frozen=True, slots=True)
class Desired:
    """The state that the daemon wants.

    Attributes:
        run: Name of the run.
        incarnation: The start of the trainer that this is meant for, as the trainer drew it.
        generation: Number of this command, growing.
        token: Fencing number of the controlling daemon, growing from one controller to the next.
        scale: Absolute multiplier on the schedule's learning rate, finite and > 0.
        groups: Multipliers on top of `scale` for single parameter groups, or None.
        apply_at_step: The first optimizer step that may use the scale, or None for the next.
        not_after_step: The last optimizer step at which the change may begin, or None.
        ramp_steps: Number of optimizer steps over which the scale moves there linearly; 0 is at once.
        reload: Go on from the last checkpoint, if the training offered to; the key is left out where this is false, so that
            clients that do not know it verify what they always did.
        reason: A sentence for people. actor: Who asked.
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


@dataclass(frozen=True, slots=True)
class Observed:
    """The state that the trainer sees.

    Attributes:
        run: Name of the run, "" where the trainer was not told.
        incarnation: Drawn at random at each start and each resume of the trainer.
        resumed_from_step: Step of the checkpoint that the trainer goes on from, or None after a fresh start.
        step: Optimizer steps done.
        observed_generation: Number of the command that `status` and `code` speak of; 0 for none.
        status: What became of it. code: Why it was rejected, only then.
        applied_step: First optimizer step at the wanted scale, for the last command that was applied.
        scale: The multiplier in force.
        schedule_lr, effective_lr: Parameter group to learning rate of one and the same optimizer step, as the
            schedule gave it and as the optimizer used it; empty where the trainer cannot know.
        max_token: Highest token seen.
        client: Version of the client, its kind of optimizer, and what it survived, for people.

    Raises:
        ProtocolError: A value is of the wrong kind or out of range.
    """

    run: str
    incarnation: str
    step: int
    scale: float
    status: Status = "hello"
    code: RejectionCode | None = None
    observed_generation: int = 0
    applied_step: int | None = None
    resumed_from_step: int | None = None
    schedule_lr: Mapping[str, float] = field(default_factory=dict)
    effective_lr: Mapping[str, float] = field(default_factory=dict)
    max_token: int = 0
    client: str = ""

    def __post_init__(self) -> None:
        _text("run", self.run, MAX_NAME)
        _text("incarnation", self.incarnation, MAX_NAME, least=1, alphabet=_INCARNATION)
        for name in ("resumed_from_step", "applied_step"):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name))
        for name in ("step", "observed_generation", "max_token"):
            _whole(name, getattr(self, name))
        object.__setattr__(self, "scale", _number("scale", self.scale, positive=True))
        if self.status not in get_args(Status):
            raise ProtocolError("out_of_range", f"status {self.status!r} is none of {get_args(Status)}")
        if self.code not in (get_args(RejectionCode) if self.status == "rejected" else (None,)):
            raise ProtocolError("out_of_range", f"code {self.code!r} does not go with status {self.status!r}")
        for name in ("schedule_lr", "effective_lr"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        _text("client", self.client, MAX_TEXT)


Message = Desired | Observed
_M = TypeVar("_M", Desired, Observed)


def encode(message: Message) -> bytes:
    """The message in canonical JSON: sorted keys, no spaces, ASCII, one newline at the end.

    Raises:
        ProtocolError: It is larger than `MAX_BYTES`.
    """
    data = _canonical(message)
    if len(data) > MAX_BYTES:
        raise ProtocolError("too_large", f"a message of {len(data)} bytes, at most {MAX_BYTES} are allowed")
    return data


def decode_desired(data: bytes) -> Desired:
    """The wanted state that `data` holds; keys that this version does not know are left out.

    Raises:
        ProtocolError: Anything else.
    """
    return _decode(data, Desired)


def decode_observed(data: bytes) -> Observed:
    """The observed state that `data` holds; keys that this version does not know are left out.

    Raises:
        ProtocolError: Anything else.
    """
    return _decode(data, Observed)


def sign(desired: Desired, key: bytes) -> Desired:
    """The same command with its `mac`: HMAC-SHA256 (RFC 2104) over the canonical bytes of all other fields.

    Raises:
        ProtocolError: The key is too short.
    """
    return replace(desired, mac=_mac(desired, key))


def verify(desired: Desired, key: bytes) -> bool:
    """Whether the command carries the `mac` that `key` gives; takes the same time for every wrong one."""
    import hmac  # half of the import time of this module, and needed only by those who sign

    return hmac.compare_digest(desired.mac, _mac(desired, key))


def read_key(path: str | os.PathLike[str]) -> bytes:
    """The shared key that a file holds, without white space around it.

    Raises:
        OSError: The file cannot be read.
        ProtocolError: The key is too short.
    """
    with open(path, "rb") as file:  # noqa: PTH123  pathlib would be a fifth of the import time of the client
        key = file.read().strip()
    if len(key) < MIN_KEY_BYTES:
        raise ProtocolError("key", f"{os.fspath(path)} holds {len(key)} bytes, at least {MIN_KEY_BYTES} are needed")
    return key


def publish(directory: int | str | os.PathLike[str], name: str, data: bytes) -> None:
    """Put `data` under `name` in `directory`, so that every reader sees the old file or the new one, whole.

    Temporary file in the same directory, write, fsync, rename, fsync of the directory. A process that is killed
    inside leaves at most one temporary file behind, named `.NAME.RANDOM.tmp`.

    Args:
        directory: Path, or a file descriptor of it.
        name: Name without a directory.
        data: The whole content.

    Raises:
        OSError: It could not be written; nothing is left behind, and the old file is whole. After a failure in the
            last fsync the new file is in place but may not outlive a power loss.
        ProtocolError: The directory is not to be trusted, see `open_directory`.
    """
    with _opened(directory) as folder:
        temporary = f".{name}.{os.urandom(8).hex()}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(temporary, flags, 0o600, dir_fd=folder)
        try:
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(handle, rest) :]
                os.fsync(handle)
            finally:
                os.close(handle)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                os.unlink(temporary, dir_fd=folder)
            raise
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno != errno.EINVAL:  # the answer of file systems that cannot sync a directory
                raise


def read_control_file(directory: int | str | os.PathLike[str], name: str) -> bytes | None:
    """The content of a control file, or None where there is none.

    The file must be a regular one, with one name, owned by this user or root, writable by its owner only, and of
    at most `MAX_BYTES`. Symbolic links are not followed, and a FIFO or device does not block.

    Args:
        directory: Path, or a file descriptor of it.
        name: Name without a directory.

    Raises:
        ProtocolError: The file or the directory is not to be trusted.
        OSError: It cannot be read.
    """
    try:
        with _opened(directory) as folder:
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a symbolic link; a socket
            raise ProtocolError("not_regular", f"{name} is not a regular file") from None
        raise
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise ProtocolError("not_regular", f"{name} is not a regular file")
        if about.st_nlink > 1:
            raise ProtocolError("linked", f"{name} has {about.st_nlink} names, so others may hold one of them")
        if about.st_uid not in (os.geteuid(), 0):
            raise ProtocolError("owner", f"{name} belongs to user {about.st_uid}, neither this user nor root")
        if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ProtocolError("mode", f"{name} has mode {stat.S_IMODE(about.st_mode):04o}: others may write it")
        parts: list[bytes] = []
        size = 0
        while size <= MAX_BYTES and (part := os.read(handle, MAX_BYTES + 1 - size)):
            parts.append(part)
            size += len(part)
        if size > MAX_BYTES:
            raise ProtocolError("too_large", f"{name} is larger than {MAX_BYTES} bytes")
        return b"".join(parts)
    finally:
        os.close(handle)


def open_directory(path: str | os.PathLike[str]) -> int:
    """A descriptor of a control directory, through which its files are reached whatever happens to its name meanwhile.

    It must be a directory and no symbolic link to one, belong to this user or root, and its owner alone may replace files
    in it: either nobody else may write there, or it is sticky as /tmp is.

    Raises:
        OSError: It is not there or cannot be opened; NotADirectoryError for a symbolic link.
        ProtocolError: It is not to be trusted.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _trust(os.fstat(folder), os.fspath(path))
    except BaseException:
        os.close(folder)
        raise
    return folder


def _trust(about: os.stat_result, path: str) -> None:
    if about.st_uid not in (os.geteuid(), 0):
        raise ProtocolError("owner", f"{path} belongs to user {about.st_uid}, neither this user nor root")
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not about.st_mode & stat.S_ISVTX:
        mode = stat.S_IMODE(about.st_mode)
        raise ProtocolError("mode", f"{path} has mode {mode:04o}: others may write there; chmod 700 it")


@contextlib.contextmanager
def _opened(directory: int | str | os.PathLike[str]) -> Iterator[int]:
    """A descriptor of the directory; one that was given stays open."""
    if isinstance(directory, int):
        yield directory
        return
    folder = open_directory(directory)
    try:
        yield folder
    finally:
        os.close(folder)


def _canonical(message: Message, *, without: str = "") -> bytes:
    content: dict[str, Any] = {f.name: getattr(message, f.name) for f in fields(message) if f.name != without}
    if not content.get("reload", True):
        del content["reload"]
    content["v"] = VERSION
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def _mac(desired: Desired, key: bytes) -> str:
    import hmac

    if len(key) < MIN_KEY_BYTES:
        raise ProtocolError("key", f"a key of {len(key)} bytes, at least {MIN_KEY_BYTES} are needed")
    return hmac.new(key, _canonical(desired, without="mac"), "sha256").hexdigest()


def _decode(data: bytes, kind: type[_M]) -> _M:
    content = _parse(data)
    version = content.get("v")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ProtocolError("version", f"version {version!r}, this reader knows 1 to {VERSION}")
    values: dict[str, Any] = {}
    for known in fields(kind):
        if known.name in content:
            values[known.name] = content[known.name]
        elif known.default is MISSING and known.default_factory is MISSING:
            raise ProtocolError("missing", f"the key {known.name!r}")
    return kind(**values)


def _parse(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise ProtocolError("too_large", f"{len(data)} bytes, at most {MAX_BYTES} are allowed")
    try:
        content = json.loads(data.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except ProtocolError:
        raise
    except UnicodeDecodeError as error:
        raise ProtocolError("not_utf8", str(error)) from None
    except RecursionError:
        raise ProtocolError("too_deep", "the nesting is too deep") from None
    except ValueError as error:  # JSONDecodeError, and integers of thousands of digits
        raise ProtocolError("not_json", str(error)) from None
    if not isinstance(content, dict):
        raise ProtocolError("wrong_type", f"an object is expected, found {type(content).__name__}")
    return cast("dict[str, Any]", content)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ProtocolError("duplicate_key", "a key stands twice in one object")
    return content


def _no_constant(name: str) -> Any:
    raise ProtocolError("not_finite", f"{name} is not a number")


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
