"""A detector is added by its registry line alone; a dummy shows that nothing else must know of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.batches import batch, cut, feed, restarted

from lrwatch.cli import cli
from lrwatch.core import detectors
from lrwatch.core.detectors.base import Detector, Scope
from lrwatch.core.events import Finding
from lrwatch.core.options import DetectOptions, PolicyOptions
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.tracker import GROUP, Tracker

N = 200
LOSS = np.where(np.arange(N) % 50 == 40, 99.0, 2.0)
# Evidence of a group is complete at the last sample of it.
HIGH = [at // GROUP * GROUP + GROUP - 1 for at in range(40, N, 50)]


class HighDetector(Detector[float]):
    """Reports values above 10, with how many there were."""

    KIND = "high"  # type: ignore[assignment]  # a kind of its own, which no table knows
    SAVED = ("_count",)

    def restart(self) -> None:
        self._count = 0

    def feed(self, steps: list[int], values: list[float]) -> Sequence[tuple[int, Finding]]:
        found = []
        for i, (step, value) in enumerate(zip(steps, values, strict=True)):
            if value > 10:
                self._count += 1
                found.append((i, self._finding(step, {"count": self._count}, f"{self._name} is high")))
        return found


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "REGISTRY", (*detectors.REGISTRY, HighDetector))


def pipeline() -> Pipeline:
    return Pipeline(DetectOptions(), PolicyOptions())


def test_the_tracker_feeds_it_in_groups() -> None:
    tracker = Tracker("loss", DetectOptions())
    outputs = tracker.feed(np.arange(N), LOSS)
    high = [(at, output) for at, output in outputs if isinstance(output, Finding) and output.message == "loss is high"]
    assert [at for at, _ in high] == HIGH
    assert [output.step for _, output in high] == list(range(40, N, 50))


@pytest.mark.parametrize("size", [1, 7, N])
def test_its_findings_come_out_of_the_pipeline_and_its_state_is_saved(size: int) -> None:
    run, counts = pipeline(), []
    for piece in cut(batch(np.arange(N), {"loss": LOSS}), range(size, N, size)):
        events = feed(run, [piece])
        counts += [
            one.evidence["count"] for one in events if isinstance(one, Finding) and one.message == "loss is high"
        ]
        run = restarted(run)
    assert counts == [1, 2, 3, 4]


@pytest.mark.parametrize(("scope", "counts"), [("log", [1, 2, 3]), ("run", [1, 2, 1]), ("phase", [1, 1, 1])])
def test_it_begins_again_where_its_scope_ends(monkeypatch: pytest.MonkeyPatch, scope: Scope, counts: list[int]) -> None:
    monkeypatch.setattr(HighDetector, "SCOPE", scope)
    tracker, found = Tracker("loss", DetectOptions()), []
    for end_of in (tracker.restart, lambda: tracker.rewind(0), None):
        outputs = tracker.feed(np.arange(GROUP), np.full(GROUP, 2.0) + 97.0 * (np.arange(GROUP) == 5))
        found += [one.evidence["count"] for _, one in outputs if isinstance(one, Finding) and "high" in one.message]
        if end_of is not None:
            end_of()
    assert found == counts


def test_a_state_from_before_it_was_registered_is_restored_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(detectors, "REGISTRY", detectors.REGISTRY[:-1])
        old = pipeline()
        old.feed(batch(np.arange(N), {"loss": LOSS}))
        state = json.loads(json.dumps(old.state()))
    run = pipeline()
    run.restore(state)
    events = run.feed(batch(np.arange(N, 2 * N), {"loss": LOSS}))
    assert [one.evidence["count"] for one in events if isinstance(one, Finding) and "high" in one.message] == [
        1,
        2,
        3,
        4,
    ]


def test_a_replay_prints_its_findings_as_json(tmp_path: Path) -> None:
    log = tmp_path / "train.jsonl"
    log.write_text("".join(json.dumps({"step": i, "loss": value}) + "\n" for i, value in enumerate(LOSS.tolist())))
    printed = CliRunner().invoke(cli, ["replay", str(log), "--format", "json"]).stdout.splitlines()
    found = [event for event in map(json.loads, printed) if event.get("kind") == "high"]
    assert [event["step"] for event in found] == list(range(40, N, 50))
    assert found[0] == {
        "v": 1,
        "event": "finding",
        "run": "train",
        "metric": "loss",
        "kind": "high",
        "step": 40,
        "evidence": {"count": 1},
        "message": "loss is high",
    }
