"""The journal is bounded, reads over the seam of its files, and shows what was changed or cut off."""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lrwatch.errors import InputError
from lrwatch.journal import HEAD_NAME, LOST_HEAD_NAME, JournalOptions
from lrwatch.store import KEPT_ANSWERS, MAX_OPEN_REQUESTS, Store

SMALL = JournalOptions(in_store=100, files=3)
"""Ten entries a file, so 130 entries are kept."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state", exclusive=True)
    yield made
    made.close()


def fill(store: Store, count: int, options: JournalOptions = SMALL, kind: str = "finding") -> None:
    """Append entries of two runs, and rotate after each few of them, as a daemon does after a turn."""
    steps = range(store.journal_length(), store.journal_length() + count)
    for begin in range(0, count, 7):
        with store.transaction():
            for i in steps[begin : begin + 7]:
                store.append("a" if i % 3 else "b", {"event": kind, "step": i}, 1e9 + i / 7)
        while store.rotate_journal(options):
            pass


def by_hand(store: Store, statement: str) -> None:
    """Change the store as somebody does who may write it."""
    other = sqlite3.connect(store.path)
    with other:
        other.execute(statement)
    other.close()


def files(store: Store) -> list[Path]:
    return sorted((store.path.parent / "journal").iterdir())


def test_older_entries_move_to_files_and_are_read_over_the_seam(store: Store) -> None:
    fill(store, 129)
    (in_store,) = store._db.execute("SELECT count(*) FROM journal").fetchone()
    assert in_store <= 100
    assert len(files(store)) == 3
    assert [entry.id for entry in store.journal()] == list(range(1, 130))
    assert [entry.event["step"] for entry in store.journal("b")] == list(range(0, 129, 3))
    assert [entry.id for entry in store.journal(after=14)] == list(range(15, 130))
    assert store.broken_link() is None
    first = json.loads(gzip.decompress(files(store)[0].read_bytes()).splitlines()[0])
    assert first[0] == 1, "a file is plain JSON lines for whoever has no lrwatch"
    assert files(store)[0].stat().st_mode & 0o077 == 0


def test_a_journal_of_any_length_has_a_bound_and_its_chain_goes_on(store: Store) -> None:
    fill(store, 400)
    ids = [entry.id for entry in store.journal()]
    assert ids == list(range(ids[0], 401))
    assert 120 <= len(ids) <= 140
    assert store.journal_dropped == ids[0] - 1
    assert len(files(store)) == 3
    assert store.broken_link() is None
    assert store.append("a", {"event": "phase"}, 1.0).id == 401


def test_without_files_older_entries_are_dropped(store: Store) -> None:
    fill(store, 300, JournalOptions(in_store=100, files=0))
    ids = [entry.id for entry in store.journal()]
    assert ids[-1] == 300
    assert len(ids) <= 107
    assert not (store.path.parent / "journal").exists()
    assert store.broken_link() is None


@pytest.mark.parametrize("cut", ["id > 117", "id >= 0"])
def test_a_cut_tail_is_seen_also_when_the_journal_has_grown_since(store: Store, cut: str) -> None:
    fill(store, 120)
    by_hand(store, f"DELETE FROM journal WHERE {cut}")
    first = store.broken_link()
    assert first in (118, 21)
    grown = store.append("a", {"event": "phase"}, 1.0)
    assert grown.id == 121, "the number of a lost entry is not given again"
    assert store.broken_link() == 121
    fault = store.journal_fault()
    assert fault is not None
    assert fault.found == f"entry 121 where {first} should follow"


def test_a_store_that_was_replaced_by_an_older_copy_is_seen_and_stays_seen(tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = Store(state, exclusive=True)
    fill(first, 20)
    first.close()
    shutil.copy(state / "lrwatch.sqlite", tmp_path / "old")
    second = Store(state, exclusive=True)
    assert second.journal_problem == ""
    fill(second, 5)
    second.close()
    shutil.copy(tmp_path / "old", state / "lrwatch.sqlite")
    reader = Store(state)
    assert reader.broken_link() == 21
    reader.close()
    third = Store(state, exclusive=True)
    assert "entry 25 was written and is not in" in third.journal_problem
    fill(third, 5, kind="command")  # other entries with the same numbers
    assert third.broken_link() == 25
    third.close()
    again = Store(state, exclusive=True)
    assert again.journal_problem == "", "told once"
    assert again.broken_link() == 25, "and shown until a person removes the evidence"
    (state / LOST_HEAD_NAME).unlink()
    assert again.broken_link() is None
    again.close()


def test_a_file_that_was_changed_or_removed_is_seen_and_hides_nothing_else(store: Store) -> None:
    fill(store, 125)
    second = files(store)[1]
    content = second.read_bytes()
    lines = gzip.decompress(content).replace(b'\\"step\\": 14', b'\\"step\\": 15')
    second.write_bytes(gzip.compress(lines))
    assert store.broken_link() == 15
    second.write_bytes(content[:-20])
    fault = store.journal_fault()
    assert fault is not None
    assert second.name in fault.found
    second.unlink()
    assert store.broken_link() == 11
    assert [entry.id for entry in store.journal() if entry.id > 20] == list(range(21, 126))


def test_what_was_noted_elsewhere_shows_a_journal_that_was_forged_as_a_whole(store: Store) -> None:
    fill(store, 30)
    noted = {entry.id: entry.hash for entry in store.journal()}
    assert store.journal_fault({30: noted[30]}) is None
    by_hand(store, "DELETE FROM journal")
    by_hand(store, f"UPDATE journal_ends SET id = 0, hash = '{'0' * 64}'")
    (store.path.parent / HEAD_NAME).unlink()
    fill(store, 30)
    assert store.broken_link() is None, "the forgery is complete"
    with store.transaction():
        store.append("a", {"event": "phase"}, 1.0)
    forged = Store(store.path.parent)
    assert forged.journal_fault({30: noted[30]}) is None, "these events were the same"
    assert forged.journal_fault({31: noted[30]}) is not None
    assert forged.journal_fault({40: noted[30]}) is not None
    forged.close()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="kills at a system call with strace")
def test_a_kill_at_the_system_calls_of_a_rotation_loses_no_entry(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from lrwatch.journal import JournalOptions
from lrwatch.store import Store
store = Store(Path(sys.argv[1]), exclusive=True)
store.rotate_journal(JournalOptions(in_store=100, files=1))
"""
    original = tmp_path / "state"
    made = Store(original, exclusive=True)
    with made.transaction():
        for i in range(121):
            made.append("a", {"event": "finding", "step": i}, float(i))
    made.rotate_journal(JournalOptions(in_store=100, files=1))  # so that the next one drops a file too
    made.close()
    kills = 0
    points = {"rename,renameat": (1,), "fsync,fdatasync": (1, 2, 3), "pwrite64": (1, 8, 16), "unlink,unlinkat": (1,)}
    for call, numbers in points.items():
        for number in numbers:
            state = tmp_path / "copy"
            shutil.copytree(original, state)
            trace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}"]
            trace += ["-e", f"inject={call}:signal=KILL:when={number}"]
            ended = subprocess.run([*trace, sys.executable, "-c", program, state], capture_output=True, check=False)
            assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
            kills += ended.returncode != 0
            store = Store(state, exclusive=True)
            ids = [entry.id for entry in store.journal()]
            assert ids in (list(range(1, 122)), list(range(11, 122)))
            assert store.broken_link() is None
            while store.rotate_journal(JournalOptions(in_store=100, files=1)):
                pass
            assert store.broken_link() is None
            assert len(files(store)) == 1
            store.close()
            shutil.rmtree(state)
    assert kills >= 6


def test_a_store_of_the_version_before_gets_its_anchors(tmp_path: Path) -> None:
    made = Store(tmp_path, exclusive=True)
    fill(made, 5)
    made.close()
    other = sqlite3.connect(tmp_path / "lrwatch.sqlite")
    other.executescript("DROP TABLE journal_ends; DROP TABLE journal_files; PRAGMA user_version = 1")
    other.close()
    (tmp_path / HEAD_NAME).unlink()
    again = Store(tmp_path, exclusive=True)
    assert again.broken_link() is None
    assert again.append("a", {"event": "phase"}, 1.0).id == 6
    by_hand(again, "DELETE FROM journal WHERE id = 6")
    assert again.broken_link() == 6
    again.close()


def test_answers_are_forgotten_and_open_requests_have_a_bound(store: Store) -> None:
    with store.transaction():
        for _ in range(2 * KEPT_ANSWERS):
            number = store.request("a", "anna", "hold", "", 1.0)
            store.answer(number, {"done": True})
            assert store.answer_to(number) == {"done": True}
    (kept,) = store._db.execute("SELECT count(*) FROM requests").fetchone()
    assert kept == KEPT_ANSWERS
    with store.transaction():
        for _ in range(MAX_OPEN_REQUESTS):
            store.request("gone", "anna", "hold", "", 1.0)
    with pytest.raises(InputError, match="fewer than 1000 requests"):
        store.request("gone", "anna", "hold", "", 1.0)
