"""The rules of a good dashboard that matter here, and every query executed on a real Prometheus.

The rules are those of Grafana's dashboard linter: templated data source, job and instance, titles, descriptions,
units, $__rate_interval, aggregation of counters, no editing of what is provisioned.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from support.example_snapshots import training
from support.golden import build_dashboard
from support.prometheus_server import JOB, Query, QueryError, Watched, dashboard_queries, prometheus
from support.waiting import eventually

from lrwatch.core.events import Verdict
from lrwatch.export import Exporter
from lrwatch.export.metrics import METRICS

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "grafana/dashboards/run.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = dashboard_queries(DASHBOARD)
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}

# From the client library, about the daemon's own process.
PROCESS_METRICS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}

# Seconds of the made-up run: long enough for a plateau, a command, its acknowledgement, its effect and a refusal.
SECONDS = 12

# Queries that have nothing to show for a run whose trainer refuses nothing.
MAY_BE_EMPTY = {"Commands B", "annotation Command refused"}

by_where = pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.where)
by_title = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])


def test_the_dashboard_is_what_its_script_writes(tmp_path: Path) -> None:
    build_dashboard(tmp_path / "run.json")
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == DASHBOARD


def test_it_can_be_provisioned_and_found() -> None:
    assert DASHBOARD["uid"] == "lrwatch-run"
    assert DASHBOARD["editable"] is False
    assert "id" not in DASHBOARD
    assert "lrwatch" in DASHBOARD["tags"]


@pytest.mark.parametrize("file", ["datasources/prometheus.yaml", "dashboards/lrwatch.yaml"])
def test_provisioning_files_are_of_version_1(file: str) -> None:
    content = yaml.safe_load((ROOT / "grafana/provisioning" / file).read_text(encoding="utf-8"))
    assert content["apiVersion"] == 1
    (entry,) = content["datasources" if "datasources" in file else "providers"]
    assert entry["name"]
    assert entry.get("editable", entry.get("allowUiUpdates")) is False


def test_the_data_source_is_a_variable() -> None:
    source = VARIABLES["datasource"]
    assert (source["type"], source["query"], source["label"]) == ("datasource", "prometheus", "Data source")
    users = [*PANELS, *(t for p in PANELS for t in p["targets"]), *DASHBOARD["annotations"]["list"]]
    users += [v for v in VARIABLES.values() if v["type"] == "query"]
    assert all(user["datasource"] == {"type": "prometheus", "uid": "$datasource"} for user in users)


@pytest.mark.parametrize("name", ["job", "instance"])
def test_job_and_instance_are_variables_with_many_values(name: str) -> None:
    variable = VARIABLES[name]
    assert (variable["multi"], variable["allValue"], variable["label"]) == (True, ".+", name.capitalize())
    assert variable["definition"].startswith("label_values(lrwatch_")


def test_variables_are_read_again_when_the_time_range_changes() -> None:
    assert all(v["refresh"] == 2 for v in VARIABLES.values() if v["type"] == "query")


@by_title
def test_a_panel_says_what_it_shows_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


def test_titles_and_ids_are_unique() -> None:
    assert len({p["id"] for p in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len({p["title"] for p in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_panels_lie_on_the_grid_and_not_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for grid in (panel["gridPos"] for panel in DASHBOARD["panels"]):
        assert grid["x"] + grid["w"] <= 24
        cells = {(grid["x"] + i, grid["y"] + j) for i in range(grid["w"]) for j in range(grid["h"])}
        assert not taken & cells
        taken |= cells


@by_where
def test_a_query_uses_metrics_that_exist(query: Query) -> None:
    served = {m.name for m in METRICS} | {f"{m.name}_bucket" for m in METRICS if m.type == "histogram"}
    used = set(re.findall(r"\b(?:lrwatch|process)_\w+", query.expr))
    assert used
    assert used <= served | PROCESS_METRICS


@by_where
def test_a_query_asks_for_the_chosen_job_and_instance_in_every_selector(query: Query) -> None:
    selectors = re.findall(r"\b(?:lrwatch|process)_\w+(\{[^}]*\})?", query.expr)
    assert selectors
    assert all('job=~"$job"' in selector and 'instance=~"$instance"' in selector for selector in selectors)


@by_where
def test_counters_are_shown_as_rates_over_the_rate_interval(query: Query) -> None:
    counter = r"(?:lrwatch|process)_\w+_(?:total|bucket)\b"
    rates = re.findall(rf"\b(?:rate|increase)\({counter}\{{[^}}]*\}}\[\$__rate_interval\]\)", query.expr)
    assert len(rates) == len(re.findall(counter, query.expr)) == query.expr.count("[")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A real Prometheus that has scraped a real exporter through a whole made-up run."""
    exporter = Exporter("127.0.0.1:0")
    host, port = exporter.start()
    try:
        with prometheus(tmp_path_factory.mktemp("prometheus"), [f"{host}:{port}"]) as server:
            start = time.time()
            for second in range(SECONDS):
                exporter.publish(training(second))
                exporter.observe_loop(0.002 * (second + 1))
                step = f'lrwatch_run_step{{run="gpt2"}} == {100 * second}'
                eventually(partial(server.query, step), what=step)
            choice = {"job": JOB, "instance": ".+", "run": "gpt2", "metric": ".+"}
            yield Watched(server, start, time.time(), choice)
    finally:
        exporter.close()


@pytest.mark.slow
@by_where
def test_a_query_has_data(watched: Watched, query: Query) -> None:
    assert watched.answer(query) or query.where in MAY_BE_EMPTY


def curve(watched: Watched, where: str, label: str = "") -> list[float]:
    """The values over time that the query at `where` gives for the series that has `label` as a label value."""
    (query,) = (q for q in QUERIES if q.where == where)
    (found,) = (c for c in watched.answer(query) if not label or label in c["metric"].values())
    return [float(value) for _, value in found["values"]]


@pytest.mark.slow
def test_a_query_that_prometheus_refuses_is_noticed(watched: Watched) -> None:
    with pytest.raises(QueryError, match="parse error"):
        watched.answer(Query("nowhere", "rate(lrwatch_run_step)"))


def test_the_plateau_is_shaded_while_it_lasts(watched: Watched) -> None:
    shade = curve(watched, "Watched metric B")
    assert shade[0] == shade[-1] == 0
    assert max(shade) == 1


def test_the_band_holds_the_improvement(watched: Watched) -> None:
    upper, lower, middle = (curve(watched, f"Improvement per horizon {which}") for which in "ABC")
    assert all(low < mid < high for low, mid, high in zip(lower, middle, upper, strict=True))


def test_the_effective_rate_leaves_the_schedule_when_the_command_is_applied(watched: Watched) -> None:
    schedule = curve(watched, "Learning rate A", "decay")
    effective = curve(watched, "Learning rate B", "decay")
    assert set(schedule) == {3e-4}
    assert set(effective) == {3e-4, 1.5e-4}


def test_a_command_and_a_refusal_are_counted(watched: Watched) -> None:
    assert max(curve(watched, "Commands A", "plateau")) > 0.9
    assert max(curve(watched, "Commands B", "out_of_bounds")) > 0.9
    assert max(curve(watched, "Findings A", "plateau")) > 0.9


def test_the_effect_appears_when_the_command_is_measured_with_its_bounds(watched: Watched) -> None:
    upper, lower, gain = (curve(watched, f"Effect of the newest command {which}") for which in "ABC")
    assert (set(lower), set(gain), set(upper)) == ({0.015}, {0.021}, {0.027})
    assert len(gain) < len(curve(watched, "Scale and pending command A"))


def test_an_effect_is_counted_by_its_verdict(watched: Watched) -> None:
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


def test_the_mark_of_a_command_stands_at_the_time_of_its_application(watched: Watched) -> None:
    marks = curve(watched, "annotation Command applied")
    assert all(watched.start * 1000 <= mark <= watched.end * 1000 for mark in marks)


@pytest.mark.slow
def test_the_state_is_one_number_for_the_run(watched: Watched) -> None:
    (query,) = (q for q in QUERIES if q.where == "State A")
    (answer,) = watched.answer(query)
    assert answer["value"][1] == "0"


@pytest.mark.slow
def test_the_table_names_metric_mode_strategy_and_version(watched: Watched) -> None:
    (query,) = (q for q in QUERIES if q.where == "Run and daemon A")
    (row,) = watched.answer(query)
    wanted = {"run": "gpt2", "metric": "val/loss", "mode": "auto", "strategy": "plateau"}
    assert row["metric"].items() >= wanted.items()
    assert row["metric"]["version"]
    assert row["value"][1] == "7"
