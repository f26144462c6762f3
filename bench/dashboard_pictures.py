"""The dashboards as pages, drawn from what a real Prometheus answers: `python bench/dashboard_pictures.py [DIRECTORY] [RUN]`.

There is no Grafana here. What this shows is what the queries give, under which legends, with the words and colours of the panels, on
Grafana's grid; how Grafana itself draws it is not shown. Writes `run.html` and `fleet.html`; a browser makes pictures of them.
"""

from __future__ import annotations

import html
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.example_snapshots import fleet
from support.golden import DASHBOARDS
from support.prometheus_server import JOB, Query, ScrapedRun, prometheus

from lrwatch.export import Exporter

Json = dict[str, Any]

SECONDS = 30
COLOURS = ("#3274d9", "#e0752d", "#56a64b", "#c4162a", "#8f3bb8", "#8e8e8e", "#b8860b", "#1f9ea0")
STYLE = """body{font:13px sans-serif;background:#f4f5f5;margin:8px}.grid{display:grid;grid-template-columns:repeat(24,1fr);
grid-auto-rows:30px;gap:4px}.panel{background:#fff;border:1px solid #ddd;padding:4px;overflow:hidden;display:flex;
flex-direction:column}h2{font-size:12px;margin:0}.big{font-size:26px;text-align:center;margin:auto}svg{flex:1;min-height:0}
table{border-collapse:collapse;font-size:12px}td,th{padding:1px 8px;text-align:left;border-bottom:1px solid #eee}
.row{font-weight:bold;align-self:end}small{color:#666;white-space:nowrap;overflow:hidden}"""


def scraped(folder: Path) -> Iterator[ScrapedRun]:
    """A Prometheus that has scraped the made-up runs for half a minute."""
    exporter = Exporter("127.0.0.1:0")
    host, port = exporter.start()
    try:
        with prometheus(folder, [f"{host}:{port}"]) as server:
            start = time.time()
            for second in range(SECONDS):
                exporter.publish(fleet(second))
                exporter.observe_loop(0.002)
                time.sleep(1.0)  # a scrape a second
            yield ScrapedRun(server, start, time.time(), {"job": JOB, "instance": ".+", "run": "gpt2", "metric": ".+"})
    finally:
        exporter.close()


def words(value: float, options: Json) -> tuple[str, str]:
    """The text and the colour of a value: of its mapping, or as a number in its unit."""
    for mapping in options.get("mappings", []):
        if found := mapping["options"].get(f"{value:g}"):
            return found["text"], found["color"]
    colour = "text"
    for step in options.get("thresholds", {}).get("steps", []):
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    unit = options.get("unit", "")
    text = f"{100 * value:.3g} %" if unit == "percentunit" else f"{value:.4g}{' s' if unit == 's' else ''}"
    return text, "#222" if colour == "text" else colour


def legend(target: Json, labels: Json) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: str(labels.get(found[1], "")), target["legendFormat"])


def overridden(panel: Json, name: str) -> Json:
    """The options of a field of a panel, with what is said of this one."""
    options = dict(panel["fieldConfig"]["defaults"])
    for override in panel["fieldConfig"]["overrides"]:
        pattern = override["matcher"]["options"]
        if re.search(pattern.strip("/") if pattern.startswith("/") else f"^{pattern}$", name):
            options |= {one["id"]: one["value"] for one in override["properties"]}
    return options


def lines(panel: Json, answers: list[tuple[Json, list[Json]]], start: float, end: float) -> str:
    """Curves, each on a scale of its own unit."""
    drawn, names = [], []
    series = [(legend(t, row["metric"]), row["values"]) for t, rows in answers for row in rows]
    for number, (name, values) in enumerate(series):
        colour = overridden(panel, name).get("color", {}).get("fixedColor", COLOURS[number % len(COLOURS)])
        points = [(float(at), float(value)) for at, value in values if value not in ("NaN", "+Inf", "-Inf")]
        if points:
            low, high = min(v for _, v in points), max(v for _, v in points)
            xy = " ".join(
                f"{100 * (at - start) / (end - start):.1f},{96 - 90 * (v - low) / (high - low or 1):.1f}"
                for at, v in points
            )
            drawn.append(
                f'<polyline points="{xy}" fill="none" stroke="{colour}" stroke-width="1.5" vector-effect="non-scaling-stroke"/>'
            )
            names.append(f'<span style="color:{colour}">{html.escape(name)} [{low:.3g}, {high:.3g}]</span>')
    return (
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none">{"".join(drawn)}</svg><small>{" ".join(names)}</small>'
    )


def table(panel: Json, answers: list[tuple[Json, list[Json]]]) -> str:
    """Rows with the same labels put side by side, the columns in order, as the transformations of the panel say."""
    rows: dict[str, Json] = {}
    for target, found in answers:
        value = "Value" if len(answers) == 1 else f"Value #{target['refId']}"
        for one in found:
            rows.setdefault(json.dumps(one["metric"], sort_keys=True), dict(one["metric"]))[value] = float(
                one["value"][1]
            )
    organized = [t["options"]["renameByName"] for t in panel.get("transformations", []) if t["id"] == "organize"]
    columns = organized[0] if organized else {key: key for row in rows.values() for key in row}
    found = list(rows.values())
    if sort := panel["options"].get("sortBy"):
        (key,) = (key for key, title in columns.items() if title == sort[0]["displayName"])
        found.sort(key=lambda row: row.get(key, -1.0), reverse=sort[0]["desc"])

    def cell(row: Json, key: str) -> str:
        value = row.get(key, "")
        text, colour = (
            words(value, overridden(panel, columns[key])) if isinstance(value, float) else (str(value), "#222")
        )
        return f'<td style="color:{colour}">{html.escape(text)}</td>'

    head = "".join(f"<th>{html.escape(title)}</th>" for title in columns.values())
    return f"<table><tr>{head}</tr>{''.join('<tr>' + ''.join(cell(r, k) for k in columns) + '</tr>' for r in found)}</table>"


def bands(panel: Json, answers: list[tuple[Json, list[Json]]], start: float, end: float) -> str:
    """A band for each series, coloured by its state."""
    out = []
    rows = [(legend(t, row["metric"]), row["values"]) for t, found in answers for row in found]
    for number, (name, values) in enumerate(rows):
        height = 100 / len(rows)
        for at, value in values:
            x, colour = 100 * (at - start) / (end - start), words(float(value), panel["fieldConfig"]["defaults"])[1]
            out.append(
                f'<rect x="{x:.1f}" y="{number * height:.1f}" width="3.6" height="{height - 2:.1f}" fill="{colour}"/>'
            )
        out.append(
            f'<text x="1" y="{number * height + height / 2 + 2:.1f}" font-size="5" fill="#fff">{html.escape(name)}</text>'
        )
    return f'<svg viewBox="0 0 100 100" preserveAspectRatio="none">{"".join(out)}</svg>'


def drawn(panel: Json, watched: ScrapedRun) -> str:
    """One panel, with its answers."""
    grid = panel["gridPos"]
    place = f"grid-column:{grid['x'] + 1}/span {grid['w']};grid-row:{grid['y'] + 1}/span {grid['h']}"
    title = html.escape(panel["title"])
    if panel["type"] == "row":
        return f'<div class="row" style="{place}">{title}</div>'
    answers = [(t, watched.answer(Query("", t["expr"], t["instant"]))) for t in panel["targets"]]
    options = panel["fieldConfig"]["defaults"]
    match panel["type"]:
        case "stat":
            found = [words(float(row["value"][1]), options) for _, rows in answers for row in rows]
            text, colour = found[0] if found else (options.get("noValue", "No data"), "#222")
            body = f'<div class="big" style="color:{colour}">{html.escape(text)}</div>'
        case "table":
            body = table(panel, answers)
        case "state-timeline":
            body = bands(panel, answers, watched.start, watched.end)
        case _:
            body = lines(panel, answers, watched.start, watched.end)
    return f'<div class="panel" style="{place}"><h2>{title}</h2>{body}</div>'


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/dashboards")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        for watched in scraped(Path(home)):
            choice = {**watched.choice, "run": sys.argv[2] if len(sys.argv) > 2 else "lr(3e-4)"}
            chosen = ScrapedRun(watched.server, watched.start, watched.end, choice)
            for path in sorted(DASHBOARDS.glob("*.json")):
                dashboard = json.loads(path.read_text(encoding="utf-8"))
                body = "".join(drawn(panel, chosen) for panel in dashboard["panels"])
                page = f'<!doctype html><meta charset="utf-8"><title>{dashboard["title"]}</title><style>{STYLE}</style><div class="grid">{body}</div>'
                (folder / f"{path.stem}.html").write_text(page, encoding="utf-8")
                print(folder / f"{path.stem}.html")


if __name__ == "__main__":
    main()
