"""The questions that `lrwatch doctor` asks of one run, and the causes that it finds."""

from __future__ import annotations

import math
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lrwatch.control.directory import ControlDirectory
from lrwatch.control.token import newest_claim
from lrwatch.core.direction import RATHER_RISES, SAY_DIRECTION, sounds_wrong
from lrwatch.core.life import OVER
from lrwatch.core.snapshot import MetricStatus
from lrwatch.daemon.watched_run import WatchedRun
from lrwatch.protocol import Observed
from lrwatch.store import Entry

# A trainer that has counted so many steps without one of its optimizer has another optimizer.
_COUNTED_STEPS = 5

# Seconds without a value after which the training may have ended.
_SILENT_SECONDS = 600.0

# Metrics that a sentence names.
_NAMED = 8


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that keeps lrwatch from acting on a run.

    Attributes:
        run: The run's name.
        cause: What it is, in a word or two.
        text: What it is, as a clause with its numbers.
        remedy: What to do, as a sentence.
    """

    run: str
    cause: str
    text: str
    remedy: str

    def as_json(self) -> dict[str, str]:
        """Return it as `lrwatch doctor --format json` prints it."""
        return asdict(self)


class Examination:
    """One look at one run; each method is one question and gives the causes that it finds."""

    def __init__(
        self,
        run: WatchedRun,
        logs: Sequence[Path],
        control: Path | None,
        journal: Sequence[Entry],
        *,
        problem: str,
        daemon: bool,
    ) -> None:
        self.run = run
        self.name = run.name
        self.quoted = shlex.quote(run.name)
        self.logs = logs
        self.control = control
        self.journal = journal
        self.problem = problem
        self.daemon = daemon
        self.status = run.status(time.time())
        self.options = run.pipeline.options
        directory = None if control is None else ControlDirectory(control)
        self.observed: Observed | None = None if directory is None else directory.read_observed()
        self.faults = {} if directory is None else dict(directory.errors)
        self.metric: MetricStatus | None = next(
            (metric for metric in self.status.metrics if metric.name == self.status.metric), None
        )

    def causes(self) -> Iterator[Cause]:
        """Yield the causes, the most important first; a `ready` one where there is none, and `over` alone where it is that."""
        if self.status.life in OVER:
            what = f"the run {'has ended' if self.status.life == 'ended' else f'is {self.status.life}'}: {self.status.life_note}"
            goes_on = (
                "a daemon notices by itself when it goes on"
                if self.daemon
                else "`lrwatch run` watches it if it goes on"
            )
            do = "See why, and start it again" if self.status.life == "lost" else "Nothing to do"
            yield Cause(self.name, "over", what, f"{do}; {goes_on}.")
            return
        questions: tuple[Callable[[], Iterator[tuple[str, str, str]]], ...] = (
            self._daemon, self._logs, self._metric, self._trainer, self._control_of_others, self._operators, self._budget,
            self._time, self._judgement,
        )  # fmt: skip
        found = [Cause(self.name, *cause) for question in questions for cause in question()]
        if not found:
            found = [
                Cause(
                    self.name, "ready", "nothing is in the way", "lrwatch acts once the metric surely stops improving."
                )
            ]
        yield from found

    def _daemon(self) -> Iterator[tuple[str, str, str]]:
        if not self.daemon:
            path = shlex.quote(str(self._home()))
            yield (
                "no_daemon", "no daemon watches this run now",
                f"Start one: `lrwatch run {path}` suggests, and with `--mode auto` it acts.",
            )  # fmt: skip

    def _home(self) -> Path:
        """Return what a daemon is to watch: the log, or the directory of several, or of the client's own."""
        if self.control is not None and any(self.control in log.parents for log in self.logs):
            return self.control.parent
        return Path(os.path.commonpath(self.logs)) if self.logs else Path("PATH")

    def _logs(self) -> Iterator[tuple[str, str, str]]:
        missing = [str(log) for log in self.logs if not log.exists()]
        if not self.logs or len(missing) == len(self.logs):
            what = f"{', '.join(missing)} is not there" if missing else "it has no log"
            yield "no_log", what, "Check the path, and where the training writes."
            return
        names = [metric.name for metric in self.status.metrics]
        if not names:
            log = shlex.quote(str(self.logs[0]))
            what = self.problem or "nothing so far that could be understood as a metric"
            yield "no_metric", what, f"`lrwatch read --explain {log}` says what each line gives."
        elif self.problem and self.metric is not None:  # without the metric `no_loss` says it
            yield "problem", self.problem, "Repair that first."
        last = self.status.last_sample_time
        if last and self.daemon and time.time() - last > _SILENT_SECONDS:
            minutes = (time.time() - last) / 60
            yield (
                "silent",
                f"no new value for {minutes:.0f} minutes",
                "Check that the training still runs, and where it writes.",
            )

    def _metric(self) -> Iterator[tuple[str, str, str]]:
        names = [metric.name for metric in self.status.metrics]
        if names and self.metric is None:
            listed = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
            wanted = self.status.metric
            what = f"no metric is called {wanted!r}" if wanted else "no metric looks like a loss"
            yield (
                "no_loss",
                f"{what}; the log has {listed}",
                'Name one: `lrwatch run --metric NAME ...`, or [run] metric; one that should rise needs [detect] direction = "max" too.',
            )
        elif self.metric is not None and sounds_wrong(self.metric.name, self.run.pipeline.detect.direction):
            yield "direction", f"{self.metric.name} {RATHER_RISES}", SAY_DIRECTION

    def _trainer(self) -> Iterator[tuple[str, str, str]]:
        mode = self.options.mode
        if self.daemon and mode in ("observe", "suggest"):
            what = (
                "it reports, and proposes nothing"
                if mode == "observe"
                else f"it proposes, and sends only what you approve (`lrwatch approve {self.quoted} ID`)"
            )
            yield "mode", f"in mode {mode} {what}", "To let it act by itself: `lrwatch run --mode auto`."
        if self.faults:
            codes = ", ".join(sorted(self.faults))
            yield (
                "control_directory", f"{self.control}/observed.json cannot be used ({codes})",
                "Run daemon and training as the same user, and `chmod 700` the directory.",
            )  # fmt: skip
            return
        observed = self.observed
        if observed is None:
            if mode in ("approve", "auto") or not self.daemon:
                yield (
                    "no_trainer", f"no trainer listens in {self.control}" if self.control else "only its logs are watched",
                    f"Two lines in the loop: watch = lrwatch.attach(optimizer, {str(self.control or self._home() / 'lrwatch')!r}), watch.step(loss=loss).",
                )  # fmt: skip
            return
        counted = observed.step - (observed.resumed_from_step or 0)
        if counted == 0 and (self.status.step or 0) >= _COUNTED_STEPS:
            yield (
                "no_steps",
                "the trainer listens, but has counted no step",
                "Call watch.step() once per optimizer step.",
            )
        elif counted >= _COUNTED_STEPS and _is_torch(observed) and not observed.schedule_lr and not observed.warm_until:
            yield (
                "not_stepping",
                f"the trainer has counted {counted:,} steps, and the optimizer that was given to attach has made none",
                "Give attach the optimizer that steps, after everything that wraps or replaces it.",
            )  # fmt: skip

    def _control_of_others(self) -> Iterator[tuple[str, str, str]]:
        reconciler = self.run.commands.reconciler
        claim = None if self.control is None else newest_claim(self.control)
        if claim is None or reconciler is None or not 0 < reconciler.token < claim.token:
            return
        who = f"process {claim.pid} on {claim.host} has token {claim.token}, this daemon has {reconciler.token}"
        remedy = "Stop one of the two daemons; the one that is left commands a minute later."
        if reconciler.observed is not None and reconciler.observed.max_token > reconciler.token:
            yield "fenced", f"the trainer refuses this daemon: {who}", remedy
        else:
            yield "other_daemon", f"another daemon has taken the control: {who}", remedy

    def _operators(self) -> Iterator[tuple[str, str, str]]:
        commands = self.run.commands
        if commands.held:
            event = next(
                (
                    e.event
                    for e in reversed(self.journal)
                    if e.event["event"] == "operator" and e.event["verb"] == "hold"
                ),
                {},
            )
            who = f"{event['actor']} holds the run since step {event['step']}" if event else "the run is held"
            yield "held", who, f"`lrwatch resume {self.quoted}` lets commands through."
        for entry, proposal in commands.proposals.items():
            if self.options.mode in ("suggest", "approve") and not commands.held:
                yield (
                    "awaits_approval", f"scale {proposal.scale:g} waits for a person",
                    f"`lrwatch approve {self.quoted} {entry}`, or `deny`.",
                )  # fmt: skip
        reconciler = commands.reconciler
        if reconciler is not None and (pending := reconciler.pending) is not None:
            yield (
                "in_flight", f"scale {pending.scale:.4g} is sent and not yet acknowledged",
                "The trainer answers at its next step; check that it calls watch.step().",
            )  # fmt: skip

    def _budget(self) -> Iterator[tuple[str, str, str]]:
        count, most = self.run.pipeline.command.count, self.options.max_commands
        if count >= most:
            yield (
                "budget_spent",
                f"all {most} commands of the run are used ({count} so far)",
                "Raise [policy] max_commands and restart the daemon.",
            )
        limits = {} if self.observed is None else self.observed.limits
        if limits.get("commands", 0) >= limits.get("max_commands", float("inf")):
            yield (
                "budget_spent", f"the trainer has taken all of its {limits['max_commands']:g} commands",
                "Start it from its checkpoint with attach(..., max_commands=) larger.",
            )  # fmt: skip

    def _time(self) -> Iterator[tuple[str, str, str]]:
        step, pipeline = self.status.step, self.run.pipeline
        if step is None:
            return
        observed = self.observed
        until = 0 if observed is None else int(max(observed.limits.get("warmup_steps", 0), observed.warm_until or 0))
        if observed is not None and observed.step < until:
            yield "warmup", f"the trainer warms up until step {until:,}; it is at step {observed.step:,}", "Wait."
        elif step < self.options.warmup_steps:
            yield (
                "warmup",
                f"lrwatch sends no command before step {self.options.warmup_steps:,}",
                "Wait, or lower [policy] warmup_steps.",
            )
        elif pipeline.rate_rises:
            yield "warmup", "the learning rate in the log still rises", "Wait until its warmup is over."
        elif pipeline.rate_moves:
            yield (
                "schedule_moves", "the trainer's own schedule moves the learning rate, so lrwatch leaves it alone",
                "Let the schedule end, or train at a constant rate and let lrwatch choose.",
            )  # fmt: skip
        quiet = pipeline.command.quiet_until
        if quiet > step:
            yield (
                "quiet",
                f"after the last command, nothing is tried before step {quiet:,.0f}",
                f"Wait; the run is at step {step:,}.",
            )

    def _judgement(self) -> Iterator[tuple[str, str, str]]:
        metric = self.metric
        if metric is None or not metric.watched:
            return
        said = f"{metric.name}: {metric.words}"
        match metric.state:
            case "improving":
                yield "improving", said, "Nothing to do: a run that improves is left alone."
            case "cannot_tell_yet":
                yield (
                    "cannot_tell",
                    said,
                    "Wait, or choose a smoother metric, such as a validation loss, with [run] metric.",
                )
            case "not_judged" if not math.isfinite(metric.value):
                yield (
                    "not_finite", said,
                    "Stop the training, and go on from its last good checkpoint with a lower rate; strategy `rescue` does that by itself.",
                )  # fmt: skip
            case "not_judged":
                yield "not_judged", said, "Choose another metric with `--metric NAME` or [run] metric."
            case _:
                pass
        if self.status.step and metric.state != "improving" and not self.run.pipeline.metrics.improved(metric.name):
            yield (
                "not_improved", f"{metric.name} has not surely improved since the run began, so being flat is not yet a plateau",
                "Wait, or check that the training learns at all.",
            )  # fmt: skip


def _is_torch(observed: Observed) -> bool:
    words = observed.client.split()
    return len(words) > 2 and words[2] == "torch"
