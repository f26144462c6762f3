"""A command that waits for a person: where it is seen, what to type, when it is void, and that it is judged again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.golden import exposition

from lrwatch.cli.output import event_line
from lrwatch.core.snapshot import Snapshot
from lrwatch.export.collector import RunCollector
from lrwatch.export.pages import page

Make = Callable[..., Any]


@pytest.fixture
def rig(make_rig: Make) -> Any:
    """A run in mode approve, with a trainer that listens and a first proposal."""
    made = make_rig(policy__mode="approve")
    made.attach()
    made.look()
    made.until("command")
    return made


def entry_of(rig: Any) -> Any:
    """The journal entry of the newest proposal."""
    return [entry for entry in rig.store.journal() if entry.event["event"] == "command"][-1]


def counted(rig: Any) -> dict[str, dict[str, int]]:
    """What became of commands, by cause and state."""
    return {cause: dict(states) for cause, states in rig.run.status(rig.clock.now).commands.items()}


def exported(rig: Any) -> dict[str, float]:
    """The gauges of the run that have no label but its name."""
    collector = RunCollector()
    collector.publish(Snapshot(0.0, (rig.run.status(rig.clock.now),)))
    samples = [sample for family in collector.collect() for sample in family.samples]
    return {sample.name: sample.value for sample in samples if set(sample.labels) == {"run"}}


def test_a_proposal_says_what_to_type_wherever_it_is_seen(rig: Any) -> None:
    entry = entry_of(rig)
    typed = f"lrwatch approve train {entry.id}"
    assert f"approve with: {typed} (before step {entry.event['expires_at']})" in event_line(entry.as_json())
    (proposal,) = rig.run.status(rig.clock.now).proposals
    assert (proposal.id, proposal.scale, proposal.approve) == (entry.id, 0.5, typed)
    (saved,) = rig.store.statuses()["train"]["proposals"]
    assert saved["approve"] == typed
    assert typed in page(Snapshot(0.0, (rig.run.status(rig.clock.now),))).decode()
    assert (exported(rig)["lrwatch_proposals_pending"], exported(rig)["lrwatch_proposal_id"]) == (1.0, entry.id)


def test_an_approved_proposal_is_asked_sent_and_applied_once_and_under_its_own_cause(rig: Any) -> None:
    assert counted(rig) == {"plateau": {"asked": 1}}
    assert rig.ask("approve", str(entry_of(rig).id))["done"]
    rig.settle()
    states = counted(rig)["plateau"]
    assert (states["asked"], states["sent"], states["applied"]) == (1, 1, 1)
    assert "operator" not in counted(rig)
    assert exported(rig)["lrwatch_proposals_pending"] == 0.0
    assert "lrwatch_proposal_id" not in exported(rig)


def test_what_nobody_answers_is_void_after_its_steps_and_is_made_again(rig: Any) -> None:
    first = entry_of(rig)
    rig.restart()  # the end of a proposal is decided by steps alone
    expired = rig.until("expired")
    assert expired["step"] == first.event["expires_at"]
    assert expired["proposed_at"] == first.event["step"]
    answer = rig.ask("approve", str(first.id))
    open_now = list(rig.run.commands.proposals)
    told = (
        f"open now: {open_now[0]}" if open_now else "none is open now; `lrwatch status` shows one as soon as there is"
    )
    assert answer == {"done": False, "text": f"entry {first.id} of the journal is no open proposal of this run; {told}"}
    while entry_of(rig).id == first.id:
        rig.until("command")
    assert entry_of(rig).event["step"] >= expired["step"]
    assert rig.training.scale == 1.0


def test_a_proposal_is_void_when_another_scale_is_in_use(rig: Any) -> None:
    entry = entry_of(rig)
    rig.ask("set", "0.8")
    rig.settle()
    assert rig.run.status(rig.clock.now).proposals == ()
    assert not rig.ask("approve", str(entry.id))["done"]
    assert rig.training.scale == 0.8


def test_a_proposal_is_judged_again_when_it_is_approved(rig: Any) -> None:
    entry = entry_of(rig)
    proposal = rig.run.commands.proposals[entry.id]
    trend = rig.run.pipeline.trend
    assert proposal.objection(proposal.step + 1, 1.0, trend, 0.005) == ""
    assert "expired at step" in proposal.objection(proposal.expires_at, 1.0, trend, 0.005)
    assert "scale 0.5 is in use now" in proposal.objection(proposal.step + 1, 0.5, trend, 0.005)
    rig.training.scale = 0.01  # the loss begins to fall again, for a reason that no log tells
    rig.train(100, "step", "loss")
    rig.look()
    answer = rig.ask("approve", str(entry.id))
    assert not answer["done"]
    assert "the metric improves again: by " in answer["text"]
    assert "nothing was sent" in answer["text"]
    assert not (rig.control / "desired.json").exists()
    assert rig.run.status(rig.clock.now).proposals == ()


def test_held_and_fenced_are_seen(rig: Any) -> None:
    assert (exported(rig)["lrwatch_run_held"], exported(rig)["lrwatch_run_fenced"]) == (0.0, 0.0)
    rig.ask("hold")
    assert exported(rig)["lrwatch_run_held"] == 1.0
    assert "held: no command is sent" in page(Snapshot(0.0, (rig.run.status(rig.clock.now),))).decode()
    rig.ask("resume")
    assert exported(rig)["lrwatch_run_held"] == 0.0
    assert rig.run.status(rig.clock.now).proposals == (), "what was proposed is decided again"


def test_what_is_undone_is_counted_as_taken_back(rig: Any) -> None:
    assert rig.ask("approve", str(entry_of(rig).id))["done"]
    rig.settle()
    assert rig.ask("undo")["done"]
    rig.settle()
    assert counted(rig)["plateau"]["taken_back"] == 1
    assert counted(rig)["operator"] == {"asked": 1, "sent": 1, "applied": 1}
    rig.restart()
    assert counted(rig)["plateau"]["taken_back"] == 1


def test_a_refused_command_is_counted_as_rejected(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    rig.attach(min_scale=0.9)
    rig.look()
    rig.until("rejected")
    (cause,) = counted(rig)
    assert counted(rig)[cause]["rejected"] >= 1
    text = exposition(Snapshot(0.0, (rig.run.status(rig.clock.now),)))
    found = [
        (s.labels["state"], s.value)
        for family in text_string_to_metric_families(text)
        for s in family.samples
        if s.name == "lrwatch_commands_total" and s.labels["reason"] == cause
    ]
    assert dict(found)["rejected"] >= 1
    assert set(dict(found)) == {"asked", "sent", "applied", "rejected", "proven", "taken_back"}


def test_the_status_of_a_proposal_survives_a_restart(rig: Any) -> None:
    before = json.dumps(rig.store.statuses()["train"]["proposals"])
    rig.restart()
    rig.look()
    assert json.dumps(rig.store.statuses()["train"]["proposals"]) == before
    assert rig.run.status(rig.clock.now).proposals[0].id == entry_of(rig).id
