"""`lrwatch report` of several runs: one page, a daemon's run beside a log."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.daemon_process import lrwatch
from support.quadratic import Training
from support.report_page import Page

pytestmark = pytest.mark.slow


def test_a_run_of_a_daemon_and_a_log_are_compared_on_one_page(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours.jsonl", tmp_path / "other.jsonl"
    ours.write_text(Training().lines(700))
    slower = Training(time=200.0)
    other.write_text(slower.lines(500))
    assert lrwatch("run", "--once", ours, "--state", tmp_path / "state").returncode == 0
    ended = lrwatch("report", "ours", other, "--state", tmp_path / "state", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "written to lrwatch-comparison.html\n")
    page = Page((tmp_path / "lrwatch-comparison.html").read_text())
    assert [row[0] for row in page.tables[0][1:]] == ["ours", "other"]
    assert "At step 500, the last that all have: ours 1.997 and other 2.662 (33 % higher)." in page.words
    assert "plateau since step" in page.tables[0][1][-1]
