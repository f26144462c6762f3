from __future__ import annotations

from pathlib import Path

import pytest

from lrwatch.config import load
from lrwatch.daemon.labels import labelled
from lrwatch.errors import ConfigError

# As the kubelet writes metadata.labels: sorted, and quoted as strings of Go.
POD = """app.kubernetes.io/name="gpt2"
job-name="train \\"7\\" \\u00e4"
run="kubectl gives this one"
team="vision"
"""


def labels(environ: dict[str, str], **flags: object) -> dict[str, str]:
    config = load(environ=environ, flags={key.replace("__", "."): value for key, value in flags.items()})
    return dict(labelled(config, environ).run.labels)


def test_labels_come_from_the_environment_as_pairs_or_as_json() -> None:
    assert labels({"LRWATCH_RUN_LABELS": "owner=anna, priority=high"}) == {"owner": "anna", "priority": "high"}
    assert labels({"LRWATCH_RUN_LABELS": '{"owner": "a,b=c"}'}) == {"owner": "a,b=c"}


def test_labels_of_the_pod_become_legal_names_and_lose_to_those_of_the_settings(tmp_path: Path) -> None:
    (file := tmp_path / "labels").write_text(POD, encoding="utf-8")
    (config := tmp_path / "lrwatch.toml").write_text(
        '[run]\nlabels_file = "labels"\nlabels = { team = "speech" }\n', encoding="utf-8"
    )
    assert file.exists()
    assert dict(labelled(load(config), {"SLURM_JOB_ID": "17", "SLURM_JOB_USER": "anna"}).run.labels) == {
        "app_kubernetes_io_name": "gpt2",
        "job_name": 'train "7" \u00e4',
        "exported_run": "kubectl gives this one",
        "team": "speech",
        "slurm_job_id": "17",
        "slurm_job_user": "anna",
    }


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), ("team=vision\n", "line 1"), ('a="b"\nb="\\x"\n', "line 2")]
)
def test_a_file_that_is_no_such_file_is_an_error_that_says_where(
    tmp_path: Path, content: str | None, said: str
) -> None:
    file = tmp_path / "labels"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=said) as caught:
        labels({}, run__labels_file=str(file))
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("text", ['{"run": "x"}', "1a=x", "__a=x", '{"owner": 7}', "nonsense", '{"a b": "x"}'])
def test_a_label_that_prometheus_or_lrwatch_has_no_room_for_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="labels"):
        labels({"LRWATCH_RUN_LABELS": text})


def test_there_are_not_more_labels_than_an_operator_can_use(tmp_path: Path) -> None:
    (file := tmp_path / "labels").write_text("".join(f'l{i}="x"\n' for i in range(40)), encoding="utf-8")
    with pytest.raises(ConfigError, match="at most 32"):
        labels({}, run__labels_file=str(file))
