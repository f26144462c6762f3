"""A real Prometheus on a free port of 127.0.0.1, for tests that execute queries and rules."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from support.waiting import eventually

# Short enough for a test of seconds. Rates over `RATE_WINDOW` then see four scrapes or more, as $__rate_interval promises.
SCRAPE_INTERVAL = "1s"
RATE_WINDOW = "5s"
# The time range that a user chose: longer than the test.
RANGE = "5m"

JOB = "lrwatch"


class QueryError(Exception):
    """Prometheus refused a query."""


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    url: str

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the instant vector of an expression, now."""
        return self._data("query", query=expr)

    def query_range(self, expr: str, start: float, end: float, step: float = 1.0) -> list[dict[str, Any]]:
        """Return the matrix of an expression."""
        return self._data("query_range", query=expr, start=start, end=end, step=step)

    def targets(self) -> list[dict[str, Any]]:
        """Return the scraped targets with their health."""
        found: list[dict[str, Any]] = self._get("targets")["activeTargets"]
        return found

    def _data(self, path: str, **arguments: object) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get(path, **arguments)["result"]
        return found

    def _get(self, path: str, **arguments: object) -> Any:
        try:
            with urlopen(f"{self.url}/api/v1/{path}?{urlencode(arguments)}", timeout=10) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            with error:
                raise QueryError(f"{arguments}: {error.read().decode()}") from error


@contextmanager
def prometheus(
    folder: Path,
    targets: Sequence[str],
    rules: Path | None = None,
    alertmanager: str = "",
    scrape: Mapping[str, Any] | None = None,
) -> Iterator[Prometheus]:
    """Start a server that scrapes `targets` (HOST:PORT) every second and end it afterwards.

    Args:
        folder: An empty directory for its configuration, data and log.
        targets: What to scrape, as job `lrwatch`.
        rules: A rule file to load.
        alertmanager: HOST:PORT that alerts are sent to.
        scrape: Further settings of how it scrapes.
    """
    config = {
        "global": {"scrape_interval": SCRAPE_INTERVAL, "evaluation_interval": SCRAPE_INTERVAL},
        "rule_files": [str(rules)] if rules else [],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}] if alertmanager else []},
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": list(targets)}], **(scrape or {})}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with served(command, f"http://{address}", folder / "log"):
        yield Prometheus(f"http://{address}")


@contextmanager
def served(command: Sequence[str], url: str, log: Path) -> Iterator[None]:
    """Run a server of the Prometheus project until the block is left; it is ready when the block begins.

    Args:
        command: Its command line.
        url: Where it listens.
        log: Where its output goes.
    """
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            eventually(lambda: _ready(f"{url}/-/ready", server, log), timeout=30)
            yield
        finally:
            server.terminate()
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _ready(url: str, server: subprocess.Popen[bytes], log: Path) -> bool:
    if server.poll() is not None:
        raise AssertionError(f"the server ended with {server.returncode}: {log.read_text(encoding='utf-8')}")
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except URLError as error:
        if isinstance(error, HTTPError):
            error.close()
        return False


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Query:
    """One query of a dashboard: where it stands, its expression as written, and whether it asks for one moment."""

    where: str
    expr: str
    instant: bool = False

    def filled(self, variables: Mapping[str, str]) -> str:
        """Return the expression with the variables of Grafana replaced.

        A variable of one value goes in as Grafana puts it in: only backslashes and quotes escaped, whatever operator is before it.
        """
        values = {"__rate_interval": RATE_WINDOW, "__interval": SCRAPE_INTERVAL, "__range": RANGE, **variables}
        values["run"] = values.get("run", "").replace("\\", "\\\\").replace('"', '\\"')
        return re.sub(r"\$(\w+)", lambda found: values[found[1]], self.expr)


def dashboard_queries(dashboard: Mapping[str, Any]) -> list[Query]:
    """Every query of every panel and annotation."""
    of_panels = [
        Query(f"{panel['title']} {target['refId']}", target["expr"], target["instant"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]
    notes = dashboard["annotations"]["list"]
    return of_panels + [Query(f"annotation {note['name']}", note["expr"]) for note in notes]


@dataclass(frozen=True)
class ScrapedRun:
    """A Prometheus, the moments between which it scraped runs, and the variables that a user chose above the panels."""

    server: Prometheus
    start: float
    end: float
    choice: Mapping[str, str]

    def answer(self, query: Query, **choice: str) -> list[dict[str, Any]]:
        """Return the result of a query as Grafana gets it, with another choice of variables; raise `QueryError` where Prometheus refuses it."""
        expr = query.filled({**self.choice, **choice})
        if query.instant:
            return self.server.query(expr)
        return self.server.query_range(expr, self.start, self.end)
