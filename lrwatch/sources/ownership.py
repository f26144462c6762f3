"""Ownership: which of several logs of one training each value is taken from. Pure: names, steps and times in, decisions out.

A training writes several logs, and most of what they say is the same. A *source* is one log, or the files that are one
log together (see `discover.log_of`). Its values count or are copies by these rules:

1. **Order.** The client's own metrics come first, then records with steps, text with steps, documents that are written now
   and then, logs by epochs, logs by lines (`lrwatch.sources.source.Rank`); among equals the one that was there first.
2. **Waiting.** A row waits until every better source has passed its step, so that nothing depends on which log is read
   first. A source that has unread bytes is waited for; one at its end for `PATIENCE` seconds, or for twice the longest pause
   that it made before; one whose file was old already when it was read, not at all. In a finished log nothing is waited for.
3. **One owner.** A metric belongs to the first source that is heard with it. Training losses are one metric here, whatever
   they are called, and so are validation losses, and learning rates; those are the client's alone while it lives. A row of another source is a copy up to the step that
   the owner has reached, and is dropped.
4. **The owner moves on.** A row beyond that step is no copy: its source becomes the owner. By rule 2 a worse source comes so
   far only once the owner is silent; a better one is heard at once.
5. **A later attempt.** A file whose name differs in a number only (`slurm-1.out`, `slurm-2.out`; `attempt_0`, `attempt_1`),
   and which begins within what the earlier one said, is a new attempt of the training: it waits until the earlier one is
   silent, takes its place, and all its rows count. One that begins with the very same value is a copy that goes on
   (`checkpoint-*/trainer_state.json`), and numbers of processes (`rank0`, a directory `0`) make copies.
6. **One axis.** All values that count are on one axis: steps, else epochs, else lines. Beside a source with steps a log
   without them never owns what another source has. What only it has is placed by the steps of the best source at the time
   its lines came. When the first source with steps appears late, the run starts over on its axis.

==============================  ===========================  ==================================  =======================
a row of a source that          up to the owner's step       beyond it, the owner lives          beyond it, it is silent
==============================  ===========================  ==================================  =======================
owns the metric                 counts                       counts                              counts
is better than the owner        a copy                       counts, becomes the owner           counts, becomes the owner
is worse than the owner         a copy                       waits                               counts, becomes the owner
is a later attempt              waits                        waits                               counts, takes the place
has no steps, the owner has     a copy                       a copy                              a copy
==============================  ===========================  ==================================  =======================
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from lrwatch.core.names import role
from lrwatch.core.sample import Axis, Batch, Column, Ints
from lrwatch.sources.attempts import attempt
from lrwatch.sources.merging import up_to
from lrwatch.sources.source import MAX_PATIENCE, Rank, Source

# Later reads of a source with steps after which it has told all that was known when a line without a step came: what it
# had written then, and what it wrote next.
LATER_READS = 2
# Metrics of a source whose first value is remembered.
MAX_METRICS = 256

_AXES: tuple[Axis, ...] = ("step", "epoch", "record")
# Metrics of these roles are one metric, whatever they are called; and what people call that.
_WORDS = {"train_loss": "training loss", "val_loss": "validation loss", "lr": "learning rate"}


def metric_key(metric: str, wanted: str | None = None) -> str:
    """Return the name under which `metric` has one owner: its role for losses and rates, else itself.

    Args:
        metric: Name of the metric.
        wanted: The metric that the user named; it is itself.
    """
    kind = role(metric)
    return kind if kind in _WORDS and metric != wanted else metric


class Heard(NamedTuple):
    """What a run takes from a part of a batch.

    Attributes:
        batch: The samples that count.
        copies: Number of samples that do not.
        anew: Whether the run starts over with them, on another axis.
    """

    batch: Batch
    copies: int = 0
    anew: bool = False


class Ownership:
    """The sources of one run, and who owns what.

    Args:
        wanted: The metric that the user named, or None.

    Attributes:
        axis: What the values that count are counted in; None before there are any.
        owners: Metric key to the name of the source that owns it.
        changes: How often an owner changed, since the process began.
    """

    def __init__(self, wanted: str | None = None) -> None:
        self.axis: Axis | None = None
        self.owners: dict[str, str] = {}
        self.changes = 0
        self._wanted = wanted
        self._sources: dict[str, Source] = {}

    def clock_stepped(self, seconds: float) -> None:
        """Learn that the clock was set by `seconds`: nobody is silent, or waits, for longer because of it."""
        for source in self._sources.values():
            source.alive += seconds
            if source.waits is not None:
                source.waits += seconds

    # ---- sources --------------------------------------------------------------------------------------------------

    def add(self, name: str, now: float, *, rank: Rank | None = None, awaited: bool = False, old: bool = False) -> None:
        """Take in a source, unless it is known.

        Args:
            name: Its name, a path.
            now: Seconds since the epoch.
            rank: Its rank, where that is known before anything was read.
            awaited: Whether it is waited for before it has said anything.
            old: Whether its files were not written to for `PATIENCE` seconds.
        """
        if name not in self._sources:
            self._sources[name] = Source(len(self._sources), rank, awaited, alive=now, old=old)

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources, in the order in which they were added."""
        return tuple(self._sources)

    @property
    def old(self) -> list[str]:
        """The sources that were old when they were added, and that nobody has written to since."""
        return [name for name, source in self._sources.items() if source.old]

    def renewed(self, name: str) -> None:
        """Take note that a file of a source was written to."""
        self._sources[name].old = False

    def arrived(self, name: str, rank: Rank, axis: Axis, now: float) -> None:
        """Take note that rows of a source came.

        Args:
            name: The source.
            rank: Its rank.
            axis: What its steps count.
            now: Seconds since the epoch.
        """
        source = self._sources[name]
        pause = now - source.alive
        if source.pause < pause <= MAX_PATIENCE:
            source.pause = pause
        source.rank, source.axis, source.alive, source.silent = rank, axis, now, False
        source.reads += 1
        if axis != "step":
            source.marks = {
                other: there.reads + LATER_READS
                for other, there in self._sources.items()
                if there.axis == "step" and (there.reads or there.awaited)
            }

    def order(self) -> list[str]:
        """Return the sources, the best first."""
        return sorted(self._sources, key=lambda name: self._sources[name].place)

    def better(self, name: str) -> list[str]:
        """Return the sources that are better than one."""
        place = self._sources[name].place
        return [other for other, source in self._sources.items() if source.place < place]

    def reach(self) -> int | None:
        """Return the step up to which the best source with steps was heard."""
        heard = [s for s in self._sources.values() if s.axis == "step" and s.reach is not None and s.rank is not None]
        return min(heard, key=lambda source: source.place).reach if heard else None

    def has_steps_beside(self, name: str) -> bool:
        """Whether another source counts steps, or will, where this one does not."""
        return self._sources[name].axis != "step" and any(
            source.axis == "step" and (source.reads > 0 or source.awaited)
            for other, source in self._sources.items()
            if other != name
        )

    def may_count(self, name: str, metric: str) -> bool:
        """Whether a value of `metric` in a source would count while all better sources live."""
        owner = self.owners.get(metric_key(metric, self._wanted), name)
        return owner == name or self._sources[name].place < self._sources[owner].place

    # ---- rows -----------------------------------------------------------------------------------------------------

    def free(self, name: str, batch: Batch, now: float, unread: Mapping[str, int | None], *, final: bool) -> int:
        """Return how many of the first rows of `batch` need not wait.

        Args:
            name: The source.
            batch: Its next rows, at least one.
            now: Seconds since the epoch.
            unread: The sources that are not at their end, with the step of their next row where that is known.
            final: The logs are complete.
        """
        source = self._sources[name]
        self._judge_attempt(name, batch, unread)
        free = batch.rows
        for other in self.better(name):
            if free and not self._is_over(other, source, now, unread, final=final):
                free = min(free, self._passed(name, other, batch.steps, unread.get(other)))
        if free == 0 and source.waits is None:
            source.waits = now
        elif free:
            source.waits = None
        return free

    def _passed(self, name: str, other: str, steps: Ints, upcoming: int | None) -> int:
        """Return how many of `steps` a better source, which is not over and continues at `upcoming`, has passed."""
        source, there = self._sources[name], self._sources[other]
        if source.is_later and attempt(name).follows(attempt(other)):
            return 0
        if source.axis != there.axis:
            return len(steps) if there.reads >= source.marks.get(other, 0) and there.reads else 0
        reach = there.reach
        if reach is not None and upcoming is not None and reach < upcoming:
            reach = upcoming - 1
        return 0 if reach is None else up_to(steps, reach)

    def _is_over(
        self, other: str, source: Source, now: float, unread: Mapping[str, int | None], *, final: bool
    ) -> bool:
        """Whether nothing more is expected of a better source."""
        there = self._sources[other]
        if other in unread:
            return False
        if final or there.old or there.silent or not (there.reads or there.awaited):
            return True
        if source.waits is not None and now - max(there.alive, source.waits) >= there.patience:
            there.silent = True
        return there.silent

    def hear(self, name: str, part: Batch, unread: Mapping[str, int | None] | None = None) -> Heard:
        """Take the next rows of a source, which are free.

        Args:
            name: The source.
            part: The rows.
            unread: As `free` has it: a source whose next row lies further was heard up to this part.

        Returns:
            What counts of them.
        """
        source = self._sources[name]
        if not part.rows:
            return Heard(part)
        anew = self._take_axis(name, part.axis)
        if part.axis != self.axis:
            return Heard(replace(part, columns={}), len(part))
        last = int(part.steps[-1])
        for other in self.better(name):
            there, upcoming = self._sources[other], (unread or {}).get(other)
            if upcoming is not None and there.axis == "step" and there.reach is not None:
                there.reach = max(there.reach, min(last, upcoming - 1))
        if source.is_later:
            self._take_place(name)
        columns: dict[str, Column] = {}
        copies = 0
        for metric, column in part.columns.items():
            key = metric_key(metric, self._wanted)
            start = self._first_that_counts(name, key, part.steps_of(column))
            copies += start
            if start < len(column.rows):
                self.changes += self.owners.get(key) != name
                self.owners[key] = name
                columns[metric] = column if start == 0 else Column(column.rows[start:], column.values[start:])
                if key not in source.first and len(source.first) < MAX_METRICS:
                    source.first[key] = _first(part.steps_of(column), column)
        source.reach = last
        return Heard(part if len(part) and not copies else replace(part, columns=columns), copies, anew)

    def _first_that_counts(self, name: str, key: str, steps: Ints) -> int:
        """Return the index of the first of the values of a metric, at `steps`, that is no copy."""
        if key == "lr" and any(
            there.rank == Rank.CLIENT and there.reads and not there.silent
            for other, there in self._sources.items()
            if other != name
        ):
            return len(steps)
        owner = self.owners.get(key, name)
        if owner == name:
            return 0
        reach = self._sources[owner].reach
        if self._sources[name].axis != self.axis:  # it is placed by the steps of others
            return len(steps)
        return 0 if reach is None else up_to(steps, reach)

    def _take_axis(self, name: str, axis: Axis) -> bool:
        """Turn to a better axis, or to another of the only source. Return whether the run starts over."""
        if self.axis is None or axis == self.axis:
            self.axis = axis
            return False
        others = {owner for owner in self.owners.values() if owner != name}
        if others and _AXES.index(axis) > _AXES.index(self.axis):
            return False
        self.axis = axis
        if not others:
            return False
        self.owners = {}
        for source in self._sources.values():
            if source.axis != axis:
                source.reach = None
        return True

    # ---- attempts -------------------------------------------------------------------------------------------------

    def _judge_attempt(self, name: str, batch: Batch, unread: Collection[str]) -> None:
        """Decide, once, whether a source is a later attempt of an owner that it goes back behind."""
        source = self._sources[name]
        if source.is_later is not None or source.first:
            return
        here = attempt(name)
        for metric, column in batch.by_first_row():
            key = metric_key(metric, self._wanted)
            owner = self.owners.get(key)
            if owner is None or owner == name:
                continue
            there = self._sources[owner]
            if there.rank != source.rank or there.axis != source.axis or not here.follows(attempt(owner)):
                continue
            step, value = _first(batch.steps_of(column), column)
            begins = there.first.get(key)
            goes_back = there.reach is not None and step <= there.reach
            if goes_back or owner not in unread:
                source.is_later = goes_back and begins is not None and [step, value] != begins
            return

    def _take_place(self, name: str) -> None:
        """Let a later attempt own what the earlier ones owned, in the place of the first of them."""
        source, here = self._sources[name], attempt(name)
        before = [other for other in self.better(name) if here.follows(attempt(other))]
        self.owners = {key: name if owner in before else owner for key, owner in self.owners.items()}
        orders = sorted([source.order, *(self._sources[other].order for other in before)])
        for other, order in zip([name, *sorted(before, key=lambda one: self._sources[one].order)], orders, strict=True):
            self._sources[other].order = order
        source.is_later = False

    # ---- what is known, in words, and saved -----------------------------------------------------------------------

    def role_of(self, name: str) -> str:
        """Return what a source is to the run, in words."""
        source = self._sources[name]
        owned = sorted(_WORDS.get(key, key) for key, owner in self.owners.items() if owner == name)
        if owned:
            return f"gives {', '.join(owned)}"
        if source.waits is not None and source.reach is None:
            return "waits for a better log"
        return "a copy" if source.reads else "nothing read yet"

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values."""
        sources = {name: asdict(source) for name, source in self._sources.items()}
        return {"axis": self.axis, "owners": dict(self.owners), "sources": sources}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        self.axis, self.owners = state["axis"], dict(state["owners"])
        self._sources = {name: Source(**source) for name, source in state["sources"].items()}


def _first(steps: Ints, column: Column) -> list[Any]:
    """Return the first step and value of a metric; text, so that all NaN are one."""
    return [int(steps[0]), repr(float(column.values[0]))]
