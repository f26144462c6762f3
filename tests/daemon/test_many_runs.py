"""Many runs that grow at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.quadratic import Training

from lrwatch.config import load
from lrwatch.daemon.loop import Daemon
from lrwatch.store import Store

RUNS = 8


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "state", exclusive=True)) as made:
        yield made


def test_where_there_is_no_time_for_saving_only_what_presses_is_saved(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrwatch.daemon.loop.SAVE_SHARE", 0.0)
    logs = [tmp_path / "runs" / f"run{i}" / "train.jsonl" for i in range(RUNS)]
    trainings = [Training() for _ in logs]
    for log, training in zip(logs, trainings, strict=True):
        log.parent.mkdir(parents=True)
        log.write_text(training.lines(20))
    daemon = Daemon(load(flags={"watch.paths": (str(tmp_path / "runs"),)}), store, lambda _: None)
    daemon.discover()
    daemon.turn()
    assert len(store.runs()) == RUNS, "whose the metrics are is settled at once"
    logs[3].write_text('{"step": 1, "loss": 9.0, "lr": 0.1}\n')  # what was there cannot be read again
    for log, training in zip(logs, trainings, strict=True):
        with log.open("a") as file:
            file.write(training.lines(1))
    daemon.turn()
    saved = []
    for log in logs:
        state = store.load_log(log.parent.name, str(log))
        assert state is not None
        saved.append(state["tail"]["bookmark"]["offset"] == log.stat().st_size)
    assert saved == [i == 3 for i in range(RUNS)]
    daemon.close()
