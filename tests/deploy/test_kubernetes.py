from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from lrwatch.config import load

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"

# Native sidecars are on by default from here on.
OLDEST = "1.29"


@pytest.fixture(scope="module")
def rendered() -> list[dict[str, Any]]:
    result = subprocess.run(["kubectl", "kustomize", FOLDER], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return list(yaml.safe_load_all(result.stdout))


@pytest.fixture
def pod(rendered: list[dict[str, Any]]) -> dict[str, Any]:
    (job,) = (r for r in rendered if r["kind"] == "Job")
    spec: dict[str, Any] = job["spec"]["template"]["spec"]
    return spec


@pytest.fixture
def sidecar(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["initContainers"]
    found: dict[str, Any] = container
    return found


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_every_resource_is_valid_without_unknown_fields(rendered: list[dict[str, Any]], version: str) -> None:
    assert {r["kind"] for r in rendered} == {"Job", "ConfigMap"}
    for resource in rendered:
        kubernetes_validate.validate(resource, version, strict=True)


def test_a_misspelt_field_would_be_noticed(rendered: list[dict[str, Any]]) -> None:
    (job,) = (r for r in rendered if r["kind"] == "Job")
    job = {**job, "spec": {**job["spec"], "backofLimit": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, OLDEST, strict=True)


def test_the_sidecar_cannot_hold_up_the_trainer(pod: dict[str, Any], sidecar: dict[str, Any]) -> None:
    assert sidecar["restartPolicy"] == "Always"
    assert not {"startupProbe", "readinessProbe"} & sidecar.keys()
    assert "shareProcessNamespace" not in pod


def test_the_pod_stays_in_the_class_guaranteed(pod: dict[str, Any]) -> None:
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert container["resources"]["limits"].keys() >= {"cpu", "memory"}


def test_both_containers_run_as_one_locked_down_user(pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    about = pod["securityContext"]
    assert about["runAsNonRoot"] is True
    assert about["seccompProfile"] == {"type": "RuntimeDefault"}
    assert about["runAsUser"] == about["fsGroup"] > 0
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip


def test_the_sidecar_reads_the_logs_and_writes_the_control_directory(
    rendered: list[dict[str, Any]], sidecar: dict[str, Any], tmp_path: Path
) -> None:
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in sidecar["volumeMounts"]}
    assert mounts == {"/etc/lrwatch": True, "/logs": True, "/control": False, "/state": False, "/tmp": False}
    (settings,) = (r["data"]["lrwatch.toml"] for r in rendered if r["kind"] == "ConfigMap")
    file = tmp_path / "lrwatch.toml"
    file.write_text(settings, encoding="utf-8")
    config = load(file)
    assert config.watch.paths == ("/logs",)
    assert config.watch.control.startswith("/control/")
    assert config.daemon.state == "/state"
    assert config.daemon.listen == f"0.0.0.0:{sidecar['ports'][0]['containerPort']}"


def test_every_memory_backed_or_shared_volume_has_a_limit(pod: dict[str, Any]) -> None:
    assert all(volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume)


def test_the_pod_monitor_finds_the_pod_and_its_port(rendered: list[dict[str, Any]], sidecar: dict[str, Any]) -> None:
    monitor = yaml.safe_load((FOLDER / "podmonitor.yaml").read_text(encoding="utf-8"))
    (job,) = (r for r in rendered if r["kind"] == "Job")
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert labels[monitor["spec"]["jobLabel"]] == "lrwatch"
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == sidecar["ports"][0]["name"]


def test_the_command_line_of_kubernetes_validate_agrees(tmp_path: Path, rendered: list[dict[str, Any]]) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(rendered), encoding="utf-8")
    tool = Path(sys.executable).with_name("kubernetes-validate")
    result = subprocess.run([tool, "--strict", "-k", OLDEST, file], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
