"""Commands to a real client, and its answers: what is journalled is what happened, once."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.helpers import eventually
from support.quadratic import Training

from lrwatch.control.directory import ControlDirectory
from lrwatch.control.reconciler import EXPIRES_AFTER_STEPS, Reconciler
from lrwatch.protocol import Desired, Observed, decode_desired, replace

Make = Callable[..., Any]


def desired(run: Any) -> Desired:
    """What lies in the control directory for the trainer."""
    return decode_desired((run.control / "desired.json").read_bytes())


def test_a_command_goes_from_hello_over_its_acknowledgement_to_its_effect(bench: Make) -> None:
    run = bench(policy__mode="auto")
    run.attach()
    run.look()
    hello = run.events("hello")
    assert [(event["step"], event["scale"]) for event in hello] == [(0, 1.0)]
    command = run.until("command")
    assert (command["state"], command["scale"], command["generation"]) == ("sent", 0.5, 1)
    sent = desired(run)
    assert (sent.scale, sent.generation, sent.actor, sent.reason) == (0.5, 1, "lrwatch", command["reason"])
    assert sent.not_after_step is not None
    assert sent.not_after_step >= command["step"] + EXPIRES_AFTER_STEPS
    run.settle()
    (acknowledged,) = run.events("acknowledged")
    assert (acknowledged["generation"], acknowledged["scale"]) == (1, 0.5)
    assert run.training.scale == 0.5
    assert command["step"] <= acknowledged["step"] <= run.training.done
    effect = run.until("effect")
    assert effect["scale"] == 0.5
    assert effect["lower"] > 0
    order = [event["event"] for event in run.events() if event["event"] != "finding"]
    assert order[:2] + order[4:5] == ["hello", "command", "effect"]
    assert set(order[2:4]) == {"acknowledged", "phase"}, "the log may tell of the new rate before the trainer does"
    phase = run.events("phase")[0]
    assert (phase["cause"], phase["step"]) == ("command", acknowledged["step"])
    status = run.watched.status(run.clock.now)
    assert (status.scale, status.wanted, status.commands["plateau"] >= 1) == (0.5, status.wanted, True)
    assert status.applied_time is not None
    assert status.effect is not None
    assert (status.effect.gain, status.effect.lower, status.effect.verdict) == (
        effect["gain"],
        effect["lower"],
        "helped",
    )
    assert status.effects == {"helped": 1}
    assert run.told == list(run.store.journal())


def course(run: Any, *, restarting: bool) -> list[dict[str, Any]]:
    """Everything that the journal says of 1,800 steps, with each answer of the trainer at the same step."""
    run.attach()
    run.look()
    for _ in range(90):
        run.train(20)
        if restarting:
            run.restart()
        run.look()
        if run.watched.actuator.pending is not None:
            accepted = f'"observed_generation":{run.watched.actuator.pending.generation}'
            eventually(partial(run.says, accepted), what="accepted")
            run.train(2)
            eventually(lambda: '"status":"applied"' in run.observed(), what="applied")
            if restarting:
                run.restart()
            run.look()
    return list(run.events())


def test_the_whole_course_of_a_run_is_the_same_when_the_daemon_restarts_at_every_look(bench: Make) -> None:
    calm = course(bench(policy__mode="auto"), restarting=False)
    commands = [event["generation"] for event in calm if event["event"] == "command"]
    assert len(commands) >= 3
    assert commands == list(range(1, len(commands) + 1))
    assert commands == [event["generation"] for event in calm if event["event"] == "acknowledged"]
    assert course(bench(policy__mode="auto"), restarting=True) == calm


@pytest.mark.parametrize(("mode", "state"), [("suggest", "suggested"), ("approve", "awaits approval")])
def test_without_leave_nothing_is_sent(bench: Make, mode: str, state: str) -> None:
    run = bench(policy__mode=mode)
    run.attach()
    run.look()
    command = run.until("command")
    run.train(300)
    run.look()
    assert command["state"] == state
    assert "generation" not in command
    assert not (run.control / "desired.json").exists()
    assert run.events("acknowledged") == []
    assert len(run.events("command")) == 1


def test_observe_finds_and_never_speaks_of_commands(bench: Make) -> None:
    run = bench(policy__mode="observe")
    run.attach()
    run.look()
    run.until("finding", kind="plateau")
    run.train(300)
    run.look()
    assert run.events("command") == []


def test_where_nobody_listens_the_command_is_journalled_and_made_anew_once_somebody_does(bench: Make) -> None:
    run = bench(policy__mode="auto")
    command = run.until("command")
    assert command["state"] == "no trainer listens"
    assert not run.control.exists()
    run.attach(start_step=run.training.done)
    run.look()
    again = run.until("command", state="sent")
    run.settle()
    assert again["step"] > command["step"]
    assert run.training.scale == 0.5


def test_a_rejected_command_is_journalled_with_its_code_and_not_repeated_at_once(bench: Make) -> None:
    run = bench(policy__mode="auto")
    run.attach(min_scale=0.9)
    run.look()
    command = run.until("command")
    run.settle()
    (rejected,) = run.events("rejected")
    assert (rejected["code"], rejected["generation"], rejected["scale"]) == ("out_of_bounds", 1, 1.0)
    assert dict(run.watched.status(0.0).rejected) == {"out_of_bounds": 1}
    assert run.training.scale == 1.0
    again = run.until("command")
    assert again["step"] >= command["step"] * 1.1 - 1, "it kept still for a horizon"


def test_a_daemon_with_a_higher_token_takes_over_and_this_one_falls_silent(bench: Make) -> None:
    run = bench(policy__mode="auto")
    run.attach()
    run.look()
    token = run.watched.status(0.0).token
    assert token == 1
    other = ControlDirectory(run.control)
    incarnation = json.loads(run.observed())["incarnation"]
    other.publish(Desired(run="", incarnation=incarnation, generation=1, token=token + 1, scale=1.0))
    eventually(lambda: f'"max_token":{token + 1}' in run.observed(), what="the trainer knows the other daemon")
    run.train(2)
    run.until("command", state="sent")
    run.settle()
    assert [event["code"] for event in run.events("rejected")] == ["stale_token"]
    silent = run.until("command")
    assert silent["state"] == "no trainer listens"
    assert run.training.scale == 1.0
    assert not run.ask("set", "0.5")["done"]
    run.restart()  # whoever starts a daemon anew wants it to have its say
    run.look()
    assert run.watched.status(0.0).token == token + 2
    assert run.ask("set", "0.5")["done"]
    run.settle()
    assert run.training.scale == 0.5


def test_a_trainer_that_restarts_while_a_command_is_on_its_way_is_asked_anew(bench: Make) -> None:
    run = bench(policy__mode="auto")
    client = run.attach()
    run.look()
    client.close()  # it died, and the daemon cannot know
    run.client = None
    command = run.until("command")
    assert command["state"] == "sent"
    old = desired(run)
    run.attach(start_step=run.training.done)
    run.look()
    assert [hello["step"] for hello in run.events("hello")] == [0, run.training.done]
    assert run.watched.actuator.pending is None
    run.until("command", state="sent")
    run.settle()
    new = desired(run)
    assert new.incarnation != old.incarnation
    assert new.generation == old.generation + 1
    assert [event["generation"] for event in run.events("acknowledged")] == [new.generation]
    assert run.events("rejected") == []


def test_a_trainer_that_resumes_at_a_lower_scale_is_believed(bench: Make) -> None:
    run = bench(policy__mode="auto")
    client = run.attach()
    run.look()
    run.until("command")
    run.settle()
    before = run.observed()
    client.load_state_dict(client.state_dict() | {"scale": 0.25})
    eventually(lambda: run.observed() != before, what="a hello")
    run.look()
    assert run.watched.status(0.0).scale == 0.25
    hello = run.events("hello")[-1]
    assert hello["scale"] == 0.25
    assert run.events("phase")[-1]["cause"] == "resume"
    assert run.until("command")["scale"] in (0.125, 0.5)


def test_a_command_that_comes_too_late_is_refused_by_the_trainer(bench: Make) -> None:
    run = bench(policy__mode="auto")
    client = run.attach()
    run.look()
    run.until("command", chunk=5)
    deadline = desired(run).not_after_step
    assert deadline is not None
    eventually(lambda: '"observed_generation":1' in run.observed(), what="accepted")
    # Accepted, and then the training did not come to a step for so long that the command is stale.
    client.step(deadline + 10)
    eventually(lambda: '"code":"expired"' in run.observed(), what="refused")
    run.look()
    assert [event["code"] for event in run.events("rejected")] == ["expired"]
    assert run.training.scale == 1.0


def test_a_decision_on_a_backlog_is_outdated_and_not_sent(bench: Make) -> None:
    run = bench(policy__mode="auto")
    run.train(600)
    run.attach(start_step=20_000)  # the trainer is far ahead of what its log says so far
    run.look()
    (command,) = run.events("command")
    assert command["state"] == "outdated"
    assert not (run.control / "desired.json").exists()
    run.train(200)
    run.look()
    assert len(run.events("command")) == 1, "still before the step at which the trainer was"


def test_a_plan_is_not_outdated_however_far_ahead_the_trainer_is(bench: Make) -> None:
    run = bench(policy__mode="auto", policy__strategy="step", policy__every=500)
    run.train(600)
    run.attach(start_step=20_000)
    run.look()
    (command,) = run.events("command")
    assert (command["state"], command["step"]) == ("sent", 500)


def test_a_control_directory_that_vanishes_after_a_restart_is_survived(bench: Make) -> None:
    run = bench(policy__mode="auto")
    client = run.attach()
    run.look()
    client.close()
    run.client = None
    (run.control / "observed.json").unlink()
    run.restart()
    command = run.until("command")
    assert command["state"] == "no trainer listens"
    assert not run.ask("set", "0.5")["done"]


def test_a_command_that_cannot_be_written_is_tried_again_and_says_why(bench: Make) -> None:
    run = bench(policy__mode="auto")
    run.attach()
    run.look()
    blocker = run.control / "desired.json"
    blocker.mkdir()
    (blocker / "in the way").write_text("")
    run.until("command", state="sent")
    assert "cannot write" in run.watched.why()
    assert run.watched.status(run.clock.now + 5).pending_seconds == 5.0
    (blocker / "in the way").unlink()
    blocker.rmdir()
    run.look()
    assert run.watched.why() == ""
    run.settle()
    assert run.training.scale == 0.5


def test_garbage_in_the_control_directory_is_counted_and_changes_nothing(bench: Make) -> None:
    run = bench(policy__mode="auto")
    run.attach()
    run.look()
    scale = run.watched.status(0.0).scale
    run.client.close()
    run.client = None
    path = run.control / "observed.json"
    for content, code in ((b"{", "not_json"), (b"\xff", "not_utf8"), (b'{"v":9}', "version"), (b"[]", "wrong_type")):
        path.write_bytes(content)
        path.chmod(0o600)
        run.look()
        assert run.watched.status(0.0).errors[code] >= 1
    assert run.watched.status(0.0).scale == scale


def test_commands_are_signed_where_there_is_a_key_and_a_trainer_without_it_refuses(bench: Make, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 32)
    (tmp_path / "other").write_text("o" * 32)
    signed = bench(policy__mode="auto", daemon__key_file=str(tmp_path / "key"))
    signed.attach(key_file=tmp_path / "key")
    signed.look()
    signed.until("command")
    signed.settle()
    assert signed.training.scale == 0.5
    forged = bench(policy__mode="auto", daemon__key_file=str(tmp_path / "other"))
    forged.attach(key_file=tmp_path / "key")
    forged.look()
    forged.until("command")
    forged.settle()
    assert [event["code"] for event in forged.events("rejected")] == ["bad_mac"]
    assert forged.training.scale == 1.0


# ---- the actuator alone -------------------------------------------------------------------------------------------


def observed(step: int, **values: Any) -> Observed:
    return replace(Observed(run="a", incarnation="i", step=step, scale=1.0), **values)


def test_the_patience_with_a_trainer_grows_with_its_pace(tmp_path: Path) -> None:
    from lrwatch.protocol import OBSERVED_NAME, encode, publish

    actuator = Reconciler(ControlDirectory(tmp_path), "a")
    for now, step in ((0.0, 0), (10.0, 50_000)):
        publish(tmp_path, OBSERVED_NAME, encode(observed(step)))
        actuator.look(now)
    fast = actuator.order(0.5, reason="r" * 2000, actor="x", horizon=10.0, prev="", now=10.0)
    assert fast.not_after_step == 50_000 + 60 * 5_000
    assert len(fast.reason) == 1000
    publish(tmp_path, OBSERVED_NAME, encode(observed(50_001)))
    actuator.look(1e6)
    slow = actuator.order(0.5, reason="", actor="x", horizon=1e6, prev="", now=1e6)
    assert slow.not_after_step == 50_001 + 2_000_000


def test_training_of_these_tests_is_the_same_each_time() -> None:
    assert Training().lines(50) == Training().lines(50)
