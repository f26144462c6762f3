from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from lrwatch.cli import cli
from lrwatch.core.events import Kind
from lrwatch.daemon.trainer import TRAINER_FAULTS
from lrwatch.export.metrics import METRICS, RUN_METRICS
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


EVERYTHING: list[dict[str, Any]] = [rule for group in content("rules.yml")["groups"] for rule in group["rules"]]
RULES = [rule for rule in EVERYTHING if "alert" in rule]
RECORDED = [rule for rule in EVERYTHING if "record" in rule]
PAGES = FOLDER.parents[1] / "docs/alerts"

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
    (name,) = (g["name"] for g in content("rules.yml")["groups"] if rule in g["rules"])
    return str(name)


@pytest.fixture(scope="module")
def unit_tests() -> list[dict[str, Any]]:
    tests: list[dict[str, Any]] = content("rules_test.yml")["tests"]
    return tests


@pytest.mark.slow
@each_rule
def test_an_alert_is_tested_silent_firing_through_a_gap_and_resolved_with_its_text(
    rule: dict[str, Any], unit_tests: list[dict[str, Any]]
) -> None:
    (life,) = (test for test in unit_tests if test["name"] == f"the life of {rule['alert']}")
    checks = life["alert_rule_test"]
    assert {check["alertname"] for check in checks} == {rule["alert"]}
    assert [bool(check["exp_alerts"]) for check in checks] == [False, True, True, True, False]
    # Nobody is scraped between the second check and the fourth.
    assert all("stale _x8" in series["values"] for series in life["input_series"])
    for alert in (alert for check in checks for alert in check["exp_alerts"]):
        assert alert["exp_annotations"].keys() == {"summary", "description", "runbook_url"}
        if "run" in alert["exp_labels"]:
            assert "at step 1" in alert["exp_annotations"]["description"]
            assert (alert["exp_labels"]["owner"], alert["exp_labels"]["priority"]) == ("anna", "high")


@each_rule
def test_an_alert_outlives_a_gap_and_has_a_page_that_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["keep_firing_for"] == "10m"
    assert rule["annotations"]["runbook_url"] == f"https://example.org/lrwatch/docs/alerts/{rule['alert']}.md"
    page = (PAGES / f"{rule['alert']}.md").read_text(encoding="utf-8")
    assert f"Severity: {rule['labels']['severity']}." in page
    for part in ("What fires it", "When", "What to do", "Tuning"):
        assert f"\n## {part}\n\n" in page
    assert f"amtool silence add alertname={rule['alert']} " in page
    for verb in re.findall(r"`lrwatch ([a-z]+)", page + rule["annotations"]["description"]):
        assert verb in cli.commands


def test_the_links_are_set_as_the_head_of_the_file_says(tmp_path: Path) -> None:
    text = (FOLDER / "rules.yml").read_text(encoding="utf-8")
    (typed,) = re.findall(r"^#   (sed .+)$", text, re.MULTILINE)
    shutil.copy(FOLDER / "rules.yml", tmp_path)
    subprocess.run(shlex.split(typed), cwd=tmp_path, check=True, timeout=60)
    changed = yaml.safe_load((tmp_path / "rules.yml").read_text(encoding="utf-8"))
    links = {
        rule["annotations"]["runbook_url"] for group in changed["groups"] for rule in group["rules"] if "alert" in rule
    }
    assert links == {f"https://git.example.com/lrwatch/blob/main/docs/alerts/{rule['alert']}.md" for rule in RULES}


def test_there_is_no_page_without_an_alert() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} == {rule["alert"] for rule in RULES}


@each_rule
def test_a_name_of_a_run_is_quoted_wherever_a_person_may_paste_it(rule: dict[str, Any]) -> None:
    for command in re.findall(r"`(lrwatch [^`]*)`", re.sub(r"printf `[^`]*`", "", rule["annotations"]["description"])):
        assert "$labels.run" not in command
        assert command.count("{{ $run }}") == command.count("'{{ $run }}'")


@pytest.mark.parametrize("rule", EVERYTHING, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_uses_metrics_and_labels_that_exist_and_that_every_run_has_however_many_there_are(
    rule: dict[str, Any],
) -> None:
    labels = {m.name: set(m.labels) for m in METRICS}
    labels |= {f"{m.name}_count": set(m.labels) for m in METRICS if m.type == "histogram"}
    essential = {m.name for m in RUN_METRICS if m.essential}
    of_runs = {m.name for m in RUN_METRICS}
    asked = rule["expr"] + rule.get("annotations", {}).get("description", "")
    recorded = {one["record"] for one in RECORDED}
    used = re.findall(r"\b((?:\w+:)?lrwatch_\w+(?::\w+)?)(?:\{([^}]*)\})?", asked)
    assert used
    for name, matchers in used:
        if name in recorded:
            continue
        assert name in labels
        assert set(re.findall(r"(\w+)[!=]", matchers)) - {"job", "instance"} <= labels[name]
        assert name in essential or name not in of_runs


@pytest.mark.parametrize(
    ("label", "known"), [("kind", (*get_args(Kind), *TRAINER_FAULTS)), ("code", get_args(RejectionCode))]
)
def test_a_value_that_an_alert_asks_for_is_one_that_can_come(label: str, known: tuple[str, ...]) -> None:
    asked = [value for rule in RULES for value in re.findall(rf'{label}!?="(\w+)"', rule["expr"])]
    assert asked
    assert set(asked) <= set(known)


# ---- whom they reach -----------------------------------------------------------------------------------------------


ALERTMANAGER = content("alertmanager.yml")


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("amtool") is None:
        pytest.skip("needs Debian's prometheus-alertmanager")
    return subprocess.run(["amtool", *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60)


def test_amtool_is_content() -> None:
    result = amtool("check-config", "alertmanager.yml")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": "LossNotFinite", "severity": "critical", "run": "gpt2"}, "pager"),
        ({"alertname": "LossNotFinite", "severity": "critical", "run": "gpt2", "priority": "low"}, "team"),
        ({"alertname": "LrwatchDown", "severity": "critical", "priority": "low"}, "pager"),
        ({"alertname": "TrainingPlateau", "severity": "warning", "run": "gpt2"}, "team"),
        ({"alertname": "LrCommandAwaitsApproval", "severity": "warning", "run": "gpt2"}, "team"),
        ({"alertname": "TrainingEnded", "severity": "info", "run": "gpt2"}, "nobody"),
    ],
)
def test_an_alert_reaches_whom_it_should(labels: dict[str, str], receiver: str) -> None:
    words = [f"{name}={value}" for name, value in labels.items()]
    result = amtool(
        "config", "routes", "test", "--config.file=alertmanager.yml", f"--verify.receivers={receiver}", *words
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_alertmanager_knows_the_alerts_that_it_names_and_groups_by_run() -> None:
    named = re.findall(r'alertname!?=~?"([^"]+)"', json.dumps(ALERTMANAGER).replace('\\"', '"'))
    assert {name for names in named for name in names.split("|")} <= set(CONTRACT)
    assert ALERTMANAGER["route"]["group_by"] == ["job", "instance", "run"]
    hooks = [hook for receiver in ALERTMANAGER["receivers"] for hook in receiver.get("webhook_configs", ())]
    assert all(hook["send_resolved"] for hook in hooks)
    assert all(rule["equal"][:2] == ["job", "instance"] for rule in ALERTMANAGER["inhibit_rules"])
