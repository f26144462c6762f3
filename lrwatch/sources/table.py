"""A whole log as one table."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lrwatch.core.sample import Batch
from lrwatch.errors import InputError
from lrwatch.formats import FORMATS, HEAD_BYTES, Format, by_name, detect
from lrwatch.formats.lines import MAX_LINE_BYTES

if TYPE_CHECKING:
    import pandas as pd

# Bytes of one read: more than the longest line, so that each read makes progress.
_READ_BYTES = 4 * MAX_LINE_BYTES
# Characters of a log that an error message shows.
_SHOWN = 80


def read_log(path: str | os.PathLike[str], format: str = "auto") -> pd.DataFrame:  # noqa: A002 - the contract's name
    """Read a finished log, or what is there of one that grows.

    Args:
        path: The file.
        format: Name of its format; `auto` finds it by the content.

    Returns:
        One row a record, in the order of the log: `step`, and one column a metric, NaN where a record does not have it.
        `attrs` has `axis` (what `step` counts: `step`, `epoch` or `record`), `format`, `lines`, and `errors` (reason to
        number of lines that could not be used).

    Raises:
        InputError: The file is missing, cannot be read, or nothing in it is understood.
        ConfigError: There is no such format.
    """
    reader = None if format == "auto" else by_name(format)
    batches: list[Batch] = []
    rest = b""
    try:
        with Path(path).open("rb") as file:
            rest = file.read(HEAD_BYTES)
            reader = reader or detect(rest, final=len(rest) < HEAD_BYTES)
            while reader is not None:
                data = file.read(_READ_BYTES)
                batch, used = reader.feed(rest + data, final=not data)
                batches.append(batch)
                rest = (rest + data)[used:]
                if not data:
                    break
    except OSError as error:
        raise InputError(
            expected="a log file that can be read",
            found=error.strerror or str(error),
            where=os.fspath(path),
            hint="Give the path of an existing file." if isinstance(error, FileNotFoundError) else "Check the path.",
        ) from None
    if reader is None or not any(map(len, batches)):
        raise InputError(
            expected=f"a log in one of the formats {', '.join(f.name for f in FORMATS)}",
            found=_seen(batches, path),
            where=os.fspath(path),
            hint="A line of it needs a step, an epoch or a loss beside a name.",
        )
    return _table(batches, reader)


def _seen(batches: list[Batch], path: str | os.PathLike[str]) -> str:
    """What lies in a log that is not understood, for people."""
    with Path(path).open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head.strip():
        return "an empty file"
    first = next(line for line in head.splitlines() if line.strip())[:_SHOWN].decode("utf-8", "replace")
    reasons = Counter[str]()
    for batch in batches:
        reasons.update(batch.errors)
    counted = "".join(f", {count} x {reason}" for reason, count in reasons.most_common(1))
    return f"no metric in it; its first line is {first!r}{counted}"


def _table(batches: list[Batch], reader: Format) -> pd.DataFrame:
    import pandas as pd

    batches = [batch for batch in batches if batch.lines or batch.rows]
    total = sum(batch.rows for batch in batches)
    values: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
    errors = Counter[str]()
    start = 0
    for batch in batches:
        errors.update(batch.errors)
        for name, column in batch.columns.items():
            if name not in values:
                values[name] = np.full(total, np.nan)
            values[name][start + column.rows] = column.values
        start += batch.rows
    table: pd.DataFrame = pd.DataFrame({"step": np.concatenate([batch.steps for batch in batches]), **values})
    table.attrs.update(
        axis=batches[-1].axis, format=reader.name, lines=sum(batch.lines for batch in batches), errors=dict(errors)
    )
    return table
