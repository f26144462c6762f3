"""A user's own pattern."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.format_samples import cut, feed, samples, values

from lrwatch import formats
from lrwatch.errors import ConfigError
from lrwatch.formats import pattern as module
from lrwatch.formats.lines import MAX_LINE_BYTES
from lrwatch.formats.lines import TOO_LONG as DROPPED
from lrwatch.formats.pattern import MAX_BACKTRACKED, MAX_LINEAR, MAX_PATTERN, NOT_A_NUMBER, TOO_LONG, Pattern
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


@pytest.fixture(params=["re2", "re"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """With google-re2, and as if it were not installed."""
    if request.param == "re":
        monkeypatch.setitem(sys.modules, "re2", None)
    else:
        pytest.importorskip("re2", reason="google-re2 is not installed")
    module._expression.cache_clear()
    yield request.param
    module._expression.cache_clear()


@pytest.fixture
def without_re2(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "re2", None)
    module._expression.cache_clear()
    yield
    module._expression.cache_clear()


def read(log: bytes, *patterns: str) -> list[tuple[str, int, str]]:
    return samples(feed(Pattern(patterns), [log]))


def test_groups_are_metrics_at_their_step_and_epochs_and_steps_place_them(engine: str) -> None:
    assert read(b"x step 7 of 9, loss = 2.5 y\nstep 8 ... loss: 2.25\n", BOTH) == [
        ("loss", 7, "2.5"),
        ("loss", 8, "2.25"),
    ]
    batches = feed(Pattern([r"epoch (?P<epoch>\d+) val_loss (?P<val_loss>\S+)"]), [b"epoch 3 val_loss 0.5\n"])
    assert values(batches, "val_loss") == [(3, 0.5)]
    assert batches[0].axis == "epoch"


def test_values_may_be_nan_infinite_with_commas_or_followed_by_one_and_others_are_counted(engine: str) -> None:
    spelled = ["nan", "-inf", "nan(ind)", "7,034", "-1,234,567.5", "2.5,", "1e-3;", "1,2", "none", "0x10", "12:30"]
    log = b"".join(b"loss=%s\n" % text.encode() for text in spelled)
    batches = feed(Pattern([LOSS]), [log])
    found = [repr(value) for _, value in values(batches, "loss")]
    assert found == ["nan", "-inf", "nan", "7034.0", "-1234567.5", "2.5", "0.001"]
    assert batches[0].errors == {NOT_A_NUMBER: 4}


def test_a_group_that_took_no_part_gives_nothing(engine: str) -> None:
    (batch, _) = Pattern([VALIDATION]).feed(b"val 2.5\nval 2.25 acc 0.5\n")
    assert samples([batch]) == [("val_loss", 0, "2.5"), ("acc", 1, "0.5"), ("val_loss", 1, "2.25")]
    assert not batch.errors


def test_all_that_several_patterns_find_in_a_line_is_one_record_and_the_last_value_counts(engine: str) -> None:
    log = b"loss: 2.5 at step 4\nloss: 1.5\nstep 9\nloss: 0.5\n"
    assert (
        read(log, STEP, LOSS) == read(log, LOSS, STEP) == [("loss", 4, "2.5"), ("loss", 4, "1.5"), ("loss", 9, "0.5")]
    )
    assert read(b"loss: 2.5 total 3.5\n", LOSS, r"total (?P<loss>\S+)") == [("loss", 0, "3.5")]


def test_a_pattern_with_name_and_value_gives_metrics_called_by_what_was_matched(engine: str) -> None:
    log = b"step=3 loss=2.5, lr=1e-3 note=abc loss=2.25\n"
    (batch, _) = Pattern([PAIRS]).feed(log)
    assert samples([batch]) == [("loss", 3, "2.25"), ("lr", 3, "0.001")]
    assert batch.errors == {NOT_A_NUMBER: 1}
    with_step = r"(?:it (?P<step>\d+) )?(?P<name>\w*)=(?P<value>\S+)"
    assert read(b"it 5 loss=2.5 =3 lr=0.5\n", with_step) == [("loss", 5, "2.5"), ("lr", 5, "0.5")]


def test_patterns_are_searched_line_by_line(engine: str) -> None:
    log = b"step 1\nloss: 2.5\nstep 2 loss: 1.5\n"
    assert read(log, r"step (?P<step>\d+)\s+loss: (?P<loss>\S+)") == [("loss", 2, "1.5")]
    assert read(log, r"(?s)step (?P<step>\d+).*loss: (?P<loss>\S+)") == [("loss", 2, "1.5")]
    assert read(b"loss 1\nx loss 2\nloss 3 x\n", r"^loss (?P<loss>\d)$") == [("loss", 0, "1.0")]


def test_both_engines_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("re2", reason="google-re2 is not installed")
    module._expression.cache_clear()
    patterns = [*PATTERNS, r"(?P<odd>[é|])=?", r"\s(?P<late>\d+)$", r"caf.=(?P<cafe>\w)"]
    by_re2 = feed(Pattern(patterns), [LOG])
    monkeypatch.setitem(sys.modules, "re2", None)
    module._expression.cache_clear()
    by_re = feed(Pattern(patterns), [LOG])
    module._expression.cache_clear()
    assert samples(by_re) == samples(by_re2)
    assert [batch.errors for batch in by_re] == [batch.errors for batch in by_re2]
    assert ("cafe", 1003, "3.0") not in samples(by_re), "a line without a step of its own keeps the last"
    assert ("cafe", 1, "3.0") in samples(by_re)


def test_a_log_fed_byte_by_byte_and_restarted_at_each_gives_the_same(engine: str) -> None:
    whole = feed(Pattern(PATTERNS), [LOG])
    bytewise = feed(Pattern(PATTERNS), [LOG[i : i + 1] for i in range(len(LOG))], restart=True)
    assert len(samples(whole)) > 8
    assert samples(bytewise) == samples(whole)
    assert sum(sum(b.errors.values()) for b in bytewise) == sum(sum(b.errors.values()) for b in whole) > 0


def test_steps_that_begin_again_with_each_epoch_are_those_of_the_run_after_a_restart_too(engine: str) -> None:
    log = b"".join(b"[%d][%d/30] loss %d\n" % (epoch, i, epoch) for epoch in (1, 2, 3) for i in (10, 20, 30))
    reader = Pattern([r"\[(?P<epoch>\d+)\]\[(?P<iter>\d+)/\d+\] loss (?P<loss>\S+)"])
    pieces = feed(reader, [log[i : i + 7] for i in range(0, len(log), 7)], restart=True)
    assert values(pieces, "loss") == [(10 * (i + 1), float(i // 3 + 1)) for i in range(9)]


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
    r"(?P<x>(a|a)*)$",
    r"(?P<x>(\w+\s?)*x)",
    r"(?P<x>(ab|ab)*c)",
    r"(?P<x>(ab?|a)*c)",
    r"(?P<x>(.*a){11}b)",
    r"^(?P<x>(([a-z])+.)+[A-Z]([a-z])+)$",
    r"(?P<x>([^x]*)*)$",
    r"(?P<x>(\S+)+)$",
    r"(?P<x>(a?){64})b",
    r"(?P<x>(?:[01]{1,2}|\d)*)z",
    r"(?P<x>\s*\s*\s*x)",
    "(?P<x>" + "a?" * 40 + ")c",
    "a" * 80 + r"(?P<x>(b+)+)$",
    r"(?P<x>(?:aaaaaaaaaa|a{10})*)$",
    r"(?i)(?P<x>(Q+)+)!",
    r"step.*?(?P<step>\d+).*?loss.*?(?P<loss>[\d.]+).*?lr.*?(?P<lr>\S+)",
]
# These take the square of the length at most, as the standard library compiles them.
HARMLESS = [r"(?P<x>(x|a|a)*c)", r"(?P<x>(?:\w|\d)*?)!x", r"(?P<x>([g-z]|[a-h])*);"]
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
        for text in (b"a", b"ab", b"0", b" ", b"step 0 loss: ")
        for size in (60, 1000)
    ),
    b"a" * (MAX_LINEAR - 1) + b"!",
    b"a" * (MAX_LINE_BYTES - 1) + b"!",
    b"a=" * (MAX_BACKTRACKED // 2 - 1),
]


# The limits of time are some hundred times what it takes; what backtracks without a guard would take years.
@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", SLOW)
def test_without_re2_a_pattern_that_can_take_long_is_refused(pattern: str, without_re2: None) -> None:
    with pytest.raises(ConfigError, match=r"can take \d+ ms for a line of \d+ characters.*Install lrwatch\[regex\]"):
        Pattern([pattern])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", ORDINARY)
def test_an_ordinary_pattern_is_taken(pattern: str, engine: str) -> None:
    assert Pattern([pattern]).state()["patterns"] == [pattern]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", [*SLOW, *HARMLESS, *ORDINARY])
def test_no_hostile_line_stalls_a_pattern_that_was_taken(pattern: str, engine: str) -> None:
    try:
        reader = Pattern([pattern])
    except ConfigError:
        assert engine == "re"
        assert pattern not in ORDINARY
        return
    for line in HOSTILE:
        batch, used = reader.feed(line + b"\n")
        assert used == len(line) + 1
        assert batch.lines == 1


@pytest.mark.timeout(60)
def test_all_matches_of_a_line_together_are_bounded_with_re2_too() -> None:
    pytest.importorskip("re2", reason="google-re2 is not installed")
    reader = Pattern([r"(?P<name>a*b|a)(?P<value>)"])  # each search looks at all of the line
    batch, _ = reader.feed(b"a" * MAX_BACKTRACKED + b"\n" + b"a" * (MAX_BACKTRACKED + 1) + b"\n")
    assert batch.errors == {NOT_A_NUMBER: MAX_BACKTRACKED, TOO_LONG: 1}


def test_a_line_that_is_too_long_is_counted_and_the_others_are_read(engine: str) -> None:
    limit = MAX_LINEAR if engine == "re2" else MAX_BACKTRACKED
    fits = b"loss=2" + b" " * (limit - 6)
    batches = feed(
        Pattern([LOSS]), [fits + b"\n" + fits + b" \nloss=3\n" + b"x" * (MAX_LINE_BYTES + 1) + b"\nloss=4\n"]
    )
    assert [value for _, value in values(batches, "loss")] == [2.0, 3.0, 4.0]
    assert batches[0].errors == {TOO_LONG: 1, DROPPED: 1}


# ---- patterns that cannot be used ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (["("], ["pattern '('", "a regular expression", "position 0"]),
        (["loss (.*)"], ["named groups", "found none", r"(?P<loss>\S+)"]),
        ([""], ["named groups"]),
        ([], ["found none"]),
        ([LOSS, "(?P<x>a)(?P<x>b)"], ["pattern '(?P<x>a)(?P<x>b)'", "redefinition of group name 'x'"]),
        (["(?P<x>a)\n(?P<y>b)"], ["several lines", "several patterns"]),
        (["(?P<x>" + "a" * MAX_PATTERN + ")"], [f"at most {MAX_PATTERN}"]),
        (["(?P<x>" + "(" * 900 + ")" * 900 + r")\1"], ["a regular expression"]),
    ],
)
def test_a_pattern_that_cannot_be_used_is_told(patterns: list[str], words: list[str], engine: str) -> None:
    with pytest.raises(ConfigError) as error:
        Pattern(patterns)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_lookarounds_and_backreferences_are_searched_by_the_standard_library(engine: str) -> None:
    assert read(b"val loss=3\nloss=2\n", r"(?<!val )loss=(?P<loss>\d+)") == [("loss", 0, "2.0")]
    with pytest.raises(ConfigError, match="can take"):
        Pattern([r"x(?=(a+)+$)(?P<x>a)"])


def test_what_only_re2_understands_says_so_without_it(without_re2: None) -> None:
    with pytest.raises(ConfigError, match=r"install lrwatch\[regex\]"):
        Pattern([r"\pL(?P<x>\d)"])
    with pytest.raises(ConfigError, match="nested set"):
        Pattern([r"[[:alpha:]](?P<x>\d)"])


def test_a_format_name_without_a_pattern_says_how_to_write_one() -> None:
    with pytest.raises(ConfigError, match=re.escape("or pattern:REGEX")):
        formats.by_name("pattern")
    with pytest.raises(ConfigError, match="named groups"):
        formats.by_name("pattern:")
