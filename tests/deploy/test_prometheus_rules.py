from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from lrwatch.core.events import Kind
from lrwatch.daemon.trainer import TRAINER_FAULTS
from lrwatch.export.metrics import METRICS
from lrwatch.protocol import RejectionCode

FOLDER = Path(__file__).parents[2] / "deploy/prometheus"

CONTRACT = [
    "TrainingPlateau",
    "LossNotFinite",
    "TrainingDiverging",
    "TrainingStalled",
    "TrainingEnded",
    "RunWithoutLogs",
    "LrCommandUnacknowledged",
    "LrCommandRejected",
    "LrCommandAwaitsApproval",
    "LrChangeCostProgress",
    "LrNotActing",
    "LrTwoTrainers",
    "LrMismatch",
    "LrwatchDown",
    "LrwatchIngestErrors",
    "LrwatchTwoControllers",
    "LrwatchSeriesDropped",
]


def content(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return found


RULES: list[dict[str, Any]] = [rule for group in content("rules.yml")["groups"] for rule in group["rules"]]

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize("command", [["check", "rules", "rules.yml"], ["check", "config", "prometheus.yml"],
                                     ["test", "rules", "rules_test.yml"]], ids=" ".join)  # fmt: skip
def test_promtool_is_content(command: list[str]) -> None:
    result = promtool(*command)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_alerts_are_those_of_the_contract() -> None:
    assert sorted(rule["alert"] for rule in RULES) == sorted(CONTRACT)


@each_rule
def test_an_alert_says_what_it_is_about_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    about = "$labels.instance" if "-itself" in group_of(rule) and "IngestErrors" not in rule["alert"] else "$labels.run"
    assert about in rule["annotations"]["summary"]
    assert about in rule["annotations"]["description"]
    assert "$value" in rule["annotations"]["description"]
    assert re.search(r"`lrwatch |log and|Find |Log fewer|[Ll]ook at", rule["annotations"]["description"])


def group_of(rule: dict[str, Any]) -> str:
    (name,) = (g["name"] for g in content("rules.yml")["groups"] if rule["alert"] in {r["alert"] for r in g["rules"]})
    return str(name)


@pytest.mark.slow
@each_rule
def test_an_alert_is_tested_firing_and_not_firing_with_its_text(rule: dict[str, Any]) -> None:
    cases: Counter[bool] = Counter()
    for test in content("rules_test.yml")["tests"]:
        for check in test["alert_rule_test"]:
            if check["alertname"] == rule["alert"]:
                cases[bool(check["exp_alerts"])] += 1
                assert all(
                    alert["exp_annotations"].keys() == {"summary", "description"} for alert in check["exp_alerts"]
                )
    assert cases[True] >= 1
    assert cases[False] >= 1


@each_rule
def test_an_alert_uses_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    labels = {m.name: set(m.labels) for m in METRICS}
    labels |= {f"{m.name}_count": set(m.labels) for m in METRICS if m.type == "histogram"}
    used = re.findall(r"\b(lrwatch_\w+)(?:\{([^}]*)\})?", rule["expr"])
    assert used
    for name, matchers in used:
        assert name in labels
        assert set(re.findall(r"(\w+)[!=]", matchers)) <= labels[name]


@pytest.mark.parametrize(
    ("label", "known"), [("kind", (*get_args(Kind), *TRAINER_FAULTS)), ("code", get_args(RejectionCode))]
)
def test_a_value_that_an_alert_asks_for_is_one_that_can_come(label: str, known: tuple[str, ...]) -> None:
    asked = [value for rule in RULES for value in re.findall(rf'{label}!?="(\w+)"', rule["expr"])]
    assert asked
    assert set(asked) <= set(known)
