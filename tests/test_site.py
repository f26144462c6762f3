"""The front door: the README, the pages of the site, their links, and what of them is made from code. `make docs` builds the site itself."""

from __future__ import annotations

import os.path
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support import golden_docs, golden_reference

import lrwatch
from lrwatch.config import keys
from lrwatch.control.directory import ControlDirectory

ROOT = Path(__file__).parents[1]
BASE = "https://example.org/lrwatch"
README = (ROOT / "README.md").read_text(encoding="utf-8")
SITE = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "alerts" not in path.parts]
WRITTEN = [path for path in SITE if path not in golden_reference.PAGES]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "examples/*.md", "grafana/*.md")
    for path in ROOT.glob(pattern)
)
INTEGRATIONS = [path.stem for path in (ROOT / "lrwatch/integrations").glob("[a-z]*.py")]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def page(path: str) -> str:
    return (ROOT / "docs" / path).read_text(encoding="utf-8")


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The anchors of the headings of a page, as a repository's browser and MkDocs make them alike."""
    headings = re.findall(r"^#+ (.+)$", prose(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_and_anchors_lead_somewhere(path: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", prose(path.read_text(encoding="utf-8"))):
        if link.startswith(BASE):
            target = ROOT / link.removeprefix(BASE).lstrip("/")
        elif link.startswith("https://"):
            continue
        else:
            target = Path(os.path.normpath(path.parent / link)) if link else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), f"{link}#{anchor}"


def test_the_readme_is_read_in_a_minute() -> None:
    assert len(README.splitlines()) <= 120
    assert len(re.findall(r"\w+", prose(README))) <= 1200


def test_links_and_pictures_of_the_readme_are_absolute_because_a_package_index_shows_it() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []
    assert re.findall(r"!\[[^\]]+\]\((.+?)\)", README) == [f"{BASE}/docs/images/live.png"]


def test_all_placeholders_of_the_projects_address_are_the_same() -> None:
    files = [ROOT / "pyproject.toml", ROOT / "mkdocs.yml", ROOT / "README.md", ROOT / "deploy/prometheus/rules.yml"]
    for file in files:
        for found in re.findall(r"https://example\.org[^\s\"'#)]*", file.read_text(encoding="utf-8")):
            assert found == BASE or found.startswith(f"{BASE}/"), f"{name(file)}: {found}"
    assert yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["repo_url"] == BASE


def test_the_picture_is_small() -> None:
    picture = (ROOT / "docs/images/live.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 150_000


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    def pages(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [one for part in (entry.values() if isinstance(entry, dict) else entry) for one in pages(part)]

    hooks = (ROOT / "docs/site/hooks.py").read_text(encoding="utf-8")
    beside = dict(re.findall(r'"([\w/]+\.md)": "([\w/]+\.md)"', hooks))
    listed = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert len(listed) == len(set(listed))
    assert set(listed) == there | beside.keys()
    assert all((ROOT / source).exists() for source in beside.values())


@pytest.mark.parametrize("path", golden_reference.PAGES, ids=name)
def test_a_page_of_the_reference_is_that_of_the_code(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == golden_reference.PAGES[path](), "make golden"


def test_every_setting_has_a_reason() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", page("settings.md"), re.MULTILINE))
    assert {key.partition(".")[2] for key in keys()} == rows.keys()
    assert min(map(len, rows.values())) > 10


@pytest.mark.slow
@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "docs/how-it-decides.md"], ids=name)
def test_a_page_shows_what_the_commands_print(path: Path) -> None:
    now = golden_docs.without_numbers(golden_docs.rendered(path))
    assert now == golden_docs.without_numbers(path.read_text(encoding="utf-8")), "make golden"


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", ROOT / "docs/getting-started.md", ROOT / "docs/training.md"], ids=name
)
def test_the_two_lines_attach_a_loop(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train_step(batch: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = model(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss

    names: dict[str, Any] = {"optimizer": optimizer, "batches": torch.ones(3, 4, 2), "train_step": train_step}
    exec(compile(block, str(path), "exec"), names)
    names["watch"].close()
    observed = ControlDirectory(tmp_path / "runs/a/lrwatch").read_observed()
    assert observed is not None
    assert observed.step == 3
    assert len((tmp_path / "runs/a/lrwatch/metrics.jsonl").read_text().splitlines()) == 3


def test_the_python_page_has_every_public_name() -> None:
    shown = re.findall(r"^::: (\S+)$", page("python.md"), re.MULTILINE)
    assert {one.rpartition(".")[2] for one in shown} >= set(lrwatch.__all__) - {"__version__", "torch"}
    assert {one.split(".")[2] for one in shown if one.startswith("lrwatch.integrations.")} == set(INTEGRATIONS)


def test_every_alert_is_in_the_table_with_the_severity_of_its_page() -> None:
    rows = dict(re.findall(r"^\| \[\w+\]\(alerts/(\w+)\.md\) \| (\w+) \|", page("operating.md"), re.MULTILINE))
    said = {
        path.stem: re.findall(r"^Severity: (\w+)\.$", path.read_text(encoding="utf-8"), re.MULTILINE)[0]
        for path in (ROOT / "docs/alerts").glob("*.md")
    }
    assert rows == said


def test_the_causes_that_the_questions_name_are_those_of_the_doctor() -> None:
    code = (ROOT / "lrwatch/offline/examination.py").read_text(encoding="utf-8")
    named = re.findall(r"^\| `(\w+)` \|", page("faq.md"), re.MULTILINE)
    assert len(named) > 10
    for cause in named:
        assert f'"{cause}"' in code, cause


def test_the_figures_of_the_readme_stand_in_the_benchmarks() -> None:
    benchmarks = page("benchmarks.md")
    for row in re.findall(r"^\| .* <sup>\d</sup> \|(.+)\|(.+)\|$", README, re.MULTILINE):
        for figure in re.findall(r"\d+(?:\.\d+)?(?= |$)", " ".join(row)):
            assert re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", benchmarks), figure
    for figure in ("0.995", "0.999", "4.6"):
        assert figure in README
        assert figure in benchmarks


def test_the_glossary_has_the_words_of_the_design_in_order() -> None:
    words = re.findall(r"^\| (?!word)([a-z][\w ]+) \|", page("glossary.md"), re.MULTILINE)
    assert words == sorted(words)
    assert {
        "run",
        "axis",
        "phase",
        "finding",
        "strategy",
        "scale",
        "command",
        "trial",
        "effect",
        "token",
        "journal",
    } <= set(words)


# Phrases that a native speaker would not write, and that this project once had in many places.
STILTED = ("is asked for", "was asked for", "anew", "is told", "is looked", "is said", "was said", "is what is")


@pytest.mark.parametrize("path", [ROOT / "README.md", *WRITTEN], ids=name)
def test_a_page_is_plain_english(path: Path) -> None:
    text = " ".join(prose(path.read_text(encoding="utf-8")).split()).lower()
    for phrase in STILTED:
        assert not re.search(rf"\b{phrase}\b", text), phrase
