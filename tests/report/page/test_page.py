from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from support.report_page import Page

import lrwatch
from lrwatch.core.sample import Floats
from lrwatch.errors import InputError
from lrwatch.report import MetricCurve, ReportData, render, write
from lrwatch.report.chart.run_chart import MAX_MARKS
from lrwatch.report.text import MINUS

MAX_BYTES = 1_000_000
HOSTILE = "</script><img src=x onerror=alert(1)><script>alert(2)</script>\"'&\x00\u202e\ud800"


def operator(step: int, verb: str, argument: str = "", *, done: bool = True, message: str = "") -> dict[str, object]:
    fields = {"verb": verb, "argument": argument, "actor": "anna", "done": done, "message": message}
    return {"event": "operator", "run": "r", "step": step, **fields}


def simple(values: Floats | list[float], **fields: object) -> ReportData:
    values = np.asarray(values, np.float64)
    data = ReportData("r", "r", "loss", "step", (MetricCurve("loss", "train", np.arange(len(values)), values),))
    return dataclasses.replace(data, **fields)  # type: ignore[arg-type]


def test_the_page_allows_its_own_style_and_script_and_nothing_else(full_run: ReportData) -> None:
    page = Page(render(full_run))

    policy = page.all("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    rules = dict(rule.strip().split(" ", 1) for rule in policy["content"].split(";"))
    digests = {
        tag: "'sha256-" + base64.b64encode(hashlib.sha256(page.raw[tag][-1].encode()).digest()).decode() + "'"
        for tag in ("style", "script")
    }
    assert rules == {
        "default-src": "'none'",
        "style-src": digests["style"],
        "script-src": digests["script"],
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_nothing_on_the_page_points_outside(full_run: ReportData) -> None:
    source = render(full_run)
    page = Page(source)

    targets = [v for _, a, _ in page.elements for k, v in a.items() if k in ("href", "src", "action", "xlink:href")]
    assert all(target.startswith(("#", "data:,")) for target in targets)
    assert "@import" not in source
    assert "url(" not in source
    # The name of the SVG namespace is the only address, and nobody asks for it.
    assert set(re.findall(r"\w+://[^\"']+", source)) == {"http://www.w3.org/2000/svg"}
    assert not [a for _, a, _ in page.elements if any(k.startswith("on") or k == "style" for k in a)]


def test_the_picture_has_a_mark_for_each_change_finding_answer_and_phase(full_run: ReportData) -> None:
    page = Page(render(full_run))

    assert len([1 for tag, _, depth in page.elements if tag == "svg" and depth == 0]) == 2, "one is a close-up"
    ids = {a["id"] for _, a, _ in page.elements if "id" in a}
    badges = {a["href"]: a["aria-label"] for a in page.all("a", **{"class": "badge"})}
    assert badges == {
        "#change-1": "1, scale 0.5 at step 2,000",
        "#change-2": "2, scale 0.25 at step 4,200",
        "#finding-1": "F1, plateau at step 2,000",
        "#finding-2": "F2, nonfinite at step 3,000",
    }
    assert {href[1:] for href in badges} <= ids
    assert len(page.all("g", **{"class": "ack"})) == 1
    assert len(page.all("g", **{"class": "refused"})) == 1
    assert len(page.all("rect", **{"class": "band"})) == 1
    assert len(page.all("path", **{"class": "trend"})) == 3
    assert len(page.all("path", **{"class": "raw"})) == 1
    assert len(page.all("path", **{"class": "nonfinite"})) == 1
    assert len(page.all("path", **{"class": "rate"})) == 2
    assert "loss is 900 at step 4,000" in page.words


def test_the_tables_hold_every_change_and_finding(full_run: ReportData) -> None:
    changes, findings, phases, operators = Page(render(full_run)).tables

    assert changes == [
        ["No.", "Step", "Scale", "Reason", "Acknowledged", "Measured effect"],
        [
            "1",
            "2,000",
            "1 → 0.5",
            "plateau at the first level",
            "2,0044 later",
            "helped12.0 % better (8.0 to 16.0 %)0.4300 at step 2,900 instead of 0.4900 at the old rate",
        ],
        ["2", "4,200", "0.5 → 0.25", "plateau again", "refusedheld", "not measured"],
    ]
    assert findings[1:] == [
        ["F1", "2,000", "plateau", "loss", "less than 0.5 % betterimprovement in a horizon 0.0021 · level 0.48"],
        ["F2", "3,000", "non-finite", "loss", "10 values are not finite10 in all"],
    ]
    assert [row[:2] for row in phases[1:]] == [["0", "start"], ["2,004", "command"]]
    assert operators[1:] == [["3,600", "anna", "hold", "note maintenance"]]


def test_what_operators_did_is_told_with_what_came_of_it(full_run: ReportData) -> None:
    follow = '{"strategy": "range_test", "every": 0, "length": 1200}'
    actions = [
        operator(10, "strategy", follow, message="range_test decides from step 10 on"),
        operator(20, "strategy", "nonsense", done=False, message="it is none"),
        operator(30, "set", "0.5", message="scale 0.5 is on its way"),
        operator(40, "decay", message="the decay begins"),
    ]

    page = Page(render(dataclasses.replace(full_run, events=tuple(actions))))

    assert page.tables[-1][1:] == [
        ["10", "anna", "strategy range test, length 1,200", "range_test decides from step 10 on"],
        ["20", "anna", "strategy nonsense", "refused: it is none"],
        ["30", "anna", "set 0.5", "scale 0.5 is on its way"],
        ["40", "anna", "decay", "the decay begins"],
    ]


def test_the_page_can_be_read_by_ear(full_run: ReportData) -> None:
    page = Page(render(full_run))

    assert page.all("html")[0]["lang"] == "en"
    ids = {a["id"] for _, a, _ in page.elements if "id" in a}
    labelled = [name for _, a, _ in page.elements for name in a.get("aria-labelledby", "").split()]
    assert set(labelled) <= ids
    assert "chart-words" in labelled
    assert "val loss: from 1.42 to 0.4222" in page.words
    assert {a.get("scope") for a in page.all("th")} == {"col", "row"}
    assert all(a["aria-label"] for a in page.all("div", role="region"))


def test_hostile_names_are_text(full_run: ReportData) -> None:
    curves = tuple(dataclasses.replace(c, name=HOSTILE) for c in full_run.curves)
    events = tuple(
        {k: HOSTILE if isinstance(v, str) and k != "event" else v for k, v in e.items()} for e in full_run.events
    )
    events += ({"event": "finding", "step": 1, "kind": HOSTILE, "evidence": {HOSTILE: HOSTILE}, "metric": HOSTILE},)
    data = ReportData(HOSTILE, HOSTILE, HOSTILE, "step", curves, events, ((HOSTILE, HOSTILE),), curves[:1], HOSTILE)

    source = render(data)
    page = Page(source)

    assert not page.all("img")
    assert len(page.all("script")) == 2
    assert "alert(2)" not in "".join(page.raw["script"])
    assert page.words.count("alert(2)") > 20
    assert not re.search("[\x00\u202e\ud800]", source)
    assert source.encode("utf-8")


def test_markup_is_made_of_a_string_in_one_place() -> None:
    package = Path(lrwatch.__file__).parent
    python = [p.name for p in package.rglob("*.py") if re.search(r"\bMarkup\(", p.read_text("utf-8"))]
    templates = {p.name: p.read_text("utf-8") for p in package.rglob("*.j2")}

    assert python == ["template.py"]
    assert {"page.html.j2", "pages.html.j2"} <= templates.keys()
    assert not [name for name, text in templates.items() if re.search(r"\|\s*safe\b|autoescape", text)]


def test_the_numbers_for_the_script_are_numbers(full_run: ReportData) -> None:
    numbers = json.loads(Page(render(full_run)).raw["script"][0])

    assert numbers["x"] == [0.0, 4999.0]
    assert [c["hold"] for c in numbers["curves"]] == [False, False, False, True, True]
    assert all(len(c["s"]) == len(c["m"]) == len(c["l"]) == len(c["h"]) for c in numbers["curves"])
    assert None in numbers["curves"][0]["m"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "There is nothing to draw."),
        ([float("nan")] * 100, "100 of 100 values of loss are NaN or infinite."),
        ([1.5], "loss ends at 1.5."),
        ([2.0] * 500, "loss ends at 2."),
        ([1e300] * 50 + [-1e300], f"loss ends at {MINUS}1e300."),
        ([-1.7e308, 1.7e308], "loss ends at 1.7e308."),
        ([-5.0, -6.0, -7.0], f"loss ends at {MINUS}7."),
        ([0.0], "loss ends at 0."),
        ([float("inf"), 1.0, float("-inf")], "2 of 3 values of loss are NaN or infinite, shown as ticks"),
    ],
)
def test_odd_curves_give_a_page_that_says_so(values: list[float], words: str) -> None:
    page = Page(render(simple(values)))

    assert words in page.words
    assert "No changes." in page.words
    numbers = [v for _, a, _ in page.elements for k, v in a.items() if k in ("d", "x", "y", "viewbox", "height")]
    assert not [v for v in numbers if "nan" in v or "inf" in v]


def test_a_log_without_any_curve_or_event_gives_a_page() -> None:
    page = Page(render(ReportData("r", "r", "", "record", ())))

    assert "There is nothing to draw." in page.words
    assert "There are no values of any metric." in page.words


def test_a_single_value_is_a_dot() -> None:
    dots = Page(render(simple([1.5]))).all("path", **{"class": "dots"})

    assert [re.fullmatch(r"M\d+ \d+h0", a["d"]) is not None for a in dots] == [True]


def test_without_learning_rates_the_acknowledged_scale_is_drawn(full_run: ReportData) -> None:
    data = dataclasses.replace(full_run, curves=full_run.curves[:2])

    page = Page(render(data))

    assert len(page.all("path", **{"class": "rate"})) == 2
    assert "scale, acknowledged 0.5" in page.words
    assert "scale, commanded 0.25" in page.words


def test_steps_that_are_all_the_same_and_steps_beyond_all_reason_are_drawn() -> None:
    for steps in ([0, 0, 0], [2**62, 2**62 + 1, 2**63 - 1], [-(2**62), 0, 2**62]):
        curve = MetricCurve("loss", "train", np.array(steps, np.int64), np.array([3.0, 2.0, 1.0]))
        page = Page(render(simple([], curves=(curve,))))
        assert len(page.all("path", **{"class": "trend"})) == 1


def test_an_event_far_beyond_all_numbers_does_not_break_the_page(full_run: ReportData) -> None:
    odd: tuple[dict[str, object], ...] = (
        {"event": "command", "step": 10**400, "scale": 0.5},
        {"event": "phase", "step": None},
        {"event": 7},
        {},
    )

    page = Page(render(dataclasses.replace(full_run, events=(*full_run.events, *odd))))

    assert len(page.tables[0]) == 4


def test_the_same_data_give_the_same_bytes(full_run: ReportData) -> None:
    assert render(full_run) == render(full_run)


def test_a_million_values_fit_into_a_small_page() -> None:
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(size=1_000_000))
    values[500_000] = np.nan

    source = render(simple(values))

    assert len(source.encode()) < MAX_BYTES / 5


@pytest.mark.slow
def test_the_worst_run_still_fits_into_a_megabyte() -> None:
    rng = np.random.default_rng(0)
    steps = np.tile(np.arange(50_000), 16)
    curves = [MetricCurve(f"m{i}", "val", steps, np.exp(5 * rng.normal(size=len(steps)))) for i in range(9)]
    curves += [MetricCurve(f"lr{i}", "lr", steps, np.exp(5 * rng.normal(size=len(steps)))) for i in range(6)]
    events: list[dict[str, object]] = []
    for step in range(0, 40_000, 10):
        events.append({"event": "finding", "kind": "spike", "step": step, "message": "m" * 1000, "metric": "m0"})
        events.append({"event": "command", "step": step, "scale": 0.5, "reason": "r" * 1000})
        events.append({"event": "phase", "step": step, "cause": "command", "message": "p" * 1000})

    source = render(ReportData("r", "r", "m0", "step", tuple(curves), tuple(events), (), tuple(curves[:2]), "before"))
    page = Page(source)

    assert len(source.encode()) < MAX_BYTES
    assert [len(table) for table in page.tables] == [MAX_MARKS + 1] * 3
    assert "The first 200 of 4,000; the journal holds all." in page.words
    assert "Not drawn, for want of room: m6, m7, m8, lr4, lr5." in page.words


@pytest.mark.slow
def test_the_page_appears_whole_or_not_at_all(full_run: ReportData, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    write(full_run, target)
    whole = target.read_text("utf-8")
    versions: set[str] = set()
    done = threading.Event()

    def read_on() -> None:
        while not done.is_set():
            versions.add(target.read_text("utf-8"))

    reader = threading.Thread(target=read_on)
    reader.start()
    for _ in range(20):
        write(full_run, target)
    done.set()
    reader.join()

    assert whole == render(full_run)
    assert versions <= {whole}
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_the_file_has_the_permissions_of_any_new_file(full_run: ReportData, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write(full_run, tmp_path / "report.html")

    assert (tmp_path / "report.html").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_place_that_cannot_be_written_is_an_error_in_words(full_run: ReportData, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for place, found in (("missing/report.html", "no such file or directory"), ("folder", "is a directory")):
        with pytest.raises(InputError) as caught:
            write(full_run, tmp_path / place)
        assert caught.value.found == found
        assert caught.value.where == str(tmp_path / place)
        assert caught.value.hint
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
