"""Every decision of a run with a trainer comes out again of its logs and its journal, with the same numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from lrwatch.config import load
from lrwatch.offline.recompute import COMPUTED, explain

Make = Callable[..., Any]

SAME = "Computed again: the same numbers."


def verdicts(rig: Any) -> Counter[tuple[str, str]]:
    """Explain each decision of the journal, under settings that nothing was decided by. -> event and verdict, counted."""
    config = load(flags={"detect.horizon": 77, "policy.factor": 0.9, "policy.strategy": "observe"})
    entries = [entry for entry in rig.store.journal() if entry.event["event"] in COMPUTED]
    found: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        found[entry.event["event"], explain(rig.store, rig.run.name, entry, config)[1]] += 1
    return found


@pytest.fixture
def eventful(make_rig: Make) -> Any:
    """A run with commands of a strategy and of operators, restarts, and settings that changed."""
    rig = make_rig(policy__mode="auto")
    rig.attach()
    rig.look()
    for _ in range(2):
        rig.until("command", state="sent")
        rig.settle()
        rig.until("effect")
    rig.restart()
    rig.ask("set", "0.3")
    rig.settle()
    rig.train(200)
    rig.look()
    rig.ask("undo")
    rig.settle()
    rig.train(200)
    rig.look()
    rig.flags["detect__min_improvement"] = 0.02
    rig.flags["policy__max_commands"] = 30
    rig.restart()
    rig.train(300)
    rig.look()
    rig.ask("hold")
    rig.train(100)
    rig.look()
    rig.ask("resume")
    rig.ask("extend", "9000")
    rig.attach()  # the trainer starts again
    rig.train(700)
    rig.look()
    rig.ask("strategy", '{"strategy": "step", "every": 150}')
    for _ in range(25):
        rig.train(20)
        rig.look()
        rig.settle()
    return rig


@pytest.mark.slow
def test_every_decision_of_a_run_with_several_commands_is_computed_again_to_the_same_numbers(eventful: Any) -> None:
    found = verdicts(eventful)
    assert {verdict for _, verdict in found} == {SAME}, found
    assert found["command", SAME] >= 4
    assert found["finding", SAME] >= 2
    assert found["effect", SAME] >= 2
    settings = [entry.event for entry in eventful.store.journal() if entry.event["event"] == "settings"]
    assert [event["detect"]["min_improvement"] for event in settings] == [0.005, 0.02, 0.02]
    assert [event["length"] for event in settings] == [[0, ""], [0, ""], [9000, "operator"]]


def test_a_proposal_that_an_operator_approved_or_denied_is_computed_again(make_rig: Make) -> None:
    rig = make_rig(policy__mode="approve")
    rig.attach()
    rig.look()
    for verb in ("deny", "approve"):
        rig.until("command", state="awaits approval")
        entry = [one for one in rig.store.journal() if one.event["event"] == "command"][-1]
        assert rig.ask(verb, str(entry.id))["done"]
    rig.settle()
    rig.until("effect")
    found = verdicts(rig)
    assert {verdict for _, verdict in found} == {SAME}, found


def test_a_decision_that_was_outdated_is_computed_again_and_so_is_what_followed(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    rig.train(600)
    rig.attach(start_step=2500)  # the trainer is far ahead of what its log says so far
    rig.look()
    rig.train(2100)
    rig.look()
    states = [event["state"] for event in rig.events("command")]
    assert states[0] == "outdated"
    assert "sent" in states
    found = verdicts(rig)
    assert {verdict for _, verdict in found} == {SAME}, found


def test_the_settings_are_journalled_at_the_beginning_and_when_they_change_and_not_at_each_restart(
    make_rig: Make,
) -> None:
    rig = make_rig()

    def settings() -> list[dict[str, Any]]:
        rig.daemon.save()
        found: list[dict[str, Any]] = rig.events("settings")
        return found

    rig.train(20)
    rig.look()
    assert [event["policy"]["mode"] for event in settings()] == ["suggest"]
    rig.restart()
    rig.train(20)
    rig.look()
    assert len(settings()) == 1
    rig.flags["policy__mode"] = "approve"
    rig.restart()
    rig.train(20)
    rig.look()
    second = settings()[1]
    assert (second["policy"]["mode"], second["step"], second["heard"]) == (
        "approve",
        40,
        {"metric": "loss", "values": 40},
    )
    assert "in mode approve, strategy auto" in second["message"]
