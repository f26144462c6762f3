"""Progress through a long backlog: lines where nobody looks, a bar where somebody does."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.daemon_process import lrwatch, on_a_terminal

from lrwatch.cli.progress import LEAST_BYTES, ByteProgress


@pytest.fixture(scope="module")
def backlog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log just long enough for progress to be shown."""
    log = tmp_path_factory.mktemp("backlog") / "train.jsonl"
    filler = "x" * 10_000
    with log.open("w") as file:
        for step in range(LEAST_BYTES * 3 // 2 // 10_000):
            file.write(f'{{"step": {step}, "loss": 2.5, "note": "{filler}"}}\n')
    return log


def test_a_short_backlog_is_not_worth_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ByteProgress("reading")
    for done in range(0, LEAST_BYTES, LEAST_BYTES // 4):
        progress.show(done, LEAST_BYTES - 1 - done)
    assert capsys.readouterr().err == ""


def test_lines_come_now_and_then_and_the_next_backlog_begins_at_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ByteProgress("reading")
    for done in range(101):
        progress.show(done << 20, (100 - done) << 20)
    assert capsys.readouterr().err == "lrwatch: 0 % of 100 MiB read\n", "one line in five seconds"
    progress._shown_at = float("-inf")
    progress.show(101 << 20, 0)
    assert capsys.readouterr().err == ""
    progress.show(150 << 20, 3 << 30)
    assert capsys.readouterr().err == "lrwatch: 0 % of 3.0 GiB read\n"
    progress._shown_at = float("-inf")
    progress.show((150 << 20) + (1 << 30), 3 << 30)
    assert capsys.readouterr().err == "lrwatch: 25 % of 4.0 GiB read\n", "it has grown meanwhile"


@pytest.mark.slow
def test_once_tells_how_far_it_is(backlog: Path, tmp_path: Path) -> None:
    ended = lrwatch("run", backlog, "--once", "--state", tmp_path / "state")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.startswith("lrwatch: 0 % of ")
    assert ended.stderr.endswith(" MiB read\n")
    assert "\x1b" not in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("verb", [["replay"], ["run", "--once"]])
def test_on_a_terminal_there_is_a_bar(backlog: Path, tmp_path: Path, verb: list[str]) -> None:
    shown = on_a_terminal(*verb, backlog, env={"LRWATCH_DAEMON_STATE": str(tmp_path / "state")})
    assert b"100%" in shown
