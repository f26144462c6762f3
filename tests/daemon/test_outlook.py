"""Forecasts in the daemon: made when a mark is passed, journalled, and scored at the end."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrwatch.config import load
from lrwatch.core.sample import Batch, Column
from lrwatch.daemon.outlook import CURVE_POINTS, Outlook
from lrwatch.daemon.watched_run import WatchedRun
from lrwatch.offline.replay import replay_file
from lrwatch.store import Store

TOTAL = 2000


def log(total: int = TOTAL, every: int = 5) -> list[str]:
    rng = np.random.default_rng(5)
    return [
        f"step {step}/{total if step <= total else TOTAL} loss {2 + 8 / (1 + step / 20) ** 0.5 + 0.02 * rng.standard_normal():.5f}\n"
        for step in range(0, TOTAL, every)
    ]


def forecasts(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["event"].startswith("forecast")]


def replayed(tmp_path: Path, lines: list[str], **flags: Any) -> list[dict[str, Any]]:
    path = tmp_path / "train.log"
    path.write_text("".join(lines))
    events: list[dict[str, Any]] = []
    replay_file(path, load(flags=flags), lambda entry: events.append(entry.event))
    return forecasts(events)


def test_forecasts_are_made_at_their_marks_and_scored_at_the_end(tmp_path: Path) -> None:
    found = replayed(tmp_path, log())
    assert [(event["event"], event["step"]) for event in found] == [
        ("forecast", 600), ("forecast", 1000), ("forecast", 1400), *[("forecast_scored", TOTAL - 5)] * 3,
    ]  # fmt: skip
    for made, scored in zip(found[:3], found[3:], strict=True):
        assert scored["made_at"] == made["step"]
        assert (scored["value"], scored["lower"], scored["upper"]) == (made["value"], made["lower"], made["upper"])
        assert scored["inside"] == (made["lower"] <= scored["came"] <= made["upper"])
        assert scored["error"] == pytest.approx(scored["came"] - made["value"], abs=1e-4)
        assert "at this rate the run ends at" in made["message"]
        assert "inside the interval that was forecast" in scored["message"]


def test_they_do_not_depend_on_how_the_log_was_read_or_on_restarts(tmp_path: Path) -> None:
    truth = replayed(tmp_path, log())
    path, store = tmp_path / "growing.log", Store(tmp_path / "state")
    for lines in np.array_split(np.array(log()), 9):
        with path.open("a") as file:
            file.writelines(lines)
        run = WatchedRun("train", [path], None, load(), store, lambda _: None)
        run.turn(0.0)
        run.save(0.0)
        run.close()
    assert forecasts([json.loads(json.dumps(entry.event)) for entry in store.journal()]) == truth


def test_without_a_length_there_are_none(tmp_path: Path) -> None:
    assert replayed(tmp_path, [line.replace(f"/{TOTAL}", "") for line in log()]) == []


def test_a_run_that_was_extended_is_forecast_anew_and_only_that_is_scored(tmp_path: Path) -> None:
    path, store = tmp_path / "train.log", Store(tmp_path / "state")
    run = WatchedRun("train", [path], None, load(), store, lambda _: None)
    lines = log(total=1200)
    for end in (140, len(lines)):
        path.write_text("".join(lines[:end]))
        run.turn(0.0)
        run.pipeline.set_total_steps(TOTAL, "operator")
    run.save(0.0)
    run.close()
    found = forecasts([entry.event for entry in store.journal()])
    assert [(event["step"], event["total_steps"]) for event in found if event["event"] == "forecast"] == [
        (360, 1200), (600, 1200), (1000, TOTAL), (1400, TOTAL),
    ]  # fmt: skip
    assert [event["made_at"] for event in found if event["event"] == "forecast_scored"] == [1000, 1400]


def test_forecasts_stand_between_the_decisions_in_the_order_of_their_steps(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    lines = log()
    lines[240:260] = [line.partition("loss")[0] + "loss nan\n" for line in lines[240:260]]
    path.write_text("".join(lines))
    events: list[dict[str, Any]] = []
    replay_file(path, load(), lambda entry: events.append(entry.event))
    steps = [event["step"] for event in events]
    assert steps == sorted(steps)
    assert {event["event"] for event in events} >= {"finding", "forecast", "forecast_scored"}


def test_the_small_picture_grows_with_the_curve_and_is_drawn_again_for_another_metric() -> None:
    outlook = Outlook("run", "min")
    drawn = []
    for step in range(1000):
        column = Column(np.array([0]), np.array([float(step)]))
        outlook.feed(Batch(np.array([step]), {"loss": column}), "loss", 0)
        points = outlook.points()
        assert len(points) <= CURVE_POINTS
        assert points[-1] >= 0.9 * step - 2  # the newest values are in it, but for those of one point
        drawn.append(points)
    assert all(one != other for one, other in pairwise(drawn[:CURVE_POINTS]))  # each value of a young run
    assert len(set(drawn)) < 300
    outlook.feed(Batch(np.array([1000]), {"val_loss": Column(np.array([0]), np.array([7.0]))}), "val_loss", 0)
    assert outlook.points() == (7.0,)
