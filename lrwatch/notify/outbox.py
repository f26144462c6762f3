"""Timing of the messages of a channel: repetitions, digest, rate, quiet hours and a channel that is down. Without a clock or a thread.

What is urgent goes out a moment after it came, so that what happens at once is one message. What is not waits for the digest. Both wait
while the channel's share of messages is used up, or while it cannot be reached, and go out together then: a fault of a hundred runs is a
few messages. Nothing is given up but what is beyond the bound, and that is counted and said.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lrwatch.core.events import Severity
from lrwatch.notify.notices import Notice
from lrwatch.notify.options import SEVERITIES, NotifyOptions

# Seconds for which what is urgent waits for more of the same moment.
GATHER_SECONDS = 1.0

# Messages that may go out without a pause.
BURST = 5

# Seconds until a channel that failed is tried again, doubled each time up to the second number.
FIRST_RETRY_SECONDS = 10.0
LONGEST_RETRY_SECONDS = 300.0

# Notices that wait for one channel, and keys of which the last time is remembered.
MAX_WAITING = 200
MAX_REMEMBERED = 10_000

# A newer proposal voids the one before, and nobody is to answer one that has expired: what was not sent of it is not sent any more.
_VOIDING = ("awaiting_approval", "proposal", "expired")
_VOIDED = ("awaiting_approval", "proposal")

# Lines of one message.
MAX_LINES = 15


@dataclass(frozen=True, slots=True)
class Letter:
    """One message to a channel.

    Attributes:
        notices: What it tells, the most severe first.
        repeats: How often each of them came again since it was told last, unsaid.
        dropped: Number of notices that were dropped before it.
    """

    notices: tuple[Notice, ...]
    repeats: tuple[int, ...]
    dropped: int = 0

    @property
    def severity(self) -> Severity:
        """The severity of the most severe one."""
        return self.notices[0].severity

    @property
    def title(self) -> str:
        """The title: of the only notice, or how many of which kind."""
        if len(self.notices) == 1:
            return self.notices[0].title
        kinds = Counter(one.kind.replace("_", " ") for one in self.notices)
        runs = len({one.run for one in self.notices})
        counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        return f"lrwatch, {runs} run{'s' if runs > 1 else ''}: {counted}"

    @property
    def body(self) -> str:
        """The sentences: one paragraph, or a line for each notice."""
        lines = []
        for one, repeats in list(zip(self.notices, self.repeats, strict=True))[:MAX_LINES]:
            again = f" (and {repeats} more like it before)" if repeats else ""
            line = one.message if len(self.notices) == 1 else f"{_clock(one.time)} {one.title}: {one.message}"
            lines.append(f"{line}{again}")
        if (more := len(self.notices) - MAX_LINES) > 0:
            lines.append(f"and {more} more: see lrwatch journal")
        if self.dropped:
            lines.append(f"{self.dropped} older ones were dropped, because too many waited: see lrwatch journal")
        return "\n".join(lines)


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M", time.localtime(seconds))


class Outbox:
    """What waits for one channel. All times are monotonic seconds.

    Args:
        options: The settings.
        least: The least severity that the channel takes.
        now: The time.

    Attributes:
        dropped: Number of notices that were dropped and not told so far.
    """

    def __init__(self, options: NotifyOptions, least: Severity, now: float) -> None:
        self._options = options
        self._least = least
        self.dropped = 0
        self._urgent: list[tuple[float, Notice]] = []
        self._later: list[tuple[float, Notice]] = []
        self._told: dict[tuple[str, str, str], float] = {}
        self._repeats: Counter[tuple[str, str, str]] = Counter()
        self._share = float(min(BURST, options.per_hour))
        self._counted_at = now
        self._not_before = now
        self._retry = 0.0

    def add(self, notice: Notice, now: float) -> None:
        """Take a notice, unless the channel does not want it or has had the same a short while ago."""
        options = self._options
        if _rank(notice.severity) < _rank(self._least) or (options.kinds and notice.kind not in options.kinds):
            return
        if now - self._told.get(notice.key, -math.inf) < options.repeat_seconds:
            self._repeats[notice.key] += 1
            return
        self._told.pop(notice.key, None)
        self._told[notice.key] = now
        if len(self._told) > MAX_REMEMBERED:
            oldest = next(iter(self._told))
            del self._told[oldest]
            self._repeats.pop(oldest, None)
        if notice.kind in _VOIDING:
            self._urgent, self._later = (
                [one for one in waiting if one[1].kind not in _VOIDED or one[1].run != notice.run]
                for waiting in (self._urgent, self._later)
            )
        waiting = self._urgent if _rank(notice.severity) >= _rank(options.at_once) else self._later
        waiting.append((now, notice))
        self._bound()

    def _bound(self) -> None:
        while len(self._urgent) + len(self._later) > MAX_WAITING:
            del (self._later or self._urgent)[0]
            self.dropped += 1

    def due(self, now: float, quiet_seconds: float = 0.0) -> float | None:
        """Return the seconds until `take` has a letter, 0 for now; None while nothing waits.

        Args:
            now: The time.
            quiet_seconds: How long the quiet hours last from now on; 0 outside of them.
        """
        times = []
        if self._urgent:
            is_critical = any(one.severity == "critical" for _, one in self._urgent)
            times.append(max(self._urgent[0][0] + GATHER_SECONDS, now + (0 if is_critical else quiet_seconds)))
        if self._later:
            times.append(max(self._later[0][0] + self._options.digest_seconds, now + quiet_seconds))
        if not times:
            return None
        return max(0.0, min(times) - now, self._not_before - now, (1 - self._shares(now)) * self._seconds_a_message)

    @property
    def _seconds_a_message(self) -> float:
        return 3600.0 / self._options.per_hour

    def _shares(self, now: float) -> float:
        """Return the messages that may be sent at once."""
        grown = self._share + (now - self._counted_at) / self._seconds_a_message
        return min(grown, min(BURST, self._options.per_hour))

    def take(self, now: float, *, all_of_it: bool = False, quiet_seconds: float = 0.0) -> Letter | None:
        """Take the letter that is due, which `sent` or `failed` must follow; None where none is.

        Args:
            now: The time.
            all_of_it: Whether everything is due, because there is no later.
            quiet_seconds: How long the quiet hours last from now on.
        """
        if not all_of_it and self.due(now, quiet_seconds) != 0:
            return None
        digest = all_of_it or (
            bool(self._later) and not quiet_seconds and now - self._later[0][0] >= self._options.digest_seconds
        )
        chosen = [*self._urgent, *(self._later if digest else ())]
        if quiet_seconds and not all_of_it:
            chosen = [(at, one) for at, one in chosen if one.severity == "critical"]
        taken = {id(one) for _, one in chosen}
        self._urgent = [waiting for waiting in self._urgent if id(waiting[1]) not in taken]
        self._later = [waiting for waiting in self._later if id(waiting[1]) not in taken]
        if not chosen:
            return None
        notices = tuple(one for _, one in sorted(chosen, key=lambda one: (-_rank(one[1].severity), one[0])))
        self._share, self._counted_at = self._shares(now) - 1, now
        letter = Letter(notices, tuple(self._repeats.pop(one.key, 0) for one in notices), self.dropped)
        self.dropped = 0
        return letter

    def sent(self) -> None:
        """Take note that the letter was delivered."""
        self._retry = 0.0

    def failed(self, letter: Letter, left: Sequence[Notice], now: float) -> float:
        """Take back what could not be delivered.

        Args:
            letter: The letter.
            left: Those of its notices that were not delivered.
            now: The time.

        Returns:
            The seconds until it is tried again.
        """
        self._retry = min(2 * self._retry, LONGEST_RETRY_SECONDS) if self._retry else FIRST_RETRY_SECONDS
        self._not_before = now + self._retry
        self.dropped += letter.dropped
        repeats = dict(zip((one.key for one in letter.notices), letter.repeats, strict=True))
        for one in left:
            self._repeats[one.key] += repeats[one.key]
        # They have waited long enough: all of them go with the next letter.
        self._urgent = [*((now - GATHER_SECONDS, one) for one in left), *self._urgent]
        self._bound()
        return self._retry

    def waiting(self) -> list[Notice]:
        """Return what waits."""
        return [one for _, one in (*self._urgent, *self._later)]

    def __len__(self) -> int:
        return len(self._urgent) + len(self._later)


def _rank(severity: Severity) -> int:
    return SEVERITIES.index(severity)
