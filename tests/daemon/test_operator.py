"""What operators ask: done or refused in words, and journalled with the actor in either case.

One file because every verb of operators is asked of the same run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from support.quadratic import Training
from support.waiting import eventually

Make = Callable[..., Any]


@pytest.fixture
def rig(make_rig: Make) -> Any:
    """A run with a trainer that listens."""
    made = make_rig(policy__mode="approve", policy__min_scale=0.1)
    made.attach()
    made.train(5)
    made.look()
    return made


def test_set_is_sent_acknowledged_and_journalled_with_the_actor(rig: Any) -> None:
    assert rig.ask("set", "0.5", actor="ben") == {"done": True, "text": "scale 0.5 is on its way"}
    rig.settle()
    assert rig.training.scale == 0.5
    (operator,) = rig.events("operator")
    assert (operator["actor"], operator["verb"], operator["argument"], operator["done"]) == ("ben", "set", "0.5", True)
    assert len(rig.events("acknowledged")) == 1
    assert dict(rig.run.status(0.0).commands) == {"operator": {"applied": 1, "asked": 1, "sent": 1}}


@pytest.mark.parametrize("scale", ["0.01", "1.5", "nan", "inf", "-1", "0"])
def test_set_beyond_the_bounds_is_refused_and_names_them(rig: Any, scale: str) -> None:
    answer = rig.ask("set", scale)
    assert not answer["done"]
    assert "outside 0.1 to 1 ([policy] min_scale, max_scale)" in answer["text"]
    assert rig.events("operator")[0]["done"] is False
    assert not (rig.control / "desired.json").exists()


def test_where_no_trainer_listens_set_and_undo_say_so(make_rig: Make) -> None:
    rig = make_rig()
    rig.train(5)
    rig.look()
    no_trainer = f"no trainer listens in this run's control directory, {rig.control}"
    attach = f"call lrwatch.attach(optimizer, {str(rig.control)!r}) there"
    assert rig.ask("set", "0.5")["text"] == f"{no_trainer}; {attach}"
    answer = {"done": False, "text": "nothing to undo: no command was applied since the trainer started"}
    assert rig.ask("undo") == answer


def test_set_beyond_what_one_command_may_do_is_refused_with_numbers_and_the_next_step(rig: Any) -> None:
    for scale in ("0.4", "0.2"):
        rig.ask("set", scale)
        rig.settle()
    answer = rig.ask("set", "0.5")
    assert not answer["done"]
    assert "from scale 0.2 to 0.5 is a factor of 2.5, and one command changes it by 0.1 to 2" in answer["text"]
    assert "[policy] and attach, max_factor_up" in answer["text"]
    assert "`lrwatch set train --scale 0.4` first" in answer["text"]
    assert rig.ask("set", "0.4")["done"]
    rig.settle()
    assert (rig.training.scale, rig.events("rejected")) == (0.4, [])


@pytest.mark.parametrize(
    ("bounds", "scale", "words"),
    [
        ({"min_scale": 0.5}, "0.25", "outside 0.5 to 1, the bounds of the trainer"),
        (
            {"max_factor_down": 0.5},
            "0.2",
            "a factor of 0.2, and one command changes it by 0.5 to 2 (attach, max_factor_down)",
        ),
        ({"warmup_steps": 500}, "0.5", "keeps its rate until step 500 (its warmup) and is at step 30"),
        ({"max_commands": 0}, "0.5", "has taken 0 commands, and 0 are all that it takes"),
        ({"warm_start": 0.5, "total_steps": 1000}, "0.5", "keeps its rate until step 500"),
    ],
)
def test_a_bound_of_the_trainer_is_foreseen_before_anything_is_said(
    make_rig: Make, bounds: dict[str, Any], scale: str, words: str
) -> None:
    rig = make_rig(policy__mode="approve")
    rig.attach(**bounds)
    rig.train(30)
    eventually(lambda: '"step":30,' in rig.observed(), what="the report of step 30")
    rig.look()
    answer = rig.ask("set", scale)
    assert not answer["done"]
    assert words in answer["text"]
    assert not (rig.control / "desired.json").exists()


def test_changes_too_soon_after_another_are_foreseen(make_rig: Make) -> None:
    rig = make_rig()
    rig.attach(min_steps_between=10_000)
    rig.train(5)
    rig.look()
    rig.ask("set", "0.5")
    rig.settle()
    answer = rig.ask("set", "0.4")
    assert not answer["done"]
    assert "leaves 10000 steps between two" in answer["text"]
    assert rig.training.scale == 0.5


def test_undo_of_more_than_one_command_may_do_says_how_to_get_there(rig: Any) -> None:
    rig.ask("set", "0.25")
    rig.settle()
    answer = rig.ask("undo")
    assert not answer["done"]
    assert "from scale 0.25 to 1 is a factor of 4" in answer["text"]
    assert "`lrwatch set train --scale 0.5` first" in answer["text"]
    assert rig.events("rejected") == []


def test_a_held_run_takes_no_set_undo_or_approval_and_says_how_it_would(rig: Any) -> None:
    rig.ask("set", "0.5")
    rig.settle()
    command = rig.until("command")
    assert command["state"] == "awaits approval"
    (entry,) = rig.run.commands.proposals
    held = rig.ask("hold")
    assert held["done"]
    assert "and refuses `set`, `undo` and `approve`" in held["text"]
    for verb, argument in (("set", "0.4"), ("undo", ""), ("approve", str(entry))):
        answer = rig.ask(verb, argument)
        assert answer == {
            "done": False,
            "text": "the run is held; `lrwatch resume train` lets commands through again",
        }
    rig.settle()
    assert rig.training.scale == 0.5
    assert rig.ask("resume")["done"]
    assert rig.ask("set", "0.4")["done"]
    rig.settle()
    assert rig.training.scale == 0.4


def test_a_rejection_says_the_numbers_and_what_to_do(rig: Any) -> None:
    rig.ask("set", "0.5")
    rig.settle()
    rig.run.commands.send(0.02, reason="a test asks", actor="anna", now=rig.clock.now)
    rig.run.save(rig.clock.now)
    rig.settle()
    (rejected,) = rig.events("rejected")
    assert rejected["code"] == "factor_too_large"
    assert "from scale 0.5 to 0.02 is a factor of 0.04, and one command changes it by 0.1 to 2" in rejected["message"]
    assert "`lrwatch set train --scale 0.05` first" in rejected["message"]
    assert rig.training.scale == 0.5


def test_undo_goes_back_to_the_scale_before(rig: Any) -> None:
    for scale in ("0.5", "0.25"):
        rig.ask("set", scale)
        rig.settle()
    assert rig.ask("undo")["done"]
    rig.settle()
    assert rig.training.scale == 0.5


def test_hold_journals_decisions_without_sending_and_resume_decides_again(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    rig.attach()
    rig.look()
    assert rig.ask("resume") == {"done": True, "text": "the run was not held"}
    assert rig.ask("hold")["done"]
    rig.restart()
    command = rig.until("command")
    assert command["state"] == "held"
    assert not (rig.control / "desired.json").exists()
    assert rig.ask("resume")["done"]
    sent = rig.until("command")
    rig.settle()
    assert sent["state"] == "sent"
    assert rig.training.scale == 0.5


def test_a_proposal_is_sent_when_it_is_approved_also_after_a_restart_and_only_once(rig: Any) -> None:
    rig.until("command")
    entry = next(entry.id for entry in rig.store.journal() if entry.event["event"] == "command")
    rig.restart()
    rig.look()
    assert rig.ask("approve", str(entry)) == {"done": True, "text": "scale 0.5 is on its way"}
    rig.settle()
    assert rig.training.scale == 0.5
    again = rig.ask("approve", str(entry))
    assert again == {
        "done": False,
        "text": f"entry {entry} of the journal is no open proposal of this run; none is open now; `lrwatch status` shows one as "
        "soon as there is",
    }
    rig.until("effect")


def test_a_denied_proposal_cannot_be_approved_and_is_not_made_again_for_a_horizon(rig: Any) -> None:
    command = rig.until("command")
    entry = next(entry.id for entry in rig.store.journal() if entry.event["event"] == "command")
    assert rig.ask("deny", str(entry))["done"]
    assert not rig.ask("deny", str(entry))["done"]
    assert not rig.ask("approve", str(entry))["done"]
    again = rig.until("command")
    assert again["step"] >= 1.1 * command["step"] - 1
    assert rig.training.scale == 1.0


def test_what_is_no_proposal_can_be_neither_approved_nor_denied(rig: Any) -> None:
    for verb in ("approve", "deny"):
        assert rig.ask(verb, "1")["text"] == (
            "entry 1 of the journal is no open proposal of this run; none is open now; `lrwatch status` shows one as soon as there is"
        )
    command = rig.until("command")
    (entry,) = rig.run.commands.proposals
    assert command["step"] > 0
    assert rig.ask("deny", "1")["text"] == f"entry 1 of the journal is no open proposal of this run; open now: {entry}"


def test_what_another_version_asks_is_refused_and_breaks_nothing(rig: Any) -> None:
    assert rig.ask("launch")["text"] == "this daemon does not know the request 'launch'"
    for argument in ("", "step", '{"strategy": 3}', '{"every": 3}'):
        assert "this daemon cannot follow the strategy" in rig.ask("strategy", argument)["text"]
    for verb, argument in (("set", "much"), ("approve", ""), ("deny", "1.5")):
        assert rig.ask(verb, argument)["text"] == f"{argument!r} is no number, and {verb} needs one"


def test_a_request_that_waits_while_the_daemon_starts_finds_the_trainer(rig: Any) -> None:
    rig.daemon.close()
    number = rig.store.request("train", "anna", "set", "0.5", 0.0)
    rig.restart()
    rig.look()
    assert rig.store.answer_to(number)["done"]
    rig.settle()
    assert rig.training.scale == 0.5
    assert len(rig.events("operator")) == 1


# ---- strategies ---------------------------------------------------------------------------------------------------


def follow(rig: Any, strategy: str, **numbers: int) -> dict[str, Any]:
    answer: dict[str, Any] = rig.ask("strategy", json.dumps({"strategy": strategy, **numbers}))
    return answer


@pytest.fixture
def auto(make_rig: Make) -> Any:
    """A run that is commanded, with a trainer that listens; its own strategy has nothing to say."""
    made = make_rig(policy__mode="auto", policy__strategy="observe", policy__max_scale=4.0, policy__max_commands=60)
    made.attach(max_scale=4.0)
    made.train(50)
    made.look()
    return made


def settled(rig: Any, steps: int) -> None:
    for _ in range(steps):
        rig.settle()


def test_the_strategy_is_changed_while_the_run_goes_on_also_across_a_restart(auto: Any) -> None:
    assert follow(auto, "step", every=100) == {"done": True, "text": "step decides from step 50 on"}
    assert auto.run.status(0.0).strategy == "step"
    auto.restart()
    auto.until("command", cause="schedule", chunk=1)
    auto.settle()
    assert auto.training.scale == 0.5
    assert auto.events("command")[0]["step"] == 150
    assert auto.events("command")[0]["state"] == "sent"
    assert follow(auto, "observe")["done"]
    auto.train(300)
    auto.look()
    assert len(auto.events("command")) == 1
    assert [e["done"] for e in auto.events("operator")] == [True, True]


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (
            "cosine",
            "length must be 1 or more for cosine, got 0; `lrwatch strategy train cosine --length STEPS` says it",
        ),
        ("step", "every must be 1 or more for step, got 0; `lrwatch strategy train step --every STEPS` says it"),
        ("patience", "strategy must be one of auto, plateau, anneal, observe"),
    ],
)
def test_a_strategy_that_cannot_be_followed_is_refused_in_words(auto: Any, strategy: str, words: str) -> None:
    answer = follow(auto, strategy)
    assert not answer["done"]
    assert words in answer["text"]
    assert auto.run.status(0.0).strategy == "observe"


def test_the_decay_of_wsd_begins_on_request(auto: Any) -> None:
    assert (
        auto.ask("decay")["text"]
        == "strategy must be wsd to decay, got 'observe'; `lrwatch strategy RUN wsd` follows it"
    )
    follow(auto, "wsd", length=100_000)
    auto.train(100)
    auto.look()
    assert auto.events("command") == []
    assert auto.ask("decay")["text"] == "the decay begins at step 150"
    auto.until("command", cause="schedule", limit=5000)
    assert not auto.ask("decay")["done"]


@pytest.mark.slow
def test_a_range_test_runs_on_the_live_run_is_journalled_and_restores_the_scale(auto: Any) -> None:
    assert follow(auto, "range_test", length=240)["done"]
    while not auto.events("range_test"):
        auto.settle()
        assert auto.training.done < 2000
    (found,) = auto.events("range_test")
    assert len(found["scales"]) == len(found["levels"]) > 4
    assert found["scales"][0] == 0.1 < found["steepest"] < found["diverges"] < 4.0  # its floor rises with the rate
    assert "scale 1 is restored" in found["message"]
    assert auto.training.scale == 1.0
    assert auto.run.status(0.0).strategy == "observe"


@pytest.mark.slow
def test_where_the_trainer_has_narrower_bounds_a_range_test_ends_there_and_restores_the_scale(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto", policy__strategy="observe", policy__max_scale=4.0)
    rig.training = Training(time=60.0)
    rig.attach()  # its own bound is 1
    rig.train(50)
    rig.look()
    assert follow(rig, "range_test", length=240)["done"]
    while not rig.events("range_test"):
        rig.settle()
        assert rig.training.done < 2000
    (found,) = rig.events("range_test")
    (rejected,) = rig.events("rejected")
    assert rejected["code"] == "out_of_bounds"
    assert f"{found['scales'][-1] * 40 ** (1 / 11):.4g} was refused; scale 1 is restored" in found["message"]
    assert rig.training.scale == 1.0


def test_without_a_trainer_there_is_no_range_test(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto", policy__max_scale=4.0)
    rig.train(5)
    rig.look()
    answer = follow(rig, "range_test", length=100)
    assert answer["text"].startswith(f"no trainer listens in this run's control directory, {rig.control}; call ")


@pytest.mark.parametrize("mode", ["auto", "approve"])
def test_a_loss_that_is_no_number_brings_the_trainer_back_to_its_checkpoint_at_a_smaller_scale(
    make_rig: Make, mode: str
) -> None:
    rig = make_rig(policy__mode=mode, policy__strategy="rescue")
    checkpoint: dict[str, Any] = {}

    def reload() -> None:
        rig.training._level = checkpoint["level"]
        rig.client.load_state_dict(checkpoint["client"])

    rig.attach(reload=reload)
    rig.train(200)
    rig.look()
    checkpoint.update(level=rig.training._level, client=rig.client.state_dict())
    rig.training._level = math.nan
    if mode == "approve":
        rig.until("command", cause="rescue")
        entry = next(entry.id for entry in rig.store.journal() if entry.event["event"] == "command")
        assert rig.ask("approve", str(entry))["done"]
    rig.until("hello", scale=0.5)
    assert rig.training.scale == 0.5
    assert math.isfinite(rig.training._level)
    command = rig.events("command")[0]
    assert command["reload"] is True
    assert "the trainer loads its last checkpoint" in command["reason"]
    if mode == "auto":
        rig.until("acknowledged", scale=1.0)
        assert rig.training.scale == 1.0


def test_extend_says_the_length_of_the_run_in_place_of_what_log_and_settings_say(make_rig: Make) -> None:
    rig = make_rig(run__total_steps=500)
    rig.train(5)
    rig.look()
    assert rig.run.pipeline.length == (500, "config")
    assert rig.ask("extend", "900") == {"done": True, "text": "the run has 900 steps, 5 of them are done"}
    (operator,) = rig.events("operator")
    assert (operator["actor"], operator["verb"], operator["argument"]) == ("anna", "extend", "900")
    rig.restart()
    rig.look()
    status = rig.run.status(0.0)
    assert (status.step, status.total_steps, status.length_source) == (5, 900, "operator")


@pytest.mark.parametrize("steps", ["5", "1", "0"])
def test_extend_to_a_step_that_the_run_has_reached_is_refused(rig: Any, steps: str) -> None:
    answer = rig.ask("extend", steps)
    assert answer == {
        "done": False,
        "text": f"expected a length beyond step 5, which the run has reached; found {steps}",
    }
    assert rig.run.pipeline.length.total_steps == 0
