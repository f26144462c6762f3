"""What the documents say is there, and what is there they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from lrwatch import formats
from lrwatch.cli import cli
from lrwatch.export.metrics import METRICS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
CONTRACT = ROOT.parent / "shared" / "CONTRACT.md"


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_command_is_in_the_changelog_and_has_a_help(command: str) -> None:
    result = CliRunner().invoke(cli, [command, "--help"])
    assert f"`{command}`" in CHANGELOG or f"`lrwatch {command}" in CHANGELOG
    assert result.exit_code == 0
    assert "Usage:" in result.output


@pytest.mark.parametrize("name", [format_.name for format_ in formats.FORMATS])
def test_every_format_is_in_the_table(name: str) -> None:
    assert f"| `{name}` |" in README


def test_every_command_that_the_readme_uses_exists() -> None:
    written = re.findall(r"`(lrwatch [^`]+)`|^\$ (lrwatch .+)$", README, re.MULTILINE)
    used = {command for pair in written for command in re.findall(r"lrwatch ([a-z]+)", " ".join(pair))}
    assert used
    assert used <= set(cli.commands)


def test_every_make_target_that_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / link).exists(), link


@pytest.mark.skipif(not CONTRACT.exists(), reason="../shared/CONTRACT.md is not beside this checkout")
def test_every_metric_of_the_contract_is_served() -> None:
    section = CONTRACT.read_text(encoding="utf-8").split("## Metrics")[1].split("Alerts:")[0]
    promised = set(re.findall(r"`(lrwatch_[a-z_]+)", section))
    served = {metric.name for metric in METRICS}
    assert promised <= served | {f"{name}_total" for name in served}


@pytest.mark.skipif(not CONTRACT.exists(), reason="../shared/CONTRACT.md is not beside this checkout")
def test_every_alert_of_the_contract_has_a_rule() -> None:
    promised = CONTRACT.read_text(encoding="utf-8").split("Alerts:")[1].split(".")[0]
    rules = (ROOT / "deploy/prometheus/rules.yml").read_text(encoding="utf-8")
    for alert in re.findall(r"[A-Z]\w+", promised):
        assert f"alert: {alert}\n" in rules
