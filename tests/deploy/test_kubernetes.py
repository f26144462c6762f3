"""The manifests: rendered by kubectl, checked against schemas, and the sidecar run as the rendered Pod says."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from support.golden import PROMETHEUS_RULE, prometheus_rule
from support.image import IMAGE_ENVIRONMENT
from support.sandbox import Sandbox, needs_bubblewrap
from support.waiting import eventually

from lrwatch.config import load

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
SCHEMAS = Path(__file__).parent / "schemas"

# Native sidecars are on by default from here on.
OLDEST = "1.29"

# Where each example lies, and the kinds that it makes.
EXAMPLES = {
    ".": {"Job", "ConfigMap"}, "indexed": {"Job", "ConfigMap"}, "jobset": {"JobSet", "ConfigMap"},
    "trainjob": {"TrainJob", "TrainingRuntime", "ConfigMap"}, "monitoring": {"PodMonitor", "PrometheusRule"},
}  # fmt: skip
WITH_PODS = [name for name in EXAMPLES if name != "monitoring"]

# Labels of a Pod of a Job, as the controller sets them.
POD_LABELS = {
    "batch.kubernetes.io/job-name": "train",
    "app.kubernetes.io/name": "train",
    "lrwatch": "lrwatch",
    "owner": "anna",
}

TRAINER = """
import lrwatch

with lrwatch.attach(None, "/control/train", poll_seconds=0.01) as watch:
    for step in range(50):
        watch.step(loss=2.0 - step / 100)
    watch.close()
"""

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl (Debian: kubernetes-client)")

Resource = dict[str, Any]


def render(folder: Path) -> list[Resource]:
    result = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return list(yaml.safe_load_all(result.stdout))


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[Resource]]:
    """All examples."""
    return {name: render(FOLDER / name) for name in EXAMPLES}


def one(resources: list[Resource], kind: str) -> Resource:
    (found,) = (resource for resource in resources if resource["kind"] == kind)
    return found


def job_spec(resources: list[Resource]) -> dict[str, Any]:
    """The specification of the Job of an example, wherever it stands."""
    kinds = {resource["kind"]: resource for resource in resources}
    if "Job" in kinds:
        found = kinds["Job"]["spec"]
    else:
        spec = kinds["JobSet"]["spec"] if "JobSet" in kinds else kinds["TrainingRuntime"]["spec"]["template"]["spec"]
        (replicated,) = spec["replicatedJobs"]
        found = replicated["template"]["spec"]
    return dict(found)


def pod_of(resources: list[Resource]) -> dict[str, Any]:
    return dict(job_spec(resources)["template"]["spec"])


@pytest.fixture
def pod(rendered: dict[str, list[Resource]]) -> dict[str, Any]:
    """The Pod of the Job."""
    return pod_of(rendered["."])


@pytest.fixture
def sidecar(pod: dict[str, Any]) -> dict[str, Any]:
    """Its sidecar."""
    (container,) = pod["initContainers"]
    return dict(container)


# ---- schemas --------------------------------------------------------------------------------------------------------


def check_custom(resource: Resource) -> None:
    """Check a custom resource against the fields of its project."""
    schema = json.loads((SCHEMAS / f"{resource['kind'].lower()}.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(resource)


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_every_resource_is_valid_without_unknown_fields(rendered: dict[str, list[Resource]], version: str) -> None:
    for name, kinds in EXAMPLES.items():
        assert {resource["kind"] for resource in rendered[name]} == kinds
        for resource in rendered[name]:
            if resource["kind"] in ("Job", "ConfigMap"):
                kubernetes_validate.validate(resource, version, strict=True)
            else:
                check_custom(resource)
        if name in WITH_PODS:  # what Kubernetes gets in the end, whichever controller makes it
            spec = copy.deepcopy(job_spec(rendered[name]))
            spec["template"]["spec"].setdefault("restartPolicy", "Never")  # the Trainer sets it
            job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "made"}, "spec": spec}
            kubernetes_validate.validate(job, version, strict=True)


def test_a_misspelt_field_would_be_noticed(rendered: dict[str, list[Resource]]) -> None:
    job = copy.deepcopy(one(rendered["."], "Job"))
    job["spec"]["backofLimit"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, OLDEST, strict=True)
    for name, kind in (
        ("jobset", "JobSet"), ("trainjob", "TrainJob"), ("trainjob", "TrainingRuntime"), ("monitoring", "PodMonitor"),
    ):  # fmt: skip
        resource = copy.deepcopy(one(rendered[name], kind))
        resource["spec"]["replicatedjobs"] = []
        with pytest.raises(ValidationError):
            check_custom(resource)


def test_the_command_line_of_kubernetes_validate_agrees(tmp_path: Path, rendered: dict[str, list[Resource]]) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(rendered["."]), encoding="utf-8")
    tool = Path(sys.executable).with_name("kubernetes-validate")
    command = [tool] if tool.exists() else [sys.executable, "-m", "kubernetes_validate"]
    result = subprocess.run([*command, "--strict", "-k", OLDEST, file], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


# ---- the Pod --------------------------------------------------------------------------------------------------------


def test_one_sidecar_stands_in_every_example(rendered: dict[str, list[Resource]], sidecar: dict[str, Any]) -> None:
    volumes = {name: {v["name"]: v for v in pod_of(rendered[name])["volumes"]} for name in WITH_PODS}
    for name in WITH_PODS:
        (found,) = copy.deepcopy(pod_of(rendered[name]))["initContainers"]
        (named,) = (variable for variable in found["env"] if variable["name"] == "LRWATCH_RUN_NAME")
        label = "batch.kubernetes.io/job-name" if name in (".", "indexed") else "jobset.sigs.k8s.io/jobset-name"
        assert named["valueFrom"]["fieldRef"]["fieldPath"] == f"metadata.labels['{label}']"
        named["valueFrom"]["fieldRef"]["fieldPath"] = "metadata.labels['batch.kubernetes.io/job-name']"
        assert found == sidecar
        assert volumes[name] == volumes["."]
        assert pod_of(rendered[name])["securityContext"] == pod_of(rendered["."])["securityContext"]


@pytest.mark.parametrize("name", WITH_PODS)
def test_the_sidecar_cannot_hold_up_the_trainer(name: str, rendered: dict[str, list[Resource]]) -> None:
    pod = pod_of(rendered[name])
    (sidecar,) = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert not {"startupProbe", "readinessProbe"} & sidecar.keys()
    assert "shareProcessNamespace" not in pod


@pytest.mark.parametrize("name", WITH_PODS)
def test_the_pod_stays_in_the_class_guaranteed(name: str, rendered: dict[str, list[Resource]]) -> None:
    pod = pod_of(rendered[name])
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert container["resources"]["limits"].keys() >= {"cpu", "memory"}


@pytest.mark.parametrize("name", WITH_PODS)
def test_both_containers_run_as_one_locked_down_user(name: str, rendered: dict[str, list[Resource]]) -> None:
    pod = pod_of(rendered[name])
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


def test_every_memory_backed_or_shared_volume_has_a_limit(pod: dict[str, Any]) -> None:
    assert all(volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume)


def test_a_job_of_anybody_gets_the_sidecar_by_two_mounts(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        """
apiVersion: batch/v1
kind: Job
metadata: {name: mine}
spec:
  template:
    spec:
      restartPolicy: OnFailure
      initContainers: [{name: fetch, image: fetch}]
      containers:
        - name: gpt
          image: gpt
          volumeMounts:
            - {name: control, mountPath: /control}
            - {name: data, mountPath: /data}
      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
""",
        encoding="utf-8",
    )
    shutil.copytree(FOLDER / "component", tmp_path / "component")
    (tmp_path / "kustomization.yaml").write_text("resources: [job.yaml]\ncomponents: [component]\n", encoding="utf-8")
    resources = render(tmp_path)
    kubernetes_validate.validate(one(resources, "Job"), OLDEST, strict=True)
    pod = pod_of(resources)
    assert [container["name"] for container in pod["initContainers"]] == ["lrwatch", "fetch"]
    assert [container["name"] for container in pod["containers"]] == ["gpt"]
    assert {"data", "control", "logs", "lrwatch-state"} <= {volume["name"] for volume in pod["volumes"]}
    assert pod["restartPolicy"] == "OnFailure"


def test_the_ranks_of_a_job_have_an_index_and_only_the_first_watches(rendered: dict[str, list[Resource]]) -> None:
    for name in ("indexed", "jobset"):
        spec = job_spec(rendered[name])
        assert spec["completionMode"] == "Indexed"
        assert spec["completions"] == spec["parallelism"] > 1
        (sidecar,) = spec["template"]["spec"]["initContainers"]
        assert sidecar["args"][-2:] == ["--only-rank", "0"]


# ---- what it does ---------------------------------------------------------------------------------------------------


def environment(sidecar: dict[str, Any]) -> dict[str, str]:
    """The environment of the sidecar as the kubelet makes it: that of the image, and over it that of the Pod."""
    found = dict(IMAGE_ENVIRONMENT)
    for variable in sidecar["env"]:
        if "value" in variable:
            found[variable["name"]] = variable["value"]
        else:
            (label,) = re.findall(r"^metadata\.labels\['(.+)'\]$", variable["valueFrom"]["fieldRef"]["fieldPath"])
            found[variable["name"]] = POD_LABELS[label]
    return found


def test_image_pod_and_file_together_keep_the_state_on_its_volume(
    rendered: dict[str, list[Resource]], sidecar: dict[str, Any], tmp_path: Path
) -> None:
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in sidecar["volumeMounts"]}
    assert mounts == {
        "/etc/lrwatch": True, "/logs": True, "/control": False, "/podinfo": True, "/state": False, "/tmp": False,
    }  # fmt: skip
    file = tmp_path / "lrwatch.toml"
    file.write_text(one(rendered["."], "ConfigMap")["data"]["lrwatch.toml"], encoding="utf-8")
    config = load(file, environment(sidecar))
    assert IMAGE_ENVIRONMENT["LRWATCH_DAEMON_STATE"] not in mounts
    assert config.daemon.state == "/state"
    assert config.watch.paths == ("/logs",)
    assert config.watch.control.startswith("/control/")
    assert config.daemon.listen == f"0.0.0.0:{sidecar['ports'][0]['containerPort']}"
    assert config.run.name == "train"


@pytest.fixture
def volumes(rendered: dict[str, list[Resource]], pod: dict[str, Any], tmp_path: Path) -> dict[str, Path]:
    """A directory for each volume of the Pod, filled as the kubelet does."""
    made = {}
    for volume in pod["volumes"]:
        directory = made[volume["name"]] = tmp_path / "volumes" / volume["name"]
        directory.mkdir(parents=True)
        if "configMap" in volume:
            for name, text in one(rendered["."], "ConfigMap")["data"].items():
                (directory / name).write_text(text, encoding="utf-8")
        if "downwardAPI" in volume:
            (item,) = volume["downwardAPI"]["items"]
            assert item["fieldRef"]["fieldPath"] == "metadata.labels"
            lines = [f"{name}={json.dumps(value)}\n" for name, value in POD_LABELS.items()]
            (directory / item["path"]).write_text("".join(lines), encoding="utf-8")
    return made


def start(
    container: dict[str, Any],
    pod: dict[str, Any],
    volumes: dict[str, Path],
    command: list[str],
    environ: dict[str, str],
    home: Path,
) -> Sandbox:
    """Start a container with the user and the mounts of its Pod."""
    home.mkdir()
    mounts = container["volumeMounts"]
    return Sandbox(
        command,
        user=pod["securityContext"]["runAsUser"],
        mounts={mount["mountPath"]: volumes[mount["name"]] for mount in mounts},
        writable={mount["mountPath"] for mount in mounts if not mount.get("readOnly", False)},
        environ=environ,
        home=home,
    )


@pytest.fixture
def started() -> Iterator[list[Sandbox]]:
    """Containers to be killed if a test leaves them."""
    containers: list[Sandbox] = []
    yield containers
    for container in containers:
        container.kill()


@pytest.mark.slow
@needs_bubblewrap
def test_a_trainer_that_only_calls_step_is_watched_with_the_pod_s_mounts_user_and_environment(
    pod: dict[str, Any], sidecar: dict[str, Any], volumes: dict[str, Path], tmp_path: Path, started: list[Sandbox]
) -> None:
    program = str(Path(sys.executable).with_name("lrwatch"))  # the entry point of the image
    environ = environment(sidecar)
    daemon = start(sidecar, pod, volumes, [program, *sidecar["args"]], environ, tmp_path / "sidecar")
    started.append(daemon)
    eventually(lambda: daemon.get("/readyz"), what=f"ready: {daemon.stderr}")
    (container,) = pod["containers"]
    trainer = start(container, pod, volumes, [sys.executable, "-c", TRAINER], {}, tmp_path / "trainer")
    started.append(trainer)
    assert trainer.wait() == 0, trainer.stderr
    eventually(lambda: daemon.value("lrwatch_run_step", run="train") == 50, what=f"step 50: {daemon.stderr}")
    assert daemon.value("lrwatch_run_info", run="train", mode="suggest", owner="anna") == 1
    eventually(lambda: daemon.value("lrwatch_run_life", run="train", life="ended") == 1)
    held = daemon.execute(program, "hold", "train")  # by kubectl exec
    assert (held.returncode, held.stderr) == (0, ""), held
    eventually(lambda: daemon.value("lrwatch_run_held", run="train") == 1)
    assert daemon.end() == 0, daemon.stderr
    assert (volumes["lrwatch-state"] / "lrwatch.sqlite").exists()
    said = [line.partition(":")[2].strip() for line in daemon.stderr.splitlines() if line.startswith("lrwatch: ")]
    assert [line.partition("(")[0] for line in said] == ["/logs: no logs ", "run /logs: can be read now"]


@pytest.mark.slow
@needs_bubblewrap
def test_the_sidecar_of_another_rank_serves_and_watches_nothing(
    pod: dict[str, Any], sidecar: dict[str, Any], volumes: dict[str, Path], tmp_path: Path, started: list[Sandbox]
) -> None:
    (volumes["logs"] / "train.jsonl").write_text('{"step": 1, "loss": 2.0}\n' * 3, encoding="utf-8")
    program = str(Path(sys.executable).with_name("lrwatch"))
    environ = {**environment(sidecar), "JOB_COMPLETION_INDEX": "3"}  # which Kubernetes sets
    daemon = start(sidecar, pod, volumes, [program, *sidecar["args"]], environ, tmp_path / "sidecar")
    started.append(daemon)
    eventually(lambda: daemon.get("/readyz"), what=f"ready: {daemon.stderr}")
    assert "JOB_COMPLETION_INDEX is 3, and only rank 0 watches" in daemon.stderr
    assert daemon.value("lrwatch_run_up") is None
    assert daemon.end() == 0


# ---- Prometheus -----------------------------------------------------------------------------------------------------


def test_the_pod_monitor_finds_the_pod_and_its_port(
    rendered: dict[str, list[Resource]], sidecar: dict[str, Any]
) -> None:
    spec = one(rendered["monitoring"], "PodMonitor")["spec"]
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["port"] == sidecar["ports"][0]["name"]
    for name in WITH_PODS:
        labels = job_spec(rendered[name])["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        assert labels[spec["jobLabel"]] == "lrwatch"


def test_the_rules_of_the_operator_are_those_of_prometheus() -> None:
    assert PROMETHEUS_RULE.read_text(encoding="utf-8") == prometheus_rule(), "make golden"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
def test_promtool_takes_the_rules_of_the_operator(rendered: dict[str, list[Resource]], tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump(one(rendered["monitoring"], "PrometheusRule")["spec"]), encoding="utf-8")
    result = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
