"""The events of the core: findings, commands, effects, phases, range tests. Frozen, and plain enough for JSON.

`as_json` gives the form of the contract: `replay --format json` prints it, the journal stores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lrwatch.core.words import percents

Kind = Literal["plateau", "divergence", "nonfinite", "spike", "oscillation", "overfitting", "too_slow", "stalled"]
Severity = Literal["info", "warning", "critical"]


@dataclass(frozen=True, slots=True)
class FindingKind:
    """The words for a kind of finding.

    Attributes:
        noun: One finding of the kind, in words.
        plural: Several of them.
        severity: "info" may be left alone, "warning" wants a look, "critical" means that the run is being lost.
        description: What it says of the run, in one clause.
        label: The kind as a table shows it; the kind itself where that is a word.
    """

    noun: str
    plural: str
    severity: Severity
    description: str
    label: str = ""


KINDS: Mapping[Kind, FindingKind] = {
    "plateau": FindingKind(
        "plateau", "plateaus", "warning", "the mean improves by less per horizon than is worth waiting for"
    ),
    "divergence": FindingKind(
        "divergence", "divergences", "critical", "the metric has left the level that it had reached, and stays away"
    ),
    "nonfinite": FindingKind(
        "run of non-finite values",
        "runs of non-finite values",
        "critical",
        "the metric is NaN or infinite",
        "non-finite",
    ),
    "spike": FindingKind("spike", "spikes", "info", "the metric is far worse for a few values, and comes back"),
    "oscillation": FindingKind(
        "oscillation", "oscillations", "warning", "the learning rate is too high for the curvature"
    ),
    "overfitting": FindingKind(
        "sign of overfitting", "signs of overfitting", "warning", "validation gets worse while training improves"
    ),
    "too_slow": FindingKind(
        "stretch that was too slow",
        "stretches that were too slow",
        "info",
        "the learning rate may be too low",
        "too slow",
    ),
    "stalled": FindingKind(
        "stall", "stalls", "warning", "no sample for much longer than the run takes between samples"
    ),
}
"""All kinds of findings, in the order in which people read them. A new kind is a row here and a word in `Kind`."""


def kind_label(kind: str) -> str:
    """Name a kind of finding as people read it; one of another version as it is.

    >>> kind_label("too_slow"), kind_label("plateau")
    ('too slow', 'plateau')
    """
    known = next((about for name, about in KINDS.items() if name == kind), None)
    return known.label or kind if known else kind


CAUSES = (
    "plateau",
    "probe",
    "restore",
    "anneal",
    "schedule",
    "range_test",
    "rescue",
    "overfitting",
    "too_slow",
    "validation",
    "operator",
)
"""Why there is a command: a plateau, an experiment with a cut, a trial that is taken back, the decay to the end of the run, a strategy that goes by steps, a range test, a run that left
its course, overfitting, a rate that may be too low, a validation loss that got worse since a command, an operator."""

STATES = ("asked", "sent", "applied", "rejected", "proven", "taken_back")
"""What became of commands, as they are counted: decided on, sent, in use, refused by the trainer, measured to have helped, undone."""

Verdict = Literal["helped", "no certain gain", "cost progress"]

# Stands in the message of an effect before what the other losses did.
MEANWHILE = "; meanwhile "

# Standard errors from which on a difference of two levels is no chance. Neighbouring values of a loss may be correlated.
SURE_CHANGE = 3.0

Value = float | int | str | bool | None
Evidence = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding of a detector on one metric at one step: its evidence in numbers, and one sentence."""

    kind: Kind
    metric: str
    step: int
    evidence: Evidence
    message: str


@dataclass(frozen=True, slots=True)
class Command:
    """The wanted scale: an absolute multiplier on the learning rate that the trainer's own schedule gives.

    `scale` is finite and > 0; 1 is untouched. `cause` is one word for counters, `reason` a sentence for people. With `reload`
    the trainer is asked to continue from its last checkpoint, if it can. Over `ramp_steps` optimizer steps the scale moves
    to `scale` along a line; 0 is at once. One that waits for a person is void from step `expires_at` on, and was proposed at
    scale `scale_before`.
    """

    step: int
    scale: float
    reason: str
    cause: str = "plateau"
    reload: bool = False
    ramp_steps: int = 0
    expires_at: int | None = None
    scale_before: float | None = None


@dataclass(frozen=True, slots=True)
class Expired:
    """A proposal that nobody answered is void from `step` on. It proposed `scale` at step `proposed_at`."""

    step: int
    scale: float
    proposed_at: int
    message: str


@dataclass(frozen=True, slots=True)
class Phase:
    """A new phase begins: the curve after `step` is no longer comparable with the curve before.

    `cause` is `start`, `warmup_end`, `lr_change`, `command`, `resume` or `level_shift`.
    """

    step: int
    cause: str
    message: str


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """The line before a command, continued, and the level that came instead.

    Levels are in units of the metric, errors are standard errors.

    Attributes:
        since: The step from which the command was in force.
        before, before_error: The line before, at `since`.
        expected, expected_error: The same line where the effect was measured.
        came, came_error: The level that came, there.
    """

    since: int
    before: float
    before_error: float
    expected: float
    expected_error: float
    came: float
    came_error: float


@dataclass(frozen=True, slots=True)
class LossChange:
    """The change of another loss since a command: a plain difference of two levels.

    Attributes:
        metric: The loss. validation: Whether it is one of validation.
        before, after: Its mean before the command and since, in its own unit.
        error: Standard error of their difference; None where there are too few values for one.
    """

    metric: str
    before: float
    after: float
    error: float | None
    validation: bool

    @property
    def is_sure(self) -> bool:
        """Whether the difference is significant."""
        return self.error is not None and abs(self.after - self.before) > SURE_CHANGE * self.error

    @property
    def got_worse(self) -> bool:
        """Whether it rose significantly."""
        return self.is_sure and self.after > self.before

    @property
    def words(self) -> str:
        """The change as a clause.

        >>> LossChange("val_loss", 1.96, 2.99, 0.02, True).words
        'val_loss rose 53 % (1.96 to 2.99)'
        >>> LossChange("val_loss", 1.96, 1.97, 0.02, True).words
        'val_loss shows no certain change (1.96 to 1.97)'
        """
        levels = f"({self.before:.4g} to {self.after:.4g})"
        if self.error is None:
            return f"{self.metric} went from {self.before:.4g} to {self.after:.4g} (too few values to be certain)"
        if not self.is_sure:
            return f"{self.metric} shows no certain change {levels}"
        size = abs(self.after - self.before)
        share = f"{100 * size / abs(self.before):.2g} %" if self.before else f"by {size:.4g}"
        return f"{self.metric} {'rose' if self.after > self.before else 'fell'} {share} {levels}"


@dataclass(frozen=True, slots=True)
class Effect:
    """The measured effect of an acknowledged command: the level that came against the continued line before it.

    `gain` is relative to the level before: positive is better. `lower` and `upper` bound it at 95 %. `line` has the two
    levels and where they come from; None where only the verdict is known. `others` is what the other losses did meanwhile.
    """

    step: int
    scale: float
    gain: float
    lower: float
    upper: float
    message: str
    line: Counterfactual | None = None
    others: tuple[LossChange, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The verdict of the interval."""
        return verdict(self.lower, self.upper)


def verdict(lower: float, upper: float) -> Verdict:
    """Return the verdict of the 95 % bounds of a gain."""
    return "helped" if lower > 0 else "cost progress" if upper < 0 else "no certain gain"


def effect_in_words(gain: float, lower: float, upper: float) -> str:
    """Format a measured gain for people. A gain of zero or less is `no gain`, whatever its upper bound allows.

    >>> effect_in_words(0.021, 0.0185, 0.0235)
    'helped: 2.10 % better (1.85 to 2.35 %)'
    >>> effect_in_words(-0.002, -0.012, 0.008)
    'no gain: 0.2 % worse (1.2 % worse to 0.8 % better)'
    >>> effect_in_words(0.73, 0.15, 1.31)
    'helped: 73 % better (at least 15 %)'
    >>> effect_in_words(-0.3, -0.5, -0.1)
    'cost progress: 30 % worse (10 to 50 %)'
    """
    judged = verdict(lower, upper)
    word = "no gain" if judged == "no certain gain" and gain <= 0 else judged
    # No loss falls by more than all of it: beyond that a bound says nothing.
    most = min(upper, 1.0) if gain < 1 else upper
    shown, low, high = percents(abs(gain), abs(lower), abs(most), margin=(upper - lower) / 2)
    size = f"{shown} %" if float(shown) == 0 else f"{shown} % {'better' if gain > 0 else 'worse'}"
    if judged == "helped":
        return f"{word}: {size} ({f'at least {low} %' if gain < 1 <= upper else f'{low} to {high} %'})"
    if judged == "cost progress":
        return f"{word}: {size} ({high} to {low} %)"
    return f"{word}: {size} ({low} % worse to {high} % better)"


@dataclass(frozen=True, slots=True)
class RangeTest:
    """The result of a range test. Scales are multipliers on the rate that the trainer's own schedule gives.

    Attributes:
        step: The step at which the scale was restored.
        scales: The scales whose stairs were completed, rising. levels: The metric on each.
        steepest: Where the metric improved fastest, or None. valley: In the middle of the longest improvement, or None.
        diverges: Where the run left its course, or None.
        message: All of it in words.
    """

    step: int
    scales: tuple[float, ...]
    levels: tuple[float, ...]
    steepest: float | None
    valley: float | None
    diverges: float | None
    message: str


Event = Finding | Command | Expired | Phase | Effect | RangeTest


def as_json(event: Event, run: str) -> dict[str, Any]:
    """Return the event as the contract prints it; `run` is the name of the run."""
    match event:
        case Finding():
            return {
                "event": "finding",
                "run": run,
                "metric": event.metric,
                "kind": event.kind,
                "step": event.step,
                "evidence": dict(event.evidence),
                "message": event.message,
            }
        case Command():
            return {
                "event": "command",
                "run": run,
                "step": event.step,
                "scale": event.scale,
                "reason": event.reason,
                "cause": event.cause,
                **({"reload": True} if event.reload else {}),
                **({"ramp_steps": event.ramp_steps} if event.ramp_steps else {}),
                **(
                    {}
                    if event.expires_at is None
                    else {"expires_at": event.expires_at, "scale_before": event.scale_before}
                ),
            }
        case Expired():
            return {"event": "expired", "run": run, **asdict(event)}
        case Phase():
            return {"event": "phase", "run": run, "step": event.step, "cause": event.cause, "message": event.message}
        case Effect():
            return {
                "event": "effect",
                "run": run,
                "step": event.step,
                "scale": event.scale,
                "gain": event.gain,
                "lower": event.lower,
                "upper": event.upper,
                **(asdict(event.line) if event.line is not None else {}),
                **({"others": [asdict(other) for other in event.others]} if event.others else {}),
                "message": event.message,
            }
        case RangeTest():
            return {"event": "range_test", "run": run, **asdict(event)}
