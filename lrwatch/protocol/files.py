"""The files of a control directory: published by rename, read with the checks that a hostile neighbour makes necessary."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from lrwatch.protocol.codec import MIN_KEY_BYTES
from lrwatch.protocol.messages import MAX_BYTES, ProtocolError

DESIRED_NAME = "desired.json"
OBSERVED_NAME = "observed.json"
METRICS_NAME = "metrics.jsonl"
ROTATED_NAME = "metrics.jsonl.1"
"""The older half of the metrics: what was `METRICS_NAME` until it was half of what both may have."""

EVIDENCE_NAME = "desired.{code}.rejected"
"""The newest command that was refused with a code, byte for byte; the list of codes is closed, so these files are few."""


_RANDOM_BYTES = 8
_TEMPORARY = ".tmp"
_HEX_DIGITS = frozenset("0123456789abcdef")


def read_key(path: str | os.PathLike[str]) -> bytes:
    """Return the shared key in a file, without white space around it.

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
    """Publish `data` as `name` in `directory`: every reader sees the whole old file or the whole new one.

    Temporary file in the same directory, write, fsync, rename, fsync of the directory. A process that is killed
    meanwhile leaves at most one temporary file behind, named `.NAME.RANDOM.tmp`, which `sweep` removes.

    Args:
        directory: Path of the directory, or a file descriptor of it.
        name: Name without a directory.
        data: The whole content.

    Raises:
        OSError: It could not be written; nothing is left behind, and the old file is whole. After a failure in the
            last fsync the new file is in place but may not outlive a power loss.
        ProtocolError: The directory cannot be trusted, see `open_directory`.
    """
    with _opened(directory) as folder:
        temporary = f".{name}.{os.urandom(_RANDOM_BYTES).hex()}{_TEMPORARY}"
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


def sweep(directory: int | str | os.PathLike[str], *, of_commands: bool) -> None:
    """Remove the temporary files that killed processes left behind while they published.

    Each side removes its own when it begins: the daemon those of `desired.json`, the client all others. One that a process
    is writing at this moment may go too; its `publish` fails then, and is tried again as after any other error.

    Args:
        directory: Path of the directory, or a file descriptor of it.
        of_commands: Whether those of `desired.json` are meant.

    Raises:
        OSError: The directory cannot be read.
        ProtocolError: It cannot be trusted.
    """
    end = 1 + 2 * _RANDOM_BYTES + len(_TEMPORARY)
    with _opened(directory) as folder:
        for entry in os.listdir(folder):  # noqa: PTH208  pathlib has no descriptors
            name, random = entry[1:-end], entry[1 - end : -len(_TEMPORARY)]
            is_temporary = entry.startswith(".") and entry.endswith(_TEMPORARY) and _HEX_DIGITS.issuperset(random)
            if name and is_temporary and (name == DESIRED_NAME) is of_commands:
                with contextlib.suppress(OSError):  # its process has renamed or removed it
                    os.unlink(entry, dir_fd=folder)


def read_control_file(directory: int | str | os.PathLike[str], name: str) -> bytes | None:
    """Return the content of a control file, or None where there is none.

    The file must be a regular one, with one name, owned by this user or root, writable by its owner only, and of
    at most `MAX_BYTES`. Symbolic links are not followed, and a FIFO or device does not block.

    Args:
        directory: Path of the directory, or a file descriptor of it.
        name: Name without a directory.

    Raises:
        ProtocolError: The file or the directory cannot be trusted.
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
    """Open a control directory; the descriptor reaches its files whatever happens to its name meanwhile.

    It must be a directory and no symbolic link to one, belong to this user or root, and its owner alone may replace files
    in it: either nobody else may write there, or it is sticky as /tmp is.

    Raises:
        OSError: It is missing or cannot be opened; NotADirectoryError for a symbolic link.
        ProtocolError: It cannot be trusted.
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
    """Yield a descriptor of the directory; one that was passed in stays open."""
    if isinstance(directory, int):
        yield directory
        return
    folder = open_directory(directory)
    try:
        yield folder
    finally:
        os.close(folder)
