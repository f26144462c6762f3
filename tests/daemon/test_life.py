"""The life of a run as the daemon sees it: a word, a process, the times at which samples were written.

One file because the tests share one made-up world of processes and clocks.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.quadratic import Training
from support.waiting import eventually

import lrwatch
from lrwatch.client import Client
from lrwatch.config import load
from lrwatch.core.snapshot import RunStatus
from lrwatch.daemon.fleet import LOST_TIMES
from lrwatch.daemon.life import LAST_WORDS, OLD_SECONDS, UNKNOWN_PATIENCE
from lrwatch.daemon.loop import Daemon
from lrwatch.export.metrics import RUN_METRICS
from lrwatch.store import Store

MONTH = 30 * 86_400.0


class House:
    """A directory of runs, a daemon on it, and a clock that a test moves. Files are written at the time of that clock."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.runs = home / "runs"
        self.runs.mkdir()
        self.store = Store(home / "state", exclusive=True)
        self.now = 1_700_000_000.0
        self.settings = settings
        self.trainings: dict[str, Training] = {}
        self.clients: list[Client] = []
        self.daemon = self.start()

    def start(self) -> Daemon:
        flags = {"watch.paths": (str(self.runs),), **{k.replace("__", "."): v for k, v in self.settings.items()}}
        clock = lambda: self.now  # noqa: E731
        return Daemon(load(flags=flags), self.store, lambda _: None, clock=clock, monotonic=clock)

    def restart(self) -> None:
        self.daemon.close()
        self.daemon = self.start()

    def write(self, name: str, text: str | int, *, written: float | None = None) -> None:
        """Append to the log of a run, steps or a text."""
        log = self.runs / name / "train.jsonl"
        log.parent.mkdir(exist_ok=True)
        if isinstance(text, int):
            text = self.trainings.setdefault(name, Training()).lines(text)
        with log.open("a") as file:
            file.write(text)
        os.utime(log, (self.now, self.now if written is None else written))

    def attach(self, name: str) -> Client:
        control = self.runs / name / "lrwatch"
        before = (control / "observed.json").read_text() if (control / "observed.json").exists() else ""
        self.clients.append(lrwatch.attach(None, control, poll_seconds=0.005, metrics_file=False))
        eventually(
            lambda: (control / "observed.json").exists() and (control / "observed.json").read_text() != before,
            what="a hello",
        )
        return self.clients[-1]

    def look(self, seconds: float = 1.0) -> dict[str, RunStatus]:
        self.now += seconds
        self.daemon.discover()
        self.daemon.read_all()
        return {run.name: run for run in self.daemon.snapshot().runs}

    def train(self, name: str, steps: int, seconds: float) -> None:
        """Take steps, one each so many seconds, while the daemon looks."""
        for _ in range(steps):
            self.write(name, 1)
            self.look(seconds)

    def lives(self, name: str) -> list[str]:
        return [e.event["life"] for e in self.store.journal(name) if e.event["event"] == "life"]

    def findings(self, name: str) -> list[str]:
        return [e.event["kind"] for e in self.store.journal(name) if e.event["event"] == "finding"]


def served(run: RunStatus, name: str) -> Any:
    (read,) = (metric.read for metric in RUN_METRICS if metric.name == name)
    assert read is not None
    return read(run)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., House]]:
    houses: list[House] = []

    def made(**settings: Any) -> House:
        (home := tmp_path / f"house{len(houses)}").mkdir()
        houses.append(House(home, **settings))
        return houses[-1]

    yield made
    for house in houses:
        for client in house.clients:
            client.close()
        house.daemon.close()
        house.store.close()


@pytest.fixture
def house(make: Callable[..., House]) -> House:
    return make()


# ---- ends -----------------------------------------------------------------------------------------------------------


def test_a_run_starts_and_runs_and_nothing_is_journalled_of_that(house: House) -> None:
    (house.runs / "a").mkdir()
    (house.runs / "a" / "train.jsonl").touch()
    assert house.look()["a"].life == "starting"
    house.write("a", 5)
    assert house.look()["a"].life == "running"
    assert house.lives("a") == []


def test_a_run_that_says_goodbye_has_ended_and_is_never_stalled(house: House) -> None:
    client = house.attach("a")
    house.train("a", 40, 1.0)
    client.close()
    house.clients.clear()
    run = house.look()["a"]
    assert (run.life, run.life_note, run.step) == ("ended", "the training closed its client at step 40", 40)
    assert served(run, "lrwatch_run_life") == {
        "starting": 0, "running": 0, "ended": 1, "lost": 0, "finished": 0, "removed": 0,
    }  # fmt: skip
    for _ in range(20):
        house.look(7200)
    assert house.findings("a") == []
    assert house.lives("a") == ["ended"]


def test_the_series_of_an_ended_run_leave_in_time_and_its_status_stays(make: Callable[..., House]) -> None:
    house = make(export__keep_ended=600.0)
    client = house.attach("a")
    house.train("a", 10, 1.0)
    house.write("b", 5)
    client.close()
    house.clients.clear()
    assert house.look().keys() == {"a", "b"}
    assert house.look(599).keys() == {"a", "b"}
    assert house.look(2).keys() == {"b"}
    house.restart()
    assert house.look().keys() == {"b"}, "also after a restart"
    assert house.store.statuses()["a"]["life"] == "ended"


def test_a_command_to_a_trainer_that_said_goodbye_is_not_sent_and_keeps_nobody_waiting(
    make: Callable[..., House],
) -> None:
    house = make(policy__mode="auto")
    client = house.attach("a")
    house.write("a", 100)
    house.look()
    client.close()
    house.clients.clear()
    house.write("a", 900)
    run = house.look()["a"]
    (command,) = [e.event for e in house.store.journal("a") if e.event["event"] == "command"]
    assert command["state"] == "no trainer listens"
    assert run.pending_seconds == 0.0
    number = house.store.request("a", "anna", "set", "0.5", house.now)
    house.look()
    assert "no trainer listens" in str(house.store.answer_to(number))


def test_a_training_that_had_ended_before_the_daemon_came_says_no_hello(house: House) -> None:
    house.attach("a").close()
    house.clients.clear()
    house.write("a", 20)
    assert house.look()["a"].life == "ended"
    assert [e.event["event"] for e in house.store.journal("a")] == ["settings", "life"]
    assert sorted(p.name for p in (house.runs / "a/lrwatch").iterdir()) == ["observed.json"], "nobody claims it"


def test_an_exception_is_a_loss_and_says_so(house: House) -> None:
    client = house.attach("a")
    house.train("a", 10, 1.0)
    client.close("exception")
    house.clients.clear()
    run = house.look()["a"]
    assert (run.life, run.life_note) == ("lost", "an exception ended it at step 10")


def test_a_new_attempt_of_the_same_job_is_the_same_run_and_its_pause_is_no_gap(house: House) -> None:
    client = house.attach("a")
    house.train("a", 20, 1.0)
    client.close()
    patience = house.look()["a"].patience_seconds
    house.look(MONTH / 10)
    house.attach("a")
    house.write("a", 20)
    run = house.look()["a"]
    assert (run.life, run.step) == ("running", 40)
    house.train("a", 10, 1.0)
    assert house.look()["a"].patience_seconds == patience
    assert house.lives("a") == ["ended", "running"]


def end(house: House, name: str, **words: Any) -> None:
    """Let a trainer that is gone, as far as anybody here can see, have said its last word."""
    house.attach(name).close()
    house.clients.clear()
    path = house.runs / name / "lrwatch" / "observed.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"machine": "elsewhere"} | words))


def test_an_attempt_that_says_nothing_runs_though_the_one_before_said_goodbye(make: Callable[..., House]) -> None:
    house = make(export__keep_ended=1e6)
    end(house, "a")
    house.train("a", 20, 1.0)
    assert house.look()["a"].life == "ended"
    house.look(3600)
    house.train("a", LAST_WORDS, 1.0)  # as many as a last evaluation may have
    assert house.look()["a"].life == "ended"
    house.train("a", 20, 1.0)
    assert house.look()["a"].life == "running"
    assert house.look(7200)["a"].life == "ended", "silent again, the goodbye is the last word"
    assert house.lives("a") == ["ended", "running", "ended"]


def test_an_evaluation_after_the_goodbye_is_no_new_attempt_while_the_program_runs(make: Callable[..., House]) -> None:
    house = make(export__keep_ended=1e6)
    house.attach("a").close()  # this program
    house.clients.clear()
    house.write("a", 20)
    house.look()
    house.look(120)
    house.train("a", 3 * LAST_WORDS, 60.0)
    assert house.lives("a") == ["ended"]


# ---- losses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", [False, True], ids=["text log alone", "trainer on another machine"])
def test_where_nobody_sees_the_process_the_gaps_decide_evaluations_included(house: House, client: bool) -> None:
    if client:
        end(house, "a", life="running", goodbye=None)
    for _ in range(3):
        house.train("a", 20, 10.0)
        house.look(2700)  # an evaluation of 45 minutes
    assert house.look()["a"].life == "running"
    house.train("a", 1, 10.0)
    assert house.look(5400)["a"].life == "running"
    run = house.look(100)["a"]
    assert run.life == "lost"
    assert run.life_note == "it is silent for longer than its own gaps explain at step 61: nothing for 5500 s"
    assert run.patience_seconds == pytest.approx(2 * 2710, abs=5)
    house.train("a", 1, 10.0)
    run = house.look()["a"]
    assert (run.life, run.life_note) == ("running", "it goes on at step 62")
    assert house.lives("a") == ["lost", "running"]


def test_a_process_that_lives_is_stalled_and_not_lost(house: House) -> None:
    house.attach("a")
    house.train("a", 20, 10.0)
    assert house.look(3600)["a"].life == "running"
    assert house.findings("a") == ["stalled"]


def test_a_process_that_is_gone_without_a_goodbye_is_lost_at_once(house: House) -> None:
    house.attach("a").close()
    house.clients.clear()
    path = house.runs / "a" / "lrwatch" / "observed.json"
    said = json.loads(path.read_text()) | {"life": "running", "goodbye": None}
    path.write_text(json.dumps(said | {"pid_start": said["pid_start"] + 1}))  # the number is another process's now
    house.write("a", 20)
    run = house.look()["a"]
    assert (run.life, run.life_note) == (
        "lost",
        f"the trainer's process {os.getpid()} is gone without a goodbye at step 20",
    )
    house.look(7200)
    assert house.findings("a") == [], "that it is silent says nothing more"


def test_a_run_that_falls_silent_at_its_full_length_has_ended(make: Callable[..., House]) -> None:
    house = make(run__total_steps=60)
    house.train("a", 60, 10.0)
    assert house.look(90)["a"].life == "running"
    run = house.look(20)["a"]
    assert (run.life, run.life_note) == ("ended", "it fell silent at its full length at step 60: nothing for 110 s")
    house.look(7200)
    assert house.findings("a") == []


def test_a_run_of_unknown_pace_is_lost_after_hours(house: House) -> None:
    house.write("a", 20)
    assert house.look()["a"].life == "running"
    assert house.look(UNKNOWN_PATIENCE - 60)["a"].life == "running"
    assert house.look(120)["a"].life == "lost"


def test_the_series_of_a_lost_run_stay_longer_so_that_somebody_sees_it(make: Callable[..., House]) -> None:
    house = make(export__keep_ended=600.0)
    client = house.attach("a")
    house.train("a", 10, 1.0)
    client.close("exception")
    house.clients.clear()
    house.look()
    assert house.look(600 * LOST_TIMES - 10).keys() == {"a"}
    assert house.look(20).keys() == set()


# ---- history --------------------------------------------------------------------------------------------------------


def with_nan(steps: int = 900) -> str:
    lines = Training().lines(steps).splitlines(keepends=True)
    lines[steps // 2] = f'{{"step": {steps // 2 + 1}, "loss": NaN, "lr": 0.1}}\n'
    return "".join(lines)


def test_old_logs_are_history_their_findings_are_journalled_and_count_nothing(house: House) -> None:
    written = house.now - MONTH
    house.write("a", with_nan(), written=written)
    run = house.look()["a"]
    assert run.life == "finished"
    assert run.last_sample_time == written
    assert set(house.findings("a")) >= {"nonfinite", "plateau"}
    assert set(served(run, "lrwatch_findings_total").values()) == {0}
    assert run.commands == {}
    assert {e.event["state"] for e in house.store.journal("a") if e.event["event"] == "command"} == {"history"}
    assert house.lives("a") == ["finished"]
    house.look(MONTH)
    assert "stalled" not in house.findings("a")


def test_a_finished_run_that_goes_on_counts_from_then_on(house: House) -> None:
    house.write("a", with_nan(), written=house.now - MONTH)
    house.look()
    house.restart()
    house.write("a", '{"step": 901, "loss": NaN}\n')
    run = house.look()["a"]
    assert run.life == "running"
    assert run.findings == {"nonfinite": 1}
    assert run.last_sample_time is not None
    assert run.last_sample_time >= house.now - 1
    assert house.lives("a") == ["finished", "running"]


def test_an_old_goodbye_is_history_too(house: House) -> None:
    end(house, "a")
    house.write("a", 50, written=house.now - MONTH)
    assert house.look()["a"].life == "finished"


def test_a_slow_run_that_lives_is_no_history(house: House) -> None:
    house.attach("a")
    house.write("a", 50, written=house.now - 2 * OLD_SECONDS)
    run = house.look()["a"]
    assert run.life == "running"
    assert run.last_sample_time == house.now - 1 - 2 * OLD_SECONDS


def test_a_backlog_of_a_live_run_is_in_the_first_value_that_is_served(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrwatch.daemon.logs.READS_A_TURN", 1)
    house.write("a", with_nan(60_000))
    house.now += 1
    house.daemon.discover()
    values = []
    while house.daemon.turn():
        (run,) = house.daemon.snapshot().runs
        values.append(served(run, "lrwatch_findings_total"))
    (run,) = house.daemon.snapshot().runs
    values.append(served(run, "lrwatch_findings_total"))
    assert values[0] is None, "it takes several turns"
    assert {value["nonfinite"] for value in values if value is not None} == {1}
    assert run.life == "running"


# ---- removal --------------------------------------------------------------------------------------------------------


def test_a_removed_directory_takes_its_run_with_it_and_brings_it_back(house: House) -> None:
    for name in "ab":
        house.write(name, 20)
    house.look()
    shutil.move(house.runs / "a", house.runs.parent / "away")
    assert house.look().keys() == {"a", "b"}, "once is not enough: a network file system hides files at times"
    assert house.look().keys() == {"b"}
    assert house.lives("a") == ["removed"]
    assert house.store.statuses().keys() == {"b"}
    shutil.move(house.runs.parent / "away", house.runs / "a")
    house.write("a", 5)
    run = house.look()["a"]
    assert (run.life, run.step, run.samples) == ("running", 25, 50)
    assert house.lives("a") == ["removed", "running"]


def test_a_directory_that_went_while_no_daemon_ran_is_not_shown_for_ever(house: House) -> None:
    for name in "ab":
        house.write(name, 20)
    house.look()
    shutil.rmtree(house.runs / "a")
    house.restart()
    house.look()
    house.look()
    assert house.store.statuses().keys() == {"b"}


def test_a_path_that_turns_out_to_be_a_directory_of_runs_leaves_no_run_of_its_own(house: House) -> None:
    house.runs.rmdir()
    assert house.look().keys() == {"runs"}, "it may become a log"
    house.runs.mkdir()
    house.write("a", 20)
    house.look()
    assert house.look().keys() == {"a"}
    assert house.store.statuses().keys() == {"a"}


def test_a_file_that_is_named_is_waited_for_though_it_is_deleted(tmp_path: Path) -> None:
    log = tmp_path / "train.jsonl"
    log.write_text(Training().lines(20))
    store = Store(None)
    daemon = Daemon(load(flags={"watch.paths": (str(log),)}), store, lambda _: None)
    daemon.discover()
    daemon.read_all()
    log.unlink()
    for _ in range(4):
        daemon.discover()
        daemon.read_all()
    (run,) = daemon.snapshot().runs
    assert "was deleted or renamed" in run.problem
    daemon.close()
    store.close()
