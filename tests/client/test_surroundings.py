"""A training whose file system fails or hangs beneath it, by faults injected into the system calls of a real process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrwatch.client.worker import CLOSE_SECONDS, MAX_FAILURES

TRAINING = """
import json, sys, time, lrwatch
watch = lrwatch.attach(None, sys.argv[1], poll_seconds=0.01, override_file=sys.argv[1] + "/lr_override.txt")
longest, wanted = 0.0, int(sys.argv[2])
end = time.monotonic() + 1.0
while time.monotonic() < end or (watch.errors["io"] < wanted and time.monotonic() < end + 30.0):
    began = time.thread_time()
    watch.step(loss=0.5)
    longest = max(longest, time.thread_time() - began)
    time.sleep(0.001)
began = time.monotonic()
watch.close()
print(json.dumps({"longest": longest, "closing": time.monotonic() - began, "errors": dict(watch.errors)}))
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="injects faults with strace")
@pytest.mark.parametrize(
    ("calls", "fault"),
    [
        ("openat", "error=EROFS"),
        ("openat", "error=EIO"),
        ("write", "error=ENOSPC"),
        ("fsync", "error=EIO"),
        ("rename,renameat,renameat2", "error=EDQUOT"),
        ("openat", "delay_enter=5s"),
        ("fsync", "delay_enter=5s"),
    ],
)
def test_whatever_the_file_system_does_the_training_goes_on_and_ends_in_time(
    tmp_path: Path, calls: str, fault: str
) -> None:
    control = tmp_path / "control"
    control.mkdir(0o700)
    trace = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-P", str(control)]
    trace += ["-P", str(control / "metrics.jsonl")]
    inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]
    wanted = MAX_FAILURES + 1 if "error" in fault else 0
    ended = subprocess.run(
        [*trace, *inject, sys.executable, "-c", TRAINING, str(control), str(wanted)],
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    if "PTRACE" in ended.stderr:
        pytest.skip("tracing is not allowed here")
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    assert (tmp_path / "trace").stat().st_size > 0, "no fault was injected"
    assert found["longest"] < 0.05, "the training thread worked on a file"
    assert found["closing"] < CLOSE_SECONDS + 1.0
    messages = [line for line in ended.stderr.splitlines() if not line.startswith("strace:")]
    if "error" in fault:
        assert found["errors"]["io"] >= wanted, "errors of a disk may pass, so it does not give up"
        assert len(messages) == 1
        assert "The training continues" in messages[0]
    else:
        assert messages == []


def test_errors_that_will_not_cease_end_the_client_with_one_warning_and_the_scale_stays(
    pair: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    ends = pair()
    ends.send(0.5)
    ends.client.step()
    ends.client.step()
    ends.send(0.25)

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    ends.client._follow = broken
    for step in range(3 * MAX_FAILURES):
        ends.client.step(loss=step)
    assert ends.client.errors["step"] == MAX_FAILURES
    assert ends.worker.disabled
    assert ends.client.scale == 0.5
    assert ends.client.state_dict()["step"] == 2 + 3 * MAX_FAILURES
    assert caplog.text.count("gives up") == 1


class Strange:
    """A metric that cannot be looked at."""

    @property
    def detach(self) -> object:
        raise ZeroDivisionError


def test_a_metric_that_cannot_be_read_is_no_reason_not_to_hear_commands(pair: Callable[..., Any]) -> None:
    ends = pair()
    ends.send(0.5)
    for _ in range(2 * MAX_FAILURES):
        ends.client.step(loss=Strange(), other=1.0)
    assert ends.observed.status == "applied"
    assert ends.client.errors["step"] == 0
    lines = (ends.control.path / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2 * MAX_FAILURES
    assert json.loads(lines[-1])["other"] == 1.0
