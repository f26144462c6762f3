"""Commands to a real client, and its answers: what is journalled is what happened, once.

One file because all of it plays a daemon and a client in one directory.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.quadratic import Training
from support.waiting import eventually

from lrwatch.control.directory import ControlDirectory
from lrwatch.control.reconciler import EXPIRES_AFTER_STEPS, Reconciler
from lrwatch.control.token import LEASE_SECONDS, RENEW_SECONDS, claim_token
from lrwatch.core.command import Status
from lrwatch.core.events import Command
from lrwatch.daemon.commands import TURNS_SECONDS
from lrwatch.protocol import Desired, Observed, decode_desired, replace

Make = Callable[..., Any]


def desired(rig: Any) -> Desired:
    """What lies in the control directory for the trainer."""
    return decode_desired((rig.control / "desired.json").read_bytes())


def test_a_command_goes_from_hello_over_its_acknowledgement_to_its_effect(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    rig.attach()
    rig.look()
    hello = rig.events("hello")
    assert [(event["step"], event["scale"]) for event in hello] == [(0, 1.0)]
    command = rig.until("command")
    assert (command["state"], command["scale"], command["generation"]) == ("sent", 0.5, 1)
    sent = desired(rig)
    assert (sent.scale, sent.generation, sent.actor, sent.reason) == (0.5, 1, "lrwatch", command["reason"])
    assert sent.not_after_step is not None
    assert sent.not_after_step >= command["step"] + EXPIRES_AFTER_STEPS
    rig.settle()
    (acknowledged,) = rig.events("acknowledged")
    assert (acknowledged["generation"], acknowledged["scale"]) == (1, 0.5)
    assert rig.training.scale == 0.5
    assert command["step"] <= acknowledged["step"] <= rig.training.done
    effect = rig.until("effect")
    while effect["lower"] <= 0:  # the first trial may be too short to show it
        effect = rig.until("effect")
    rig.settle()
    assert effect["scale"] == 0.5
    assert effect["lower"] > 0
    order = [event["event"] for event in rig.events() if event["event"] != "finding"]
    assert order[:2] == ["hello", "command"]
    assert set(order[2:4]) == {"acknowledged", "phase"}, "the log may tell of the new rate before the trainer does"
    tried, back, cut = [event for event in rig.events("command") if event["step"] <= effect["step"]][-3:]
    assert [(one["cause"], one["scale"]) for one in (tried, back, cut)] == [
        ("probe", 0.5),
        ("restore", 1.0),
        ("plateau", 0.5),
    ]
    phase = rig.events("phase")[0]
    assert (phase["cause"], phase["step"]) == ("command", acknowledged["step"])
    status = rig.run.status(rig.clock.now)
    assert (status.scale, status.wanted, status.commands["probe"]["applied"] >= 1) == (0.5, status.wanted, True)
    assert status.commands["plateau"]["proven"] == 1
    assert status.applied_time is not None
    assert status.effect is not None
    assert (status.effect.gain, status.effect.lower, status.effect.verdict) == (
        effect["gain"],
        effect["lower"],
        "helped",
    )
    assert status.effects["helped"] == 1
    assert rig.entries == list(rig.store.journal())


def course(rig: Any, *, restarting: bool) -> list[dict[str, Any]]:
    """Everything that the journal says of 3,800 steps, with each answer of the trainer at the same step."""
    rig.attach()
    rig.look()
    for _ in range(190):
        rig.train(20)
        if restarting:
            rig.restart()
        rig.look()
        if rig.run.commands.reconciler.pending is not None:
            accepted = f'"observed_generation":{rig.run.commands.reconciler.pending.generation}'
            eventually(partial(rig.says, accepted), what="accepted")
            rig.train(2)
            eventually(lambda: '"status":"applied"' in rig.observed(), what="applied")
            if restarting:
                rig.restart()
            rig.look()
    return list(rig.events())


@pytest.mark.slow
def test_the_whole_course_of_a_run_is_the_same_when_the_daemon_restarts_at_every_look(make_rig: Make) -> None:
    calm = course(make_rig(policy__mode="auto"), restarting=False)
    commands = [event["generation"] for event in calm if event["event"] == "command"]
    assert len(commands) >= 3
    assert commands == list(range(1, len(commands) + 1))
    assert commands == [event["generation"] for event in calm if event["event"] == "acknowledged"]
    assert course(make_rig(policy__mode="auto"), restarting=True) == calm


@pytest.mark.parametrize(("mode", "state"), [("suggest", "suggested"), ("approve", "awaits approval")])
def test_without_leave_nothing_is_sent(make_rig: Make, mode: str, state: str) -> None:
    rig = make_rig(policy__mode=mode)
    rig.attach()
    rig.look()
    command = rig.until("command")
    rig.train(300)
    rig.look()
    assert command["state"] == state
    assert "generation" not in command
    assert not (rig.control / "desired.json").exists()
    assert rig.events("acknowledged") == []
    # Nobody answers: it is made again when it is void, and not before.
    assert len(rig.events("command")) == 1 + len(rig.events("expired"))


def test_observe_finds_and_proposes_no_commands(make_rig: Make) -> None:
    rig = make_rig(policy__mode="observe")
    rig.attach()
    rig.look()
    rig.until("finding", kind="plateau")
    rig.train(300)
    rig.look()
    assert rig.events("command") == []


def test_where_no_trainer_is_attached_the_command_is_journalled_and_made_again_once_one_is(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    command = rig.until("command")
    assert command["state"] == "no trainer listens"
    assert not rig.control.exists()
    rig.attach(start_step=rig.training.done)
    rig.look()
    again = rig.until("command", state="sent")
    rig.settle()
    assert again["step"] > command["step"]
    assert rig.training.scale == 0.5


def test_a_rejected_command_is_journalled_with_its_code_and_not_repeated_at_once(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    rig.attach(min_scale=0.9)
    rig.look()
    command = rig.until("command")
    rig.settle()
    (rejected,) = rig.events("rejected")
    assert (rejected["code"], rejected["generation"], rejected["scale"]) == ("out_of_bounds", 1, 1.0)
    assert dict(rig.run.status(0.0).rejected) == {"out_of_bounds": 1}
    assert rig.training.scale == 1.0
    again = rig.until("command")
    assert again["step"] >= command["step"] * 1.1 - 1, "it waited for a horizon"


def test_a_daemon_whose_control_was_taken_writes_nothing_until_the_other_one_is_gone(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    rig.attach()
    rig.look()
    assert rig.run.status(0.0).token == 1
    assert claim_token(rig.control, 1) == 2
    other = ControlDirectory(rig.control)
    incarnation = json.loads(rig.observed())["incarnation"]
    other.publish(Desired(run="", incarnation=incarnation, generation=1, token=2, scale=1.0))
    eventually(lambda: rig.says('"max_token":2'), what="the trainer knows the other daemon")
    rig.train(2)
    of_the_other = (rig.control / "desired.json").read_bytes()
    assert rig.until("command")["state"] == "no trainer listens"
    status = rig.run.status(0.0)
    assert (status.fenced, status.up) == (True, True)
    assert "this daemon has 1" in status.problem
    assert not rig.ask("set", "0.5")["done"]
    assert (rig.control / "desired.json").read_bytes() == of_the_other
    assert rig.events("rejected") == []

    rig.clock.now += LEASE_SECONDS  # in which the other one gives no sign of life
    rig.look()
    status = rig.run.status(0.0)
    assert (status.fenced, status.token, status.problem) == (False, 3, "")
    assert rig.ask("set", "0.5")["done"]
    rig.settle()
    assert rig.training.scale == 0.5


def test_a_daemon_that_is_started_again_takes_the_control_that_it_had_lost(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    rig.attach()
    rig.look()
    claim_token(rig.control, 1)
    rig.train(2)
    rig.clock.now += RENEW_SECONDS
    rig.look()
    assert rig.run.status(0.0).fenced
    rig.restart()  # an operator who restarts a daemon wants it in control
    rig.train(2)
    rig.look()
    assert (rig.run.status(0.0).fenced, rig.run.status(0.0).token) == (False, 3)


def test_a_trainer_that_restarts_while_a_command_is_on_its_way_is_commanded_again(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    client = rig.attach()
    rig.look()
    before = json.loads(rig.observed())
    client.close()
    rig.client = None
    # It died elsewhere and without a goodbye, so the daemon cannot know.
    (rig.control / "observed.json").write_text(json.dumps(before | {"machine": "elsewhere"}))
    command = rig.until("command")
    assert command["state"] == "sent"
    old = desired(rig)
    rig.attach(start_step=rig.training.done)
    rig.look()
    assert [hello["step"] for hello in rig.events("hello")] == [0, rig.training.done]
    assert rig.run.commands.reconciler.pending is None
    rig.until("command", state="sent")
    rig.settle()
    new = desired(rig)
    assert new.incarnation != old.incarnation
    assert new.generation == old.generation + 1
    assert [event["generation"] for event in rig.events("acknowledged")] == [new.generation]
    assert rig.events("rejected") == []


def test_a_trainer_that_resumes_at_a_lower_scale_is_believed(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    client = rig.attach()
    rig.look()
    rig.until("command")
    rig.settle()
    before = rig.observed()
    client.load_state_dict(client.state_dict() | {"scale": 0.25})
    eventually(lambda: rig.observed() != before, what="a hello")
    rig.look()
    assert rig.run.status(0.0).scale == 0.25
    hello = rig.events("hello")[-1]
    assert hello["scale"] == 0.25
    assert rig.events("phase")[-1]["cause"] == "resume"
    assert rig.until("command")["scale"] in (0.125, 0.5)


def test_a_command_that_comes_too_late_is_refused_by_the_trainer(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    client = rig.attach()
    rig.look()
    rig.until("command", chunk=5)
    deadline = desired(rig).not_after_step
    assert deadline is not None
    eventually(lambda: '"observed_generation":1' in rig.observed(), what="accepted")
    # Accepted, and then the training did not come to a step for so long that the command is stale.
    client.step(deadline + 10)
    eventually(lambda: '"code":"expired"' in rig.observed(), what="refused")
    rig.look()
    assert [event["code"] for event in rig.events("rejected")] == ["expired"]
    assert rig.training.scale == 1.0


def test_a_decision_on_a_backlog_is_outdated_and_not_sent(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    rig.train(600)
    rig.attach(start_step=20_000)  # the trainer is far ahead of what its log says so far
    rig.look()
    (command,) = rig.events("command")
    assert command["state"] == "outdated"
    assert not (rig.control / "desired.json").exists()
    rig.train(200)
    rig.look()
    assert len(rig.events("command")) == 1, "still before the step at which the trainer was"


def test_a_decision_is_void_where_the_run_was_resumed_in_the_same_read(make_rig: Make) -> None:
    """It rests on a curve that is over; sent all the same, nobody would take it back."""
    dry = make_rig(policy__mode="auto")
    dry.attach()
    dry.look()
    step = dry.until("command", chunk=1)["step"]
    rig = make_rig(policy__mode="auto")
    client = rig.attach()
    rig.look()
    rig.train(step - 20)
    rig.look()
    assert not rig.events("command")
    rig.train(40)
    rig.training.done -= 200  # from a checkpoint of then
    rig.train(20)
    client.load_state_dict(client.state_dict())
    rig.look()
    (command,) = rig.events("command")
    assert (command["step"], command["state"]) == (step, "outdated")
    assert rig.run.pipeline.command.wanted is None
    rig.settle()
    assert rig.training.scale == 1.0


def trial(make_rig: Make, **flags: Any) -> Any:
    """A run with a trial of half the rate in force."""
    rig = make_rig(policy__mode="auto", **flags)
    rig.client = rig.attach()
    rig.look()
    rig.until("command", cause="probe")
    rig.settle()
    assert rig.training.scale == 0.5
    return rig


def test_the_way_back_of_a_trial_is_never_outdated(make_rig: Make) -> None:
    rig = trial(make_rig)
    rig.client.step(20_000)  # its log is far behind
    back = rig.until("command", cause="restore")
    assert back["state"] == "sent"


def test_a_way_back_that_expires_is_asked_for_again(make_rig: Make) -> None:
    rig = trial(make_rig)
    rig.until("command", cause="restore", chunk=5)
    deadline = desired(rig).not_after_step
    assert deadline is not None
    eventually(lambda: '"observed_generation":2' in rig.observed(), what="accepted")
    rig.client.step(deadline + 10)
    eventually(lambda: '"code":"expired"' in rig.observed(), what="refused")
    rig.look()
    assert rig.training.scale == 0.5
    assert rig.until("command", cause="restore")["scale"] == 1.0


def test_a_trainer_that_resumes_from_a_checkpoint_of_a_trial_goes_back(make_rig: Make) -> None:
    rig = trial(make_rig)
    checkpoint = rig.client.state_dict()
    assert checkpoint["scale"] == 0.5
    rig.until("command", cause="restore")
    rig.settle()
    assert rig.training.scale == 1.0
    before = rig.observed()
    rig.client.load_state_dict(checkpoint)
    eventually(lambda: rig.observed() != before, what="a hello")
    rig.restart()
    rig.look()
    assert rig.events("hello")[-1]["scale"] == 0.5
    assert rig.until("command", limit=200, cause="restore")["scale"] == 1.0


def test_a_hold_and_a_resume_while_a_trial_is_on_do_not_let_it_stay(make_rig: Make) -> None:
    rig = trial(make_rig)
    assert rig.ask("hold")["done"]
    assert rig.ask("resume")["done"]
    assert rig.until("command", cause="restore")["scale"] == 1.0


def test_a_trial_on_its_way_at_a_hold_and_a_resume_is_a_trial_still(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    rig.attach()
    rig.look()
    rig.until("command", cause="probe", chunk=5)
    assert rig.ask("hold")["done"]
    assert rig.ask("resume")["done"]
    rig.settle()
    assert rig.training.scale == 0.5
    assert rig.until("command", cause="restore")["scale"] == 1.0


def test_a_person_who_denies_the_way_back_keeps_the_cut(make_rig: Make) -> None:
    rig = trial(make_rig)
    assert rig.ask("hold")["done"]
    assert rig.until("command", cause="restore")["state"] == "held"
    (entry,) = rig.run.commands.proposals
    assert rig.ask("deny", str(entry))["done"]
    assert rig.ask("resume")["done"]
    rig.train(100)
    rig.look()
    assert len(rig.events("command", cause="restore")) == 1
    assert rig.run.pipeline.command.status is Status.QUIET
    assert rig.training.scale == 0.5


def test_a_plan_is_not_outdated_however_far_ahead_the_trainer_is(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto", policy__strategy="step", policy__every=500)
    rig.train(600)
    rig.attach(start_step=20_000)
    rig.look()
    (command,) = rig.events("command")
    assert (command["state"], command["step"]) == ("sent", 500)


@pytest.mark.parametrize(("ahead", "ramp"), [(0, 2000), (120, 1880), (900, 1800)])
def test_a_line_ends_where_it_was_decided_however_late_it_begins(make_rig: Make, ahead: int, ramp: int) -> None:
    rig = make_rig(policy__mode="auto")
    client = rig.attach()
    rig.train(100)
    rig.look()
    client.step(100 + ahead)
    eventually(lambda: f'"step":{100 + ahead}' in rig.observed(), what="the trainer is beyond its log")
    rig.look()
    line = Command(100, 0.001, "a line", cause="anneal", ramp_steps=2000)
    rig.run.pipeline.ask(line.scale)
    rig.run.commands.decided(line, "step", rig.clock.now)
    sent = rig.run.commands.reconciler.pending
    assert sent.ramp_steps == pytest.approx(ramp, abs=20)


def test_a_control_directory_that_vanishes_after_a_restart_is_survived(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    client = rig.attach()
    rig.look()
    client.close()
    rig.client = None
    (rig.control / "observed.json").unlink()
    rig.restart()
    command = rig.until("command")
    assert command["state"] == "no trainer listens"
    assert not rig.ask("set", "0.5")["done"]


def test_a_command_that_cannot_be_written_is_tried_again_and_names_the_problem(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    rig.attach()
    rig.look()
    blocker = rig.control / "desired.json"
    blocker.mkdir()
    (blocker / "in the way").write_text("")
    rig.until("command", state="sent")
    assert "cannot write" in rig.run.problem
    assert rig.run.status(rig.clock.now + 5).pending_seconds == 5.0
    (blocker / "in the way").unlink()
    blocker.rmdir()
    rig.look()
    assert rig.run.problem == ""
    rig.settle()
    assert rig.training.scale == 0.5


def test_a_word_of_the_trainer_that_cannot_be_read_is_waited_for_and_not_taken_for_none(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    rig.attach(poll_seconds=60.0)  # else it may make the directory again while that is moved
    rig.train(10)
    rig.look()
    away = rig.home / "away"

    def hide() -> None:
        rig.control.rename(away)
        rig.control.write_text("no directory")

    def show() -> None:
        rig.control.unlink()
        away.rename(rig.control)

    hide()
    rig.train(10)
    number = rig.store.request(rig.run.name, "anna", "set", "0.5", rig.clock.now)
    rig.daemon.turn()
    assert rig.store.answer_to(number) is None
    assert rig.run.pipeline.step == 10, "the log waits too"
    show()
    rig.look()
    assert rig.store.answer_to(number) == {"done": True, "text": "scale 0.5 is on its way"}
    assert rig.run.pipeline.step == 20
    hide()
    rig.train(10)
    rig.look()
    assert rig.run.pipeline.step == 30, "a fault that stays does not stop the watching"
    assert "cannot be read" in rig.run.status(0.0).problem or "cannot be read" in str(rig.daemon.problems)
    show()


def test_a_command_that_is_lost_before_the_trainer_has_read_it_is_put_back(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    rig.attach(poll_seconds=60.0)  # it will not read it in this test
    rig.look()
    rig.until("command", state="sent")
    path = rig.control / "desired.json"
    before = path.read_bytes()
    path.unlink()
    rig.look()
    assert path.read_bytes() == before
    path.write_bytes(b"torn")
    rig.restart()
    rig.look()
    again = desired(rig)
    assert (again.generation, again.scale) == (1, 0.5)
    assert len(rig.events("command")) == 1


def test_garbage_in_the_control_directory_is_counted_and_changes_nothing(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    rig.attach()
    rig.look()
    scale = rig.run.status(0.0).scale
    rig.client.close()
    rig.client = None
    path = rig.control / "observed.json"
    for content, code in ((b"{", "not_json"), (b"\xff", "not_utf8"), (b'{"v":9}', "version"), (b"[]", "wrong_type")):
        path.write_bytes(content)
        path.chmod(0o600)
        rig.look()
        assert rig.run.status(0.0).errors[code] >= 1
    assert rig.run.status(0.0).scale == scale


@pytest.mark.slow
def test_commands_are_signed_where_there_is_a_key_and_a_trainer_without_it_refuses(
    make_rig: Make, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("k" * 32)
    (tmp_path / "other").write_text("o" * 32)
    signed = make_rig(policy__mode="auto", daemon__key_file=str(tmp_path / "key"))
    signed.attach(key_file=tmp_path / "key")
    signed.look()
    signed.until("command")
    signed.settle()
    assert signed.training.scale == 0.5
    forged = make_rig(policy__mode="auto", daemon__key_file=str(tmp_path / "other"))
    forged.attach(key_file=tmp_path / "key")
    forged.look()
    forged.until("command")
    forged.settle()
    assert [event["code"] for event in forged.events("rejected")] == ["bad_mac"]
    assert forged.training.scale == 1.0


# ---- the reconciler alone -------------------------------------------------------------------------------------------


def observed(step: int, **values: Any) -> Observed:
    return replace(Observed(run="a", incarnation="i", step=step, scale=1.0), **values)


def test_the_patience_with_a_trainer_grows_with_its_pace(tmp_path: Path) -> None:
    from lrwatch.protocol import OBSERVED_NAME, encode, publish

    reconciler = Reconciler(ControlDirectory(tmp_path))
    for now, step in ((0.0, 0), (10.0, 50_000)):
        publish(tmp_path, OBSERVED_NAME, encode(observed(step)))
        reconciler.look(now)
    fast = reconciler.prepare(0.5, reason="r" * 2000, actor="x", horizon=10.0, now=10.0)
    assert fast.not_after_step == 50_000 + 60 * 5_000
    assert len(fast.reason) == 1000
    publish(tmp_path, OBSERVED_NAME, encode(observed(50_001)))
    reconciler.look(1e6)
    slow = reconciler.prepare(0.5, reason="", actor="x", horizon=1e6, now=1e6)
    assert slow.not_after_step == 50_001 + 2_000_000


def test_training_of_these_tests_is_the_same_each_time() -> None:
    assert Training().lines(50) == Training().lines(50)


def test_trainers_that_take_turns_on_one_directory_do_not_fill_the_journal(make_rig: Make) -> None:
    rig = make_rig()
    rig.attach()
    spoken = [rig.observed().replace('"incarnation":"', f'"incarnation":"{name}-') for name in ("a", "b")]
    rig.client.close()
    rig.client = None
    rig.train(1)
    for turn in range(200):
        if turn == 100:
            rig.restart()
        (rig.control / "observed.json").write_text(spoken[turn % 2])
        rig.look()
    hellos = [event["event"] for event in rig.events()].count("hello")
    assert 2 <= hellos <= 3 + 8  # at the first, and at the 1st, 2nd, 4th, ... 128th return
    assert len(rig.events()) < 2 * hellos + 5
    status = rig.run.status(rig.clock.now)
    assert status.trainer_faults == ("two_trainers",)
    assert "give each its own directory" in status.problem
    rig.clock.now += TURNS_SECONDS
    rig.train(1)
    rig.look()
    assert rig.run.status(rig.clock.now).trainer_faults == ()
