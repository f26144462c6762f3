"""`lrwatch-client`, built without a network and used where there is nothing else."""

from __future__ import annotations

import email
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import lrwatch
from lrwatch.protocol import METRICS_NAME, OBSERVED_NAME

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# -I and -S: no site-packages, no environment. The wheel is all that there is beside the standard library.
ALONE = [sys.executable, "-I", "-S", "-c"]
BEGIN = "import sys; sys.path.insert(0, sys.argv[1])\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel. A copy is built, so that nothing is left in the repository."""
    pytest.importorskip("setuptools", "77")
    folder = tmp_path_factory.mktemp("build")
    shutil.copytree(ROOT / "lrwatch", folder / "lrwatch", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "deploy/client", folder / "deploy/client")
    command = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-build-isolation", "--no-deps", "--quiet"]
    built = subprocess.run(
        [*command, "--wheel-dir", str(folder / "out"), str(folder / "deploy/client")],
        capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (found,) = (folder / "out").iterdir()
    return found


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """A directory with what the wheel installs, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    return tmp_path / "site"


def alone(script: str, *arguments: str | Path) -> str:
    ended = subprocess.run([*ALONE, BEGIN + script, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_it_installs_nothing_else_and_has_the_version_of_lrwatch(installed: Path) -> None:
    (about,) = installed.glob("*.dist-info")
    metadata = email.message_from_string((about / "METADATA").read_text())
    assert (metadata["Name"], metadata["Version"]) == ("lrwatch-client", lrwatch.__version__)
    assert [one for one in metadata.get_all("Requires-Dist", []) if "extra ==" not in one] == []
    assert not (about / "entry_points.txt").exists()
    assert list(about.rglob("LICENSE"))


def test_it_holds_the_modules_of_the_training_and_no_other_ones(installed: Path) -> None:
    rooms = {path.name for path in (installed / "lrwatch").iterdir() if path.is_dir()}
    assert rooms == {"client", "core", "integrations", "protocol"}
    modules = {path.name for path in (installed / "lrwatch").iterdir() if path.is_file()}
    assert modules == {"__init__.py", "_version.py", "controller.py", "errors.py", "py.typed"}
    for room in rooms:
        expected = {path.relative_to(ROOT) for path in (ROOT / "lrwatch" / room).rglob("*.py")}
        assert {path.relative_to(installed) for path in (installed / "lrwatch" / room).rglob("*.py")} == expected


def test_a_training_attaches_a_callable_where_there_is_nothing_but_the_standard_library(
    installed: Path, tmp_path: Path
) -> None:
    script = """
import lrwatch
scales = []
with lrwatch.attach(scales.append, sys.argv[2], total_steps=10) as watch:
    for step in range(10):
        watch.step(loss=1.0 / (step + 1))
    state = watch.state_dict()
    watch.load_state_dict({**state, "scale": 0.5})
assert (scales, watch.scale) == ([0.5], 0.5), scales
assert not watch.errors, watch.errors
outside = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print(sorted(outside), lrwatch.__file__)
"""
    said = alone(script, installed, tmp_path / "control")
    assert said == f"['__main__', 'lrwatch'] {installed / 'lrwatch' / '__init__.py'}"
    observed = json.loads((tmp_path / "control" / OBSERVED_NAME).read_text())
    assert (observed["life"], observed["total_steps"], observed["scale"]) == ("ended", 10, 0.5)
    assert (tmp_path / "control" / METRICS_NAME).read_text().count("\n") == 10


def test_the_public_names_are_the_same_and_only_lack_their_framework(installed: Path) -> None:
    script = """
import lrwatch
for name in dir(lrwatch):
    try:
        getattr(lrwatch, name)
    except ModuleNotFoundError as error:
        print(name, error.name)
"""
    lacking = dict(line.split() for line in alone(script, installed).splitlines())
    assert lacking.pop("read_log").startswith("lrwatch.sources")
    assert {lacking.pop(name) for name in ("Controller", "find_plateaus")} == {"numpy"}
    assert lacking["torch"] == "torch"
    assert not {name for name in lacking.values() if name.startswith("lrwatch")}


def test_the_callbacks_work_beside_their_framework_alone(installed: Path, tmp_path: Path) -> None:
    """With torch and numpy from this environment, and lrwatch from the wheel."""
    script = """
sys.path += sys.argv[2:]
import torch, lrwatch
weight = torch.nn.Parameter(torch.zeros(1))
optimizer = torch.optim.SGD([weight], lr=0.1)
scheduler = lrwatch.torch.PlateauLR(optimizer, patience=10)
for _ in range(5):
    optimizer.step()
    scheduler.step(1.0)
print(lrwatch.torch.__file__, "pandas" in sys.modules, "msgspec" in sys.modules)
"""
    said = alone(script, installed, *[path for path in sys.path if "site-packages" in path])
    assert said == f"{installed / 'lrwatch' / 'integrations' / 'torch.py'} False False"


def test_the_documents_say_that_one_environment_gets_one_of_the_two() -> None:
    said = {
        "docs/training.md": "install either `lrwatch` or `lrwatch-client`",
        "deploy/client/README.md": "one environment gets one of the two",
    }
    for page, words in said.items():
        assert words in " ".join((ROOT / page).read_text(encoding="utf-8").split()).lower(), page
