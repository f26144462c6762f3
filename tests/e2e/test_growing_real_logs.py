"""Other people's logs, fed a few lines at a time as if they were being written: the counts of the index, the findings of a replay."""

from __future__ import annotations

import csv
import random
import re
from pathlib import Path

import pytest

from lrwatch.config import load
from lrwatch.daemon.loop import Daemon
from lrwatch.daemon.replay import replay_file
from lrwatch.store import Entry, Store

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data/real is not beside this checkout")

# A GPT-2 log, JSON lines, and a sparse CSV; with the metric that the index counts.
LOGS = {
    "text_llmc/KellerJordan__modded-nanogpt__llmc_main.log": ("trl", "tel"),
    "jsonl_llamafactory/syGOAT__Mistral-v0.2-Translator-bf16__trainer_log.jsonl": ("loss", ""),
    "csv_algoperf/mlcommons__submissions_algorithms__self_baseline_s2_imagenet_vit_jax.csv": (
        "loss",
        "validation/loss",
    ),
}


def promised(file: str) -> dict[str, tuple[int, float]]:
    """Number of values and the last one, by `train` and `val`, as the index has them."""
    with (REAL / "INDEX.csv").open(newline="") as index:
        truth = next(row["truth"] for row in csv.DictReader(index) if row["file"] == file)
    found = re.findall(r"(train|val): n=(\d+);first=[^;]*;last=\d+:([^|]+)", truth)
    return {which: (int(count), float(last)) for which, count, last in found}


@pytest.mark.parametrize("file", LOGS)
def test_a_log_that_grows_gives_what_its_replay_gives(tmp_path: Path, file: str) -> None:
    lines = (REAL / file).read_bytes().splitlines(keepends=True)
    growing = tmp_path / Path(file).name
    config = load(flags={"watch.paths": (str(growing),)})
    told: list[Entry] = []
    store = Store(tmp_path / "state")
    daemon = Daemon(config, store, told.append, act=False)
    pieces = random.Random(0)
    at = 0
    try:
        while at < len(lines):
            count = pieces.choice((1, 7, 100, 400))
            torn = pieces.randrange(1, 20)  # a write that ends within a line
            piece = b"".join(lines[at : at + count])
            for part in (piece[:-torn], piece[-torn:]):
                with growing.open("ab") as log:
                    log.write(part)
                daemon.discover()
                daemon.read_all()
            at += count
        (watched,) = daemon.runs.values()
        samples = watched.counts["ingest"]["samples"]
        values = {status.name: status.value for status in watched.run.metrics()}
    finally:
        daemon.close()
        store.close()
    events: list[Entry] = []
    replayed = replay_file(REAL / file, load(), events.append)
    assert [entry.event for entry in told] == [entry.event for entry in events]
    assert samples == replayed.counts["ingest"]["samples"]
    train, val = LOGS[file]
    truth = promised(file)
    assert values[train] == pytest.approx(truth["train"][1])
    if val:
        assert values[val] == pytest.approx(truth["val"][1])
    assert samples >= truth["train"][0]
