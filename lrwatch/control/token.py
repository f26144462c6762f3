"""The daemon's lease on a run: a fencing token that no other daemon has drawn from the same control directory.

A token is claimed by creating the file `controller-N`, which only one of many can do; its content names the holder, for
people. The trainer refuses a lower token once it has seen a higher one: it follows the daemon that claimed last, and refuses
one that was stopped meanwhile and continues with its old token.

Only the newest claims are kept. That is safe: a daemon that creates a number that was swept away finds a higher one beside
it, and claims again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from typing import NamedTuple

from lrwatch.protocol import MAX_INT, ProtocolError, open_directory, read_control_file

# Claims that are kept: enough to see the recent holders.
KEPT_CLAIMS = 8
# Tries before a claim is given up. At each failed one another daemon was faster.
MAX_TRIES = 100
# Longest random wait after a failed try: daemons that claim in lockstep overtake each other again and again.
MAX_WAIT_SECONDS = 0.02

_CLAIM = re.compile(r"controller-([1-9][0-9]{0,15})", re.ASCII)


def claim_token(directory: str | os.PathLike[str], above: int) -> int:
    """Claim a token that is higher than `above` and than every other one that was claimed in `directory`.

    Args:
        directory: The control directory, which must exist.
        above: Highest token so far, of this daemon's own and of those that the trainer has seen.

    Returns:
        The token; no other caller gets the same one from this directory.

    Raises:
        OSError: The claim could not be written, or others were faster `MAX_TRIES` times.
        ProtocolError: The directory is not to be trusted.
    """
    folder = open_directory(directory)
    try:
        for _ in range(MAX_TRIES):
            token = max(above, *_claims(folder), 0) + 1
            if token > MAX_INT:
                raise ProtocolError("out_of_range", f"{os.fspath(directory)}: no token above {MAX_INT} can be claimed")
            if _create(folder, token) and max(_claims(folder)) == token:
                _sweep(folder, token)
                return token
            time.sleep(MAX_WAIT_SECONDS * os.urandom(1)[0] / 255)
    finally:
        os.close(folder)
    raise OSError(f"{os.fspath(directory)}: {MAX_TRIES} claims of a token came too late")


class Claim(NamedTuple):
    """A token that was claimed, and by whom."""

    token: int
    host: str
    pid: int


def newest_claim(directory: str | os.PathLike[str]) -> Claim | None:
    """Return the newest claim in a control directory, or None where there is none that can be read.

    Args:
        directory: The control directory.
    """
    try:
        folder = open_directory(directory)
    except (OSError, ProtocolError):
        return None
    try:
        token = max(_claims(folder), default=0)
        raw = read_control_file(folder, f"controller-{token}") if token else None
        content = json.loads(raw) if raw else {}
        return Claim(token, str(content["host"]), int(content["pid"])) if content else None
    except (OSError, ProtocolError, ValueError, KeyError, TypeError):
        return None
    finally:
        os.close(folder)


def _claims(folder: int) -> list[int]:
    """Return the numbers that are claimed; a name of any other form is ignored."""
    return [int(found[1]) for name in os.listdir(folder) if (found := _CLAIM.fullmatch(name))]


def _create(folder: int, token: int) -> bool:
    """Create the claim, and return whether it is ours: some network file systems let two succeed."""
    name = f"controller-{token}"
    holder = {"token": token, "id": os.urandom(16).hex(), "host": socket.gethostname(), "pid": os.getpid()}
    data = json.dumps({**holder, "time": round(time.time(), 3)}).encode("ascii") + b"\n"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(name, flags, 0o600, dir_fd=folder)
    except FileExistsError:
        return False
    try:
        os.write(handle, data)  # some hundred bytes; a part of them would not compare equal below
        os.fsync(handle)
    finally:
        os.close(handle)
    with contextlib.suppress(OSError):  # the claim holds all the same, but for a power loss
        os.fsync(folder)
    return read_control_file(folder, name) == data


def _sweep(folder: int, token: int) -> None:
    for old in sorted(claim for claim in _claims(folder) if claim < token)[: 1 - KEPT_CLAIMS]:
        with contextlib.suppress(OSError):  # another daemon swept too
            os.unlink(f"controller-{old}", dir_fd=folder)
