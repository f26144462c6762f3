"""What is installed and what is given away: lock files, bill of materials, and builds that can be repeated."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec.toml
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.image import DOCKERFILE

from lrwatch._version import __version__

ROOT = Path(__file__).parents[2]
PROJECT = msgspec.toml.decode((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REQUIREMENTS = ROOT / "deploy/docker/requirements.lock"
BUILD = ROOT / "deploy/docker/build.lock"
# `--old-file`: the environment that runs the tests is the one to use, and is not made anew.
MAKE = ["make", "--silent", "--old-file=.venv/.test", f"BIN={Path(sys.executable).parent}"]


def pinned(lock: Path) -> dict[str, tuple[str, int]]:
    """The packages of a lock file: version and number of hashes."""
    found: dict[str, tuple[str, int]] = {}
    for entry in re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8")):
        if not entry.startswith("#"):
            name, version = re.match(r"([\w.-]+)==(\S+)", entry).groups()  # type: ignore[union-attr]
            found[canonicalize_name(name)] = (version, len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry)))
    return found


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [(REQUIREMENTS, PROJECT["project"]["dependencies"]), (BUILD, PROJECT["build-system"]["requires"])],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_the_lock_covers_what_is_asked_for(lock: Path, wanted: list[str]) -> None:
    image = re.search(r"^ARG PYTHON=python:([\d.]+)", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert image is not None
    locked = pinned(lock)
    for requirement in map(Requirement, wanted):
        if requirement.marker is None or requirement.marker.evaluate({"python_version": image[1]}):
            assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)][0]), requirement


@pytest.mark.parametrize("lock", [REQUIREMENTS, BUILD], ids=lambda lock: lock.name)
def test_every_package_of_a_lock_has_hashes_and_no_host_is_named(lock: Path) -> None:
    assert all(hashes > 0 for _, hashes in pinned(lock).values())
    text = lock.read_text(encoding="utf-8")
    assert not re.search(r"://|file:|@|--(?!hash=)[a-z-]*(?:index|host|links|url)", text)


def test_the_image_installs_by_hash_or_from_what_it_has_built() -> None:
    installs = re.findall(r"pip (?:install|wheel) [^\n]*", DOCKERFILE.read_text(encoding="utf-8"))
    assert len(installs) == 4
    assert all("--require-hashes -r " in one or "--no-index" in one for one in installs), installs


@pytest.mark.slow
def test_the_bill_of_materials_is_valid_and_lists_what_is_locked(tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx_py")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    made = subprocess.run([*MAKE, f"DIST={tmp_path}", "sbom"], cwd=ROOT, capture_output=True, text=True, timeout=150)
    assert (made.returncode, made.stderr) == (0, "")
    text = (tmp_path / "lrwatch.cdx.json").read_text(encoding="utf-8")
    bill = json.loads(text)
    assert JsonStrictValidator(SchemaVersion.from_version(bill["specVersion"])).validate_str(text) is None
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "lrwatch")
    locked = {name: version for name, (version, _) in pinned(REQUIREMENTS).items()}
    assert {canonicalize_name(part["name"]): part["version"] for part in bill["components"]} == locked


def checkout(folder: Path, *, mode: int, time: int) -> Path:
    """Copy what distributions are made of, as a checkout at another time and with another umask has it."""
    include = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for name in {*include, "pyproject.toml", ".gitignore"}:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        else:
            shutil.copy(source, target)
    for path in sorted(folder.rglob("*"), key=lambda path: hashlib.sha256(f"{time}{path}".encode()).digest()):
        if path.is_file() and not path.is_symlink():
            path.chmod(mode | (0o100 if path.stat().st_mode & 0o100 else 0))
            os.utime(path, (time, time))
    return folder


@pytest.mark.slow
def test_two_builds_of_one_commit_give_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    surroundings = [(0o600, 1_700_000_000, {"TZ": "UTC", "LC_ALL": "C"}), (0o664, 1_750_000_000, {"TZ": "Asia/Tokyo"})]
    builds = []
    for number, (mode, time, environment) in enumerate(surroundings):
        folder, made_in = tmp_path / f"{number}" / "lrwatch", tmp_path / f"dist{number}"
        made = subprocess.run(
            [*MAKE, f"DIST={made_in}", "build"], cwd=checkout(folder, mode=mode, time=time),
            env={**os.environ, "SOURCE_DATE_EPOCH": "1720000000", "PYTHONHASHSEED": str(number), **environment},
            capture_output=True, text=True, timeout=150,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        builds.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made_in.iterdir()})
    assert builds[0] == builds[1]
    assert sorted(builds[0]) == [f"lrwatch-{__version__}-py3-none-any.whl", f"lrwatch-{__version__}.tar.gz"]
