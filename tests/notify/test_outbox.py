"""When what is sent, by the hands of a clock."""

from __future__ import annotations

import itertools

from lrwatch.core.events import Severity
from lrwatch.notify.notices import Notice
from lrwatch.notify.options import NotifyOptions
from lrwatch.notify.outbox import (
    BURST,
    FIRST_RETRY_SECONDS,
    GATHER_SECONDS,
    LONGEST_RETRY_SECONDS,
    MAX_LINES,
    MAX_REMEMBERED,
    MAX_WAITING,
    Outbox,
)  # fmt: skip

HOUR = 3600.0


def made(kind: str = "plateau", severity: Severity = "warning", run: str = "a", about: str = "loss") -> Notice:
    return Notice(kind, severity, run, about, f"{run}: {kind} of {about}", "it says so", 0.0, 7)


def box(least: Severity = "info", **options: object) -> Outbox:
    return Outbox(NotifyOptions(**options), least, 0.0)  # type: ignore[arg-type]


def test_what_happens_at_once_is_one_message_a_moment_later() -> None:
    outbox = box()
    assert outbox.due(0.0) is None
    outbox.add(made(), 0.0)
    outbox.add(made("nonfinite", "critical", run="b"), 0.5)
    assert outbox.take(0.9) is None
    assert outbox.due(0.0) == GATHER_SECONDS
    letter = outbox.take(1.0)
    assert letter is not None
    assert [one.kind for one in letter.notices] == ["nonfinite", "plateau"]
    assert letter.severity == "critical"
    assert letter.title == "lrwatch, 2 runs: 1 nonfinite, 1 plateau"
    assert letter.body.count("\n") == 1
    assert outbox.due(1.0) is None


def test_one_notice_is_its_own_title_and_sentence() -> None:
    outbox = box()
    outbox.add(made(), 0.0)
    letter = outbox.take(1.0)
    assert letter is not None
    assert (letter.title, letter.body) == ("a: plateau of loss", "it says so")


def test_the_same_is_said_once_and_counted_for_the_next_time() -> None:
    outbox = box(repeat_seconds=HOUR)
    outbox.add(made(), 0.0)
    assert outbox.take(1.0) is not None
    for second in range(2, 101):
        outbox.add(made(), float(second))
    assert outbox.due(100.0) is None
    outbox.add(made(), HOUR + 1)
    letter = outbox.take(HOUR + 5)
    assert letter is not None
    assert letter.body == "it says so (and 99 more like it before)"


def test_another_metric_or_run_is_not_the_same() -> None:
    outbox = box()
    for notice in (made(), made(about="val_loss"), made(run="b"), made("divergence")):
        outbox.add(notice, 0.0)
    letter = outbox.take(1.0)
    assert letter is not None
    assert len(letter.notices) == 4


def test_what_is_not_urgent_waits_for_the_digest() -> None:
    outbox = box(digest_seconds=600.0)
    outbox.add(made("ended", "info"), 0.0)
    outbox.add(made("ended", "info", run="b"), 300.0)
    assert outbox.due(0.0) == 600.0
    outbox.add(made(), 400.0)
    urgent = outbox.take(401.0)
    assert urgent is not None
    assert [one.kind for one in urgent.notices] == ["plateau"]
    digest = outbox.take(600.0)
    assert digest is not None
    assert digest.title == "lrwatch, 2 runs: 2 ended"


def test_a_storm_is_a_few_messages_and_loses_nothing() -> None:
    outbox = box(per_hour=20)
    letters, told = [], 0
    for second in range(3600):
        if second < 180:
            outbox.add(made(run=f"run{second}"), float(second))
        if (letter := outbox.take(float(second))) is not None:
            letters.append(letter)
            told += len(letter.notices)
    assert told == 180
    assert len(letters) <= BURST + 20
    assert all(len(letter.body.splitlines()) <= MAX_LINES + 2 for letter in letters)


def test_what_waits_is_bounded_and_what_was_dropped_is_said() -> None:
    outbox = box(digest_seconds=HOUR)
    outbox.add(made("nonfinite", "critical", run="first"), 0.0)
    for number in range(MAX_WAITING + 9):
        outbox.add(made("ended", "info", run=f"run{number}"), 0.0)
    assert len(outbox) == MAX_WAITING
    letter = outbox.take(1.0)
    assert letter is not None
    assert [one.run for one in letter.notices] == ["first"]  # what is urgent is dropped last
    assert "10 older ones were dropped" in letter.body


def test_what_is_remembered_is_bounded() -> None:
    outbox = box()
    for number in range(MAX_REMEMBERED + 10):
        outbox.add(made(run=f"run{number}"), 0.0)
    assert len(outbox._told) == MAX_REMEMBERED


def test_quiet_hours_let_only_critical_ones_through() -> None:
    outbox = box(quiet="22:00-07:00")
    outbox.add(made(), 0.0)
    assert outbox.due(0.0, quiet_seconds=500.0) == 500.0
    outbox.add(made("nonfinite", "critical"), 10.0)
    letter = outbox.take(11.0, quiet_seconds=489.0)
    assert letter is not None
    assert [one.kind for one in letter.notices] == ["nonfinite"]
    assert outbox.take(12.0, quiet_seconds=488.0) is None
    morning = outbox.take(500.0)
    assert morning is not None
    assert [one.kind for one in morning.notices] == ["plateau"]


def test_a_digest_waits_for_the_end_of_quiet_hours() -> None:
    outbox = box(digest_seconds=60.0)
    outbox.add(made("ended", "info"), 0.0)
    assert outbox.take(100.0, quiet_seconds=50.0) is None
    assert outbox.take(150.0) is not None


def test_a_channel_gets_its_severity_and_the_kinds_that_are_wanted() -> None:
    critical = box("critical")
    critical.add(made(), 0.0)
    assert critical.due(0.0) is None
    some = box(kinds=("lost",))
    some.add(made(), 0.0)
    some.add(made("lost", "critical"), 0.0)
    letter = some.take(1.0)
    assert letter is not None
    assert [one.kind for one in letter.notices] == ["lost"]


def test_a_channel_that_is_down_is_tried_less_and_less_often_and_gets_all_of_it_at_last() -> None:
    outbox = box()
    outbox.add(made(), 0.0)
    letter = outbox.take(1.0)
    now, waits = 1.0, []
    for _ in range(8):
        assert letter is not None
        waits.append(outbox.failed(letter, letter.notices, now))
        assert outbox.take(now + waits[-1] - 1) is None
        outbox.add(made(run=f"run at {now}"), now)
        now += waits[-1] + 181  # in which the share of messages grows again
        letter = outbox.take(now)
    assert waits[0] == FIRST_RETRY_SECONDS
    assert waits[-1] == LONGEST_RETRY_SECONDS
    assert all(later >= earlier for earlier, later in itertools.pairwise(waits))
    assert letter is not None
    assert len(letter.notices) == 9
    outbox.sent()
    outbox.add(made("divergence", "critical"), now)
    after = outbox.take(now + 181)
    assert after is not None
    assert outbox.failed(after, after.notices, now) == FIRST_RETRY_SECONDS


def test_what_a_command_has_seen_of_a_letter_is_not_told_again() -> None:
    outbox = box()
    for run in "abc":
        outbox.add(made(run=run), 0.0)
    letter = outbox.take(1.0)
    assert letter is not None
    outbox.failed(letter, letter.notices[1:], 1.0)
    again = outbox.take(300.0)
    assert again is not None
    assert [one.run for one in again.notices] == ["b", "c"]


def test_a_proposal_that_is_void_before_it_was_sent_is_not_sent() -> None:
    outbox = box()
    outbox.add(made("awaiting_approval", about="3"), 0.0)
    outbox.add(made("awaiting_approval", about="5"), 0.2)
    outbox.add(made("awaiting_approval", run="other", about="6"), 0.2)
    letter = outbox.take(1.5)
    assert letter is not None
    assert [(one.run, one.about) for one in letter.notices] == [("a", "5"), ("other", "6")]


def test_all_of_it_is_sent_at_the_end() -> None:
    outbox = box()
    outbox.add(made("ended", "info"), 0.0)
    letter = outbox.take(0.1, all_of_it=True, quiet_seconds=900.0)
    assert letter is not None
    assert outbox.take(0.2, all_of_it=True) is None
