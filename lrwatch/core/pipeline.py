"""The pipeline of one run, pure: samples in, events out, and the scale to ask for.

Read it from `feed` downward. What it says depends on the samples and acknowledgements alone, not on how the bytes of the
log were cut into batches, and not on when an acknowledgement arrives: samples that came after a command are kept until the
trainer says from which step it applied it, and are then read again as the first of the new phase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from lrwatch.core.detectors.base import Output
from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.detectors.train_val_pair import TrainValPair
from lrwatch.core.events import Command, Event, Finding, Phase
from lrwatch.core.lr_changes import Change, Jump, LrTrack, Move, WarmupEnd
from lrwatch.core.names import primary, role
from lrwatch.core.options import DetectOptions, PolicyOptions
from lrwatch.core.pending_samples import PendingSamples
from lrwatch.core.policy import Policy
from lrwatch.core.sample import Batch, Column, Ints
from lrwatch.core.snapshot import MetricStatus, TrendStatus
from lrwatch.core.strategies.plateau import PolicyState
from lrwatch.core.tracker import Tracker

# Metrics of a run that detectors watch: total losses of training and validation, and some to spare.
MAX_WATCHED = 8

# Metrics of a run whose newest value is remembered for the exporter.
MAX_METRICS = 256

# A jump of the learning rate by this much more or less than what was asked is still what was asked: logs are rounded.
RATIO_TOLERANCE = 0.02


class _Tick(NamedTuple):
    """A value of the watched metric, for a strategy that goes by steps."""

    step: int
    value: float


# Something said at a row: (row, order within the row, metric, what).
_Said = tuple[int, int, str, Finding | Trend | Phase | Move | _Tick]


class Pipeline:
    """Detectors, phases and policy of one run.

    Args:
        detect: What counts as a plateau.
        policy: What is done about it.
        metric: The metric to watch; None lets the names decide.

    Attributes:
        pilot: The strategy that decides, and what it remembers.
        attached: Whether a trainer listens, so that an answer to a command will come.
        unwatched: Samples of metrics beyond MAX_METRICS, which are counted and not kept.
    """

    def __init__(self, detect: DetectOptions, policy: PolicyOptions, metric: str | None = None) -> None:
        self.detect = detect
        self.pilot = Policy(detect, policy)
        self._wanted_metric = metric
        self._trackers: dict[str, Tracker] = {}
        self._pair: TrainValPair | None = None
        self._unpaired = 0
        self._values: dict[str, tuple[int, float]] = {}
        self._lr = LrTrack()
        self._lr_metric: str | None = None
        self._looks: dict[str, Trend] = {}
        self._judged: str | None = None
        self._kept: PendingSamples | None = None
        self.unwatched = 0
        self.attached = False
        self._primary: str | None = None

    # ---- what it says ---------------------------------------------------------------------------------------------

    @property
    def metric(self) -> str | None:
        """The metric that commands are decided on, or None while none was seen."""
        return self._primary if self._wanted_metric is None else self._wanted_metric

    @property
    def policy(self) -> PolicyState:
        """The scale in use, the scale asked for, what the last cut brought."""
        return self.pilot.policy

    @property
    def options(self) -> PolicyOptions:
        """What is done about what is found, with what an operator said since."""
        return self.pilot.options

    def watch(self, metric: str) -> None:
        """Decide commands on `metric`, whatever the names say."""
        self._wanted_metric = metric

    @property
    def seen(self) -> list[str]:
        """Names of the metrics seen so far."""
        return list(self._values)

    @property
    def trend(self) -> Trend | None:
        """The newest trend of the watched metric."""
        tracker = self._trackers.get(self.metric or "")
        return tracker.trend if tracker else None

    def silent(self, metric: str) -> int:
        """So many further samples of `metric`, if finite and in order, surely lead to nothing being said."""
        if self.pilot.waits_for_steps:
            return 0
        tracker = self._trackers.get(metric)
        return tracker.silent if tracker else 0

    @property
    def step(self) -> int | None:
        """The newest step of any metric."""
        return max((step for step, _ in self._values.values()), default=None)

    def metrics(self, *, at_no_cost: bool = False) -> tuple[MetricStatus, ...]:
        """Where every metric stands; `at_no_cost` with trends as they were last worked out, which may be a while ago."""
        trends = {name: tracker.last_trend if at_no_cost else tracker.trend for name, tracker in self._trackers.items()}
        judged = {name for name, tracker in self._trackers.items() if tracker.judged}
        return tuple(
            MetricStatus(name, step, value, _status(trends.get(name)), judged=name in judged)
            for name, (step, value) in self._values.items()
        )

    # ---- state ----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """JSON-plain state: a run restored from it goes on as this one would have."""
        self._note_judged()
        return {
            "trackers": {name: tracker.state() for name, tracker in self._trackers.items()},
            "pair": None if self._pair is None else self._pair.state(),
            "values": {name: [step, repr(value)] for name, (step, value) in self._values.items()},
            "lr": self._lr.state(),
            "lr_metric": self._lr_metric,
            **self.pilot.state(),
            "looks": {name: asdict(look) for name, look in self._looks.items()},
            "judged": self._judged,
            "kept": None if self._kept is None else self._kept.state(),
            "unwatched": self.unwatched,
            "attached": self.attached,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self._trackers = {}
        for name, tracker in state["trackers"].items():
            self._trackers[name] = Tracker(name, self.detect)
            self._trackers[name].restore(tracker)
        self._primary = self._best()
        self._pair = None
        if (pair := state["pair"]) is not None:
            self._pair = TrainValPair(pair["train"], pair["val"], self.detect)
            self._pair.restore(pair)
        self._values = {name: (step, float(value)) for name, (step, value) in state["values"].items()}
        self._lr.restore(state["lr"])
        self._lr_metric = state["lr_metric"]
        self.pilot.restore(state)
        self._looks = {name: Trend(**look) for name, look in state.get("looks", {}).items()}
        self._judged = state["judged"]
        self._kept = None if state["kept"] is None else PendingSamples.restore(state["kept"])
        self.unwatched, self.attached = state["unwatched"], state["attached"]

    # ---- samples --------------------------------------------------------------------------------------------------

    def feed(self, batch: Batch) -> list[Event]:
        """Take the samples of `batch`. -> what there is to say, in the order of the log."""
        changes = self._feed_lr(batch)
        if not changes:
            return self._feed_phase(batch, [])
        breaks = [change for change in changes if not isinstance(change, Move)]
        moves = [change for change in changes if isinstance(change, Move)]
        edges = [0, *(change.index for change in breaks), batch.rows]
        events: list[Event] = []
        for (start, end), change in zip(pairwise(edges), [None, *breaks], strict=True):
            if change is not None:
                self._lr.note(change)
                events.extend(self._broken(int(batch.steps[start]), change))
            moved = [Move(move.index - start, move.step) for move in moves if start <= move.index < end]
            events.extend(self._feed_phase(_part(batch, start, end), moved))
        return events

    def _feed_phase(self, batch: Batch, moves: list[Move]) -> list[Event]:
        watched_from = self._meet(batch)
        worth = self._worth(watched_from)
        said: list[_Said] = [(move.index, -2, "", move) for move in moves]
        for order, (name, tracker) in enumerate(self._trackers.items()):
            column = batch.columns.get(name)
            if column is None or not len(column.rows):
                continue
            steps = _at(batch.steps, column.rows)
            rewinds = tracker.rewinds(steps)
            if rewinds:  # what was asked for is forgotten there
                worth = None
            edges = sorted({0, *rewinds, len(steps)}) if rewinds else (0, len(steps))
            for start, end in pairwise(edges):
                if start in rewinds:
                    tracker.rewind()
                    message = f"the log goes back to step {steps[start]}: a resume, or another run"
                    said.append((int(column.rows[start]), -1, name, Phase(int(steps[start]), "resume", message)))
                found = tracker.feed(steps[start:end], column.values[start:end], worth if self._alone else None)
                said.extend((int(column.rows[start + i]), order, name, what) for i, what in found)
        paired = self._feed_pair(batch)
        said.extend((row, len(self._trackers), self._pair.val, what) for row, what in paired if self._pair is not None)
        said.extend(self._ticks(batch, watched_from))
        return self._judge(batch, said, watched_from)

    def _feed_pair(self, batch: Batch) -> list[tuple[int, Output]]:
        since = 0
        if self._pair is None:
            if len(self._trackers) == self._unpaired:  # known to have none
                return []
            self._unpaired = len(self._trackers)
            judged = [name for name, tracker in self._trackers.items() if tracker.judged]
            train = primary(name for name in judged if role(name) == "train_loss")
            val = next((name for name in judged if role(name) == "val_loss"), None)
            if train is None or val is None:
                return []
            self._pair = TrainValPair(train, val, self.detect)
            # Both are known from the row on in which the later one is seen first.
            since = max(int(batch.columns[name].rows[0]) for name in (train, val) if name in batch.columns)
        return self._pair.feed(batch, since)

    def _read_again(self, batch: Batch) -> list[Event]:
        """Feed samples of the new phase that came before it was known."""
        said: list[_Said] = []
        for order, (name, tracker) in enumerate(self._trackers.items()):
            if (column := batch.columns.get(name)) is not None:
                found = tracker.reread(batch.steps[column.rows], column.values)
                said.extend((int(column.rows[i]), order, name, what) for i, what in found)
        watched_from = [] if self.metric is None else [(-1, self.metric)]
        said.extend(self._ticks(batch, watched_from))
        return self._judge(batch, said, watched_from)

    def _ticks(self, batch: Batch, watched_from: list[tuple[int, str]]) -> list[_Said]:
        """The values of the metrics that are watched, if the strategy goes by steps."""
        if not self.pilot.ticks:
            return []
        order = len(self._trackers) + 1
        ticks: list[_Said] = []
        for name in dict.fromkeys(name for _, name in watched_from):
            if (column := batch.columns.get(name)) is not None:
                samples = zip(
                    column.rows.tolist(), _at(batch.steps, column.rows).tolist(), column.values.tolist(), strict=True
                )
                ticks.extend((row, order, name, _Tick(step, value)) for row, step, value in samples)
        return ticks

    def _judge(self, batch: Batch, said: list[_Said], watched_from: list[tuple[int, str]]) -> list[Event]:
        """Take what was said in the order of the log, and decide on what the watched metric says."""
        if not said and self._kept is None:
            return []
        events: list[Event] = []
        asked_row: int | None = None
        for row, _, name, what in sorted(said, key=lambda s: s[:2]):
            watched = name == next((metric for since, metric in reversed(watched_from) if since <= row), None)
            answers: Sequence[Event | None] = ()
            if isinstance(what, Trend) and not self._alone:
                self._looks[name] = what
            if isinstance(what, Move):
                self._lr.note(what)
            elif isinstance(what, Finding):
                findings = self._under_schedule(what)
                events.extend(findings)
                answers = [self.pilot.found(finding, watched=watched) for finding in findings]
            elif isinstance(what, Phase) and watched:
                events.append(what)
                if what.cause == "level_shift":  # nothing was done to the run
                    self.pilot.forget_effect()
                else:
                    self._forget_question()
                    asked_row = None
            elif isinstance(what, Trend) and watched:
                if name != self._judged:
                    self._judged = name
                    self.pilot.forget_trend()
                others = [look for other, look in self._looks.items() if other != name]
                moves = self._lr.moves(what.step, what.horizon)
                answers = self.pilot.look(what, others, moves=moves)
            elif isinstance(what, _Tick) and watched:
                answers = [self.pilot.tick(what.step, what.value)]
            events.extend(answer for answer in answers if answer is not None)
            if any(isinstance(answer, Command) for answer in answers):
                asked_row = row
        self._keep(batch, asked_row)
        return events

    def _under_schedule(self, finding: Finding) -> list[Finding]:
        """What a finding is worth while the trainer's own schedule moves the learning rate."""
        if finding.kind == "too_slow":  # a line has other reasons then
            return [] if self._lr.moves(finding.step, float(finding.evidence["steps"] or 0)) else [finding]
        if finding.kind != "plateau" or not self._lr.moves(finding.step, float(finding.evidence["horizon_steps"] or 0)):
            return [finding]
        message = (
            f"{finding.message}; the learning rate is moved by its own schedule, so this is advice and no reason to act"
        )
        return [replace(finding, evidence={**finding.evidence, "advice": True}, message=message)]

    def _meet(self, batch: Batch) -> list[tuple[int, str]]:
        """Remember names and newest values. -> which metric is watched from which row on."""
        watched_from = [(-1, self.metric)] if self.metric is not None else []
        for name, column in _by_first_row(batch):
            if name in self._values or len(self._values) < MAX_METRICS:
                self._values[name] = (int(batch.steps[column.rows[-1]]), float(column.values[-1]))
            else:
                self.unwatched += len(column.rows)
            if name not in self._trackers and self._is_watched(name):
                judged = batch.smoothing.get(name) != "running" or name == self._wanted_metric
                self._trackers[name] = Tracker(name, self.detect, judged=judged)
                self._primary = self._best()
                metric = self.metric
                if metric is not None and (not watched_from or watched_from[-1][1] != metric):
                    watched_from.append((int(column.rows[0]), metric))
        return watched_from

    def _best(self) -> str | None:
        return primary(name for name, tracker in self._trackers.items() if tracker.judged)

    def _is_watched(self, name: str) -> bool:
        if name == self._wanted_metric:
            return True
        if len(self._trackers) >= MAX_WATCHED:
            return False
        # Where nothing is called a loss, a measure of error is what there is to watch.
        return role(name) in ("train_loss", "val_loss") or (not self._trackers and primary([name]) is not None)

    def _worth(self, watched_from: list[tuple[int, str]]) -> float | None:
        """What the bounds of a look must lie below, relative to the level, to lead to a command; None if all looks matter."""
        changes = len(watched_from) != 1 or self._judged not in (None, watched_from[0][1])
        return None if changes else self.pilot.worth

    @property
    def _alone(self) -> bool:
        """Whether the watched metric decides alone."""
        return self.options.quorum == 1

    def _feed_lr(self, batch: Batch) -> list[Change]:
        if self._lr_metric is None:
            self._lr_metric = next((name for name, _ in _by_first_row(batch) if role(name) == "lr"), None)
        column = batch.columns.get(self._lr_metric or "")
        if column is None or not len(column.rows):
            return []
        rows, values = column.rows, column.values
        if not (finite := np.isfinite(values)).all():
            rows, values = rows[finite], values[finite]
        changes = self._lr.feed(_at(batch.steps, rows), values)
        return [replace(change, index=int(rows[change.index])) for change in changes]

    # ---- phases and decisions -------------------------------------------------------------------------------------

    def _broken(self, step: int, change: Jump | WarmupEnd) -> list[Event]:
        if isinstance(change, Jump):
            return self._jumped(step, change.ratio)
        for tracker in self._trackers.values():
            tracker.restart()
        self._forget_question()
        return [Phase(step, "warmup_end", f"the warmup is over: the learning rate has reached {change.rate:.3g}")]

    def _jumped(self, step: int, ratio: float) -> list[Event]:
        due, asked = self.pilot.jump_due, self.policy.asked
        expected = due is not None and abs(ratio / due - 1) < RATIO_TOLERANCE
        if expected and asked is None:  # the acknowledgement came first
            self.pilot.jump_due = None
            return []
        for tracker in self._trackers.values():
            tracker.restart()
        if expected and asked is not None:
            return [self._apply(step, asked, "the learning rate in the log follows")]
        self._forget_question()
        return [Phase(step, "lr_change", f"the learning rate in the log changes by a factor of {ratio:.3g}")]

    def _forget_question(self) -> None:
        self.pilot.forget()
        self._looks = {}
        self._kept = None

    def _apply(self, step: int, scale: float, how: str) -> Phase:
        self.pilot.applied(step, scale)
        self._looks = {}
        self._kept = None
        return Phase(step, "command", f"scale {scale:g} from step {step} on: {how}")

    def _note_judged(self) -> None:
        """A trend that no look told of is one that the metric was judged by all the same."""
        if self._judged is None and self.trend is not None:
            self._judged = self.metric

    def follow(self, strategy: str, *, every: int = 0, length: int = 0) -> None:
        """From now on another strategy decides: see `Policy.follow`."""
        self.pilot.follow(strategy, self.step or 0, every=every, length=length)

    def decay_now(self) -> None:
        """Begin the decay of WSD at the newest step: see `Policy.decay_now`."""
        self.pilot.decay_now(self.step or 0)

    def ask(self, scale: float) -> None:
        """An operator asks for `scale`: from now on samples are kept until the trainer answers."""
        self.pilot.ask(scale, self.trend)
        self._note_judged()
        self._kept = PendingSamples()

    def acknowledged(self, step: int, scale: float) -> list[Event]:
        """The trainer used `scale` from `step` on. -> the new phase, and what its first samples say already."""
        if scale == self.policy.scale:  # nothing changes: the log told it already, or the same was asked for again
            if self.policy.asked == scale:
                self._kept = None
            self.pilot.is_in_use(scale)
            return []
        due = scale / self.policy.scale
        kept = self._kept
        for tracker in self._trackers.values():
            tracker.restart(step)
        events: list[Event] = [self._apply(step, scale, "acknowledged")]
        self.pilot.jump_due = due  # the log will show it too, and that is no second change
        return events if kept is None else [*events, *self._read_again(kept.since(step))]

    def refused(self, until: float | None = None) -> None:
        """What was asked is not going to happen: keep still until step `until`, or for a horizon."""
        if until is None:
            trend = self.trend
            until = trend.step + trend.horizon if trend is not None else 0.0
        self.pilot.refused(until)
        self._kept = None

    def _keep(self, batch: Batch, asked_row: int | None) -> None:
        """While a command is on its way, keep the samples after it."""
        if asked_row is not None and self.attached:
            self._kept = PendingSamples()
        if self._kept is not None:
            self._kept.add(batch, self._trackers, -1 if asked_row is None else asked_row)

    def joined(self, step: int, scale: float) -> list[Event]:
        """A trainer began to listen, anew or again, and uses `scale`: what it says is the truth."""
        changed = scale != self.policy.scale
        self.attached = True
        self._forget_question()
        if not changed:
            return []
        self.pilot.joined(step, scale)
        for tracker in self._trackers.values():
            tracker.restart()
        return [Phase(step, "resume", f"the trainer starts with scale {scale:g}")]


def _at(steps: Ints, rows: Ints) -> Ints:
    """The steps of `rows`, which ascend."""
    return steps if len(rows) == len(steps) else steps[rows]


def _by_first_row(batch: Batch) -> list[tuple[str, Column]]:
    """The columns that have samples, in the order in which they appear in the log."""
    columns = [(name, column) for name, column in batch.columns.items() if len(column.rows)]
    if all(len(column.rows) == batch.rows for _, column in columns):
        return columns
    return sorted(columns, key=lambda item: int(item[1].rows[0]))


def _part(batch: Batch, start: int, end: int) -> Batch:
    """The rows from `start` to before `end`."""
    if (start, end) == (0, batch.rows):
        return batch
    columns = {}
    for name, column in batch.columns.items():
        low, high = np.searchsorted(column.rows, [start, end])
        if low < high:
            columns[name] = Column(column.rows[low:high] - start, column.values[low:high])
    return replace(batch, steps=batch.steps[start:end], columns=columns)


def _status(trend: Trend | None) -> TrendStatus | None:
    if trend is None:
        return None
    return TrendStatus(
        trend.state,
        trend.ratio(trend.improvement),
        trend.ratio(trend.lower),
        trend.ratio(trend.upper),
        trend.horizon,
        trend.ratio(trend.detectable),
    )
