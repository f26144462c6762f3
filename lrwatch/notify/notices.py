"""Selection of what is worth a message: entries of the journal, and lasting conditions of a run.

The words are those of the journal. A condition stands in no entry: it is looked for in every snapshot, and reported once it has lasted as
long as the alert of that name waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lrwatch.core.events import KINDS, Severity, verdict
from lrwatch.core.life import OVER
from lrwatch.core.proposal import how_to_approve
from lrwatch.core.snapshot import ProposalStatus, RunStatus, Snapshot
from lrwatch.notify.options import NOTICE_KINDS
from lrwatch.notify.quoting import MAX_TITLE, quoted

if TYPE_CHECKING:
    from lrwatch.notify.picture import Plot

# Causes of commands that undo the one before.
_GO_BACK = ("restore", "validation")

# Age of a command, in seconds, from which on the trainer does not answer it.
_UNANSWERED_SECONDS = 600.0

_NOT_ACTING = ("no_step", "some_no_step", "lr_written_in_step", "no_lr")


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to people.

    Attributes:
        kind: One of `NOTICE_KINDS`. severity: That of its kind.
        run: The run's name, as it is. about: The metric, or what else the same kind may be about.
        title, message: What is sent, quoted.
        time: Seconds since the epoch. step: The step of the run, or None.
        event: The entry of the journal with its number, or {} for a condition.
        plot: The curve, or None.
    """

    kind: str
    severity: Severity
    run: str
    about: str
    title: str
    message: str
    time: float
    step: int | None = None
    event: Mapping[str, Any] | None = None
    plot: Plot | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """The identity of the message, to find repetitions."""
        return self.kind, self.run, self.about

    @property
    def entry_id(self) -> int | None:
        """Number of its entry of the journal; None for a condition."""
        return None if self.event is None else self.event["id"]

    def as_json(self) -> dict[str, Any]:
        """Return it as a command reads it; text of logs is in it as it is."""
        return {
            "v": 1, "kind": self.kind, "severity": self.severity, "run": self.run, "step": self.step, "time": self.time,
            "title": self.title, "message": self.message, "event": dict(self.event or {}),
        }  # fmt: skip


def notice(
    kind: str, run: str, what: str, message: str, time: float, *, about: str = "", step: int | None = None,
    event: Mapping[str, Any] | None = None,
) -> Notice:  # fmt: skip
    """Make a notice.

    Args:
        kind: One of `NOTICE_KINDS`.
        run: The run's name.
        what: What happened, as the title says it behind the run.
        message: The same as a sentence, with its numbers.
        time: Seconds since the epoch.
        about: What else the same kind may be about.
        step: The step of the run.
        event: The entry of the journal.
    """
    return Notice(
        kind, NOTICE_KINDS[kind], run, about, quoted(f"{quoted(run, MAX_TITLE // 2)}: {what}", MAX_TITLE), quoted(message),
        time, step, event,
    )  # fmt: skip


def of_entry(entry: Mapping[str, Any]) -> Notice | None:
    """Return what an entry of the journal, in the form of `journal --format json`, is worth; None for most of them."""
    run, time, step = entry["run"], entry["time"], entry.get("step")
    at = "" if step is None else f" at step {step}"

    def made(kind: str, what: str, message: str, about: str = "") -> Notice:
        return notice(kind, run, what + at, message, time, about=about, step=step, event=entry)

    match entry["event"]:
        case "finding":
            return made(
                entry["kind"],
                f"{KINDS[entry['kind']].noun} of {entry['metric']}",
                entry["message"],
                entry["metric"],
            )
        case "life" if entry["life"] in ("lost", "ended", "running"):
            what = "goes on" if entry["life"] == "running" else entry["life"]
            return notice(entry["life"], run, what, entry["message"], time, step=step, event=entry)
        case "command":
            return _of_command(entry, made)
        case "rejected":
            return made("rejected", "the trainer refused a command", entry["message"], entry["code"])
        case "expired":
            return made("expired", f"the proposal of scale {entry['scale']:g} has expired", entry["message"])
        case "effect" if verdict(entry["lower"], entry["upper"]) == "cost progress":
            return made("cost_progress", "a change of the learning rate made it worse", entry["message"])
    return None


def _of_command(entry: Mapping[str, Any], made: Callable[..., Notice]) -> Notice | None:
    state, scale, reason = entry.get("state"), f"scale {entry['scale']:g}", entry["reason"]
    # The digits tell one command from the next, which is no repetition of it.
    about = f"{entry['id']}"
    if state == "sent" and entry["cause"] in _GO_BACK:
        return made("taken_back", f"{scale} takes the last change back", reason, about)
    if state == "sent":
        return made("command", f"{scale} is sent", reason, about)
    if state in (None, "outdated", "history"):
        return None
    asks = _asks(reason, how_to_approve(entry["run"], entry["id"]), entry.get("expires_at"))
    if state == "awaits approval":
        return made("awaiting_approval", f"{scale} waits for approval", asks, about)
    what = f"{scale} is proposed" if state == "suggested" else f"{scale} is proposed ({state})"
    return made("proposal", what, asks, about)


def _asks(reason: str, typed: str, expires_at: int | None) -> str:
    """Return why, and what to type, unless the name of the run had to be changed to be shown: then it cannot be typed."""
    approve = f"approve with: {typed}" if quoted(typed) == typed else "approve as lrwatch status says"
    return f"{reason}; {approve}{'' if expires_at is None else f' before step {expires_at:,}'}"


def of_proposal(run: RunStatus, proposal: ProposalStatus, time: float) -> Notice:
    """Return the notice of a proposal that stands already when its run is first seen, at `time` in seconds since the epoch."""
    asks = _asks(proposal.reason, proposal.approve, proposal.expires_at)
    waits = run.mode in ("approve", "auto")
    kind, what = ("awaiting_approval", "waits for approval") if waits else ("proposal", "is proposed")
    what = f"scale {proposal.scale:g} {what} at step {proposal.step}"
    return notice(kind, run.name, what, asks, time, about=f"{proposal.id}", step=proposal.step)


class _Condition(NamedTuple):
    kind: str
    lasts: float  # seconds before it is reported
    what: str
    says: Callable[[RunStatus], str]


def _waits_for_an_answer(run: RunStatus) -> str:
    if run.pending_seconds <= _UNANSWERED_SECONDS:
        return ""
    return f"a command waits for {run.pending_seconds:.0f} s; the run goes on at scale {run.scale:g}"


_CONDITIONS = (
    _Condition(
        "not_acting", 120.0, "its learning rate is not the one that lrwatch sets",
        lambda run: run.problem if not set(run.trainer_faults).isdisjoint(_NOT_ACTING) else "",
    ),
    _Condition(
        "two_trainers", 120.0, "two processes use one control directory",
        lambda run: run.problem if "two_trainers" in run.trainer_faults else "",
    ),
    _Condition(
        "two_controllers", 0.0, "two daemons command one run",
        lambda run: "another lrwatch commands it now, and commands of this one are refused; end one of the two" if run.fenced else "",
    ),
    _Condition("unacknowledged", 0.0, "the trainer does not answer a command", _waits_for_an_answer),
    _Condition(
        "unreadable", 600.0, "its logs cannot be read",
        lambda run: run.problem if not run.up and run.life not in OVER and not run.trainer_faults else "",
    ),
)  # fmt: skip


class Conditions:
    """The conditions of all runs: since when each of them lasts, and whether it was reported."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], float] = {}
        self._told: set[tuple[str, str]] = set()

    def look(self, snapshot: Snapshot) -> list[Notice]:
        """Return those that have lasted long enough and were not reported yet."""
        found = {
            (run.name, condition.kind): (run, condition, says)
            for run in snapshot.runs
            for condition in _CONDITIONS
            if (says := condition.says(run))
        }
        self._since = {key: self._since.get(key, snapshot.time) for key in found}
        self._told &= found.keys()
        due = [
            key for key in found if key not in self._told and snapshot.time - self._since[key] >= found[key][1].lasts
        ]
        self._told.update(due)
        return [
            notice(condition.kind, run.name, condition.what, says, snapshot.time, step=run.step)
            for run, condition, says in (found[key] for key in due)
        ]
