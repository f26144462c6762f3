"""Logs that are made to hurt: each is read in a child whose memory is bounded, and what is left out is said once, with its number."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lrwatch.core.names import LONGEST_NAME, role
from lrwatch.formats.json import large
from lrwatch.formats.json.document import JsonDocument
from lrwatch.sources.reader import LogReader

MEBIBYTE = 1 << 20

# Runs lrwatch, and prints the largest size that its memory had, in MiB, and the seconds of the processor.
MEASURE = """
import resource, sys
from lrwatch.cli import main
try:
    main()
except SystemExit as ended:
    code = ended.code or 0
# Not ru_maxrss, which counts what the process was forked from.
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
used = resource.getrusage(resource.RUSAGE_SELF)
print("MEASURED", code, peak // 1024, used.ru_utime + used.ru_stime, file=sys.stderr)
"""


@dataclass(frozen=True)
class Ran:
    """What became of `lrwatch`: its exit code, memory in MiB, seconds of the processor, and what it printed."""

    code: int
    memory: int
    seconds: float
    out: str
    err: str


def ran(*arguments: object) -> Ran:
    child = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, arguments)], capture_output=True, text=True, timeout=500, check=False
    )
    *err, measured = child.stderr.splitlines()
    word, code, memory, seconds = measured.split()
    assert word == "MEASURED", child.stderr
    return Ran(int(code), int(memory), float(seconds), child.stdout, "\n".join(err))


def _history(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"[")
        for i in range(400_000):
            file.write(
                b'%s{"step":%d,"loss":%.4f,"lr":0.001,"grad_norm":1.5,"epoch":0.1}'
                % (b"," if i else b"", i, 2 - i / 1e6)
            )
        file.write(b"]")
    assert path.stat().st_size > 25 * MEBIBYTE


def _many_names(path: Path) -> None:
    path.write_text("".join(f'{{"step": {i}, "loss": {2 - i / 1e6}, "m{i}": {i}}}\n' for i in range(8_000)))


def _long_names(path: Path) -> None:
    path.write_text("".join(f'{{"step": {i}, "loss": {2 - i / 1e6}, "{i}{"x" * 10_000}": 1}}\n' for i in range(400)))


def _many_columns(path: Path) -> None:
    names = ",".join(f"a{i:x}" for i in range(100_000))
    path.write_text(f"step,loss,{names}\n" + "".join(f"{i},{2 - i / 100}{',0' * 100_000}\n" for i in range(2)))


@pytest.mark.slow
@pytest.mark.timeout(900)  # of a machine that does a lot else; the seconds of the processor are compared
@pytest.mark.parametrize(
    ("make", "name", "said"),
    [
        (_history, "history.json", ""),
        (_many_names, "names.jsonl", "7000 x metric left out: more than 1,000 in one log"),
        (_long_names, "long.jsonl", "400 x metric left out: name of more than 256 characters"),
        (_many_columns, "wide.csv", "x metric left out: more than 1,000 in one log"),
    ],
)
def test_a_log_is_read_and_watched_within_the_memory_of_any_other(
    make: Callable[[Path], None], name: str, said: str, tmp_path: Path
) -> None:
    log = tmp_path / name
    make(log)
    read = ran("read", log)
    assert read.code == 0
    assert "loss" in read.out
    assert said in read.err
    assert read.err.count("left out: more") + read.err.count("left out: name") <= 1
    assert read.memory <= 256
    assert read.seconds < 30
    watched = ran("run", "--once", "--state", tmp_path / "state", log)
    assert watched.code == 0
    assert watched.memory <= 256
    assert sum(file.stat().st_size for file in (tmp_path / "state").iterdir()) < MEBIBYTE


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_a_bomb_delays_no_other_run_and_takes_no_memory(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    bomb = compress(bytes(16 * MEBIBYTE))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "train.jsonl.gz").write_bytes(bomb)
    (tmp_path / "b" / "train.jsonl").write_text(
        "".join(f'{{"step": {i}, "loss": {2 - i / 1e3}}}\n' for i in range(500))
    )
    watched = ran("run", "--once", "--format", "json", "--state", tmp_path / "state", tmp_path)
    assert watched.memory <= 128
    shown = ran("status", "--format", "json", "--state", tmp_path / "state")
    status = {record["name"]: record for record in map(json.loads, shown.out.splitlines())}
    assert status["b"]["step"] == 499


def test_a_name_in_a_csv_is_no_formula_and_numbers_stay_numbers(tmp_path: Path) -> None:
    names = ["=1+1", "+a", "-b", "@SUM(1)", "\tc", "\rd", "\u202ee\x1b[2J", "\uff1df"]
    log, out = tmp_path / "log.jsonl", tmp_path / "out.csv"
    record = json.dumps(dict.fromkeys(names, -1.5))[1:]
    log.write_text("".join(f'{{"step": {i}, "loss": -0.5, "\\ud800": 1, {record}\n' for i in range(3)))
    assert ran("read", log, "-o", out).code == 0
    header, *rows = csv.reader(out.read_text().splitlines())
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d")) for cell in header)
    assert "'=1+1" in header
    assert all(cell.isprintable() for cell in header)
    assert [float(cell) for cell in rows[0]].count(-1.5) == len(names)


def test_a_name_of_any_length_has_a_role_and_is_not_remembered() -> None:
    assert role("loss" + "x" * LONGEST_NAME) == "other"
    assert role("loss") == "train_loss"


def test_the_metrics_that_are_left_out_do_not_depend_on_the_reads_nor_on_a_restart(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("".join(f'{{"step": {i}, "loss": 1, "m{(i * 7919) % 3001}": {i}}}\n' for i in range(3001)))

    def names(limit: int, restart: bool) -> set[str]:
        reader, found = LogReader(log), set[str]()
        while (given := reader.read(final=True, limit=limit)) is not None:
            found.update(given[0].columns)
            if restart:
                state = json.loads(json.dumps(reader.state()))
                reader.close()
                reader = LogReader(log, state=state)
        reader.close()
        return found

    whole = names(1 << 21, restart=False)
    assert len(whole) == 1001
    assert names(10_000, restart=False) == names(10_000, restart=True) == whole


@pytest.mark.parametrize(
    "text",
    [
        b'{"log_history": [{"step": 1, "loss": NaN}, {"step": 2, "loss": 1e999}, 5, {"step": 3, "loss": 0.5}], "max_steps": 9}',
        b'[{"step": 1, "loss": 2, "\\ud800": 3}, {"step": 2, "loss": 1, "\xff": 1}]',
        b'{"train": [{"step": 1, "loss": 2}], "val": [{"step": 1, "loss": 3}]}',
        b'{"loss": [2.5, 2.25], "val_loss": [{"value": 2}, {"value": 1}]}',
        b'{"loss": {"steps": [1, 2], "values": [0.5, {"value": 0.25}]}}',
        b'{"meta":{"learn_metrics":[{"name":"RMSE"}],"learn_sets":["learn"]},"iterations":[{"learn":[0.5],"iteration":0}]}',
        b'{"a": {"b": {"c": [{"step": 1, "loss": 2}]}}, "results": {"x": [{"step": 1, "loss": 2}]}}',
    ],
)
def test_a_large_document_gives_the_samples_of_a_small_one(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    small, used = JsonDocument().feed(text)
    assert used == len(text)
    monkeypatch.setattr(large, "LARGE_BYTES", 8)
    monkeypatch.setattr(large, "_PIECE", 1)
    found, used = JsonDocument().feed(text)
    assert used == len(text)
    assert [str(sample) for sample in found.samples()] == [str(sample) for sample in small.samples()]
    assert dict(found.errors) == dict(small.errors)
    assert found.smoothing == small.smoothing
    assert found.total_steps == small.total_steps
