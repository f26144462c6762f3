"""`lrwatch journal` over a journal that has outgrown its store, and one that somebody has cut."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.quadratic import Training
from support.waiting import eventually

from lrwatch.store import Store

pytestmark = pytest.mark.slow

RUNS = 3


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A daemon's state after a long time, and a few runs since; the store may hold a hundred entries."""
    made = tmp_path_factory.mktemp("journal")
    config = made / "lrwatch.toml"
    config.write_text('[journal]\nin_store = 100\nfiles = 2\n\n[daemon]\nstate = "state"\n')
    store = Store(made / "state", exclusive=True)
    with store.transaction():
        for number in range(180):
            store.append(f"old{number}", {"event": "phase", "step": number, "cause": "start"}, 1e9 + number)
    store.close()
    for number in range(RUNS):
        run = made / "runs" / f"run{number}"
        run.mkdir(parents=True)
        (run / "train.jsonl").write_text(Training().lines(5))
    ended = lrwatch("run", made / "runs", "--once", "--config", config)
    assert ended.returncode == 0, ended.stderr
    return made


def journal(home: Path, *arguments: str) -> tuple[int, list[int], str]:
    """Exit code, the numbers of the entries that are printed, and what stands on standard error."""
    ended = lrwatch("journal", "--config", home / "lrwatch.toml", "--format", "json", *arguments)
    return ended.returncode, [json.loads(line)["id"] for line in ended.stdout.splitlines()], ended.stderr


def test_every_entry_that_is_kept_is_printed_and_the_others_are_named(home: Path) -> None:
    code, ids, said = journal(home)
    assert code == 0, said
    assert ids == list(range(ids[0], ids[-1] + 1))
    assert 110 <= len(ids) <= 130
    assert said == f"entries 1 to {ids[0] - 1} are no longer kept: see [journal] files\n"
    assert len(list((home / "state" / "journal").iterdir())) == 2


def test_a_note_from_elsewhere_is_compared(home: Path) -> None:
    lines = lrwatch(
        "journal", "--config", home / "lrwatch.toml", "--format", "json", "--limit", "2"
    ).stdout.splitlines()
    before, last = (json.loads(line) for line in lines)
    assert journal(home, "--anchor", f"{last['id']}:{last['hash']}")[0] == 0
    code, _, said = journal(home, "--anchor", f"{last['id']}:{before['hash']}")
    assert (code, "another hash than the one that was noted" in said) == (4, True)
    assert journal(home, "--anchor", "17")[0] == 2


@pytest.mark.parametrize("whole", [False, True])
def test_deleted_newest_entries_are_missed(home: Path, tmp_path: Path, whole: bool) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    database = sqlite3.connect(copy / "state" / "lrwatch.sqlite")
    with database:
        newest = database.execute("SELECT max(id) FROM journal").fetchone()[0]
        database.execute("DELETE FROM journal WHERE id > ?", (0 if whole else newest - 3,))
    database.close()
    code, _, said = journal(copy)
    assert code == 4
    assert f"though {newest} was written" in said


def test_a_daemon_says_that_its_state_is_older_than_what_was_written(home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    head = copy / "state" / "journal-head"
    number = int(head.read_text()[:20])
    # As after newer entries, which the store that was put back has not.
    head.write_text(f"{number + 7:020} {'ab' * 32}\n")
    daemon = DaemonProcess(copy, copy / "runs", "--config", copy / "lrwatch.toml")
    try:
        eventually(lambda: f"entry {number + 7} was written and is not in" in daemon.stderr, what="a word about it")
        assert (daemon.value("lrwatch_journal_entries_total") or 0) >= number
    finally:
        assert daemon.end() == 0
    assert journal(copy)[0] == 4
    (copy / "state" / "journal-head.lost").unlink()
    assert journal(copy)[0] == 0
