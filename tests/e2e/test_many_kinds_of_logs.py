"""Logs that are no growing file of lines, through the commands: a pipe, a compressed file, event files, a pattern, a rewrite."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.daemon_process import lrwatch
from support.event_files import event, scalar

pytestmark = pytest.mark.slow

LINES = "".join(f"step {i} of the training: loss {'nan' if i == 700 else 2.5 - i / 1000}\n" for i in range(1000))


def not_finite(printed: str) -> list[int]:
    """The steps at which a loss was found that is not finite."""
    events: list[dict[str, Any]] = [json.loads(line) for line in printed.splitlines()]
    return [event["step"] for event in events if event.get("kind") == "nonfinite"]


def test_standard_input_is_read_to_its_end(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "lrwatch", "run", "-", "--once", "--format", "json", "--state", str(tmp_path / "state")],
        input=LINES, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert not_finite(ended.stdout) == [700]


def test_a_compressed_log_is_replayed_like_the_log_itself(tmp_path: Path) -> None:
    log, packed = tmp_path / "train.log", tmp_path / "packed.log"
    log.write_text(LINES)
    packed.write_bytes(gzip.compress(LINES.encode()))
    plain, compressed = (lrwatch("replay", file, "--format", "json") for file in (log, packed))
    assert compressed.returncode == 0, compressed.stderr
    assert not_finite(compressed.stdout) == not_finite(plain.stdout) == [700]


def test_a_log_that_nothing_understands_is_read_with_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "odd.log").write_text("".join(f"<{i}> ~{'NaN' if i == 700 else 2.5}~\n" for i in range(1000)))
    config = tmp_path / "lrwatch.toml"
    config.write_text("[watch]\npaths = ['odd.log']\npattern = ['<(?P<step>\\d+)> ~(?P<loss>\\S+)~']\n")
    ended = lrwatch("run", "--once", "--config", config, "--format", "json", "--state", tmp_path / "state")
    assert ended.returncode == 0, ended.stderr
    assert not_finite(ended.stdout) == [700]


def test_event_files_of_a_training_that_was_resumed_are_one_log(tmp_path: Path) -> None:
    for start, name in ((0, "events.out.tfevents.1700000000.a"), (500, "events.out.tfevents.1700000999.a")):
        steps = range(start, start + 500)
        (tmp_path / name).write_bytes(
            b"".join(event(i, scalar("loss", float("nan") if i == 900 else 2.5)) for i in steps)
        )
    ended = lrwatch("run", tmp_path, "--once", "--format", "json", "--state", tmp_path / "state")
    assert ended.returncode == 0, ended.stderr
    assert not_finite(ended.stdout) == [900]


def test_a_document_that_is_written_again_counts_once(tmp_path: Path) -> None:
    log, state = tmp_path / "trainer_state.json", tmp_path / "state"

    def written(steps: int) -> subprocess.CompletedProcess[str]:
        history = [{"step": i, "loss": float("nan") if i == 700 else 2.5} for i in range(steps)]
        log.write_text(json.dumps({"log_history": history, "global_step": steps}, indent=2))
        return lrwatch("run", log, "--once", "--format", "json", "--state", state)

    assert not_finite(written(800).stdout) == [700]
    assert not_finite(written(1000).stdout) == []
    status = json.loads(lrwatch("status", "--format", "json", "--state", state).stdout)
    assert (status["step"], status["samples"]) == (999, 1000)
