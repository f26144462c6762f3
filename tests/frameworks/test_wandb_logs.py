"""Offline files that Weights & Biases itself writes, against what was logged."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.format_samples import feed, random_cuts, samples

from lrwatch.core.sample import Batch
from lrwatch.formats.wandb.format import Wandb

pytestmark = pytest.mark.frameworks

if importlib.util.find_spec("wandb") is None:
    pytest.skip("wandb is not installed", allow_module_level=True)

_PROGRAM = """
import math, wandb
run = wandb.init(project="p", mode="offline", settings=wandb.Settings(silent=True, console="off", x_disable_stats=True))
for i in range(400):
    run.log({"loss": math.nan if i == 5 else 2 / (i + 1), "opt": {"lr": 1e-3, "deep": {"x": -math.inf}}, "note": "x" * 200,
             "flag": True, "hist": wandb.Histogram([1, 2, 3])})
run.log({"big": "x" * 100_000})
run.log({"trainer/global_step": 5000, "val_loss": math.inf})
run.log({"val/acc": 0.5}, step=900)
run.finish()
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    where = tmp_path_factory.mktemp("wandb")
    homes = {f"WANDB_{name}_DIR": str(where) for name in ("CACHE", "CONFIG", "DATA")}
    environment = {
        **os.environ,
        **homes,
        "HOME": str(where),
        "WANDB_DIR": str(where),
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
    }
    # The process waits for wandb's service to end when it ends itself.
    subprocess.run([sys.executable, "-c", _PROGRAM], cwd=where, env=environment, check=True, timeout=120)
    (found,) = Path(where).glob("wandb/offline-run-*/run-*.wandb")
    return found.read_bytes()


def test_every_number_that_was_logged_is_a_sample_at_its_step(log: bytes) -> None:
    expected = []
    for i in range(400):
        loss = "nan" if i == 5 else repr(2 / (i + 1))
        expected += [("loss", i, loss), ("opt.deep.x", i, "-inf"), ("opt.lr", i, "0.001")]
    expected += [("val_loss", 5000, "inf"), ("val/acc", 5000, "0.5")]
    batches = read(log)
    assert samples(batches) == expected
    assert not any(batch.errors for batch in batches)
    assert len(log) > 5 * 32768


def test_any_cut_of_it_gives_the_same(log: bytes) -> None:
    assert Wandb.claims(log)
    assert samples(read(log, 50)) == samples(read(log))


def read(log: bytes, pieces: int = 0) -> list[Batch]:
    return feed(Wandb(), random_cuts(log, pieces, seed=1))
