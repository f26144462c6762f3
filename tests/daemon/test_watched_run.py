"""The findings of a run depend neither on when the daemon looks nor on how often it restarts.

One file because the tests share one run and its comparison after restarts.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.quadratic import Training

from lrwatch.config import Config, load
from lrwatch.daemon.logs import RunLogs
from lrwatch.daemon.watched_run import WatchedRun
from lrwatch.errors import InputError
from lrwatch.offline.replay import replay_file
from lrwatch.sources.discover import discover
from lrwatch.store import Store

# The user and group that own nothing.
NOBODY = 65534


def eventful_log() -> bytes:
    """A plateau, the learning rate halved by somebody, NaN, a resume from an older step, a second metric, junk."""
    training = Training()
    lines = training.lines(700).splitlines()
    training.scale = 0.5
    lines += training.lines(300).splitlines()
    lines[850] = json.dumps({"step": 851, "loss": math.nan, "lr": 0.05})
    lines[300:300] = ["a line that is no record é", "", '{"half": ']
    lines[600:600] = [json.dumps({"step": 597, "val_loss": 2.5})]
    lines += Training().lines(200).splitlines()
    return "".join(line + "\n" for line in lines).encode()


LOG = eventful_log()


def replayed(log: Path, config: Config | None = None) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    replay_file(log, config or Config(), lambda entry: events.append(entry.event))
    return events


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    log = tmp_path_factory.mktemp("truth") / "train.jsonl"
    log.write_bytes(LOG)
    return replayed(log)


def test_the_log_of_these_tests_is_worth_it(truth: list[dict[str, Any]]) -> None:
    found = [(event["event"], event.get("kind", event.get("cause"))) for event in truth]
    for wanted in (("command", "plateau"), ("finding", "plateau"), ("finding", "nonfinite"), ("phase", "resume")):
        assert wanted in found, found


@pytest.mark.slow
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(0, len(LOG)), max_size=12),
    restarts=st.integers(0, 2**13 - 1),
)
def test_a_growing_log_gives_what_its_replay_gives_however_it_grows_and_whenever_the_daemon_dies(
    tmp_path_factory: pytest.TempPathFactory, truth: list[dict[str, Any]], cuts: list[int], restarts: int
) -> None:
    home = tmp_path_factory.mktemp("growing")
    log, store = home / "train.jsonl", Store(home / "state")
    run = WatchedRun("train", [log], None, Config(), store, lambda _: None)
    edges = [0, *sorted(cuts), len(LOG)]
    for i, (start, end) in enumerate(itertools.pairwise(edges)):
        with log.open("ab") as file:
            file.write(LOG[start:end])
        while run.turn(float(i)):
            pass
        if restarts >> i & 1:
            run.close()
            run = WatchedRun("train", [log], None, Config(), store, lambda _: None)
    while run.turn(float(len(edges))):
        pass
    run.close()
    assert [entry.event for entry in store.journal()] == truth
    assert run.logs.ingest["bytes"] == len(LOG)
    assert store.broken_link() is None
    store.close()


def test_a_death_between_any_two_commits_repeats_and_loses_nothing(tmp_path: Path, truth: list[dict[str, Any]]) -> None:
    """What a reader did after its last commit dies with it: here every second reader commits nothing, and the others all."""
    log, store = tmp_path / "train.jsonl", Store(tmp_path / "state")
    for start in range(0, len(LOG), 3001):
        with log.open("ab") as file:
            file.write(LOG[start : start + 3001])
        dying = WatchedRun("train", [log], None, Config(), store, lambda _: None)
        dying.write = _die  # type: ignore[method-assign]
        with suppress(InterruptedError):
            dying.turn(0.0)
        dying.close()
        living = WatchedRun("train", [log], None, Config(), store, lambda _: None)
        while living.turn(0.0):
            pass
        living.save(0.0)
        living.close()
    assert [entry.event for entry in store.journal()] == truth
    store.close()


def _die(now: float) -> NoReturn:
    raise InterruptedError


# ---- what is missing, and says so ---------------------------------------------------------------------------------


def test_a_missing_file_is_waited_for_and_says_so(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    rig.look()
    assert rig.run.problem == f"{rig.log} does not exist yet; it is read as soon as it is there"
    assert not rig.run.status(0.0).up
    rig.train(5)
    rig.look()
    assert rig.run.problem == ""
    assert rig.run.status(0.0).up
    assert rig.run.logs.ingest["samples"] == 10


def test_a_wrong_metric_name_lists_those_that_were_seen(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(watch__metric="perplexity")
    rig.train(5)
    rig.look()
    assert rig.run.problem == "no metric 'perplexity' in the logs; seen were loss, lr"


def test_a_log_without_a_loss_says_what_could_be_watched(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    rig.train(5, "step", "lr")
    rig.look()
    assert rig.run.problem == "no metric looks like a loss; name one with --metric: lr"


def test_a_run_that_falls_silent_is_found_stalled_once_and_again_after_it_went_on(tmp_path: Path) -> None:
    log, store = tmp_path / "train.jsonl", Store(tmp_path / "state")
    run = WatchedRun("train", [log], None, Config(), store, lambda _: None)
    step = 0

    def train(until: float) -> None:
        nonlocal step
        step += 1
        with log.open("a") as file:
            file.write(json.dumps({"step": step, "loss": 2.0}) + "\n")
        run.turn(until)

    for beat in range(10):
        train(float(beat))
    for second in (20.0, 69.0, 70.0, 71.0, 500.0):
        run.turn(second)
    train(501.0)
    for second in (700.0, 1500.0, 1600.0):
        run.turn(second)
    findings = [entry.event for entry in store.journal()]
    assert [(event["kind"], event["step"]) for event in findings] == [("stalled", 10), ("stalled", 11)]
    assert run.view.findings["stalled"] == 2
    assert findings[0]["evidence"] == {"silent_seconds": 61.0, "usual_seconds": 1.0, "longest_seconds": 1.0}
    run.close()
    restarted = WatchedRun("train", [log], None, Config(), store, lambda _: None)
    assert restarted.stalled.patience == run.stalled.patience
    restarted.turn(9999.0)  # nobody read in the meantime: that is no silence of the run
    assert restarted.view.findings["stalled"] == 2
    restarted.close()
    store.close()


@pytest.mark.slow
def test_a_log_that_is_not_understood_says_so_once_it_is_large_enough_to_tell(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    rig.log.write_bytes(b"nothing of any use\n" * 80_000)
    rig.look()
    assert rig.run.problem == "nothing so far that could be understood as a metric"


@contextmanager
def unprivileged(directory: Path) -> Iterator[None]:
    """As a user who may not read everything, in a directory that is theirs."""
    if os.geteuid() != 0:
        yield
        return
    os.chown(directory, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_an_unreadable_file_is_told_until_it_can_be_read() -> None:
    with TemporaryDirectory() as directory, unprivileged(Path(directory)):  # pytest's own is below one of mode 0700
        log = Path(directory) / "train.jsonl"
        log.write_text(Training().lines(5))
        log.chmod(0)
        run = WatchedRun("a", [log], None, Config(), Store(None), lambda _: None)
        assert not run.turn(0.0)
        assert run.problem == f"{log} may not be read by this user; change its permissions"
        with pytest.raises(InputError, match="Permission denied"):
            replay_file(log, Config(), lambda _: None)
        log.chmod(0o600)
        assert run.turn(1.0)
        assert run.problem == ""
        assert run.logs.ingest["samples"] == 10
        run.close()


def test_a_control_directory_of_another_user_is_told_and_the_log_beside_it_is_read() -> None:
    with TemporaryDirectory() as directory, unprivileged(Path(directory)):
        home = Path(directory) / "a"
        control = home / "lrwatch"
        control.mkdir(parents=True)
        (control / "metrics.jsonl").touch()
        (home / "train.log").write_text("step 1 loss 2.0\n")
        control.chmod(0)
        found = discover([home])
        assert [log.path.name for log in found.logs] == ["train.log"]
        assert found.problems == (
            f"{control}: may not be read by this user, so the client's own metrics are not followed",
        )
        logs = RunLogs("a", "auto", Store(None), client_log=control / "metrics.jsonl")
        logs.add(home / "train.log")
        assert sum(len(batch) for batch in logs.read(final=True)) == 1
        logs.close()
        control.chmod(0o700)


def test_a_directory_in_place_of_the_log_is_told(tmp_path: Path) -> None:
    run = WatchedRun("a", [tmp_path], None, Config(), Store(None), lambda _: None)
    run.turn(0.0)
    assert run.problem == f"{tmp_path} is a directory; a log file was expected"


@pytest.mark.parametrize(
    ("content", "found"),
    [(None, "No such file"), (b"", "nothing"), (b"\x00\xff\xfe" * 9999, "nothing"), (b"hello\nworld\n", "nothing")],
)
def test_replay_of_what_is_no_log_is_one_line_with_what_to_do(
    tmp_path: Path, content: bytes | None, found: str
) -> None:
    log = tmp_path / "train.log"
    if content is not None:
        log.write_bytes(content)
    with pytest.raises(InputError, match=found) as refused:
        replay_file(log, Config(), lambda _: None)
    assert refused.value.where == str(log)
    assert refused.value.hint


def test_replay_of_a_directory_and_of_a_pipe_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, found in ((tmp_path, "a directory"), (tmp_path / "pipe", "no regular file")):
        with pytest.raises(InputError, match=found):
            replay_file(path, Config(), lambda _: None)


def test_replay_with_a_wrong_metric_names_those_that_were_seen(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(Training().lines(5))
    with pytest.raises(InputError, match=r"expected metric 'los', found .* seen were loss, lr"):
        replay_file(tmp_path / "train.jsonl", load(flags={"watch.metric": "los"}), lambda _: None)


# ---- several logs -------------------------------------------------------------------------------------------------


def test_a_metric_belongs_to_the_first_log_that_had_it_also_when_the_second_log_comes_later(tmp_path: Path) -> None:
    first, second = tmp_path / "train.jsonl", tmp_path / "metrics.jsonl"
    store = Store(tmp_path / "state")
    training = Training()
    run = WatchedRun("a", [first], None, Config(), store, lambda _: None)
    first.write_text(training.lines(51))  # a row waits until the owner has passed its step
    run.turn(0.0)
    second.write_text(Training().lines(50) + '{"step": 51, "val_loss": 3}\n')
    run.add_log(second)
    run.add_log(second)
    run.turn(1.0)
    assert len(run.logs.readers) == 2
    assert run.logs.ingest["in_another_log"] == 100
    assert not run.logs.errors
    assert run.pipeline.metrics.names == ["loss", "lr", "val_loss"]
    assert list(store.journal()) == [], "a resume was found where there was none"
    run.save(1.0)
    run.close()
    again = WatchedRun("a", [second, first], None, Config(), store, lambda _: None)
    with first.open("a") as log:
        log.write(training.lines(1))
    with second.open("a") as log:
        log.write('{"step": 52, "loss": 99}\n')
    again.turn(2.0)
    assert {m.name: m.value for m in again.pipeline.metrics.statuses()}["loss"] < 90
    assert again.logs.ingest["in_another_log"] == 101
    again.close()
    store.close()


# ---- a disk that is full ------------------------------------------------------------------------------------------


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@contextmanager
def read_only(store: Store) -> Iterator[None]:
    """The database takes nothing, while all other files can be written."""
    store._db.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        store._db.execute("PRAGMA query_only = OFF")


def test_a_command_that_could_not_be_saved_is_not_sent_though_it_could_be(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(policy__mode="auto")
    rig.attach()
    rig.look()
    rig.train(600)
    with read_only(rig.store):
        for _ in range(3):
            rig.daemon.turn()
    assert rig.run.commands.reconciler.pending is not None
    assert not (rig.control / "desired.json").exists()
    rig.look()
    assert (rig.control / "desired.json").exists()
    assert len(rig.events("command")) == 1


def test_while_the_disk_is_full_nothing_is_sent_and_afterwards_everything_is_as_if_it_had_not_been(
    make_rig: Callable[..., Any],
) -> None:
    rig = make_rig(policy__mode="auto")
    rig.attach()
    rig.look()
    rig.train(600)
    while rig.run.commands.reconciler.pending is None:
        with files_limited_to(0):
            assert rig.daemon.turn() or rig.run.commands.reconciler.pending
    assert rig.events("command") == []
    assert not (rig.control / "desired.json").exists(), "a command was sent that the journal does not know"
    assert "cannot save to" in rig.run.problem
    assert rig.run.logs.errors["not_saved"] > 0
    with pytest.raises(sqlite3.Error), files_limited_to(0):
        rig.store.save_run("x", {})
    rig.look()
    assert rig.run.problem == ""
    assert (rig.control / "desired.json").exists()
    rig.settle()
    (command,), (acknowledged,) = rig.events("command"), rig.events("acknowledged")
    assert command["generation"] == acknowledged["generation"]
    assert rig.store.broken_link() is None


def test_a_daemon_that_dies_while_the_disk_is_full_decides_the_same_again(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(policy__mode="auto")
    rig.attach()
    rig.look()
    rig.train(600)
    with files_limited_to(0):
        rig.daemon.turn()
        (lost,) = [event for event in rig.run._events if event["event"] == "command"]
    rig.restart()
    rig.look()
    assert rig.events("command") == [lost]
    rig.settle()
    assert len(rig.events("acknowledged")) == 1


def test_an_operators_request_waits_for_the_disk_and_is_then_carried_out_once(make_rig: Callable[..., Any]) -> None:
    rig = make_rig()
    rig.attach()
    rig.train(5)
    rig.look()
    number = rig.store.request("train", "anna", "hold", "", 0.0)
    with files_limited_to(0):
        for _ in range(3):
            rig.daemon.turn()
    assert rig.store.answer_to(number) is None
    rig.look()
    assert rig.store.answer_to(number)["done"]
    assert len(rig.events("operator")) == 1


def test_a_run_whose_log_is_rewritten_sees_no_resume(make_rig: Callable[..., Any]) -> None:
    running = make_rig()
    running.train(200)
    running.look()
    samples = running.run.logs.ingest["samples"]
    with_a_key_more = running.log.read_text().replace("{", '{"grad_norm": 1.5, ')
    running.log.write_text(with_a_key_more)
    running.train(10)
    running.look()
    assert running.events("phase") == []
    assert running.run.pipeline.step == 210
    assert running.run.logs.ingest["samples"] == samples * 210 // 200 + 200


def test_the_length_comes_from_the_log_until_the_log_contradicts_itself(tmp_path: Path) -> None:
    log, store = tmp_path / "train.log", Store(tmp_path / "state")
    run = WatchedRun("train", [log], None, Config(), store, lambda _: None)
    with log.open("a") as file:
        for step, total in ((10, 100), (20, 100), (30, 200)):
            file.write(f"step {step}/{total} loss {5 / step:.4f}\n" * 2)
            file.flush()
            run.turn(0.0)
            assert run.pipeline.length == ((100, "log") if total == 100 else (0, ""))
            run.save(0.0)
    run.close()


def test_settings_of_the_length_that_changed_since_hold_after_a_restart(tmp_path: Path) -> None:
    log, store = tmp_path / "train.log", Store(tmp_path / "state")
    log.write_text("".join(f"step {step}/100 loss {5 / step:.4f}\n" for step in range(1, 9)))
    for total, length in ((300, (300, "config")), (400, (400, "config")), (0, (100, "log"))):
        config = load(flags={"run.total_steps": total})
        run = WatchedRun("train", [log], None, config, store, lambda _: None)
        run.turn(0.0)
        assert run.pipeline.length == length, total
        with log.open("a") as file:
            file.write("step 9/100 loss 0.5\n")
        run.turn(0.0)
        assert run.pipeline.length == length, total
        run.save(0.0)
        run.close()


def test_a_length_in_steps_says_nothing_about_a_log_that_counts_epochs(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("".join(f"Epoch {epoch} train loss: {5 / epoch:.4f}\n" for epoch in range(1, 9)))
    run = WatchedRun("train", [log], None, load(flags={"run.total_steps": 9000}), Store(None), lambda _: None)
    run.turn(0.0, final=True)
    assert (run.status(0.0).step, run.status(0.0).total_steps) == (8, 0)
    run.pipeline.set_total_steps(10, "operator")
    run.view.invalidate()
    assert (run.status(0.0).total_steps, run.status(0.0).length_source) == (10, "operator")
    run.close()
