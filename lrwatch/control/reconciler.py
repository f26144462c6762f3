"""Reconciliation of one run: commands to a trainer (desired state) and its acknowledgements (observed state).

One command at a time is in flight. It is journalled and saved before it is published. At every turn what lies in the directory
is compared with it, and put back where it is something else: a file that was lost, damaged or written over costs a turn. That does no
harm, because the trainer takes a generation once. The command ends with the trainer's answer, or when the trainer has passed its
last step without having read it. The scale that the trainer reports overrides the daemon's own.

A state that cannot be read is not one that is absent. The trainer that was heard last is still there, until its state is gone,
it says goodbye, or its process is seen to be gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lrwatch.control.directory import ControlDirectory
from lrwatch.control.token import Lease
from lrwatch.core.checkpoint import Checkpointed
from lrwatch.protocol import MAX_INT, Desired, Observed, ProtocolError, RejectionCode, asdict, replace

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
    """A new observed state, with its meaning for the command in flight.

    Attributes:
        kind: `hello` when a trainer starts or restarts, or when this daemon takes it over from another one; `acknowledged`, or `rejected`.
        observed: The state as the trainer wrote it.
        generation: The command that it responds to; 0 for `hello`.
        desired: That command, or None for `hello`.
        code: Why the command is over, where the trainer did not say so itself; else None.
        taken_over: Whether the `hello` is of a trainer that this daemon takes over: another one has commanded it since.
    """

    kind: Literal["hello", "acknowledged", "rejected"]
    observed: Observed
    generation: int = 0
    desired: Desired | None = None
    code: RejectionCode | None = None
    taken_over: bool = False


class Reconciler(Checkpointed):
    """The daemon's end of one control directory.

    Args:
        control: The directory.
        state: State of an earlier reconciler of the same run, or None.
        claims_at_once: Whether to take the control as soon as there is a trainer. Otherwise the first command does: a daemon that only
            suggests takes it from nobody.
        owner: Name of the daemon's state: see `Lease`.

    Attributes:
        control: The directory.
        observed: The newest state that the trainer wrote and that could be read, or None.
        pending_since: When the command in flight was prepared, in seconds since the epoch; None without one.
        lease: The right to command the trainer, and the other daemon that has it, if one has.
        gone: Whether the trainer has said goodbye or its process is gone; who knows sets it.
    """

    SAVED = ("_generation", "_incarnation", "pending_since")

    def __init__(
        self,
        control: ControlDirectory,
        state: Mapping[str, Any] | None = None,
        *,
        claims_at_once: bool = True,
        owner: str = "",
    ) -> None:
        self.control = control
        self._claims_at_once = claims_at_once
        self.observed: Observed | None = None
        self.pending_since: float | None = None
        self.lease = Lease(control.path, owner)
        self.gone = False
        self._unleased = self._unwritten = self._exhausted = ""  # why, as a sentence
        self._desired: Desired | None = None
        self._claimed = self._took_over = False
        self._generation = 0
        self._incarnation: str | None = None
        # Monotonic time and step of the first report of this trainer that this daemon read.
        self._first_report: tuple[float, int] | None = None
        self._reported_at = 0.0
        self._now = 0.0
        if state is not None:
            self.restore(state)

    @property
    def token(self) -> int:
        """Fencing number under which this daemon commands the run; 0 until it claims one."""
        return self.lease.token

    @property
    def fenced(self) -> bool:
        """Whether another daemon commands the run, so that this one writes nothing."""
        return bool(self.lease.rival)

    @property
    def problem(self) -> str:
        """The reason why no token could be claimed or no command written, as a sentence, or ""."""
        return self._exhausted or self._unleased or self._unwritten

    @property
    def attached(self) -> bool:
        """Whether a trainer has said hello and is not known to be gone."""
        known = self._incarnation is not None and self.observed is not None
        return known and not (self.gone or self.control.is_absent or self._generation >= MAX_INT)

    @property
    def pending(self) -> Desired | None:
        """The command in flight."""
        return self._desired

    def look(self, now: float) -> Acknowledgement | None:
        """Read the observed state.

        Args:
            now: Monotonic seconds.

        Returns:
            What is new in it, or None.
        """
        self._now = now
        observed = self.control.read_observed()
        if observed is None:
            return None
        if observed == self.observed:
            self._keep_lease()
            return self._hello_after_takeover(observed)
        if observed.observed_generation >= MAX_INT:  # valid, and no command could follow
            self.control.errors["out_of_range"] += not self._exhausted
            self._exhausted = (
                f"{self.control.path}: the trainer has seen the last number that a command can have, {MAX_INT}, so it takes no other. "
                "Start it again from a checkpoint of before"
            )
            return None
        self._exhausted = ""
        if self._first_report is None or self.observed is None or observed.incarnation != self.observed.incarnation:
            self._first_report = (now, observed.step)
        before, self.observed = self.observed, observed
        self._reported_at = now
        if observed.life == "ended" and observed.incarnation != self._incarnation:
            return self._void(observed)  # it had left before anybody could command it
        self._keep_lease()
        self._generation = max(self._generation, observed.observed_generation, observed.max_generation)
        if observed.incarnation != self._incarnation:
            self._incarnation = observed.incarnation
            self._clear_pending()
            self._took_over = False
            return Acknowledgement("hello", observed)
        return (
            self._hello_after_takeover(observed) or self._answer(observed) or self._changed_by_others(before, observed)
        )

    def _hello_after_takeover(self, observed: Observed) -> Acknowledgement | None:
        """Return a hello where another daemon has commanded the trainer: what this one knows of its scale may be out of date."""
        if not self._took_over or self._incarnation is None or self.gone:
            return None
        self._took_over = False
        self._clear_pending()
        return Acknowledgement("hello", observed, taken_over=True)

    def _answer(self, observed: Observed) -> Acknowledgement | None:
        """Return what a state means for the command in flight, or None where it means nothing."""
        desired = self._desired
        if desired is None:
            return None
        if observed.observed_generation == desired.generation:
            if observed.status == "applied":
                self._clear_pending()
                # The newest token is that of the command which was accepted last. A higher one is of a daemon that used the same number.
                if observed.max_token > desired.token:
                    return Acknowledgement("rejected", observed, desired.generation, desired, code="stale_generation")
                return Acknowledgement("acknowledged", observed, desired.generation, desired)
            if observed.status in ("rejected", "superseded"):
                self._clear_pending()
                return Acknowledgement("rejected", observed, desired.generation, desired)
            return None
        if desired.not_after_step is not None and observed.step > desired.not_after_step:
            # It had not read the command when it was past the last step, so it can only refuse it from here on.
            self._clear_pending()
            return Acknowledgement("rejected", observed, desired.generation, desired, code="expired")
        return None

    def _changed_by_others(self, before: Observed | None, observed: Observed) -> Acknowledgement | None:
        """Return a hello where the scale changes and no command is in flight: another daemon's was, when this one took over."""
        commands = self._claimed and not self.fenced and self._desired is None
        if (
            not commands
            or before is None
            or (before.target_scale or before.scale) == (observed.target_scale or observed.scale)
        ):
            return None
        return Acknowledgement("hello", observed, taken_over=True)

    def _void(self, observed: Observed) -> Acknowledgement | None:
        """Return that the command in flight is void: another trainer has followed the one that it was meant for."""
        desired = self._desired
        if desired is None:
            return None
        self._clear_pending()
        return Acknowledgement("rejected", observed, desired.generation, desired, code="expired")

    def _keep_lease(self, *, closely: bool = False) -> None:
        """Claim a token, once a daemon; later renew the lease, and see whether another daemon has taken it.

        A token that was claimed before counts even if no trainer has read it. A failure is kept in `problem` and tried again.
        """
        if not (self._claimed or self._claims_at_once or self._desired is not None):
            return
        seen, before = self.observed.max_token if self.observed is not None else 0, self.token
        try:
            if self._claimed:
                self.lease.look(seen, self._now, closely=closely)
            else:
                self.lease.claim(max(self.token, seen))
        except (OSError, ProtocolError) as error:
            self._unleased = f"cannot claim {self.control.path}: {_said(error)}"
        else:
            self._claimed, self._unleased = True, ""
            self._took_over = self._took_over or (self.token != before and bool(self.lease.predecessor))

    def _clear_pending(self) -> None:
        self._desired, self.pending_since = None, None

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
        self.pending_since = now
        return self._desired

    @property
    def trainer_step(self) -> int | None:
        """The estimated present step of the trainer: its last report, and its speed since then."""
        if self.observed is None:
            return None
        measured = self._measured_steps_a_second() or 0.0
        return self.observed.step + round(max(measured * (self._now - self._reported_at), 0.0))

    def _steps_a_second(self) -> float:
        measured = self._measured_steps_a_second()
        return float(UNKNOWN_STEPS_A_SECOND) if measured is None else measured

    def _measured_steps_a_second(self) -> float | None:
        assert self.observed is not None
        if self._first_report is None:
            return None
        began, first = self._first_report
        elapsed = self._reported_at - began
        return (self.observed.step - first) / elapsed if elapsed > 0 else None

    def publish(self) -> None:
        """Put the command in flight where the trainer reads it, unless it lies there, or another daemon commands.

        A failure is kept in `problem` and tried again.
        """
        if self._desired is None:
            self._unwritten = ""
            return
        if self._claimed and self.control.holds(self._desired):
            self._unwritten = ""
            return
        self._keep_lease(closely=True)
        if not self._claimed or self.fenced:
            return
        if self._desired.token != self.token:
            self._desired = replace(self._desired, token=self.token)
        try:
            self.control.publish(self._desired)
        except (OSError, ProtocolError) as error:
            self._unwritten = f"cannot write {self.control.path}: {_said(error)}"
        else:
            self._unwritten = ""

    def clock_stepped(self, seconds: float) -> None:
        """Learn that the clock was set by `seconds`: the command in flight has waited as long as it had."""
        if self.pending_since is not None:
            self.pending_since += seconds

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values."""
        desired, observed = self._desired, self.observed
        return {
            **super().state(),
            "token": self.token,
            "desired": None if desired is None else asdict(desired),
            "observed": None if observed is None else asdict(observed),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned; its command is published again."""
        super().restore(state)
        self.lease.token = state["token"]
        self._desired = None if state["desired"] is None else Desired(**state["desired"])
        observed = state.get("observed")
        self.observed = None if observed is None else Observed(**observed)


def _said(error: OSError | ProtocolError) -> str:
    """Return an error without the name of the temporary file that it happened to be about: it is the same error the next time."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
