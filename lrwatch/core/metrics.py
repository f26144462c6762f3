"""The metrics of one run: the newest value of each, detectors on those that are watched, and which one decides.

Commands are decided on one metric, the primary one. It is what the user named, or what the names say is the loss; a better
one that shows up later decides from its first row on.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from lrwatch.core.detectors.base import NO_SILENCE, Silence
from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.detectors.train_val_pair import TrainValPair
from lrwatch.core.events import Finding, Phase
from lrwatch.core.names import is_of_a_game, primary, role
from lrwatch.core.options import DetectOptions
from lrwatch.core.progress import Improved
from lrwatch.core.sample import Batch
from lrwatch.core.signal import REWIND, Signal, Tick
from lrwatch.core.snapshot import MetricStatus, TrendStatus
from lrwatch.core.standing import NOT_WATCHED, Standing, standing
from lrwatch.core.tracker import Tracker

# Metrics of a run that detectors watch: total losses of training and validation, and some to spare.
MAX_WATCHED = 8

# Metrics of a run whose newest value is remembered for the exporter.
MAX_METRICS = 256

# The primary metric from a row on, -1 for the rows before the batch too.
PrimaryFrom = list[tuple[int, str]]


class Metrics:
    """The metrics of one run.

    Args:
        detect: What counts as a plateau.
        wanted: The metric to decide on; None lets the names decide.

    Attributes:
        wanted: As given.
        step: The newest step of any metric, or None.
        unwatched: Samples of metrics beyond MAX_METRICS, which are counted and not remembered.
        epoch_steps: Steps of an epoch, by the newest row; 0 while they are unknown.
    """

    def __init__(self, detect: DetectOptions, wanted: str | None = None) -> None:
        self.wanted = wanted
        self.step: int | None = None
        self.unwatched = 0
        self._detect = detect
        self._values: dict[str, tuple[int, float]] = {}
        self._trackers: dict[str, Tracker] = {}
        self._best: str | None = None
        self._pair: TrainValPair | None = None
        self._unpaired = 0
        self._overfitting: list[Any] = []  # step and message of the newest such finding
        self._improved: set[str] = set()
        self.epoch_steps = 0

    @property
    def primary(self) -> str | None:
        """The metric that commands are decided on, or None before it is known."""
        return self._best if self.wanted is None else self.wanted

    @property
    def names(self) -> list[str]:
        """Names of the metrics that were in the log so far."""
        return list(self._values)

    @property
    def watched(self) -> list[str]:
        """Names of the metrics with detectors."""
        return list(self._trackers)

    @property
    def losses(self) -> list[str]:
        """Names of the losses of training and validation that are judged."""
        return [name for name, one in self._trackers.items() if one.judged and role(name) in ("train_loss", "val_loss")]

    @property
    def trend(self) -> Trend | None:
        """The newest trend of the primary metric."""
        tracker = self._trackers.get(self.primary or "")
        return tracker.trend if tracker else None

    def improved(self, metric: str) -> bool:
        """Whether `metric` has improved significantly since the run began, as far as it was heard: see `ProgressCheck`."""
        return metric in self._improved

    def hear(self, metric: str, news: Improved) -> None:
        """Take in, when its row has come, what `feed` said of the progress of `metric`."""
        if news.once:
            self._improved.add(metric)
        else:
            self._improved.discard(metric)

    def set_epoch_steps(self, steps: int) -> None:
        """Learn how many steps an epoch has; 0 is unknown."""
        self.epoch_steps = steps
        for tracker in self._trackers.values():
            tracker.set_epoch_steps(steps)

    def silence(self, metric: str) -> Silence:
        """Return for how long `metric` is guaranteed to give no signal, if all samples are finite and in order."""
        tracker = self._trackers.get(metric)
        if tracker is None or (self._pair is not None and metric == self._pair.val):
            return NO_SILENCE
        return tracker.silence

    def statuses(self, *, at_no_cost: bool = False) -> tuple[MetricStatus, ...]:
        """Return where every metric stands; `at_no_cost` with the trends last computed, which may be a while ago."""
        return tuple(
            self._status(name, step, value, at_no_cost=at_no_cost) for name, (step, value) in self._values.items()
        )

    def _status(self, name: str, step: int, value: float, *, at_no_cost: bool) -> MetricStatus:
        tracker = self._trackers.get(name)
        if tracker is None:
            return MetricStatus(name, step, value, words=NOT_WATCHED)
        trend = tracker.last_trend if at_no_cost else tracker.trend
        stands = standing(tracker, trend, value, self._detect, improved=name in self._improved)
        if (
            self._overfitting and self._pair is not None and self._pair.val == name and self._pair.overfits
            and stands.state in ("cannot_tell_yet", "plateau")
        ):  # fmt: skip
            since, message = self._overfitting
            stands = Standing("rising", f"rising: {message}", since)
        return MetricStatus(name, step, value, _trend_status(trend), True, *stands)

    # ---- samples --------------------------------------------------------------------------------------------------

    def meet(self, batch: Batch) -> PrimaryFrom:
        """Remember the names and newest values of `batch`. Return which metric is primary from which row on."""
        primary_from = [(-1, self.primary)] if self.primary is not None else []
        for name, column in batch.by_first_row():
            if name in self._values or len(self._values) < MAX_METRICS:
                self._values[name] = (int(batch.steps[column.rows[-1]]), float(column.values[-1]))
            else:
                self.unwatched += len(column.rows)
            if name not in self._trackers and self._is_watched(name):
                not_judged = batch.smoothing.get(name) == "running" or is_of_a_game(name)
                judged = not not_judged or name == self.wanted
                self._trackers[name] = Tracker(name, self._detect, judged=judged)
                self._trackers[name].set_epoch_steps(self.epoch_steps)
                self._best = self._best_name()
                metric = self.primary
                if metric is not None and (not primary_from or primary_from[-1][1] != metric):
                    primary_from.append((int(column.rows[0]), metric))
        self.step = self._newest()
        return primary_from

    def _newest(self) -> int | None:
        return max([step for step, _ in self._values.values()], default=None)

    def _best_name(self) -> str | None:
        return primary(name for name, tracker in self._trackers.items() if tracker.judged)

    def _is_watched(self, name: str) -> bool:
        if name == self.wanted:
            return True
        games = sum(is_of_a_game(other) for other in self._trackers)
        if (games if is_of_a_game(name) else len(self._trackers) - games) >= MAX_WATCHED:
            return False
        # Where nothing is called a loss, a measure of error is what there is to watch.
        return role(name) in ("train_loss", "val_loss") or (
            len(self._trackers) == games and primary([name]) is not None
        )

    def feed(self, batch: Batch, threshold: float | None) -> list[Signal]:
        """Run the detectors over `batch`, which `meet` has seen.

        Args:
            batch: Samples of one phase, but for rewinds.
            threshold: Relative bound below which a look matters; None if every look does.

        Returns:
            The signals, not in order.
        """
        signals: list[Signal] = []
        for rank, (name, tracker) in enumerate(self._trackers.items()):
            column = batch.columns.get(name)
            if column is None or not len(column.rows):
                continue
            steps = batch.steps_of(column)
            rewinds = tracker.rewinds(steps)
            if rewinds:  # the command in flight ends there, and with it the threshold
                threshold = None
            edges = sorted({0, *rewinds, len(steps)}) if rewinds else (0, len(steps))
            for start, end in pairwise(edges):
                if start in rewinds:
                    if tracker.rewind(int(steps[start])):
                        news = Improved(int(steps[start]), once=False)
                        signals.append(Signal(int(column.rows[start]), REWIND, name, news))
                    message = f"the log goes back to step {steps[start]}: a resume, or another run"
                    phase = Phase(int(steps[start]), "resume", message)
                    signals.append(Signal(int(column.rows[start]), REWIND, name, phase))
                found = tracker.feed(steps[start:end], column.values[start:end], threshold)
                signals.extend(Signal(int(column.rows[start + i]), rank, name, what) for i, what in found)
        signals.extend(self._feed_pair(batch))
        return signals

    def _feed_pair(self, batch: Batch) -> list[Signal]:
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
            self._pair = TrainValPair(train, val, self._detect)
            # Both are known from the row on in which the later one comes first.
            since = max(int(batch.columns[name].rows[0]) for name in (train, val) if name in batch.columns)
        rank = len(self._trackers)
        found = self._pair.feed(batch, since)
        for _, what in found:
            if isinstance(what, Finding) and what.kind == "overfitting":
                self._overfitting = [what.step, what.message]
        return [Signal(row, rank, self._pair.val, what) for row, what in found]

    def reread(self, batch: Batch) -> list[Signal]:
        """Run the detectors of a phase over samples that came before the phase was known."""
        return [
            Signal(int(column.rows[i]), rank, name, what)
            for rank, (name, tracker) in enumerate(self._trackers.items())
            if (column := batch.columns.get(name)) is not None
            for i, what in tracker.reread(batch.steps[column.rows], column.values)
        ]

    @property
    def last_rank(self) -> int:
        """The rank behind those of all detectors."""
        return len(self._trackers) + 1

    def ticks(self, batch: Batch, primary_from: PrimaryFrom) -> list[Signal]:
        """Return every value in `batch` of the metrics that decide."""
        rank = self.last_rank
        return [
            Signal(row, rank, name, Tick(step, value))
            for name in dict.fromkeys(name for _, name in primary_from)
            if (column := batch.columns.get(name)) is not None
            for row, step, value in zip(
                column.rows.tolist(), batch.steps_of(column).tolist(), column.values.tolist(), strict=True
            )
        ]

    def restart(self, phase_from: int | None = None) -> None:
        """Begin a new phase for every metric: see `Tracker.restart`."""
        for tracker in self._trackers.values():
            tracker.restart(phase_from)

    # ---- state ----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values."""
        return {
            "values": {name: [step, repr(value)] for name, (step, value) in self._values.items()},
            "trackers": {name: tracker.state() for name, tracker in self._trackers.items()},
            "overfitting": self._overfitting,
            "pair": None if self._pair is None else self._pair.state(),
            "improved": sorted(self._improved),
            "unwatched": self.unwatched,
            "epoch_steps": self.epoch_steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        self._values = {name: (step, float(value)) for name, (step, value) in state["values"].items()}
        self.step = self._newest()
        self._trackers = {}
        for name, saved in state["trackers"].items():
            self._trackers[name] = Tracker(name, self._detect)
            self._trackers[name].restore(saved)
        self._best = self._best_name()
        self._pair = None
        if (pair := state["pair"]) is not None:
            self._pair = TrainValPair(pair["train"], pair["val"], self._detect)
            self._pair.restore(pair)
        self._overfitting = list(state["overfitting"])
        self._improved = set(state["improved"])
        self.unwatched = state["unwatched"]
        self.epoch_steps = state["epoch_steps"]


def _trend_status(trend: Trend | None) -> TrendStatus | None:
    if trend is None:
        return None
    return TrendStatus(
        trend.ratio(trend.improvement),
        trend.ratio(trend.lower),
        trend.ratio(trend.upper),
        trend.horizon,
        trend.ratio(trend.detectable),
    )
