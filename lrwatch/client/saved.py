"""The state of a client in a checkpoint: a JSON-plain dict, checked when it is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lrwatch.client.interlock import Limits, ScaleState
from lrwatch.client.ramp import Ramp
from lrwatch.protocol import MAX_INT, asdict
from lrwatch.protocol.lean import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from typing import Any

# Version of the dict. Keys that came later may be missing, and a reader leaves out those that it does not know.
STATE_VERSION = 1


@dataclass(frozen=True)
class SavedState:
    """The state of a client in a checkpoint.

    Attributes:
        step: Optimizer steps done.
        max_token: Highest token seen.
        scale_state: The scale of the next step, and how it came about.
        total_steps: Length of the run in optimizer steps, or None.
        given_total_steps: The length that `attach` was given, before `Client.extend` corrected it, or None.
    """

    step: int
    max_token: int
    scale_state: ScaleState
    total_steps: int | None = None
    given_total_steps: int | None = None

    def as_plain(self) -> dict[str, Any]:
        """Return the dict."""
        ramp = self.scale_state.ramp
        return {
            "version": STATE_VERSION,
            "step": self.step,
            "max_token": self.max_token,
            "total_steps": self.total_steps,
            "given_total_steps": self.given_total_steps,
            **asdict(self.scale_state),
            "ramp": None if ramp is None else asdict(ramp),
        }


def read_saved(state: Mapping[str, Any], limits: Limits) -> SavedState:
    """Return the state in a dict that `as_plain` made, now or in an earlier version.

    Args:
        state: The dict.
        limits: The bounds of the run.

    Raises:
        ValueError: It cannot be used; a damaged dict may raise anything else.
    """
    if state["version"] != STATE_VERSION:
        raise ValueError(f"version {state['version']!r}, this client knows {STATE_VERSION}")
    scale_state = ScaleState(
        _scale(state["scale"], limits), state["generation"], state["commands"], state["last_step"],
        ramp=_ramp(state.get("ramp"), limits), warm_until=state.get("warm_until"),
    )  # fmt: skip
    lengths = [state.get("total_steps"), state.get("given_total_steps")]
    numbers = [state["step"], state["max_token"], scale_state.generation, scale_state.commands]
    numbers += [number for number in (scale_state.last_step, scale_state.warm_until, *lengths) if number is not None]
    for number in numbers:
        if type(number) is not int or not 0 <= number <= MAX_INT:
            raise ValueError(f"a count is a whole number from 0, found {number!r}")
    return SavedState(state["step"], state["max_token"], scale_state, *lengths)


def _scale(value: object, limits: Limits) -> float:
    scale = float(value)  # type: ignore[arg-type]
    if not limits.min_scale <= scale <= limits.max_scale:
        raise ValueError(f"scale {scale} is outside {limits.min_scale} to {limits.max_scale}")
    return scale


def _ramp(state: Mapping[str, Any] | None, limits: Limits) -> Ramp | None:
    if state is None:
        return None
    ramp = Ramp(float(state["from_scale"]), _scale(state["to_scale"], limits), state["first_step"], state["steps"])
    if not (math.isfinite(ramp.from_scale) and ramp.from_scale > 0):
        raise ValueError(f"a ramp begins at a finite scale greater than 0, found {ramp.from_scale}")
    for number in (ramp.first_step, ramp.steps):
        if type(number) is not int or not 1 <= number <= MAX_INT:
            raise ValueError(f"a step of a ramp is a whole number from 1, found {number!r}")
    return ramp


def check_total_steps(total_steps: object) -> int | None:
    """Return the length of a run in optimizer steps, or None where it is unknown.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is not from 1 to `MAX_INT`.
    """
    if total_steps is None:
        return None
    if type(total_steps) is not int:
        raise TypeError(f"total_steps is a whole number of optimizer steps, or None; found {total_steps!r}")
    if not 1 <= total_steps <= MAX_INT:
        raise ValueError(f"total_steps is 1 or more, found {total_steps}")
    return total_steps
