"""What the demo does when a part of it fails: it says which, where its words are, and leaves no process behind."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lrwatch.demo.show import _last_step


def test_the_progress_is_the_last_whole_line_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    assert _last_step(log) == 0
    log.write_text("")
    assert _last_step(log) == 0
    log.write_text("".join(f"step={step} loss=0.5 lr=0.01\n" for step in range(10, 2010, 10)) + "step=20")
    assert _last_step(log) == 2000


@pytest.mark.slow
def test_a_daemon_that_cannot_serve_ends_the_demo_with_its_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "lrwatch", "demo", "--listen", address]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 4
    assert "Traceback" not in ended.stderr
    found = re.search(
        r"lrwatch: (\S+/daemon\.err): expected a daemon that watches, found exit code \d: .*", ended.stderr
    )
    assert found, ended.stderr
    assert address in Path(found[1]).read_text()
    running = subprocess.run(["pgrep", "-f", str(Path(found[1]).parent)], capture_output=True, check=False)
    assert running.stdout == b""
