"""The TOML file with settings, as text: one key changes, and every other character stays."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from lrwatch import toml
from lrwatch.errors import ConfigError, InputError

NAME = "lrwatch.toml"

_WATCH = re.compile(r"\s*\[\s*watch\s*\]\s*(#.*)?")
_TABLE = re.compile(r"\s*\[")
_PATTERN = re.compile(r"\s*pattern\s*=")
# As `lrwatch init` writes a key that is not set.
_COMMENTED = re.compile(r"\s*#\s*pattern\s*=")


class ConfigFile:
    """A configuration that a pattern is written into.

    Args:
        path: The file; it need not exist.

    Attributes:
        path: The file.
        text: What is in it; "" where it does not exist.
        watch: Its table `[watch]`.

    Raises:
        ConfigError: It is no TOML, or has a format, beside which a pattern cannot stand.
        InputError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = toml.read(path) if path.exists() else b""
        except OSError as error:
            raise InputError(
                expected="a file that can be read", found=error.strerror or str(error), where=str(path),
                hint="Check its permissions, or name another one with --config.",
            ) from error  # fmt: skip
        self._settings = toml.decode(text, str(path))
        self.text = text.decode("utf-8")
        watch = self._settings.get("watch", {})
        self.watch: dict[str, Any] = watch if isinstance(watch, dict) else {}
        if self.watch.get("format", "auto") != "auto":
            raise ConfigError(
                expected="no format beside a pattern", found=f"format = {self.watch['format']!r}",
                where=f"{path}, [watch]", hint="Take that line out first, or name another file with --config.",
            )  # fmt: skip

    @property
    def patterns(self) -> list[str]:
        """The patterns in it."""
        patterns = self.watch.get("pattern", [])
        return list(patterns) if isinstance(patterns, list) else [str(patterns)]

    def with_pattern(self, pattern: str, paths: Sequence[str]) -> str:
        """Return its text with this pattern in the place of those that it has.

        Args:
            pattern: The regular expression.
            paths: The logs to watch, for a file that does not exist yet.

        Raises:
            ConfigError: The table is written in a way that is not changed here, such as on one line.
        """
        written = f"pattern = [{toml_string(pattern)}]"
        if not self.text:
            return f"[watch]\npaths = [{', '.join(map(toml_string, paths))}]\n{written}\n"
        lines = self.text.splitlines(keepends=True)
        end = "\r\n" if lines[0].endswith("\r\n") else "\n"
        if not lines[-1].endswith("\n"):
            lines[-1] += end
        start = next((i for i, line in enumerate(lines) if _WATCH.fullmatch(line.rstrip())), None)
        if start is None:
            lines += [end, f"[watch]{end}", written + end]
        else:
            stop = next((i for i in range(start + 1, len(lines)) if _TABLE.match(lines[i])), len(lines))
            table = lines[start + 1 : stop]
            at = next((i for i, line in enumerate(table) if _PATTERN.match(line)), None)
            if at is not None:
                table[at : at + _extent(table[at:])] = [written + end]
            else:
                after = next((i for i, line in enumerate(table) if _COMMENTED.match(line)), -1)
                table.insert(after + 1, written + end)
            lines[start + 1 : stop] = table
        text = "".join(lines)
        wanted = {**self._settings, "watch": {**self.watch, "pattern": [pattern]}}
        try:
            changed = toml.decode(text.encode(), str(self.path)) == wanted
        except ConfigError:
            changed = False
        if not changed:
            raise ConfigError(
                expected="a table [watch] on a line of its own", found="another spelling of it", where=str(self.path),
                hint=f"Write this below [watch] yourself: {written}",
            )  # fmt: skip
        return text


def _extent(lines: Sequence[str]) -> int:
    """Return the number of lines of the key at the first of them; its list may go over several."""
    for count in range(1, len(lines) + 1):
        try:
            msgspec.toml.decode("".join(lines[:count]))
        except (msgspec.DecodeError, ValueError):
            continue
        return count
    return 1


def toml_string(text: str) -> str:
    """Return text as TOML spells it, without escapes where that is possible."""
    if "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def write(target: Path, text: str) -> None:
    """Write a file completely or not at all. A link stays one, and a file keeps its permissions."""
    target = target.resolve()
    mode = target.stat().st_mode & 0o7777 if target.exists() else 0o644  # mkstemp makes it private; it holds no secret
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{NAME}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
