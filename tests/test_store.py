from __future__ import annotations

import math
import os
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrwatch.errors import InputError
from lrwatch.store import (
    BRIEF_SECONDS,
    KEPT_REMOVED,
    SCHEMA_VERSION,
    StateGoneError,
    Store,
    daemon_is_running,
    default_directory,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state")
    yield store
    store.close()


def test_what_is_saved_is_there_in_the_next_life(tmp_path: Path) -> None:
    first = Store(tmp_path)
    with first.transaction():
        first.save_run("a", {"x": 1})
        first.save_log("a", "/logs/b.log", {"offset": 7})
        first.save_log("a", "/logs/a.log", {"offset": 8})
        entry = first.append("a", {"event": "finding", "step": 3}, 1.5)
    first.close()
    second = Store(tmp_path)
    assert second.load_run("a") == {"x": 1}
    assert second.load_log("a", "/logs/b.log") == {"offset": 7}
    assert second.logs("a") == ["/logs/a.log", "/logs/b.log"]
    assert second.run_of("/logs/a.log") == "a"
    assert second.run_of("/logs/c.log") is None
    assert list(second.journal()) == [entry]
    assert second.load_run("b") is None
    assert second.load_log("a", "elsewhere") is None
    second.close()


@pytest.mark.parametrize(
    "state",
    [
        {
            "values": [1.5, -math.inf, 5e-324, 1.7976931348623157e308],
            "counts": [0, -1, 2**63, 2**64 - 1],
            "none": None,
            "yes": True,
        },
        {"path": os.fsdecode(b"/logs/\xff.log"), "x": math.inf},
        {"digits": 10**40},
        {"of numpy": np.float64(0.1)},
    ],
    ids=["numbers", "a name that is no valid Unicode", "a number of many digits", "a number of numpy"],
)
def test_a_state_is_read_as_it_was_saved(store: Store, state: dict[str, Any]) -> None:
    store.save_run("a", state)
    store.save_log("a", "/logs/a.log", state)
    store.save_status("a", state)
    assert store.load_run("a") == store.load_log("a", "/logs/a.log") == store.statuses()["a"] == state


def test_nan_stays_nan(store: Store) -> None:
    store.save_run("a", {"loss": math.nan})
    loaded = store.load_run("a")
    assert loaded is not None
    assert math.isnan(loaded["loss"])


def test_what_is_no_plain_value_is_not_saved(store: Store) -> None:
    with pytest.raises(TypeError, match="a state holds plain values, found complex"):
        store.save_run("a", {"x": 1j})


def test_states_that_are_json_are_read_after_an_upgrade(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with sqlite3.connect(store.path) as database:
        database.execute("INSERT INTO runs VALUES ('a', '{\"x\": [1, NaN]}')")
        database.execute("PRAGMA user_version = 2")
    store.close()
    upgraded = Store(tmp_path)
    loaded = upgraded.load_run("a")
    assert loaded is not None
    assert loaded["x"][0] == 1
    assert math.isnan(loaded["x"][1])
    upgraded.close()
    with sqlite3.connect(tmp_path / "lrwatch.sqlite") as database:
        assert database.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_a_transaction_that_fails_leaves_nothing_at_all(store: Store) -> None:
    store.append("a", {"event": "first"}, 1.0)

    def fail_at_the_end() -> None:
        with store.transaction():
            store.save_run("a", {})
            store.save_log("a", "log", {})
            store.append("a", {"event": "second"}, 2.0)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail_at_the_end()
    assert store.runs() == []
    assert store.logs("a") == []
    assert [entry.event["event"] for entry in store.journal()] == ["first"]
    with store.transaction():  # and the next one is taken as if nothing had been
        second = store.append("a", {"event": "third"}, 3.0)
    assert second.id == 2
    assert store.broken_link() is None


def test_a_disk_that_is_full_breaks_no_later_transaction(tmp_path: Path) -> None:
    """The limit is hit within the transaction, or when it is committed; SQLite rolls back by itself, or does not."""
    program = """
import resource, signal, sqlite3, sys
from pathlib import Path
from lrwatch.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store(Path(sys.argv[1]), exclusive=True)
store.append("a", {"event": "before"}, 1.0)
refused = 0
for kib in range(40, 400, 8):
    resource.setrlimit(resource.RLIMIT_FSIZE, (kib * 1024, resource.RLIM_INFINITY))
    try:
        with store.transaction():
            for _ in range(4):
                store.append("a", {"event": "x" * 20_000}, 2.0)
    except sqlite3.Error:
        refused += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with store.transaction():
        store.append("a", {"event": "fits"}, 3.0)
assert refused, "the limit was never hit"
assert store.broken_link() is None
events = [entry.event["event"][:4] for entry in store.journal()]
assert events.count("fits") == 45, events
assert events.count("xxxx") == 4 * (45 - refused), events
store.close()
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stderr


def test_the_journal_is_a_chain_of_hashes_and_a_changed_entry_is_found(store: Store) -> None:
    for i in range(10):
        store.append("a" if i % 2 else "b", {"event": "finding", "step": i, "value": 0.1 * i}, 1e9 + i / 7)
    assert store.broken_link() is None
    assert [entry.event["step"] for entry in store.journal("a")] == [1, 3, 5, 7, 9]
    other = sqlite3.connect(store.path)
    other.execute("UPDATE journal SET event = replace(event, '\"step\": 4', '\"step\": 5') WHERE id = 5")
    other.commit()
    assert store.broken_link() == 5
    other.execute("UPDATE journal SET event = replace(event, '\"step\": 5', '\"step\": 4') WHERE id = 5")
    other.execute("DELETE FROM journal WHERE id = 8")
    other.commit()
    other.close()
    assert store.broken_link() == 9


@pytest.mark.parametrize("column", ["time", "run", "event", "hash"])
def test_every_column_of_an_entry_is_under_the_hash(store: Store, column: str) -> None:
    for i in range(3):
        store.append("a", {"event": "phase", "step": i}, float(i))
    changed = {"time": 9.0, "run": "b", "event": "{}", "hash": "0" * 64}[column]
    other = sqlite3.connect(store.path)
    other.execute(f"UPDATE journal SET {column} = ? WHERE id = 2", (changed,))
    other.commit()
    other.close()
    assert store.broken_link() == 2


def test_a_second_daemon_on_one_directory_is_refused_in_words(tmp_path: Path) -> None:
    first = Store(tmp_path, exclusive=True)
    assert daemon_is_running(tmp_path)
    with pytest.raises(InputError, match=f"process {os.getpid()} holds it") as refused:
        Store(tmp_path, exclusive=True)
    assert refused.value.exit_code == 4
    assert "--state" in refused.value.hint
    reader = Store(tmp_path)  # who looks or asks needs no lock
    reader.close()
    first.close()
    assert not daemon_is_running(tmp_path)
    Store(tmp_path, exclusive=True).close()


def test_where_no_daemon_ever_was_none_is_running(tmp_path: Path) -> None:
    assert not daemon_is_running(tmp_path / "nowhere")


def test_state_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    Store(tmp_path).close()
    other = sqlite3.connect(tmp_path / "lrwatch.sqlite")
    other.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    other.commit()
    other.close()
    with pytest.raises(InputError, match=f"found version {SCHEMA_VERSION + 1}"):
        Store(tmp_path, exclusive=True)
    assert not daemon_is_running(tmp_path), "the lock is still held"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_STATE_HOME": "/x/state", "HOME": "/h"}, "/x/state/lrwatch"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/lrwatch"),  # the specification ignores it
        ({"XDG_STATE_HOME": "", "HOME": "/h"}, "/h/.local/state/lrwatch"),
        ({"HOME": "/h"}, "/h/.local/state/lrwatch"),
    ],
)
def test_the_default_directory_is_that_of_the_xdg_specification(environ: dict[str, str], expected: str) -> None:
    assert default_directory(environ) == Path(expected)


def test_the_state_is_for_its_owner_only(tmp_path: Path) -> None:
    Store(tmp_path / "deep" / "state").close()
    assert stat.S_IMODE((tmp_path / "deep" / "state").stat().st_mode) == 0o700


def test_a_store_in_memory_touches_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(None)
    with store.transaction():
        store.save_run("a", {"x": 1})
        store.append("a", {"event": "phase"}, 0.0)
    assert store.load_run("a") == {"x": 1}
    assert store.broken_link() is None
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--state") as refused:
        Store(tmp_path / "file" / "state")
    assert refused.value.where == str(tmp_path / "file" / "state")


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "lrwatch.sqlite").write_bytes(b"not a database, and longer than a header of one" * 100)
    with pytest.raises(InputError, match="not a database"):
        Store(tmp_path)


def test_requests_wait_until_they_are_answered_each_for_its_run(store: Store) -> None:
    first = store.request("a", "anna", "set", "0.5", 1.0)
    store.request("b", "ben", "hold", "", 2.0)
    assert [(r.id, r.actor, r.verb, r.argument) for r in store.requests()["a"]] == [(first, "anna", "set", "0.5")]
    assert store.answer_to(first) is None
    store.answer(first, {"done": True, "text": "yes"})
    assert list(store.requests()) == ["b"]
    assert store.answer_to(first) == {"done": True, "text": "yes"}
    assert store.answer_to(99) is None


def test_a_run_that_only_has_a_status_is_known(store: Store) -> None:
    store.save_run("b", {})
    store.save_status("a", {"up": False, "value": float("nan")})
    assert store.runs() == ["a", "b"]
    status = store.statuses()["a"]
    assert status["value"] != status["value"], "NaN survives"


def test_a_path_of_any_bytes_can_be_kept(store: Store) -> None:
    path = os.fsdecode(b"/logs/\xff\xfe.log")
    store.save_log("a", path, {"offset": 1})
    assert store.logs("a") == [path]
    assert store.load_log("a", path) == {"offset": 1}


def test_what_is_written_into_a_file_that_is_no_longer_there_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "state", exclusive=True)
    copy = tmp_path / "copy"
    shutil.copy(store.path, copy)
    store.check()
    copy.rename(store.path)
    with pytest.raises(StateGoneError, match="replaced"), store.transaction():
        store.save_run("a", {})
    shutil.rmtree(tmp_path / "state")
    with pytest.raises(StateGoneError, match="deleted"), store.transaction():
        store.save_run("a", {})
    store.close()
    Store(None).check()


def test_file_and_lock_are_made_for_their_owner_whatever_the_directory_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        tmp_path.chmod(0o777)
        store = Store(tmp_path, exclusive=True)
        store.save_run("a", {})
        assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == dict.fromkeys(
            ("lock", "lrwatch.sqlite", "lrwatch.sqlite-wal", "lrwatch.sqlite-shm"), 0o600
        )
        store.close()
    finally:
        os.umask(before)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "directory"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "lrwatch.sqlite")
    with pytest.raises(InputError, match="not a regular file"):
        Store(tmp_path, exclusive=True)


def test_a_daemon_waits_for_no_lock(tmp_path: Path) -> None:
    store, other = Store(tmp_path, exclusive=True), Store(tmp_path)
    store.be_brief()
    with other.transaction():
        began = time.monotonic()
        with pytest.raises(sqlite3.OperationalError, match="locked"), store.transaction():
            pass
        assert time.monotonic() - began < 20 * BRIEF_SECONDS
    store.close()
    other.close()


def test_a_damaged_status_hides_no_other_and_a_damaged_entry_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name in "abc":
        store.save_status(name, {"run": name})
        store.append(name, {"event": "finding"}, 0.0)
    with sqlite3.connect(store.path) as database:
        database.execute("UPDATE status SET status = '[1]' WHERE run = 'a'")
        database.execute("UPDATE status SET status = x'81a1' WHERE run = 'c'")
        database.execute("UPDATE journal SET event = '{' WHERE run = 'b'")
    assert store.statuses() == {"b": {"run": "b"}}
    assert store.damaged == ["the status of run a", "the status of run c"]
    with pytest.raises(sqlite3.DatabaseError, match="entry 2 of the journal is damaged"):
        list(store.journal())
    store.close()


def test_the_state_of_removed_runs_is_kept_until_many_were_removed_after_them(store: Store) -> None:
    with store.transaction():
        for number in range(KEPT_REMOVED + 5):
            store.save_run(f"run{number:04}", {})
            store.save_log(f"run{number:04}", f"/logs/{number}", {})
            store.save_picture(f"run{number:04}", b"picture")
        store.save_run("run0000", {})  # it was there for longer than the others
        store.save_status("watched", {})
    store.drop_status("run0003")
    assert store.load_run("run0000") == {}
    assert store.load_run("run0005") is None
    assert store.load_run("run0006") == {}
    assert store.logs("run0005") == []
    assert store.load_picture("run0005") is None
    assert len(store.runs()) == KEPT_REMOVED + 1
