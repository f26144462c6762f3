"""Every Python that the package claims, as far as it can be had: all modules compile, and a training attaches.

`make test-pythons` installs the package with what it depends on under each of them, and runs the demo.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lrwatch.protocol import OBSERVED_NAME

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CLAIMED = re.findall(
    r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8")
)


def python(version: str) -> Path:
    """The program of this version: of the path, or of pyenv."""
    on_path = shutil.which(f"python{version}")
    if on_path and subprocess.run([on_path, "--version"], capture_output=True, check=False).returncode == 0:
        return Path(on_path)
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)  # tests have a HOME of their own
    found = sorted(Path(os.environ.get("PYENV_ROOT", home / ".pyenv")).glob(f"versions/{version}.*/bin/python"))
    if not found:
        pytest.skip(f"Python {version} is not on this machine")
    return found[-1]


def alone(version: str, script: str, *arguments: Path) -> str:
    """Run a script with the standard library and the repository, and nothing else."""
    command = [str(python(version)), "-I", "-S", "-B", "-c", f"import sys; sys.path.insert(0, sys.argv[1])\n{script}"]
    ended = subprocess.run(
        [*command, str(ROOT), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_the_claimed_versions_begin_with_the_oldest_that_is_allowed() -> None:
    assert f'requires-python = ">={CLAIMED[0]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'target-version = "py{CLAIMED[0].replace(".", "")}"' in (ROOT / "pyproject.toml").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("version", CLAIMED)
def test_every_module_compiles(version: str) -> None:
    script = """
from pathlib import Path
import sys
files = sorted(Path(sys.argv[1], "lrwatch").rglob("*.py"))
for file in files:
    compile(file.read_bytes(), str(file), "exec")
print(sys.version_info[:2], len(files))
"""
    major, minor = version.split(".")
    said = alone(version, script)
    assert said.startswith(f"({major}, {minor}) ")
    assert int(said.split()[-1]) > 100


@pytest.mark.parametrize("version", CLAIMED)
def test_a_training_attaches(version: str, tmp_path: Path) -> None:
    script = """
import lrwatch
scales = []
with lrwatch.attach(scales.append, sys.argv[2], total_steps=10) as watch:
    for step in range(10):
        watch.step(loss=1.0 / (step + 1))
    watch.load_state_dict({**watch.state_dict(), "scale": 0.5})
assert (scales, watch.scale) == ([0.5], 0.5), scales
assert not watch.errors, watch.errors
"""
    alone(version, script, tmp_path / "control")
    observed = json.loads((tmp_path / "control" / OBSERVED_NAME).read_text())
    assert (observed["life"], observed["scale"]) == ("ended", 0.5)


@pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="installs packages from an index: make test-pythons")
@pytest.mark.parametrize("version", CLAIMED)
def test_the_demo_runs_with_the_newest_packages(version: str, tmp_path: Path) -> None:
    subprocess.run([python(version), "-m", "venv", tmp_path / "venv"], check=True)
    program = tmp_path / "venv" / "bin" / "python"
    subprocess.run([program, "-m", "pip", "install", "--quiet", ROOT], check=True)
    ended = subprocess.run(
        [program, "-m", "lrwatch", "demo"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
