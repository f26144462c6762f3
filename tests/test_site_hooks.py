"""What `docs/site/hooks.py` adds to MkDocs, on a small site. `make docs` installs MkDocs and builds the real one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is not installed: make docs")

ROOT = Path(__file__).parents[1]
SETTINGS = f"""
site_name: small
repo_url: https://example.org/lrwatch
use_directory_urls: false
strict: true
exclude_docs: site/
theme: {{name: null, custom_dir: theme}}
plugins: []
hooks: [{ROOT / "docs/site/hooks.py"}]
validation: {{links: {{not_found: warn, anchors: warn}}}}
nav:
  - index.md
  - How it works: [other.md]
  - Beside: [contributing.md, security.md, changelog.md, examples.md, deploy.md, grafana.md]
"""
BESIDE = (
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "examples/README.md",
    "deploy/README.md",
    "grafana/README.md",
)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A repository with a page, the documents beside `docs/`, and a theme that shows the text only."""
    for name in BESIDE:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(
            f"# {name}\n\nSee [the page](../docs/index.md).\n".replace("../docs", "../docs" if "/" in name else "docs")
        )
    for folder in ("docs", "theme", "bench/detect", "bench/closed"):
        (tmp_path / folder).mkdir(parents=True)
    for picture in ("bench/detect/detect.svg", "bench/closed/closed.svg"):
        (tmp_path / picture).write_text("<svg/>")
    (tmp_path / "examples/loop.py").write_text("")
    (tmp_path / "theme/main.html").write_text("{{ page.content }}")
    (tmp_path / "docs/other.md").write_text("# Other\n")
    (tmp_path / "mkdocs.yml").write_text(SETTINGS)
    return tmp_path


def build(site: Path, page: str) -> subprocess.CompletedProcess[str]:
    (site / "docs/index.md").write_text(page)
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=site, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_links_that_leave_the_folder_lead_to_a_page_of_the_site_or_to_the_repository(site: Path) -> None:
    page = "[a](../CONTRIBUTING.md#add) [b](../examples/loop.py) [c](other.md) ![d](../bench/detect/detect.svg) [e](https://x.org)"
    (site / "CONTRIBUTING.md").write_text("# C\n\n## Add\n\n[back](docs/other.md), [up](deploy/README.md)\n")
    ended = build(site, page)
    assert ended.returncode == 0, ended.stderr
    made = (site / "site/index.html").read_text()
    for address in (
        "contributing.html#add",
        "https://example.org/lrwatch/examples/loop.py",
        "other.html",
        "images/detect.svg",
        "https://x.org",
    ):
        assert f'"{address}"' in made
    assert '"other.html"' in (site / "site/contributing.html").read_text()
    assert '"index.html"' in (site / "site/examples.html").read_text()
    assert (site / "site/images/detect.svg").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("# A\n\n[nowhere](../nowhere.md)\n", "nowhere.md"),
        ("# A\n\n[b](other.md#no-such)\n", "no-such"),
        ('# A\n\n<script src="https://cdn.example.org/x.js"></script>\n', "loads something from another server"),
        ("# A\n\n![tracker](https://cdn.example.org/x.png)\n", "loads something from another server"),
    ],
)
def test_the_build_fails_where_a_link_is_broken_or_a_page_loads_from_elsewhere(
    site: Path, page: str, words: str
) -> None:
    ended = build(site, page)
    assert ended.returncode != 0
    assert words in ended.stderr + ended.stdout


def test_the_hooks_can_be_loaded_where_mkdocs_is() -> None:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/site/hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    assert all((ROOT / source).exists() for source in hooks.BESIDE.values())
