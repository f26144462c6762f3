"""Small logs of many trainers, some written by the libraries themselves, against what a correct reader returns.

`tests/data/logs/INDEX.json` lists for each file and metric: `metric`, the names that it may go by; `n`, how many samples
it has, NaN among them; `first` and `last`, step and value (a step of null is not asked for); `axis`, what the steps
count (null: not asked for).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest
from support.format_samples import feed, random_cuts, values

from lrwatch.core.sample import Batch
from lrwatch.formats import by_name, detect

LOGS = Path(__file__).parents[1] / "data" / "logs"

Place = tuple[int | None, str]  # the value as text, so that NaN equals NaN


class Truth(NamedTuple):
    file: str
    metric: tuple[str, ...]
    n: int
    first: Place
    last: Place
    axis: str | None


def truths() -> dict[str, list[Truth]]:
    found = [
        Truth(
            entry["file"],
            tuple(entry["metric"]),
            entry["n"],
            (entry["first"][0], repr(float(entry["first"][1]))),
            (entry["last"][0], repr(float(entry["last"][1]))),
            entry["axis"],
        )
        for entry in json.loads((LOGS / "INDEX.json").read_text(encoding="utf-8"))
    ]
    return {file: [*group] for file, group in groupby(found, key=lambda truth: truth.file)}


TRUTHS = truths()


def test_every_log_is_in_the_index() -> None:
    assert {path.name for path in LOGS.iterdir()} - {"INDEX.json"} == TRUTHS.keys()


def whole(data: bytes) -> list[bytes]:
    return [data]


def a_few_chunks(data: bytes) -> list[bytes]:
    return random_cuts(data, 7, seed=7)


def many_chunks(data: bytes) -> list[bytes]:
    return random_cuts(data, 200, seed=200)


def lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


@pytest.mark.slow
@pytest.mark.parametrize("restart", [False, True], ids=["", "restarted"])
@pytest.mark.parametrize("cut", [whole, a_few_chunks, many_chunks, lines])
@pytest.mark.parametrize("file", TRUTHS)
def test_a_log_gives_what_a_correct_reader_returns(
    file: str, cut: Callable[[bytes], list[bytes]], restart: bool
) -> None:
    data = (LOGS / file).read_bytes()
    detected = detect(data, final=True)
    assert detected is not None
    if detected.whole:  # such a document is always presented as a whole
        cut = whole
    batches = feed(by_name(detected.name), cut(data), restart=restart)
    wrong = [text for truth in TRUTHS[file] if (text := _differs(batches, truth))]
    assert not wrong, "\n".join([f"{file} read as {detected.name}:", *wrong])


def _differs(batches: Sequence[Batch], truth: Truth) -> str:
    """How the samples of a metric differ from the truth; empty where they do not."""
    names = {name for batch in batches for name in batch.columns}
    known = [name for name in truth.metric if name in names]
    if not known:
        return f"  {truth.metric[0]!r} is not among {sorted(names)}"
    found = [(step, repr(value)) for step, value in values(batches, known[0])]
    first, last = _asked(found[0], truth.first), _asked(found[-1], truth.last)
    axis = batches[-1].axis if truth.axis else None
    if (len(found), first, last, axis) == (truth.n, truth.first, truth.last, truth.axis):
        return ""
    return f"  {known[0]!r}: {len(found)}, {first}, {last}, {axis}; not {truth.n}, {truth.first}, {truth.last}, {truth.axis}"


def _asked(found: tuple[int, str], wanted: Place) -> Place:
    """What was found, without a step where none is asked for."""
    return (None if wanted[0] is None else found[0]), found[1]
