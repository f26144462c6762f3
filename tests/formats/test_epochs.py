"""Steps that begin again with each epoch."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrwatch.formats.columns import Columns
from lrwatch.formats.epochs import EpochAxis

NONE = -1.0
Record = tuple[float, float]  # epoch, step; NONE where the record has none


def places(records: list[Record], cuts: list[int], *, restart: bool = False) -> list[int]:
    axis = EpochAxis()
    found = []
    for start, end in pairwise([0, *sorted(min(cut, len(records)) for cut in cuts), len(records)]):
        columns = Columns()
        for row, (epoch, step) in enumerate(records[start:end]):
            columns.add("loss", [row], [1.0])
            if epoch != NONE:
                columns.add("epoch", [row], [epoch])
            if step != NONE:
                columns.add("step", [row], [step])
        found += axis.batch(end - start, columns).steps.tolist()
        if restart:
            state = json.loads(json.dumps(axis.state()))
            axis = EpochAxis()
            axis.restore(state)
    return found


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([(1, 50), (1, 100), (2, 50), (2, 100), (3, 50)], [50, 100, 150, 200, 250]),
        ([(0, 0), (0, 50), (1, 0), (1, 50), (2, 0)], [0, 50, 51, 101, 102]),
        ([(1, 50), (1, 100), (2, 50), (3, 50), (1, 50)], [50, 100, 150, 250, 50]),  # the last is another run
        ([(1, 50), (1, 100), (1, NONE), (2, 50)], [50, 100, 100, 150]),
        ([(1, 50), (1, 100), (NONE, 1), (2, 150), (NONE, 2)], [50, 100, 100, 150, 150]),  # mmengine
        ([(1, 50), (2, 100), (3, 150), (1, 50)], [50, 100, 150, 50]),  # steps of the run
        ([(0.5, 50), (1.0, 100), (0.75, 50), (2.0, 80)], [50, 100, 50, 80]),  # another run, with other epochs
        ([(4, 80), (5, 40)], [80, 4 * 80 + 40]),  # resumed: the first epoch has no length
        ([(NONE, 5), (NONE, 3)], [5, 3]),
    ],
)
def test_steps_count_the_run(records: list[Record], expected: list[int]) -> None:
    assert places(records, []) == expected
    assert places(records, list(range(len(records))), restart=True) == expected


@given(
    st.lists(
        st.tuples(st.sampled_from([NONE, 0, 1, 2, 2.5, 3]), st.sampled_from([NONE, 0, 1, 2, 10, 20])), max_size=30
    ),
    st.lists(st.integers(0, 30), max_size=6),
)
def test_any_cut_gives_the_same_places(records: list[Record], cuts: list[int]) -> None:
    assert places(records, cuts, restart=True) == places(records, [])


@given(st.integers(0, 1), st.lists(st.integers(2, 9), min_size=1, max_size=6), st.integers(0, 1))
def test_within_a_run_no_step_falls(first_epoch: int, lengths: list[int], first_step: int) -> None:
    records = [
        (float(epoch), float(step))
        for epoch, length in enumerate(lengths, first_epoch)
        for step in range(first_step, length + first_step)
    ]
    found = places(records, [])
    assert all(a <= b for a, b in pairwise(found))
