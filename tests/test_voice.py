"""The words that users read: the golden file of sentences, and what no sentence of lrwatch may hold."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.voice import FILE, PRIVATE, RULES, masked, voice

ROOT = Path(__file__).parents[1]
PROGRAM = sorted((ROOT / "lrwatch").rglob("*.py"))
TEMPLATES = sorted((ROOT / "lrwatch").rglob("*.j2"))

# A sentence is read at once; the longest reason of a command has three clauses.
LONGEST = 330


def sentences() -> list[str]:
    return [line for line in FILE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("# ")]


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a module with their lines, docstrings left out; a `{` stands for what is filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            prose |= {id(part) for part in node.values}
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else "{" for part in node.values),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


@pytest.mark.slow
def test_the_golden_file_holds_what_lrwatch_says() -> None:
    assert masked(FILE.read_text(encoding="utf-8")) == masked(voice()), "`make golden` rewrites tests/data/voice.txt"


def test_each_sentence_is_plain_and_read_at_once() -> None:
    said = sentences()
    assert [text for text in said if len(text) > LONGEST] == []
    assert [(text, better) for text in said for pattern, better in PRIVATE.items() if re.search(pattern, text)] == []


@pytest.mark.slow
def test_no_text_of_the_program_has_private_words() -> None:
    found = []
    for path in (*PROGRAM, *TEMPLATES, RULES):
        texts = literals(path) if path.suffix == ".py" else enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        found += [
            f"{path.relative_to(ROOT)}:{line}: {text!r}: better {better}"
            for line, text in texts
            for pattern, better in PRIVATE.items()
            if re.search(pattern, text)
        ]
    assert found == []
