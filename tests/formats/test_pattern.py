"""A user's own pattern."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from pathlib import Path

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from support.format_samples import cut, feed, samples, values

from lrwatch import formats
from lrwatch.errors import ConfigError
from lrwatch.formats.lines import MAX_LINE_BYTES
from lrwatch.formats.lines import TOO_LONG as DROPPED
from lrwatch.formats.pattern import (
    LINES_PER_TIMEOUT,
    MAX_TIMEOUTS,
    NOT_A_NUMBER,
    SET_ASIDE,
    TIMED_OUT,
    TIMEOUT_SECONDS,
    Pattern,
    required,
)
from lrwatch.sources.table import read_log

STEP = r"step\s+(?P<step>\d+)"
LOSS = r"loss\s*[:=]\s*(?P<loss>\S+)"
BOTH = r"step\s+(?P<step>\d+).*?loss\s*[:=]\s*(?P<loss>\S+)"
PAIRS = r"(?P<name>\w+)=(?P<value>\S+)"
VALIDATION = r"val (?P<val_loss>\S+)(?: acc (?P<acc>\S+))?"

LOG = (
    b"starting with lr=0.1\n"
    b"step 1 loss: 2.5, lr=1e-3\r\n"
    b"\x1b[32mstep\x1b[0m 2 loss=nan lr=1e-3\r"
    b"step 1,003 loss: -inf val 7,034.5; acc none\n"
    b"no numbers here\n"
    b"val 2.25\n"
    b"val 1.75 acc 0.5 caf\xc3\xa9=3 \xff\xfe=4\n"
    b"\n"
    b"step 5 loss: 1.5"  # torn
)
PATTERNS = (STEP, LOSS, VALIDATION, PAIRS)


def read(log: bytes, *patterns: str) -> list[tuple[str, int, str]]:
    return samples(feed(Pattern(patterns), [log]))


def test_groups_are_metrics_at_their_step_and_epochs_and_steps_place_them() -> None:
    assert read(b"x step 7 of 9, loss = 2.5 y\nstep 8 ... loss: 2.25\n", BOTH) == [
        ("loss", 7, "2.5"),
        ("loss", 8, "2.25"),
    ]
    batches = feed(Pattern([r"epoch (?P<epoch>\d+) val_loss (?P<val_loss>\S+)"]), [b"epoch 3 val_loss 0.5\n"])
    assert values(batches, "val_loss") == [(3, 0.5)]
    assert batches[0].axis == "epoch"


def test_values_may_be_nan_infinite_with_commas_or_followed_by_one_and_others_are_counted() -> None:
    spelled = ["nan", "-inf", "nan(ind)", "7,034", "-1,234,567.5", "2.5,", "1e-3;", "1,2", "none", "0x10", "12:30"]
    log = b"".join(b"loss=%s\n" % text.encode() for text in spelled)
    batches = feed(Pattern([LOSS]), [log])
    found = [repr(value) for _, value in values(batches, "loss")]
    assert found == ["nan", "-inf", "nan", "7034.0", "-1234567.5", "2.5", "0.001"]
    assert batches[0].errors == {NOT_A_NUMBER: 4}


def test_a_group_that_took_no_part_gives_nothing() -> None:
    (batch, _) = Pattern([VALIDATION]).feed(b"val 2.5\nval 2.25 acc 0.5\n")
    assert samples([batch]) == [("val_loss", 0, "2.5"), ("acc", 1, "0.5"), ("val_loss", 1, "2.25")]
    assert not batch.errors


def test_all_that_several_patterns_find_in_a_line_is_one_record_and_the_last_value_counts() -> None:
    log = b"loss: 2.5 at step 4\nloss: 1.5\nstep 9\nloss: 0.5\n"
    assert (
        read(log, STEP, LOSS) == read(log, LOSS, STEP) == [("loss", 4, "2.5"), ("loss", 4, "1.5"), ("loss", 9, "0.5")]
    )
    assert read(b"loss: 2.5 total 3.5\n", LOSS, r"total (?P<loss>\S+)") == [("loss", 0, "3.5")]


def test_a_pattern_with_name_and_value_gives_metrics_called_by_what_was_matched() -> None:
    log = b"step=3 loss=2.5, lr=1e-3 note=abc loss=2.25\n"
    (batch, _) = Pattern([PAIRS]).feed(log)
    assert samples([batch]) == [("loss", 3, "2.25"), ("lr", 3, "0.001")]
    assert batch.errors == {NOT_A_NUMBER: 1}
    with_step = r"(?:it (?P<step>\d+) )?(?P<name>\w*)=(?P<value>\S+)"
    assert read(b"it 5 loss=2.5 =3 lr=0.5\n", with_step) == [("loss", 5, "2.5"), ("lr", 5, "0.5")]


def test_patterns_are_searched_line_by_line() -> None:
    log = b"step 1\nloss: 2.5\nstep 2 loss: 1.5\n"
    assert read(log, r"step (?P<step>\d+)\s+loss: (?P<loss>\S+)") == [("loss", 2, "1.5")]
    assert read(log, r"(?s)step (?P<step>\d+).*loss: (?P<loss>\S+)") == [("loss", 2, "1.5")]
    assert read(b"loss 1\nx loss 2\nloss 3 x\n", r"^loss (?P<loss>\d)$") == [("loss", 0, "1.0")]


def test_classes_are_those_of_ascii_and_other_characters_can_be_searched() -> None:
    found = read(LOG, *PATTERNS, r"(?P<odd>[é|])=?", r"\s(?P<late>\d+)$", r"caf.=(?P<cafe>\w)")
    assert ("cafe", 1003, "3.0") not in found, "a line without a step of its own keeps the last"
    assert ("cafe", 1, "3.0") in found
    assert read("loss=٣\n".encode(), r"loss=(?P<loss>\d)") == []


def test_a_log_fed_byte_by_byte_and_restarted_at_each_gives_the_same() -> None:
    whole = feed(Pattern(PATTERNS), [LOG])
    bytewise = feed(Pattern(PATTERNS), [LOG[i : i + 1] for i in range(len(LOG))], restart=True)
    assert len(samples(whole)) > 8
    assert samples(bytewise) == samples(whole)
    assert sum(sum(b.errors.values()) for b in bytewise) == sum(sum(b.errors.values()) for b in whole) > 0


def test_steps_that_begin_again_with_each_epoch_are_those_of_the_run_after_a_restart_too() -> None:
    log = b"".join(b"[%d][%d/30] loss %d\n" % (epoch, i, epoch) for epoch in (1, 2, 3) for i in (10, 20, 30))
    reader = Pattern([r"\[(?P<epoch>\d+)\]\[(?P<iter>\d+)/\d+\] loss (?P<loss>\S+)"])
    pieces = feed(reader, [log[i : i + 7] for i in range(0, len(log), 7)], restart=True)
    assert values(pieces, "loss") == [(10 * (i + 1), float(i // 3 + 1)) for i in range(9)]


@pytest.mark.slow
@given(data=st.data())
@settings(deadline=None)
def test_any_lines_in_any_chunking_give_the_same_samples(data: st.DataObject) -> None:
    parts = [*LOG.splitlines(keepends=True), b"\r", b"\n", b"\0", b"\x1b[", b"loss=1=2\n", b"x" * 9000, b"y" * 1500]
    log = b"".join(data.draw(st.lists(st.sampled_from(parts), max_size=30)))
    at = data.draw(st.lists(st.integers(0, len(log)), max_size=8))
    whole = feed(Pattern(PATTERNS), [log])
    pieces = feed(Pattern(PATTERNS), cut(log, at))
    assert samples(pieces) == samples(whole)
    assert sum(sum(b.errors.values()) for b in pieces) == sum(sum(b.errors.values()) for b in whole)


@given(log=st.binary(max_size=300), at=st.lists(st.integers(0, 300), max_size=6))
@settings(deadline=None)
def test_any_bytes_give_samples_or_counted_errors_in_any_chunking(log: bytes, at: list[int]) -> None:
    patterns = (r"(?P<x>.+)", r"(?P<name>\S)(?P<value>\S)")
    whole = feed(Pattern(patterns), [log])
    assert samples(feed(Pattern(patterns), cut(log, at))) == samples(whole)


def test_the_state_is_plain_json_and_carries_the_patterns() -> None:
    reader = formats.by_name("pattern:" + "\n".join(PATTERNS))
    reader.feed(LOG)
    state = json.loads(json.dumps(reader.state()))
    assert state == reader.state()
    restored = formats.restore("pattern", state)
    assert restored.state() == state
    assert samples([restored.feed(b"loss: 1\n")[0]]) == samples([reader.feed(b"loss: 1\n")[0]])


def test_a_pattern_is_a_format_of_read_log(tmp_path: Path) -> None:
    file = tmp_path / "train.log"
    file.write_bytes(LOG)
    table = read_log(file, format=f"pattern:{BOTH}")
    assert list(table.columns) == ["step", "loss"]
    assert table.attrs["format"] == "pattern"
    assert list(table["step"]) == [1, 2, 1, 5], "a digit ends at a comma"


# ---- lines and patterns that take long --------------------------------------------------------------------------------


SLOW = [
    r"(?P<x>(a+)+)$",
    r"(?P<x>(a+)+b)",
    r"(?P<x>(a|a)*)$",
    r"(?P<x>(\w+\s?)*x)",
    r"(?P<x>(ab?|a)*c)",
    r"(?P<x>(.*a){11}b)",
    r"^(?P<x>(([a-z])+.)+[A-Z]([a-z])+)$",
    r"(?P<x>([^x]*)*)$",
    r"(?P<x>(a?){64})b",
    r"(?P<x>\s*\s*\s*x)",
    "(?P<x>" + "a?" * 40 + ")c",
    r"step.*?(?P<step>\d+).*?loss.*?(?P<loss>[\d.]+).*?lr.*?(?P<lr>\S+)",
    r"x(?=(a+)+$)(?P<x>a)",
    r"(?P<name>a*b|a)(?P<value>)",  # each match is found at once, but there are many
    r"(?P<x>(?R)?a)b",
]
ORDINARY = [
    BOTH,
    STEP,
    LOSS,
    PAIRS,
    VALIDATION,
    r"^\[[^]]*\] epoch (?P<epoch>\d+), loss (?P<loss>[-+.\deE]+|nan|inf)",
    r"\b(?P<loss>\d+\.\d+)\b",
    r"(?:\S+\s+){3}(?P<loss>\S+)",
]
HOSTILE = [
    *(
        b"%s!" % (text * (size // len(text)))
        for text in (b"a", b"ab", b"0", b" ", b"step 0 loss: ", b"x" + b"a" * 40)
        for size in (60, 1000, 100_000)
    ),
    b"a" * (MAX_LINE_BYTES - 1) + b"!",
    b"a=" * 20_000,
]


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", [*SLOW, *ORDINARY])
def test_no_hostile_line_stalls_a_pattern(pattern: str) -> None:
    reader = Pattern([pattern])
    for line in HOSTILE:
        started = time.process_time()
        batch, used = reader.feed(line + b"\n")
        # Some times what it takes; without a time-out it would be years.
        assert time.process_time() - started < 25 * TIMEOUT_SECONDS + 1e-5 * len(line)
        assert used == len(line) + 1
        assert batch.lines == 1


def test_a_line_on_which_the_pattern_times_out_is_counted_and_the_others_are_read() -> None:
    log = b"loss aaab=1\nloss " + b"a" * 5000 + b"!\nloss aab=2\n"
    (batch, used) = Pattern([r"loss (a+)+b=(?P<loss>\d)"]).feed(log)
    assert values([batch], "loss") == [(0, 1.0), (1, 2.0)]
    assert batch.errors == {TIMED_OUT: 1}
    assert used == len(log)


def test_of_a_line_that_timed_out_no_match_counts() -> None:
    log = b"a=1 " + b"c" * 5000 + b"!=2\n"
    (batch, _) = Pattern([r"(?P<name>a|(c+)+d?)=(?P<value>\d)"]).feed(log)
    assert (batch.rows, batch.errors) == (0, {TIMED_OUT: 1})


HOSTILE_LINE = b"a" * 5000 + b"!\n"


def test_a_pattern_that_times_out_again_and_again_is_set_aside_whatever_the_cut_and_the_restart() -> None:
    log = HOSTILE_LINE * (MAX_TIMEOUTS + 5) + b"aab=1\n" * 10
    for chunks in ([log], [log[at : at + 9973] for at in range(0, len(log), 9973)]):
        batches = feed(Pattern([r"(?P<x>(a+)+b=1)", r"=(?P<y>\d)"]), chunks, restart=True)
        errors = sum((Counter(batch.errors) for batch in batches), Counter[str]())
        assert errors == {TIMED_OUT: MAX_TIMEOUTS + 1, SET_ASIDE: 4 + 10}
        assert len(values(batches, "y")) == 10, "the other pattern continues"


def test_a_pattern_that_was_set_aside_is_tried_again_after_some_lines() -> None:
    reader = Pattern([r"(?P<x>(?:a+)+b|2)"])
    reader.feed(HOSTILE_LINE * (MAX_TIMEOUTS + 1))
    (batch, _) = reader.feed(b"2\n" * 3 * LINES_PER_TIMEOUT)
    assert batch.errors[SET_ASIDE] == pytest.approx(LINES_PER_TIMEOUT, abs=2 * MAX_TIMEOUTS)
    assert batch.rows == 3 * LINES_PER_TIMEOUT - batch.errors[SET_ASIDE]
    (batch, _) = reader.feed(HOSTILE_LINE)
    assert batch.errors == {TIMED_OUT: 1}


def test_a_very_long_line_that_times_out_sets_its_pattern_aside_at_once() -> None:
    reader = Pattern([r"(?P<x>(a+)+b)"])
    (batch, _) = reader.feed(b"a" * 200_000 + b"!\n" + b"aab\n")
    assert batch.errors == {TIMED_OUT: 1, SET_ASIDE: 1}


def test_a_hostile_log_times_out_once_in_some_lines() -> None:
    reader = Pattern([r"(?P<x>(a+)+b)|z"])
    (batch, _) = reader.feed(HOSTILE_LINE * 5 * LINES_PER_TIMEOUT)
    assert batch.errors[TIMED_OUT] == pytest.approx(MAX_TIMEOUTS + 5, abs=1)
    assert sum(batch.errors.values()) == 5 * LINES_PER_TIMEOUT


@pytest.mark.parametrize("size", [600, 100_000, MAX_LINE_BYTES - 20])
def test_a_long_line_is_read(size: int) -> None:
    batches = feed(Pattern([LOSS]), [b"x" * size + b" loss=2\nloss=3\n" + b"x" * (MAX_LINE_BYTES + 1) + b"\nloss=4\n"])
    assert [value for _, value in values(batches, "loss")] == [2.0, 3.0, 4.0]
    assert batches[0].errors == {DROPPED: 1}


# ---- patterns that cannot be used ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (["("], ["pattern '('", "a regular expression", "missing ) at position 1"]),
        (["loss (.*)"], ["named groups", "found none", r"(?P<loss>\S+)"]),
        ([""], ["named groups"]),
        ([], ["found none"]),
        ([LOSS, r"(?P<x>\q)"], [r"pattern '(?P<x>\\q)'", r"bad escape \q at position 8"]),
        (["(?P<x>[a)"], ["unterminated character set"]),
        (["(?P<x>a)\n(?P<y>b)"], ["found 2 lines", "several patterns"]),
        (["(?P<x>((a{999}){999}){999})"], ["at most 1000000 repeats within repeats", "found 997002999", "+ or *"]),
        (["(?P<x>" + "(" * 900 + ")" * 900 + r")\1"], ["a regular expression"]),
    ],
)
def test_a_pattern_that_cannot_be_used_is_told(patterns: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        Pattern(patterns)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_lookarounds_backreferences_and_properties_of_unicode_can_be_used() -> None:
    assert read(b"val loss=3\nloss=2\n", r"(?<!val )loss=(?P<loss>\d+)") == [("loss", 0, "2.0")]
    assert read(b"ab=1\naa=2\n", r"(\w)\1=(?P<x>\d)") == [("x", 0, "2.0")]
    assert read(b"e=1\n", r"\p{L}=(?P<x>\d)") == [("x", 0, "1.0")]
    assert read(b"a 1\nb 2\n", r"a (?P<x>\d)|b (?P<x>\d)") == [("x", 0, "1.0"), ("x", 1, "2.0")]


PARTS = ["a", "b", "=", "l", "1", ".", r"\.", r"\d", r"\w", "[ab]", "[]a]", r"[a\]b]", "[[:alpha:](]", "(", "(?:", "(?P<x>", "(?=",
         "(?!", "(?i)", ")", "|", "*", "+", "?", "{2}", "{0,2}", "{,2}", "{e<=1}", "{", "}", r"\x41", r"\L", "(?>", "(?#"]  # fmt: skip


@pytest.mark.slow
@given(parts=st.lists(st.sampled_from(PARTS), max_size=8), line=st.text("abAl=1.{}(<e ", max_size=10))
@settings(deadline=None, max_examples=500)
def test_a_match_has_the_text_that_each_match_needs(parts: list[str], line: str) -> None:
    try:
        compiled = regex.compile("".join(parts), regex.ASCII)
    except regex.error:
        return
    if compiled.search(line, timeout=1) is not None:
        assert required("".join(parts)) in line


def test_a_format_name_without_a_pattern_says_how_to_write_one() -> None:
    with pytest.raises(ConfigError, match=re.escape("or pattern:REGEX")):
        formats.by_name("pattern")
    with pytest.raises(ConfigError, match="named groups"):
        formats.by_name("pattern:")
