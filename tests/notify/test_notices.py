"""What is worth a message, and in which words."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.example_snapshots import CALM

from lrwatch.core.events import KINDS
from lrwatch.core.snapshot import ProposalStatus, RunStatus, Snapshot
from lrwatch.notify.notices import Conditions, Notice, of_entry, of_proposal
from lrwatch.notify.options import NOTICE_KINDS

COMMAND = {
    "event": "command",
    "step": 900,
    "scale": 0.5,
    "reason": "it no longer improves",
    "cause": "plateau",
    "expires_at": 1400,
}


def entry(**event: Any) -> dict[str, Any]:
    return {"run": "gpt2", "time": 1e9, "id": 12, "hash": "0" * 64, "step": 900, **event}


def told(**event: Any) -> Notice:
    found = of_entry(entry(**event))
    assert found is not None
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_finding_is_told_in_the_words_of_the_journal(kind: str) -> None:
    found = told(event="finding", kind=kind, metric="val_loss", message="loss is NaN at step 900", evidence={})
    assert (found.kind, found.about, found.step) == (kind, "val_loss", 900)
    assert found.severity == KINDS[kind].severity  # type: ignore[index]
    assert found.title == f"gpt2: {KINDS[kind].noun} of val_loss at step 900"  # type: ignore[index]
    assert found.message == "loss is NaN at step 900"


@pytest.mark.parametrize(
    ("event", "kind", "title"),
    [
        ({"event": "life", "life": "lost", "message": "m"}, "lost", "gpt2: lost"),
        ({"event": "life", "life": "ended", "message": "m"}, "ended", "gpt2: ended"),
        ({"event": "life", "life": "running", "message": "m"}, "running", "gpt2: goes on"),
        ({**COMMAND, "state": "awaits approval"}, "awaiting_approval", "gpt2: scale 0.5 waits for approval at step 900"),
        ({**COMMAND, "state": "suggested"}, "proposal", "gpt2: scale 0.5 is proposed at step 900"),
        ({**COMMAND, "state": "held"}, "proposal", "gpt2: scale 0.5 is proposed (held) at step 900"),
        ({**COMMAND, "state": "sent"}, "command", "gpt2: scale 0.5 is sent at step 900"),
        ({**COMMAND, "state": "sent", "cause": "restore"}, "taken_back", "gpt2: scale 0.5 takes the last change back at step 900"),
        ({"event": "rejected", "code": "scale_low", "message": "m"}, "rejected", "gpt2: the trainer refused a command at step 900"),
        ({"event": "expired", "scale": 0.5, "message": "m"}, "expired", "gpt2: the proposal of scale 0.5 has expired at step 900"),
        ({"event": "effect", "lower": -0.2, "upper": -0.1, "message": "m"}, "cost_progress",
         "gpt2: a change of the learning rate made it worse at step 900"),
    ],
)  # fmt: skip
def test_what_becomes_of_a_run_and_its_commands_is_told(event: dict[str, Any], kind: str, title: str) -> None:
    found = told(**event)
    assert (found.kind, found.title) == (kind, title)
    assert found.severity == NOTICE_KINDS[kind]


@pytest.mark.parametrize(
    "event",
    [
        {**COMMAND, "state": "outdated"}, {**COMMAND, "state": "history"}, COMMAND,
        {"event": "life", "life": "removed", "message": "m"},
        {"event": "effect", "lower": -0.2, "upper": 0.1, "message": "m"},
        {"event": "phase", "cause": "resume", "message": "m"}, {"event": "settings", "message": "m"},
        {"event": "operator", "verb": "set", "message": "m"}, {"event": "acknowledged", "scale": 0.5},
        {"event": "hello", "scale": 1.0, "client": "c"}, {"event": "forecast", "message": "m"}, {"event": "range_test", "message": "m"},
    ],
)  # fmt: skip
def test_what_needs_nobody_is_told_nobody(event: dict[str, Any]) -> None:
    assert of_entry(entry(**event)) is None


def test_who_is_to_approve_is_told_how_unless_the_name_cannot_be_typed() -> None:
    assert "approve with: lrwatch approve gpt2 12 before step 1,400" in told(**COMMAND, state="awaits approval").message
    strange = of_entry({**entry(**COMMAND, state="awaits approval"), "run": "a@b <!channel>"})
    assert strange is not None
    assert "approve as lrwatch status says" in strange.message
    assert "<" not in strange.title


def test_a_command_is_no_repetition_of_the_one_before() -> None:
    first, second = (of_entry({**entry(**COMMAND, state="sent"), "id": number}) for number in (1, 2))
    assert first is not None
    assert second is not None
    assert first.key != second.key


def test_a_proposal_that_stands_when_its_run_is_first_seen_is_told() -> None:
    proposal = ProposalStatus(7, 900, 0.5, "plateau", "it no longer improves", 1400, "lrwatch approve calm 7")
    found = of_proposal(replace(CALM, name="calm", mode="approve"), proposal, 5.0)
    assert (found.kind, found.title) == ("awaiting_approval", "calm: scale 0.5 waits for approval at step 900")
    assert "lrwatch approve calm 7 before step 1,400" in found.message
    assert of_proposal(replace(CALM, mode="suggest"), proposal, 5.0).kind == "proposal"


FINE = RunStatus("gpt2", "auto", up=True, life="running", step=900)


@pytest.mark.parametrize(
    ("run", "kind", "lasts"),
    [
        (replace(FINE, trainer_faults=("no_step",), problem="not acting: it does not step"), "not_acting", 120),
        (replace(FINE, trainer_faults=("two_trainers",), problem="two trainers: end one"), "two_trainers", 120),
        (replace(FINE, fenced=True), "two_controllers", 0),
        (replace(FINE, pending_seconds=601.0), "unacknowledged", 0),
        (replace(FINE, up=False, problem="no file"), "unreadable", 600),
    ],
)
def test_a_condition_is_told_once_it_has_lasted_and_again_when_it_comes_back(
    run: RunStatus, kind: str, lasts: int
) -> None:
    conditions = Conditions()

    def look(at: float, now: RunStatus) -> list[str]:
        return [one.kind for one in conditions.look(Snapshot(at, (now,)))]

    if lasts:
        assert look(0.0, run) == []
        assert look(lasts - 1.0, run) == []
        assert look(lasts - 0.5, FINE) == []  # it went away: an optimizer that pauses comes back
        assert look(lasts + 1.0, run) == []
    start = lasts + 1.0
    assert look(start + lasts, run) == [kind]
    assert look(start + lasts + 500, run) == []
    assert look(start + lasts + 501, FINE) == []
    look(start + 1000, run)
    assert look(start + 2000, run) == ([kind] if lasts else [])


def test_a_run_that_is_over_or_fine_is_in_no_condition() -> None:
    conditions = Conditions()
    runs = (
        FINE,
        replace(FINE, name="b", up=False, problem="gone", life="ended"),
        replace(FINE, name="c", pending_seconds=5.0),
    )
    for at in (0.0, 1e4):
        assert conditions.look(Snapshot(at, runs)) == []


def test_the_page_names_every_kind_with_its_severity() -> None:
    page = (Path(__file__).parents[2] / "docs/notifications.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \| (\w+) \|", page, re.MULTILINE)
    assert {kind: severity for kinds, severity in rows for kind in re.findall(r"`(\w+)`", kinds)} == dict(NOTICE_KINDS)
