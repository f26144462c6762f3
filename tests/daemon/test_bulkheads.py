"""A fault of one run, path, message or scrape ends nothing else: it is counted, said once, and what it hit is tried again."""

from __future__ import annotations

import http.client
import itertools
import json
import sqlite3
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.quadratic import Training
from support.waiting import eventually

import lrwatch
from lrwatch.config import load
from lrwatch.core.snapshot import RunStatus, Snapshot
from lrwatch.daemon.bulkhead import FIRST_SECONDS, LONGEST_SECONDS
from lrwatch.daemon.loop import Daemon
from lrwatch.export.exporter import Exporter
from lrwatch.protocol import MAX_INT
from lrwatch.store import Store


class House:
    """A daemon over a directory of runs, on a clock that a test moves."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.runs = home / "runs"
        self.store = Store(home / "state", exclusive=True)
        self.now = 1_000_000.0
        self.settings = settings
        self.trainings: dict[str, Training] = {}
        self.daemon = self.start()

    def start(self) -> Daemon:
        flags = {"watch.paths": (str(self.runs),), **{k.replace("__", "."): v for k, v in self.settings.items()}}
        clock = lambda: self.now  # noqa: E731
        return Daemon(load(flags=flags), self.store, lambda _: None, clock=clock, monotonic=clock)

    def write(self, name: str, steps: int) -> None:
        (self.runs / name).mkdir(parents=True, exist_ok=True)
        training = self.trainings.setdefault(name, Training())
        with (self.runs / name / "train.jsonl").open("a") as log:
            log.write(training.lines(steps))

    def look(self, seconds: float = 1.0) -> dict[str, RunStatus]:
        self.now += seconds
        self.daemon.discover()
        self.daemon.read_all()
        return self.statuses()

    def statuses(self) -> dict[str, RunStatus]:
        return {run.name: run for run in self.daemon.snapshot().runs}

    def journal(self, run: str) -> list[dict[str, Any]]:
        return [e.event for e in self.store.journal(run) if e.event["event"] in ("finding", "command")]

    def restart(self) -> None:
        self.daemon.close()
        self.daemon = self.start()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Makes houses; settings are given as `section__key=value`."""
    houses: list[House] = []

    def made(**settings: Any) -> House:
        (home := tmp_path / f"house{len(houses)}").mkdir()
        houses.append(House(home, **settings))
        return houses[-1]

    yield made
    for house in houses:
        house.daemon.close()
        house.store.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def house(make: Callable[..., House]) -> House:
    return make()


def break_feed(house: House, name: str) -> Callable[[], None]:
    """Let the pipeline of a run fail as no one expects. -> what mends it."""
    pipeline = house.daemon.runs[name].pipeline

    def feed(_: object) -> None:
        raise ZeroDivisionError("nobody thought of this")

    pipeline.feed = feed  # type: ignore[method-assign, assignment]
    return lambda: pipeline.__dict__.pop("feed")


def test_a_fault_of_one_run_is_counted_and_said_and_the_others_go_on(house: House) -> None:
    for name in "ab":
        house.write(name, 50)
    house.look()
    break_feed(house, "a")
    for name in "ab":
        house.write(name, 50)
    runs = house.look()
    assert runs["b"].step == 100
    assert runs["b"].faults == {}
    assert runs["a"].faults == {"turn": 1}
    assert not runs["a"].up
    assert "set aside after a fault of lrwatch (ZeroDivisionError: nobody thought of this" in runs["a"].problem
    assert runs["a"].step == 50, "what was known of it is still shown"
    assert json.loads(json.dumps(house.store.statuses()["a"]))["why"] == runs["a"].problem


def test_a_run_that_was_set_aside_goes_on_from_its_saved_state_and_says_what_it_would_have_said(
    make: Callable[..., House],
) -> None:
    house, undisturbed = make(), make()
    for each in (house, undisturbed):
        each.write("a", 300)
        each.look()
    break_feed(house, "a")
    for each in (house, undisturbed):
        each.write("a", 900)
        each.look()
    assert house.statuses()["a"].problem
    house.look(FIRST_SECONDS)
    assert house.statuses()["a"].problem == ""
    assert house.statuses()["a"].step == 1200
    assert house.journal("a") == undisturbed.journal("a") != []


def test_a_fault_that_comes_again_is_tried_less_and_less_often(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.write("a", 50)
    house.write("b", 50)

    def meet(self: Any, batch: Any) -> Any:
        raise RuntimeError("always")

    monkeypatch.setattr("lrwatch.core.metrics.Metrics.meet", meet)
    tries = []
    for second in range(2000):
        before = house.statuses().get("a")
        after = house.look(1.0)["a"]
        if after.faults != (before.faults if before else {}):
            tries.append(second)
    waits = [b - a for a, b in itertools.pairwise(tries)]
    assert waits[:4] == [5, 10, 20, 40]
    assert max(waits) == LONGEST_SECONDS
    assert {run.problem for run in house.statuses().values()} == {house.statuses()["a"].problem}


def test_a_damaged_state_sets_its_run_aside_and_is_left_as_it_is(house: House) -> None:
    for name in "ab":
        house.write(name, 50)
    house.look()
    with house.store.transaction():
        house.store.save_run("a", {"foreign": 1})
    house.restart()
    house.write("b", 50)
    runs = house.look()
    assert (runs["b"].step, runs["b"].problem) == (100, "")
    assert "its saved state cannot be used (KeyError: " in runs["a"].problem
    assert runs["a"].faults == {"state": 1}
    assert house.store.load_run("a") == {"foreign": 1}
    house.look(FIRST_SECONDS)
    assert house.statuses()["a"].faults == {"state": 2}


def test_a_damaged_state_sets_its_run_aside(house: House) -> None:
    for name in "ab":
        house.write(name, 50)
    house.look()
    with sqlite3.connect(house.store.path, timeout=5) as db:
        db.execute("UPDATE runs SET state = '{' WHERE name = 'a'")
    house.restart()
    assert {name: bool(run.problem) for name, run in house.look().items()} == {"a": True, "b": False}


def test_a_strange_message_of_one_trainer_is_counted_once_and_harms_no_other_run(
    make: Callable[..., House], stack: ExitStack
) -> None:
    house = make(policy__mode="auto")
    for name in "ab":
        house.write(name, 50)
    scales: list[float] = []
    clients = [
        stack.enter_context(
            lrwatch.attach(scales.append, house.runs / name / "lrwatch", poll_seconds=0.01, metrics_file=False)
        )
        for name in "ab"
    ]
    eventually(lambda: all((house.runs / name / "lrwatch/observed.json").exists() for name in "ab"), what="hellos")
    house.look()
    clients[0].close()
    path = house.runs / "a" / "lrwatch" / "observed.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"observed_generation": MAX_INT, "step": MAX_INT}))
    for name in "ab":
        house.write(name, 900)
    for _ in range(3):
        runs = house.look()
    assert runs["a"].faults == {"message": 1}
    assert "the last number that a command can have" in runs["a"].problem
    assert runs["b"].faults == {}
    assert [e["state"] for e in house.journal("b") if e["event"] == "command"] == ["sent"]
    answered = house.store.request("a", "anna", "set", "0.5", house.now)
    house.look()
    assert house.store.answer_to(answered) is not None


def test_a_request_that_ends_in_a_fault_is_answered_and_not_tried_for_ever(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.write("a", 50)
    house.look()

    def reply(*_: object) -> None:
        raise LookupError("nobody thought of this either")

    monkeypatch.setattr("lrwatch.daemon.operator._reply", reply)
    number = house.store.request("a", "anna", "hold", "", house.now)
    house.look()
    answer = house.store.answer_to(number)
    assert answer == {
        "done": False,
        "text": "not done: LookupError: nobody thought of this either; see `lrwatch status a`",
    }
    assert house.look(FIRST_SECONDS)["a"].faults == {"request": 1}
    assert house.statuses()["a"].problem == ""


def test_a_state_that_cannot_be_saved_does_not_keep_the_others_from_it(house: House) -> None:
    for name in "abc":
        house.write(name, 50)
    house.look()
    house.daemon.runs["b"].commands.scales = [object()]  # type: ignore[list-item]
    for name in "abc":
        house.write(name, 5)
    house.now += 1
    house.daemon.turn()
    house.daemon.save()
    assert house.statuses()["b"].faults == {"save": 1}
    house.restart()
    house.daemon.discover()
    assert [house.daemon.runs[name].pipeline.step for name in "abc"] == [55, 50, 55]


def test_a_search_that_fails_leaves_the_runs_as_they_are(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.write("a", 50)
    house.look()
    with monkeypatch.context() as patch:
        patch.setattr("lrwatch.daemon.fleet.discover", lambda _: dict[str, int]()["nobody thought of this"])
        house.write("a", 50)
        assert house.look()["a"].step == 100
        (problem,) = house.daemon.problems
        assert "the search for runs" in problem
        assert house.daemon.snapshot().paths == {str(house.runs): False}
    house.look()
    assert house.daemon.problems == []
    assert house.daemon.snapshot().paths == {str(house.runs): True}


def test_new_runs_are_found_though_the_clock_is_set_back(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    store = Store(None)
    wall, ticks = [1e9], [0.0]
    config = load(flags={"watch.paths": (str(tmp_path / "runs"),)})
    daemon = Daemon(config, store, lambda _: None, clock=lambda: wall[0], monotonic=lambda: ticks[0])
    rounds: list[Snapshot] = []

    class Waker:
        stopped = False

        def watch(self, directories: object) -> None: ...

        def wait(self) -> bool:
            if len(rounds) == 2:
                (tmp_path / "runs" / "a").mkdir()
                (tmp_path / "runs" / "a" / "train.jsonl").write_text(Training().lines(5))
                wall[0] -= 3600
            ticks[0] += 3.0
            return len(rounds) < 6

    class Sink:
        def publish(self, snapshot: Snapshot) -> None:
            rounds.append(snapshot)

        def observe_loop(self, seconds: float) -> None: ...

    daemon.run(Waker(), Sink())  # type: ignore[arg-type]
    assert [run.name for run in rounds[-1].runs] == ["a"]
    daemon.close()
    store.close()


@pytest.mark.parametrize(("path", "status"), [("http://[", 400), ("/metrics", 500)])
def test_a_request_that_cannot_be_answered_ends_no_other(path: str, status: int) -> None:
    exporter = Exporter("127.0.0.1:0")
    host, port = exporter.start()
    try:
        broken = RunStatus("a", "observe", step="no number")  # type: ignore[arg-type]
        exporter.publish(Snapshot(0.0, (broken,)))
        connection = http.client.HTTPConnection(host, port, timeout=10)
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", "localhost")
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()
        with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=10) as answer:
            assert answer.status == 200
    finally:
        exporter.close()
