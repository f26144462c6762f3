"""What a user asks about a log: `read`, `read --explain` and `init`, each as a process."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from support.daemon_process import lrwatch
from support.quadratic import Training

from lrwatch.cli.proposal import choose, toml
from lrwatch.config import SECTIONS, keys, load
from lrwatch.explain.scan import files, scan

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"
REAL_LOGS = sorted(REAL.glob("*/*"))

# The others are behind the environment variable LONG_TESTS: each starts two processes.
SOME_REAL_LOGS = REAL_LOGS if os.environ.get("LONG_TESTS") else REAL_LOGS[::4]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory for the logs of a test."""
    directory = tmp_path / "runs"
    directory.mkdir()
    return directory


def proposed(directory: Path) -> dict[str, object]:
    """The `[watch]` and `[run]` that `init` writes for `directory`, and that it is valid."""
    scanned = [scan(path) for path in files(directory)[0]]
    proposal = choose(directory, scanned)
    assert proposal is not None
    target = directory / "lrwatch.toml"
    target.write_text(toml(directory, scanned, proposal), encoding="utf-8")
    load(target)
    settings = msgspec.toml.decode(target.read_bytes())
    watch: dict[str, object] = settings["watch"] | settings["run"]
    target.unlink()
    return watch


# ---- read -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_read_says_what_the_steps_count_how_values_were_smoothed_and_where_it_begins_again(home: Path) -> None:
    log = home / "train.txt"
    log.write_text("".join(f'{{"epoch": {i % 6}, "loss": 1.5, "acc": 2}}\n' for i in range(12)))
    ended = lrwatch("read", log)
    assert ended.returncode == 0, ended.stderr
    assert "steps are epochs" in ended.stderr
    assert "in 2 segments" in ended.stderr
    (home / "hf").write_text(
        "".join(f"{{'loss': {9 - i}.5, 'learning_rate': 0.1, 'epoch': {i}.0}}\n" for i in range(5))
    )
    lines = lrwatch("read", home / "hf").stdout.splitlines()
    assert lines[0].split()[-1] == "smoothing"
    assert next(line for line in lines if line.startswith("loss")).endswith("mean since the last one")


@pytest.mark.slow
def test_read_writes_each_kind_of_table_with_the_same_rows(home: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    log = home / "train.jsonl"
    log.write_text(Training().lines(30))
    for ending in ("csv", "jsonl", "parquet"):
        assert lrwatch("read", log, "-o", home / f"out.{ending}").returncode == 0
    parquet = pd.read_parquet(home / "out.parquet")
    assert len(parquet) == 30
    pd.testing.assert_frame_equal(parquet, pd.read_csv(home / "out.csv"))
    assert len((home / "out.jsonl").read_text().splitlines()) == 30


@pytest.mark.slow
def test_parquet_without_its_library_says_what_to_install(home: Path) -> None:
    log = home / "train.jsonl"
    log.write_text(Training().lines(30))
    blocked = home / "blocked"
    for library in ("pyarrow", "fastparquet"):
        (blocked / library).mkdir(parents=True)
        (blocked / library / "__init__.py").write_text("raise ImportError('not here')\n")
    search = os.pathsep.join([str(blocked), *filter(None, [os.environ.get("PYTHONPATH")])])
    ended = lrwatch("read", log, "-o", home / "out.parquet", env={"PYTHONPATH": search})
    assert ended.returncode == 2
    assert "pip install 'lrwatch[parquet]'" in ended.stderr
    assert not (home / "out.parquet").exists()


@pytest.mark.slow
def test_explain_gives_a_reason_and_an_answer_for_a_log_that_gives_nothing(home: Path) -> None:
    log = home / "train.log"
    log.write_text("hello\n" + "".join(f"at {i} los: {i}.5\n" for i in range(20)))
    ended = lrwatch("read", "--explain", log)
    assert ended.returncode == 0, ended.stderr
    assert "none of 21 lines gave a sample" in ended.stdout
    assert "did you mean loss by 'los'?" in ended.stdout
    assert "watched would be: nothing." in ended.stdout
    explained = json.loads(lrwatch("read", "--explain", "--format", "json", log).stdout)
    assert explained["file"] == str(log)
    assert {reason["text"]: reason["lines"] for reason in explained["reasons"]} == {
        "no number in it": 1,
        "numbers, but no name that is a step, an epoch or a loss": 20,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, bytes(range(256)) * 99, b"PK\x03\x04\x14", b"\x1f\x8b\x08broken"]
)
def test_explain_ends_well_whatever_lies_in_the_file(home: Path, content: bytes) -> None:
    log = home / "what"
    log.write_bytes(content)
    ended = lrwatch("read", "--explain", log)
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr
    assert "watched would be: nothing." in ended.stdout


@pytest.mark.slow
def test_explain_looks_into_a_compressed_log_and_says_so(home: Path) -> None:
    packed = gzip.compress(b"".join(b"step %d loss %d.5\n" % (i, i) for i in range(5000)))
    (home / "train.log.gz").write_bytes(packed)
    explained = json.loads(lrwatch("read", "--explain", "--format", "json", home / "train.log.gz").stdout)
    assert (explained["format"], explained["gave"], explained["watched"]) == ("text", 5000, "loss")
    assert any("compressed" in note for note in explained["notes"])
    (home / "train.log.gz").write_bytes(packed[: len(packed) // 2])
    explained = json.loads(lrwatch("read", "--explain", "--format", "json", home / "train.log.gz").stdout)
    assert 0 < explained["gave"] < 5000
    assert any("break off" in note for note in explained["notes"])
    assert lrwatch("read", home / "train.log.gz").returncode == 0


@pytest.mark.slow
def test_a_database_is_read_explained_and_proposed_whoever_wrote_it(home: Path) -> None:
    database = home / "mlflow.db"
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute("CREATE TABLE other (a)")
    explained = lrwatch("read", "--explain", database)
    assert explained.returncode == 0, explained.stderr
    assert "found the tables other" in explained.stdout
    ended = lrwatch("read", database)
    assert (ended.returncode, "found the tables other" in ended.stderr) == (4, True)
    database.unlink()
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute(
            "CREATE TABLE metrics (key TEXT, value FLOAT, timestamp INTEGER, run_uuid TEXT, step INTEGER, is_nan BOOLEAN)"
        )
        opened.execute("CREATE TABLE runs (run_uuid TEXT, name TEXT)")
        rows = [("loss", 2 - i / 100, i, "a", i, False) for i in range(50)]
        opened.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", rows)
    explained = lrwatch("read", "--explain", database)
    assert "50 of 50 rows gave samples" in explained.stdout
    assert "watched would be: loss" in explained.stdout
    assert proposed(home)["paths"] in (["."], ["mlflow.db"])


@pytest.mark.slow
def test_explain_of_what_cannot_be_read_ends_with_4(home: Path) -> None:
    os.mkfifo(home / "pipe")
    for path in (home / "none", home, home / "pipe"):
        ended = lrwatch("read", "--explain", path)
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (4, "", 1), ended.stderr
    assert lrwatch("read", "--explain", "-o", "x.csv", home / "none").returncode == 2


# ---- init -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_init_writes_a_configuration_that_run_takes_and_documents_every_key(home: Path, tmp_path: Path) -> None:
    (home / "train.jsonl").write_text(Training().lines(300))
    (home / "notes.md").write_text("# what I tried\n")
    ended = lrwatch("init", home)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[1].split() == ["notes.md", "no", "metric", "in", "it"]
    text = (home / "lrwatch.toml").read_text()
    for key in keys():
        name = key.partition(".")[2]
        assert f"\n{name} = " in text or f"\n# {name} = " in text, key
    for section in SECTIONS:
        assert f"\n[{section}]\n" in text
    uncommented = "\n".join(
        line.removeprefix("# ") if " = " in line and line[2].islower() else line for line in text.splitlines()
    )
    (tmp_path / "all.toml").write_text(uncommented)
    assert load(tmp_path / "all.toml").policy == load(home / "lrwatch.toml").policy
    ran = lrwatch("run", "--once", "--config", home / "lrwatch.toml", "--state", tmp_path / "state", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.slow
def test_init_keeps_what_is_there_unless_it_is_forced(home: Path) -> None:
    (home / "train.jsonl").write_text(Training().lines(50))
    target = home / "lrwatch.toml"
    target.write_text("[policy]\nmode = 'auto'\n")
    ended = lrwatch("init", home)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (3, "", 1)
    assert "--force" in ended.stderr
    assert target.read_text() == "[policy]\nmode = 'auto'\n"
    printed = lrwatch("init", "--dry-run", home)
    assert target.read_text() == "[policy]\nmode = 'auto'\n"
    assert lrwatch("init", "--force", home).returncode == 0
    assert target.read_text() == printed.stdout
    assert sorted(path.name for path in home.iterdir()) == ["lrwatch.toml", "train.jsonl"]


@pytest.mark.slow
def test_init_without_a_log_says_what_it_looked_at_and_where_to_ask(home: Path) -> None:
    for path in (home, home / "none"):
        ended = lrwatch("init", path)
        assert ended.returncode == 4
    (home / "model.bin").write_bytes(bytes(range(256)) * 100)
    (home / "empty.log").touch()
    ended = lrwatch("init", home)
    assert ended.returncode == 4
    assert "none among 2 files" in ended.stderr
    assert "read --explain" in ended.stderr
    assert "empty" in ended.stdout
    assert not (home / "lrwatch.toml").exists()


def test_init_prints_what_it_found_for_programs_too(home: Path) -> None:
    (home / "train.jsonl").write_text('{"step": 1, "loss": 2}\n{"step": 2, "loss": 1}\n')
    found = json.loads(lrwatch("init", "--format", "json", home).stdout)
    assert found == {
        "v": 1, "file": "train.jsonl", "format": "jsonl", "rows": 2, "axis": "step", "metrics": ["loss"], "loss": "loss",
        "why": "",
    }  # fmt: skip


def test_a_directory_whose_files_are_all_logs_is_watched_as_a_whole(home: Path) -> None:
    (home / "train.jsonl").write_text(Training().lines(50))
    (home / "val.csv").write_text("step,val_loss\n10,2\n20,1.5\n30,1.25\n")
    assert proposed(home) == {"paths": ["."], "format": "auto"}


def test_the_finer_of_two_logs_with_the_same_loss_is_watched(home: Path) -> None:
    (home / "a_epochs.csv").write_text("epoch,loss\n0,2\n1,1.5\n2,1.25\n")
    (home / "b_steps.csv").write_text("step,loss\n" + "".join(f"{i},2\n" for i in range(100)))
    assert proposed(home)["paths"] == ["."]
    ended = lrwatch("replay", home)
    assert "up to step 99" in ended.stderr
    (home / "b_steps.csv").rename(home / "0_steps.csv")
    assert proposed(home)["paths"] == ["."]


def test_a_log_by_another_ending_and_a_file_that_is_none_give_a_list_of_files(home: Path) -> None:
    (home / "output").write_text("".join(f"step {i} loss {i}.5\n" for i in range(10)))
    (home / "notes.txt").write_text("nothing here\n")
    assert proposed(home)["paths"] == ["output"]


def test_the_metric_is_set_where_no_name_is_a_loss(home: Path) -> None:
    log = home / "log.csv"
    log.write_text("iter,RMSE\n0,2\n1,1\n2,0.5\n")
    assert proposed(home)["metric"] == "RMSE"
    log.write_text("step,lr,reward,time\n1,1,1,1\n2,1,2,1\n3,1,5,3\n")
    assert proposed(home)["metric"] == "reward"


def test_names_of_files_are_no_danger_to_the_configuration(home: Path) -> None:
    (home / 'a "quoted" # naïve [1].log2').write_text("".join(f"step {i} loss {i}.5\n" for i in range(10)))
    assert proposed(home)["paths"] == ['a "quoted" # naïve [1].log2']
    (home / "b\nmode = 'auto'.log").write_text("".join(f"step {i} loss {i}.5\n" for i in range(99)))
    assert proposed(home)["paths"] == ['a "quoted" # naïve [1].log2']


def test_hidden_files_and_what_lies_too_deep_are_left_alone(home: Path) -> None:
    (home / ".git").mkdir()
    (home / ".git" / "train.jsonl").write_text(Training().lines(5))
    deep = home.joinpath(*"abcdef")
    deep.mkdir(parents=True)
    (deep / "train.jsonl").write_text(Training().lines(5))
    found, left_out = files(home)
    assert found == []
    assert "levels deep" in left_out


@pytest.mark.slow
@pytest.mark.skipif(not REAL_LOGS, reason=f"the collection of real logs is not at {REAL}")
@pytest.mark.parametrize("log", SOME_REAL_LOGS, ids=[path.name for path in SOME_REAL_LOGS])
def test_run_works_unchanged_with_what_init_writes_for_any_real_log(log: Path, home: Path, tmp_path: Path) -> None:
    shutil.copy(log, home)
    assert lrwatch("init", home).returncode == 0
    ran = lrwatch("run", "--once", "--config", home / "lrwatch.toml", "--state", tmp_path / "state")
    assert ran.returncode == 0, ran.stderr
