"""`Mover` gives the adapter its scales: at once, along a ramp, and below them during a warm start.

It runs in the training thread.
"""

from __future__ import annotations

from lrwatch.client.adapter import Adapter
from lrwatch.client.handoff import Handoff
from lrwatch.client.interlock import Limits, ScaleState, bounded
from lrwatch.client.ramp import Ramp, warm_start_factor
from lrwatch.protocol import Desired, replace

# A warm start ends by itself when so many optimizer steps more than its own length pass without a word of the training: a
# script that never calls `Client.step` must not stay at a tenth of its learning rate.
LAPSE_STEPS = 100


class Mover:
    """Keeps `Handoff.scale_state` and the adapter at the same scale; `Handoff.moves` says whether `advance` has something to do.

    Args:
        box: Holds the scale in force.
        adapter: Takes the scales.
        limits: The bounds of the run. Every move keeps `max_factor_down` and `max_factor_up`, also where a script's own
            step numbers leap over a part of the ramp: then the ramp takes longer.

    Attributes:
        factor: Factor of the warm start that is in force, 1 without one.
    """

    def __init__(self, box: Handoff, adapter: Adapter, limits: Limits) -> None:
        self.factor = 1.0
        self._box = box
        self._adapter = adapter
        self._limits = limits

    @property
    def scale(self) -> float:
        """The multiplier of the next optimizer step, warm start included."""
        return self._box.scale_state.scale * self.factor

    def warm_up(self, until: int) -> None:
        """Begin a warm start, before the first optimizer step; an adapter that does not take it is asked again later.

        Args:
            until: Its last optimizer step.
        """
        self._enter(replace(self._box.scale_state, warm_until=until))
        self.advance(self._box.step)

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
        state = ScaleState(
            before.scale, desired.generation, before.commands + 1, first, warm_until=before.warm_until
        )  # fmt: skip
        self._enter(state)
        ramp = Ramp(before.scale, desired.scale, first, desired.ramp_steps) if desired.ramp_steps > 1 else None
        scale = desired.scale if ramp is None else ramp.at(first)
        self._set(scale, self.factor)
        self._enter(replace(state, scale=scale, ramp=ramp))

    def restore(self, state: ScaleState, step: int) -> None:
        """Use the scale of `state` from the next optimizer step on, and go on with its ramp and its warm start.

        Args:
            state: The state.
            step: Optimizer steps done.

        Raises:
            Exception: The adapter did not take it. The state before stays in force.
        """
        if state.warm_until is not None and step >= state.warm_until:
            state = replace(state, warm_until=None)
        self._set(state.scale, warm_start_factor(step, state.warm_until))
        self._adapter.forget()
        self._enter(state)

    def rest(self, generation: int) -> None:
        """Stay at the scale that a ramp has reached, as the command with this number asks."""
        self._enter(replace(self._box.scale_state, generation=generation, ramp=None))

    def advance(self, step: int) -> bool:
        """Set the scale of the next optimizer step, on the way to the end of a ramp or a warm start.

        An adapter that does not take it is counted, and tried again after the next step.

        Args:
            step: Optimizer steps done.

        Returns:
            Whether the warm start is over now.
        """
        state = self._box.scale_state
        ramp, warm_until = state.ramp, state.warm_until
        scale = state.scale if ramp is None else bounded(ramp.at(step + 1), state.scale, self._limits)
        factor = warm_start_factor(step, warm_until)
        if scale != state.scale or factor != self.factor:
            try:
                self._set(scale, factor)
            except Exception:  # noqa: BLE001  the user's own callable may raise anything
                self._box.errors["apply"] += 1
                return False
        over = warm_until is not None and step >= warm_until
        if over:
            self._adapter.forget()
        self._enter(
            replace(
                state,
                scale=scale,
                ramp=None if ramp is not None and scale == ramp.to_scale else ramp,
                warm_until=None if over else warm_until,
            )
        )
        return over

    def stop(self) -> None:
        """Stay at the scale in force from now on. A warm start ends at once, since nobody would lead it to its end."""
        self._box.move(False)
        if self.factor != 1.0:
            try:
                self._set(self._box.scale_state.scale, 1.0)
            except Exception:  # noqa: BLE001  the user's own callable may raise anything
                self._box.errors["apply"] += 1

    def _set(self, scale: float, factor: float) -> None:
        self._adapter.set(scale * factor)
        self.factor = factor
        if factor != 1.0:
            self._adapter.lapse((self._box.scale_state.warm_until or 0) + LAPSE_STEPS, scale)

    def _enter(self, state: ScaleState) -> None:
        self._box.scale_state = state
        self._box.move(state.ramp is not None or state.warm_until is not None)
