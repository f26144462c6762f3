"""A state with a damaged page: what can be used is used, the rest is said in a sentence, and nothing ends in a traceback."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from support.daemon_process import lrwatch
from support.quadratic import Training

pytestmark = pytest.mark.slow

PAGE = 4096


def test_no_damaged_page_ends_in_a_traceback(tmp_path: Path) -> None:
    runs, state, damaged = tmp_path / "runs", tmp_path / "state", tmp_path / "damaged"
    for name in "ab":
        (runs / name).mkdir(parents=True)
        (runs / name / "train.jsonl").write_text(Training().lines(600))
    assert lrwatch("run", runs, "--once", "--state", state).returncode == 0
    database = sqlite3.connect(state / "lrwatch.sqlite")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    pages = (state / "lrwatch.sqlite").stat().st_size // PAGE
    refused = 0
    for page in range(1, min(pages, 13), 2):  # the tables; what follows are long rows
        shutil.copytree(state, damaged)
        with (damaged / "lrwatch.sqlite").open("r+b") as file:
            file.seek(page * PAGE)
            file.write(random.Random(page).randbytes(PAGE))
        for command in (["run", str(runs), "--once"], ["status"], ["journal"]):
            result = lrwatch(*command, "--state", damaged)
            assert "Traceback" not in result.stderr, (page, command, result.stderr)
            assert result.returncode in (0, 4)
            refused += result.returncode == 4
            assert result.returncode == 0 or "lrwatch: " in result.stderr
        shutil.rmtree(damaged)
    assert refused, "no page that was damaged held anything"
