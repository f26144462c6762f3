"""The dashboards as files: the rules of a good dashboard that matter here, and a second opinion of Grafana's own library.

The rules are those of Grafana's dashboard linter: templated data source, job and instance, titles, descriptions,
units, $__rate_interval, aggregation of counters, no editing of what is provisioned. Queries are parsed as Prometheus parses them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from support.golden import DASHBOARDS, build_dashboards
from support.prometheus_server import Query, dashboard_queries

from lrwatch.export.metrics import METRICS

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
FILES: dict[str, Json] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))
}
PANELS = [(name, panel) for name, file in FILES.items() for panel in file["panels"] if panel["type"] != "row"]

# From the client library, about the daemon's own process.
PROCESS_METRICS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
# Made by Prometheus from its rules.
ALERTS = "ALERTS"

# What the library, which knows Grafana 11.6, has no field for: Prometheus annotations, and a second spelling of a variable's query.
NOT_IN_THE_LIBRARY = re.compile(
    r"\.annotations\.list\[\d+\]\.(step|titleFormat|textFormat|useValueForTime|target\.(expr|refId))"
    r"|\.templating\.list\[\d+\]\.definition"
)

each = pytest.mark.parametrize("name", FILES)
by_title = pytest.mark.parametrize("panel", [p for _, p in PANELS], ids=[f"{name}: {p['title']}" for name, p in PANELS])


def variables(name: str) -> dict[str, Json]:
    return {variable["name"]: variable for variable in FILES[name]["templating"]["list"]}


def parsed(expr: str) -> promql_parser.Expr:
    """The tree of a query, as Prometheus would have it with $__rate_interval and $__range filled in."""
    return promql_parser.parse(expr.replace("$__rate_interval", "1m").replace("$__range", "2h"))


def nodes(expr: str) -> Iterator[tuple[promql_parser.Expr, list[promql_parser.Expr]]]:
    """Every node of the tree of a query, with its ancestors, the nearest last."""
    found: list[tuple[promql_parser.Expr, list[promql_parser.Expr]]] = []
    above: list[promql_parser.Expr] = []

    def enter(node: promql_parser.Expr) -> None:
        found.append((node, list(above)))
        above.append(node)

    def leave(node: promql_parser.Expr) -> None:
        above.pop()

    promql_parser.walk(parsed(expr), pre_visit=enter, post_visit=leave)
    return iter(found)


def selectors(expr: str) -> list[promql_parser.VectorSelector]:
    """Every selector of a query, those under a range included."""
    found = []
    for node, above in nodes(expr):
        if isinstance(node, promql_parser.MatrixSelector):
            found.append(node.vector_selector)
        elif isinstance(node, promql_parser.VectorSelector) and not (
            above and isinstance(above[-1], promql_parser.MatrixSelector)
        ):
            found.append(node)
    return found


def matchers(selector: promql_parser.VectorSelector) -> set[tuple[str, str, str]]:
    operators = [
        (promql_parser.MatchOp.Equal, "="), (promql_parser.MatchOp.NotEqual, "!="),
        (promql_parser.MatchOp.Re, "=~"), (promql_parser.MatchOp.NotRe, "!~"),
    ]  # fmt: skip
    return {
        (one.name, next(text for operator, text in operators if operator == one.op), one.value)
        for one in selector.matchers.matchers
    }


def test_the_dashboards_are_what_their_script_writes(tmp_path: Path) -> None:
    build_dashboards(tmp_path)
    written = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()}
    assert written == FILES, "make golden"


@each
def test_it_can_be_provisioned_and_found(name: str) -> None:
    assert FILES[name]["uid"] == f"lrwatch-{name}"
    assert FILES[name]["editable"] is False
    assert "id" not in FILES[name]
    assert "lrwatch" in FILES[name]["tags"]


@pytest.mark.parametrize("file", ["datasources/prometheus.yaml", "dashboards/lrwatch.yaml"])
def test_provisioning_files_are_of_version_1(file: str) -> None:
    content = yaml.safe_load((ROOT / "grafana/provisioning" / file).read_text(encoding="utf-8"))
    assert content["apiVersion"] == 1
    (entry,) = content["datasources" if "datasources" in file else "providers"]
    assert entry["name"]
    assert entry.get("editable", entry.get("allowUiUpdates")) is False


@each
def test_the_data_source_is_a_variable(name: str) -> None:
    source = variables(name)["datasource"]
    panels = [panel for of, panel in PANELS if of == name]
    assert (source["type"], source["query"], source["label"]) == ("datasource", "prometheus", "Data source")
    users = [*panels, *(t for p in panels for t in p["targets"]), *FILES[name]["annotations"]["list"]]
    users += [v for v in variables(name).values() if v["type"] == "query"]
    assert all(user["datasource"] == {"type": "prometheus", "uid": "$datasource"} for user in users)


@each
@pytest.mark.parametrize("choice", ["job", "instance"])
def test_job_and_instance_are_variables_with_many_values(name: str, choice: str) -> None:
    variable = variables(name)[choice]
    assert (variable["multi"], variable["allValue"], variable["label"]) == (True, ".+", choice.capitalize())
    assert variable["definition"].startswith("label_values(lrwatch_")


@each
def test_variables_are_read_again_when_the_time_range_changes(name: str) -> None:
    assert all(v["refresh"] == 2 for v in variables(name).values() if v["type"] == "query")


@by_title
def test_a_panel_says_what_it_shows_in_which_unit(panel: Json) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


@each
def test_titles_and_ids_are_unique(name: str) -> None:
    panels = FILES[name]["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    assert len({(p["type"] == "row", p["title"]) for p in panels}) == len(panels)


@each
def test_panels_lie_on_the_grid_and_not_on_each_other(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for grid in (panel["gridPos"] for panel in FILES[name]["panels"]):
        assert grid["x"] + grid["w"] <= 24
        cells = {(grid["x"] + i, grid["y"] + j) for i in range(grid["w"]) for j in range(grid["h"])}
        assert not taken & cells
        taken |= cells


# ---- rules for queries --------------------------------------------------------------------------------------------


def uses_metrics_that_exist(name: str, query: Query) -> None:
    served = {m.name for m in METRICS} | {f"{m.name}_bucket" for m in METRICS if m.type == "histogram"}
    used = {selector.name for selector in selectors(query.expr)}
    assert used
    assert used <= served | PROCESS_METRICS | {ALERTS}


def uses_labels_that_its_metrics_have(name: str, query: Query) -> None:
    # With `[run] labels`, the info metric has whatever labels a user gives.
    labels = {m.name: {"job", "instance", *m.labels} for m in METRICS if m.type != "info"}
    for selector in selectors(query.expr):
        asked = {label for label, _, _ in matchers(selector)}
        assert asked <= labels.get(selector.name or "", asked), selector


def asks_for_the_chosen_job_and_instance_in_every_selector(name: str, query: Query) -> None:
    for selector in selectors(query.expr):
        assert matchers(selector) >= {("job", "=~", "$job"), ("instance", "=~", "$instance")}, selector


def asks_for_one_run_by_its_exact_name(name: str, query: Query) -> None:
    """Grafana does not escape a variable of one value: as a pattern, `gpt2+rope` would find nothing, and `a|b` two others."""
    of_runs = {m.name for m in METRICS if "run" in m.labels}
    for selector in selectors(query.expr):
        asked = {(operator, value) for label, operator, value in matchers(selector) if label == "run"}
        assert asked == ({("=", "$run")} if name == "run" and selector.name in of_runs else set()), selector


def shows_counters_as_rates_over_the_rate_interval(name: str, query: Query) -> None:
    """Or, where one number is asked for, as an increase over the time range that was chosen."""
    window = "$__range" if query.instant else "$__rate_interval"
    for node, above in nodes(query.expr):
        if isinstance(node, promql_parser.MatrixSelector):
            assert isinstance(above[-1], promql_parser.Call)
            assert above[-1].func.name in ("rate", "increase")
            assert re.search(r"_(total|bucket)$", node.vector_selector.name or "")
    counters = [one for one in selectors(query.expr) if re.search(r"_(total|bucket)$", one.name or "")]
    assert query.expr.count("[") == query.expr.count(f"[{window}]") == len(counters)


RULES = [
    uses_metrics_that_exist,
    uses_labels_that_its_metrics_have,
    asks_for_the_chosen_job_and_instance_in_every_selector,
    asks_for_one_run_by_its_exact_name,
    shows_counters_as_rates_over_the_rate_interval,
]

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)


def fault(rule: Callable[[str, Query], None], name: str, query: Query) -> str:
    """Where the rule does not hold, or ""."""
    try:
        rule(name, query)
    except AssertionError as error:
        return f"{query.where}: {query.expr}: {error}"
    return ""


@each
@each_rule
def test_every_query_keeps_each_rule(name: str, rule: Callable[[str, Query], None]) -> None:
    assert [found for query in dashboard_queries(FILES[name]) if (found := fault(rule, name, query))] == []


BROKEN = {
    "uses_metrics_that_exist": "lrwatch_run_steps",
    "uses_labels_that_its_metrics_have": 'lrwatch_run_step{metric="loss"}',
    "asks_for_the_chosen_job_and_instance_in_every_selector": 'lrwatch_run_step{job=~"$job"}',
    "asks_for_one_run_by_its_exact_name": 'lrwatch_run_step{run=~"$run"}',
    "shows_counters_as_rates_over_the_rate_interval": "rate(lrwatch_ingest_lines_total[5m])",
}


@each_rule
def test_a_rule_finds_what_it_forbids(rule: Callable[[str, Query], None]) -> None:
    with pytest.raises(AssertionError):
        rule("run", Query("", BROKEN[rule.__name__]))


def test_a_query_that_prometheus_would_refuse_is_no_tree() -> None:
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        parsed("sum(rate(")


# ---- links --------------------------------------------------------------------------------------------------------


def all_links(dashboard: Json) -> list[str]:
    """The addresses of all links: above the panels, and of cells."""
    of_cells = [
        one["url"]
        for panel in dashboard["panels"]
        for override in panel.get("fieldConfig", {}).get("overrides", [])
        for property_ in override["properties"]
        if property_["id"] == "links"
        for one in property_["value"]
    ]
    return [link["url"] for link in dashboard["links"]] + of_cells


def test_the_dashboards_lead_to_each_other_and_keep_what_was_chosen() -> None:
    (to_fleet,) = (url for url in all_links(FILES["run"]) if "/d/lrwatch-fleet" in url)
    to_run = {url for url in all_links(FILES["fleet"]) if "/d/lrwatch-run" in url}
    assert len(to_run) == 1
    for url in (to_fleet, *to_run):
        assert all(f"${{{name}:queryparam}}" in url for name in ("datasource", "job", "instance"))
    assert "var-run=${__data.fields.run:percentencode}" in to_run.pop()


def test_each_dashboard_leads_to_the_pages_of_lrwatch() -> None:
    assert "$pages/runs/${run:percentencode}" in all_links(FILES["run"])
    assert {"$pages/", "$pages/runs/${__data.fields.run:percentencode}"} <= set(all_links(FILES["fleet"]))


@each
def test_links_name_variables_that_exist(name: str) -> None:
    for url in all_links(FILES[name]):
        for variable in re.findall(r"\$\{?(\w+)", url):
            assert variable.startswith("__") or variable in variables(name), url
    assert variables(name)["pages"]["query"] == "http://localhost:9767"


# ---- states -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "title"), [("run", "State"), ("fleet", "States"), ("fleet", "Runs")])
def test_every_number_of_a_state_has_its_word(name: str, title: str) -> None:
    (panel,) = (p for of, p in PANELS if of == name and p["title"] == title)
    found = panel["fieldConfig"]["defaults"].get("mappings")
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] == "state":
            found = next(p["value"] for p in override["properties"] if p["id"] == "mappings")
    words = found[0]["options"]
    numbers = set(re.findall(r"\b(\d+) \* ", panel["targets"][0]["expr"]))
    assert numbers == set(words)
    assert len({word["text"] for word in words.values()}) == len(words)


def test_a_plateau_and_a_rise_are_two_states_of_the_trend() -> None:
    (panel,) = (p for of, p in PANELS if of == "run" and p["title"] == "Watched metric")
    asked = {
        value
        for t in panel["targets"]
        for s in selectors(t["expr"])
        for label, _, value in matchers(s)
        if label == "state"
    }
    assert asked == {"plateau", "rising"}


# ---- Grafana's own library ----------------------------------------------------------------------------------------


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Where a value of ours is lost or changed. What is added is a default of theirs."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                yield from differences(value, theirs[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif ours != theirs:
        yield path


@each
def test_the_library_of_grafana_reads_it_and_writes_the_same(name: str) -> None:
    library = pytest.importorskip(
        "grafana_foundation_sdk.cog.plugins", reason="grafana-foundation-sdk is not installed"
    )
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    library.register_default_plugins()
    read = Dashboard.from_json(json.loads(json.dumps(FILES[name])))
    written = json.loads(JSONEncoder(sort_keys=True).encode(read))
    assert [path for path in differences(FILES[name], written) if not NOT_IN_THE_LIBRARY.fullmatch(path)] == []
