"""One run in the daemon: its logs, its pipeline, its trainer, its place in the store."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrwatch.config import Config
from lrwatch.control.directory import ControlDirectory
from lrwatch.core.events import Command, Event, Finding, as_json
from lrwatch.core.run import Run
from lrwatch.core.sample import Batch
from lrwatch.core.snapshot import RunStatus
from lrwatch.daemon.actuator import Actuator, Answer
from lrwatch.daemon.reader import LogReader
from lrwatch.protocol import Desired
from lrwatch.store import Entry, Request, Store

# Reads of one log before the other logs have their turn and the stop is looked at.
READS_A_TURN = 4

# A log that lags by fewer steps than this is not behind, it is buffered.
MIN_STALE_STEPS = 1000

# Who asks for a command that no operator asked for.
OWN_NAME = "lrwatch"

Listener = Callable[[Entry], None]


class Watched:
    """A run under watch.

    Args:
        name: The run's name.
        logs: Its log files.
        control: Its control directory, or None where nothing may be commanded (`replay`).
        config: The settings.
        store: Where its state is kept.
        listener: Told of every journal entry, after it was saved.
        key: Key that signs commands.
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
    ) -> None:
        self.name = name
        self.run = Run(config.detect, config.policy, config.watch.metric or None)
        self.last_sample_time: float | None = None
        self.applied_time: float | None = None
        self.held = False
        self.proposals: dict[int, float] = {}
        self.scales: list[float] = []
        self._config = config
        self._store = store
        self._listener = listener
        self._unsaved: list[dict[str, Any]] = []
        self._answered: dict[int, dict[str, Any]] = {}
        self._changed = False
        self._problem = ""
        self.counts: dict[str, Counter[str]] = {
            key: Counter() for key in ("findings", "commands", "rejected", "errors", "ingest")
        }
        self._owners: dict[str, str] = {}
        self._axis = "step"
        saved = store.load_run(name)
        self.readers: list[LogReader] = []
        for path in logs:
            self.add_log(path)
        self.actuator = None
        if control is not None:
            directory = ControlDirectory(control, key)
            self.actuator = Actuator(directory, name, None if saved is None else saved["actuator"])
        if saved is not None:
            self._restore(saved)

    def add_log(self, path: Path) -> None:
        """Read one more log, unless it is read already."""
        if all(reader.path != path for reader in self.readers):
            state = self._store.load_log(self.name, str(path))
            self.readers.append(LogReader(path, self._config.watch.format, state))

    # ---- one turn -------------------------------------------------------------------------------------------------

    def turn(self, now: float, *, final: bool = False) -> bool:
        """Read, decide, save, act. -> whether there was anything to read.

        Args:
            now: Seconds since the epoch.
            final: The logs are complete.
        """
        self._answers(now)
        progress = False
        for reader in self.readers:
            for _ in range(READS_A_TURN):
                if not self._read(reader, now, final=final):
                    break
                progress = True
        self.save(now)
        return progress

    def _read(self, reader: LogReader, now: float, *, final: bool) -> bool:
        survived = Counter(reader.tail.errors)
        read = reader.read(final=final)
        self.counts["errors"] += reader.tail.errors - survived
        if read is None:
            return False
        batch, used = read
        self._changed = True
        self.counts["ingest"].update(bytes=used, lines=batch.lines, samples=len(batch))
        self.counts["errors"].update(batch.errors)
        batch = self._own(batch, str(reader.path))
        if batch.rows:
            self._axis = batch.axis
            self.last_sample_time = now
            self._said(self.run.feed(batch), now)
        return True

    def _own(self, batch: Batch, path: str) -> Batch:
        """A metric belongs to the first log that has it: two logs of a run must not count its loss twice."""
        columns = {}
        for name, column in batch.columns.items():
            if self._owners.setdefault(name, path) == path:
                columns[name] = column
            else:
                self.counts["ingest"]["in_another_log"] += len(column.values)  # as it should be, and no error
        return batch if len(columns) == len(batch.columns) else Batch(batch.steps, columns, batch.axis)

    def _said(self, events: Sequence[Event], now: float) -> None:
        for event in events:
            if isinstance(event, Finding):
                self.counts["findings"][event.kind] += 1
            if isinstance(event, Command):
                self._command(event, now)
            else:
                self._note(as_json(event, self.name))

    def _note(self, event: dict[str, Any]) -> None:
        self._changed = True
        self._unsaved.append(event)

    # ---- commands -------------------------------------------------------------------------------------------------

    def _command(self, command: Command, now: float) -> None:
        self.counts["commands"][command.cause] += 1
        state = "suggested"
        mode = self._config.policy.mode
        ahead = self._trainer_is_ahead(command)
        if self.held:
            state = "held"
        elif ahead:
            state = "outdated"
            self.run.refused(until=ahead)
        elif mode == "approve":
            state = "awaits approval"
        elif mode == "auto":
            state = "sent" if self.can_send else "no trainer listens"
        event = {**as_json(command, self.name), "mode": mode, "state": state}
        if state == "sent":
            desired = self.send(command.scale, reason=command.reason, actor=OWN_NAME, now=now)
            self._note({**event, "generation": desired.generation})
        else:
            self._note({**event, "proposal": True})

    def _trainer_is_ahead(self, command: Command) -> int | None:
        """The trainer's step, where the log is so far behind it that a decision on the log's step is stale."""
        observed = self.actuator.observed if self.actuator is not None else None
        trend = self.run.trend
        if observed is None or trend is None or self._axis != "step":
            return None
        return observed.step if observed.step - command.step > max(trend.horizon, MIN_STALE_STEPS) else None

    def requests(self) -> list[Request]:
        """What operators ask of this run. A request is answered in the transaction that saves what came of it."""
        try:
            return [request for request in self._store.requests(self.name) if request.id not in self._answered]
        except sqlite3.Error:
            self.counts["errors"]["not_saved"] += 1
            return []

    def answer(self, request: Request, *, done: bool, text: str) -> None:
        """Journal what an operator asked, and what came of it."""
        self._answered[request.id] = {"done": done, "text": text}
        what = {"verb": request.verb, "argument": request.argument, "actor": request.actor, "done": done}
        self._note({"event": "operator", "run": self.name, "step": self.run.step, **what, "message": text})

    @property
    def can_send(self) -> bool:
        """Whether there is a trainer that would take a command of this daemon."""
        return self.actuator is not None and self.actuator.attached and not self.actuator.fenced

    def send(self, scale: float, *, reason: str, actor: str, now: float) -> Desired:
        """Order `scale`; it goes out when it is saved."""
        assert self.actuator is not None
        trend = self.run.trend
        horizon = trend.horizon if trend is not None else 0.0
        desired = self.actuator.order(scale, reason=reason, actor=actor, horizon=horizon, prev="", now=now)
        if self.run.policy.asked != scale:
            self.run.ask(scale)
        if actor != OWN_NAME:
            self.counts["commands"]["operator"] += 1
        self._changed = True
        return desired

    def _answers(self, now: float) -> None:
        if self.actuator is None or (answer := self.actuator.look(now)) is None:
            return
        observed = answer.observed
        common = {"run": self.name, "scale": observed.scale, "generation": answer.generation}
        if answer.kind == "hello":
            step = self.run.step or observed.step
            self._note({"event": "hello", **common, "step": observed.step, "client": observed.client})
            self._said(self.run.joined(step, observed.scale), now)
            self.scales = [observed.scale]
        elif answer.kind == "acknowledged":
            step = observed.applied_step if observed.applied_step is not None else observed.step
            lrs = {"schedule_lr": dict(observed.schedule_lr), "effective_lr": dict(observed.effective_lr)}
            self._note({"event": "acknowledged", **common, "step": step, **lrs})
            self.scales.append(observed.scale)
            self.applied_time = now
            self._said(self.run.acknowledged(step, observed.scale), now)
        else:
            self._rejected(answer, common)

    def _rejected(self, answer: Answer, common: Mapping[str, Any]) -> None:
        code = answer.observed.code or answer.observed.status
        self.counts["rejected"][code] += 1
        self._note({"event": "rejected", **common, "step": answer.observed.step, "code": code})
        self.run.refused()

    # ---- saving ---------------------------------------------------------------------------------------------------

    def save(self, now: float) -> None:
        """Save everything in one transaction, tell the listener, and send what was waiting for that.

        When the disk refuses, nothing is sent and all of it is tried again at the next turn.
        """
        if self._changed:
            try:
                self._commit(now)
            except sqlite3.Error as error:
                self._problem = f"cannot save to {self._store.path}: {error}"
                self.counts["errors"]["not_saved"] += 1
                return
            self._problem = ""
            self._changed = False
        if self.actuator is not None:
            self.actuator.publish()

    def _commit(self, now: float) -> None:
        entries = []
        proposals = dict(self.proposals)
        with self._store.transaction():
            for event in self._unsaved:
                plain = {key: value for key, value in event.items() if key != "proposal"}
                entry = self._store.append(self.name, plain, now)
                entries.append(entry)
                if "proposal" in event:
                    proposals[entry.id] = event["scale"]
            for reader in self.readers:
                self._store.save_log(self.name, str(reader.path), reader.state())
            for request_id, answer in self._answered.items():
                self._store.answer(request_id, answer)
            self._store.save_run(self.name, self._state(proposals))
        self.proposals = proposals
        self._unsaved.clear()
        self._answered.clear()
        for entry in entries:
            self._listener(entry)

    def _state(self, proposals: Mapping[int, float]) -> dict[str, Any]:
        return {
            "run": self.run.state(),
            "actuator": None if self.actuator is None else self.actuator.state(),
            "counts": self.counts,
            "last_sample_time": self.last_sample_time,
            "applied_time": self.applied_time,
            "held": self.held,
            "proposals": list(proposals.items()),
            "scales": self.scales,
            "owners": self._owners,
        }

    def _restore(self, saved: Mapping[str, Any]) -> None:
        self.run.restore(saved["run"])
        self.counts = {key: Counter(counts) for key, counts in saved["counts"].items()}
        self.last_sample_time, self.applied_time = saved["last_sample_time"], saved["applied_time"]
        self.held, self.scales, self._owners = saved["held"], saved["scales"], saved["owners"]
        self.proposals = dict(saved["proposals"])

    def close(self) -> None:
        """Let go of the logs."""
        for reader in self.readers:
            reader.close()

    # ---- what it shows --------------------------------------------------------------------------------------------

    def why(self) -> str:
        """Why nothing can be said about this run, or ""."""
        if self._problem:
            return self._problem
        if self.actuator is not None and self.actuator.problem:
            return self.actuator.problem
        problems = [reader.tail.problem for reader in self.readers if reader.tail.problem]
        if problems and len(problems) == len(self.readers):
            return problems[0]
        seen = self.run.seen
        wanted = self._config.watch.metric
        if wanted and seen and wanted not in seen:
            return f"no metric {wanted!r} in the logs; seen were {', '.join(seen)}"
        if seen and self.run.metric is None:
            return f"no metric looks like a loss; name one with --metric: {', '.join(seen)}"
        if not seen and (self.counts["ingest"]["bytes"] or any(reader.tail.lag for reader in self.readers)):
            return "nothing so far that could be understood as a metric"
        return ""

    def status(self, now: float) -> RunStatus:
        """What the outside may see."""
        why = self.why()
        actuator = self.actuator
        observed = actuator.observed if actuator is not None else None
        errors = self.counts["errors"] + (actuator.control.errors if actuator is not None else Counter())
        return RunStatus(
            name=self.name,
            mode=self._config.policy.mode,
            metric=self.run.metric or "",
            up=not why,
            why=why,
            step=self.run.step,
            last_sample_time=self.last_sample_time,
            metrics=self.run.metrics(),
            findings=dict(self.counts["findings"]),
            scale=observed.scale if observed is not None else 1.0,
            wanted=actuator.pending.scale if actuator is not None and actuator.pending is not None else None,
            schedule_lr=dict(observed.schedule_lr) if observed is not None else {},
            effective_lr=dict(observed.effective_lr) if observed is not None else {},
            commands=dict(self.counts["commands"]),
            rejected=dict(self.counts["rejected"]),
            pending_seconds=max(0.0, now - actuator.pending_since) if actuator and actuator.pending_since else 0.0,
            applied_time=self.applied_time,
            token=actuator.token if actuator is not None else 0,
            bytes=self.counts["ingest"]["bytes"],
            lines=self.counts["ingest"]["lines"],
            samples=self.counts["ingest"]["samples"],
            errors=dict(errors),
            lag_bytes=sum(reader.tail.lag for reader in self.readers),
        )
