"""The exporter: one HTTP address with `/metrics`, `/healthz`, `/readyz`, all runs at `/` and one run at `/runs/NAME`.

It reads published snapshots and changes nothing. The daemon's loop publishes; scrapes run in threads of their own, so that
a slow one never holds up the loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import unquote

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from lrwatch.core.snapshot import RunStatus, Snapshot
from lrwatch.errors import ConfigError, InputError, UsageError
from lrwatch.export import metrics
from lrwatch.export.collector import MAX_SERIES, Instruments, RunCollector
from lrwatch.export.http import Response, Server, text
from lrwatch.export.labels import label_value
from lrwatch.export.pages import RUNS, page, page_policy
from lrwatch.export.web_config import WebConfig

DEFAULT_HOST = "127.0.0.1"

# The loop publishes every few seconds at most, between two reads of a long backlog too; a minute without means it hangs.
UNHEALTHY_AFTER_SECONDS = 60.0

# A round without news takes about a millisecond; one that reads a backlog or waits for a slow disk takes seconds.
_LOOP_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_MAX_PORT = 65_535

RunPage = Callable[[RunStatus, float], Response]
"""Gives the page of a run, at a time in seconds since the epoch. Many threads call it at once."""


class Exporter:
    """HTTP exporter of the daemon's snapshots.

    Args:
        address: `HOST:PORT`. Port 0 takes a free one; an empty host is 127.0.0.1; an IPv6 host stands in brackets.
        max_series: Series of runs in one scrape at the most.
        web_config: File with TLS and passwords, in the form of exporter-toolkit; None for plain HTTP.
        insecure: Whether others may read without both on an address that other machines reach.
        hosts: Further names by which clients may ask for the address.
        clock: Monotonic seconds, for the age of the last publication.

    Attributes:
        notifications: Counter of notifications that were tried; their sender increments it.
        notifications_failed: Counter of those that could not be delivered.
        run_page: Gives the page of one run; None where only all of them have one.

    Raises:
        UsageError: The address is not of that form.
        ConfigError: The web configuration cannot be used.
    """

    def __init__(
        self,
        address: str,
        *,
        max_series: int = MAX_SERIES,
        web_config: Path | None = None,
        insecure: bool = False,
        hosts: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._host, self._port = _parse(address)
        self._web = None if web_config is None else WebConfig(web_config)
        self._insecure = insecure
        self._hosts = hosts
        self._clock = clock
        self._published_at = clock()
        self._snapshot: Snapshot | None = None
        self.run_page: RunPage | None = None
        self._server: Server | None = None
        self._runs = RunCollector(max_series)
        self.notifications = Counter(metrics.NOTIFICATIONS.name, metrics.NOTIFICATIONS.help, registry=None)
        self.notifications_failed = Counter(
            metrics.NOTIFICATIONS_FAILED.name, metrics.NOTIFICATIONS_FAILED.help, registry=None
        )
        self._loop = Histogram(
            metrics.LOOP_DURATION.name, metrics.LOOP_DURATION.help, buckets=_LOOP_BUCKETS, registry=None
        )
        self._registry = CollectorRegistry()
        self._registry.register(self._runs)
        self._registry.register(Instruments(self.notifications, self.notifications_failed, self._loop))
        ProcessCollector(registry=self._registry)

    def start(self) -> tuple[str, int]:
        """Listen, and serve in a thread.

        Returns:
            The host and the port that were taken.

        Raises:
            InputError: The address is in use, unknown or not allowed.
            ConfigError: Other machines reach the address, without TLS and authentication.
        """
        try:
            self._server = Server(self._host, self._port, self._respond, web=self._web, hosts=self._hosts)
        except OSError as error:
            raise InputError(
                expected="an address that is free to listen on",
                found=error.strerror or str(error),
                where=self._address,
                hint="End what uses it or choose another with --listen; port 0 takes a free one.",
            ) from error
        if not (self._server.only_local or self._insecure):
            try:
                self._protect()
            except ConfigError:
                self.close()
                raise
        self._server.start()
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    @property
    def url(self) -> str:
        """The address that is served, with its scheme; "" before `start`."""
        if self._server is None:
            return ""
        host, port = self._server.server_address[:2]
        scheme = "https" if self._web is not None and self._web.context() is not None else "http"
        return f"{scheme}://[{host!s}]:{port}" if ":" in str(host) else f"{scheme}://{host!s}:{port}"

    def _protect(self) -> None:
        """Check that nobody on another machine reads without TLS and authentication.

        Raises:
            ConfigError: Somebody could.
        """
        if self._web is None:
            raise ConfigError(
                expected="TLS and authentication, because other machines can reach the address", found="neither",
                where=f"--listen {self._address}",
                hint="Give both with --web-config FILE, listen on 127.0.0.1, or give --insecure-listen if a proxy or a network "
                "policy protects the address.",
            )  # fmt: skip
        self._web.demand_protection()

    def publish(self, snapshot: Snapshot) -> None:
        """Serve this snapshot from now on. Cheap: the work is done at each request."""
        self._snapshot = snapshot
        self._runs.publish(snapshot)
        self._published_at = self._clock()

    def observe_loop(self, seconds: float) -> None:
        """Record the duration of one round of the daemon."""
        self._loop.observe(seconds)

    def close(self) -> None:
        """Stop serving and release the address; a second call does nothing."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _respond(self, path: str, accept: str) -> Response:
        match path:
            case "/metrics":
                encode, content_type = _encoder(accept)
                return Response(200, content_type, encode(self._registry))
            case "/healthz":
                return self._health()
            case "/readyz":
                return text(503, "nothing was published yet") if self._snapshot is None else text(200, "ok")
            case "/":
                return Response(200, "text/html; charset=utf-8", page(self._snapshot), page_policy())
            case _ if path.startswith(RUNS):
                return self._run(unquote(path.removeprefix(RUNS)))
            case _:
                return text(404, "not found; see /")

    def _run(self, name: str) -> Response:
        """Serve the page of a run. A name is looked up among the runs, and is a path of nothing."""
        snapshot = self._snapshot or Snapshot(0.0)
        status = next((run for run in snapshot.runs if run.name == name), None)
        if status is None or self.run_page is None:
            asked = label_value(name)
            return text(
                404, f"no run is called {asked!r} here; all runs are at /, `lrwatch report` shows one that has left"
            )
        return self.run_page(status, snapshot.time)

    def _health(self) -> Response:
        age = self._clock() - self._published_at
        if age > UNHEALTHY_AFTER_SECONDS:
            return text(503, f"the loop published nothing for {age:.0f} s, {UNHEALTHY_AFTER_SECONDS:.0f} s are allowed")
        if self._snapshot is not None and self._snapshot.problem:
            return text(503, self._snapshot.problem)
        return text(200, "ok")


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    try:
        return choose_encoder(accept)
    except TypeError:
        # The library compares a version that is no number. A client that sends one gets the oldest format.
        return choose_encoder("")


def _parse(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    well_formed = colon and port.isascii() and port.isdigit() and len(port) <= len(str(_MAX_PORT))
    if not well_formed or int(port) > _MAX_PORT or (":" in bare) != (bare != host):
        raise UsageError(
            expected=f"HOST:PORT with a port from 0 to {_MAX_PORT}",
            found=repr(address),
            where="--listen",
            hint="Write for example --listen 127.0.0.1:9767, or [::1]:9767 for IPv6.",
        )
    try:
        bare.encode("idna")
    except UnicodeError as error:
        raise UsageError(
            expected="a host name or an IP address", found=repr(host), where="--listen", hint="Check the name."
        ) from error
    return bare or DEFAULT_HOST, int(port)
