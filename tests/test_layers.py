"""Imports go downward only, wherever in a file they stand; docs/architecture.md draws the rings."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lrwatch

PACKAGE = Path(lrwatch.__file__).parent
# Small and pure, so that everybody may use them.
LEAVES = {"errors", "settings_file", "_version"}
# Where the edges stand: they touch the world, and never each other.
EDGES = {"sources", "control", "journal", "store", "export", "notify", "report"}
INNER = {"core", "formats", "protocol"}
# Room -> the rooms of lrwatch that it may import, beside itself and the leaves.
RINGS: dict[str, set[str]] = {
    "_version": set(),
    "errors": set(),
    "settings_file": set(),
    "protocol": set(),
    "client": {"protocol"},
    "core": set(),
    "controller": {"core"},
    "formats": {"core"},
    **dict.fromkeys(EDGES, INNER),
    "store": INNER | {"journal"},
    "toml": set(),
    "explain": INNER | {"sources"},
    "config": INNER | EDGES | {"toml"},
    "daemon": INNER | EDGES | {"config"},
    "offline": INNER | EDGES | {"config", "daemon", "explain"},
    "testing": INNER | {"client", "control"},
    "integrations": {"client", "protocol", "core", "controller"},
    "demo": INNER | EDGES | {"config", "daemon", "offline", "client", "testing", "integrations", "__init__"},
    "cli": INNER | EDGES | {"config", "toml", "daemon", "offline", "explain", "client", "testing", "demo"},
    "__main__": {"cli"},
    "__init__": {"client", "core", "sources", "controller", "integrations"},
}
# A clock, a file, a thread, the environment, the log, chance: whatever would make a decision hard to repeat.
IMPURE = {
    "asyncio", "concurrent", "ctypes", "datetime", "glob", "http", "io", "logging", "mmap", "multiprocessing", "os",
    "pathlib", "pickle", "platform", "random", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3",
    "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid", "warnings",
}  # fmt: skip
PURE_ROOMS = {"core"}
STDLIB_ONLY = {"protocol", "client", "_version", "errors", "__init__"}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def room_of(path: Path) -> str:
    """First part of the module's name below `lrwatch`."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            home = ".".join([*base, *([node.module] if node.module else [])])
            if home == "lrwatch":  # `from lrwatch import x` reaches the room x
                yield from ((node.lineno, f"lrwatch.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, home


def faults(source: str, path: Path) -> list[str]:
    """What in this file breaks the rules."""
    room = room_of(path)
    package = ("lrwatch", *path.relative_to(PACKAGE).parent.parts)
    found = []
    for line, name in imports(ast.parse(source), package):
        parts = name.split(".")
        where = f"{path.relative_to(PACKAGE.parent)}:{line}: {name}"
        if parts[0] == "lrwatch":
            target = parts[1] if len(parts) > 1 else "__init__"
            if target != room and target not in RINGS[room] | LEAVES:
                found.append(f"{where}: {room} may not import {target}")
        elif room in STDLIB_ONLY and parts[0] not in sys.stdlib_module_names:
            found.append(f"{where}: {room} is standard library only")
        elif room in PURE_ROOMS and parts[0] in IMPURE:
            found.append(f"{where}: {room} is pure")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_downward_only(path: Path) -> None:
    assert room_of(path) in RINGS, f"{path}: a room without a row in RINGS"
    assert faults(path.read_text(), path) == []


def test_no_chance_without_a_seed_in_the_pure_rooms() -> None:
    for path in FILES:
        if room_of(path) in PURE_ROOMS:
            drawn = [
                ast.unparse(node)
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Attribute) and ast.unparse(node).startswith(("np.random", "numpy.random"))
            ]
            allowed = ("np.random", "np.random.Generator", "np.random.default_rng")
            assert [text for text in drawn if text not in allowed] == [], path


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("core/pipeline.py", "import time"),
        ("core/pipeline.py", "def f():\n    from pathlib import Path"),
        ("core/pipeline.py", "from lrwatch.sources import tail"),
        ("core/pipeline.py", "from ..control import directory"),
        ("core/pipeline.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lrwatch import daemon"),
        ("client/torch_hooks.py", "import torch"),
        ("client/worker.py", "from lrwatch.core import sample"),
        ("client/worker.py", "import lrwatch"),
        ("client/attach.py", "from lrwatch import integrations"),
        ("integrations/keras.py", "from lrwatch import daemon"),
        ("protocol/codec.py", "import msgspec"),
        ("sources/tail.py", "import lrwatch.store"),
        ("report/page/page.py", "from lrwatch.export import collector"),
        ("daemon/loop.py", "from lrwatch.cli import main"),
        ("formats/csv.py", "from lrwatch.protocol import Desired"),
    ],
)
def test_the_rules_find_what_they_forbid(file: str, source: str) -> None:
    assert len(faults(source, PACKAGE / file)) == 1


# Every framework calls its callback by what it is; each integration has one.
SAME_NAMES = {"LrwatchCallback"}
MAX_LINES = 400


@pytest.mark.slow
def test_no_class_name_stands_for_two_things() -> None:
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name not in SAME_NAMES:
                places.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_a_long_file_says_why_it_is_one() -> None:
    """By a sentence of its docstring that begins with "One file because"."""
    for path in FILES:
        source = path.read_text()
        if source.count("\n") > MAX_LINES:
            assert "One file because" in (ast.get_docstring(ast.parse(source)) or ""), path
