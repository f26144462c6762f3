"""One run in the daemon: read its logs, decide, save, and only then send.

What it reads, commands and shows are subjects of their own: `logs`, `commands` and `status`. One file because it holds the order
in which they act, and what is saved together. What led to an event is saved with it in one transaction, and a command is
published only when that is committed: so a daemon that is killed at any point neither repeats nor loses a decision.

One file because the order of a turn and what is saved after it are one promise.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lrwatch.config import Config
from lrwatch.control.directory import ControlDirectory
from lrwatch.control.reconciler import Reconciler
from lrwatch.core.detectors.base import Poll
from lrwatch.core.detectors.stalled import StalledDetector
from lrwatch.core.events import Command, Effect, Event, as_json
from lrwatch.core.life import OVER
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.proposal import Proposal
from lrwatch.core.run_length import RunLength
from lrwatch.core.sample import Batch
from lrwatch.core.snapshot import RunStatus
from lrwatch.daemon.commands import UNHEARD_TURNS, JournalEvent, RunCommands, voids_proposals
from lrwatch.daemon.life import LifeWatch
from lrwatch.daemon.live_picture import LivePicture
from lrwatch.daemon.logs import RunLogs
from lrwatch.daemon.outlook import Outlook
from lrwatch.daemon.position import FROM_OUTSIDE, SamplePosition
from lrwatch.daemon.settings import settings_event
from lrwatch.daemon.status import StatusView
from lrwatch.daemon.takeover import Takeovers
from lrwatch.protocol import METRICS_NAME
from lrwatch.store import Entry, Request, Store

Listener = Callable[[Entry], None]

Written = tuple[list[Entry], dict[int, Proposal]]
"""What holds once a transaction is committed: its journal entries, and the proposals that are open then."""


class WatchedRun:
    """One run in the daemon.

    Args:
        name: The run's name.
        logs: Its log files.
        control: Its control directory, or None where nothing may be commanded (`replay`).
        config: The settings.
        store: Where its state is kept.
        listener: Called with every journal entry, after it was saved.
        key: Key that signs commands.
        journals_settings: Whether the settings are journalled, at the beginning and whenever they change.
        monotonic: Seconds that never go back.

    Attributes:
        name, control: As given.
        pipeline: Decides on the samples of the logs.
        logs: What is read.
        commands: What the trainer is sent, and what it answers.
        view: What the outside sees.
        life: What the run is in: it runs, has ended, is lost.
        outlook: Where the run will end.
        picture: The curves as a page draws them; it stays empty in a replay, which nobody looks at.
        stalled: Finds silence of the logs.
        unsaved: State has changed since the last save. Events are saved immediately; other state can be read again from
            the logs, with the same result.
    """

    def __init__(
        self,
        name: str,
        logs: Sequence[Path],
        control: Path | None,
        config: Config,
        store: Store,
        listener: Listener,
        key: bytes | None = None,
        *,
        journals_settings: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.control = control
        self._store = store
        self._listener = listener
        self._monotonic = monotonic
        self._config = config
        self._events: list[JournalEvent] = []  # to be journalled by the next save
        self._answers: dict[int, tuple[Request, dict[str, Any]]] = {}  # to requests by number, to be saved with them
        self.unsaved = False
        saved = store.load_run(name)
        self.pipeline = Pipeline(config.detect, config.policy, config.metric or None, config.run)
        self.stalled = StalledDetector()
        client_log = None if control is None else control / METRICS_NAME
        self.logs = RunLogs(name, config.watch.reading, store, client_log=client_log, metric=config.metric or None)
        for path in logs:
            self.add_log(path)
        reconciler = None
        if control is not None:
            reconciler = Reconciler(
                ControlDirectory(control, key), None if saved is None else saved["reconciler"],
                claims_at_once=config.policy.mode in ("approve", "auto"), owner=store.owner,
            )  # fmt: skip
        self.commands = RunCommands(name, self.pipeline, config.policy.mode, reconciler)
        self.life = LifeWatch(watched=journals_settings)
        self.outlook = Outlook(name, config.detect.direction)
        self.view = StatusView(name, config, self.pipeline, self.logs, self.commands, self.life, self.outlook.points)
        self.picture = LivePicture(store.load_picture(name)) if journals_settings else LivePicture(kept=False)
        self._position = SamplePosition()
        self._takeovers = Takeovers()
        self._journals_settings = journals_settings
        self._settings: dict[str, Any] = {}  # as they were journalled last, and the length at the last comparison:
        self._compared: RunLength | None = None
        self._unread_turns = 0  # in a row in which a log could not be read
        if saved is not None:
            self._restore(saved)

    def add_log(self, path: Path) -> None:
        """Read one more log, unless it is read already."""
        self.logs.add(path)

    def close(self) -> None:
        """Close the logs."""
        self.logs.close()

    # ---- one turn -------------------------------------------------------------------------------------------------

    def turn(self, now: float, *, final: bool = False) -> bool:
        """Read, decide, save what must be saved, send.

        Args:
            now: Seconds since the epoch.
            final: The logs are complete.

        Returns:
            Whether there was anything to read.
        """
        self._journal_settings()
        if (received := self.commands.receive(now, self._monotonic())) is not None:
            answer, events = received
            self._note(answer)
            self.outlook.heard(events)
            self._handle(events, now)
            self._journal_settings()
        self._look_at_lease()
        if self.commands.waits_for_word:
            return True
        self._meet_trainer(now)
        progress = arrived = False
        for batch in self.logs.read(final=final, now=now):
            progress = True
            if self.logs.anew:
                self.pipeline.begin_anew()
                self.picture.clear()
            self._learn_length()
            if batch.rows:
                arrived = True
                written = now if self.logs.written_at is None else min(now, self.logs.written_at)
                self.life.arrived(written, now)
                self.view.last_sample_time = max(written, self.view.last_sample_time or 0.0)
                for part in batch.parts():
                    self._decide(part, now)
        self._unread_turns = self._unread_turns + 1 if self.logs.problem_may_pass else 0
        self._live(now, arrived=arrived)
        if self.view.outside_changed() or self.logs.changed:
            self._touch()
        if any(event["event"] != "settings" for event in self._events):  # those follow from what will be there again
            self.save(now)
        else:
            self.commands.publish()
        return progress

    def _look_at_lease(self) -> None:
        if (reconciler := self.commands.reconciler) is not None:
            if reconciler.token != self._takeovers.told:
                self._touch()  # a restart compares the newest claim with the token that was saved
            event = self._takeovers.look(reconciler.lease, run=self.name, step=self.pipeline.step)
            if event is not None:
                self._note(event)

    @property
    def operators_wait(self) -> bool:
        """Whether operators wait for what cannot be read: a passing fault of the disk must not let their request overtake a decision."""
        return self.commands.waits_for_word or 0 < self._unread_turns <= UNHEARD_TURNS

    def _meet_trainer(self, now: float) -> None:
        """Learn whether the trainer that was listening is still there, before anything is decided for it."""
        if self._journals_settings and (reconciler := self.commands.reconciler) is not None:
            self.life.meet(reconciler.observed, now)
            reconciler.gone = self.life.gone

    def _live(self, now: float, *, arrived: bool) -> None:
        """Look at the times of the samples: is the run silent, does it still run?"""
        last = self.view.last_sample_time
        if arrived and last is not None:
            if self.life.life in OVER:
                self.stalled.paused()  # it begins again: the time between is no gap of its own
            self._polled(Poll(last, arrived=True), now)
        self.view.patience = self.stalled.patience
        if self._journals_settings and not self.logs.behind:
            self._look_at_life(now)
        if not (
            arrived or self.logs.alive or self.commands.held or self.life.life in OVER
        ):  # else nobody expects a sample
            self._polled(Poll(now, arrived=False), now)

    def _polled(self, poll: Poll, now: float) -> None:
        self._handle([finding for _, finding in self.stalled.feed([self.pipeline.step or 0], [poll])], now)

    def _look_at_life(self, now: float) -> None:
        before, reconciler = self.life.life, self.commands.reconciler
        event = self.life.look(
            None if reconciler is None else reconciler.observed,
            now=now, step=self.pipeline.step, last=self.view.last_sample_time, patience=self.view.patience,
            total_steps=self.pipeline.length.counted_in(self.logs.axis),
        )  # fmt: skip
        if event is not None:
            self._note({**event, "run": self.name})
        elif self.life.life != before or not self.view.caught_up:
            self._touch()
        self.view.caught_up = True

    def clock_stepped(self, seconds: float) -> None:
        """Learn that the clock was set by `seconds`: every time that is kept for an interval moves with it."""
        for part in (self.logs.ownership, self.stalled, self.life, self.view, self.commands):
            part.clock_stepped(seconds)
        self._touch()

    def remove(self, now: float) -> None:
        """Journal that the files of the run are gone, and save."""
        event = self.life.becomes("removed", "its files are gone", step=self.pipeline.step, now=now)
        if event is not None:
            self._note({**event, "run": self.name})
        self.save(now)

    def _learn_length(self) -> None:
        """Tell the pipeline what the logs state about the length of the run, unless a more reliable source has told it."""
        if self.pipeline.set_total_steps(self.logs.total_steps, "log"):
            self._touch()
            self._journal_settings()

    def _decide(self, batch: Batch, now: float) -> None:
        """Take samples, and what follows from them: decisions, and forecasts between them by their step."""
        events = self.pipeline.feed(batch)
        self._position.add(batch, self.pipeline.metrics.watched)
        self.picture.add(batch, self.pipeline.metric)
        self.outlook.heard(events)
        forecasts = self.outlook.feed(batch, self.pipeline.metric, self.pipeline.length.counted_in(batch.axis))
        for event in events:
            while forecasts and forecasts[0]["step"] < event.step:
                self._note(forecasts.pop(0))
            self._handle([event], now)
        for forecast in forecasts:
            self._note(forecast)

    def _handle(self, events: Iterable[Event], now: float) -> None:
        """Count events, act on commands, and note them all for the journal. History is no news: it is only noted."""
        for event in events:
            if not self.life.history:
                self.view.count(event)
            if isinstance(event, Effect):
                self.commands.measured(event)
            if isinstance(event, Command) and self.life.history and not self.commands.can_send:
                self._note({**as_json(event, self.name), "mode": self._config.policy.mode, "state": "history"})
            elif isinstance(event, Command):
                self._note(self.commands.decided(event, self.logs.axis, now))
            else:
                self._note(as_json(event, self.name))

    def _note(self, event: JournalEvent) -> None:
        if event["event"] in FROM_OUTSIDE and self._journals_settings:
            event = {**event, "heard": self._position.at(self.pipeline.metric)}
        self._events.append(event)
        self._touch()

    def _touch(self) -> None:
        """Mark the state as changed since it was saved and shown."""
        self.unsaved = True
        self.view.invalidate()

    def _journal_settings(self) -> None:
        """Journal the settings by which the run is judged from here on, if they have changed."""
        if not self._journals_settings or self._compared == self.pipeline.length:
            return
        self._compared = self.pipeline.length
        before, self._settings = self._settings, settings_event(self._config, self._compared)
        if before != self._settings:
            self._note({"event": "settings", "run": self.name, "step": self.pipeline.step, **self._settings})

    # ---- operators ------------------------------------------------------------------------------------------------

    def is_answered(self, request: Request) -> bool:
        """Whether `request` was carried out, though the answer could not be saved yet."""
        return request.id in self._answers

    def answer(self, request: Request, *, done: bool, text: str) -> None:
        """Journal a request and its answer, in the transaction that saves what it changed.

        Args:
            request: The request.
            done: Whether it was carried out.
            text: The answer, as a sentence.
        """
        self._answers[request.id] = request, {"done": done, "text": text}
        what: dict[str, Any] = {
            "verb": request.verb,
            "argument": request.argument,
            "actor": request.actor,
            "done": done,
        }
        if request.uid is not None:
            what["uid"] = request.uid
        self._note({"event": "operator", "run": self.name, "step": self.pipeline.step, **what, "message": text})

    # ---- saving ---------------------------------------------------------------------------------------------------

    def save(self, now: float) -> None:
        """Save everything in one transaction, then call the listener and send the command that waited for it.

        When the disk refuses, nothing is sent, and all of it is tried again at the next turn.
        """
        save_together(self._store, [self], now)

    def write(self, now: float) -> Written:
        """Put everything into the open transaction of the store; `written` or `not_written` must follow."""
        self.view.save_problem = ""  # it is over if the transaction succeeds
        entries = []
        proposals = dict(self.commands.proposals)
        for event in self._events:
            plain = {key: value for key, value in event.items() if key != "proposal"}
            entry = self._store.append(self.name, plain, now)
            entries.append(entry)
            if "proposal" in event:
                proposals = {entry.id: event["proposal"]}
            elif voids_proposals(event):
                proposals = {}
        self.logs.save()
        for request, answer in self._answers.values():
            if request.reply is None:
                self._store.answer(request.id, answer)
        self._store.save_run(self.name, self._state(proposals))
        self.view.invalidate()  # the trends are worked out with the state
        status = replace(self.status(now), pending_seconds=0.0, proposals=self.view.proposals(proposals))
        self._store.save_status(self.name, status.as_json())
        return entries, proposals

    def written(self, written: Written) -> None:
        """Take note that the transaction was committed: call the listener, and send what waited for it."""
        entries, self.commands.proposals = written
        self.view.invalidate()
        self._events.clear()
        for request, answer in self._answers.values():
            if request.reply is not None:
                request.reply(answer)
        self._answers.clear()
        self.unsaved = self.logs.pressing = False
        for entry in entries:
            self._listener(entry)
        self.commands.publish()

    def not_written(self, error: sqlite3.Error) -> None:
        """Take note that the transaction failed."""
        # A lock and a full disk pass; damage stays.
        remedy = (
            ""
            if isinstance(error, sqlite3.OperationalError)
            else ". If it stays so, move the state directory away, and start again"
        )
        self.view.save_problem = f"cannot save to {self._store.path}: {error}; no command is sent until it can, and it is tried again{remedy}"
        self.logs.errors["not_saved"] += 1
        self.view.invalidate()

    def _state(self, proposals: Mapping[int, Proposal]) -> dict[str, Any]:
        reconciler = self.commands.reconciler
        return {
            "pipeline": self.pipeline.state(),
            "stalled": self.stalled.state(),
            "logs": self.logs.state(),
            "commands": self.commands.state(),
            "proposals": [[entry, asdict(proposal)] for entry, proposal in proposals.items()],
            "reconciler": None if reconciler is None else reconciler.state(),
            "view": self.view.state(),
            "outlook": self.outlook.state(),
            "position": self._position.state(),
            "settings": self._settings,
            "life": self.life.state(),
            "takeovers": self._takeovers.state(),
            "control": None if self.control is None else str(self.control),  # for those who look at the state alone
        }

    def _restore(self, saved: Mapping[str, Any]) -> None:
        self.pipeline.restore(saved["pipeline"])
        self.pipeline.set_total_steps(self._config.run.total_steps, "config")  # they may have changed since
        self.stalled.restore(saved["stalled"])
        self.stalled.paused()
        self.logs.restore(saved["logs"])
        self.commands.restore(saved["commands"])
        self.commands.proposals = {entry: Proposal(**proposal) for entry, proposal in saved["proposals"]}
        self.view.restore(saved["view"])
        self.outlook.restore(saved["outlook"])
        self._position.restore(saved["position"])
        self._settings = saved["settings"]
        self.life.restore(saved["life"])
        self._takeovers.restore(saved["takeovers"])
        self._learn_length()

    # ---- what it shows --------------------------------------------------------------------------------------------

    @property
    def problem(self) -> str:
        """The reason why this run cannot be judged, as a sentence, or ""."""
        return self.view.problem

    def status(self, now: float) -> RunStatus:
        """Return what the outside may see at `now`, in seconds since the epoch."""
        return self.view.at(now)


def save_together(store: Store, runs: Sequence[WatchedRun], now: float) -> None:
    """Save runs in one transaction: the cost is the disk's confirmation, however much it confirms.

    Args:
        store: Where the runs keep their state.
        runs: The runs.
        now: Seconds since the epoch.
    """
    try:
        with store.transaction():
            written = [run.write(now) for run in runs]
    except sqlite3.Error as error:
        for run in runs:
            run.not_written(error)
        return
    # Every run hears of the commit, even if one of them raises: it would be committed again.
    with ExitStack() as told:
        for run, result in reversed(list(zip(runs, written, strict=True))):
            told.callback(run.written, result)
