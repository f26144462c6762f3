"""docs/frameworks.md: each cell of its table, against a short training with the framework itself."""

from __future__ import annotations

import os
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from frameworks.adapters import ADAPTERS, COLUMNS

import lrwatch.integrations

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
    pytest.mark.filterwarnings(
        "ignore:.*(does not have many workers|`srun` command|`val_dataloader`|LeafSpec|lr_scheduler.step|on policy algo)"
    ),
]

PAGE = (Path(__file__).parents[2] / "docs" / "frameworks.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
TABLE = {row[0]: dict(zip(ROWS[0][1:], row[1:], strict=True)) for row in ROWS[2:]}


def test_the_table_has_a_row_for_each_adapter_and_a_column_for_each_promise() -> None:
    assert tuple(ROWS[0][1:]) == COLUMNS
    assert list(TABLE) == list(ADAPTERS)
    modules = {module.name for module in pkgutil.iter_modules(lrwatch.integrations.__path__)}
    assert {name for name in modules if not name.startswith("_")} <= {
        re.sub(r"\W", "_", function.__name__) for function in ADAPTERS.values()
    } | {"torch"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """What a training with an adapter has shown; each runs once."""
    known: dict[str, dict[str, str]] = {}

    def of(name: str) -> dict[str, str]:
        if name not in known:
            os.environ.setdefault("KERAS_BACKEND", "torch")
            known[name] = ADAPTERS[name](tmp_path_factory.mktemp("adapter"))
        return known[name]

    return of


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("name", ADAPTERS)
def test_what_a_cell_says_is_so(name: str, column: str, trained: Callable[[str], dict[str, str]]) -> None:
    try:
        found = trained(name)[column]
    except ModuleNotFoundError as error:
        pytest.skip(f"{error.name} is not installed")
    assert re.match(r"\w+", TABLE[name][column])[0] == found, TABLE[name][column]  # type: ignore[index]
