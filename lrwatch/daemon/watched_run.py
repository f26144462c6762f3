"""One run in the daemon: its logs, its pipeline, its trainer, its place in the store."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from lrwatch.config import Config
from lrwatch.control.directory import ControlDirectory
from lrwatch.control.reconciler import Answer, Reconciler
from lrwatch.core.detectors.base import Poll
from lrwatch.core.detectors.stalled import StalledDetector
from lrwatch.core.events import Command, Effect, Event, Finding, as_json
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.sample import Batch
from lrwatch.core.snapshot import EffectStatus, RunStatus
from lrwatch.protocol import Desired
from lrwatch.sources.discover import log_of
from lrwatch.sources.reader import LogReader
from lrwatch.store import Entry, Request, Store

# Reads of one log before the other logs have their turn and the stop is looked at.
READS_A_TURN = 4

# A log that lags by fewer steps than this is not behind, it is buffered.
MIN_STALE_STEPS = 1000

# What is decided on the trend at a step of the log. A plan holds however far ahead the trainer is, and so does a rescue.
DECIDED_ON_TREND = ("plateau", "probe", "restore", "overfitting", "too_slow")

# Who asks for a command that no operator asked for.
OWN_NAME = "lrwatch"

Listener = Callable[[Entry], None]


class Proposal(NamedTuple):
    """What waits for an operator's word."""

    scale: float
    reload: bool = False


Written = tuple[list[Entry], dict[int, Proposal]]
"""What is true once a transaction is committed: its journal entries, and the proposals that are open then."""


class WatchedRun:
    """A run under watch.

    Args:
        name: The run's name.
        logs: Its log files.
        control: Its control directory, or None where nothing may be commanded (`replay`).
        config: The settings.
        store: Where its state is kept.
        listener: Told of every journal entry, after it was saved.
        key: Key that signs commands.

    Attributes:
        unsaved: There is something that the store does not have yet. What led to an event is saved with it at once; the rest
            may wait, because it would be read again and come to the same.
        pressing: It should not wait long, because it may not be read again in the same way.
        behind: The last turn ended before all was read.
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
        self.run = Pipeline(config.detect, config.policy, config.watch.metric or None)
        self.stalled = StalledDetector()
        self.last_sample_time: float | None = None
        self.applied_time: float | None = None
        self.effect: EffectStatus | None = None
        self.held = False
        self.proposals: dict[int, Proposal] = {}
        self.scales: list[float] = []
        self._config = config
        self._store = store
        self._listener = listener
        self._events: list[dict[str, Any]] = []
        self._answered: dict[int, dict[str, Any]] = {}
        self._must_save = False
        self.unsaved = self.pressing = self.behind = False
        self._status: RunStatus | None = None
        self._outside: tuple[Any, ...] = ()
        self._begun = 0
        self._survived: dict[Path, Counter[str]] = {}
        self._problem = ""
        self.counts: dict[str, Counter[str]] = {
            key: Counter() for key in ("findings", "commands", "effects", "rejected", "errors", "ingest")
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
            self.actuator = Reconciler(directory, name, None if saved is None else saved["actuator"])
        if saved is not None:
            self._restore(saved)

    def add_log(self, path: Path) -> None:
        """Read one more log, unless it is read already."""
        if all(reader.path != path for reader in self.readers):
            state = self._store.load_log(self.name, str(path))
            self.readers.append(LogReader(path, self._config.watch.reading, state))

    # ---- one turn -------------------------------------------------------------------------------------------------

    def turn(self, now: float, *, final: bool = False) -> bool:
        """Read, decide, save what must be saved, act. -> whether there was anything to read.

        Args:
            now: Seconds since the epoch.
            final: The logs are complete.
        """
        self._answers(now)
        progress = self.behind = False
        unfinished: set[str] = set()
        for reader in self.readers:
            log = log_of(reader.path)
            if log in unfinished:  # what goes on with it comes later
                continue
            for _ in range(READS_A_TURN):
                if not self._read(reader, now, final=final):
                    break
                progress = True
                if not reader.tail.lag:
                    break
            else:
                self.behind = True
                unfinished.add(log)
        if progress or not self.held:
            polled = self.stalled.feed([self.run.step or 0], [Poll(now, progress)])
            self._said([finding for _, finding in polled], now)
        begun = sum(reader.tail.rotations + reader.tail.truncations for reader in self.readers)
        if begun != self._begun:  # what was read before cannot be read again
            self._begun, self.pressing = begun, True
        if (outside := self._seen_outside()) != self._outside:
            self._outside = outside
            self._touch()
        if self._must_save:
            self.save(now)
        elif self.actuator is not None:
            self.actuator.publish()
        return progress

    def _read(self, reader: LogReader, now: float, *, final: bool) -> bool:
        read = reader.read(final=final)
        if reader.tail.errors and reader.tail.errors != (survived := self._survived.get(reader.path, Counter())):
            self.counts["errors"] += reader.tail.errors - survived
            self._survived[reader.path] = reader.tail.errors.copy()
            self._touch()
        if read is None:
            return False
        batch, used = read
        self._touch()
        ingest = self.counts["ingest"]
        ingest["bytes"] += used
        ingest["lines"] += batch.lines
        ingest["samples"] += len(batch)
        if batch.errors:
            self.counts["errors"].update(batch.errors)
        batch = self._own(batch, log_of(reader.path))
        if batch.rows:
            self._axis = batch.axis
            self.last_sample_time = now
            self._said(self.run.feed(batch), now)
        return True

    def _touch(self) -> None:
        """Something is not as it was saved and shown."""
        self.unsaved = True
        self._status = None

    def _seen_outside(self) -> tuple[Any, ...]:
        """What else the status tells of, and changes without a sample or an event."""
        tails = [(reader.tail.problem, reader.tail.lag) for reader in self.readers]
        actuator = self.actuator
        if actuator is None:
            return (tails,)
        errors = actuator.control.errors
        return tails, actuator.observed, actuator.problem, actuator.token, sum(errors.values()) if errors else 0

    def _own(self, batch: Batch, path: str) -> Batch:
        """A metric belongs to the first log that has it: two logs of a run must not count its loss twice.

        A training that is resumed begins another event file; all of a directory are one log.
        """
        columns = {}
        known = len(self._owners)
        for name, column in batch.columns.items():
            if self._owners.setdefault(name, path) == path:
                columns[name] = column
            else:
                self.counts["ingest"]["in_another_log"] += len(column.values)  # as it should be, and no error
        self.pressing |= len(self._owners) > known  # read again, the logs may come in another order
        return batch if len(columns) == len(batch.columns) else replace(batch, columns=columns)

    def _said(self, events: Sequence[Event], now: float) -> None:
        for event in events:
            if isinstance(event, Finding):
                self.counts["findings"][event.kind] += 1
            if isinstance(event, Effect):
                self.counts["effects"][event.verdict] += 1
                self.effect = EffectStatus(event.step, event.scale, event.gain, event.lower, event.upper, event.verdict)
            if isinstance(event, Command):
                self._command(event, now)
            else:
                self._note(as_json(event, self.name))

    def _note(self, event: dict[str, Any]) -> None:
        self._must_save = True
        self._touch()
        self._events.append(event)

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
            desired = self.send(command.scale, reason=command.reason, actor=OWN_NAME, now=now, reload=command.reload)
            self._note({**event, "generation": desired.generation})
        else:
            self._note({**event, "proposal": True})

    def _trainer_is_ahead(self, command: Command) -> int | None:
        """The trainer's step, where the log is so far behind it that a decision on the log's step is stale."""
        observed = self.actuator.observed if self.actuator is not None else None
        trend = self.run.trend
        if observed is None or trend is None or self._axis != "step" or command.cause not in DECIDED_ON_TREND:
            return None
        return observed.step if observed.step - command.step > max(trend.horizon, MIN_STALE_STEPS) else None

    def is_answered(self, request: Request) -> bool:
        """Whether `request` was carried out, though the answer could not be saved yet."""
        return request.id in self._answered

    def answer(self, request: Request, *, done: bool, text: str) -> None:
        """Journal what an operator asked, and what came of it, in the transaction that saves what came of it."""
        self._answered[request.id] = {"done": done, "text": text}
        what = {"verb": request.verb, "argument": request.argument, "actor": request.actor, "done": done}
        self._note({"event": "operator", "run": self.name, "step": self.run.step, **what, "message": text})

    @property
    def can_send(self) -> bool:
        """Whether there is a trainer that would take a command of this daemon."""
        return self.actuator is not None and self.actuator.attached and not self.actuator.fenced

    def send(self, scale: float, *, reason: str, actor: str, now: float, reload: bool = False) -> Desired:
        """Order `scale`; it goes out when it is saved."""
        assert self.actuator is not None
        trend = self.run.trend
        horizon = trend.horizon if trend is not None else 0.0
        desired = self.actuator.order(
            scale, reason=reason, actor=actor, horizon=horizon, prev="", now=now, reload=reload
        )
        if self.run.command.wanted != scale:
            self.run.ask(scale)
        if actor != OWN_NAME:
            self.counts["commands"]["operator"] += 1
        self._must_save = True
        self._touch()
        return desired

    def _answers(self, now: float) -> None:
        if self.actuator is None or (self.actuator.observed is None and not _may_exist(self.actuator.control.path)):
            return
        if (answer := self.actuator.look(now)) is None:
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
        save_together(self._store, [self], now)

    def write(self, now: float) -> Written:
        """Put everything into the transaction of the store that is open; `written` or `not_written` must follow it."""
        if self._problem:  # over, if the transaction succeeds
            self._problem, self._status = "", None
        entries = []
        proposals = dict(self.proposals)
        for event in self._events:
            plain = {key: value for key, value in event.items() if key != "proposal"}
            entry = self._store.append(self.name, plain, now)
            entries.append(entry)
            if "proposal" in event:
                proposals[entry.id] = Proposal(event["scale"], event.get("reload", False))
        for reader in self.readers:
            self._store.save_log(self.name, str(reader.path), reader.state())
        for request_id, answer in self._answered.items():
            self._store.answer(request_id, answer)
        self._store.save_run(self.name, self._state(proposals))
        self._status = None  # with the state the trends were worked out
        self._store.save_status(self.name, asdict(replace(self.status(now), pending_seconds=0.0)))
        return entries, proposals

    def written(self, written: Written) -> None:
        """The transaction was committed."""
        entries, self.proposals = written
        self._events.clear()
        self._answered.clear()
        self.unsaved = self.pressing = self._must_save = False
        for entry in entries:
            self._listener(entry)
        if self.actuator is not None:
            self.actuator.publish()

    def not_written(self, error: sqlite3.Error) -> None:
        """The transaction failed."""
        self._problem = f"cannot save to {self._store.path}: {error}"
        self.counts["errors"]["not_saved"] += 1
        self._status = None

    def _state(self, proposals: Mapping[int, Proposal]) -> dict[str, Any]:
        return {
            "run": self.run.state(),
            "actuator": None if self.actuator is None else self.actuator.state(),
            "counts": self.counts,
            "last_sample_time": self.last_sample_time,
            "stalled": self.stalled.state(),
            "applied_time": self.applied_time,
            "effect": None if self.effect is None else asdict(self.effect),
            "held": self.held,
            "proposals": [[entry, *proposal] for entry, proposal in proposals.items()],
            "scales": self.scales,
            "owners": self._owners,
        }

    def _restore(self, saved: Mapping[str, Any]) -> None:
        self.run.restore(saved["run"])
        for key, counts in saved["counts"].items():
            self.counts[key] = Counter(counts)
        if (effect := saved.get("effect")) is not None:  # a state of version 0.1 has none
            self.effect = EffectStatus(**effect)
        self.last_sample_time, self.applied_time = saved["last_sample_time"], saved["applied_time"]
        if "stalled" in saved:  # a state of version 0.1 has none
            self.stalled.restore(saved["stalled"])
            self.stalled.paused()
        self.held, self.scales, self._owners = saved["held"], saved["scales"], saved["owners"]
        self.proposals = {entry: Proposal(*proposal) for entry, *proposal in saved["proposals"]}

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
        seen = self.run.metrics.names
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
        waits = self.actuator is not None and self.actuator.pending_since is not None
        if self._status is None or waits:
            self._status = self._stand(now)
        return self._status

    def _stand(self, now: float) -> RunStatus:
        why = self.why()
        actuator = self.actuator
        observed = actuator.observed if actuator is not None else None
        errors = self.counts["errors"]
        if actuator is not None and actuator.control.errors:
            errors = errors + actuator.control.errors
        return RunStatus(
            name=self.name,
            mode=self._config.policy.mode,
            strategy=self.run.options.strategy,
            metric=self.run.metric or "",
            up=not why,
            why=why,
            step=self.run.step,
            last_sample_time=self.last_sample_time,
            metrics=self.run.metrics.statuses(at_no_cost=True),
            findings=dict(self.counts["findings"]),
            scale=observed.scale if observed is not None else 1.0,
            wanted=actuator.pending.scale if actuator is not None and actuator.pending is not None else None,
            schedule_lr=dict(observed.schedule_lr) if observed is not None else {},
            effective_lr=dict(observed.effective_lr) if observed is not None else {},
            commands=dict(self.counts["commands"]),
            rejected=dict(self.counts["rejected"]),
            pending_seconds=max(0.0, now - actuator.pending_since) if actuator and actuator.pending_since else 0.0,
            applied_time=self.applied_time,
            effect=self.effect,
            effects=dict(self.counts["effects"]),
            token=actuator.token if actuator is not None else 0,
            bytes=self.counts["ingest"]["bytes"],
            lines=self.counts["ingest"]["lines"],
            samples=self.counts["ingest"]["samples"],
            errors=dict(errors),
            lag_bytes=sum(reader.tail.lag for reader in self.readers),
        )


def _may_exist(path: Path) -> bool:
    """Whether to look closer. Most runs have no trainer that listens, and it is asked at every turn."""
    try:
        os.lstat(path)  # Path.lstat costs five times as much
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def save_together(store: Store, runs: Sequence[WatchedRun], now: float) -> None:
    """Save runs in one transaction: what costs is the disk's confirmation, however much it confirms."""
    try:
        with store.transaction():
            written = [watched.write(now) for watched in runs]
    except sqlite3.Error as error:
        for watched in runs:
            watched.not_written(error)
        return
    for watched, what in zip(runs, written, strict=True):
        watched.written(what)
