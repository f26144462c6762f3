"""The page of one run, made of what the daemon has in memory: quick, bounded, and true after a restart."""

from __future__ import annotations

import sqlite3
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from support.example_snapshots import CALM
from support.quadratic import Training
from support.report_page import Page

from lrwatch.config import load
from lrwatch.core.options import DetectOptions, PolicyOptions
from lrwatch.core.sample import Batch, Column
from lrwatch.core.snapshot import RunStatus
from lrwatch.daemon.live_picture import LivePicture
from lrwatch.daemon.loop import Daemon
from lrwatch.daemon.run_page import MAX_ENTRIES, RunPages
from lrwatch.store import Store

# The settings that a page shows of a run.
JUDGED = SimpleNamespace(detect=DetectOptions(), options=PolicyOptions())

NOW = 1_700_000_004.5
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"

# What a person waits for a page of a million values.
PAGE_SECONDS = 2.0


def filled(values: int, metric: str = "val/loss") -> LivePicture:
    picture = LivePicture()
    rng = np.random.default_rng(3)
    for begin in range(0, values, 50_000):
        steps = np.arange(begin, min(values, begin + 50_000))
        rows = np.arange(len(steps))
        losses = 2 + 5 * np.exp(-steps / values * 8) + 0.1 * rng.standard_normal(len(steps))
        rates = np.full(len(steps), 3e-4)
        picture.add(Batch(steps, {metric: Column(rows, losses), "lr": Column(rows, rates)}), metric)
    return picture


def pages_of(picture: LivePicture, state: Path | None = None, **more: Any) -> RunPages:
    run: Any = SimpleNamespace(picture=picture, logs=SimpleNamespace(axis="step"), pipeline=JUDGED)
    return RunPages(lambda: {CALM.name: run}, state, **more)


def test_a_million_values_are_a_page_within_two_seconds_and_a_bounded_one() -> None:
    pages = pages_of(filled(1_000_000))
    pages(replace(CALM, name="other"), NOW)  # the template is compiled once a process
    began = time.perf_counter()
    response = pages(CALM, NOW)
    assert time.perf_counter() - began < PAGE_SECONDS
    assert len(response.body) < 300_000
    page = Page(response.body.decode())
    assert "plateau since step 11,000" in page.words
    assert "2,000,000 are drawn" in page.words  # the loss and the rate


def test_the_page_says_first_where_the_run_stands_and_what_waits() -> None:
    page = Page(pages_of(filled(5_000))(CALM, NOW).body.decode())
    words = page.words.partition("All runs")[2]
    places = [
        words.index(part)
        for part in ("gpt2: val/loss", "plateau since step 11,000", "lrwatch approve gpt2 17", "12,000 of 40,000")
    ]  # fmt: skip
    assert places == sorted(places)
    assert page.all("a", href="/")
    assert [one["value"] for one in page.all("progress")] == ["30.0"]
    assert page.all("svg", **{"class": "chart"})


def test_the_policy_allows_two_scripts_of_ours_by_their_hashes_and_nothing_of_the_run() -> None:
    hostile = replace(
        CALM, name=HOSTILE, metric=HOSTILE, life_note=HOSTILE, metrics=(replace(CALM.metrics[2], name=HOSTILE, words=HOSTILE),)
    )  # fmt: skip
    run: Any = SimpleNamespace(picture=filled(100, HOSTILE), logs=SimpleNamespace(axis="step"), pipeline=JUDGED)
    response = RunPages(lambda: {HOSTILE: run}, None)(hostile, NOW)
    page = Page(response.body.decode())
    assert len(page.raw["script"]) == 3  # numbers, the picture's script, the one that looks for news
    assert not any("alert" in script for script in page.raw["script"])
    assert not page.all("img")
    assert response.policy.count("sha256-") == 3
    assert "unsafe" not in response.policy
    assert "frame-ancestors 'none'" in response.policy


def test_many_people_cost_one_page() -> None:
    now = [0.0]
    pages = pages_of(filled(100), monotonic=lambda: now[0])
    made: list[bytes] = []
    threads = [threading.Thread(target=lambda: made.append(pages(CALM, NOW).body)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(body) for body in made}) == 1
    now[0] += 2.0
    assert pages(CALM, NOW).body is not made[0]


def test_the_journal_on_the_page_is_the_newest_part_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.transaction():
        for step in range(MAX_ENTRIES + 5):
            event = {
                "event": "finding",
                "metric": "val/loss",
                "kind": "spike",
                "step": step,
                "message": f"no. {step}",
                "evidence": {},
            }
            store.append(CALM.name, event, NOW)
        store.append("another", {"event": "finding", "kind": "spike", "step": 1, "message": "not of this run"}, NOW)
    store.close()
    words = Page(pages_of(filled(3_000), tmp_path)(CALM, NOW).body.decode()).words
    assert f"{MAX_ENTRIES:,} spikes" in words
    assert "no. 4 " not in words
    assert "no. 5" in words
    assert "not of this run" not in words


def test_a_journal_that_cannot_be_read_leaves_the_curve(tmp_path: Path) -> None:
    (tmp_path / "lrwatch.sqlite").write_bytes(b"this is no database" * 100)
    words = Page(pages_of(filled(100), tmp_path)(CALM, NOW).body.decode()).words
    assert "cannot be read now" in words
    assert "plateau since step 11,000" in words


def test_a_run_that_was_set_aside_still_has_a_page() -> None:
    words = Page(RunPages(dict, None)(CALM, NOW).body.decode()).words
    assert "There is nothing to draw" in words


@dataclass
class Watched:
    """A daemon over one log in this process."""

    folder: Path
    training: Training = field(default_factory=Training)

    def write(self, steps: int) -> None:
        with (self.folder / "train.jsonl").open("a") as log:
            log.write(self.training.lines(steps))

    def read(self, *, save: bool) -> list[tuple[list[int], list[float]]]:
        """Read what is there, as a daemon that is started for it. Return the curves of its picture."""
        environ = {"LRWATCH_WATCH_PATHS": str(self.folder / "train.jsonl")}
        store = Store(self.folder / "state", exclusive=True)
        daemon = Daemon(load(None, environ, {}), store, lambda _: None)
        try:
            daemon.discover()
            daemon.read_all()
            if save:
                daemon._save_pictures(1.0)
            curves = daemon.runs["train"].picture.curves()
        finally:
            daemon.close()
            store.close()
        return [(one.steps.tolist(), one.values.tolist()) for one in curves]


def test_a_picture_goes_on_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    in_two, at_once = Watched(tmp_path / "a"), Watched(tmp_path / "b")
    in_two.write(400)
    in_two.read(save=True)
    in_two.write(300)
    at_once.write(700)
    assert in_two.read(save=False) == at_once.read(save=False)


def test_a_damaged_picture_begins_anew_and_harms_nothing(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.write(400)
    watched.read(save=True)
    with sqlite3.connect(tmp_path / "state" / "lrwatch.sqlite") as database:
        database.execute("UPDATE pictures SET picture = x'504b0304deadbeef'")
    database.close()
    watched.write(50)
    curves = watched.read(save=False)
    assert [steps[0] for steps, _ in curves] == [401, 401]


def test_the_status_of_a_run_has_its_curve_for_a_small_picture(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.write(400)
    watched.read(save=False)
    store = Store(tmp_path / "state")
    status = store.statuses()["train"]
    store.close()
    assert 24 <= len(status["curve"]) <= 48
    assert status["curve"][0] > status["curve"][-1]
    assert RunStatus("a", "auto").as_json()["curve"] == ()
