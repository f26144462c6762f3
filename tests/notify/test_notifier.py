"""The threads: nobody waits for a channel, and every delivery is counted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.message_sinks import Webhook, webhook
from support.waiting import eventually

from lrwatch.core.curve import Curve
from lrwatch.core.events import Severity
from lrwatch.core.snapshot import ProposalStatus, RunStatus, Snapshot
from lrwatch.notify.channels import channels_of
from lrwatch.notify.notifier import CLOSING_SECONDS, Notifier
from lrwatch.notify.options import NotifyOptions
from lrwatch.notify.outbox import Letter

KNOWN = {"gpt2": {"catching_up": False, "life": "running"}}
RUN = RunStatus("gpt2", "approve", up=True, life="running", step=900)


NOW = 1e9
NOWHERE = Path("/nowhere/notified")


def finding(step: int = 900, run: str = "gpt2", kind: str = "nonfinite") -> dict[str, Any]:
    return {
        "event": "finding", "kind": kind, "run": run, "metric": "loss", "step": step, "evidence": {}, "message": f"NaN at step {step}",
        "time": 1e9, "id": step, "hash": "",
    }  # fmt: skip


class Told:
    """What a notifier counted, as total and failed, and what it printed."""

    def __init__(self) -> None:
        self.counts: Counter[bool] = Counter()
        self.lines: list[str] = []

    def count(self, failed: bool) -> None:
        self.counts[failed] += 1


@contextmanager
def notifying(
    options: NotifyOptions, known: Mapping[str, Mapping[str, Any]] = KNOWN,
    curve: Callable[[str], tuple[str, Curve] | None] = lambda _: None, kept: Path = NOWHERE,
    journal: Sequence[Mapping[str, Any]] = (),
) -> Iterator[tuple[Notifier, Told]]:  # fmt: skip
    told = Told()
    notifier = Notifier(
        channels_of(options), options, count=told.count, tell=told.lines.append, known=known, curve=curve, kept=kept
    )
    notifier.start(lambda after: [entry for entry in journal if entry["id"] > after], NOW)
    try:
        yield notifier, told
    finally:
        notifier.close()


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as started:
        yield started


def test_a_finding_is_told_with_the_curve_of_its_run(hook: Webhook) -> None:
    curve = Curve()
    curve.add(np.arange(900), np.linspace(3.0, 2.0, 900))
    with notifying(NotifyOptions(urls=(hook.url(),)), curve=lambda _: ("loss", curve)) as (notifier, told):
        notifier.hear(finding())
        eventually(lambda: hook.messages)
    assert hook.titles() == ["gpt2: run of non-finite values of loss at step 900"]
    assert len(hook.messages[0]["pictures"]) == 1
    assert told.counts == {False: 1}


def test_a_channel_that_hangs_holds_up_neither_the_caller_nor_another_channel_nor_the_end(hook: Webhook) -> None:
    with webhook() as dead:
        dead.hangs = True
        with notifying(NotifyOptions(urls=(dead.url(), hook.url()))) as (notifier, told):
            began = time.perf_counter()
            for step in range(500):
                notifier.hear(finding(step, kind="plateau"))
            assert time.perf_counter() - began < 1.0
            eventually(lambda: hook.messages)
            began = time.perf_counter()
            notifier.close()
            assert time.perf_counter() - began < CLOSING_SECONDS + 1
            assert any("could not be delivered before the end" in line for line in told.lines)
            dead.release.set()


def test_failures_are_counted_and_said_once_and_so_is_the_recovery(hook: Webhook) -> None:
    hook.status = 500
    with notifying(NotifyOptions(command=("/no/such/program",), urls=(hook.url(),))) as (notifier, told):
        notifier.hear(finding())
        eventually(lambda: told.counts[True] == 2)
        assert sorted(line.split(": ")[1] for line in told.lines) == ["channel 1 (json)", "channel command program"]
        assert all("tried again in 10 s" in line for line in told.lines)
        assert "pa55word" not in "".join(told.lines)
    assert told.counts[False] == 0


def test_what_waits_for_the_digest_is_sent_at_the_end(hook: Webhook) -> None:
    with notifying(NotifyOptions(urls=(hook.url(),))) as (notifier, _):
        notifier.hear(
            {"event": "life", "life": "ended", "run": "gpt2", "step": 9, "message": "over", "time": 1e9, "id": 1}
        )
    assert hook.titles() == ["gpt2: ended"]


def test_history_is_told_to_nobody_and_what_comes_after_it_is(hook: Webhook) -> None:
    with notifying(NotifyOptions(urls=(hook.url(),)), known={}) as (notifier, _):
        notifier.hear(finding(100))  # of the backlog, in the first turn
        notifier.look(Snapshot(0.0, (replace(RUN, catching_up=True),)))
        notifier.hear(finding(200))
        notifier.look(Snapshot(1.0, (RUN, replace(RUN, name="old", life="finished"))))
        notifier.hear(finding(300, run="old"))
        notifier.hear(finding(400))
        eventually(lambda: hook.messages)
    assert "step 400" in hook.text()
    assert not [step for step in (100, 200, 300) if f"step {step}" in hook.text()]


def test_what_is_found_after_a_restart_of_the_daemon_is_news(hook: Webhook) -> None:
    known = {"gpt2": {"catching_up": False, "life": "running"}, "old": {"catching_up": False, "life": "finished"}}
    with notifying(NotifyOptions(urls=(hook.url(),)), known=known) as (notifier, _):
        notifier.hear(finding(300, run="old"))
        notifier.hear(finding(400))
        eventually(lambda: hook.messages)
    assert hook.titles() == ["gpt2: run of non-finite values of loss at step 400"]


def test_a_proposal_of_the_backlog_that_stands_is_told_once(hook: Webhook) -> None:
    proposal = ProposalStatus(7, 900, 0.5, "plateau", "it no longer improves", 1400, "lrwatch approve gpt2 7")
    with notifying(NotifyOptions(urls=(hook.url(),)), known={}) as (notifier, _):
        for at in range(3):
            notifier.look(Snapshot(float(at), (replace(RUN, proposals=(proposal,)),)))
        eventually(lambda: hook.messages)
    assert hook.titles() == ["gpt2: scale 0.5 waits for approval at step 900"]


def test_conditions_are_told_from_snapshots(hook: Webhook) -> None:
    bad = replace(RUN, trainer_faults=("no_step",), problem="not acting: the optimizer does not step")
    with notifying(NotifyOptions(urls=(hook.url(),))) as (notifier, _):
        for at in (0.0, 60.0, 121.0):
            notifier.look(Snapshot(at, (bad, replace(RUN, name="other"))))
        eventually(lambda: hook.messages)
    assert hook.messages[0]["title"] == "gpt2: its learning rate is not the one that lrwatch sets"
    assert hook.messages[0]["type"] == "failure"


def test_what_could_not_be_delivered_is_told_after_a_restart_and_then_no_more(hook: Webhook, tmp_path: Path) -> None:
    options, kept = NotifyOptions(urls=(hook.url(),)), tmp_path / "notified"
    journal = [
        {**finding(1), "time": NOW - 7200},  # older than what anybody wants to hear
        finding(2, kind="divergence"),
        finding(3),
        finding(4, run="unknown"),
    ]
    with notifying(options, kept=kept) as (notifier, _):
        notifier.hear({**journal[0], "id": 0})
        notifier.look(Snapshot(0.0, (RUN,)))
        eventually(lambda: hook.messages)

        def is_kept() -> bool:
            notifier.look(Snapshot(0.0, (RUN,)))
            return kept.exists()

        eventually(is_kept)
    assert kept.read_text() == "0\n"
    hook.messages.clear()
    hook.status = 500
    with notifying(options, kept=kept, journal=journal) as (notifier, told):
        eventually(lambda: told.counts[True])
        notifier.look(Snapshot(1.0, (RUN,)))
    assert kept.read_text() == "1\n"
    assert "told again after the next start" in told.lines[-1]
    hook.status = 200
    with notifying(options, kept=kept, journal=journal):
        eventually(lambda: hook.messages)
    assert hook.titles() == ["lrwatch, 1 run: 1 divergence, 1 nonfinite"]
    assert kept.read_text() == "4\n"
    with notifying(options, kept=kept, journal=journal):
        pass
    assert len(hook.messages) == 1


class Broken:
    """A channel with a fault of its own, for one letter."""

    name, takes_pictures = "broken", False
    least: Severity = "info"

    def __init__(self) -> None:
        self.letters: list[Letter] = []

    def deliver(self, letter: Letter) -> None:
        self.letters.append(letter)
        if len(self.letters) == 1:
            raise ZeroDivisionError


def test_a_fault_of_lrwatch_ends_neither_the_channel_nor_the_turn_of_the_run(caplog: pytest.LogCaptureFixture) -> None:
    told, broken = Told(), Broken()

    def curve(name: str) -> None:
        if name == "strange":
            raise ZeroDivisionError

    known = {**KNOWN, "strange": KNOWN["gpt2"]}
    notifier = Notifier(
        [broken], NotifyOptions(), count=told.count, tell=told.lines.append, known=known, curve=curve, kept=NOWHERE
    )
    notifier.start(lambda _: (), NOW)
    try:
        notifier.hear(finding(run="strange"))
        notifier.hear(finding())
        eventually(lambda: broken.letters)
        notifier.hear(finding(kind="divergence"))
        eventually(lambda: len(broken.letters) == 2)
    finally:
        notifier.close()
    assert told.counts == {True: 1, False: 1}
    assert len([record for record in caplog.records if "could not be made" in record.getMessage()]) == 2


def test_a_thousand_runs_that_fail_at_once_are_one_message(hook: Webhook) -> None:
    known = {f"run{i}": KNOWN["gpt2"] for i in range(1000)}
    with notifying(NotifyOptions(urls=(hook.url(),)), known=known) as (notifier, _):
        for name in known:
            notifier.hear(finding(run=name))
        eventually(lambda: hook.messages)
    (message,) = hook.messages
    assert message["title"].startswith("lrwatch, 200 runs: 200 nonfinite")
    assert len(message["message"].splitlines()) < 20
    assert "800 older ones were dropped" in message["message"]


def test_threads_end_with_the_notifier(hook: Webhook) -> None:
    with notifying(NotifyOptions(urls=(hook.url(),) * 3)):
        assert sum(thread.name.startswith("lrwatch-notify") for thread in threading.enumerate()) == 3
    assert not any(thread.name.startswith("lrwatch-notify") for thread in threading.enumerate())
