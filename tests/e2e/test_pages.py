"""The pages of a daemon in a real browser: all runs, one run, by keyboard, in the dark, on a phone, live and without script."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.browser import CHROMIUM, Browser
from support.daemon_process import DaemonProcess
from support.quadratic import Training
from support.waiting import eventually

from lrwatch.export.pages import address_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, which is not installed"),
]

# Names that mean something in a page, in an address or on a disk.
HOSTILE = '<img src=x onerror="document.title=1">&?#%2e%2e; rm -rf x'
FIRST_STEPS = 60
PLAIN = [f"seed-{number:02}" for number in range(12)]


@dataclass
class Fleet:
    """A daemon over some runs, and a browser."""

    folder: Path
    daemon: DaemonProcess
    browser: Browser

    def write(self, run: str, steps: int) -> None:
        """Let a run go on to a step."""
        lines = Training().lines(steps).splitlines(keepends=True)
        with (self.folder / run / "log.jsonl").open("a") as log:
            log.writelines(lines[FIRST_STEPS:])

    def open(self, path: str = "/") -> Browser:
        self.browser.size(1280, 800)
        self.browser.scheme("light")
        self.browser.open(self.daemon.address + path)
        return self.browser


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    home = tmp_path_factory.mktemp("fleet")
    folder = home / "runs"
    for name in [*PLAIN, HOSTILE]:
        (folder / name).mkdir(parents=True)
        (folder / name / "log.jsonl").write_text(Training().lines(700 if name == PLAIN[3] else FIRST_STEPS))
    daemon = DaemonProcess(home / "daemon", "--poll-seconds", "0.1", "--mode", "observe", folder)
    browser = None
    try:
        eventually(
            lambda: daemon.value("lrwatch_ingest_samples_total", run=HOSTILE), timeout=60.0, what="all runs are read"
        )
        browser = Browser(home / "profile")
        yield Fleet(folder, daemon, browser)
    finally:
        if browser is not None:
            browser.close()
        daemon.end(signal.SIGKILL)


def rows(browser: Browser) -> list[str]:
    found: list[str] = browser.value("[...document.querySelectorAll('a.run')].map((a) => a.textContent)")
    return found


def test_all_runs_are_a_table_ten_on_a_screen_with_the_one_first_that_needs_a_look(fleet: Fleet) -> None:
    browser = fleet.open()
    browser.until("document.querySelector('a.run').textContent === 'seed-03'")  # the only one on a plateau
    assert sorted(rows(browser)) == sorted([*PLAIN, HOSTILE])
    bottoms = "[...document.querySelectorAll('tbody tr')].map((r) => r.getBoundingClientRect().bottom)"
    assert sum(bottom <= 800 for bottom in browser.value(bottoms)) >= 10
    assert browser.value("document.querySelectorAll('tbody svg path').length") == len(PLAIN) + 1
    assert "1 worth a look" in browser.value("document.getElementById('headline').textContent")
    assert browser.errors == []


def test_it_is_kept_up_to_date_and_the_focus_stays(fleet: Fleet) -> None:
    browser = fleet.open()
    browser.value("window.same = 'page'; document.querySelector('a.run[href=\"/runs/seed-05\"]').focus()")
    before = browser.value("document.body.textContent.includes('565')")
    fleet.write("seed-05", 565)
    browser.until("document.activeElement.closest('tr')?.textContent.includes('565')")
    assert not before
    assert browser.value("document.activeElement.getAttribute('href')") == "/runs/seed-05"
    assert browser.value("window.same") == "page"
    assert browser.value("document.documentElement.dataset.live") == "yes"
    assert browser.errors == []


def test_the_keyboard_leads_to_a_run_into_its_picture_and_back(fleet: Fleet) -> None:
    browser = fleet.open()
    order = rows(browser)
    for key in ("j", "ArrowDown", "k"):
        browser.press(key)
    assert browser.value("document.activeElement.textContent") == order[0]
    outline = "getComputedStyle(document.activeElement, '::after').outlineStyle"
    assert browser.value(outline) == "solid"
    browser.press("Enter")
    browser.until(f"location.pathname === {json.dumps(address_of(order[0]))}")
    browser.until("document.documentElement.dataset.ready === 'yes'")
    browser.value("document.querySelector('.plot').focus()")
    browser.press("+")
    assert browser.value("document.documentElement.dataset.busy") == "yes"  # it waits while somebody looks closer
    browser.value("document.getElementById('home').focus()")
    browser.press("Enter")
    browser.until("location.pathname === '/'")
    assert browser.errors == []


def test_the_page_of_a_run_goes_on_with_the_run_and_its_picture_still_works(fleet: Fleet) -> None:
    browser = fleet.open("/runs/seed-07")
    browser.until("document.documentElement.dataset.ready === 'yes'")
    browser.value("window.same = 'page'")
    fleet.write("seed-07", 640)
    browser.until("document.querySelector('.now').textContent.includes('640')")
    assert browser.value("window.same") == "page"
    browser.value("document.querySelector('.plot').focus()")
    browser.press("+")
    assert browser.value("document.querySelector('.stretch').getAttribute('viewBox').split(' ')[0]") == "25000"
    assert browser.errors == []


def test_a_hostile_name_is_text_everywhere_and_its_address_is_its_own(fleet: Fleet) -> None:
    browser = fleet.open(address_of(HOSTILE))
    browser.until("document.documentElement.dataset.ready === 'yes'")
    assert HOSTILE in browser.value("document.querySelector('h1').textContent")
    assert browser.value("document.title").startswith(HOSTILE)
    assert browser.value("document.querySelectorAll('img').length") == 0
    assert browser.errors == []


def test_a_name_that_no_run_has_is_told_and_leads_nowhere_else(fleet: Fleet) -> None:
    for path in ("nobody", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "seed-01/log.jsonl", ""):
        status, body = fleet.daemon.get(f"/runs/{path}")
        assert status == 404, path
        assert "no run is called" in body


@pytest.mark.parametrize("path", ["/", "/runs/seed-03", address_of(HOSTILE)])
def test_it_fits_a_phone_and_is_dark_where_that_is_wanted(fleet: Fleet, path: str) -> None:
    browser = fleet.open(path)
    background = "getComputedStyle(document.body).backgroundColor"
    light = browser.value(background)
    browser.size(360, 740)
    assert browser.value("document.documentElement.scrollWidth") <= 360
    browser.scheme("dark")
    assert browser.value(background) != light
    assert browser.picture().startswith(b"\x89PNG")
    if path == "/":
        bottoms = "[...document.querySelectorAll('tbody tr')].map((r) => r.getBoundingClientRect().bottom)"
        assert sum(bottom <= 740 for bottom in browser.value(bottoms)) >= 9
    assert browser.errors == []


@pytest.mark.parametrize("path", ["/", "/runs/seed-03"])
def test_without_script_everything_is_there_and_the_browser_loads_it_again(fleet: Fleet, path: str) -> None:
    browser = fleet.browser
    browser.script(on=False)
    try:
        fleet.open(path)
        assert "seed-03" in browser.value("document.querySelector('main').textContent")
        assert browser.value("document.querySelector('svg path') !== null")
        assert browser.value("document.querySelector('meta[http-equiv=refresh]').content") == "10"
    finally:
        browser.script(on=True)


def test_a_daemon_that_is_gone_is_said_and_what_it_showed_stays(fleet: Fleet) -> None:
    browser = fleet.open()
    count = len(rows(browser))
    fleet.daemon.end()
    browser.until("document.documentElement.dataset.live === 'lost'")
    assert len(rows(browser)) == count
    words = browser.value("getComputedStyle(document.querySelector('.live'), '::before').content")
    assert "the daemon does not answer" in words
