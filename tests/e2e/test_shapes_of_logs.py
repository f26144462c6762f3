"""Logs in shapes that people have, through the commands that they use: `read`, `read --explain` and `replay`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from support.daemon_process import lrwatch

pytestmark = pytest.mark.slow


def printed(*arguments: str | Path) -> list[str]:
    done = lrwatch(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_container_log_a_table_and_an_excel_file_are_read_alike(tmp_path: Path) -> None:
    values = [(step, 2.5 - step / 16) for step in range(1, 9)]
    docker = [json.dumps({"log": f"step {s} | loss {v}\n", "stream": "stdout", "time": "x"}) for s, v in values]
    table = ["| Step | Train loss |", "|-----:|-----------:|", *(f"| {s} | {v} |" for s, v in values)]
    excel = ["step;loss", *(f"{s};{str(v).replace('.', ',')}" for s, v in values)]
    for name, lines, encoding in [
        ("docker.log", docker, "utf-8"), ("table.md", table, "utf-8"), ("excel.csv", excel, "utf-16"),
    ]:  # fmt: skip
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding=encoding)
        records = [json.loads(line) for line in printed("read", tmp_path / name, "--format", "json")]
        assert [(r["step"], r.get("loss", r.get("Train loss"))) for r in records] == values, name


def test_correct_answers_and_dates_cause_no_resume_and_no_command(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    with log.open("w") as out:
        for epoch in range(20):
            for i in range(0, 400, 20):
                step = epoch * 400 + i
                loss = 0.5 + 2 * math.exp(-step / 3000) + 0.02 * math.sin(37 * step)
                print(f"[05/{epoch + 1:02d} 10:00:11] Epoch: [{epoch}] [{i:4d}/400] loss: {loss:.6f} "
                      f"acc: {40 + epoch}.5% ({(7 * step) % 97}/128)", file=out)  # fmt: skip
    events = [json.loads(line) for line in printed("replay", log, "--format", "json")]
    assert not [event for event in events if event["event"] == "command"]
    assert not [event for event in events if event["event"] == "phase" and "resume" in str(event)]
    records = [json.loads(line) for line in printed("read", log, "--format", "json")]
    assert [record["step"] for record in records] == [*range(0, 8000, 20)]


def test_a_schedule_on_lines_of_its_own_is_known_so_nothing_is_cut(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    with log.open("w") as out:
        for epoch in range(400):
            rate = 0.01 * (1 - epoch / 400) ** 0.9
            loss = 0.5 + math.exp(-epoch / 40) + 0.01 * math.sin(37 * epoch)
            print(
                f"Epoch {epoch}\nCurrent learning rate: {rate:.6f}\ntrain_loss {loss:.5f}\nEpoch time: 60.1 s", file=out
            )
    events = [json.loads(line) for line in printed("replay", log, "--format", "json")]
    assert not [event for event in events if event["event"] == "command"]
