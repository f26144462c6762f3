"""What operators ask: done or refused in words, and journalled with the actor in either case."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]


@pytest.fixture
def run(bench: Make) -> Any:
    """A run with a trainer that listens."""
    made = bench(policy__mode="approve", policy__min_scale=0.1)
    made.attach()
    made.train(5)
    made.look()
    return made


def test_set_is_sent_acknowledged_and_journalled_with_the_actor(run: Any) -> None:
    assert run.ask("set", "0.5", actor="ben") == {"done": True, "text": "scale 0.5 is on its way"}
    run.settle()
    assert run.training.scale == 0.5
    (operator,) = run.events("operator")
    assert (operator["actor"], operator["verb"], operator["argument"], operator["done"]) == ("ben", "set", "0.5", True)
    assert len(run.events("acknowledged")) == 1
    assert dict(run.watched.status(0.0).commands) == {"operator": 1}


@pytest.mark.parametrize("scale", ["0.01", "1.5", "nan", "inf", "-1", "0"])
def test_set_beyond_the_bounds_is_refused_and_names_them(run: Any, scale: str) -> None:
    answer = run.ask("set", scale)
    assert not answer["done"]
    assert "outside 0.1 to 1 ([policy] min_scale, max_scale)" in answer["text"]
    assert run.events("operator")[0]["done"] is False
    assert not (run.control / "desired.json").exists()


def test_where_no_trainer_listens_set_and_undo_say_so(bench: Make) -> None:
    run = bench()
    run.train(5)
    run.look()
    assert run.ask("set", "0.5")["text"] == "no trainer listens in this run's control directory"
    assert run.ask("undo") == {"done": False, "text": "nothing to undo: no command was applied"}


def test_undo_goes_back_to_the_scale_before(run: Any) -> None:
    for scale in ("0.5", "0.25"):
        run.ask("set", scale)
        run.settle()
    assert run.ask("undo")["done"]
    run.settle()
    assert run.training.scale == 0.5


def test_hold_journals_decisions_without_sending_and_resume_decides_anew(bench: Make) -> None:
    run = bench(policy__mode="auto")
    run.attach()
    run.look()
    assert run.ask("resume") == {"done": True, "text": "it was not held"}
    assert run.ask("hold")["done"]
    run.restart()
    command = run.until("command")
    assert command["state"] == "held"
    assert not (run.control / "desired.json").exists()
    assert run.ask("resume")["done"]
    sent = run.until("command")
    run.settle()
    assert sent["state"] == "sent"
    assert run.training.scale == 0.5


def test_a_proposal_is_sent_when_it_is_approved_also_after_a_restart_and_only_once(run: Any) -> None:
    run.until("command")
    entry = next(entry.id for entry in run.store.journal() if entry.event["event"] == "command")
    run.restart()
    run.look()
    assert run.ask("approve", str(entry)) == {"done": True, "text": "scale 0.5 is on its way"}
    run.settle()
    assert run.training.scale == 0.5
    again = run.ask("approve", str(entry))
    assert again == {"done": False, "text": f"entry {entry} of the journal is no open proposal of this run"}
    run.until("effect")


def test_a_denied_proposal_cannot_be_approved_and_is_not_made_again_for_a_horizon(run: Any) -> None:
    command = run.until("command")
    entry = next(entry.id for entry in run.store.journal() if entry.event["event"] == "command")
    assert run.ask("deny", str(entry))["done"]
    assert not run.ask("deny", str(entry))["done"]
    assert not run.ask("approve", str(entry))["done"]
    again = run.until("command")
    assert again["step"] >= 1.1 * command["step"] - 1
    assert run.training.scale == 1.0


def test_what_is_no_proposal_can_be_neither_approved_nor_denied(run: Any) -> None:
    for verb in ("approve", "deny"):
        assert run.ask(verb, "1")["text"] == "entry 1 of the journal is no open proposal of this run"


def test_what_another_version_asks_is_refused_and_breaks_nothing(run: Any) -> None:
    assert run.ask("launch")["text"] == "'launch' is nothing that this daemon knows how to do"
    for argument in ("", "step", '{"strategy": 3}', '{"every": 3}'):
        assert "is no strategy that this daemon knows how to follow" in run.ask("strategy", argument)["text"]
    for verb, argument in (("set", "much"), ("approve", ""), ("deny", "1.5")):
        assert run.ask(verb, argument)["text"] == f"{argument!r} is no number, and {verb} needs one"


def test_a_request_that_waits_while_the_daemon_starts_finds_the_trainer(run: Any) -> None:
    run.daemon.close()
    number = run.store.request("train", "anna", "set", "0.5", 0.0)
    run.restart()
    run.look()
    assert run.store.answer_to(number)["done"]
    run.settle()
    assert run.training.scale == 0.5
    assert len(run.events("operator")) == 1


# ---- strategies ---------------------------------------------------------------------------------------------------


def follow(run: Any, strategy: str, **numbers: int) -> dict[str, Any]:
    answer: dict[str, Any] = run.ask("strategy", json.dumps({"strategy": strategy, **numbers}))
    return answer


@pytest.fixture
def auto(bench: Make) -> Any:
    """A run that is commanded, with a trainer that listens; its own strategy has nothing to say."""
    made = bench(policy__mode="auto", policy__strategy="observe", policy__max_scale=4.0, policy__max_commands=60)
    made.attach(max_scale=4.0)
    made.train(50)
    made.look()
    return made


def settled(run: Any, steps: int) -> None:
    for _ in range(steps):
        run.settle()


def test_the_strategy_is_changed_while_the_run_goes_on_also_across_a_restart(auto: Any) -> None:
    assert follow(auto, "step", every=100) == {"done": True, "text": "step decides from step 50 on"}
    assert auto.watched.status(0.0).strategy == "step"
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
        ("cosine", "length must be 1 or more for cosine, got 0"),
        ("step", "every must be 1 or more for step, got 0"),
        ("patience", "strategy must be one of plateau, observe"),
    ],
)
def test_a_strategy_that_cannot_be_followed_is_refused_in_words(auto: Any, strategy: str, words: str) -> None:
    answer = follow(auto, strategy)
    assert not answer["done"]
    assert words in answer["text"]
    assert auto.watched.status(0.0).strategy == "observe"


def test_the_decay_of_wsd_begins_on_request(auto: Any) -> None:
    assert auto.ask("decay")["text"] == "strategy must be wsd to decay, got 'observe'"
    follow(auto, "wsd", length=100_000)
    auto.train(100)
    auto.look()
    assert auto.events("command") == []
    assert auto.ask("decay")["text"] == "the decay begins at step 150"
    auto.until("command", cause="schedule", limit=5000)
    assert not auto.ask("decay")["done"]


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
    assert auto.watched.status(0.0).strategy == "observe"


def test_where_the_trainer_has_narrower_bounds_a_range_test_ends_there_and_restores_the_scale(bench: Make) -> None:
    run = bench(policy__mode="auto", policy__strategy="observe", policy__max_scale=4.0)
    run.attach()  # its own bound is 1
    run.train(50)
    run.look()
    assert follow(run, "range_test", length=240)["done"]
    while not run.events("range_test"):
        run.settle()
        assert run.training.done < 2000
    (found,) = run.events("range_test")
    (rejected,) = run.events("rejected")
    assert rejected["code"] == "out_of_bounds"
    assert f"{found['scales'][-1] * 40 ** (1 / 11):.4g} was refused; scale 1 is restored" in found["message"]
    assert run.training.scale == 1.0


def test_without_a_trainer_there_is_no_range_test(bench: Make) -> None:
    run = bench(policy__mode="auto", policy__max_scale=4.0)
    run.train(5)
    run.look()
    assert follow(run, "range_test", length=100)["text"] == "no trainer listens in this run's control directory"


@pytest.mark.parametrize("mode", ["auto", "approve"])
def test_a_loss_that_is_no_number_brings_the_trainer_back_to_its_checkpoint_at_a_smaller_scale(
    bench: Make, mode: str
) -> None:
    run = bench(policy__mode=mode, policy__strategy="rescue")
    checkpoint: dict[str, Any] = {}

    def reload() -> None:
        run.training._level = checkpoint["level"]
        run.client.load_state_dict(checkpoint["client"])

    run.attach(reload=reload)
    run.train(200)
    run.look()
    checkpoint.update(level=run.training._level, client=run.client.state_dict())
    run.training._level = math.nan
    if mode == "approve":
        run.until("command", cause="rescue")
        entry = next(entry.id for entry in run.store.journal() if entry.event["event"] == "command")
        assert run.ask("approve", str(entry))["done"]
    run.until("hello", scale=0.5)
    assert run.training.scale == 0.5
    assert math.isfinite(run.training._level)
    command = run.events("command")[0]
    assert command["reload"] is True
    assert "asked to load its last checkpoint" in command["reason"]
    if mode == "auto":
        run.until("acknowledged", scale=1.0)
        assert run.training.scale == 1.0
