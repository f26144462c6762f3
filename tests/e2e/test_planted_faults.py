"""The games of test_stateful.py would notice a fault: each one that is planted in a copy of the package breaks an invariant.

The short test plants the faults that a few games find; `make test-stateful` plants all of them. See support/planted_faults.py.
"""

from __future__ import annotations

import os
import re

import pytest
from support.planted_faults import FAULTS, ROOT, Fault, games_until_found

# Faults that a few seconds of games find.
QUICK = sorted(FAULTS, key=lambda fault: fault.games)[:3]
# How often a game's luck may cost more games than docs/guarantees.md says: what a training draws at random is different each time.
LUCK = 4


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_fault_fits_the_code_in_one_place_and_is_still_python(fault: Fault) -> None:
    for path, old, new in fault.edits:
        text = (ROOT / "lrwatch" / path).read_text(encoding="utf-8")
        assert text.count(old) == 1, "the code has changed; change the fault with it"
        compile(text.replace(old, new), path, "exec")


def test_the_page_says_in_how_many_games_each_is_found() -> None:
    page = (ROOT / "docs/guarantees.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| (I\d|hold|trial|approval) \| (\d+) \|$", page, re.MULTILINE)
    assert rows == [(fault.name, fault.invariant, str(fault.games)) for fault in FAULTS]


def found(fault: Fault) -> None:
    games, said = games_until_found(fault, most=max(30, LUCK * fault.games), seed=1)
    assert games, f"no game has found that {fault.name}"
    assert said.startswith("AssertionError"), said
    print(f"{fault.name}: game {games}: {said}")


@pytest.mark.slow
@pytest.mark.parametrize("fault", QUICK, ids=[fault.name for fault in QUICK])
def test_a_few_games_find_a_fault(fault: Fault) -> None:
    found(fault)


@pytest.mark.slow
@pytest.mark.skipif("STATEFUL_EXAMPLES" not in os.environ, reason="minutes each: make test-stateful")
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_the_games_find_every_fault(fault: Fault) -> None:
    found(fault)
