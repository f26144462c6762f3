"""Reconciliation of one run: commands to a trainer (desired state) and its acknowledgements (observed state).

One command at a time is in flight. It is journalled and saved before it is published, and published again, unchanged,
after a restart; the trainer takes a generation once. The scale that the trainer reports overrides the daemon's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lrwatch.control.directory import ControlDirectory
from lrwatch.core.checkpoint import Checkpointed
from lrwatch.protocol import MAX_INT, Desired, Observed, ProtocolError, asdict, replace

# A command expires when the trainer has not begun it after this many of its steps, two horizons, or as many steps as it
# makes in a minute, whichever is most: the trainer polls every second or so, but it may be a fast one.
EXPIRES_AFTER_STEPS = 1000
EXPIRES_AFTER_SECONDS = 60.0

# Until the trainer's pace is measured, it is assumed to be that of the fastest small models.
UNKNOWN_STEPS_A_SECOND = 10_000

# The token of a command that waits until one can be claimed; it is never published.
UNCLAIMED = 0


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A new observed state, and what it means for the command in flight.

    Attributes:
        kind: `hello` when a trainer starts or restarts, `acknowledged`, or `rejected`.
        observed: The state as the trainer wrote it.
        generation: The command that it responds to; 0 for `hello`.
        desired: That command, or None for `hello`.
    """

    kind: Literal["hello", "acknowledged", "rejected"]
    observed: Observed
    generation: int = 0
    desired: Desired | None = None


class Reconciler(Checkpointed):
    """The daemon's end of one control directory.

    Args:
        control: The directory.
        state: State of an earlier reconciler of the same run, or None.

    Attributes:
        control: The directory.
        observed: The newest state that the trainer wrote and that could be read, or None.
        pending_since: When the command in flight was prepared, in seconds since the epoch; None without one.
        token: Fencing number under which this daemon commands the run; 0 until it claims one.
        fenced: Whether the trainer refused a command because another daemon has a higher token.
        gone: Whether the trainer has said goodbye or its process is gone; who knows sets it.
        problem: Why no token could be claimed or no command written, as a sentence, or "".
    """

    SAVED = ("_generation", "token", "_incarnation", "pending_since")

    def __init__(self, control: ControlDirectory, state: Mapping[str, Any] | None = None) -> None:
        self.control = control
        self.observed: Observed | None = None
        self.pending_since: float | None = None
        self.token = 0
        self.fenced = False
        self.gone = False
        self.problem = ""
        self._desired: Desired | None = None
        self._published = False
        self._claimed = False
        self._exhausted = False
        self._generation = 0
        self._incarnation: str | None = None
        self._first_report = (0.0, 0)  # time and step of the first one that this daemon read of the trainer
        self._reported_at = 0.0
        if state is not None:
            self.restore(state)

    @property
    def attached(self) -> bool:
        """Whether a trainer has said hello, this daemon has read it, and the trainer is still there."""
        return self._incarnation is not None and self.observed is not None and not self.gone

    @property
    def pending(self) -> Desired | None:
        """The command in flight."""
        return self._desired

    def look(self, now: float) -> Acknowledgement | None:
        """Read the observed state.

        Args:
            now: Seconds since the epoch.

        Returns:
            What is new in it, or None.
        """
        observed = self.control.read_observed()
        if observed is None or observed == self.observed:
            return None
        if observed.observed_generation >= MAX_INT:  # valid, and no command could follow
            self.control.errors["out_of_range"] += not self._exhausted
            self._exhausted = True
            self.problem = (
                f"{self.control.path}: the trainer has seen the last number that a command can have, {MAX_INT}"
            )
            return None
        if self._exhausted:
            self._exhausted, self.problem = False, ""
        if self.observed is None or observed.incarnation != self.observed.incarnation:
            self._first_report = (now, observed.step)
        self.observed = observed
        self._reported_at = now
        if observed.life == "ended" and observed.incarnation != self._incarnation:
            return None  # it had left before anybody could command it
        self._claim()
        self._generation = max(self._generation, observed.observed_generation)
        if observed.incarnation != self._incarnation:
            self._incarnation = observed.incarnation
            self._clear_pending()
            return Acknowledgement("hello", observed)
        desired = self._desired
        if desired is None or observed.observed_generation != desired.generation:
            return None
        if observed.status == "applied":
            self._clear_pending()
            return Acknowledgement("acknowledged", observed, desired.generation, desired)
        if observed.status in ("rejected", "superseded"):
            self._clear_pending()
            self.fenced = observed.code == "stale_token"
            return Acknowledgement("rejected", observed, desired.generation, desired)
        return None

    def _claim(self) -> None:
        """Draw a token, once a daemon: a second daemon draws a higher one, and then this one's commands are refused.

        A token that was claimed before counts even if no trainer has read it. A failure is kept in `problem` and
        tried again.
        """
        if self._claimed:
            return
        highest = max(self.token, self.observed.max_token if self.observed is not None else 0)
        try:
            self.token = self.control.claim_token(highest)
        except (OSError, ProtocolError) as error:
            self.problem = f"cannot claim {self.control.path}: {error}"
        else:
            self._claimed, self.problem = True, ""

    def _clear_pending(self) -> None:
        self._desired, self._published, self.pending_since = None, False, None

    def prepare(
        self,
        scale: float,
        *,
        reason: str,
        actor: str,
        horizon: float,
        now: float,
        reload: bool = False,
        ramp_steps: int = 0,
    ) -> Desired:
        """Make a command. `publish` sends it, once it is saved.

        Args:
            scale: Absolute multiplier on the schedule's learning rate.
            reason: Why, in words; cut to the length that the protocol allows.
            actor: The operator's name, or that of lrwatch.
            horizon: Steps over which the run is judged; the command expires no sooner than after two of them.
            now: Seconds since the epoch.
            reload: Whether the trainer is to load its last checkpoint first.
            ramp_steps: Optimizer steps over which the scale moves there; 0 is at once.

        Returns:
            The command, which is now in flight in the place of any other.
        """
        assert self._incarnation is not None
        assert self.observed is not None
        self._generation += 1
        patience = int(max(EXPIRES_AFTER_STEPS, 2 * horizon, EXPIRES_AFTER_SECONDS * self._steps_a_second()))
        self._desired = Desired(
            run=self.observed.run,
            incarnation=self._incarnation,
            generation=self._generation,
            token=self.token if self._claimed else UNCLAIMED,
            scale=scale,
            not_after_step=min(self.observed.step + patience, MAX_INT),
            ramp_steps=ramp_steps,
            reload=reload,
            reason=reason[:1000],
            actor=actor[:128],
            prev="",
        )
        self._published, self.pending_since = False, now
        return self._desired

    def _steps_a_second(self) -> float:
        assert self.observed is not None
        began, first = self._first_report
        elapsed = self._reported_at - began
        return (self.observed.step - first) / elapsed if elapsed > 0 else float(UNKNOWN_STEPS_A_SECOND)

    def publish(self) -> None:
        """Send the command in flight, unless it is sent already; a failure is kept in `problem` and tried again."""
        if self._desired is None or self._published:
            return
        if self._desired.token == UNCLAIMED:
            self._claim()
            if not self._claimed:
                return
            self._desired = replace(self._desired, token=self.token)
        try:
            self.control.publish(self._desired)
        except (OSError, ProtocolError) as error:
            self.problem = f"cannot write {self.control.path}: {getattr(error, 'strerror', None) or error}"  # without the temporary name
        else:
            self._published, self.problem = True, ""

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values."""
        return {**super().state(), "desired": None if self._desired is None else asdict(self._desired)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned; its command is published again."""
        super().restore(state)
        self._desired = None if state["desired"] is None else Desired(**state["desired"])
