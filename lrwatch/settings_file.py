"""Files that a setting names, read with a bound: a mistyped path may be a log of gigabytes, or an endless device."""

from __future__ import annotations

from pathlib import Path

from lrwatch.errors import ConfigError

MAX_BYTES = 1 << 20
"""Bytes of such a file. The longest ones, with a pattern for each of many logs, have some ten thousand."""


def read(path: Path, *, expected: str, where: str, hint: str) -> bytes:
    """Read a file that a setting names.

    Args:
        path: The file.
        expected: What it should hold, as a noun phrase.
        where: The setting, or the file.
        hint: The next thing to do.

    Raises:
        OSError: It cannot be read.
        ConfigError: It is larger than MAX_BYTES.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ConfigError(
            expected=f"{expected} of at most {MAX_BYTES:,} bytes", found="a larger file", where=where, hint=hint
        )
    return content
