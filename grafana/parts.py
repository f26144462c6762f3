"""Parts that the panels of a dashboard share, as plain dictionaries in Grafana's format."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

DATASOURCE = {"type": "prometheus", "uid": "$datasource"}

# Grafana's grid is 24 columns wide.
WIDTH = 24
STAT_HEIGHT = 4
GRAPH_HEIGHT = 8

BLUE, ORANGE, GREEN, RED, GREY, PURPLE = "#3274d9", "#e0752d", "#56a64b", "#c4162a", "#8e8e8e", "#8f3bb8"

# Format that puts a value into an address whole, whatever is in it.
ENCODED = "percentencode"


def target(expr: str, legend: str = "", *, instant: bool = False) -> Json:
    """Return one query of a panel."""
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expr,
        "format": "table" if instant and not legend else "time_series",
        "instant": instant,
        "legendFormat": legend or "__auto",
        "range": not instant,
    }


def panel(kind: str, title: str, description: str, unit: str, width: int, targets: list[Json], **more: Any) -> Json:
    """Return a panel of any kind; `place` gives it an id and a position later."""
    defaults = {"unit": unit, "color": {"mode": "palette-classic"}, **more.pop("defaults", {})}
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": more.pop("overrides", [])},
        "options": more.pop("options", {}),
        "targets": [{**one, "refId": chr(ord("A") + i)} for i, one in enumerate(targets)],
        "gridPos": {"w": width, "h": STAT_HEIGHT if kind == "stat" else GRAPH_HEIGHT},
    }


def stat(title: str, description: str, unit: str, expr: str, **defaults: Any) -> Json:
    """Return a panel of one large number."""
    options = {
        "colorMode": "value",
        "graphMode": "none",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "value",
    }
    plain = {"color": {"mode": "thresholds"}, "thresholds": steps((None, "text"))}
    return panel(
        "stat",
        title,
        description,
        unit,
        4,
        [target(expr, "{{run}}", instant=True)],
        options=options,
        defaults=plain | defaults,
    )


def graph(title: str, description: str, unit: str, targets: list[Json], **more: Any) -> Json:
    """Return a panel of curves over time. `custom` and `overrides` go into the field configuration."""
    custom = {
        "drawStyle": "line",
        "lineWidth": 2,
        "fillOpacity": 0,
        "showPoints": "never",
        "spanNulls": False,
        **more.pop("custom", {}),
    }
    return panel(
        "timeseries",
        title,
        description,
        unit,
        more.pop("width", WIDTH // 2),
        targets,
        defaults={"custom": custom, **more.pop("defaults", {})},
        options={
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        overrides=more.pop("overrides", []),
    )


def bars(title: str, description: str, targets: list[Json], **more: Any) -> Json:
    """Return a panel of counts per interval, stacked; three to a row."""
    custom = {"drawStyle": "bars", "fillOpacity": 80, "lineWidth": 0, "stacking": {"mode": "normal", "group": "A"}}
    more = {"width": WIDTH // 3, "defaults": {"min": 0, "decimals": 0}, **more}
    return graph(title, description, "short", targets, custom=custom, **more)


def band(name: str, color: str) -> list[Json]:
    """Return field options that shade between the series `upper bound` and `lower bound`, around the series `name`."""
    return [
        series(
            "upper bound",
            color=fixed(color),
            custom_lineWidth=0,
            custom_fillOpacity=15,
            custom_fillBelowTo="lower bound",
        ),
        series("lower bound", color=fixed(color), custom_lineWidth=0),
        series(name, color=fixed(color)),
    ]


def table(title: str, description: str, targets: list[Json], **more: Any) -> Json:
    """Return a panel of rows, one for each set of labels that the queries have in common.

    Args:
        title: The title.
        description: What a row and its columns are.
        targets: Instant queries without a legend, so that Grafana gives their labels as columns.
        more: `columns`, label or `Value #A` to the title of the column, in their order, all others hidden; `overrides`; `sort`,
            the title of the column that is sorted by, the highest first; `width` and `height` in units of the grid.
    """
    columns: dict[str, str] = more.pop("columns", {})
    sort: str = more.pop("sort", "")
    transformations: list[Json] = [{"id": "merge", "options": {}}] if len(targets) > 1 else []
    if columns:
        organized = {
            "includeByName": dict.fromkeys(columns, True),
            "excludeByName": {"Time": True},
            "renameByName": columns,
        }
        organized["indexByName"] = {name: index for index, name in enumerate(columns)}
        transformations.append({"id": "organize", "options": organized})
    options = {"showHeader": True, **({"sortBy": [{"displayName": sort, "desc": True}]} if sort else {})}
    width, height = more.pop("width", WIDTH), more.pop("height", GRAPH_HEIGHT)
    made = panel("table", title, description, "none", width, targets, options=options, **more)
    return {**made, "gridPos": {"w": width, "h": height}, "transformations": transformations}


def timeline(title: str, description: str, expr: str, legend: str, mappings: list[Json]) -> Json:
    """Return a panel with a band for each series that shows which state it was in when."""
    custom = {"fillOpacity": 80, "lineWidth": 0}
    return panel(
        "state-timeline", title, description, "short", WIDTH, [target(expr, legend)],
        defaults={"custom": custom, "color": {"mode": "thresholds"}, "thresholds": steps((None, GREY)), "mappings": mappings},
        options={
            "alignValue": "left", "mergeValues": True, "rowHeight": 0.8, "showValue": "auto",
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False}, "tooltip": {"mode": "single"},
        },
    )  # fmt: skip


def mapping(words: dict[int, tuple[str, str]]) -> list[Json]:
    """Return the mappings of a panel that shows words in colours in the place of whole numbers."""
    options = {str(number): {"text": text, "color": color} for number, (text, color) in words.items()}
    return [{"type": "value", "options": options}]


def steps(*values: tuple[float | None, str]) -> Json:
    """Return colours from these values on; the first value is None, for minus infinity."""
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in values]}


def series(name: str, **properties: Any) -> Json:
    """Return field options for the series whose legend matches `name`; `custom.x` is written `custom_x`."""
    return {
        "matcher": {"id": "byRegexp", "options": name},
        "properties": [{"id": k.replace("custom_", "custom.", 1), "value": v} for k, v in properties.items()],
    }


def fixed(color: str) -> Json:
    """Return one colour for a series."""
    return {"mode": "fixed", "fixedColor": color}


def place(rows: list[tuple[str, list[Json]]]) -> list[Json]:
    """Return the panels with ids and positions: rows from top to bottom, panels from left to right."""
    placed: list[Json] = []
    y = 0
    for title, panels in rows:
        placed.append({
            "type": "row", "title": title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
        })  # fmt: skip
        y += 1
        x = height = 0
        for one in panels:
            grid = one["gridPos"]
            if x + grid["w"] > WIDTH:
                x, y, height = 0, y + height, 0
            placed.append({**one, "gridPos": {"x": x, "y": y, **grid}})
            x += grid["w"]
            height = max(height, grid["h"])
        y += height
    return [{"id": number, **one} for number, one in enumerate(placed, start=1)]


def variable(name: str, label: str, query: str, *, many: bool) -> Json:
    """Return a choice above the panels, filled from Prometheus each time the time range changes."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2,
        "sort": 1,
        "multi": many,
        "includeAll": many,
        **({"allValue": ".+", "current": {"text": "All", "value": "$__all"}} if many else {"current": {}}),
    }


def textbox(name: str, label: str, value: str, description: str) -> Json:
    """Return a text above the panels that people may change."""
    chosen = {"text": value, "value": value}
    return {
        "type": "textbox",
        "name": name,
        "label": label,
        "description": description,
        "query": value,
        "current": chosen,
        "options": [{**chosen, "selected": True}],
    }


PAGES = textbox(
    "pages", "Pages", "http://localhost:9767", "Where the pages of lrwatch are, as your browser reaches them, for the links to them."
)  # fmt: skip


def link(title: str, url: str, tooltip: str) -> Json:
    """Return a link above the panels; variables in its address are filled in."""
    return {
        "type": "link",
        "title": title,
        "url": url,
        "tooltip": tooltip,
        "icon": "external link",
        "targetBlank": False,
        "includeVars": False,
        "keepTime": True,
        "asDropdown": False,
        "tags": [],
    }


def dashboard(uid: str, title: str, description: str, **more: Any) -> Json:
    """Return a dashboard.

    Args:
        uid: Part of its address, which never changes.
        title: The title.
        description: What it shows, in a sentence.
        more: `annotations`, `links`, `variables` beside the data source, and `rows` of panels with their titles.
    """
    source = {
        "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "current": {}, "refresh": 1,
    }  # fmt: skip
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["lrwatch", "training"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": more["links"],
        "annotations": {"list": more.get("annotations", [])},
        "templating": {"list": [source, *more["variables"]]},
        "panels": place(more["rows"]),
    }


def annotation(name: str, color: str, expr: str, text: str, **more: Any) -> Json:
    """Return vertical lines in all graphs, from a query."""
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": color,
        "expr": expr,
        "step": "15s",
        "titleFormat": name,
        "textFormat": text,
        "target": {"expr": expr, "refId": "Anno"},
        **more,
    }
