"""The settings that decide what lrwatch does with a run, as facts of its page."""

from __future__ import annotations

from lrwatch.core.options import DetectOptions, Horizon, PolicyOptions
from lrwatch.core.words import percent

_MODES = {
    "observe": "says what it sees",
    "suggest": "proposes changes, and sends only what you approve",
    "approve": "asks before each change",
    "auto": "changes the learning rate by itself",
}


def settings_in_words(detect: DetectOptions, policy: PolicyOptions) -> tuple[tuple[str, str], ...]:
    """Return label and value of the settings that matter.

    Args:
        detect: What counts as a plateau.
        policy: What may be done about it.

    >>> for label, value in settings_in_words(DetectOptions(), PolicyOptions()):
    ...     print(f"{label}: {value}")
    Mode: suggest: proposes changes, and sends only what you approve
    Strategy: auto; a cut multiplies the scale by 0.5
    Bounds: scale 0.001 to 1, at most 40 commands
    A plateau is: an improvement of less than 0.5 % over 10% of the run so far; false alarms: 1 % in the whole run
    """
    required = percent(detect.min_improvement) if detect.relative else f"{detect.min_improvement:g}"
    alarms = f"false alarms: {percent(detect.false_alarms)} in the whole run"
    return (
        ("Mode", f"{policy.mode}: {_MODES[policy.mode]}"),
        ("Strategy", f"{policy.strategy}; a cut multiplies the scale by {policy.factor:g}"),
        ("Bounds", f"scale {policy.min_scale:g} to {policy.max_scale:g}, at most {policy.max_commands:,} commands"),
        ("A plateau is", f"an improvement of less than {required} over {Horizon.parse(detect.horizon)}; {alarms}"),
    )
