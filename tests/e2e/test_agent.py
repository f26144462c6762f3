"""A fleet: lrwatch, a Prometheus in agent mode beside it with the shipped configuration, and a central one that goes away and comes back."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml
from support.daemon_process import DaemonProcess
from support.prometheus_server import Prometheus, free_port, served
from support.quadratic import Training
from support.waiting import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus (Debian: prometheus)"),
]

CONFIG = Path(__file__).parents[2] / "deploy/prometheus/agent.yml"

UP = 'up{job="lrwatch",cluster="here"}'


def test_promtool_takes_the_configuration_of_the_agent() -> None:
    result = subprocess.run(
        ["promtool", "check", "config", "--agent", CONFIG], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_what_was_scraped_while_the_centre_was_away_arrives_later(tmp_path: Path) -> None:
    (tmp_path / "gpt.jsonl").write_text(Training().lines(100))
    daemon = DaemonProcess(tmp_path / "daemon", tmp_path / "gpt.jsonl")
    hub, agent = tmp_path / "hub", tmp_path / "agent"
    hub.mkdir()
    agent.mkdir()
    address = f"127.0.0.1:{free_port()}"
    (hub / "prometheus.yml").write_text("global: {}\n")
    shipped = CONFIG.read_text(encoding="utf-8")
    # The addresses and the pace of a test; all else is as it is shipped.
    changed = shipped.replace("127.0.0.1:9767", daemon.address.removeprefix("http://"))
    changed = changed.replace("127.0.0.1:9090", address).replace("scrape_interval: 15s", "scrape_interval: 1s")
    changed = changed.replace("max_backoff: 30s", "max_backoff: 1s")
    assert len(yaml.safe_load(changed)) == len(yaml.safe_load(shipped)) == 3
    (agent / "prometheus.yml").write_text(changed)
    central, beside = Prometheus(f"http://{address}"), f"127.0.0.1:{free_port()}"
    with_data = ["--web.enable-remote-write-receiver", f"--storage.tsdb.path={hub / 'data'}"]
    as_agent = ["--enable-feature=agent", f"--storage.agent.path={agent / 'data'}"]
    try:
        with server(agent, beside, as_agent):
            with server(hub, address, with_data):
                eventually(lambda: central.query('lrwatch_run_step{run="gpt",cluster="here"} == 100'), what="the run")
                left, scraped = newest(central), scrapes(beside)
            eventually(lambda: scrapes(beside) >= scraped + 5, what="scrapes while the centre is away")
            with server(hub, address, with_data):
                eventually(lambda: newest(central) > left + 5, timeout=30, what="newer samples")
                times = [float(time) for time, _ in central.query(f"{UP}[1m]")[0]["values"] if time >= left]
    finally:
        assert daemon.end() == 0
    assert max(later - earlier for earlier, later in pairwise(times)) < 1.5, times


def server(folder: Path, address: str, options: list[str]) -> AbstractContextManager[None]:
    """A Prometheus with the configuration of a directory."""
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--web.listen-address={address}", *options]
    return served(command, f"http://{address}", folder / "log")


def newest(central: Prometheus) -> float:
    """When the newest sample of the centre was scraped; 0 where it has none."""
    found = central.query(f"timestamp({UP})")
    return float(found[0]["value"][1]) if found else 0.0


def scrapes(agent: str) -> float:
    """How often an agent has scraped."""
    with urlopen(f"http://{agent}/metrics", timeout=10) as answer:
        found = re.findall(rb"^prometheus_target_interval_length_seconds_count\S* (\S+)$", answer.read(), re.MULTILINE)
    return sum(map(float, found))
