"""Identity and permissions of operators: from the kernel, never from the environment of the asking process."""

from __future__ import annotations

import os
import pwd
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, fields
from grp import getgrgid
from pathlib import Path

from lrwatch.config import OperatorOptions

# Option of Linux sockets for the supplementary groups of the other end; Python has no name for it.
_SO_PEERGROUPS = getattr(socket, "SO_PEERGROUPS", 59)

# As many bytes as Python reads of an option, which is room for 256 groups.
_MOST_GROUP_BYTES = 1024

# The login of a process that has none.
_NO_LOGIN = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Peer:
    """A process at the other end of a socket, or this one.

    Attributes:
        uid: Its effective user.
        groups: Its effective group and its supplementary groups.
        login: The user who logged in to the session that it belongs to, before any `sudo`; None where nobody did.
        through: "mcp" where it says that a program asks through it, and no person; else "".
    """

    uid: int
    groups: frozenset[int]
    login: int | None = None
    through: str = ""

    @property
    def actor(self) -> str:
        """Its name for the journal: of the user, and of the login where that is another one."""
        name = _user(self.uid)
        login = "" if self.login in (None, self.uid) else f" (login {_user(self.login or 0)})"
        return f"{name}{login}{f' through {self.through}' if self.through else ''}"

    def is_one_of(self, names: Iterable[str]) -> bool:
        """Return whether one of the names is its own: a user, a uid, `@` with a group or gid, or `*` for everybody."""
        mine = {"*", _user(self.uid), str(self.uid)}
        for gid in self.groups:
            mine.add(f"@{gid}")
            with suppress(KeyError):  # a group without a name, as in a container
                mine.add(f"@{getgrgid(gid).gr_name}")
        if self.through:
            mine = {f"{self.through}:{name}" for name in mine}
        return not mine.isdisjoint(names)


def peer_of(connection: socket.socket) -> Peer:
    """Return the process that connected, as the kernel knows it.

    Args:
        connection: A connected Unix socket.
    """
    pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUP_BYTES)
        groups = struct.unpack(f"{len(raw) // 4}I", raw)
    except OSError:  # more groups than that, or a kernel before 4.13
        groups = _groups_by_name(uid, gid)
    return Peer(uid, frozenset({gid, *groups}), _login(pid))


def this_process() -> Peer:
    """Return the process that calls."""
    return Peer(os.geteuid(), frozenset({os.getegid(), *os.getgroups()}), _login(os.getpid()))


def refusal(peer: Peer, verb: str, options: OperatorOptions) -> str:
    """Return why this process may not use a verb, and what to do, or "".

    The daemon's own user and root may use every one, but not what a program asks through them: that is allowed by name only.

    Args:
        peer: Who asks.
        verb: Name of the request.
        options: Who may.
    """
    if peer.uid in (0, os.geteuid()) and not peer.through:
        return ""
    names = getattr(options, verb, None)
    key = "allow" if names is None else verb
    if peer.is_one_of(options.allow if names is None else names):
        return ""
    who = f"{_user(peer.uid)} (uid {peer.uid})"
    if peer.through:
        return (
            f"what {who} asks through {peer.through} is not among what may `{verb}`; the user of the daemon, "
            f"{_user(os.geteuid())}, can name {peer.through}:{_user(peer.uid)} in [operators] {key}"
        )
    return (
        f"{who} is not among those who may `{verb}`; the user of the daemon, "
        f"{_user(os.geteuid())}, can name users or @groups in [operators] {key}"
    )


def allowed(peer: Peer, options: OperatorOptions) -> list[str]:
    """Return the verbs that this process may use.

    Args:
        peer: Who asks.
        options: Who may.
    """
    return [verb.name for verb in fields(options) if verb.name != "allow" and not refusal(peer, verb.name, options)]


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _groups_by_name(uid: int, gid: int) -> tuple[int, ...]:
    try:
        return tuple(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
    except KeyError:
        return ()


def _login(pid: int) -> int | None:
    """Return the login of a process: the kernel keeps it through `sudo` and `su`, and only root can set it."""
    try:
        login = int(Path(f"/proc/{pid}/loginuid").read_text(encoding="ascii"))
    except (OSError, ValueError):  # another namespace of processes, or a kernel without it
        return None
    return None if login == _NO_LOGIN else login
