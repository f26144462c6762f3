"""The wheel, as `pipx run lrwatch demo` gets it: built without a network, installed into an environment of its own, and used."""

from __future__ import annotations

import email
import importlib.util
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import lrwatch
from lrwatch.cli.assets import FOLDERS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]

ROOT = Path(__file__).parents[2]
# What the build needs of the repository; its Dockerfile copies the same.
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "lrwatch", "deploy", "grafana")
BASE_URL = "https://example.org/lrwatch"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel. A copy is built, so that nothing is left in the repository."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("build")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-build-isolation", "--no-deps", "--quiet"]
    built = subprocess.run(
        [*command, "--wheel-dir", str(folder / "out"), str(folder)], capture_output=True, text=True, timeout=150
    )
    assert built.returncode == 0, built.stderr
    (found,) = (folder / "out").iterdir()
    return found


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`lrwatch` of a clean environment. What lrwatch depends on is taken from this one, since there is no network."""
    home = tmp_path_factory.mktemp("clean")
    venv.create(home / "venv", symlinks=True)
    python = home / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", "--no-deps", "--quiet"]
    subprocess.run([*install, str(wheel)], check=True, timeout=150)
    (site,) = (home / "venv" / "lib").glob("python*/site-packages")
    packages = {Path(importlib.util.find_spec(name).origin).parents[1] for name in ("click", "numpy")}  # type: ignore[union-attr, arg-type]
    (site / "dependencies.pth").write_text("".join(f"{path}\n" for path in packages))
    return home / "venv" / "bin" / "lrwatch"


def said(program: Path, *arguments: str | Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ended = subprocess.run(
        [str(program), *map(str, arguments)],
        cwd=program.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_its_metadata_has_addresses_and_the_versions_of_python(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_string(archive.read(name).decode())
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL", []))
    assert {"Homepage", "Documentation", "Changelog", "Source", "Issues"} <= set(urls)
    assert all(url == BASE_URL or url.startswith(f"{BASE_URL}/") for url in urls.values())
    classifiers = metadata.get_all("Classifier", [])
    assert [f"Programming Language :: Python :: 3.{minor}" in classifiers for minor in range(9, 15)] == [
        False, True, True, True, True, False,
    ]  # fmt: skip


def test_it_holds_every_module_and_nothing_of_the_repository_but_the_assets(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "lrwatch").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assets = {
        f"lrwatch/assets/{folder.name}/{path.relative_to(ROOT / folder.source)}"
        for folder in FOLDERS
        for path in (ROOT / folder.source).rglob("*")
        if path.is_file()
    }
    assert names == package | assets


def test_the_program_runs_from_it(program: Path, wheel: Path) -> None:
    assert said(program, "--version").split()[-1] == lrwatch.__version__
    assert "three start rates" in said(program, "demo", "--help")
    where = subprocess.run(
        [program.parent / "python", "-c", "import lrwatch; print(lrwatch.__file__)"],
        cwd=program.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(program.parents[1]), "not the repository's"


def test_its_assets_are_those_of_the_repository(program: Path, tmp_path: Path) -> None:
    said(program, "assets", tmp_path)
    for folder in FOLDERS:
        for path in (ROOT / folder.source).rglob("*"):
            if path.is_file():
                target = tmp_path / folder.name / path.relative_to(ROOT / folder.source)
                assert target.read_bytes() == path.read_bytes()


@pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="a second demo takes half a minute: make test-wheel")
@pytest.mark.timeout(600)
def test_the_demo_runs_from_it(program: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ended = subprocess.run(
        [str(program), "demo"], cwd=program.parent, env=environment, capture_output=True, text=True, timeout=500
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Every change was acknowledged" in ended.stdout
