from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "deploy/systemd"

# On systemd's scale from 0 (safe) to 10; a unit without any hardening has 9.6.
HIGHEST_EXPOSURE = 2.0

both = pytest.mark.parametrize("name", ["lrwatch.service", "lrwatch@.service"])


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


@both
def test_systemd_understands_every_line(name: str, tmp_path: Path) -> None:
    text = (UNITS / name).read_text(encoding="utf-8")
    assert "ExecStart=/usr/bin/lrwatch run " in text
    # systemd looks for the program; here it need not be installed in /usr/bin.
    unit = tmp_path / name.replace("@", "@alice")
    unit.write_text(text.replace("/usr/bin/lrwatch", sys.executable), encoding="utf-8")
    result = analyze("verify", "--man=no", unit)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@both
def test_the_exposure_is_low(name: str) -> None:
    result = analyze(
        "security", "--offline=true", "--no-pager", f"--threshold={HIGHEST_EXPOSURE * 10:.0f}", UNITS / name
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", result.stdout)
    assert found, result
    assert float(found[1]) <= HIGHEST_EXPOSURE
    assert result.returncode == 0


def test_the_daemon_of_a_user_leaves_that_user_s_shared_memory_alone() -> None:
    text = (UNITS / "lrwatch@.service").read_text(encoding="utf-8")
    assert "\nRemoveIPC=no\n" in text
    assert "\nUser=%i\n" in text


@both
def test_errors_that_stay_are_not_retried(name: str) -> None:
    assert "\nRestartPreventExitStatus=2 3\n" in (UNITS / name).read_text(encoding="utf-8")
