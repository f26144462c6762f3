"""The landing page: hostile names are text, and Jinja2 is loaded when the page is first served."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

from support.example_snapshots import CALM
from support.report_page import Page

from lrwatch.core.snapshot import RunStatus, Snapshot
from lrwatch.export.pages import page

HOSTILE = "</td><script>alert(1)</script>"


def test_hostile_names_are_text_and_every_element_is_closed() -> None:
    landing = Page(page(Snapshot(0.0, (RunStatus(name=HOSTILE, mode="auto"), CALM))).decode())

    assert not landing.all("script")
    assert [row[0] for row in landing.tables[0]] == ["Run", HOSTILE, "gpt2"]


def test_a_run_that_is_over_says_what_became_of_it() -> None:
    ended = replace(
        CALM, life="ended", life_note="the training closed its client at step 12000", up=False, problem="deleted"
    )
    landing = Page(page(Snapshot(0.0, (ended,))).decode())
    assert landing.tables[0][1][1] == "ended: the training closed its client at step 12000"


def test_an_exporter_loads_no_template_engine_before_its_page_is_served() -> None:
    check = (
        "import sys, lrwatch.export.exporter as e; assert 'jinja2' not in sys.modules;"
        "e.page(None); assert 'jinja2' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
