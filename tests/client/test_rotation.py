"""`metrics.jsonl` is bounded, and whoever follows it gets each row once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lrwatch
from lrwatch.client.metrics import LEAST_METRICS_BYTES, METRICS_BYTES, MetricsFile
from lrwatch.protocol import METRICS_NAME, OBSERVED_NAME, ROTATED_NAME
from lrwatch.sources.reader import LogReader

BOUND = 4000


class Writer:
    """Appends numbered records to a bounded metrics file, in a directory that is a control directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        (directory / OBSERVED_NAME).touch()
        self.directory = directory
        self.folder = os.open(directory, os.O_RDONLY)
        self.file = MetricsFile(BOUND)
        self.step = 0

    def write(self, rows: int) -> None:
        records: list[Any] = [(self.step + i, 0.0, {"loss": 1.0 + self.step + i}, None, 1.0) for i in range(rows)]
        self.step += rows
        self.file.append(self.folder, records)

    def rotate(self) -> None:
        """Write until the file that was there has gone to the older half, and a row more is in the next."""
        before = (self.directory / METRICS_NAME).stat().st_ino
        while (self.directory / METRICS_NAME).stat().st_ino == before:
            self.write(1)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path / "control")
    yield made
    os.close(made.folder)


def steps_in(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


class Reader:
    """Reads the metrics as the daemon does."""

    def __init__(self, directory: Path, state: object = None) -> None:
        self.directory = directory
        self.reader = LogReader(directory / METRICS_NAME, state=state)  # type: ignore[arg-type]
        self.steps: list[int] = []

    def read(self) -> list[int]:
        while (read := self.reader.read()) is not None:
            column = read[0].columns.get("loss")
            self.steps += [] if column is None else [int(read[0].steps[row]) for row in column.rows]
        return self.steps

    def restart(self) -> Reader:
        """The same reader in another process."""
        state = json.loads(json.dumps(self.reader.state()))
        self.reader.close()
        after = Reader(self.directory, state)
        after.steps = self.steps
        return after


def test_the_bound_is_64_mib_and_can_be_set(tmp_path: Path) -> None:
    assert METRICS_BYTES == 64 * 2**20
    with pytest.raises(ValueError, match="metrics_bytes is 1048576 or more, found 1000"):
        lrwatch.attach(None, tmp_path, metrics_bytes=1000)
    with pytest.raises(TypeError, match="metrics_bytes is a whole number"):
        lrwatch.attach(None, tmp_path, metrics_bytes="64M")  # type: ignore[arg-type]


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_two_files_of_whole_lines_stay_within_the_bound_and_hold_the_newest(writer: Writer, at_once: int) -> None:
    for _ in range(0, 1000, at_once):
        writer.write(at_once)
        sizes = [path.stat().st_size for path in writer.directory.glob("metrics.jsonl*")]
        assert sum(sizes) <= BOUND
        assert max(sizes) <= BOUND // 2
    older, newer = steps_in(writer.directory / ROTATED_NAME), steps_in(writer.directory / METRICS_NAME)
    assert older + newer == list(range(older[0], writer.step))
    assert len(older) > 10


def test_a_line_longer_than_half_of_the_bound_is_in_one_file(writer: Writer) -> None:
    long: Any = (9, 0.0, {f"loss/{i}": 1.0 for i in range(500)}, None, 1.0)
    writer.write(3)
    writer.file.append(writer.folder, [long])
    assert steps_in(writer.directory / ROTATED_NAME) == [0, 1, 2]
    assert steps_in(writer.directory / METRICS_NAME) == [9]
    writer.write(1)
    assert steps_in(writer.directory / METRICS_NAME) == [3]
    writer.file.append(writer.folder, [long, (4, 0.0, {}, None, 1.0)])
    assert steps_in(writer.directory / ROTATED_NAME) == [9]
    assert steps_in(writer.directory / METRICS_NAME) == [4]


def test_a_line_that_a_full_disk_cut_is_ended_in_its_own_file(tmp_path: Path, writer: Writer) -> None:
    writer.write(3)
    path = writer.directory / METRICS_NAME
    path.write_bytes(path.read_bytes() + b'{"step": 3, "lo')  # of a killed process
    writer.rotate()
    older = (writer.directory / ROTATED_NAME).read_bytes().splitlines()
    assert older[3] == b'{"step": 3, "lo'
    assert json.loads(older[4])["step"] == 3


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("torn", [False, True])
def test_a_file_is_filled_to_half_of_the_bound_and_not_a_byte_further(writer: Writer, torn: bool, over: int) -> None:
    writer.write(1)
    path, older = writer.directory / METRICS_NAME, writer.directory / ROTATED_NAME
    row = path.stat().st_size
    before = BOUND // 2 - 3 * row + over
    path.write_bytes(b" " * (before - 1) + (b"" if torn else b"\n"))  # the writer ends a torn line with the byte
    writer.write(3)
    if over:
        assert older.stat().st_size == before + 2 * row
        assert steps_in(path) == [3]
    else:
        assert path.stat().st_size == BOUND // 2
        assert not older.exists()


@pytest.mark.parametrize("meanwhile", ["followed", "evicted", "stopped"])
@pytest.mark.parametrize("behind", [0, 5])
def test_each_row_comes_once_over_many_rotations(writer: Writer, meanwhile: str, behind: int) -> None:
    writer.write(2)
    reader = Reader(writer.directory)
    for _ in range(5):
        reader.read()
        if meanwhile == "evicted":
            reader.reader.tail.close()
        writer.write(behind)
        writer.rotate()
        if meanwhile == "stopped":
            reader = reader.restart()
    assert reader.read() == list(range(writer.step))
    assert reader.reader.tail.errors == {}


@pytest.mark.parametrize("meanwhile", ["followed", "evicted", "stopped"])
def test_after_two_rotations_between_two_looks_the_older_half_is_read_too(writer: Writer, meanwhile: str) -> None:
    writer.write(2)
    reader = Reader(writer.directory)
    reader.read()
    if meanwhile == "evicted":
        reader.reader.tail.close()
    if meanwhile == "stopped":
        reader = reader.restart()
    known = reader.steps.copy()
    writer.rotate()
    writer.rotate()
    kept = steps_in(writer.directory / ROTATED_NAME) + steps_in(writer.directory / METRICS_NAME)
    if meanwhile == "followed":  # the open file has what its name has lost
        known, kept = [], list(range(writer.step))
    assert reader.read() == known + kept
    writer.rotate()
    assert reader.read()[-1] == writer.step - 1
    assert len(set(reader.steps)) == len(reader.steps)


def test_who_comes_late_gets_both_files_in_their_order(writer: Writer) -> None:
    writer.write(400)
    kept = steps_in(writer.directory / ROTATED_NAME) + steps_in(writer.directory / METRICS_NAME)
    reader = Reader(writer.directory)
    assert reader.read() == kept
    reader = reader.restart()
    writer.rotate()
    assert reader.read() == list(range(kept[0], writer.step))


def test_the_older_half_is_not_read_again_when_the_newer_one_is_deleted(writer: Writer) -> None:
    writer.write(400)
    reader = Reader(writer.directory)
    reader.read()
    read = reader.steps.copy()
    (writer.directory / METRICS_NAME).unlink()
    writer.write(2)
    assert reader.restart().read() == [*read, 400, 401]


def test_the_log_of_another_writer_is_begun_where_it_is(tmp_path: Path) -> None:
    (tmp_path / METRICS_NAME).write_text('{"step": 5, "loss": 1.0}\n' * 3)
    (tmp_path / ROTATED_NAME).write_text('{"step": 4, "loss": 1.0}\n' * 3)
    assert set(Reader(tmp_path).read()) == {5}


def test_an_attached_client_keeps_the_bound(tmp_path: Path) -> None:
    with lrwatch.attach(None, tmp_path, metrics_bytes=LEAST_METRICS_BYTES, poll_seconds=0.01) as watch:
        for step in range(40_000):
            watch.step(step, loss=1.0)
            while len(watch._queue) > 4000:  # the bound is the subject, not what a full queue drops
                watch._box.wake.set()
                os.sched_yield()
    assert watch.errors == {}
    assert sum((tmp_path / name).stat().st_size for name in (METRICS_NAME, ROTATED_NAME)) <= LEAST_METRICS_BYTES
    assert steps_in(tmp_path / METRICS_NAME)[-1] == 39_999
