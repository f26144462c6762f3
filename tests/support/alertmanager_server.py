"""A real Alertmanager with the shipped configuration, and a webhook that keeps what it is sent."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from support.prometheus_server import free_port, served

DEPLOY = Path(__file__).parents[2] / "deploy/prometheus"

# Seconds that the numbers in the rules stand for.
_SECONDS = re.compile(r"(?<=[<>,] )(600|900|1800|21600)\b")


def faster_rules(path: Path, times: int = 60) -> Path:
    """Write the shipped rules with all times divided. Return the file."""

    def divided(text: str) -> str:
        text = re.sub(r"\b(\d+)m\b", lambda found: f"{int(found[1]) * 60 // times}s", text)
        return _SECONDS.sub(lambda found: f"{int(found[1]) / times:g}", text)

    rules = yaml.safe_load((DEPLOY / "rules.yml").read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule |= {key: divided(rule[key]) for key in ("expr", "for", "keep_firing_for") if key in rule}
    path.write_text(yaml.safe_dump(rules), encoding="utf-8")
    return path


class Webhook:
    """What Alertmanager has sent, by receiver.

    Attributes:
        messages: Receiver and message, in their order.
    """

    def __init__(self, port: int) -> None:
        messages = self.messages = list[tuple[str, dict[str, Any]]]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                messages.append((self.path.removeprefix("/"), json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the name that the library gives it)
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def alerts(self, name: str, **labels: str) -> list[tuple[str, str, dict[str, Any]]]:
        """Return receiver, status and alert of each time that an alert with these labels was sent."""
        return [
            (receiver, alert["status"], alert)
            for receiver, message in list(self.messages)
            for alert in message["alerts"]
            if {"alertname": name, **labels}.items() <= alert["labels"].items()
        ]


@contextmanager
def alertmanager(folder: Path, times: int = 60) -> Iterator[tuple[str, Webhook]]:
    """Start Alertmanager with the shipped routes, its times divided. Yield its HOST:PORT, and the webhook.

    Args:
        folder: An empty directory for its configuration, data and log.
        times: How much faster everything is.
    """
    port = free_port()
    config = yaml.safe_load((DEPLOY / "alertmanager.yml").read_text(encoding="utf-8"))
    config["route"] |= {"group_wait": f"{30_000 // times}ms", "group_interval": f"{300 // times}s"}
    text = yaml.safe_dump(config).replace("127.0.0.1:9099", f"127.0.0.1:{port}")
    (folder / "alertmanager.yml").write_text(text, encoding="utf-8")
    webhook = Webhook(port)
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus-alertmanager",
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    try:
        with served(command, f"http://{address}", folder / "log"):
            yield address, webhook
    finally:
        webhook.close()
