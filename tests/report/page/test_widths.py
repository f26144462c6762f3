"""The report on screens of all widths in a real browser: nothing leaves the page, in the light and in the dark."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browser import CHROMIUM, Browser

from lrwatch.report import ReportData, write
from lrwatch.report.model.data import RunState

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, which is not installed"),
]

# Elements that stand out beyond the right edge, but for those that stretch or scroll by themselves.
OUTSIDE = """[...document.querySelectorAll("main *")].filter((one) => {
  const box = one.getBoundingClientRect();
  return box.width && !one.closest("svg") && box.right > innerWidth + 1;
}).map((one) => one.tagName + "." + one.className)"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def test_nothing_leaves_the_page_and_the_table_heads_are_there_where_they_have_room(
    full_run: ReportData, browser: Browser, tmp_path: Path
) -> None:
    state = RunState(
        "plateau", "warn", "since step 2,000: improves by 0.03 % ± 0.28 % per 1,499 steps, and 0.5 % is required"
    )
    write(dataclasses.replace(full_run, state=state), tmp_path / "report.html")
    for width in (360, 500, 1280):
        for scheme in ("light", "dark"):
            browser.size(width, 900)
            browser.scheme(scheme)
            browser.open((tmp_path / "report.html").as_uri())
            assert browser.value("document.documentElement.scrollWidth") <= width
            assert browser.value(OUTSIDE) == []
            heads = browser.value("document.querySelector('thead').getBoundingClientRect().height > 10")
            assert heads is (width > 680), "a row says what its cells are, or the head does"
    assert browser.errors == []
