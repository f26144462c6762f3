"""The daemon's lease on a run: a fencing token that no other daemon has drawn from the same control directory.

A token is claimed by creating the file `controller-N`, which only one of many can do; its content names the holder. The trainer
refuses a lower token once it has seen a higher one: it follows the daemon that claimed last, and refuses one that was stopped
meanwhile and continues with its old token.

A daemon renews its lease by touching its claim. One that finds a higher claim writes nothing any more, as long as the other is
there. The other is gone when its process is seen to be gone, or when it has not renewed its lease for LEASE_SECONDS; then this one
claims again. The seconds are those of the one who waits, so clocks need not agree.

Only the newest claims are kept. That is safe: a daemon that creates a number that was swept away finds a higher one beside
it, and claims again. A number that is more than MAX_AHEAD above all that are known counts for nothing: nobody drew it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from typing import NamedTuple

from lrwatch.protocol import (
    MAX_AHEAD,
    MAX_INT,
    Process,
    ProtocolError,
    is_alive,
    open_directory,
    own_process,
    read_control_file,
    sweep,
)

# Claims that are kept: enough to see the recent holders.
KEPT_CLAIMS = 8
# Tries before a claim is given up. At each failed one another daemon was faster.
MAX_TRIES = 100
# Longest random wait after a failed try: daemons that claim in lockstep overtake each other again and again.
MAX_WAIT_SECONDS = 0.02

# Seconds without a sign of life after which a daemon that nobody can see is gone. A turn, or a hung disk, is shorter.
LEASE_SECONDS = 60.0
# Seconds between two renewals: five may be late.
RENEW_SECONDS = 10.0

_CLAIM = re.compile(r"controller-([1-9][0-9]{0,15})", re.ASCII)


class Claim(NamedTuple):
    """A token that was claimed, and by whom.

    Attributes:
        token: The token. host: Name of the holder's machine. pid: Number of its process there.
        process: The holder, so that its end can be seen; None in a claim of an older version.
        owner: Name of the holder's state, which its restarts share; "" in a claim of an older version.
    """

    token: int
    host: str
    pid: int
    process: Process | None = None
    owner: str = ""


class Lease:
    """The right of this daemon to command one trainer.

    Args:
        directory: The control directory.
        owner: Name of this daemon's state: a claim of the same owner was made before a restart, and by nobody else.

    Attributes:
        token: The token under which this daemon commands; 0 until it has claimed one.
        rival: Who commands in its place, as a clause, or "".
        predecessor: In whose place it claimed the token, as a phrase; "" where nobody else had commanded in between.
    """

    def __init__(self, directory: str | os.PathLike[str], owner: str = "") -> None:
        self._owner = owner
        self.token = 0
        self.rival = self.predecessor = ""
        self._directory = directory
        self._content = b""  # of the own claim
        self._renewed = float("-inf")
        self._sign: object = None  # of the other daemon's life, and when it was first seen
        self._seen = 0.0

    def claim(self, above: int) -> None:
        """Draw a token: a second daemon draws a higher one, and then this one's commands are refused.

        Temporary files that killed daemons left in the directory are removed.

        Args:
            above: Highest token so far.

        Raises:
            OSError: It could not be claimed.
            ProtocolError: The directory is not to be trusted, or there is no higher token.
        """
        sweep(self._directory, of_commands=True)
        self.predecessor = self._predecessor(above)
        self.token, self._content = _claim(self._directory, above, self._owner)
        self.rival, self._sign = "", None

    def _predecessor(self, above: int) -> str:
        """Return who has claimed a higher token than this daemon's last one, as a phrase, or "".

        Raises:
            OSError: The directory cannot be read.
            ProtocolError: It is not to be trusted.
        """
        folder = open_directory(self._directory)
        try:
            claims = _claims(folder)
            newest = _highest(claims, above)
            for token in sorted((claim for claim in claims if self.token < claim <= newest), reverse=True):
                # Who was killed while writing a claim has never commanded with it.
                if (holder := _holder(folder, token)) is not None:
                    own = bool(self._owner) and holder.owner == self._owner
                    return "" if own else _holder_in_words(holder, token)
            return "" if newest in (self.token, *claims) else _holder_in_words(None, newest)
        finally:
            os.close(folder)

    def look(self, seen: int, now: float, *, closely: bool = False) -> None:
        """Renew the lease; where another daemon has it, take it over once that one is gone.

        Args:
            seen: Highest token that the trainer has seen.
            now: Monotonic seconds.
            closely: Look although the lease was renewed a moment ago, because a command is about to be written.

        Raises:
            OSError: The directory cannot be read, or a new token could not be claimed.
            ProtocolError: It is not to be trusted, or there is no higher token.
        """
        if not (closely or self.rival or seen > self.token) and now - self._renewed < RENEW_SECONDS:
            return
        folder = open_directory(self._directory)
        try:
            newest = _highest(_claims(folder), max(self.token, seen))
            if newest == self.token and self._renew(folder):
                self.rival, self._sign, self._renewed = "", None, now
                return
            name = f"controller-{newest}"
            # Read first: on NFS it is opening that brings the newest time.
            holder, sign = _holder(folder, newest), (newest, _touched(folder, name))
        finally:
            os.close(folder)
        if sign != self._sign:
            self._sign, self._seen = sign, now
        alive = None if holder is None or holder.process is None else is_alive(holder.process)
        if alive is False or now - self._seen > LEASE_SECONDS:
            self.claim(newest)
            self._renewed = now
            return
        self.rival = f"{_holder_in_words(holder)} has token {newest}, this daemon has {self.token}"

    def _renew(self, folder: int) -> bool:
        """Touch the own claim, made again where it is gone. Return whether it is the own one."""
        name = f"controller-{self.token}"
        found = read_control_file(folder, name)
        if found is None and not _create(folder, name, self._content):
            return False
        if found is not None and found != self._content:
            return False
        os.utime(name, dir_fd=folder)
        return True


def claim_token(directory: str | os.PathLike[str], above: int) -> int:
    """Claim a token that is higher than `above` and than every other one that was claimed in `directory`.

    Args:
        directory: The control directory, which must exist.
        above: Highest token so far, of this daemon's own and of those that the trainer has seen.

    Returns:
        The token; no other caller gets the same one from this directory.

    Raises:
        OSError: The claim could not be written, or others were faster `MAX_TRIES` times.
        ProtocolError: The directory is not to be trusted, or there is no higher token.
    """
    return _claim(directory, above)[0]


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
        token = _highest(_claims(folder), 0)
        return _holder(folder, token) if token else None
    except OSError:
        return None
    finally:
        os.close(folder)


def _claim(directory: str | os.PathLike[str], above: int, owner: str = "") -> tuple[int, bytes]:
    """Claim a token as `claim_token` does. Return it, and the content of its claim.

    Raises:
        OSError: As there.
        ProtocolError: As there.
    """
    folder = open_directory(directory)
    try:
        for _ in range(MAX_TRIES):
            token = _highest(_claims(folder), above) + 1
            if token > MAX_INT:
                raise ProtocolError(
                    "out_of_range",
                    f"there is no token above {MAX_INT}, and the trainer has seen one as high, so it takes no command of any daemon. "
                    "Start it again with max_token set to 0 in the state that it loads",
                )
            content = _content(token, owner)
            if _create(folder, f"controller-{token}", content) and _highest(_claims(folder), above) == token:
                _sweep(folder, token)
                return token, content
            time.sleep(MAX_WAIT_SECONDS * os.urandom(1)[0] / 255)
    finally:
        os.close(folder)
    raise OSError(f"{MAX_TRIES} claims of a token came too late")


def _claims(folder: int) -> list[int]:
    """Return the numbers that are claimed; a name of any other form is ignored."""
    return [int(found[1]) for name in os.listdir(folder) if (found := _CLAIM.fullmatch(name))]


def _highest(claims: list[int], above: int) -> int:
    """Return the highest of the claims that can have been drawn, or `above`."""
    for claim in sorted(claims):
        if claim <= above + MAX_AHEAD:
            above = max(above, claim)
    return above


def _content(token: int, owner: str) -> bytes:
    holder = {
        "token": token,
        "id": os.urandom(16).hex(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "owner": owner,
    }
    if (process := own_process()) is not None:
        holder |= {"pid_start": process.start, "machine": process.machine}
    return json.dumps({**holder, "time": round(time.time(), 3)}).encode("ascii") + b"\n"


def _holder(folder: int, token: int) -> Claim | None:
    """Return who has claimed a token, or None where that cannot be read."""
    try:
        raw = read_control_file(folder, f"controller-{token}")
        content = json.loads(raw) if raw else {}
        pid = int(content["pid"])
        start, machine = content.get("pid_start"), content.get("machine")
        process = Process(pid, start, machine) if isinstance(start, int) and isinstance(machine, str) else None
        return Claim(token, str(content["host"]), pid, process, str(content.get("owner", "")))
    except (OSError, ProtocolError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _holder_in_words(holder: Claim | None, token: int | None = None) -> str:
    who = "another daemon" if holder is None else f"process {holder.pid} on {holder.host}"
    return who if token is None else f"{who}, which had token {token}"


def _touched(folder: int, name: str) -> int:
    """Return when a claim was renewed last, in nanoseconds of its file system's clock; 0 where nobody can tell."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns
    except OSError:
        return 0


def _create(folder: int, name: str, content: bytes) -> bool:
    """Create a claim, and return whether it is ours: some network file systems let two succeed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(name, flags, 0o600, dir_fd=folder)
    except FileExistsError:
        return False
    try:
        os.write(handle, content)  # some hundred bytes; a part of them would not compare equal below
        os.fsync(handle)
    finally:
        os.close(handle)
    with contextlib.suppress(OSError):  # the claim holds all the same, but for a power loss
        os.fsync(folder)
    return read_control_file(folder, name) == content


def _sweep(folder: int, token: int) -> None:
    for old in sorted(claim for claim in _claims(folder) if claim < token)[: 1 - KEPT_CLAIMS]:
        with contextlib.suppress(OSError):  # another daemon swept too
            os.unlink(f"controller-{old}", dir_fd=folder)
