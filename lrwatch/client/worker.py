"""The one thread of the client that touches the disk, so that the training never waits for one.

Each round: take the news of the training thread, read what is desired and judge it, append the waiting metrics, publish
what is observed. Whatever goes wrong is counted and tried again in the next round.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

from lrwatch._version import __version__
from lrwatch.client.adapter import Adapter, Sample
from lrwatch.client.handoff import Handoff, Record, Resumed
from lrwatch.client.interlock import Limits, forbidden, misaddressed
from lrwatch.client.metrics import MetricsFile
from lrwatch.client.override import Override, OverrideFile, read_override
from lrwatch.protocol import (
    DESIRED_NAME,
    EVIDENCE_NAME,
    MAX_TEXT,
    OBSERVED_NAME,
    Desired,
    Observed,
    ProtocolError,
    RejectionCode,
    Status,
    decode_desired,
    encode,
    open_directory,
    publish,
    read_control_file,
    verify,
)

# Rounds in a row that end in an error nobody foresaw, until the worker gives up: it is broken and will stay so.
MAX_FAILURES = 10
# A look comes this much of a poll interval after the one before: waking up and reading take their time, and from a command
# on disk to its first step shall be no more than a poll interval and a step.
PUNCTUAL = 0.95
# How long the end of the training may wait for the last flush; a hung file system must not hold up a cluster.
CLOSE_SECONDS = 2.0


class Worker:
    """Reads, judges and writes for one client.

    It holds no reference to the client, so that a forgotten client is collected and its worker ends.

    Args:
        box: Shared with the training thread.
        adapter: Asked for samples of the learning rates.
        directory: Absolute path of the control directory.
        incarnation: Of this start of the trainer.
        run: Name of the run, "" for any.
        limits: The bounds.
        key: Commands must be signed with it, if it is given.
        poll_seconds: Length of a round.
        resumed_from_step: What the first hello says.
        override_file: Absolute path of a file by which people command, or "".

    Attributes:
        errors: What was survived, by reason. Only the worker counts here.
        disabled: It gave up.
    """

    def __init__(
        self,
        box: Handoff,
        adapter: Adapter,
        directory: str,
        *,
        incarnation: str,
        run: str,
        limits: Limits,
        key: bytes | None,
        poll_seconds: float,
        resumed_from_step: int | None,
        override_file: str = "",
    ) -> None:
        self.errors: Counter[str] = Counter()
        self.disabled = False
        self.metrics = MetricsFile()
        self._box = box
        self._adapter = adapter
        self._directory = directory
        self._incarnation = incarnation
        self._run = run
        self._limits = limits
        self._key = key
        self._poll_seconds = poll_seconds
        self._resumed_from_step = resumed_from_step
        self._generation = 0
        self._answered = 0
        self._status: Status = "hello"
        self._code: RejectionCode | None = None
        self._applied_step: int | None = None
        self._last_sample: Sample | None = None
        self._override = OverrideFile(override_file) if override_file else None
        self._override_said = ""
        self._evidence: dict[str, bytes] = {}
        self._last_raw: bytes | None = None
        self._last_fault: str | None = None
        self._first_look = True
        self._changed = True
        self._published_step = -1
        self._published_at = -math.inf
        self._identity: tuple[int, int] | None = None
        self._accepted: Desired | None = None
        self._failures = 0
        self._last_error: Exception | None = None
        self._warned: set[str] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="lrwatch-client", daemon=True)

    def start(self) -> None:
        """Begin; at the end of the interpreter the last state is flushed."""
        atexit.register(self.stop)
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Flush and end, soon."""
        self._stopping = True
        self._box.wake.set()

    def stop(self) -> None:
        """Flush and end, within `CLOSE_SECONDS`."""
        atexit.unregister(self.stop)
        self.ask_to_stop()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    def forget(self) -> None:
        """In a forked child: the thread is not there, and the lock of its event may be held for ever."""
        atexit.unregister(self.stop)
        self._box.wake = threading.Event()

    def warn(self, kind: str, message: str) -> None:
        """Say it once."""
        if kind not in self._warned:
            self._warned.add(kind)
            import logging  # only needed in trouble, and not cheap to import

            logging.getLogger("lrwatch.client").warning(message)

    def _work(self) -> None:
        box = self._box
        while not self.disabled:
            stopping = self._stopping  # read first, so that whatever came before the end is still written
            began = time.monotonic()
            self.round(reading=not stopping)
            if stopping:
                break
            # From look to look, however long writing took; on a slow file system still half of the time is left to others.
            box.wake.wait(max(began + PUNCTUAL * self._poll_seconds - time.monotonic(), self._poll_seconds / 2))
            box.wake.clear()
        box.room = 0
        box.dropped += len(box.queue) + self.metrics.unsaved
        box.queue.clear()

    def round(self, *, reading: bool = True) -> None:
        """One round; never raises.

        Args:
            reading: Whether to look for a new command.
        """
        parts = [self._take_news, self._read, self._write_metrics, self._publish, self._keep_evidence]
        if not reading:
            parts.remove(self._read)
        # Each for itself: a full disk for metrics is no reason not to hear commands, and the other way round.
        broken = int(self._override is not None and reading and not self._attempt_override(self._override))
        broken += sum(not self._attempt(part) for part in parts)
        self._failures = self._failures + 1 if broken else 0
        if self._failures >= MAX_FAILURES:
            self.give_up(self._last_error)

    def give_up(self, error: Exception | None) -> None:
        """End the client, for good, because of errors that will not cease."""
        self.disabled = True
        self.warn("internal", f"the client gives up, and the training goes on without it: {error!r}")

    def _attempt(self, part: Callable[[int], None]) -> bool:
        try:
            self._in_directory(part)
        except (OSError, ProtocolError) as error:  # of the directory as a whole; each part sees to its own files
            self.errors[error.code if isinstance(error, ProtocolError) else "io"] += 1
            self.warn("io", f"{self._directory}: {error}. The training goes on; this is tried again.")
        except Exception as error:  # noqa: BLE001  no error of the client may reach the training
            self.errors["internal"] += 1
            self._last_error = error
            return False
        return True

    def _attempt_override(self, file: OverrideFile) -> bool:
        try:
            content = file.look()
            if file.left_over:
                file.left_over = False
                self._say_override("leftover", "It lay there when the training started; write it again and it counts.")
            if content is not None:
                self._consider_override(content)
        except (OSError, ProtocolError) as error:
            self._say_override("unreadable", f"{file.path}: {error}")
        except Exception as error:  # noqa: BLE001  no error of the client may reach the training
            self.errors["internal"] += 1
            self._last_error = error
            return False
        return True

    def _consider_override(self, content: bytes) -> None:
        """Judge what a person wrote into the override file, by the bounds that hold for commands."""
        box = self._box
        wanted = read_override(content)
        if wanted is None:
            self._say_override(
                "invalid", "the override file holds one number: 3e-4 is a learning rate, 0.5x a multiplier"
            )
            return
        scale = wanted.number
        if wanted.is_rate:
            self._last_sample = self._adapter.sample() or self._last_sample
            rates = {} if self._last_sample is None else _floats(self._last_sample.schedule)
            rate = next(iter(rates.values()), 0.0)
            if not rate > 0:
                self._say_override(
                    "unsupported", "the schedule's learning rate is not known; write a multiplier, as 0.5x"
                )
                return
            scale = wanted.number / rate
        try:
            desired = Override(
                run=self._run, incarnation=self._incarnation, generation=max(box.standing.generation, 1),
                token=box.max_token, scale=scale, actor="override_file",
            )  # fmt: skip
        except ProtocolError:  # a rate so far from the schedule's that their ratio is no number
            self._say_override("out_of_bounds")
            return
        code = forbidden(desired, step=box.step + 1, standing=box.standing, limits=self._limits)
        if code is not None:
            self._say_override(code, f"scale {scale:g} was asked for")
            return
        if self._status == "pending":  # what waits makes way, and its sender hears it
            self._status, self._code = "superseded", None
        self._say_override("pending")
        self._accepted = box.order = desired

    def _say_override(self, answer: str, detail: str = "") -> None:
        """Tell in `observed.json` what became of the override file; a refusal is counted, and logged once of a kind."""
        self._override_said = answer
        self._changed = True
        if answer not in ("pending", "applied"):
            self.errors[f"override_{answer}"] += 1
            path = self._override.path if self._override is not None else ""
            self.warn(f"override_{answer}", f"{path} was refused: {answer}. {detail}".rstrip())

    def survived(self) -> Counter[str]:
        """Everything that was survived, by reason: by this thread, by the training thread, in the adapter."""
        total: Counter[str] = Counter()
        for counts in (self.errors, self.metrics.errors, self._adapter.errors, self._box.errors):
            total.update(dict(counts))  # dict() copies at once; the other thread may be counting
        if self._box.dropped:
            total["dropped"] = self._box.dropped
        return total

    def consider(self, raw: bytes) -> None:
        """Judge the content of `desired.json`; what cannot be read is counted, everything else is answered."""
        try:
            desired = decode_desired(raw)
        except ProtocolError as error:
            self.errors[error.code] += 1
            self._evidence[error.code] = raw
            return
        box = self._box
        if self._key is not None and not verify(desired, self._key):
            self._refuse(desired, "bad_mac", raw)
            return
        code = misaddressed(
            desired,
            run=self._run,
            incarnation=self._incarnation,
            generation=self._generation,
            max_token=box.max_token,
        )
        if code == "wrong_incarnation" and self._first_look:
            self.errors["leftover"] += 1  # of the run before this start: the daemon will ask anew, after the hello
            return
        if code not in ("wrong_run", "wrong_incarnation"):
            box.max_token = max(box.max_token, desired.token)
        first_step = max(box.step + 1, desired.apply_at_step or 0)
        code = code or forbidden(desired, step=first_step, standing=box.standing, limits=self._limits)
        if code is not None:
            self._refuse(desired, code, raw)
            return
        self._generation = desired.generation
        self._answer(desired, "pending")
        if isinstance(self._accepted, Override) and self._override_said == "pending":
            self._override_said = "superseded"
        self._accepted = box.order = desired

    def _refuse(self, desired: Desired, code: RejectionCode, raw: bytes) -> None:
        self._evidence[code] = raw
        self._answer(desired, "rejected", code)

    def _keep_evidence(self, folder: int) -> None:
        """Write what was refused beside the command's file, since the next command takes its place there."""
        while self._evidence:
            code, raw = next(iter(self._evidence.items()))
            publish(folder, EVIDENCE_NAME.format(code=code), raw)
            del self._evidence[code]

    def _in_directory(self, part: Callable[[int], None]) -> None:
        try:
            folder = open_directory(self._directory)
        except FileNotFoundError:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)  # noqa: PTH103  pathlib is slow to import
            folder = open_directory(self._directory)
        try:
            about = os.fstat(folder)
            if self._identity != (about.st_dev, about.st_ino):  # new, or another one than before
                self._identity = about.st_dev, about.st_ino
                self._changed = True
            part(folder)
        finally:
            os.close(folder)

    def _write_metrics(self, folder: int) -> None:
        queue = self._box.queue
        records = [Record._make(queue.popleft()) for _ in range(len(queue))] if self.metrics.ready else []
        self.metrics.append(folder, records)

    def _read(self, folder: int) -> None:
        try:
            raw = read_control_file(folder, DESIRED_NAME)
        except ProtocolError as error:
            if error.code != self._last_fault:
                self.errors[error.code] += 1
            self._last_fault = error.code
            return
        self._last_fault = None
        # By content: a new file may have the inode and the time of the old one.
        if raw is not None and raw != self._last_raw:
            self._last_raw = raw
            self.consider(raw)
        self._first_look = False

    def _take_news(self, _: int) -> None:
        box = self._box
        while box.news:
            news = box.news.popleft()
            if isinstance(news, Resumed):
                self._incarnation = news.incarnation
                self._resumed_from_step = news.step
                self._generation = self._answered = news.generation
                box.max_token = max(box.max_token, news.max_token)
                self._status, self._code, self._applied_step = "hello", None, None
                self._last_raw, self._first_look = None, True
                self._last_sample = None
                if self._override_said == "pending":
                    self._override_said = "superseded"
                self._changed = True
            elif isinstance(news.desired, Override):
                self._last_sample = news.sample or self._last_sample
                if news.status == "applied":
                    self._applied_step = news.step
                self._say_override(news.code or news.status)
            else:
                if news.status == "applied":
                    self._applied_step = news.step
                elif news.code is not None:
                    self._evidence[news.code] = encode(news.desired)
                self._last_sample = news.sample or self._last_sample
                self._changed = True
                if news.desired.generation == self._answered:  # else a newer command has been answered meanwhile
                    self._answer(news.desired, news.status, news.code)

    def _answer(self, desired: Desired, status: Status, code: RejectionCode | None = None) -> None:
        self._answered, self._status, self._code = desired.generation, status, code
        self._changed = True

    def _publish(self, folder: int) -> None:
        self._take_news(folder)
        box = self._box
        now = time.monotonic()
        stale = box.step != self._published_step and now >= self._published_at + self._poll_seconds
        if not (self._changed or stale or self._stopping):
            return
        self._last_sample = self._adapter.sample() or self._last_sample
        sample = self._last_sample
        step = box.step
        observed = Observed(
            run=self._run,
            incarnation=self._incarnation,
            resumed_from_step=self._resumed_from_step,
            step=step,
            observed_generation=self._answered,
            status=self._status,
            code=self._code,
            applied_step=self._applied_step,
            scale=box.standing.scale if sample is None else sample.scale,
            schedule_lr={} if sample is None else _floats(sample.schedule),
            effective_lr={} if sample is None else _floats(sample.effective),
            max_token=box.max_token,
            client=self._about(),
        )
        publish(folder, OBSERVED_NAME, encode(observed))
        self._changed = False
        self._published_step = step
        self._published_at = now
        self._adapter.ask()

    def _about(self) -> str:
        survived = self.survived()
        counts = "".join(f" {reason}={survived[reason]}" for reason in sorted(survived))
        python = "{}.{}.{}".format(*sys.version_info)
        override = f" override={self._override_said}" if self._override_said else ""
        return f"lrwatch/{__version__} python/{python} {self._adapter.name}{override}{counts}"[:MAX_TEXT]


def _floats(rates: Mapping[str, object]) -> dict[str, float]:
    """Those rates that are finite numbers; the message has no way to say the others."""
    found: dict[str, float] = {}
    for group, rate in rates.items():
        with contextlib.suppress(Exception):  # the optimizer steps with whatever this is; it is not ours to judge
            found[group] = float(rate)  # type: ignore[arg-type]
    return {group: rate for group, rate in found.items() if math.isfinite(rate)}
