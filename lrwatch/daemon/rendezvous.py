"""Where daemons and operators meet: a Unix socket for each state directory, in a directory that both find.

=============================  ==============================================================
`$RUNTIME_DIRECTORY`           given by systemd (`RuntimeDirectory=`): `/run/lrwatch`
`/run/lrwatch`                 of a daemon that runs as root
`$XDG_RUNTIME_DIR/lrwatch`     of a user's daemon; only that user and root get there
the state directory            where none of these can be written
=============================  ==============================================================
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

SUFFIX = ".sock"

_SYSTEM = Path("/run/lrwatch")
# Directories in which services and, for root, users have theirs.
_OF_SERVICES = "lrwatch*"
_OF_USERS = "user/*/lrwatch"


def places(state: Path, environ: Mapping[str, str]) -> list[Path]:
    """Return where the socket of a daemon may be made, the best place first.

    Args:
        state: Its state directory.
        environ: Its environment.
    """
    directories = [Path(one) for one in environ.get("RUNTIME_DIRECTORY", "").split(":") if one]
    if os.geteuid() == 0:
        directories.append(_SYSTEM)
    directories += _of_session(environ)
    return [directory / _name(state) for directory in [*directories, state]]


def of_state(state: Path, environ: Mapping[str, str]) -> list[Path]:
    """Return the sockets that a daemon on this state directory may have made.

    Args:
        state: The state directory.
        environ: The environment of the one who looks.
    """
    name = _name(state)
    return [path for path in [*(one / name for one in _directories(environ)), state / name] if _is_socket(path)]


def everywhere(environ: Mapping[str, str]) -> list[Path]:
    """Return the sockets of all daemons that this process can find.

    Args:
        environ: Its environment.
    """
    found: list[Path] = []
    for directory in _directories(environ):
        found += sorted(path for path in directory.glob(f"*{SUFFIX}") if _is_socket(path))
    return found


def _is_socket(path: Path) -> bool:
    try:
        return path.is_socket()
    except PermissionError:  # in a directory of somebody else
        return False


def _directories(environ: Mapping[str, str]) -> list[Path]:
    run = _SYSTEM.parent
    found = [Path(one) for one in environ.get("RUNTIME_DIRECTORY", "").split(":") if one]
    found += [*sorted(run.glob(_OF_SERVICES)), *_of_session(environ)]
    if os.geteuid() == 0:
        found += sorted(run.glob(_OF_USERS))
    return list(dict.fromkeys(found))


def _of_session(environ: Mapping[str, str]) -> Iterator[Path]:
    session = environ.get("XDG_RUNTIME_DIR", "")
    if session and Path(session).is_absolute():
        yield Path(session) / "lrwatch"


def _name(state: Path) -> str:
    """Return a short name: the path of a socket has room for a hundred characters."""
    return hashlib.sha256(os.fsencode(os.path.realpath(state))).hexdigest()[:16] + SUFFIX
