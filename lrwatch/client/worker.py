"""The only thread of the client that uses the disk, so that the training never waits for it.

Each round: take the news of the training thread, read `desired.json` and the override file, append the waiting metrics,
publish `observed.json`. The decisions are in `judge`. An error is counted and the part is tried again in the next round.

One file because the parts of a round share all of its state, and the order in which they come is what has to be read.
"""

from __future__ import annotations

import atexit
import math
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

from lrwatch._version import __version__
from lrwatch.client.adapter import Adapter, LearningRates
from lrwatch.client.files import CommandFile, ControlFolder
from lrwatch.client.handoff import Handoff, Resumed, WarmStartOver
from lrwatch.client.interlock import bounds_in_force
from lrwatch.client.judge import (
    LEFTOVER,
    Decision,
    Rules,
    WorkerState,
    answer_override,
    check_reach,
    conclude,
    judge_command,
    judge_override,
    resume,
)
from lrwatch.client.message import floats, message_of
from lrwatch.client.metrics import METRICS_BYTES, MetricsFile
from lrwatch.client.notices import NOT_ACTING_WORDS, TWO_TRAINERS
from lrwatch.client.override import Override, OverrideFile
from lrwatch.client.rivals import Rivals
from lrwatch.protocol import (
    EVIDENCE_NAME,
    MAX_TEXT,
    OBSERVED_NAME,
    Goodbye,
    Observed,
    ProtocolError,
    decode_desired,
    encode,
    own_process,
    publish,
    replace,
    sweep,
)
from lrwatch.protocol.lean import dataclass

# Rounds in a row that end in an unexpected error, until the worker gives up: it is broken and will stay so.
MAX_FAILURES = 10
# A look starts this share of a poll interval after the one before: waking up and reading take their time, and the time from
# a command on disk to its first step must not exceed a poll interval and a step.
PUNCTUAL = 0.95
# Time that the end of the training may wait for the last flush; a hung file system must not hold up a cluster.
CLOSE_SECONDS = 2.0


@dataclass(frozen=True)
class Publication:
    """The newest content of `observed.json`: state and the like, step, and monotonic time in seconds."""

    content: tuple[object, ...] = ()
    step: int = -1
    time: float = -math.inf


class Worker:
    """The worker thread of one client.

    It holds no reference to the client, so that a forgotten client is collected and its worker ends.

    Args:
        box: State shared with the training thread.
        adapter: Source of samples of the learning rates.
        directory: Absolute path of the control directory.
        incarnation: Name of this start of the trainer.
        rules: Run, bounds and key.
        poll_seconds: Length of a round.
        resumed_from_step: Step for the first hello, or None.
        override_file: Absolute path of the override file, or "".
        metrics_bytes: Bound of the metrics files, in bytes.

    Attributes:
        errors: Errors that were survived, by reason. Only the worker counts here.
        disabled: The worker gave up.
        retired: A newer client of this process has taken over.
        metrics: The metrics file.
        state: Commands that were accepted and answered.
    """

    def __init__(
        self,
        box: Handoff,
        adapter: Adapter,
        directory: str,
        *,
        incarnation: str,
        rules: Rules,
        poll_seconds: float,
        resumed_from_step: int | None,
        override_file: str = "",
        metrics_bytes: int = METRICS_BYTES,
    ) -> None:
        self.errors: Counter[str] = Counter()
        self.disabled = self.retired = False
        self.metrics = MetricsFile(metrics_bytes)
        self.state = WorkerState(incarnation, resumed_from_step)
        self._box = box
        self._adapter = adapter
        self._rules = rules
        self._poll_seconds = poll_seconds
        self._folder = ControlFolder(directory)
        self._commands = CommandFile()
        self._override = OverrideFile(override_file) if override_file else None
        self._evidence: dict[str, bytes] = {}
        self._sample: LearningRates | None = None
        self._used_scale = 1.0
        self._published = Publication()
        self._failures = 0
        self._last_error: Exception | None = None
        self._warned: set[str] = set()
        self._goodbye: Goodbye | None = None
        self._process = own_process()
        self._rivals = Rivals(self, directory, self._process)
        self._thread = threading.Thread(target=self._work, name="lrwatch-client", daemon=True)

    def start(self) -> None:
        """Start the thread; the last state is flushed at the end of the interpreter."""
        atexit.register(self._exit)
        before = self._rivals.own()
        if before is not None:  # of a forgotten client, which may be about to say goodbye
            before.retire()
        self._thread.start()

    def ask_to_stop(self, goodbye: Goodbye) -> None:
        """Request the last flush, with this goodbye, and the end of the thread, without waiting."""
        self._goodbye = self._goodbye or goodbye
        self._box.wake.set()

    def stop(self, goodbye: Goodbye) -> None:
        """Say goodbye, flush and end the thread, within `CLOSE_SECONDS`."""
        atexit.unregister(self._exit)
        self.ask_to_stop(goodbye)
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    def retire(self) -> None:
        """Write the waiting metrics and end the thread, without a word: a newer client uses the directory from here on."""
        self.retired = True
        self.stop("released")

    def _exit(self) -> None:
        """Stop at the end of the interpreter, which an exception may have ended."""
        # A notebook keeps the last exception of any cell; there it says nothing about the end.
        error = None if "IPython" in sys.modules else getattr(sys, "last_value", None)
        self.stop("exit" if error is None else goodbye_after(error))

    def forget(self) -> None:
        """Detach in a forked child: the thread does not exist there, and the lock of its event may be held for ever."""
        atexit.unregister(self._exit)
        self._box.wake = threading.Event()

    def warn(self, kind: str, message: str) -> None:
        """Log a message, once a kind."""
        if kind not in self._warned:
            self._warned.add(kind)
            import logging  # only needed after an error, and not cheap to import

            logging.getLogger("lrwatch.client").warning(message)

    def give_up(self, error: Exception | None) -> None:
        """Disable the client for good, because of errors that will not cease."""
        self.disabled = True
        self.warn("internal", f"the client gives up, and the training continues without it: {error!r}")

    def survived(self) -> Counter[str]:
        """Return all errors that were survived, by reason: in this thread, in the training thread, in the adapter."""
        total: Counter[str] = Counter()
        parts = (self.errors, self._commands.errors, self.metrics.errors, self._adapter.errors, self._box.errors)
        for counts in parts:
            total.update(dict(counts))  # dict() copies at once; the other thread may be counting
        if self._box.dropped:
            total["dropped"] = self._box.dropped
        return total

    def _work(self) -> None:
        box = self._box
        while not self.disabled:
            stopping = self._goodbye is not None  # read first, so that everything before the end is still written
            began, failed = time.monotonic(), self.errors["io"]
            self.round(reading=not stopping)
            if stopping:
                if self.errors["io"] > failed:  # no later round makes up for it
                    self.round(reading=False)
                break
            # From look to look, however long writing took; on a slow file system half of the time is still left to others.
            box.wake.wait(max(began + PUNCTUAL * self._poll_seconds - time.monotonic(), self._poll_seconds / 2))
            box.wake.clear()
        box.room = 0
        box.dropped += len(box.queue) + self.metrics.unsaved
        box.queue.clear()

    def round(self, *, reading: bool = True) -> None:
        """Do one round; never raises.

        Args:
            reading: Whether to look for a new command.
        """
        parts = [self._take_news, self._read, self._write_metrics, self._publish, self._keep_evidence]
        if not reading:
            parts.remove(self._read)
        # Each by itself: a full disk for metrics is no reason to miss commands, and the other way round.
        broken = int(reading and not self._attempt(self._read_override))
        broken += sum(not self._attempt_in_folder(part) for part in parts)
        self._failures = self._failures + 1 if broken else 0
        if self._failures >= MAX_FAILURES:
            self.give_up(self._last_error)

    def consider(self, raw: bytes) -> None:
        """Judge the content of `desired.json`; unreadable content is counted, everything else is answered."""
        try:
            desired = decode_desired(raw)
            check_reach(self.state, desired)
        except ProtocolError as error:
            self.errors[error.code] += 1
            self._evidence[error.code] = raw
            return
        decision = judge_command(
            self.state, desired,
            rules=self._rules, step=self._box.step, scale_state=self._box.scale_state, first_look=self._commands.first,
        )  # fmt: skip
        self._enter(decision.state)
        if decision.refusal == LEFTOVER:
            self.errors[LEFTOVER] += 1
        elif decision.refusal:
            self._evidence[decision.refusal] = raw

    def _attempt(self, part: Callable[[], None]) -> bool:
        """Return whether the part ended without an unexpected error."""
        try:
            part()
        except Exception as error:  # noqa: BLE001  no error of the client may reach the training
            self.errors["internal"] += 1
            self._last_error = error
            return False
        return True

    def _attempt_in_folder(self, part: Callable[[int], None]) -> bool:
        def guarded() -> None:
            try:
                folder = self._folder.open()
                try:
                    part(folder)
                finally:
                    os.close(folder)
            except (OSError, ProtocolError) as error:  # of the directory as a whole; each part handles its own files
                self.errors[error.code if isinstance(error, ProtocolError) else "io"] += 1
                self.warn("io", f"{self._folder.path}: {error}. The training continues; this is tried again.")

        return self._attempt(guarded)

    def _enter(self, state: WorkerState) -> None:
        """Take over the next state, and pass a new order on to the training thread."""
        ordered = state.order is not self.state.order
        self.state = state
        self._box.max_token = state.max_token
        if ordered:
            self._box.order = state.order

    def _take_news(self, _: int) -> None:
        news_of_training = self._box.news
        while news_of_training:
            news = news_of_training.popleft()
            if isinstance(news, WarmStartOver):  # the rates that are known are those of the warm start
                self._sample = None
                self.state = replace(self.state, warm_until=None)
                continue
            if isinstance(news, Resumed):
                self._commands.restart()
                self._sample = None
                self._enter(resume(self.state, news))
                continue
            self._sample = news.sample or self._sample
            decision = conclude(self.state, news)
            if isinstance(news.desired, Override):
                self._enter_override(decision)
            else:
                self._enter(decision.state)
                if decision.refusal:
                    self._evidence[decision.refusal] = encode(news.desired)

    def _read(self, folder: int) -> None:
        if self._rivals.silent:  # the command is for the other training
            return
        raw = self._commands.look(folder)
        if raw is not None:
            self.consider(raw)
        if self._commands.fault is None:
            self._commands.first = False

    def _read_override(self) -> None:
        file = self._override
        if file is None:
            return
        try:
            content = file.look()
        except (OSError, ProtocolError) as error:
            self._enter_override(answer_override(self.state, "unreadable", f"{file.path}: {error}"))
            return
        if file.left_over:
            file.left_over = False
            detail = "It existed when the training started; write it again to make it count."
            self._enter_override(answer_override(self.state, LEFTOVER, detail))
        if content is not None:
            self._sample = self._adapter.sample() or self._sample
            rates = {} if self._sample is None else floats(self._sample.schedule)
            decision = judge_override(
                self.state, content,
                rules=self._rules, step=self._box.step, scale_state=self._box.scale_state,
                rate=next(iter(rates.values()), 0.0),
            )  # fmt: skip
            self._enter_override(decision)

    def _enter_override(self, decision: Decision) -> None:
        """Take over a decision about the override file; a refusal is counted, and logged once a kind."""
        self._enter(decision.state)
        if decision.refusal:
            kind = f"override_{decision.refusal}"
            self.errors[kind] += 1
            path = self._override.path if self._override is not None else ""
            self.warn(kind, f"{path} was refused: {decision.refusal}. {decision.detail}".rstrip())

    def _write_metrics(self, folder: int) -> None:
        queue = self._box.queue
        records = [queue.popleft() for _ in range(len(queue))] if self.metrics.ready else []
        self.metrics.append(folder, records, begin=self._box.room > 0)

    def _publish(self, folder: int) -> None:
        self._take_news(folder)
        box, state, last = self._box, self.state, self._published
        now = time.monotonic()
        total_steps = box.total_steps
        not_acting = self._adapter.not_acting()
        if self.retired:
            return
        self._rivals.look(folder)
        if self._rivals.found:
            self.warn("two_trainers", f"{self._folder.path}: {TWO_TRAINERS}")
        if self._rivals.silent:
            return
        content = state, self._folder.identity, total_steps, not_acting, self._rivals.found
        changed = content != last.content or self._rivals.is_lost
        stale = box.step != last.step and now >= last.time + self._poll_seconds
        goodbye, process = self._goodbye, self._process
        if not (changed or stale or goodbye):
            return
        if not_acting is not None:
            self._sample = None
            self.warn("not_acting", NOT_ACTING_WORDS[not_acting])
        self._sample = sample = self._adapter.sample() or self._sample
        step, scale_state = box.step, box.scale_state
        if sample is not None and state.warm_until is None:
            self._used_scale = sample.scale
        elif not_acting is None and not (self._adapter.observes and state.status == "pending"):
            self._used_scale = scale_state.scale  # as far as anybody knows
        observed = Observed(
            run=self._rules.run,
            incarnation=state.incarnation,
            resumed_from_step=state.resumed_from_step,
            step=step,
            observed_generation=state.answered,
            status=state.status,
            code=state.code,
            applied_step=state.applied_step,
            scale=self._used_scale,
            warm_until=state.warm_until,
            target_scale=None if scale_state.ramp is None else scale_state.ramp.to_scale,
            total_steps=total_steps,
            limits=bounds_in_force(self._rules.limits, scale_state),
            max_token=box.max_token,
            max_generation=state.generation,
            client=self._about(),
            life="running" if goodbye is None else "ended",
            goodbye=goodbye,
            pid=None if process is None else process.pid,
            pid_start=None if process is None else process.start,
            machine="" if process is None else process.machine,
            not_acting=not_acting,
            two_trainers=self._rivals.found,
        )
        if last.content[1:2] != (self._folder.identity,):  # the first one in this directory
            sweep(folder, of_commands=False)
        published = message_of(observed, sample, self.errors)
        publish(folder, OBSERVED_NAME, published)
        self._rivals.wrote(published, two_trainers=observed.two_trainers)
        self._published = Publication(content, step, now)
        self._adapter.ask()

    def _keep_evidence(self, folder: int) -> None:
        """Write refused contents beside the command's file, since the next command takes its place there."""
        while self._evidence:
            code, raw = next(iter(self._evidence.items()))
            publish(folder, EVIDENCE_NAME.format(code=code), raw)
            del self._evidence[code]

    def _about(self) -> str:
        survived = self.survived()
        counts = "".join(f" {reason}={survived[reason]}" for reason in sorted(survived))
        python = "{}.{}.{}".format(*sys.version_info)
        override = f" override={self.state.override}" if self.state.override else ""
        return f"lrwatch/{__version__} python/{python} {self._adapter.name}{override}{counts}"[:MAX_TEXT]


def goodbye_after(error: BaseException | None) -> Goodbye:
    """Return the goodbye of a training that ended with `error`, if with any; leaving on request is none."""
    if error is None or isinstance(error, (SystemExit, GeneratorExit)):
        return "close"
    return "interrupt" if isinstance(error, KeyboardInterrupt) else "exception"
