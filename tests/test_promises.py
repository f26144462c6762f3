"""docs/guarantees.md and SECURITY.md name tests for what they promise: the tests are there, and no promise is without one."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUARANTEES, SECURITY = ROOT / "docs/guarantees.md", ROOT / "SECURITY.md"
THREATS = 26
_TEST = re.compile(r"\[`(test_\w+)`\]\((?:\.\./)?(tests/[\w/]+\.py)\)")


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    below = page.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def named_in(text: str) -> set[str]:
    """The tests that a text names, as pytest calls them."""
    return {f"{path}::{name}" for name, path in _TEST.findall(text)}


PROMISES = [
    *rows(GUARANTEES, "Four promises"),
    *[row[1:] for row in rows(GUARANTEES, "Eight invariants")],
    *rows(GUARANTEES, "What else holds"),
]
NAMED = named_in(GUARANTEES.read_text(encoding="utf-8")) | named_in(SECURITY.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted({test.partition("::")[0] for test in NAMED}))
def test_every_test_that_is_named_is_there(path: str) -> None:
    there = re.findall(r"^def (test_\w+)\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    assert {test.partition("::")[2] for test in NAMED if test.startswith(f"{path}::")} <= set(there)
    assert Path(path).name.startswith("test_")


@pytest.mark.slow  # `make test-fast` collects a part only
def test_a_promise_has_as_many_cases_as_it_says_at_the_least(request: pytest.FixtureRequest) -> None:
    cases = Counter(item.nodeid.partition("[")[0].partition("@")[0] for item in request.session.items)
    if NAMED - set(cases):
        pytest.skip("this session has not collected all tests")
    for promise, _, tests, number, _ in PROMISES:
        assert sum(cases[test] for test in named_in(tests)) >= int(number) > 0, promise


def test_each_promise_and_each_invariant_has_a_row_with_tests_and_a_mechanism() -> None:
    names = ["Do no harm.", "Tell the truth.", "Be worth it.", "Be simple to live with."]
    assert [re.findall(r"^\*\*(.+?)\*\*", row[0])[0] for row in rows(GUARANTEES, "Four promises")] == names
    assert [row[0] for row in rows(GUARANTEES, "Eight invariants")] == [f"**I{number}**" for number in range(1, 9)]
    what_else = [row[0] for row in rows(GUARANTEES, "What else holds")]
    assert [re.findall(r"^\*\*(.+?)\*\*", promise)[0] for promise in what_else] == [
        "Any system call may fail.", "One daemon commands.", "A missing end shows.", "A table is text.", "The tests would notice.",
    ]  # fmt: skip
    for promise, mechanism, tests, _, _ in PROMISES:
        assert mechanism, promise
        assert named_in(tests), promise


def test_each_threat_has_a_row_with_a_test_or_says_that_nothing_stops_it() -> None:
    table = rows(SECURITY, "Threats")
    assert [row[0] for row in table] == [str(number) for number in range(1, THREATS + 1)]
    for _, threat, who, stop, tests, remains in table:
        assert threat, table
        assert who, threat
        assert remains, threat
        assert named_in(tests) or stop == "nothing", threat


def test_every_link_to_a_test_is_written_so_that_it_is_checked() -> None:
    for page in (GUARANTEES, SECURITY):
        text = page.read_text(encoding="utf-8")
        assert len(re.findall(r"`test_\w+`", text)) == len(_TEST.findall(text))
