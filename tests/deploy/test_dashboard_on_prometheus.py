"""The queries of the dashboards on a real Prometheus, which scrapes a real exporter through the whole life of made-up runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, get_args

import pytest
from support.example_snapshots import FLEET_NAMES as NAMES
from support.example_snapshots import fleet
from support.golden import DASHBOARDS
from support.prometheus_server import JOB, Query, QueryError, ScrapedRun, dashboard_queries, prometheus
from support.waiting import eventually

from lrwatch.core.events import Verdict
from lrwatch.export import Exporter

# A Prometheus of its own takes seconds to start.
pytestmark = pytest.mark.slow

FILES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))
}
PANELS = [panel for panel in FILES["run"]["panels"] if panel["type"] != "row"]
QUERIES = dashboard_queries(FILES["run"])
OF_FLEET = dashboard_queries(FILES["fleet"])

# Seconds of the made-up run: long enough for a plateau, a command, its acknowledgement, its effect and a refusal.
SECONDS = 12

# Queries that have nothing to show for a run whose trainer refuses nothing, that nobody asks to approve, or whose trend is known.
MAY_BE_EMPTY = {"Commands B", "annotation Command refused", "Tells by step A", "annotation Critical finding"}

# Alerts of the shipped rules that fire without a wait, for the panel that lists them.
RULES = {"groups": [{"name": "test", "rules": [{
    "alert": "LrwatchTest", "expr": 'lrwatch_run_step{run="gpt2"} > 0', "labels": {"severity": "info"},
}]}]}  # fmt: skip


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScrapedRun]:
    """A real Prometheus that has scraped a real exporter through a whole made-up run."""
    exporter = Exporter("127.0.0.1:0")
    host, port = exporter.start()
    try:
        folder = tmp_path_factory.mktemp("prometheus")
        (folder / "rules.yml").write_text(json.dumps(RULES), encoding="utf-8")
        with prometheus(folder, [f"{host}:{port}"], folder / "rules.yml") as server:
            start = time.time()
            for second in range(SECONDS):
                exporter.publish(fleet(second))
                exporter.observe_loop(0.002 * (second + 1))
                step = f'lrwatch_run_step{{run="gpt2"}} == {100 * second}'
                eventually(partial(server.query, step), what=step)
            choice = {"job": JOB, "instance": ".+", "run": "gpt2", "metric": ".+"}
            yield ScrapedRun(server, start, time.time(), choice)
    finally:
        exporter.close()


@pytest.mark.parametrize("name", NAMES)
def test_every_query_of_the_dashboard_has_data_for_a_run_of_any_name(watched: ScrapedRun, name: str) -> None:
    empty = {query.where for query in QUERIES if not watched.answer(query, run=name)}
    assert empty <= MAY_BE_EMPTY


def test_a_query_of_one_run_gives_that_run_only(watched: ScrapedRun) -> None:
    for name in NAMES:
        (query,) = (q for q in QUERIES if q.where == "Step A")
        assert [row["metric"]["run"] for row in watched.answer(query, run=name)] == [name]


def test_every_query_of_the_fleet_has_data(watched: ScrapedRun) -> None:
    assert [query.where for query in OF_FLEET if not watched.answer(query)] == []


def column(watched: ScrapedRun, where: str, label: str = "run") -> dict[str, float]:
    """The numbers that the query at `where` of the fleet gives, by the value of a label."""
    (query,) = (q for q in OF_FLEET if q.where == where)
    return {row["metric"].get(label, ""): float(row["value"][1]) for row in watched.answer(query)}


def words(numbers: dict[str, float]) -> dict[str, str]:
    """What people read for each number of a state."""
    (panel,) = (p for p in FILES["fleet"]["panels"] if p["title"] == "States")
    options = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    return {run: options[f"{number:g}"]["text"] for run, number in numbers.items()}


def test_the_table_of_runs_says_where_each_stands_the_most_urgent_with_the_highest_number(watched: ScrapedRun) -> None:
    numbers = column(watched, "Runs A")
    of = words(numbers)
    assert {of[name] for name in NAMES} == {"improving"}
    assert (of["lost"], of["ended"], of["infinite"], of["stuck"]) == ("lost", "ended", "not finite", "plateau")
    assert numbers["infinite"] > numbers["lost"] > numbers["stuck"] > numbers["ended"] > numbers["gpt2"]


def test_the_columns_of_a_run_can_be_put_side_by_side(watched: ScrapedRun) -> None:
    """Grafana merges the answers where their labels are the same, so all have these three and no other."""
    for query in (q for q in OF_FLEET if q.where.startswith("Runs ")):
        for row in watched.answer(query):
            assert row["metric"].keys() == {"job", "instance", "run"}, query


def test_the_fleet_is_counted(watched: ScrapedRun) -> None:
    assert column(watched, "Lost A") == {"": 1.0}
    assert column(watched, "Running A")[""] >= len(NAMES)
    assert column(watched, "Critical findings A")[""] >= 1.0
    assert column(watched, "Firing alerts A", "alertname") == {"LrwatchTest": 1.0}
    assert column(watched, "On a plateau A") == {"": 1.0}


def curve(watched: ScrapedRun, where: str, label: str = "") -> list[float]:
    """The values over time that the query at `where` gives for the series that has `label` as a label value."""
    (query,) = (q for q in QUERIES if q.where == where)
    (found,) = (c for c in watched.answer(query) if not label or label in c["metric"].values())
    return [float(value) for _, value in found["values"]]


def test_a_query_that_prometheus_refuses_is_noticed(watched: ScrapedRun) -> None:
    with pytest.raises(QueryError, match="parse error"):
        watched.answer(Query("nowhere", "rate(lrwatch_run_step)"))


def test_the_plateau_is_shaded_while_it_lasts(watched: ScrapedRun) -> None:
    shade = curve(watched, "Watched metric B")
    assert shade[0] == shade[-1] == 0
    assert max(shade) == 1


def test_the_band_holds_the_improvement(watched: ScrapedRun) -> None:
    upper, lower, middle = (curve(watched, f"Improvement per horizon {which}") for which in "ABC")
    assert all(low < mid < high for low, mid, high in zip(lower, middle, upper, strict=True))


def test_the_effective_rate_leaves_the_schedule_when_the_command_is_applied(watched: ScrapedRun) -> None:
    schedule = curve(watched, "Learning rate A", "decay")
    effective = curve(watched, "Learning rate B", "decay")
    assert set(schedule) == {3e-4}
    assert set(effective) == {3e-4, 1.5e-4}


def test_a_command_and_a_refusal_are_counted(watched: ScrapedRun) -> None:
    assert max(curve(watched, "Commands A", "plateau")) > 0.9
    assert max(curve(watched, "Commands B", "out_of_bounds")) > 0.9
    assert max(curve(watched, "Findings A", "plateau")) > 0.9


def test_the_effect_appears_when_the_command_is_measured_with_its_bounds(watched: ScrapedRun) -> None:
    upper, lower, gain = (curve(watched, f"Effect of the newest command {which}") for which in "ABC")
    assert (set(lower), set(gain), set(upper)) == ({0.015}, {0.021}, {0.027})
    assert len(gain) < len(curve(watched, "Scale and pending command A"))


def test_an_effect_is_counted_by_its_verdict(watched: ScrapedRun) -> None:
    assert max(curve(watched, "Effects A", "helped")) > 0.9
    assert max(curve(watched, "Effects A", "no certain gain")) == max(curve(watched, "Effects A", "cost progress")) == 0


def test_each_verdict_has_a_colour_of_its_own() -> None:
    (panel,) = (p for p in PANELS if p["title"] == "Effects")
    colours = {o["matcher"]["options"]: o["properties"][0]["value"] for o in panel["fieldConfig"]["overrides"]}
    assert set(colours) == set(get_args(Verdict))
    assert len({colour["fixedColor"] for colour in colours.values()}) == len(colours)


def test_what_a_command_brought_lies_beside_the_scale_that_it_asked_for() -> None:
    grid = {p["title"]: p["gridPos"] for p in PANELS}
    for row in (("Scale and pending command", "Effect of the newest command"), ("Findings", "Commands", "Effects")):
        assert len({grid[title]["y"] for title in row}) == 1
        assert sum(grid[title]["w"] for title in row) == 24


def test_gains_are_shares_with_a_line_at_zero() -> None:
    (panel,) = (p for p in PANELS if p["title"] == "Effect of the newest command")
    defaults = panel["fieldConfig"]["defaults"]
    assert (defaults["unit"], defaults["decimals"]) == ("percentunit", 2)
    assert defaults["custom"]["thresholdsStyle"] == {"mode": "line"}
    assert defaults["thresholds"]["steps"][1]["value"] == 0


def test_the_mark_of_a_command_stands_at_the_time_of_its_application(watched: ScrapedRun) -> None:
    marks = curve(watched, "annotation Command applied")
    assert all(watched.start * 1000 <= mark <= watched.end * 1000 for mark in marks)


def test_the_state_is_one_number_for_the_run(watched: ScrapedRun) -> None:
    (query,) = (q for q in QUERIES if q.where == "State A")
    (answer,) = watched.answer(query)
    assert answer["value"][1] == "0"


@pytest.mark.slow
def test_the_table_names_metric_mode_strategy_and_version(watched: ScrapedRun) -> None:
    (query,) = (q for q in QUERIES if q.where == "Run and daemon A")
    (row,) = watched.answer(query)
    wanted = {"run": "gpt2", "metric": "val/loss", "mode": "auto", "strategy": "plateau"}
    assert row["metric"].items() >= wanted.items()
    assert row["metric"]["version"]
    assert row["value"][1] == "7"
