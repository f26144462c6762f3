"""One run at a glance: its state, its progress, and what waits for a person. The page of all runs and the terminal show it.

The first row of the table that holds gives the state of a run; what a run needs gives its place among the others. So
the same run has the same word and the same place wherever it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from lrwatch.core.events import effect_in_words
from lrwatch.core.life import OVER
from lrwatch.core.snapshot import MetricStatus, RunStatus

Tone = Literal["act", "bad", "warn", "good", "plain", "over"]
"""How urgent a state is: a person has to decide, something is wrong, worth a look, all well, nothing to say, over."""

# The order in which runs stand, and how many of them ask for attention.
RANKS: tuple[Tone, ...] = ("act", "bad", "warn", "good", "plain", "over")
ASKING: frozenset[Tone] = frozenset({"act", "bad", "warn"})

# A run is silent when its own gaps do not explain how long nothing came. No sooner than this: a page is no alarm, and an evaluation is
# not worth a look.
SILENT_SECONDS = 60.0

# Share of the values of a curve that may lie above a small picture of it.
CLIPPED = 0.1

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


class Overview(NamedTuple):
    """A run at a glance.

    Attributes:
        name: The run's name.
        tone: How urgent it is, the waiting included.
        state: What it is in, in a word or two. state_tone: How urgent that is by itself.
        words: The state as a sentence without that word, or "". sentence: Where the metric stands, as everything else says it.
        waits: What a person can do, a sentence each.
        step, share: How far it is in words, and as a share of its length where that is known.
        age: Time since the newest sample, in words, or "".
        metric, value: The metric that decides and its newest value, in words, or "".
        scale: The acknowledged scale, and the one that is sent.
        rate: The rate that the optimizer used, in words, or "".
        change: The last change of the rate and what it brought, or "".
        mode: The mode of its controller.
        curve: Means of the metric over the run so far.
    """

    name: str
    tone: Tone
    state: str
    state_tone: Tone
    words: str
    sentence: str
    waits: tuple[str, ...]
    step: str
    share: float | None
    age: str
    metric: str
    value: str
    scale: str
    rate: str
    change: str
    mode: str
    curve: tuple[float, ...]


class _Seen(NamedTuple):
    """A run at a moment, as the table looks at it."""

    run: RunStatus
    metric: MetricStatus | None
    now: float

    @property
    def silence(self) -> float:
        """Seconds since the newest sample, where its gaps do not explain them; else 0."""
        last, patience = self.run.last_sample_time, self.run.patience_seconds
        if last is None or patience is None or self.run.life != "running":
            return 0.0
        silent = self.now - last
        return silent if silent > max(SILENT_SECONDS, patience) else 0.0

    def stands(self, *states: str) -> bool:
        """Whether the metric that decides is in one of these states."""
        return self.metric is not None and self.metric.state in states


class _StateRule(NamedTuple):
    state: Callable[[_Seen], str]
    tone: Tone
    words: Callable[[_Seen], str]
    holds: Callable[[_Seen], bool]


def _says(word: str) -> Callable[[_Seen], str]:
    return lambda _: word


def _problem(seen: _Seen) -> str:
    return seen.run.problem


def _note(seen: _Seen) -> str:
    return seen.run.life_note


def _history(seen: _Seen) -> str:
    """Return how it is known that a run was over before, and where its metric stands at its end: nothing else says so."""
    note = seen.run.life_note
    return f"{seen.metric.words}; {note}" if seen.run.life == "finished" and seen.metric is not None else note


def _stands(seen: _Seen) -> str:
    """Return the sentence about the metric, without the word that stands before it already."""
    if seen.metric is None:
        return "no metric decides so far"
    words = seen.metric.words
    state, colon, rest = words.partition(": ")
    return rest if colon and " since " not in state else words.removeprefix("plateau ")


# The first row that holds decides.
TABLE = (
    _StateRule(_says("lost"), "bad", _note, lambda s: s.run.life == "lost"),
    _StateRule(lambda s: s.run.life, "over", _history, lambda s: s.run.life in OVER),
    _StateRule(
        _says("not judged"), "warn", _problem, lambda s: not s.run.up and bool(s.run.metrics) and s.metric is None
    ),
    _StateRule(_says("not readable"), "bad", _problem, lambda s: not s.run.up and bool(s.run.problem)),
    _StateRule(
        _says("not finite"), "bad", _stands, lambda s: s.metric is not None and not math.isfinite(s.metric.value)
    ),
    _StateRule(_says("silent"), "warn", lambda s: f"no sample for {span(s.silence)}", lambda s: s.silence > 0),
    _StateRule(_says("starting"), "plain", _stands, lambda s: s.run.step is None),
    _StateRule(_says("reading"), "plain", _says("its log is not read to the end yet"), lambda s: s.run.catching_up),
    _StateRule(_says("rising"), "warn", _stands, lambda s: s.stands("rising")),
    _StateRule(_says("plateau"), "warn", _stands, lambda s: s.stands("plateau")),
    _StateRule(_says("improving"), "good", _stands, lambda s: s.stands("improving")),
    _StateRule(_says("cannot tell yet"), "plain", _stands, lambda s: s.stands("cannot_tell_yet")),
    _StateRule(_says("not judged"), "plain", _stands, lambda _: True),
)


def overview(run: RunStatus, now: float) -> Overview:
    """Return a run at a glance.

    Args:
        run: Its status.
        now: Seconds since the epoch.
    """
    metric = next((one for one in run.metrics if one.name == run.metric), None)
    seen = _Seen(run, metric, now)
    row = next(row for row in TABLE if row.holds(seen))
    over = run.life in OVER
    waits = () if over else tuple(_waits(run))
    needs: set[Tone] = {row.tone}
    if not over:
        asks: tuple[tuple[Tone, bool], ...] = (
            ("act", bool(run.proposals)), ("bad", run.fenced or bool(run.trainer_faults)), ("warn", run.held),
        )  # fmt: skip
        needs |= {tone for tone, holds in asks if holds}
    return Overview(
        name=run.name,
        tone=min(needs, key=RANKS.index),
        state=row.state(seen),
        state_tone=row.tone,
        words=row.words(seen),
        sentence=row.words(seen) if metric is None or over else metric.words,
        waits=waits,
        step=_step(run),
        share=min(1.0, run.step / run.total_steps) if run.step is not None and run.total_steps else None,
        age="" if run.last_sample_time is None else ago(now - run.last_sample_time),
        metric=run.metric,
        value="" if metric is None else f"{metric.value:.5g}",
        scale=f"{run.scale:.4g}" if run.wanted is None else f"{run.scale:.4g}, {run.wanted:.4g} sent",
        rate=_rate(run),
        change=_change(run, now),
        mode=run.mode,
        curve=run.curve,
    )


def by_attention(runs: Iterable[RunStatus], now: float) -> list[Overview]:
    """Return the runs at a glance, those first that need a person; runs that need the same stand by their names.

    Args:
        runs: Their status.
        now: Seconds since the epoch.
    """
    return sorted((overview(run, now) for run in runs), key=lambda one: (RANKS.index(one.tone), one.name))


def headline(runs: Iterable[Overview]) -> str:
    """Return how many runs there are and what they need, in a sentence.

    >>> headline([])
    'No run is watched yet.'
    """
    tones = [one.tone for one in runs]
    if not tones:
        return "No run is watched yet."
    kinds: tuple[tuple[str, frozenset[Tone]], ...] = (
        ("waiting for you", frozenset({"act"})), ("in trouble", frozenset({"bad"})), ("worth a look", frozenset({"warn"})),
        ("fine", frozenset({"good", "plain"})), ("over", frozenset({"over"})),
    )  # fmt: skip
    parts = [(sum(tone in of for tone in tones), words) for words, of in kinds]
    counted = ", ".join(f"{count:,} {words}" for count, words in parts if count)
    return f"{len(tones):,} {'run' if len(tones) == 1 else 'runs'}: {counted}."


def heights(values: Sequence[float]) -> list[float]:
    """Return the heights of a curve in a small picture, from 0 for its lowest value to 1.

    The highest values, CLIPPED of all, are as high as the one below them: the first values of a run would flatten the rest.

    >>> heights((9.0, 3.0, 2.0, 1.0))
    [1.0, 1.0, 0.5, 0.0]
    """
    if not values:
        return []
    low, high = min(values), sorted(values)[-1 - round(CLIPPED * len(values) + 0.5)] if len(values) > 2 else max(values)
    if not high > low:
        return [0.5] * len(values)
    # Halves, so that no difference overflows.
    return [min(1.0, (value / 2 - low / 2) / (high / 2 - low / 2)) for value in values]


def span(seconds: float) -> str:
    """Return a span of time in words, rounded down.

    >>> span(8), span(150), span(90_000)
    ('8 s', '2 min', '1 d')
    """
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def ago(seconds: float) -> str:
    """Return how long ago something was.

    >>> ago(0.4), ago(4000)
    ('now', '1 h ago')
    """
    return f"{span(seconds)} ago" if seconds >= 1 else "now"


def _waits(run: RunStatus) -> list[str]:
    """Return what waits for a person, with what to type."""
    waits = [
        f"scale {one.scale:.4g} is proposed; before step {one.expires_at:,}: {one.approve}" for one in run.proposals
    ]
    waits += ["held: no command is sent"] if run.held else []
    waits += ["another daemon commands this run: end one of the two"] if run.fenced else []
    waits += [run.problem] if run.trainer_faults and run.problem else []
    return waits


def _step(run: RunStatus) -> str:
    if run.step is None:
        return ""
    return f"{run.step:,} of {run.total_steps:,}" if run.total_steps else f"{run.step:,}"


def _rate(run: RunStatus) -> str:
    rates = sorted(set(run.effective_lr.values()))
    if not rates:
        return ""
    return f"{rates[0]:.3g}" if len(rates) == 1 else f"{rates[0]:.3g} to {rates[-1]:.3g}"


def _change(run: RunStatus, now: float) -> str:
    if run.applied_time is None:
        return ""
    when = ago(now - run.applied_time)
    if run.effect is None:
        return when
    return f"{when}; {effect_in_words(run.effect.gain, run.effect.lower, run.effect.upper)}"
