"""The table of the life of a run: every pair of signs has a row, and the rows say what people expect."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from lrwatch.core.life import LIVES, OVER, TABLE, Signs, Told, life_of, row_of

EITHER = (False, True)
WORDS: tuple[Told, ...] = get_args(Told)
ALL = [
    Signs(samples, history, told, alive, silent, complete)
    for samples, history, told, alive, silent, complete in itertools.product(
        EITHER, EITHER, WORDS, (None, *EITHER), EITHER, EITHER
    )
]


def test_all_signs_have_a_row_and_every_row_is_of_use() -> None:
    used = {row_of(signs) for signs in ALL}
    assert used == set(TABLE)
    assert {row.life for row in TABLE} == set(LIVES) - {"removed"}, "a search says that the files are gone"


def test_a_run_whose_process_lives_is_never_over_unless_it_says_so() -> None:
    alive = [signs for signs in ALL if signs.alive and not signs.told]
    assert not {life_of(signs) for signs in alive} & OVER


def test_a_goodbye_is_an_end_whatever_else_is_seen_and_silence_never_makes_it_a_loss() -> None:
    assert {life_of(s) for s in ALL if s.told == "ended"} == {"ended", "finished"}


@pytest.mark.parametrize(
    ("signs", "life"),
    [
        (Signs(), "starting"),
        (Signs(alive=True, silent=True), "starting"),
        (Signs(alive=False), "lost"),
        (Signs(samples=True), "running"),
        (Signs(samples=True, alive=True, silent=True), "running"),
        (Signs(samples=True, silent=True), "lost"),
        (Signs(samples=True, silent=True, complete=True), "ended"),
        (Signs(samples=True, alive=False, complete=True), "lost"),
        (Signs(samples=True, told="failed", complete=True), "lost"),
        (Signs(samples=True, history=True, told="ended"), "finished"),
        (Signs(samples=True, history=True, alive=False), "finished"),
        (Signs(samples=True, history=True, alive=True), "running"),
        (Signs(history=True), "starting"),
    ],
)
def test_what_signs_make(signs: Signs, life: str) -> None:
    assert life_of(signs) == life
