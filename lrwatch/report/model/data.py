"""Contents of a report: curves, events in their JSON form, facts, and possibly another run to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lrwatch.core.sample import Axis, Floats, Ints

CurveRole = Literal["train", "val", "lr", "other"]

# Half of the largest float: the difference of two levels stays finite.
LARGEST = 8e307


@dataclass(frozen=True, slots=True)
class MetricCurve:
    """One metric of a run, in log order.

    Attributes:
        name: The metric's name, as the log spells it.
        role: Kind of metric. Curves of the role `lr` go into the lower panel, those of the role `other` are not drawn
            unless they are the watched metric.
        steps: Step of each value, shape (n,). May go back, as it does after a resume.
        values: The values, shape (n,). NaN and infinities are values like any other.
        stands_for: Number of values that these stand for, where they are the extremes and the means of more; else 0.

    Raises:
        ValueError: There are not as many steps as values.
    """

    name: str
    role: CurveRole
    steps: Ints
    values: Floats
    stands_for: int = 0

    def __post_init__(self) -> None:
        """Check that every value has its step.

        Raises:
            ValueError: There are more steps than values, or fewer.
        """
        if len(self.steps) != len(self.values):
            raise ValueError(f"curve {self.name!r} has {len(self.steps)} steps and {len(self.values)} values")


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One of several runs on a page.

    Attributes:
        name: The run's name, which its curve has too.
        common: Level of its metric at the last step that all runs have, or None without a finite value.
        end, last: Level at its own end, or None, and the step of it.
        lowest: The lowest value, or None.
        findings: What was found, counted, in words.
        changes: Number of its commands.
        stands: Where it stands, as a sentence, or "".
    """

    name: str
    common: float | None
    end: float | None
    last: int
    lowest: float | None
    findings: str
    changes: int
    stands: str


@dataclass(frozen=True, slots=True)
class RunState:
    """What a run is in, first on its page.

    Attributes:
        badge, tone: In a word or two, and how urgent that is.
        words: The same as a sentence, or "".
        waits: What a person can do, a sentence each.
        sentence: Badge and words in one, as everything else says it.
    """

    badge: str
    tone: str
    words: str
    waits: tuple[str, ...] = ()
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class CurveMark:
    """A change of the learning rate of one of several runs.

    Attributes:
        curve: Name of its curve.
        step: The step.
        words: What changed.
    """

    curve: str
    step: int
    words: str


@dataclass(frozen=True, slots=True)
class ReportData:
    """All that `render` needs; it asks neither a clock nor a file.

    Attributes:
        run: The run's name.
        title: The page's title.
        metric: Name of the watched metric.
        axis: What the steps count.
        curves: The watched metric first, then others, learning rates among them.
        events: Findings, commands, phases and effects as `lrwatch.core.events.as_json` gives them, and the entries of
            the journal (`acknowledged`, `rejected`, `operator`), all in the order in which they happened.
        facts: Label and value, shown as they are: source files, counts, versions.
        compare: The same metric of another run.
        comparison_label: Words that follow "against" and the other run's value, e.g. "without lrwatch".
        standings: Each further metric that is judged and where it stands, in words.
        runs: The runs, on a page about several of them, the best first; empty on a page about one.
        lead: The sentence that sums these up.
        state: What the run is in, or None on a page that says so elsewhere.
        is_over: Whether no further values come, so that the last one is the end.
        marks: Changes of the learning rate that are marked on the curve of their run, on a page about several.
    """

    run: str
    title: str
    metric: str
    axis: Axis
    curves: tuple[MetricCurve, ...]
    events: tuple[Mapping[str, Any], ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    compare: tuple[MetricCurve, ...] = ()
    comparison_label: str = ""
    standings: tuple[tuple[str, str], ...] = ()
    runs: tuple[ComparedRun, ...] = ()
    lead: str = ""
    state: RunState | None = None
    is_over: bool = True
    marks: tuple[CurveMark, ...] = ()
