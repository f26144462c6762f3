"""The page of all runs: who needs a person comes first, hostile names are text, and Jinja2 is loaded when it is first served."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

from support.example_snapshots import CALM
from support.report_page import Page

from lrwatch.core.snapshot import RunStatus, Snapshot
from lrwatch.export.pages import address_of, curve_path, live_script, page

HOSTILE = "</td><script>alert(1)</script>"
CALM_TIME = 1_700_000_000.5


def test_hostile_names_are_text_and_every_element_is_closed() -> None:
    landing = Page(page(Snapshot(0.0, (RunStatus(name=HOSTILE, mode="auto"), CALM))).decode())

    assert landing.raw["script"] == [live_script()]
    assert "onload" not in {name for _, attributes, _ in landing.elements for name in attributes}
    # gpt2 has a proposal, so it stands first; the mode of a run stands below its name.
    assert [row[0] for row in landing.tables[0]] == ["Run", "gpt2auto", f"{HOSTILE}auto"]


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


def test_runs_stand_in_the_order_in_which_they_need_a_person() -> None:
    calm = replace(CALM, proposals=(), held=False, fenced=False, trainer_faults=(), step=40_000)
    metric = replace(calm.metrics[2], state="improving", words="improving: 3 % \u00b1 1 % per 1,200 steps")
    runs = {
        "decide": replace(calm, proposals=CALM.proposals),
        "broken": replace(calm, life="lost", life_note="its process is gone without a goodbye"),
        "look": calm,  # on a plateau
        "fine": replace(calm, metrics=(metric,)),
        "over": replace(calm, life="ended", life_note="it said goodbye"),
    }
    for order in (list(runs), list(reversed(runs))):
        landing = Page(page(Snapshot(CALM_TIME, tuple(replace(runs[name], name=name) for name in order))).decode())
        assert [row[0] for row in landing.tables[0][1:]] == [f"{name}auto" for name in runs]
    assert "5 runs: 1 waiting for you, 1 in trouble, 1 worth a look, 1 fine, 1 over." in landing.words
    assert "(3) lrwatch" in landing.words  # the title counts who asks for attention
    assert "lrwatch approve gpt2 17" in landing.tables[0][1][1]


def test_a_row_says_how_far_a_run_is_what_changed_last_and_draws_its_curve() -> None:
    run = replace(CALM, curve=(4.0, 2.0, 1.0))
    landing = Page(page(Snapshot(CALM_TIME + 4, (run,))).decode())
    cells = landing.tables[0][1]
    assert "12,000 of 40,000" in cells[4]
    assert "4 s ago" in cells[4]
    assert [one["value"] for one in landing.all("progress")] == ["30.0"]
    assert cells[6] == "16 min ago; helped: 2.10 % better (1.50 to 2.70 %)"
    assert landing.all("svg")[0]["aria-label"] == "from 4 to 1"
    assert landing.all("path")[0]["d"] == curve_path((4.0, 2.0, 1.0))
    assert landing.all("a", href="/runs/gpt2")


def test_a_curve_of_one_value_and_one_beyond_all_bounds_can_be_drawn() -> None:
    assert curve_path((1.0,)) == ""
    assert curve_path((1.0, 1.0)) == "M3 15L117 15"
    assert "nan" not in curve_path((1.7e308, -1.7e308, 0.0))


def test_the_address_of_a_run_is_one_segment_whatever_its_name() -> None:
    assert address_of("../../etc/passwd?#%") == "/runs/..%2F..%2Fetc%2Fpasswd%3F%23%25"
