"""Ramps, and the length of the run, between the daemon and a real client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.optimizer_doubles import build
from support.waiting import eventually

import lrwatch
from lrwatch.core.events import Command

Make = Callable[..., Any]

RAMP = Command(100, 0.05, "the last 50 steps", cause="schedule", ramp_steps=50)


def decide(rig: Any, command: Command) -> None:
    """Let the run act on a command as if its strategy had given it."""
    rig.run.pipeline.ask(command.scale)
    rig.run._handle([command], rig.clock.now)
    rig.look()


def test_a_ramp_is_acknowledged_once_at_its_first_step_as_the_scale_of_its_end(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto", policy__strategy="observe")
    rig.attach()
    rig.train(100)
    rig.look()
    decide(rig, RAMP)
    rig.settle()
    (acknowledged,) = rig.events("acknowledged")
    assert (acknowledged["scale"], acknowledged["ramp_steps"]) == (0.05, 50)
    assert 100 < acknowledged["step"] < 150
    assert rig.training.scale > 0.05
    assert rig.run.pipeline.command.scale == 0.05
    rig.train(60)
    assert rig.training.scale == 0.05
    eventually(lambda: rig.says('"scale":0.05,') and rig.says('"target_scale":null'), what="the last report")
    rig.look()
    assert rig.run.status(rig.clock.now).scale == 0.05
    assert len(rig.events("acknowledged")) == 1
    (phase,) = rig.events("phase")
    assert phase["cause"] == "command"


def test_a_trainer_that_resumes_within_a_ramp_is_known_to_end_it(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto", policy__strategy="observe")
    client = rig.attach()
    rig.train(100)
    rig.look()
    decide(rig, RAMP)
    rig.settle()
    rig.train(10)
    client.load_state_dict(client.state_dict())
    eventually(lambda: rig.says('"status":"hello"'), what="a hello")
    rig.look()
    assert rig.training.scale > 0.05
    assert rig.events("hello")[-1]["scale"] == 0.05
    assert rig.run.pipeline.command.scale == 0.05
    assert rig.events("phase", cause="resume") == []
    rig.train(60)
    assert rig.training.scale == 0.05


def test_a_proposal_that_is_approved_keeps_its_ramp_also_after_a_restart(make_rig: Make) -> None:
    rig = make_rig(policy__mode="approve", policy__strategy="observe")
    rig.attach()
    rig.train(100)
    rig.look()
    decide(rig, RAMP)
    entry = next(entry.id for entry in rig.store.journal() if entry.event["event"] == "command")
    rig.restart()
    rig.look()
    assert rig.ask("approve", str(entry))["done"]
    rig.settle()
    assert rig.events("acknowledged")[0]["ramp_steps"] == 50
    assert rig.training.scale > 0.05


def test_the_length_that_the_trainer_tells_reaches_the_pipeline_whenever_it_changes(make_rig: Make) -> None:
    rig = make_rig()
    client = rig.attach(total_steps=1000)
    rig.look()
    assert rig.run.pipeline.length == (1000, "trainer")
    client.extend(1500)
    eventually(lambda: rig.says('"total_steps":1500'), what="the length")
    rig.look()
    assert rig.run.pipeline.length == (1500, "trainer")
    rig.restart()
    rig.look()
    assert rig.run.pipeline.length == (1500, "trainer")
    client.extend(None)
    eventually(lambda: rig.says('"total_steps":null'), what="no length")
    rig.look()
    assert rig.run.pipeline.length == (0, "")


def test_a_warm_start_is_no_mismatch_of_the_learning_rate(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto", policy__strategy="observe")
    optimizer = build(0.8)
    watch = lrwatch.attach(optimizer, rig.control, total_steps=100, warm_start=0.1, poll_seconds=0.002)
    with watch:
        for _ in range(4):
            optimizer.step()
            watch.step()
        eventually(lambda: rig.says('"effective_lr":{"0":'), what="rates")
        rig.look()
        status = rig.run.status(rig.clock.now)
        assert (status.scale, status.schedule_lr) == (1.0, {})
        assert 0.08 <= status.effective_lr["0"] < 0.8
        rig.run.commands.send(0.5, reason="too early", actor="anna", now=rig.clock.now)
        rig.look()
        eventually(lambda: rig.says('"code":"warmup"'), what="a refusal")
        rig.look()
        assert rig.events("rejected")[-1]["code"] == "warmup"
        for _ in range(8):
            optimizer.step()
            watch.step()
        eventually(lambda: rig.says('"effective_lr":{"0":0.8}'), what="the rate of the schedule")
        rig.look()
        status = rig.run.status(rig.clock.now)
    assert (status.scale, status.schedule_lr, status.effective_lr) == (1.0, {"0": 0.8}, {"0": 0.8})
