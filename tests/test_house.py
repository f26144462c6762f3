"""What CONTRIBUTING says of the whole house: one name for one thing, a reason for a large file, old names nowhere."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lrwatch"
MOST_LINES = 400

pytestmark = pytest.mark.slow  # it reads every file

# Names that several modules have. Those of the first line mean the same thing in each; the others are private to a room, and a reader
# of that room meets one of them only.
SHARED_NAMES = {
    "Answer", "Bools", "Bytes", "ClickCommand", "Json", "JsonEvent", "LrwatchCallback", "MalformedError", "Words",
    "Discovery", "Event", "Kind", "Layout", "Log", "Record", "Values", "Wrapped",
}  # fmt: skip

# Names of modules, classes and documents that have gone: findings, decisions and files are looked for by the present ones.
OLD_NAMES = (
    r"Pilot|LrTrack|Mailbox|Actuator|Troubled|tailstate|openfiles|wandbrecords|tfrecords|core[./]run\b|core[./]pilot|core[./]policies|core[./]seen"
    r"|core[./]kept|sources[./]known|sources[./]survey|formats[./](?:why|account|clues|pump|histories)|daemon[./]actuator|client[./]mailbox"
    r"|client[./]attaching|DESIGN\.md|CONTRACT\.md"
)


def _names(path: Path) -> Iterator[str]:
    """The classes of a module and the type aliases at its top, without a leading underscore."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from (node.name.lstrip("_") for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and re.fullmatch(r"_?[A-Z][A-Za-z]*[a-z][A-Za-z]*", target.id):
            yield target.id.lstrip("_")


def test_a_name_of_a_class_or_a_type_stands_for_one_thing() -> None:
    homes: dict[str, set[Path]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        for name in _names(path):
            homes[name].add(path)
    assert {
        name: sorted(map(str, paths)) for name, paths in homes.items() if len(paths) > 1 and name not in SHARED_NAMES
    } == {}


FOLDERS = ("lrwatch", "tests", "bench", "grafana", "examples", "docs", "deploy")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def test_a_large_file_says_why_it_is_one() -> None:
    large = [path for path in SOURCES if path.read_text(encoding="utf-8").count("\n") > MOST_LINES]
    assert len(large) > 5
    reasons = {path: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "" for path in large}
    assert [str(path) for path, docstring in reasons.items() if "One file because" not in docstring] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_old_name_is_left(folder: str) -> None:
    this = Path(__file__)
    for path in (ROOT / folder).rglob("*"):
        if path.suffix in (".py", ".md", ".toml", ".yml", ".yaml", ".j2") and path != this and "data" not in path.parts:
            assert re.findall(OLD_NAMES, path.read_text(encoding="utf-8")) == [], path


# Words of an early draft: a reader stumbles over them, and each has a plain one. Messages of events keep "surely", because a log must
# replay to the same events.
PRIVATE_WORDS = re.compile(
    r"(?<!`)\b(?:anew(?![:`])|surely|whoever|(?:is|are) told(?! apart)|in front of|what is asked for)\b", re.IGNORECASE
)


def _docstrings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            yield ast.get_docstring(node) or ""


def test_the_prose_has_no_private_words() -> None:
    pages = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
        *(ROOT / "examples").glob("*.md"),
    ]
    texts = {path: re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL) for path in pages}
    texts |= {path: "\n".join(_docstrings(path)) for path in PACKAGE.rglob("*.py")}
    texts.pop(ROOT / "CHANGELOG.md", None)
    found = {str(path): PRIVATE_WORDS.findall(text) for path, text in texts.items()}
    assert {path: words for path, words in found.items() if words} == {}


# Private names of other libraries, and of named tuples, whose `_replace` is public.
FOREIGN = {
    "_replace", "_getframe", "_foreach_lerp_",  # standard library and torch
    "_iterations", "_track_variable", "_untrack_variable",  # keras
}  # fmt: skip


def test_no_module_reads_the_private_state_of_another() -> None:
    found = []
    for path in PACKAGE.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        own = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
        own |= {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        own |= {
            node.target.id for node in nodes if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
        found += [
            f"{path}:{node.lineno}: {ast.unparse(node)}"
            for node in nodes
            if isinstance(node, ast.Attribute)
            and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))  # a subclass may
            and re.match(r"_[^_]", node.attr)
            and node.attr not in own | FOREIGN
        ]
        found += [
            f"{path}:{node.lineno}: {name.name}"
            for node in nodes
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lrwatch.")
            for name in node.names
            if re.match(r"_[^_]", name.name)
        ]
    assert found == []
