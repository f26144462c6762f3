"""The page in a real browser: hostile names stay text, our script runs, nothing is asked for over the network."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lrwatch.report import ReportData, write
from lrwatch.report.page.template import asset

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, which is not installed"),
]

# Starting a browser on a loaded machine takes a while.
BROWSER_SECONDS = 120

ATTACK = "document.documentElement.dataset.broken='yes'"
HOSTILE = f'</script><script>{ATTACK}</script><img src=x onerror="{ATTACK}"><svg onload="{ATTACK}">'


def opened(url: str, profile: Path) -> str:
    """The page's elements after its scripts have run."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        f"--user-data-dir={profile}", "--window-size=1280,1600", "--dump-dom", url,
    ]  # fmt: skip
    browser = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True
    )
    try:
        elements, errors = browser.communicate(timeout=BROWSER_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.communicate()
        raise
    assert browser.returncode == 0, errors
    return elements


def root(elements: str) -> str:
    found = re.search(r"<html[^>]*>", elements)
    assert found is not None
    return found.group()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """A directory behind a server on this machine, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """The list is the log."""

    folder = tmp_path / "site"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder, asked
        server.shutdown()
        thread.join()


def test_no_script_of_a_hostile_name_runs_and_ours_does(
    full_run: ReportData, served: tuple[str, Path, list[str]], tmp_path: Path
) -> None:
    address, folder, asked = served
    curves = tuple(dataclasses.replace(c, name=HOSTILE) for c in full_run.curves)
    events = tuple(
        {k: HOSTILE if k in ("message", "reason", "code") else v for k, v in e.items()} for e in full_run.events
    )
    data = ReportData(HOSTILE, HOSTILE, HOSTILE, "step", curves, events, ((HOSTILE, HOSTILE),), curves[:1], HOSTILE)
    write(data, folder / "report.html")

    elements = opened(f"{address}/report.html", tmp_path / "profile")

    assert 'data-ready="yes"' in root(elements)
    assert "data-error" not in root(elements)
    assert "data-broken" not in root(elements)
    assert "<img" not in elements
    assert asked == ["/report.html"]


def test_zoom_and_read_out_work_by_keyboard(
    full_run: ReportData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The test's own keystrokes are part of the script, since the page lets no other script run.
    keys = """
    addEventListener("load", () => {
      const press = (key) => document.querySelector(".plot").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      for (const key of ["+", "ArrowRight", "ArrowRight"]) press(key);
    });
    """
    monkeypatch.setattr(
        "lrwatch.report.page.page.asset", lambda name: asset(name) + (keys if name == "page.js" else "")
    )
    write(full_run, tmp_path / "report.html")

    elements = opened((tmp_path / "report.html").as_uri(), tmp_path / "profile")

    assert 'data-ready="yes"' in root(elements)
    assert "data-error" not in root(elements)
    assert 'viewBox="25000 0 50000' in elements
    # A quarter of 4,999 steps, and two hundredths of the half that is visible.
    assert '<li class="where">step 1,300</li>' in elements
    assert re.search(r"<span>effective</span> <b>0.1</b>", elements)


def test_an_address_that_names_a_folded_row_unfolds_it(full_run: ReportData, tmp_path: Path) -> None:
    stairs = tuple(
        {"event": "command", "step": 100 * i, "scale": 0.9**i, "reason": "", "cause": "schedule"} for i in range(9)
    )
    write(dataclasses.replace(full_run, events=stairs), tmp_path / "report.html")

    address = (tmp_path / "report.html").as_uri()

    assert '<details open="">' in opened(f"{address}#change-3", tmp_path / "profile")
    assert "<details>" in opened(f"{address}#changes-1", tmp_path / "profile")


def test_a_page_without_a_picture_is_ready_too(tmp_path: Path) -> None:
    write(ReportData("r", "r", "loss", "step", ()), tmp_path / "report.html")

    elements = opened((tmp_path / "report.html").as_uri(), tmp_path / "profile")

    assert 'data-ready="yes"' in root(elements)
    assert "data-error" not in root(elements)
