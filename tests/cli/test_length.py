"""The length of a run, as `status` and `init` show it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from lrwatch.cli import cli
from lrwatch.config import load
from lrwatch.core.run_length import UNKNOWN
from lrwatch.daemon.watched_run import WatchedRun
from lrwatch.store import Store


@pytest.mark.parametrize(("end", "shown"), [("/400", "8 of 400 (log)"), ("", UNKNOWN)])
def test_status_shows_the_length_and_who_says_so_or_how_to_say_it(tmp_path: Path, end: str, shown: str) -> None:
    log = tmp_path / "gpt.log"
    log.write_text("".join(f"step {step}{end} loss {5 / step:.4f}\n" for step in range(1, 9)))
    store = Store(tmp_path / "state")
    run = WatchedRun("gpt", [log], None, load(), store, lambda _: None)
    run.turn(0.0, final=True)
    run.save(0.0)
    run.close()
    store.close()
    result = CliRunner().invoke(cli, ["status", "--state", str(tmp_path / "state")])
    assert shown in result.output
    assert (UNKNOWN in result.output) == (not end)


def test_init_says_which_length_the_logs_state(tmp_path: Path) -> None:
    log = tmp_path / "gpt.log"
    log.write_text("".join(f"step {step}/400 loss {5 / step:.4f}\n" for step in range(1, 90)))
    result = CliRunner().invoke(cli, ["init", "--dry-run", str(tmp_path)])
    assert "# The logs here say 400" in result.output
    assert "\n# total_steps = 0\n" in result.output
