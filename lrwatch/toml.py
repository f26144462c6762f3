"""TOML of a file, bounded in depth: the parser of the standard library recurses at each bracket, and copies at each dot of a key.

100,000 brackets end in its RecursionError, and a key of 100,000 dots takes 10 GB and most of a minute.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from lrwatch import settings_file
from lrwatch.errors import ConfigError, short

MAX_DEPTH = 32
"""Brackets within brackets, and dots in one key. The settings need two of them."""

# A string or a comment, which is skipped, or a character that opens, closes, or ends a key. A string that does not end is
# skipped to the end of its line, and the parser says so.
_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"?|\'[^\'\n]*\'?|#[^\n]*|[\[\]{}.,=\n]', re.DOTALL
)  # fmt: skip


def read(path: Path) -> bytes:
    """Read a file of settings.

    Raises:
        OSError: It cannot be read.
        ConfigError: It is too large.
    """
    return settings_file.read(
        path, expected="settings", where=str(path), hint="Name the file with the settings, not a log."
    )


def decode(text: bytes, where: str) -> dict[str, Any]:
    """Decode TOML.

    Args:
        text: The content.
        where: The file, for errors.

    Raises:
        ConfigError: It is no TOML, or goes deeper than MAX_DEPTH.
    """
    try:
        found = _too_deep(text.decode("utf-8"))
        settings: dict[str, Any] = {} if found else msgspec.toml.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ConfigError(
            expected="TOML", found=short(str(error)), where=where, hint="Correct that line."
        ) from error  # fmt: skip
    if found:
        raise ConfigError(
            expected=f"TOML of at most {MAX_DEPTH} levels", found=found, where=where, hint="Correct that line."
        )
    return settings


def _too_deep(text: str) -> str:
    """Return what goes deeper than MAX_DEPTH, with its line, or ""."""
    brackets = dots = 0
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "[" | "{":
                brackets, dots = brackets + 1, 0
            case "]" | "}":
                brackets, dots = max(0, brackets - 1), 0
            case ".":
                dots += 1
            case "," | "=" | "\n":
                dots = 0
        if max(brackets, dots) > MAX_DEPTH:
            line = text.count("\n", 0, token.start()) + 1
            return f"more {'brackets within one another' if brackets > MAX_DEPTH else 'dots in one key'} in line {line}"
    return ""
