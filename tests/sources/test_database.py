"""The databases of experiment trackers, in their schema, read while another process writes them."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lrwatch.core.sample import Batch
from lrwatch.sources.database import Database, is_database

MLFLOW = """
CREATE TABLE runs (run_uuid VARCHAR(32) NOT NULL, name VARCHAR(250), status VARCHAR(9), CONSTRAINT run_pk PRIMARY KEY (run_uuid));
CREATE TABLE metrics (key VARCHAR(250) NOT NULL, value FLOAT NOT NULL, timestamp BIGINT NOT NULL, run_uuid VARCHAR(32) NOT NULL,
  step BIGINT DEFAULT '0' NOT NULL, is_nan BOOLEAN DEFAULT '0' NOT NULL,
  CONSTRAINT metric_pk PRIMARY KEY (key, timestamp, step, run_uuid, value, is_nan));
INSERT INTO runs VALUES ('a1', 'tidy-fox', 'RUNNING'), ('b2', 'calm-owl', 'RUNNING'), ('c3', 'calm-owl', 'RUNNING');
"""
TRACKIO = """
PRAGMA journal_mode = WAL;
CREATE TABLE metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, timestamp TEXT NOT NULL, run_name TEXT NOT NULL,
  step INTEGER NOT NULL, metrics TEXT NOT NULL, log_id TEXT, space_id TEXT);
"""
OLD_TRACKIO = """
CREATE TABLE metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL, run_name TEXT NOT NULL,
  step INTEGER NOT NULL, metrics TEXT NOT NULL);
"""
INTO_TRACKIO = "INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) VALUES "

# Runs each line of SQL that comes, and answers with what went wrong, or an empty line.
_WRITER = """
import sqlite3, sys
opened = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
for line in sys.stdin:
    try:
        opened.execute(line)
        print(flush=True)
    except sqlite3.Error as error:
        print(error, flush=True)
"""


def write(path: Path, script: str) -> None:
    """Write and let go."""
    with closing(sqlite3.connect(path)) as opened:
        opened.executescript(script)


def mlflow(run: str, key: str, value: float | str, step: int, is_nan: int = 0) -> str:
    return f"INSERT INTO metrics SELECT '{key}', {value}, 1 + count(*), '{run}', {step}, {is_nan} FROM metrics;"


def trackio(run: str, step: int, metrics: str, run_id: str = "") -> str:
    return f"{INTO_TRACKIO} ('{run_id or run}', '2026-01-01T00:00:00', '{run}', {step}, '{metrics}');"


def samples(*batches: Batch) -> list[tuple[str, int, str]]:
    return [(s.metric, s.step, repr(s.value)) for batch in batches for s in batch.samples()]


def content(directory: Path) -> dict[str, bytes]:
    """All files of a directory but the shared memory, whose lock bytes change."""
    return {p.name: b"" if p.name.endswith("-shm") else p.read_bytes() for p in sorted(directory.iterdir())}


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Another process that has `run.db` open: give it SQL, get what went wrong."""
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, tmp_path / "run.db"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout

        def execute(sql: str) -> str:
            assert process.stdin
            assert process.stdout
            process.stdin.write(sql.strip().replace("\n", " ") + "\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        yield execute
        process.stdin.close()
        assert process.wait(10) == 0


def test_a_database_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    write(tmp_path / "run.db", MLFLOW)
    assert is_database((tmp_path / "run.db").read_bytes())
    assert not is_database(b"SQLite format 3")


def test_mlflow_gives_all_values_with_their_steps(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    rows = [mlflow("a1", "loss", 2.5, 0), mlflow("a1", "train/acc", 0.5, 0), mlflow("a1", "loss", 0, 1, is_nan=1),
            mlflow("a1", "loss", 1.7976931348623157e308, 2), mlflow("a1", "loss", -1.7976931348623157e308, 2),
            mlflow("a1", "loss", 1.5, -3), mlflow("a1", "loss", "'high'", 4)]  # fmt: skip
    write(path, MLFLOW + "".join(rows))
    database = Database(path)
    batch = database.read()
    assert samples(batch) == [
        ("loss", 0, "2.5"), ("train/acc", 0, "0.5"), ("loss", 1, "nan"), ("loss", 2, "inf"), ("loss", 2, "-inf"), ("loss", 2, "1.5"),
    ]  # fmt: skip
    assert batch.rows == 5  # the two metrics of step 0 are one record
    assert (batch.lines, batch.errors) == (7, {"step is not a step": 1, "value is not a number": 1})
    assert (database.name, database.problem, database.lag) == ("mlflow", "", 0)


def test_trackio_gives_the_numbers_in_its_objects(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    rows = [trackio("fox", 0, '{"loss": 2.5, "s": "text", "flag": true, "n": {"a": 1}}'),
            trackio("fox", 3, '{"loss": "NaN", "x": "-Infinity", "t": {"_type": "trackio.table", "rows": 3}}'),
            trackio("fox", 4, "no object"), trackio("fox", 5, f'{{"loss": "{"x" * (1 << 20)}"}}'), trackio("fox", 6, '{"loss": 1}')]  # fmt: skip
    write(path, TRACKIO + "".join(rows))
    database = Database(path)
    batch = database.read()
    assert samples(batch) == [
        ("loss", 0, "2.5"), ("n.a", 0, "1.0"), ("loss", 3, "nan"), ("x", 3, "-inf"), ("loss", 6, "1.0"),
    ]  # fmt: skip
    assert batch.errors == {"not a JSON object": 1, "row too long": 1}
    assert database.name == "trackio"


def test_an_old_trackio_knows_a_run_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    into = "INSERT INTO metrics (timestamp, run_name, step, metrics) VALUES ('2026', "
    write(path, OLD_TRACKIO + into + """'fox', 0, '{"loss": 2}');""" + into + """'owl', 0, '{"loss": 3}');""")
    assert samples(Database(path).read()) == [("loss", 0, "2.0"), ("owl/loss", 0, "3.0")]


def test_a_later_run_has_its_name_in_front_and_renames_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    write(path, MLFLOW + mlflow("a1", "loss", 3, 0))
    database = Database(path)
    first = database.read()
    write(path, mlflow("b2", "loss", 4, 0) + mlflow("c3", "loss", 5, 0) + mlflow("a1", "loss", 2, 1))
    second = database.read()
    write(path, "UPDATE runs SET name = 'renamed';" + mlflow("b2", "loss", 3, 1) + mlflow("a1", "loss", 1, 2))
    database = Database(path, json.loads(json.dumps(database.state())))
    followed = samples(first, second, database.read())
    assert followed == [
        ("loss", 0, "3.0"), ("calm-owl/loss", 0, "4.0"), ("calm-owl-c3/loss", 0, "5.0"), ("loss", 1, "2.0"),
        ("calm-owl/loss", 1, "3.0"), ("loss", 2, "1.0"),
    ]  # fmt: skip


def test_rows_are_read_once_however_few_at_a_time_and_through_any_restart(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    write(path, TRACKIO + "".join(trackio("fox", i, f'{{"loss": {i / 4}}}') for i in range(7)))
    whole = samples(Database(path).read())
    assert len(whole) == 7
    database = Database(path)
    found = []
    for lag in (5, 3, 1, 0):
        found += samples(database.read(2))
        assert database.lag == lag
        database = Database(path, json.loads(json.dumps(database.state())))
    assert found == whole
    assert samples(database.read(2)) == []


@pytest.mark.parametrize("schema", [MLFLOW, TRACKIO, OLD_TRACKIO])
def test_reading_changes_nothing_in_the_directory(tmp_path: Path, schema: str) -> None:
    write(tmp_path / "run.db", schema)
    before = content(tmp_path)
    database = Database(tmp_path / "run.db")
    assert len(database.read()) == 0
    assert database.problem == ""
    database.close()
    assert content(tmp_path) == before
    assert list(before) == ["run.db"]


def test_a_write_ahead_log_is_read_while_its_writer_lives(tmp_path: Path, writer: Callable[[str], str]) -> None:
    write(tmp_path / "run.db", TRACKIO)
    database = Database(tmp_path / "run.db")
    for step in range(3):
        assert writer(trackio("fox", step, '{"loss": 1}')) == ""
        before = content(tmp_path)
        assert samples(database.read()) == [("loss", step, "1.0")]
        assert content(tmp_path) == before
        assert list(before) == ["run.db", "run.db-shm", "run.db-wal"]
    # A transaction that is open hides its rows and keeps nobody out.
    assert writer("BEGIN IMMEDIATE") == ""
    assert writer(trackio("fox", 3, '{"loss": 1}')) == ""
    assert samples(database.read()) == []
    assert writer("COMMIT") == ""
    assert samples(database.read()) == [("loss", 3, "1.0")]
    assert not database.errors


def test_a_database_that_is_locked_is_read_later_and_its_writer_is_never_kept_out(
    tmp_path: Path, writer: Callable[[str], str]
) -> None:
    write(tmp_path / "run.db", MLFLOW)
    database = Database(tmp_path / "run.db")
    assert writer("BEGIN EXCLUSIVE") == ""
    assert writer(mlflow("a1", "loss", 2, 0)) == ""
    assert len(database.read()) == 0
    assert database.errors == {"database busy": 1}
    assert database.problem == ""
    assert writer("COMMIT") == ""
    assert samples(database.read()) == [("loss", 0, "2.0")]
    for step in range(20):  # the writer has no patience (timeout=0): a lock that stayed would be an error
        assert writer(mlflow("a1", "loss", 1, step)) == ""
        assert len(database.read()) == 1


def test_a_log_without_its_shared_memory_is_a_problem_with_a_way_out(
    tmp_path: Path, writer: Callable[[str], str]
) -> None:
    write(tmp_path / "run.db", TRACKIO)
    assert writer(trackio("fox", 0, '{"loss": 1}')) == ""
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("run.db", "run.db-wal"):
        (copy / name).write_bytes((tmp_path / name).read_bytes())
    database = Database(copy / "run.db")
    assert len(database.read()) == 0
    assert "run.db-wal, which cannot be read without run.db-shm" in database.problem
    assert sorted(file.name for file in copy.iterdir()) == ["run.db", "run.db-wal"]
    assert database.errors.total() == 1


def test_a_database_that_takes_the_name_of_another_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    write(path, TRACKIO + trackio("fox", 0, '{"loss": 1}') + trackio("fox", 1, '{"loss": 2}'))
    database = Database(path)
    assert len(database.read()) == 2
    write(tmp_path / "new.db", TRACKIO + trackio("owl", 0, '{"loss": 3}'))
    (tmp_path / "new.db").replace(path)
    assert samples(database.read()) == [("loss", 0, "3.0")]
    assert (database.rotations, database.truncations) == (1, 0)


def test_rows_that_were_deleted_are_counted_and_nothing_is_read_twice(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    write(path, MLFLOW + "".join(mlflow("a1", "loss", i, i) for i in range(4)))
    database = Database(path)
    assert len(database.read()) == 4
    write(path, "DELETE FROM metrics WHERE step > 1;")
    assert len(database.read()) == 0
    assert (database.rotations, database.truncations, database.errors) == (0, 1, {"rows were deleted": 1})
    write(path, mlflow("a1", "loss", 9, 9))
    assert samples(database.read()) == [("loss", 9, "9.0")]


def test_a_database_that_is_not_there_yet_is_read_as_soon_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    database = Database(path)
    assert len(database.read()) == 0
    assert database.problem == f"{path} does not exist yet; it is read as soon as it is there"
    path.write_bytes(b"")
    assert len(database.read()) == 0
    assert "empty" in database.problem
    write(path, MLFLOW)
    assert len(database.read()) == 0
    assert database.problem == ""
    write(path, mlflow("a1", "loss", 2, 0))
    assert len(database.read()) == 1


def test_what_cannot_be_read_is_a_problem_and_no_exception(tmp_path: Path) -> None:
    other, schema, text, damaged = (tmp_path / name for name in ("other.db", "schema.db", "text.db", "damaged.db"))
    write(other, "CREATE TABLE books (title TEXT); CREATE TABLE authors (name TEXT);")
    write(schema, "CREATE TABLE metrics (loss REAL);")
    text.write_text("loss 1\n" * 9)
    damaged.write_bytes(b"SQLite format 3\0" + b"\x55" * 4000)
    found = {path.name: Database(path) for path in (other, schema, text, damaged, tmp_path)}
    for database in found.values():
        assert len(database.read()) == 0
    assert "expected MLflow's table metrics (is_nan, key, run_uuid, step, value)" in found["other.db"].problem
    assert "found the tables authors, books" in found["other.db"].problem
    assert "found a table metrics with loss" in found["schema.db"].problem
    assert "is not an SQLite database" in found["text.db"].problem
    assert "cannot be read (" in found["damaged.db"].problem
    assert found["damaged.db"].errors.total() == 1
    assert "not a regular file" in found[tmp_path.name].problem
