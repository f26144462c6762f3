"""One decision, computed again from the logs on which it was made, with the settings that were in force.

What came from outside, a trainer's answers, operators and settings, is taken from the journal and given to a fresh pipeline at its
place among the samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from lrwatch._version import __version__
from lrwatch.config import Config, WatchOptions
from lrwatch.core.events import Event, as_json
from lrwatch.core.options import DetectOptions, PolicyOptions, RunOptions
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.run_length import RunLength
from lrwatch.core.sample import Batch
from lrwatch.daemon.operator import StrategyRequest
from lrwatch.daemon.position import SamplePosition
from lrwatch.offline.known_logs import batches, logs_in_order
from lrwatch.store import Entry, Store

JsonEvent = Mapping[str, Any]

COMPUTED = ("finding", "command", "effect")
"""Events that are decisions or measurements, which follow from the samples and from what came from outside."""

# Two events with the same values under these keys are the same decision.
_IDENTITY = ("event", "kind", "metric", "step", "scale")


def explain(store: Store, run: str, entry: Entry, config: Config) -> tuple[dict[str, Any] | None, str]:
    """Compute a decision again.

    Args:
        store: The daemon's state, which has the journal and names the logs.
        run: The run's name.
        entry: The journal entry of the decision.
        config: Settings for a journal that does not hold its own.

    Returns:
        The event that is the same decision, or None; and a verdict in words.
    """
    if entry.event["event"] not in COMPUTED:
        return None, "This entry records what happened; only findings, commands and effects are computed."
    if entry.event.get("kind") == "stalled":
        return None, "It is about the time that passed without a sample, which the logs do not hold."
    journal = list(store.journal(run))
    logs = logs_in_order(store, run)
    events = recompute(run, logs, journal, config)
    same = [event for event in events if all(event.get(key) == entry.event.get(key) for key in _IDENTITY)]
    if not same:
        missing = [str(path) for path in logs if not path.exists()]
        if missing:
            return None, f"It cannot be computed again: {', '.join(missing)} is gone."
        return None, (
            "It does not come out of the logs and the journal: the logs were changed since, or another version of lrwatch "
            f"({_version(journal, entry)}, this is {__version__}) decided otherwise."
        )
    equal = next((event for event in same if event.items() <= entry.event.items()), None)
    if equal is not None:
        return equal, "Computed again: the same numbers."
    return same[0], "Computed again: the numbers differ."


def recompute(run: str, logs: Sequence[Path], journal: Sequence[Entry], config: Config) -> list[dict[str, Any]]:
    """Recompute the events from the samples of logs and the outside inputs of the journal.

    Args:
        run: The run's name.
        logs: Its log files.
        journal: Its journal, in order.
        config: Settings for the time before the journal holds any.
    """
    if settings := [entry.event for entry in journal if entry.event["event"] == "settings"]:
        watch = WatchOptions(metric=settings[-1]["watch_metric"], format=settings[-1]["format"])
        config = replace(config, watch=watch)
    again = _Recomputation(run, journal, config)
    for batch, anew in batches(logs, config, run):
        again.feed(batch, anew=anew)
    again.finish()
    return again.events


class _Recomputation:
    """A pipeline that is given the samples, and the inputs from outside at their places."""

    def __init__(self, run: str, journal: Sequence[Entry], config: Config) -> None:
        self.events: list[dict[str, Any]] = []
        self._run = run
        self._inputs = [entry.event for entry in journal if "heard" in entry.event]
        self._next = 0
        self._commands = {entry.id: entry.event for entry in journal if entry.event["event"] == "command"}
        self._settings: JsonEvent | None = None
        self._scales: list[float] = []
        self._held = False
        self._position = SamplePosition()
        self._pipeline = Pipeline(config.detect, config.policy, config.metric or None, config.run)

    def feed(self, batch: Batch, *, anew: bool = False) -> None:
        """Take the samples of `batch`, in parts between which inputs come; `anew` as `RunLogs` has it."""
        if anew:
            self._pipeline.begin_anew()
        done = 0
        while self._next < len(self._inputs):
            event = self._inputs[self._next]
            part = batch.part(done, batch.rows)
            rows = self._position.rows_before(part, event["heard"])
            if rows is None:
                break
            self._take(part.part(0, rows))
            done += rows
            self._next += 1
            self._input(event)
        self._take(batch.part(done, batch.rows))

    def finish(self) -> None:
        """Take the inputs that came after the last sample."""
        for event in self._inputs[self._next :]:
            self._input(event)

    def _take(self, batch: Batch) -> None:
        if batch.rows:
            self._note(self._pipeline.feed(batch))
            self._position.add(batch, self._pipeline.metrics.watched)

    def _note(self, events: Iterable[Event]) -> None:
        self.events += [as_json(event, self._run) for event in events]

    def _input(self, event: JsonEvent) -> None:
        pipeline = self._pipeline
        match event["event"]:
            case "settings":
                self._use(event)
            case "hello":
                pipeline.unanswered = False
                self._scales = [event["scale"]]
                self._note(pipeline.joined(pipeline.step or event["step"], event["scale"]))
            case "acknowledged":
                pipeline.unanswered = False
                self._scales.append(event["scale"])
                self._note(pipeline.acknowledged(event["step"], event["scale"]))
            case "rejected":
                pipeline.unanswered = False
                pipeline.refused()
            case "command":
                self._decided(event)
            case "operator" if event["done"]:
                self._operator(event)
            case _:
                pass

    def _use(self, settings: JsonEvent) -> None:
        """Continue with the settings that were in force from here on, as a daemon does that starts again with others."""
        before, self._settings = self._settings, settings
        keys = ("detect", "policy", "run_options", "watch_metric")
        if before is None or any(before[key] != settings[key] for key in keys):
            state = self._pipeline.state()
            self._pipeline = Pipeline(
                DetectOptions(**settings["detect"]),
                PolicyOptions(**settings["policy"]),
                settings["watch_metric"] or None,
                RunOptions(**settings["run_options"]),
            )
            if before is not None:
                self._pipeline.restore(state)
        self._pipeline.length = RunLength(*settings["length"])

    def _decided(self, command: JsonEvent) -> None:
        """Take what the daemon did with a decision of the pipeline."""
        if command["state"] == "outdated" and "expires_at" not in command:
            self._pipeline.refused(until=command["trainer_step"])
        elif command["state"] == "sent":
            self._ask(command["scale"])

    def _ask(self, scale: float) -> None:
        self._pipeline.unanswered = True
        if self._pipeline.command.wanted != scale:
            self._pipeline.ask(scale)

    def _operator(self, event: JsonEvent) -> None:
        argument = event["argument"]
        match event["verb"]:
            case "set":
                self._ask(float(argument))
            case "undo":
                self._ask(self._scales[-2])
            case "approve":
                self._ask(self._commands[int(argument)]["scale"])
            case "deny":
                self._pipeline.denied()
            case "hold":
                self._held = True
            case "resume" if self._held:
                self._held = False
                if not self._pipeline.unanswered:
                    self._pipeline.refused(until=0.0)
            case "strategy":
                wanted = msgspec.json.decode(argument, type=StrategyRequest)
                self._pipeline.follow(wanted.strategy, every=wanted.every, length=wanted.length)
            case "decay":
                self._pipeline.decay_now()
            case _:
                pass


def _version(journal: Iterable[Entry], entry: Entry) -> str:
    """Return the version of lrwatch whose settings were in force at an entry."""
    version = "an unknown one"
    for one in journal:
        if one.id > entry.id:
            break
        if one.event["event"] == "settings":
            version = one.event["versions"]["lrwatch"]
    return version
