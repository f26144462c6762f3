"""A log that restarts: delivered samples are dropped, new samples pass."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrwatch.core.sample import Batch, Column, Sample
from lrwatch.formats.csv import Csv
from lrwatch.sources.dedup import MAX_METRICS, RECENT, SPREAD, Deduplicator

NAN = float("nan")
Row = tuple[int, dict[str, float]]


def batch_of(rows: Sequence[Row]) -> Batch:
    """Rows as a format would give them."""
    names = dict.fromkeys(name for _, values in rows for name in values)
    columns = {}
    for name in names:
        which = [i for i, (_, values) in enumerate(rows) if name in values]
        columns[name] = Column(np.array(which, np.int64), np.array([rows[i][1][name] for i in which], np.float64))
    return Batch(np.array([step for step, _ in rows], np.int64), columns, lines=len(rows))


def shown(batch: Batch) -> list[str]:
    """The samples, comparable where they are NaN."""
    return [str(tuple(sample)[:3]) for sample in batch.samples()]


def losses(start: int, end: int, *, seed: float = 0.0) -> list[Row]:
    return [(step, {"loss": 10 / (step + 1) + seed}) for step in range(start, end)]


def reread(before: Sequence[Row], after: Sequence[Row]) -> list[str]:
    """Return what is delivered of a log that had `before` and restarts with `after`."""
    dedup = Deduplicator()
    assert shown(dedup.new(batch_of(before))) == shown(batch_of(before))
    dedup.rewind()
    return shown(dedup.new(batch_of(after)))


@pytest.mark.parametrize("known", [1, 5, RECENT, 3 * RECENT, 1000])
def test_the_same_rows_again_are_dropped_up_to_where_the_log_was(known: int) -> None:
    assert reread(losses(0, known), losses(0, known)) == []
    assert reread(losses(0, known), losses(0, known + 7)) == shown(batch_of(losses(known, known + 7)))


def test_nothing_that_begins_once_is_dropped() -> None:
    dedup = Deduplicator()
    rows = [*losses(0, 5), *losses(0, 5)]  # appended by a second run
    assert shown(dedup.new(batch_of(rows))) == shown(batch_of(rows))
    assert dedup.repeated == 0


@pytest.mark.parametrize("rows", [losses(0, 50, seed=1.0), losses(1000, 1010)], ids=["another run", "truncated copy"])
def test_another_first_sample_is_another_stream_and_all_of_it_is_new(rows: list[Row]) -> None:
    assert reread(losses(0, 500), rows) == shown(batch_of(rows))


def test_what_another_run_has_in_common_with_the_last_hides_none_of_it() -> None:
    first = [(epoch, {"lr": 0.1, "loss": 2.0 - epoch / 9}) for epoch in range(9)]
    second = [(epoch, {"lr": 0.1, "loss": 2.5 - epoch / 9}) for epoch in range(9)]
    assert reread(first, second) == shown(batch_of(second))


def test_a_resume_that_computed_the_last_rows_again_is_new_from_the_first_that_differs() -> None:
    before = losses(0, 1000)
    after = [*losses(0, 990), *losses(990, 1005, seed=0.01)]
    assert reread(before, after) == shown(batch_of(losses(990, 1005, seed=0.01)))


def test_a_resume_far_back_is_new_after_a_bounded_part_of_the_run() -> None:
    before = losses(0, 1000)
    after = [*losses(0, 300), *losses(300, 2000, seed=0.01)]
    passed = reread(before, after)
    lost = 1700 - len(passed)
    assert 0 <= lost <= 1000 / (SPREAD / 2)
    assert passed == shown(batch_of(after[300 + lost :]))


def test_what_differs_is_forgotten_so_that_the_next_rewrite_is_compared_with_the_last() -> None:
    dedup = Deduplicator()
    dedup.new(batch_of(losses(0, 40)))
    resumed = [*losses(0, 30), *losses(30, 60, seed=0.5)]
    dedup.rewind()
    dedup.new(batch_of(resumed))
    dedup.rewind()
    assert shown(dedup.new(batch_of([*resumed, *losses(60, 61)]))) == shown(batch_of(losses(60, 61)))


def test_nan_is_what_it_was() -> None:
    before: list[Row] = [(0, {"loss": NAN}), (1, {"loss": -NAN}), (2, {"loss": float("inf")})]
    assert reread(before, [*before, (3, {"loss": NAN})]) == ["('loss', 3, nan)"]
    assert reread(before, [(0, {"loss": NAN}), (1, {"loss": 2.0})]) == ["('loss', 1, 2.0)"]


def test_a_new_column_is_new_beside_old_ones() -> None:
    before: list[Row] = [(1, {"loss": 2.5}), (2, {"loss": 2.25})]
    after: list[Row] = [*before, (2, {"val_loss": 2.75}), (3, {"loss": 2.0, "val_loss": 2.5})]
    dedup = Deduplicator()
    dedup.new(batch_of(before))
    dedup.rewind()
    passed = dedup.new(batch_of(after))
    assert list(passed.samples()) == [
        Sample("val_loss", 2, 2.75), Sample("loss", 3, 2.0), Sample("val_loss", 3, 2.5)
    ]  # fmt: skip
    assert passed.steps.tolist() == [2, 3]
    assert (passed.lines, dedup.repeated) == (4, 2)


def test_rewritten_with_another_header_the_csv_gives_what_is_new() -> None:
    dedup = Deduplicator()
    before = b"epoch,step,loss\n0,9,2.5\n0,19,2.25\n"
    after = b"epoch,loss,step,val_loss\n0,2.5,9,\n0,2.25,19,\n0,,19,2.75\n1,2.0,29,\n"
    dedup.new(Csv().feed(before)[0])
    dedup.rewind()
    passed = dedup.new(Csv().feed(after)[0])
    assert [s for s in passed.samples() if s.metric != "epoch"] == [
        Sample("val_loss", 19, 2.75), Sample("loss", 29, 2.0)
    ]  # fmt: skip


def test_a_file_seen_empty_and_then_half_written_gives_each_sample_once() -> None:
    dedup = Deduplicator()
    dedup.new(batch_of(losses(0, 100)))
    dedup.rewind()  # truncated by its writer
    dedup.rewind()
    assert shown(dedup.new(batch_of(losses(0, 40)))) == []
    dedup.rewind()
    assert shown(dedup.new(batch_of(losses(0, 70)))) == []
    assert shown(dedup.new(batch_of(losses(70, 105)))) == shown(batch_of(losses(100, 105)))
    assert shown(dedup.new(batch_of(losses(105, 107)))) == shown(batch_of(losses(105, 107)))


def test_a_document_that_became_shorter_is_new_where_it_grows_again() -> None:
    dedup = Deduplicator()
    for rows, new in [
        (losses(0, 70), losses(0, 70)),
        (losses(0, 80), losses(70, 80)),
        (losses(0, 50), []),  # a checkpoint's copy took its place
        ([*losses(0, 50), *losses(50, 55, seed=0.1)], losses(50, 55, seed=0.1)),
    ]:
        dedup.rewind()
        assert shown(dedup.new(batch_of(rows))) == shown(batch_of(new))
        dedup.complete()


def test_the_memory_is_bounded_in_samples_and_metrics() -> None:
    dedup = Deduplicator()
    dedup.new(batch_of([(0, {f"m{i}": 1.0 for i in range(MAX_METRICS + 10)})]))
    assert len(dedup.state()["metrics"]) == MAX_METRICS
    dedup = Deduplicator()
    sizes = []
    for start in range(0, 20_000, 2000):
        dedup.new(batch_of(losses(start, start + 2000)))
        sizes.append(len(json.dumps(dedup.state())))
    assert max(sizes) <= 12 * (RECENT + SPREAD) + 100
    assert all(len(m[2]) <= SPREAD and len(m[3]) <= RECENT for m in dedup.state()["metrics"].values())


values = st.sampled_from([0.0, 1.0, NAN, float("inf")])
rows = st.lists(
    st.tuples(st.integers(0, 3), st.dictionaries(st.sampled_from(["a", "b", "c"]), values, max_size=3)), max_size=60
)


@pytest.mark.slow
@given(first=rows, common=st.integers(0, 60), second=rows, data=st.data())
@settings(deadline=None)
def test_neither_the_cuts_nor_restarts_between_them_change_what_passes(
    first: list[Row], common: int, second: list[Row], data: st.DataObject
) -> None:
    def passed(
        dedup: Deduplicator, stream: list[Row], cuts: list[int], *, restart: bool
    ) -> tuple[Deduplicator, list[str]]:
        found = []
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            found += shown(dedup.new(batch_of(stream[start:end])))
            if restart:
                restarted = Deduplicator()
                restarted.restore(json.loads(json.dumps(dedup.state())))
                dedup = restarted
        return dedup, found

    streams = [first, [*first[:common], *second], [*first[:common], *second, *first]]
    whole, cut = Deduplicator(), Deduplicator()
    for stream in streams:
        whole.rewind()
        cut.rewind()
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
        whole, expected = passed(whole, stream, [], restart=False)
        cut, found = passed(cut, stream, cuts, restart=True)
        assert sorted(found) == sorted(expected)
        assert cut.state() == whole.state()
