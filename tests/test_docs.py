"""What the documents say is there, and what is there they say. `test_contract.py` holds docs/contract.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from support import golden_docs
from test_layers import RINGS

from lrwatch import formats
from lrwatch.cli import cli
from lrwatch.core.detectors import REGISTRY
from lrwatch.core.events import KINDS, Kind
from lrwatch.core.strategies import STRATEGIES
from lrwatch.export.metrics import METRICS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
]
FOLDERS = ("lrwatch", "tests", "docs", "bench", "grafana", "deploy", "examples")
INTEGRATIONS = [path.stem for path in (ROOT / "lrwatch/integrations").glob("[a-z]*.py")]


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_command_is_in_the_changelog_and_has_a_help(command: str) -> None:
    result = CliRunner().invoke(cli, [command, "--help"])
    assert f"`{command}`" in CHANGELOG or f"`lrwatch {command}" in CHANGELOG
    assert result.exit_code == 0
    assert "Usage:" in result.output


@pytest.mark.parametrize("name", [format_.name for format_ in formats.FORMATS])
def test_every_format_is_in_the_table(name: str) -> None:
    assert f"| `{name}` |" in text("docs/logs.md")


def test_every_command_that_the_readme_uses_exists() -> None:
    written = re.findall(r"`(lrwatch [^`]+)`|^\$ (lrwatch .+)$", README, re.MULTILINE)
    used = {
        command for pair in written for command in re.findall(r"lrwatch ([a-z]+)(?![a-z./])", " ".join(pair))
    }  # a path is none
    assert used
    assert used <= set(cli.commands)


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_a_page_names_exists(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|\$ )make ([a-z-]+)", text(page))):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES)
def test_the_paths_that_a_page_names_exist(page: str) -> None:
    for path in re.findall(rf"`((?:{'|'.join(FOLDERS)})/[^`\s{{*]*)", text(page)):
        assert "NAME" in path or (ROOT / path).exists(), path


@pytest.mark.parametrize("name", ["architecture", "notifications", "python"])
def test_the_blocks_of_a_page_are_those_of_the_code(name: str) -> None:
    page = ROOT / f"docs/{name}.md"
    assert page.read_text(encoding="utf-8") == golden_docs.rendered(page), "make golden"


def test_the_architecture_page_has_one_line_for_each_room() -> None:
    tour = text("docs/architecture.md").split("## Rooms")[1].split("\n## ")[0]
    assert sorted(re.findall(r"^- `(\w+)`: ", tour, re.MULTILINE)) == sorted(RINGS)


@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        ("detector", [detector.__module__ for detector in REGISTRY]),
        ("strategy", [strategy.__module__ for strategy in STRATEGIES.values()]),
        ("log format", [format_.__module__ for format_ in formats.FORMATS]),
        ("integration", [f"lrwatch.integrations.{name}" for name in INTEGRATIONS]),
        ("metric with its panel", [metric.name for metric in METRICS]),
    ],
)
def test_the_example_to_copy_is_one_of_them(recipe: str, names: list[str]) -> None:
    steps = text("CONTRIBUTING.md").split(
        f"\n## Add a {recipe}\n" if recipe != "integration" else "\n## Add an integration\n"
    )[1]
    example = re.findall(r"Example to copy: `([^`]+)`", steps)[0]
    assert example.removesuffix(".py").replace("/", ".") in names


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_is_in_the_table(name: str) -> None:
    assert re.search(rf"^\|[^|]*`{name}`[^|]*\|", text("docs/strategies.md"), re.MULTILINE)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_finding_is_in_the_table_and_says_what_to_do(kind: Kind) -> None:
    page = text("docs/findings.md")
    assert f"| `{kind}` |" in page
    assert f"\n**{kind}** ({KINDS[kind].severity.replace('info', 'information')})" in page


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / ".github").rglob("*.yml")), ROOT / ".pre-commit-config.yaml"], ids=lambda p: p.name
)
def test_settings_of_the_repository_are_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)
