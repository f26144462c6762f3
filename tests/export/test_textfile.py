from __future__ import annotations

import stat
import subprocess
from dataclasses import replace
from pathlib import Path

from support.example_snapshots import CALM, FULL

from lrwatch.core.snapshot import Snapshot
from lrwatch.export.textfile import WRITE_SECONDS, Textfile
from lrwatch.testing import FakeClock


def test_the_file_holds_the_runs_and_nothing_of_the_process_as_promtool_likes_it(tmp_path: Path) -> None:
    textfile = Textfile(str(tmp_path / "collector"))
    textfile.publish(FULL)
    assert textfile.path == tmp_path / "collector" / "lrwatch.prom"
    text = textfile.path.read_text(encoding="utf-8")
    assert 'lrwatch_run_up{run="gpt2"} 1.0' in text
    # Beside another daemon's file, or node_exporter's own process, these would be one series twice.
    assert not [
        line for line in text.splitlines() if not line.startswith("#") and "{run=" not in line and ",run=" not in line
    ]
    check = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")
    assert stat.S_IMODE(textfile.path.stat().st_mode) == 0o644
    textfile.close()
    assert list((tmp_path / "collector").iterdir()) == []


def test_it_is_written_a_few_times_a_minute_and_a_reader_never_sees_half_of_it(tmp_path: Path) -> None:
    clock = FakeClock()
    textfile = Textfile(str(tmp_path / "job-17.prom"), clock=clock)
    textfile.publish(FULL)
    first = textfile.path.stat()
    reader = textfile.path.open(encoding="utf-8")  # who opened the old file reads all of that
    clock.advance(WRITE_SECONDS - 1)
    textfile.publish(Snapshot(1.0))
    assert textfile.path.stat() == first
    clock.advance(1)
    textfile.publish(Snapshot(1.0, (replace(CALM, name="new"),)))
    assert textfile.path.stat().st_ino != first.st_ino
    with reader:
        assert 'run="gpt2"' in reader.read()
    assert 'run="new"' in textfile.path.read_text(encoding="utf-8")


def test_a_place_that_cannot_be_written_is_a_problem_and_is_tried_again(tmp_path: Path) -> None:
    clock, place = FakeClock(), tmp_path / "a file in the way"
    place.write_text("")
    textfile = Textfile(str(place / "x.prom"), clock=clock)
    textfile.publish(FULL)
    assert textfile.problem.startswith(f"textfile: {place}/x.prom cannot be written: ")
    place.unlink()
    clock.advance(WRITE_SECONDS)
    textfile.publish(FULL)
    assert textfile.problem == ""
    assert textfile.path.exists()


def test_what_a_killed_daemon_left_behind_is_removed(tmp_path: Path) -> None:
    left, other = tmp_path / ".lrwatch.prom.a1b2c3", tmp_path / ".another.prom.a1b2c3"
    left.touch()
    other.touch()
    Textfile(str(tmp_path)).publish(FULL)
    assert not left.exists()
    assert other.exists()
