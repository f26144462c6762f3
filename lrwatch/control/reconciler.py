"""Commands to a trainer and its answers, as a reconciliation of desired and observed state.

One command at a time is in flight. It is journalled and saved before it is published, and published again, unchanged,
after a restart; the trainer takes a generation once. The scale that the trainer reports is the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lrwatch.control.directory import ControlDirectory
from lrwatch.protocol import Desired, Observed, ProtocolError, asdict, replace

# A command expires when the trainer has not begun it after this many of its steps, two horizons, or the steps of a minute,
# whichever is most: the trainer polls every second or so, but it may be a fast one.
EXPIRES_AFTER_STEPS = 1000
EXPIRES_AFTER_SECONDS = 60.0

# Assumed pace of the trainer until it is measured: that of the fastest small models.
UNKNOWN_STEPS_A_SECOND = 10_000

# The token of a command that waits until one can be claimed; it is never published.
UNCLAIMED = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """Meaning of a new observed state.

    Attributes:
        kind: `hello` (a trainer connected or reconnected), `acknowledged` or `rejected`.
        observed: The state itself.
        generation: Number of the command that was answered; 0 with `hello`.
    """

    kind: str
    observed: Observed
    generation: int = 0


class Reconciler:
    """The daemon's end of one control directory.

    Args:
        control: The control directory.
        run: Name of the run.
        state: Result of `state` to continue from, or None.

    Attributes:
        control: The control directory.
        pending_since: Time at which the command in flight was made, in seconds, or None.
        token: Fencing token of this daemon; 0 before it is claimed.
        fenced: A daemon with a higher token controls the run.
        observed: The newest observed state, or None.
        problem: Failure of the newest claim or publication, for people; "" after a success.
    """

    def __init__(self, control: ControlDirectory, run: str, state: Mapping[str, Any] | None = None) -> None:
        self.control = control
        self._run = run
        self._desired: Desired | None = None
        self._published = False
        self._claimed = False
        self._generation = 0
        self.pending_since: float | None = None
        self.token = 0
        self.fenced = False
        self.observed: Observed | None = None
        self.problem = ""
        self._incarnation: str | None = None
        self._first_seen = (0.0, 0)
        self._seen_at = 0.0
        if state is not None:
            self._desired = None if state["desired"] is None else Desired(**state["desired"])
            self._generation, self.token = state["generation"], state["token"]
            self._incarnation, self.pending_since = state["incarnation"], state["pending_since"]

    @property
    def attached(self) -> bool:
        """Whether this daemon has read the hello of a trainer."""
        return self._incarnation is not None and self.observed is not None

    @property
    def pending(self) -> Desired | None:
        """The command in flight, or None."""
        return self._desired

    def look(self, now: float) -> Answer | None:
        """Read the observed state, and return its meaning if it is new, else None."""
        observed = self.control.read_observed()
        if observed is None or observed == self.observed:
            return None
        if self.observed is None or observed.incarnation != self.observed.incarnation:
            self._first_seen = (now, observed.step)
        self.observed = observed
        self._seen_at = now
        self._claim()
        self._generation = max(self._generation, observed.observed_generation)
        if observed.incarnation != self._incarnation:
            self._incarnation = observed.incarnation
            self._settle()
            return Answer("hello", observed)
        desired = self._desired
        if desired is None or observed.observed_generation != desired.generation:
            return None
        if observed.status == "applied":
            self._settle()
            return Answer("acknowledged", observed, desired.generation)
        if observed.status in ("rejected", "superseded"):
            self._settle()
            self.fenced = observed.code == "stale_token"
            return Answer("rejected", observed, desired.generation)
        return None

    def _claim(self) -> None:
        """Claim a token, once a daemon: a second daemon claims a higher one, and then this one's commands are refused.

        Earlier claims count even if the trainer has not received them. A failure is stored in `problem` and tried again.
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

    def _settle(self) -> None:
        self._desired, self._published, self.pending_since = None, False, None

    def order(
        self, scale: float, *, reason: str, actor: str, horizon: float, prev: str, now: float, reload: bool = False
    ) -> Desired:
        """Make a command; `publish` sends it, once it is saved.

        Args:
            scale: Wanted absolute scale.
            reason: A sentence for people.
            actor: Person or program that issued the command.
            horizon: Horizon of the detector in steps; the command expires after two of them at the earliest.
            prev: Hash of the journal entry before this one.
            now: Present time in seconds.
            reload: Whether the training loads its last checkpoint.

        Returns:
            The command.
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
            not_after_step=self.observed.step + patience,
            reload=reload,
            reason=reason[:1000],
            actor=actor[:128],
            prev=prev,
        )
        self._published, self.pending_since = False, now
        return self._desired

    def _steps_a_second(self) -> float:
        assert self.observed is not None
        began, first = self._first_seen
        elapsed = self._seen_at - began
        return (self.observed.step - first) / elapsed if elapsed > 0 else float(UNKNOWN_STEPS_A_SECOND)

    def publish(self) -> None:
        """Publish the command in flight, unless it was published; a failure is stored in `problem` and tried again."""
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
            self.problem = f"cannot write {self.control.path}: {error}"
        else:
            self._published, self.problem = True, ""

    def state(self) -> dict[str, Any]:
        """Return the JSON-plain state."""
        return {
            "desired": None if self._desired is None else asdict(self._desired),
            "generation": self._generation,
            "token": self.token,
            "incarnation": self._incarnation,
            "pending_since": self.pending_since,
        }
