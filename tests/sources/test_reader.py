"""From the bytes of a log that grows, is rewritten or replaced, to each of its samples once."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.format_samples import LOGS
from support.waiting import eventually

from lrwatch import formats
from lrwatch.core.sample import Sample
from lrwatch.errors import ConfigError
from lrwatch.formats import Format
from lrwatch.sources.reader import SMALL_HEAD_BYTES, LogReader


@dataclass
class Log:
    """A log, and what the daemon has been given of it."""

    path: Path
    name: str = "auto"
    stopped: bool = False
    reader: LogReader = field(init=False)
    given: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader = LogReader(self.path, self.name)

    def read(self, *, final: bool = False) -> list[Sample]:
        """Read what is there, and return the new samples without epochs."""
        new: list[Sample] = []
        while (found := self.reader.read(final=final)) is not None:
            new += [sample for sample in found[0].samples() if sample.metric != "epoch"]
            if self.stopped:
                self.restart()
        self.given += new
        return new

    def restart(self) -> None:
        """Another process goes on with what the database holds."""
        state = json.loads(json.dumps(self.reader.state()))
        self.reader.close()
        self.reader = LogReader(self.path, self.name, state)

    def losses(self) -> list[int]:
        """The steps of all losses that were given."""
        return [sample.step for sample in self.given if sample.metric == "loss"]


@pytest.fixture(params=["followed", "restarted"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path / "metrics.csv", stopped=request.param == "restarted")
    yield made
    made.reader.close()


def csv(start: int, end: int, *, seed: float = 0.0, columns: str = "step,loss", more: str = "") -> str:
    return f"{columns}\n" + "".join(f"{step},{10 / (step + 1) + seed}{more}\n" for step in range(start, end))


def rewrite(path: Path, text: str) -> None:
    """In place, as a writer does that opens its file with "w"."""
    with path.open("w") as file:
        file.write(text)


# ---- counted once -------------------------------------------------------------------------------------------------


def test_a_csv_that_is_rewritten_with_a_new_column_counts_nothing_twice(log: Log) -> None:
    rewrite(log.path, csv(0, 100))
    log.read()
    rewrite(log.path, csv(0, 100, columns="step,loss,val_loss", more=",") + "99,,3.5\n")
    assert log.read() == [Sample("val_loss", 99, 3.5)]
    with log.path.open("a") as file:
        file.write("100,2.0,\n")
    assert log.read() == [Sample("loss", 100, 2.0)]
    assert log.losses() == list(range(101))


def test_a_rewrite_that_is_seen_empty_and_half_done_counts_nothing_twice(log: Log) -> None:
    rewrite(log.path, csv(0, 100))
    log.read()
    whole = csv(0, 103, columns="step,loss,val_loss", more=",")
    for end in (0, 11, 30, len(whole) // 2, len(whole)):
        rewrite(log.path, whole[:end])
        log.read()
    assert log.losses() == list(range(103))
    assert not log.reader.tail.errors


def test_a_column_order_that_changes_at_the_rewrite_is_no_matter(log: Log) -> None:
    rewrite(log.path, "loss,step\n2.5,1\n2.25,2\n")
    log.read()
    rewrite(log.path, "step,lr,loss\n1,,2.5\n2,,2.25\n3,0.1,2.0\n")
    assert log.read() == [Sample("loss", 3, 2.0), Sample("lr", 3, 0.1)]


def test_another_training_that_truncates_the_log_is_new_from_its_first_row(log: Log) -> None:
    rewrite(log.path, csv(0, 50, columns="epoch,loss"))
    log.read()
    rewrite(log.path, csv(0, 20, seed=0.5, columns="epoch,loss"))
    log.read()
    assert log.losses() == [*range(50), *range(20)]


def test_copied_and_truncated_a_csv_goes_on_without_its_header(log: Log) -> None:
    rewrite(log.path, csv(0, 50))
    log.read()
    shutil.copy(log.path, log.path.with_suffix(".1"))
    rewrite(log.path, csv(50, 55).partition("\n")[2])
    log.read()
    assert log.losses() == list(range(55))
    assert log.reader.format == "csv"


@pytest.mark.parametrize("name", ["auto", "csv"])
def test_a_format_that_was_named_begins_anew_with_its_header_and_without(name: str, tmp_path: Path) -> None:
    log = Log(tmp_path / "log", name)
    rewrite(log.path, csv(0, 50))
    log.read()
    rewrite(log.path, csv(50, 52).partition("\n")[2])
    log.read()
    rewrite(log.path, csv(52, 53, columns="step,train/loss"))
    assert [sample.metric for sample in log.read()] == ["train/loss"]
    assert log.losses() == list(range(52))
    log.reader.close()


def test_a_renamed_log_and_its_successor_are_given_once_each(log: Log) -> None:
    rewrite(log.path, csv(0, 50))
    log.read()
    log.path.rename(log.path.with_suffix(".1"))
    rewrite(log.path, csv(50, 60))
    log.read()
    assert log.losses() == list(range(60))


def test_a_shorter_copy_from_a_checkpoint_is_new_where_it_goes_another_way(log: Log) -> None:
    rewrite(log.path, csv(0, 100))
    log.read()
    rewrite(log.path, csv(0, 90))
    assert log.read() == []
    with log.path.open("a") as file:
        file.write(csv(90, 105, seed=0.1).partition("\n")[2])
    log.read()
    assert log.losses() == [*range(100), *range(90, 105)]
    assert log.reader.repeated == (90 if not log.stopped else log.reader.repeated)


# ---- documents ----------------------------------------------------------------------------------------------------


def trainer_state(steps: int, *, seed: float = 0.0, since: int = 0) -> str:
    history = [{"step": i, "loss": 10 / (i + 1) + (seed if i >= since else 0.0)} for i in range(steps)]
    return json.dumps({"best_metric": None, "log_history": history, "global_step": steps}, indent=2)


def replace_with(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def test_a_document_that_is_written_anew_as_a_whole_gives_what_is_new(log: Log) -> None:
    replace_with(log.path, trainer_state(20))
    log.read()
    replace_with(log.path, trainer_state(30))
    log.read()
    assert log.losses() == list(range(30))
    replace_with(log.path, trainer_state(25))  # a checkpoint took its place
    assert log.read() == []
    replace_with(log.path, trainer_state(35, seed=0.5, since=25))
    log.read()
    assert log.losses() == [*range(30), *range(25, 35)]
    assert log.reader.format == "json"


def test_half_a_document_is_waited_for(log: Log) -> None:
    text = trainer_state(20)
    rewrite(log.path, text[: len(text) // 2])
    log.read()
    rewrite(log.path, text)
    log.read()
    assert log.losses() == list(range(20))


def test_where_a_document_was_a_log_of_lines_is_read_as_one(log: Log) -> None:
    replace_with(log.path, trainer_state(20))
    log.read()
    replace_with(log.path, csv(20, 25))
    log.read()
    with log.path.open("a") as file:
        file.write("25,0.5\n")
    log.read()
    assert log.losses() == list(range(26))
    assert log.reader.format == "csv"


def test_the_metric_of_a_file_of_mlflow_is_called_as_the_path_says(tmp_path: Path) -> None:
    path = tmp_path / "metrics" / "train" / "loss"
    path.parent.mkdir(parents=True)
    path.write_text("1750103416917 0.75 0\n1750103417917 0.5 1\n1750103418917 0.25 2\n")
    log = Log(path)
    assert log.read(final=True)[-1] == Sample("train/loss", 2, 0.25)
    log.reader.close()


# ---- databases ----------------------------------------------------------------------------------------------------


def test_a_database_is_known_by_its_content_and_asked_for_new_rows(log: Log) -> None:
    """With the tables that Trackio makes."""
    assert log.read() == []  # it does not exist yet
    with closing(sqlite3.connect(log.path)) as writer:
        writer.execute("CREATE TABLE metrics (id INTEGER PRIMARY KEY, run_id, run_name, step, metrics)")

        def row(step: int) -> None:
            said = json.dumps({"loss": 10 / (step + 1), "name": "no number"})
            writer.execute(
                "INSERT INTO metrics (run_id, run_name, step, metrics) VALUES ('1', 'a', ?, ?)", (step, said)
            )
            writer.commit()

        for step in range(5):
            row(step)
        log.read()
        assert log.losses() == [0, 1, 2, 3, 4]
        for step in range(5, 8):
            row(step)
        log.read()
    assert log.losses() == list(range(8))
    assert log.reader.format == "trackio"
    assert (log.reader.tail.lag, log.reader.tail.problem) == (0, "")


# ---- finding the format -------------------------------------------------------------------------------------------


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each head that a format was looked for in."""
    looked: list[int] = []
    detect = formats.detect

    def count(head: bytes, *, final: bool = False) -> Format | None:
        looked.append(len(head))
        return detect(head, final=final)

    monkeypatch.setattr(formats, "detect", count)
    return looked


def test_bytes_that_are_not_understood_are_looked_at_once(tmp_path: Path, looks: list[int]) -> None:
    log = Log(tmp_path / "train.log")
    log.path.write_text("hello\n" * 50)
    for _ in range(20):
        assert log.read() == []
    assert looks == [300]


def test_a_long_head_is_looked_at_again_when_it_has_grown_by_a_tenth_or_stands_still(
    tmp_path: Path, looks: list[int]
) -> None:
    log = Log(tmp_path / "train.log")
    log.path.write_text("hello\n" * SMALL_HEAD_BYTES)
    log.read()
    with log.path.open("a") as file:
        for _ in range(1000):
            file.write("hello\n")
            file.flush()
            log.read()
    assert len(looks) == 3
    log.read()
    assert looks[-1] == log.path.stat().st_size
    with log.path.open("a") as file:
        file.write(csv(0, 3))
    log.read()
    log.read()
    assert log.losses() == [0, 1, 2], "a log that stands still is understood however little it grew"


def test_a_finished_log_is_understood_to_its_unterminated_end(tmp_path: Path) -> None:
    log = Log(tmp_path / "train.jsonl")
    log.path.write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.25}')
    assert log.read() == [Sample("loss", 1, 2.5)]
    assert log.read(final=True) == [Sample("loss", 2, 2.25)]


def test_a_format_that_does_not_exist_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="jsonl"):
        LogReader(tmp_path / "x", "jsonlines")


# ---- standard input -----------------------------------------------------------------------------------------------


def test_standard_input_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    out, into = os.pipe()
    stdin = os.dup(0)
    os.dup2(out, 0)
    try:
        log = Log(Path("-"))
        os.write(into, b"step 1 loss 2.5\nstep 2 loss 2.25\nstep 3 loss")
        eventually(lambda: log.read() and len(log.losses()) >= 2)
        os.write(into, b" 2.0")
        os.close(into)
        eventually(lambda: log.read())
        assert log.losses() == [1, 2, 3]
        assert log.reader.state()["tail"]["restartable"] is False
        log.reader.close()
    finally:
        os.dup2(stdin, 0)
        os.close(stdin)
        os.close(out)


# ---- a state that is kept -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOGS)
def test_a_state_does_not_change_while_its_reader_reads_on(tmp_path: Path, name: str) -> None:
    """Rows may wait for another log: what is saved meanwhile is the state before them."""
    path = tmp_path / name
    content = LOGS[name]
    path.write_bytes(content[: len(content) // 2])
    reader = LogReader(path)
    reader.read()
    state = reader.state()
    kept = json.dumps(state)
    path.write_bytes(content)
    reader.read(final=True)
    assert json.dumps(state) == kept
    reader.close()
