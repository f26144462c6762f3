"""`Mover` gives the adapter its scales: at once, or one a step along a ramp. It runs in the training thread."""

from __future__ import annotations

from lrwatch.client.adapter import Adapter
from lrwatch.client.handoff import Handoff
from lrwatch.client.interlock import Limits, ScaleState, bounded
from lrwatch.client.ramp import Ramp
from lrwatch.protocol import Desired, replace


class Mover:
    """Keeps `Handoff.scale_state` and the adapter at the same scale.

    Args:
        box: Holds the scale in force.
        adapter: Takes the scales.
        limits: The bounds of the run. Every move keeps `max_factor_down` and `max_factor_up`, also where a script's own
            step numbers leap over a part of the ramp: then the ramp takes longer.

    Attributes:
        moves: Whether `advance` has something to do.
    """

    def __init__(self, box: Handoff, adapter: Adapter, limits: Limits) -> None:
        self.moves = False
        self._box = box
        self._adapter = adapter
        self._limits = limits

    @property
    def scale(self) -> float:
        """The multiplier of the next optimizer step."""
        return self._box.scale_state.scale

    def begin(self, desired: Desired, step: int) -> None:
        """Use the scale of a command from the next optimizer step on, or the first one of its ramp.

        Args:
            desired: The command. The change counts for the bounds, whether or not the adapter takes it.
            step: Optimizer steps done.

        Raises:
            Exception: The adapter did not take it. The scale before stays in force.
        """
        before = self._box.scale_state
        first = step + 1
        state = ScaleState(before.scale, desired.generation, before.commands + 1, first)
        self._enter(state)
        ramp = Ramp(before.scale, desired.scale, first, desired.ramp_steps) if desired.ramp_steps > 1 else None
        scale = desired.scale if ramp is None else ramp.at(first)
        self._adapter.set(scale)
        self._enter(replace(state, scale=scale, ramp=ramp))

    def restore(self, state: ScaleState) -> None:
        """Use the scale of `state` from the next optimizer step on, and go on with its ramp.

        Raises:
            Exception: The adapter did not take it. The state before stays in force.
        """
        self._adapter.set(state.scale)
        self._enter(state)

    def rest(self, generation: int) -> None:
        """Stay at the scale that a ramp has reached, as the command with this number asks."""
        self._enter(replace(self._box.scale_state, generation=generation, ramp=None))

    def advance(self, step: int) -> None:
        """Set the scale of the next optimizer step, on the way to the end of a ramp.

        An adapter that does not take it is counted, and tried again after the next step.

        Args:
            step: Optimizer steps done.
        """
        state = self._box.scale_state
        ramp = state.ramp
        scale = state.scale if ramp is None else bounded(ramp.at(step + 1), state.scale, self._limits)
        if scale != state.scale:
            try:
                self._adapter.set(scale)
            except Exception:  # noqa: BLE001  the user's own callable may raise anything
                self._box.errors["apply"] += 1
                return
        if ramp is not None and scale == ramp.to_scale:
            ramp = None
        self._enter(replace(state, scale=scale, ramp=ramp))

    def _enter(self, state: ScaleState) -> None:
        self._box.scale_state = state
        self.moves = state.ramp is not None
