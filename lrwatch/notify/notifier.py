"""The threads: one a channel, off the daemon's loop, so that neither a training nor another channel waits for one that hangs."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrwatch.core.curve import Curve
from lrwatch.core.snapshot import Snapshot
from lrwatch.notify.channels import Channel, DeliveryError
from lrwatch.notify.notices import Conditions, Notice, of_entry, of_proposal
from lrwatch.notify.options import NotifyOptions
from lrwatch.notify.outbox import Letter, Outbox
from lrwatch.notify.picture import Plot

# Seconds for what still waits when the daemon ends, which must happen within two; the last save may take one of them.
CLOSING_SECONDS = 0.7

# What an earlier daemon did not deliver is sent after its end, unless it is older than this, in seconds.
NEWS_SECONDS = 3600.0

_log = logging.getLogger(__name__)

Count = Callable[[bool], None]
"""Told of each delivery that was tried, whether it failed."""

Tell = Callable[[str], None]


def _local_minute() -> int:
    now = time.localtime()
    return 60 * now.tm_hour + now.tm_min


class _Postman:
    """The thread of one channel."""

    def __init__(
        self, channel: Channel, options: NotifyOptions, count: Count, tell: Tell, minute: Callable[[], int]
    ) -> None:
        self._channel = channel
        self._options = options
        self._count = count
        self._tell = tell
        self._minute = minute
        self._outbox = Outbox(options, channel.least, time.monotonic())
        self._changed = threading.Condition()
        self._closing = False
        self._is_failing = False
        self._in_hand: Letter | None = None
        self._thread = threading.Thread(target=self._run, name=f"lrwatch-notify-{channel.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, notices: Iterable[Notice]) -> None:
        with self._changed:
            for notice in notices:
                self._outbox.add(notice, time.monotonic())
            self._changed.notify()

    def undelivered(self) -> list[int]:
        """Return the numbers of the entries that are not delivered yet."""
        with self._changed:
            in_hand = () if self._in_hand is None else self._in_hand.notices
            return [one.entry_id for one in (*in_hand, *self._outbox.waiting()) if one.entry_id is not None]

    def close(self) -> None:
        """Send what waits now, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def join(self, seconds: float) -> int:
        """Wait for the end, and return how many notices were not delivered."""
        if self._thread.ident is not None:  # else it was never started
            self._thread.join(seconds)
        with self._changed:
            return len(self._outbox) + (1 if self._thread.is_alive() else 0)

    def _run(self) -> None:
        while (letter := self._next()) is not None:
            self._deliver(letter)

    def _next(self) -> Letter | None:
        """Wait for the next letter; None when the channel is closed and nothing is left."""
        with self._changed:
            while not self._closing:
                now, quiet = time.monotonic(), self._options.quiet_seconds(self._minute())
                self._in_hand = self._outbox.take(now, quiet_seconds=quiet)
                if self._in_hand is not None:
                    return self._in_hand
                self._changed.wait(self._outbox.due(now, quiet))
            # One that has just failed would fail again, and nobody waits for it.
            self._in_hand = None if self._is_failing else self._outbox.take(time.monotonic(), all_of_it=True)
            return self._in_hand

    def _deliver(self, letter: Letter) -> None:
        try:
            self._channel.deliver(letter)
        except DeliveryError as error:
            with self._changed:
                again = self._outbox.failed(letter, error.left, time.monotonic())
                self._in_hand = None
            self._count(True)
            if not self._is_failing:
                self._tell(
                    f"notifications: channel {self._channel.name}: {error.reason}; tried again in {again:g} s, and then less often"
                )
            self._is_failing = True
        except Exception:  # noqa: BLE001  a fault of lrwatch: this letter is lost, the channel is not
            with self._changed:
                self._in_hand = None
            self._count(True)
            _log.exception(
                "notifications: channel %s: %r could not be made; the journal has it", self._channel.name, letter.title
            )
        else:
            with self._changed:
                self._outbox.sent()
                self._in_hand = None
            self._count(False)
            if self._is_failing:
                self._tell(f"notifications: channel {self._channel.name}: delivers again")
            self._is_failing = False


class Notifier:
    """Sends the news of the daemon to people. The loop calls it and never waits.

    What it finds in logs that were there when it first saw a run is history and sent to nobody; a proposal among it that still stands
    is sent once the logs are read. What it finds when it goes on after a restart is news, and so is what was not delivered before.

    Args:
        channels: The recipients.
        options: The settings.
        count: Told of each delivery that was tried, whether it failed.
        tell: Prints a line for the operator.
        known: The saved status of each run, from before the daemon began.
        curve: Gives the watched metric and the curve of a run, or None.
        kept: File that holds the number of the entry up to which all was delivered.
        minute: Minute of the local day.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        options: NotifyOptions,
        *,
        count: Count,
        tell: Tell,
        known: Mapping[str, Mapping[str, Any]],
        curve: Callable[[str], tuple[str, Curve] | None],
        kept: Path,
        minute: Callable[[], int] = _local_minute,
    ) -> None:
        self._curve = curve
        self._kept = kept
        self._conditions = Conditions()
        self._caught_up = {
            name
            for name, status in known.items()
            if not status.get("catching_up", True) and status.get("life") != "finished"
        }
        self._postmen = [_Postman(channel, options, count, tell, minute) for channel in channels]
        self._tell = tell
        self._marked = self._newest = _number_in(kept)

    def start(self, journal: Callable[[int], Iterable[Mapping[str, Any]]], now: float) -> None:
        """Begin to deliver, first what was not delivered before.

        Args:
            journal: Yields the entries behind a number, as `hear` takes them.
            now: Seconds since the epoch.
        """
        for postman in self._postmen:
            postman.start()
        if self._marked is not None:
            for entry in journal(self._marked):
                if now - entry["time"] < NEWS_SECONDS:
                    self.hear(entry)

    def hear(self, entry: Mapping[str, Any]) -> None:
        """Take an entry of the journal, in the form of `journal --format json`, after it was saved."""
        self._newest = entry["id"]
        if entry["run"] in self._caught_up:
            self._send(lambda: [found] if (found := of_entry(entry)) is not None else [])

    def look(self, snapshot: Snapshot) -> None:
        """Take a snapshot: what lasts in it, and which runs are read to their end."""
        self._send(lambda: [*self._conditions.look(snapshot), *self._proposals(snapshot)])
        self._mark()

    def _mark(self) -> None:
        """Keep the number up to which all is delivered, for the next start."""
        waiting = [number for postman in self._postmen for number in postman.undelivered()]
        done = min(waiting) - 1 if waiting else self._newest
        if done is None or done == self._marked:
            return
        new = self._kept.with_name(f"{self._kept.name}.new")
        with contextlib.suppress(OSError):  # something may be told twice after a restart then
            new.write_text(f"{done}\n")
            new.replace(self._kept)
        self._marked = done

    def _proposals(self, snapshot: Snapshot) -> list[Notice]:
        """Return the proposals of the runs that are read to their end for the first time."""
        notices = []
        for run in snapshot.runs:
            if run.catching_up or run.life == "finished":
                self._caught_up.discard(run.name)
            elif run.name not in self._caught_up:
                self._caught_up.add(run.name)
                notices += [of_proposal(run, one, snapshot.time) for one in run.proposals]
        return notices

    def _with_plot(self, notice: Notice) -> Notice:
        found = self._curve(notice.run)
        return notice if found is None else replace(notice, plot=Plot.of(*found, mark=notice.step))

    def _send(self, make: Callable[[], Sequence[Notice]]) -> None:
        """Give every channel what `make` returns. A fault of `make` must not fail the turn of the run."""
        try:
            notices = [self._with_plot(notice) for notice in make()]
        except Exception:  # noqa: BLE001  see above
            _log.exception("a notification could not be made; the journal has it")
            return
        if notices:
            for postman in self._postmen:
                postman.add(notices)

    def close(self) -> None:
        """Send what waits, as far as it goes within a second, and end."""
        for postman in self._postmen:
            postman.close()
        ends = time.monotonic() + CLOSING_SECONDS
        left = sum(postman.join(max(0.0, ends - time.monotonic())) for postman in self._postmen)
        self._mark()
        if left:
            self._tell(f"notifications: {left} could not be delivered before the end; told again after the next start")


def _number_in(kept: Path) -> int | None:
    """Return the number that a file keeps; None where there is none that can be read."""
    try:
        return int(kept.read_text())
    except (OSError, ValueError):
        return None
