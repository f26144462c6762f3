"""Shell completion, asked as a shell asks: the script is loaded into a real one, which completes a line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.quadratic import Training

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LRWATCH = [sys.executable, "-m", "lrwatch"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `lrwatch` on the path, the state of two runs, and a log."""
    home = tmp_path_factory.mktemp("home")
    program = home / "bin" / "lrwatch"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m lrwatch "$@"\n')
    program.chmod(0o755)
    logs = [home / f"{name}.log" for name in ("gpt-small", "gpt-large")]
    for log in logs:
        log.write_text(Training().lines(50))
    subprocess.run([*LRWATCH, "run", "--once", *map(str, logs)], env=environment(home), check=True, capture_output=True)
    return home


def environment(home: Path) -> dict[str, str]:
    return {
        **os.environ, "PATH": f"{home / 'bin'}:{os.environ['PATH']}", "HOME": str(home), "PYTHONPATH": str(ROOT),
        "LRWATCH_DAEMON_STATE": str(home / "state"),
    }  # fmt: skip


def completed(home: Path, line: str) -> set[str]:
    """What bash completes at the end of a line."""
    script = r"""
eval "$(lrwatch completion bash)"
complete -p lrwatch >/dev/null || exit 9
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
compopt() { :; }  # bash takes it inside of its own completion only
_lrwatch_completion lrwatch "${COMP_WORDS[COMP_CWORD]}"
printf '%s\n' "${COMPREPLY[@]}"
"""
    ended = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", *line.split(" ")],
        env=environment(home), cwd=home, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.split())


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("lrwatch st", {"status", "strategy"}),
        ("lrwatch journal gpt", {"gpt-small", "gpt-large"}),
        ("lrwatch set gpt-s", {"gpt-small"}),
        ("lrwatch approve gpt-l", {"gpt-large"}),
        ("lrwatch report gpt-s", {"gpt-small"}),
        ("lrwatch run --mode a", {"approve", "auto"}),
        ("lrwatch strategy gpt-small cos", {"cosine"}),
        ("lrwatch completion ", {"bash", "zsh", "fish"}),
        ("lrwatch hold nobody", set()),
    ],
)
def test_bash_completes_verbs_options_and_runs(home: Path, line: str, found: set[str]) -> None:
    assert completed(home, line) == found


def test_the_state_of_the_line_is_asked(home: Path, tmp_path: Path) -> None:
    assert completed(home, f"lrwatch journal --state {tmp_path} gpt") == set()


def test_a_broken_setting_completes_nothing_and_says_nothing(home: Path, tmp_path: Path) -> None:
    broken = tmp_path / "lrwatch.toml"
    broken.write_text("[policy\n")
    assert completed(home, f"lrwatch journal --config {broken} gpt") == set()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_script_of_another_shell_is_sound(shell: str, home: Path) -> None:
    said = subprocess.run(
        [*LRWATCH, "completion", shell], env=environment(home), capture_output=True, text=True, check=True
    )
    assert "_LRWATCH_COMPLETE" in said.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=said.stdout, text=True, check=True, timeout=60)
