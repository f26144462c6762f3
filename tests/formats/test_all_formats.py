"""What every format promises, whatever it reads."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.format_samples import LOGS, cut, feed, random_cuts, samples

from lrwatch.errors import ConfigError
from lrwatch.formats import FORMATS, by_name, restore
from lrwatch.formats.lines import MAX_LINE_BYTES, TOO_LONG

NAMES = [format_.name for format_ in FORMATS if not format_.whole]
every_format = pytest.mark.parametrize("name", NAMES)
every_format_of_lines = pytest.mark.parametrize("name", [format_.name for format_ in FORMATS if not format_.binary])


def test_every_format_has_a_sample_log() -> None:
    assert set(LOGS) == set(NAMES)


@every_format
def test_a_log_fed_byte_by_byte_gives_the_same_samples(name: str) -> None:
    log = LOGS[name]
    whole = feed(by_name(name), [log])
    bytewise = feed(by_name(name), [log[i : i + 1] for i in range(len(log))])
    assert len(samples(whole)) > 5
    assert samples(bytewise) == samples(whole)
    assert sum(b.lines for b in bytewise) == sum(b.lines for b in whole)
    assert sum(sum(b.errors.values()) for b in bytewise) == sum(sum(b.errors.values()) for b in whole)
    assert bytewise[-1].axis == whole[-1].axis


@every_format
def test_a_restart_at_any_byte_gives_the_same_samples(name: str) -> None:
    log = LOGS[name]
    assert samples(feed(by_name(name), [log[i : i + 1] for i in range(len(log))], restart=True)) == samples(
        feed(by_name(name), [log])
    )


@pytest.mark.slow
@every_format
@given(at=st.lists(st.integers(0, 600), max_size=12), repeat=st.integers(1, 3))
@settings(deadline=None)
def test_any_chunking_gives_the_same_samples(name: str, at: list[int], repeat: int) -> None:
    log = LOGS[name] * repeat
    assert samples(feed(by_name(name), cut(log, at))) == samples(feed(by_name(name), [log]))


@pytest.mark.slow
@every_format
@given(data=st.data())
@settings(deadline=None)
def test_any_lines_in_any_chunking_give_the_same_samples(name: str, data: st.DataObject) -> None:
    lines = [line for log in LOGS.values() for line in log.splitlines(keepends=True)]
    log = b"".join(data.draw(st.lists(st.sampled_from([*lines, b"\r", b"\n", b"{", b"}\n", b"\0\0"]), max_size=30)))
    at = data.draw(st.lists(st.integers(0, len(log)), max_size=8))
    assert samples(feed(by_name(name), cut(log, at))) == samples(feed(by_name(name), [log]))


@pytest.mark.slow
@every_format
@given(log=st.binary(max_size=300), at=st.lists(st.integers(0, 300), max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_samples_or_counted_errors_in_any_chunking(name: str, log: bytes, at: list[int]) -> None:
    whole = feed(by_name(name), [log])
    assert samples(feed(by_name(name), cut(log, at))) == samples(whole)
    assert sum(b.lines for b in whole) <= log.count(b"\n") + log.count(b"\r") + log.count(b"\b") + 1


@pytest.mark.slow
@every_format
@given(at=st.integers(0, 600), noise=st.binary(min_size=1, max_size=8))
@settings(deadline=None)
def test_damaged_bytes_in_a_good_log_raise_nothing_and_do_not_depend_on_the_cut(
    name: str, at: int, noise: bytes
) -> None:
    log = LOGS[name]
    damaged = log[:at] + noise + log[at + len(noise) :]
    assert samples(feed(by_name(name), random_cuts(damaged, 5, at))) == samples(feed(by_name(name), [damaged]))


@every_format_of_lines
@pytest.mark.parametrize("size", [MAX_LINE_BYTES + 1, 3 * MAX_LINE_BYTES])
def test_a_line_that_is_too_long_is_dropped_and_counted_once_and_the_next_line_is_read(name: str, size: int) -> None:
    log = LOGS[name]
    long = b"x" * size + b"\n"
    expected = samples(feed(by_name(name), [log + b"\n" + log]))
    for chunk in (1 << 16, MAX_LINE_BYTES // 2 + 7, 8 * MAX_LINE_BYTES):
        data = log + b"\n" + long + log
        batches = feed(by_name(name), [data[i : i + chunk] for i in range(0, len(data), chunk)])
        assert samples(batches) == expected
        assert sum(b.errors.get(TOO_LONG, 0) for b in batches) == 1


@every_format_of_lines
def test_of_a_line_without_end_no_more_than_its_limit_is_kept(name: str) -> None:
    reader = by_name(name)
    rest = 0
    for _ in range(40):
        data = b"y" * (rest + (1 << 18))
        _, used = reader.feed(data)
        rest = len(data) - used
        assert rest <= MAX_LINE_BYTES
    assert restore(name, reader.state()).feed(b"z\n")[1] == 2


@every_format
def test_the_state_is_plain_json(name: str) -> None:
    reader = by_name(name)
    reader.feed(LOGS[name])
    assert json.loads(json.dumps(reader.state())) == reader.state()


HOSTILE = [
    b"a" * MAX_LINE_BYTES,
    b"1,111," * (MAX_LINE_BYTES // 6),
    b"9" * MAX_LINE_BYTES,
    b"{'" * (MAX_LINE_BYTES // 2),
    b"[" * MAX_LINE_BYTES,
    b'{"a":' * (MAX_LINE_BYTES // 5),
    b"\x1b]" * (MAX_LINE_BYTES // 2),
    b"loss " * (MAX_LINE_BYTES // 5),
    b"loss: 1 " * (MAX_LINE_BYTES // 8),
    b'"' * MAX_LINE_BYTES,
    b'{"loss": ' + b"9" * 5000 + b"}",
    b'{"loss": 1' + b"0" * 400 + b"}",
    b'{"loss": -1e999}',
    b"a(" * (MAX_LINE_BYTES // 2),
]


@pytest.mark.slow
@every_format_of_lines
@pytest.mark.parametrize("number", range(len(HOSTILE)))
@pytest.mark.timeout(20)
def test_a_hostile_line_neither_stalls_nor_raises(name: str, number: int) -> None:
    # The limit of time is some hundred times what it takes; quadratic work on a line of a megabyte would take hours.
    batch, used = by_name(name).feed(HOSTILE[number] + b"\n")
    assert used == len(HOSTILE[number]) + 1
    assert batch.lines == 1


def test_an_unknown_format_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"one of tfevents, .*Did you mean json\?"):
        by_name("json1")
