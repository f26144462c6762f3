"""What MkDocs does not do by itself: documents beside `docs/`, links that lead out of it, and a check that nothing is loaded from elsewhere."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# Pages and pictures of the site that stand elsewhere in the repository, where people and package indexes look for them.
BESIDE = {
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
    "examples.md": "examples/README.md",
    "deploy.md": "deploy/README.md",
    "grafana.md": "grafana/README.md",
    "images/detect.svg": "bench/detect/detect.svg",
    "images/closed.svg": "bench/closed/closed.svg",
}

_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(https?:)?//|<link\b[^>]*rel=["']?(?:stylesheet|preconnect|preload)["']?[^>]*href=["']?(?:https?:)?//"""
)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that stand beside `docs/`."""
    root = Path(config.docs_dir).parent
    for page, source in BESIDE.items():
        files.append(File.generated(config, page, content=(root / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Lead links to where a file is on the site, or else to the repository."""
    here = page.file.src_uri
    folder = posixpath.dirname(BESIDE.get(here, f"docs/{here}"))
    pages = {source: beside for beside, source in BESIDE.items()}

    def led(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, found[1]))
        if not (Path(config.docs_dir).parent / path).exists():
            return found[0]  # MkDocs reports it
        anchor = found[2] or ""
        if inside := pages.get(path) or (
            path.removeprefix("docs/") if path.endswith((".md", ".png", ".svg")) and path.startswith("docs/") else None
        ):
            return f"]({posixpath.relpath(inside, posixpath.dirname(here) or '.')}{anchor})"
        return f"]({config.repo_url}/{path}{anchor})"

    return _LINK.sub(led, markdown)


def on_post_build(*, config: MkDocsConfig) -> None:
    """Check that no page loads anything from another server.

    Raises:
        PluginError: A page does.
    """
    for page in sorted(Path(config.site_dir).rglob("*.html")):
        if found := _LOADED.search(page.read_text(encoding="utf-8")):
            raise PluginError(f"{page} loads something from another server: {found[0]}...")
