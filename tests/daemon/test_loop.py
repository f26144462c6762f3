"""The daemon over several runs: names that stay, trainers with one commander, waits that end.

One file because all of it drives one daemon turn by turn.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.quadratic import Training
from support.waiting import eventually

import lrwatch
from lrwatch.config import load
from lrwatch.core.snapshot import Snapshot
from lrwatch.daemon.loop import DISCOVER_SECONDS, Daemon
from lrwatch.daemon.wake import MAX_HINTS_A_SECOND, REST_SECONDS, Waker
from lrwatch.errors import ConfigError
from lrwatch.offline.recompute import explain
from lrwatch.offline.report_data import of_file, of_run
from lrwatch.store import Entry, Store

Start = Callable[..., Daemon]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "state", exclusive=True)
    yield store
    store.close()


@pytest.fixture
def start(store: Store) -> Iterator[Start]:
    """Starts daemons on paths, each on the state of the one before."""
    daemons: list[Daemon] = []

    def started(*paths: str | Path, **flags: Any) -> Daemon:
        settings = {key.replace("__", "."): value for key, value in flags.items()}
        config = load(flags={"watch.paths": tuple(map(str, paths)), **settings})
        daemons.append(Daemon(config, store, lambda _: None))
        daemons[-1].discover()
        return daemons[-1]

    yield started
    for daemon in daemons:
        daemon.close()


def write(path: Path, steps: int = 5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(Training().lines(steps))
    return path


# ---- names --------------------------------------------------------------------------------------------------------


def decisions(store: Store) -> list[Entry]:
    """Return the journal without the settings."""
    return [entry for entry in store.journal() if entry.event["event"] != "settings"]


def test_a_run_keeps_its_name_when_another_of_the_same_name_comes(tmp_path: Path, start: Start) -> None:
    write(tmp_path / "a" / "train.jsonl")
    daemon = start(f"{tmp_path}/*/train.jsonl")
    daemon.read_all()
    assert list(daemon.runs) == ["train"]
    write(tmp_path / "b" / "train.jsonl")
    daemon.discover()
    daemon.read_all()
    assert list(daemon.runs) == ["train", "b/train"]
    assert [run.logs.ingest["samples"] for run in daemon.runs.values()] == [10, 10]
    daemon.close()
    again = start(f"{tmp_path}/*/train.jsonl")
    assert list(again.runs) == ["train", "b/train"]
    assert not again.turn()


def test_logs_of_the_same_name_in_two_projects_are_two_runs_also_one_daemon_after_the_other(
    tmp_path: Path, start: Start, store: Store
) -> None:
    for project in ("one", "two"):
        write(tmp_path / project / "logs" / "train.jsonl", 5 if project == "one" else 3)
        daemon = start(tmp_path / project / "logs" / "train.jsonl")
        daemon.read_all()
        daemon.close()
    assert store.runs() == ["logs/train", "train"]
    (run,) = daemon.runs.values()
    assert (run.name, run.pipeline.step) == ("logs/train", 3)
    assert decisions(store) == [], "a resume was found that was none"


def test_directories_of_the_same_name_are_told_apart_by_what_is_above_them(tmp_path: Path, start: Start) -> None:
    for above in ("one", "two"):
        write(tmp_path / above / "seed0" / "train.jsonl")
        start(tmp_path / above / "seed0").read_all()
    assert start(tmp_path / "one").runs.keys() | start(tmp_path / "two").runs.keys() == {"seed0", "two/seed0"}


def test_a_directory_without_logs_says_so_until_it_has_one(tmp_path: Path, start: Start) -> None:
    (tmp_path / "runs").mkdir()
    daemon = start(tmp_path / "runs")
    assert not daemon.turn()
    (problem,) = daemon.problems
    assert problem.startswith(f"{tmp_path}/runs: no logs (*.csv, ")
    write(tmp_path / "runs" / "a" / "train.jsonl")
    daemon.discover()
    assert daemon.problems == []
    assert daemon.turn()
    assert list(daemon.runs) == ["a"]


def test_a_name_of_any_bytes_is_watched_and_shown(tmp_path: Path, start: Start, store: Store) -> None:
    directory = tmp_path / os.fsdecode(b"run\xff\x1b[31m")
    write(directory / "train.jsonl", 600)
    daemon = start(directory)
    daemon.read_all()
    (name,) = daemon.runs
    assert name == "run\\xff\x1b[31m"
    assert store.runs() == [name]
    assert [entry.run for entry in decisions(store)] == [name, name]
    daemon.close()
    assert not start(directory).turn()


# ---- who commands -------------------------------------------------------------------------------------------------


def test_two_runs_in_one_directory_do_not_both_command_its_trainer(tmp_path: Path, start: Start) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.jsonl")
    daemon = start(tmp_path / "a.jsonl", tmp_path / "b.jsonl", policy__mode="auto")
    assert [run.commands.reconciler is not None for run in daemon.runs.values()] == [True, False]
    assert daemon.problems == [f"b: only watched, because run a commands the trainer of {tmp_path / 'lrwatch'}"]
    assert start(tmp_path / "a.jsonl", tmp_path / "b.jsonl").problems == [], "who only suggests needs no commander"


def test_a_control_directory_can_be_named(tmp_path: Path, start: Start) -> None:
    write(tmp_path / "a.jsonl")
    daemon = start(tmp_path / "a.jsonl", watch__control=str(tmp_path / "elsewhere"))
    with lrwatch.attach(None, tmp_path / "elsewhere", poll_seconds=0.01, metrics_file=False):
        reconciler = daemon.runs["a"].commands.reconciler
        assert reconciler is not None
        eventually(lambda: daemon.turn() or reconciler.attached, what="a hello")


@pytest.mark.parametrize(("content", "found"), [(None, "No such file"), ("short", "5 bytes, at least 16")])
def test_a_key_that_cannot_be_used_is_a_configuration_error(
    tmp_path: Path, start: Start, content: str | None, found: str
) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content)
    with pytest.raises(ConfigError, match=found):
        start(tmp_path, daemon__key_file=str(tmp_path / "key"))


# ---- waiting ------------------------------------------------------------------------------------------------------


class Sink:
    """Keeps the newest snapshot."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.loops = 0

    def publish(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def observe_loop(self, seconds: float) -> None:
        self.loops += 1

    def has(self, samples: int) -> bool:
        return self.snapshot is not None and sum(run.samples for run in self.snapshot.runs) == samples


@pytest.fixture
def running() -> Iterator[Callable[[Daemon, Waker], Sink]]:
    """Runs a daemon in a thread until the test is over."""
    ended: list[tuple[Waker, threading.Thread]] = []

    def run(daemon: Daemon, waker: Waker) -> Sink:
        sink = Sink()
        thread = threading.Thread(target=daemon.run, args=(waker, sink))
        thread.start()
        ended.append((waker, thread))
        return sink

    yield run
    for waker, thread in ended:
        waker.stop()
        thread.join(20)
        waker.close()
        assert not thread.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize(("poll_seconds", "hints"), [(0.02, False), (3600.0, True), (0.02, True)])
def test_polling_and_hints_find_the_same(
    tmp_path: Path, store: Store, running: Any, poll_seconds: float, hints: bool
) -> None:
    log = write(tmp_path / "train.jsonl", 0)
    daemon = Daemon(load(flags={"watch.paths": (str(log),)}), store, lambda _: None)
    sink = running(daemon, Waker(poll_seconds, hints=hints))
    eventually(lambda: sink.loops, what="a first turn")
    training = Training()
    for _ in range(20):
        with log.open("a") as file:
            file.write(training.lines(30))
        wanted = 2 * training.done
        # Hints bring a turn forward so far that turns take a share of the time, and those of a busy machine are long.
        eventually(partial(sink.has, wanted), timeout=120.0, what=f"{wanted} samples")
    assert [entry.event["event"] for entry in decisions(store)] == ["finding", "command"]
    daemon.close()


def test_new_runs_are_looked_for_from_time_to_time(tmp_path: Path, store: Store, running: Any) -> None:
    (tmp_path / "runs").mkdir()
    now = [0.0]
    config = load(flags={"watch.paths": (str(tmp_path / "runs"),)})
    daemon = Daemon(config, store, lambda _: None, monotonic=lambda: now[0])
    sink = running(daemon, Waker(0.01, hints=False))
    eventually(lambda: sink.loops > 2, what="turns without a run")
    write(tmp_path / "runs" / "a" / "train.jsonl")
    loops = sink.loops
    eventually(lambda: sink.loops > loops + 2, what="more turns")
    assert sink.has(0)
    now[0] += DISCOVER_SECONDS
    eventually(partial(sink.has, 10), what="the new run")
    daemon.close()


def test_a_stop_ends_the_longest_wait_at_once() -> None:
    waker = Waker(3600.0, hints=False)
    threading.Timer(0.05, waker.stop).start()
    assert not waker.wait()
    assert waker.stopped


def test_a_stop_out_of_a_signal_handler_cannot_find_a_lock_held() -> None:
    """With a lock, a signal that comes while it is held would wait for itself for ever."""
    waker = Waker(0.0005, hints=False)
    handled = [0]

    def handle(number: int, frame: object) -> None:
        handled[0] += 1
        waker._woken.put(None)
        if handled[0] == 2000:
            waker.stop()

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    try:
        while waker.wait():
            pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert handled[0] >= 2000


def test_directories_that_cannot_be_listened_in_are_polled(tmp_path: Path) -> None:
    waker = Waker(0.01)
    waker.watch([tmp_path / "missing", tmp_path])
    (tmp_path / "file").write_text("")
    assert waker.wait()
    waker.close()
    waker.watch([tmp_path])
    assert waker.wait()


def test_a_stop_is_heard_between_two_runs(tmp_path: Path, start: Start) -> None:
    for name in "abc":
        write(tmp_path / name / "train.jsonl")
    daemon = start(tmp_path)
    answers = iter([False, True])
    daemon.turn(lambda: next(answers))
    assert [run.logs.ingest["samples"] for run in daemon.runs.values()] == [10, 0, 0]


def test_a_hint_does_not_bring_a_turn_forward_that_takes_long() -> None:
    waker = Waker(0.2, hints=False)
    waker._turn_from -= 10.0  # the turn before took ten seconds
    waker._woken.put(None)
    began = time.monotonic()
    assert waker.wait()
    assert time.monotonic() - began >= 0.2
    waker = Waker(3600.0, hints=False)
    waker._woken.put(None)
    assert waker.wait(), "a short turn is worth it"


def test_where_too_much_happens_nobody_listens_for_a_while(tmp_path: Path) -> None:
    waker = Waker(0.01)
    waker.watch([tmp_path])
    assert waker._directories == {tmp_path}
    waker._hints, waker._counted_from = 10 * MAX_HINTS_A_SECOND, waker._counted_from - 1.0
    assert waker.wait()
    waker.watch([tmp_path])
    assert waker._directories == set()
    waker._rests_until -= REST_SECONDS
    waker.watch([tmp_path])
    assert waker._directories == {tmp_path}
    waker.close()


def test_a_turn_that_takes_too_long_goes_on_after_the_others_were_told(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        write(tmp_path / name / "train.jsonl")
    daemon = start(tmp_path)
    monkeypatch.setattr("lrwatch.daemon.loop.TURN_SECONDS", -1.0)
    samples, behind = [], []
    for _ in range(3):
        assert daemon.turn(), "there was something to read"
        samples.append([run.samples for run in daemon.snapshot().runs])
        behind.append(daemon.behind)
    assert samples == [[10, 0, 0], [10, 10, 0], [10, 10, 10]]
    assert behind == [True, True, False], "once all had their turn, the next one waits"


def test_what_led_to_nothing_is_saved_when_there_is_time_and_what_led_to_an_event_at_once(
    tmp_path: Path, start: Start, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrwatch.daemon.loop.SAVE_SHARE", 0.0)
    log = write(tmp_path / "train.jsonl", 0)
    daemon, training = start(log), Training()
    saved = []
    for _ in range(12):
        with log.open("a") as file:
            file.write(training.lines(50))
        assert daemon.turn()
        state = store.load_log("train", str(log))
        assert state is not None
        saved.append((state["tail"]["bookmark"]["offset"] == log.stat().st_size, len(decisions(store))))
    assert saved[0] == (True, 0), "whose the metrics are is settled at once"
    assert (False, 0) in saved
    for (_, before), (is_saved, after) in itertools.pairwise(saved):
        assert is_saved == (after > before)
    daemon.save()
    state = store.load_log("train", str(log))
    assert state is not None
    assert state["tail"]["bookmark"]["offset"] == log.stat().st_size


def test_many_runs_are_saved_in_few_transactions(tmp_path: Path, start: Start, store: Store) -> None:
    for i in range(100):
        write(tmp_path / f"run{i}" / "train.jsonl")
    daemon = start(tmp_path)
    commits: list[str] = []
    store._db.set_trace_callback(lambda statement: commits.append(statement) if statement == "COMMIT" else None)
    daemon.read_all()
    store._db.set_trace_callback(None)
    assert len(store.runs()) == 100
    assert len(store.statuses()) == 100
    assert 0 < len(commits) <= 10


# ---- looking back -------------------------------------------------------------------------------------------------


def test_a_decision_is_computed_again_from_the_logs(tmp_path: Path, start: Start, store: Store) -> None:
    log = write(tmp_path / "train.jsonl", 600)
    daemon = start(log)
    daemon.read_all()
    config = load()
    command, finding = decisions(store)
    for entry in (command, finding):
        again, verdict = explain(store, "train", entry, config)
        assert verdict == "Computed again: the same numbers."
        assert again is not None
    write(log, 100)
    again, verdict = explain(store, "train", finding, config)
    assert again is None
    assert "does not come out of the logs and the journal" in verdict
    log.unlink()
    assert explain(store, "train", finding, config)[1] == f"It cannot be computed again: {log} is gone."
    other = store.append("train", {"event": "hello", "step": 1}, 0.0)
    assert explain(store, "train", other, config)[0] is None


def test_a_report_of_a_run_and_one_of_its_file_show_the_same_curves(tmp_path: Path, start: Start, store: Store) -> None:
    log = write(tmp_path / "train.jsonl", 600)
    start(log).read_all()
    config = load()
    by_run, by_file = of_run("train", store, config), of_file(log, config)
    assert [curve.name for curve in by_run.curves] == [curve.name for curve in by_file.curves] == ["loss", "lr"]
    assert by_run.metric == by_file.metric == "loss"
    assert [len(curve.values) for curve in by_run.curves] == [600, 600]
    assert [event["event"] for event in by_run.events if event["event"] != "settings"] == [
        event["event"] for event in by_file.events
    ]


@pytest.mark.parametrize(("cost", "published"), [(0.001, 9), (0.06, 3), (1.0, 3)])
def test_a_snapshot_that_costs_much_comes_less_often(store: Store, tmp_path: Path, cost: float, published: int) -> None:
    """Two per cent of the time may go into it, and four seconds between two are the most."""
    ticks = [0.0]
    shown: list[Snapshot] = []

    class Sink:
        def publish(self, snapshot: Snapshot) -> None:
            shown.append(snapshot)
            ticks[0] += cost

        def observe_loop(self, seconds: float) -> None: ...

    class Rounds:
        stopped = False
        turns = 0

        def watch(self, directories: object) -> None: ...

        def wait(self) -> bool:
            ticks[0] += 1.0
            self.turns += 1
            return self.turns < 9

    config = load(flags={"watch.paths": (str(tmp_path),)})
    daemon = Daemon(config, store, lambda _: None, monotonic=lambda: ticks[0])
    daemon.run(Rounds(), Sink())  # type: ignore[arg-type]
    daemon.close()
    assert len(shown) == published
