"""The client as a training script sees it.

One file because the tests share one training and one control directory.
"""

from __future__ import annotations

import gc
import json
import math
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.forked import TORCH, Forked
from support.waiting import eventually

import lrwatch
from lrwatch.control.directory import ControlDirectory
from lrwatch.protocol import Desired


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"optimizer": 3}, TypeError, "optimizer is a torch optimizer"),
        ({"optimizer": [print]}, TypeError, "found list"),
        ({"optimizer": []}, ValueError, "empty"),
        ({"control_dir": 3}, TypeError, r"control_dir is a path, found int; call attach\(optimizer, control_dir\)"),
        ({"override_file": 3}, TypeError, "override_file is a path, found int"),
        ({"run": 3}, TypeError, "run is a name"),
        ({"run": ""}, ValueError, "1 to 128 characters"),
        ({"poll_seconds": 0}, ValueError, "poll_seconds"),
        ({"poll_seconds": math.nan}, ValueError, "poll_seconds"),
        ({"poll_seconds": "1"}, TypeError, "poll_seconds"),
        ({"min_scale": 0}, ValueError, "min_scale"),
        ({"start_step": -1}, ValueError, "start_step"),
        ({"total_steps": 0}, ValueError, "total_steps is 1 or more"),
        ({"total_steps": 1e4}, TypeError, "total_steps is a whole number"),
        ({"total_steps": True}, TypeError, "total_steps is a whole number"),
        ({"start_step": 1.0}, TypeError, "start_step"),
        ({"reload": "last.pt"}, TypeError, "reload is a callable"),
        ({"key_file": "/nowhere/key"}, ValueError, "key_file cannot be read"),
    ],
)
def test_wrong_use_is_told_at_once_and_in_words(
    tmp_path: Path, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    given: dict[str, Any] = {"optimizer": None, "control_dir": tmp_path / "control"} | arguments
    with pytest.raises(error, match=words):
        lrwatch.attach(**given)
    assert not (tmp_path / "control").exists()


def test_steps_are_counted_or_taken_as_given_and_nonsense_is_counted(pair: Callable[..., Any]) -> None:
    client = pair().client
    client.step()
    client.step(10)
    client.step()
    assert client.state_dict()["step"] == 11
    for nonsense in ("12", -4, 2**80, 1.5, object()):
        client.step(nonsense)
    assert client.state_dict()["step"] == 16
    assert client.errors == {"step_number": 5}


def test_a_newer_command_takes_the_place_of_one_that_waits(pair: Callable[..., Any]) -> None:
    ends = pair()
    ends.send(0.2, apply_at_step=3)
    ends.send(0.5)
    for _ in range(5):
        ends.client.step()
    assert ends.client.scale == 0.5
    assert ends.observed.observed_generation == 2


def test_a_command_whose_time_has_passed_when_the_training_gets_to_it_is_refused(pair: Callable[..., Any]) -> None:
    ends = pair()
    assert ends.send(0.5, not_after_step=5).status == "pending"
    ends.client.step(9)
    assert (ends.observed.status, ends.observed.code) == ("rejected", "expired")
    assert ends.client.scale == 1.0


def test_the_budget_and_the_pause_between_changes_are_kept(pair: Callable[..., Any]) -> None:
    ends = pair(max_commands=2, min_steps_between=3)
    ends.send(0.5)
    ends.client.step()
    assert ends.send(0.25).code == "too_soon"
    for _ in range(3):
        ends.client.step()
    assert ends.send(0.25).status == "pending"
    for _ in range(4):
        ends.client.step()
    assert ends.send(0.125).code == "budget"
    assert ends.send(0.25).status == "pending"  # changes nothing and costs nothing


def test_a_callable_that_raises_is_answered_and_the_training_goes_on(pair: Callable[..., Any]) -> None:
    def refuse(scale: float) -> None:
        raise OSError(scale)

    ends = pair(refuse)
    ends.send(0.5)
    ends.client.step()
    answer = ends.observed
    assert (answer.status, answer.code, answer.scale) == ("rejected", "apply_failed", 1.0)
    assert ends.client.errors == {"apply": 1}


def test_the_state_survives_json_and_a_resume_goes_on_with_it(pair: Callable[..., Any]) -> None:
    first = pair()
    first.send(0.5, token=4)
    for _ in range(3):
        first.client.step()
    state = json.loads(json.dumps(first.client.state_dict()))
    scales: list[float] = []
    second = pair(scales.append)
    stale = second.command(0.4)
    second.client.load_state_dict(state)
    assert scales == [0.5]
    assert second.client.state_dict() == first.client.state_dict()
    hello = second.observed
    assert (hello.status, hello.scale, hello.resumed_from_step, hello.max_token) == ("hello", 0.5, 3, 4)
    assert second.send(0.25, generation=2, token=3).code == "stale_token"
    second.control.publish(stale)
    assert second.observed.code == "wrong_incarnation"


def test_a_command_that_waits_does_not_outlive_a_resume(pair: Callable[..., Any]) -> None:
    ends = pair()
    ends.send(0.5)
    ends.client.load_state_dict(ends.client.state_dict())
    for _ in range(3):
        ends.client.step()
    assert ends.client.scale == 1.0
    assert ends.observed.status == "hello"


@pytest.mark.parametrize(
    "damage",
    [
        None,
        {},
        {"version": 2},
        {"scale": math.nan},
        {"scale": 7.0},
        {"scale": "x"},
        {"step": -1},
        {"commands": True},
        {"total_steps": "x"},
        {"ramp": {}},
        {"ramp": {"from_scale": 1.0, "to_scale": 7.0, "first_step": 1, "steps": 5}},
        {"ramp": {"from_scale": 0.0, "to_scale": 0.5, "first_step": 1, "steps": 5}},
        {"ramp": {"from_scale": 1.0, "to_scale": 0.5, "first_step": 1, "steps": 2.5}},
    ],
)
def test_a_state_that_cannot_be_used_is_told_and_changes_nothing(
    pair: Callable[..., Any], damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ends = pair()
    ends.send(0.5)
    ends.client.step()
    before = ends.client.state_dict()
    ends.client.load_state_dict({**before, **damage} if damage else damage)
    assert ends.client.state_dict() == before
    assert ends.client.errors == {"state": 1}
    assert "load_state_dict" in caplog.text


def test_closing_flushes_everything_and_may_be_repeated(tmp_path: Path) -> None:
    with lrwatch.attach(None, tmp_path / "new" / "control", poll_seconds=3600.0, run="a") as watch:
        for step in range(100):
            watch.step(loss=step)
    watch.close()
    watch.step(loss=1.0)
    assert watch.dropped == 0
    assert len((tmp_path / "new" / "control" / "metrics.jsonl").read_text().splitlines()) == 100
    observed = ControlDirectory(tmp_path / "new" / "control").read_observed()
    assert observed is not None
    assert (observed.step, observed.run) == (100, "a")


def test_without_a_metrics_file_none_is_written_and_nothing_counts_as_dropped(tmp_path: Path) -> None:
    with lrwatch.attach(None, tmp_path, metrics_file=False) as watch:
        watch.step(loss=1.0)
    assert watch.errors == {}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["observed.json"]


def test_the_metrics_file_is_there_before_the_first_hello(tmp_path: Path) -> None:
    """Whoever reads the logs of this training waits for it."""
    (tmp_path / "metrics.jsonl").touch()
    os.utime(tmp_path / "metrics.jsonl", (1e9, 1e9))
    with lrwatch.attach(None, tmp_path):
        eventually((tmp_path / "observed.json").exists)
        assert (tmp_path / "metrics.jsonl").stat().st_size == 0
        assert (tmp_path / "metrics.jsonl").stat().st_mtime > 1e9


def test_a_fast_loop_wakes_the_worker_before_the_queue_is_full(tmp_path: Path) -> None:
    with lrwatch.attach(None, tmp_path, poll_seconds=3600.0) as watch:
        eventually((tmp_path / "observed.json").exists)
        for _ in range(3000):
            watch.step(loss=1.0)
        eventually(lambda: (tmp_path / "metrics.jsonl").exists() and not watch.dropped)


def test_a_hung_file_system_holds_up_neither_the_steps_nor_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung, released = threading.Event(), threading.Event()
    callers: set[int] = set()
    real = os.open

    def hanging(*arguments: Any, **options: Any) -> int:
        callers.add(threading.get_ident())
        if threading.current_thread().name == "lrwatch-client":
            hung.set()
            released.wait()
        return real(*arguments, **options)

    monkeypatch.setattr(os, "open", hanging)
    monkeypatch.setattr("lrwatch.client.worker.CLOSE_SECONDS", 0.05)
    watch = lrwatch.attach(None, tmp_path / "control", poll_seconds=0.01)
    assert hung.wait(20)
    for _ in range(10_000):
        watch.step(loss=1.0)
    watch.close()
    assert threading.get_ident() not in callers
    assert watch.dropped == 10_000 - 4096
    released.set()
    eventually(lambda: (tmp_path / "control" / "metrics.jsonl").exists())
    eventually(lambda: not watch._worker._thread.is_alive())


def test_a_forgotten_client_lets_its_thread_end(tmp_path: Path) -> None:
    watch = lrwatch.attach(None, tmp_path, poll_seconds=3600.0)
    watch.step(loss=1.0)
    thread, gone = watch._worker._thread, weakref.ref(watch)
    del watch
    gc.collect()
    assert gone() is None
    eventually(lambda: not thread.is_alive())
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 1


def test_a_script_that_never_closes_ends_and_loses_nothing(tmp_path: Path) -> None:
    script = """
import sys, lrwatch
watch = lrwatch.attach(None, sys.argv[1], poll_seconds=3600.0)
for step in range(10):
    watch.step(loss=step)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script, str(tmp_path)], check=True, timeout=60)
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 10
    observed = ControlDirectory(tmp_path).read_observed()
    assert observed is not None
    assert observed.step == 10


def test_the_client_of_a_forked_child_is_inert(tmp_path: Path) -> None:
    # In a process of its own, because this one has threads of other tests.
    script = """
import os, sys, lrwatch
watch = lrwatch.attach(None, sys.argv[1], poll_seconds=0.01)
watch.step(loss=1.0)
child = os.fork()
for _ in range(5000):
    watch.step(loss=2.0)
if not child:
    assert not watch._box.queue and not watch.errors, watch.errors
    watch.close()
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
watch.close()
print(watch.state_dict()["step"], watch.dropped)
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    step, dropped = map(int, ended.stdout.split())
    assert step == 5001
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 5001 - dropped


@pytest.mark.slow
def test_a_command_reaches_a_training_in_another_process(tmp_path: Path) -> None:
    script = """
import sys, torch, lrwatch
weight = torch.ones(4, requires_grad=True)
optimizer = torch.optim.AdamW([weight], lr=0.1)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10**6)
watch = lrwatch.attach(optimizer, sys.argv[1], run="a", poll_seconds=0.02)
while watch.scale != 0.125:
    loss = weight.square().sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    watch.step(loss=loss)
optimizer.step()
watch.step(loss=0.0)
watch.close()
"""
    control = ControlDirectory(tmp_path / "control")
    errors = tmp_path / "errors"
    with errors.open("wb") as stderr:
        trainer = Forked(["-c", script, control.path], TORCH, stderr=stderr)
    try:
        hello = eventually(control.read_observed, timeout=60)
        assert hello is not None
        for generation, scale in enumerate((0.5, 0.25, 0.125), start=1):
            wanted = Desired(
                run="a", incarnation=hello.incarnation, generation=generation, token=1, scale=scale, actor="test"
            )
            control.publish(wanted)

            def applied(generation: int = generation) -> bool:
                observed = control.read_observed()
                return (
                    observed is not None and observed.observed_generation == generation and observed.status == "applied"
                )

            eventually(applied, what=f"command {generation} applied")
            observed = control.read_observed()
            assert observed is not None
            assert observed.scale == scale
            assert observed.effective_lr["0"] == scale * observed.schedule_lr["0"]
        assert trainer.wait(60) == 0
    finally:
        trainer.kill()
        trainer.wait()
    assert errors.read_text() == ""
    assert not control.errors
    records = [json.loads(line) for line in (control.path / "metrics.jsonl").read_text().splitlines()]
    assert {record["scale"] for record in records} == {1.0, 0.5, 0.25, 0.125}
    assert all(record["loss"] >= 0 and record["lr"] > 0 for record in records)


# ---- reload -------------------------------------------------------------------------------------------------------


def test_a_reload_goes_back_to_the_checkpoint_and_keeps_the_smaller_scale(pair: Callable[..., Any]) -> None:
    scales: list[float] = []
    checkpoint: dict[str, Any] = {}
    ends: Any = pair(scales.append, reload=lambda: ends.client.load_state_dict(checkpoint))
    for _ in range(10):
        ends.client.step()
    checkpoint.update(ends.client.state_dict())
    for _ in range(5):
        ends.client.step()
    before = ends.observed.incarnation
    ends.send(0.5, reload=True)
    ends.client.step()
    assert (ends.client.scale, scales) == (0.5, [1.0, 0.5])
    observed = ends.observed
    assert (observed.status, observed.scale, observed.resumed_from_step) == ("hello", 0.5, 10)
    assert observed.incarnation != before
    ends.client.step()
    assert ends.client.state_dict()["step"] == 11
    assert ends.client.state_dict()["commands"] == 1
    assert ends.send(0.25).status == "pending"  # the new incarnation hears the daemon as the old one did


@pytest.mark.parametrize("offered", [None, lambda: None, lambda: 1 / 0])
def test_without_a_checkpoint_a_reload_is_a_cut(
    pair: Callable[..., Any], offered: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ends = pair(reload=offered)
    ends.client.step()
    ends.send(0.5, reload=True)
    ends.client.step()
    ends.client.step()
    assert (ends.observed.status, ends.client.scale) == ("applied", 0.5)
    broken = offered is not None and "ZeroDivisionError" in caplog.text
    assert ends.client.errors == ({"reload": 1} if broken else {})


def test_a_reload_that_asks_for_a_step_too_far_from_the_checkpoint_keeps_the_checkpoints_scale(
    pair: Callable[..., Any],
) -> None:
    checkpoint: dict[str, Any] = {}
    ends: Any = pair(reload=lambda: ends.client.load_state_dict(checkpoint), max_factor_down=0.5)
    checkpoint.update(ends.client.state_dict())
    ends.client.step()
    ends.send(0.5)
    ends.client.step()
    ends.client.step()
    ends.send(0.25, reload=True)
    ends.client.step()
    assert ends.client.scale == 1.0
    assert ends.observed.status == "hello"


def test_a_command_that_is_refused_reloads_nothing(pair: Callable[..., Any]) -> None:
    called: list[int] = []
    ends = pair(reload=lambda: called.append(1))
    ends.client.step()
    ends.send(0.01, reload=True)
    ends.client.step()
    assert (ends.observed.status, ends.observed.code, called) == ("rejected", "factor_too_large", [])
