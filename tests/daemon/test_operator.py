"""What operators ask: done or refused in words, and journalled with the actor in either case."""

from __future__ import annotations

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
