"""`lrwatch forecast` on a finished log and on a run of a daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lrwatch.cli import cli
from lrwatch.config import load
from lrwatch.daemon.watched_run import WatchedRun
from lrwatch.store import Store


@pytest.fixture
def log(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    rows = [
        {
            "step": step,
            "loss": 2 + 8 / (1 + step / 20) ** 0.5 + 0.02 * rng.standard_normal(),
            "lr": 1e-3 * (1 - step / 2000),
        }
        for step in range(0, 2000, 5)
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def made(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(cli, ["forecast", *arguments, "--format", "json"])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


def test_a_file_is_forecast_from_what_came_up_to_a_step(log: Path) -> None:
    found = made(str(log), "--total", "2000", "--at", "1000")
    end = 2 + 8 / (1 + 1950 / 20) ** 0.5
    assert (found["metric"], found["step"], found["total_steps"]) == ("loss", 1000, 2000)
    assert found["as_it_goes"]["lower"] < end < found["as_it_goes"]["upper"]
    assert found["if_decay_began_now"]["reason"].startswith("no cut of the rate was measured")
    assert found["note"].startswith("The schedule lowers the rate (lr fell from 0.00075 to 0.0005")


def test_a_rate_that_lrwatch_lowered_is_no_schedule(tmp_path: Path) -> None:
    """The client's metrics have the rate that was used, and the scale in it."""
    log = tmp_path / "metrics.jsonl"
    rows = [
        {"step": step, "loss": 2 + 8 / (1 + step / 20) ** 0.5, "lr": 0.01 * scale, "scale": scale}
        for step in range(0, 1000, 5)
        for scale in [1.0 if step < 600 else 0.5]
    ]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert made(str(log), "--total", "2000")["note"] == ""
    log.write_text("".join(json.dumps({**row, "lr": row["lr"] * (1 - row["step"] / 2000)}) + "\n" for row in rows))
    assert "lr fell from 0.00752 to 0.00502" in made(str(log), "--total", "2000")["note"]


def test_without_a_length_the_reason_is_named(log: Path) -> None:
    assert made(str(log))["as_it_goes"] == {"reason": "the length of the run is unknown"}


def test_a_run_of_a_daemon_is_forecast_with_its_length_and_the_effects_of_its_journal(
    log: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    store = Store(state)
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:200]))
    run = WatchedRun("train", [log], None, load(), store, lambda _: None)
    run.turn(0.0)
    run.pipeline.set_total_steps(2000, "operator")
    effect = {"event": "effect", "run": "train", "step": 600, "scale": 0.5, "gain": 0.1, "lower": 0.05, "upper": 0.15}
    store.append("train", {**effect, "verdict": "helped", "message": "helped"}, 0.0)
    run.save(0.0)
    run.close()
    store.close()
    found = made("train", "--state", str(state))
    assert (found["step"], found["total_steps"], found["length_source"]) == (995, 2000, "operator")
    assert found["if_decay_began_now"]["value"] == pytest.approx(0.9 * found["level"])
    text = CliRunner().invoke(cli, ["forecast", "train", "--state", str(state)]).output
    assert "at step 995 of 2000 (operator)" in text
    assert "if the decay began now" in text
