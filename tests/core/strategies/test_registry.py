"""Every strategy of the settings has its class, and is named nowhere else."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import lrwatch
from lrwatch.core.options import NEEDED, PolicyOptions
from lrwatch.core.options import STRATEGIES as NAMES
from lrwatch.core.strategies import AUTO, STRATEGIES, chosen

PACKAGE = Path(lrwatch.__file__).parent


def test_the_settings_and_the_registry_know_the_same_strategies() -> None:
    assert (AUTO, *STRATEGIES) == NAMES
    assert set(NEEDED) <= set(NAMES)


@pytest.mark.parametrize(
    ("name", "length_is_known", "is_base", "expected"),
    [
        (AUTO, True, False, "anneal"),
        (AUTO, False, False, "plateau"),
        (AUTO, True, True, "observe"),
        ("plateau", True, True, "plateau"),
    ],
)
def test_auto_decides_by_what_is_known_of_the_run(
    name: str, length_is_known: bool, is_base: bool, expected: str
) -> None:
    assert chosen(name, length_is_known=length_is_known, is_base=is_base) == expected


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_survives_a_restart(name: str) -> None:
    strategy = STRATEGIES[name]()
    assert STRATEGIES[name].from_state(json.loads(json.dumps(strategy.state()))) == strategy


@pytest.mark.parametrize("name", NEEDED)
def test_a_strategy_names_the_number_that_it_lacks(name: str) -> None:
    with pytest.raises(ValueError, match=f"{NEEDED[name]} must be 1 or more for {name}"):
        PolicyOptions(strategy=name)  # type: ignore[arg-type]  # it is one


def _named(value: ast.expr) -> bool:
    """Whether an expression stands for the strategy of the settings."""
    return isinstance(value, ast.Attribute) and value.attr == "strategy"


@pytest.mark.slow
def test_nothing_but_the_registry_asks_which_strategy_it_is() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and any(_named(value) for value in (node.left, *node.comparators)):
                texts = [value for value in (node.left, *node.comparators) if not _named(value)]
                assert not any(isinstance(text, ast.Constant) and text.value in NAMES for text in texts), (
                    f"{path}:{node.lineno} compares the name of a strategy; ask the strategy instead"
                )
