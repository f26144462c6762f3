"""A run at a glance: one word for what it is in, and a place among the others by what it needs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from support.example_snapshots import CALM, WAITING

from lrwatch.core.life import LIVES, OVER
from lrwatch.core.overview import RANKS, by_attention, headline, heights, overview
from lrwatch.core.snapshot import MetricStatus, RunStatus

NOW = 1_700_000_004.5
QUIET = replace(CALM, proposals=(), held=False, fenced=False, trainer_faults=())


def with_metric(**fields: object) -> RunStatus:
    return replace(QUIET, metrics=(replace(CALM.metrics[2], **fields),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("run", "state", "tone"),
    [
        (replace(QUIET, life="lost", life_note="its process is gone"), "lost", "bad"),
        (replace(QUIET, life="ended"), "ended", "over"),
        (replace(QUIET, life="finished"), "finished", "over"),
        (WAITING, "not readable", "bad"),
        (replace(QUIET, metric="", up=False, problem="no metric looks like a loss"), "not judged", "warn"),
        (with_metric(value=math.nan, state="not_judged"), "not finite", "bad"),
        (with_metric(value=math.inf, state="not_judged"), "not finite", "bad"),
        (replace(QUIET, last_sample_time=NOW - 700.0), "silent", "warn"),
        (replace(QUIET, step=None, metrics=()), "starting", "plain"),
        (replace(QUIET, catching_up=True), "reading", "plain"),
        (with_metric(state="rising", words="rising: 3 %, since step 9"), "rising", "warn"),
        (QUIET, "plateau", "warn"),
        (with_metric(state="improving", words="improving: 3 %"), "improving", "good"),
        (with_metric(state="cannot_tell_yet", words="cannot tell yet: 3 values"), "cannot tell yet", "plain"),
        (replace(QUIET, metric=""), "not judged", "plain"),
    ],
)
def test_each_state_has_its_word_and_its_tone(run: RunStatus, state: str, tone: str) -> None:
    seen = overview(run, NOW)
    assert (seen.state, seen.state_tone, seen.tone) == (state, tone, tone)


def test_every_life_has_a_word() -> None:
    for life in LIVES:
        expected = "bad" if life == "lost" else "over" if life in OVER else "warn"
        assert overview(replace(QUIET, life=life), NOW).state_tone == expected


def test_the_sentence_does_not_repeat_the_word() -> None:
    assert overview(QUIET, NOW).words.startswith("since step 11,000: ")
    assert overview(with_metric(state="improving", words="improving: 3 % ± 1 %"), NOW).words == "3 % ± 1 %"
    assert overview(replace(QUIET, metric="", metrics=()), NOW).words == "no metric decides so far"


def test_a_log_that_was_old_says_where_it_stood_at_its_end() -> None:
    old = replace(QUIET, life="finished", life_note="last written on 2026-01-31")
    assert overview(old, NOW).words == f"{CALM.metrics[2].words}; last written on 2026-01-31"


@pytest.mark.parametrize(
    ("needs", "tone"),
    [
        ({"proposals": CALM.proposals, "fenced": True}, "act"),
        ({"fenced": True}, "bad"),
        ({"trainer_faults": ("no_step",), "problem": "its optimizer does not step"}, "bad"),
        ({"held": True}, "warn"),
    ],
)
def test_what_waits_for_a_person_lifts_a_run_that_does_well(needs: dict[str, object], tone: str) -> None:
    fine = with_metric(state="improving", words="improving: 3 %")
    waiting = overview(replace(fine, **needs), NOW)  # type: ignore[arg-type]
    assert (waiting.state, waiting.tone) == ("improving", tone)
    assert waiting.waits
    over = overview(replace(fine, life="ended", **needs), NOW)  # type: ignore[arg-type]
    assert (over.tone, over.waits) == ("over", ())  # nobody can do anything about it any more


def test_a_silence_that_the_gaps_of_the_run_explain_is_none() -> None:
    assert overview(replace(QUIET, last_sample_time=NOW - 599.0), NOW).state == "plateau"
    assert overview(replace(QUIET, last_sample_time=NOW - 5_000.0, patience_seconds=None), NOW).state == "plateau"
    assert overview(replace(QUIET, last_sample_time=NOW - 50.0, patience_seconds=1.0), NOW).state == "plateau"


def test_runs_that_need_the_same_stand_by_their_names() -> None:
    runs = [replace(QUIET, name=name) for name in "cab"] + [replace(CALM, name="z")]
    ordered = by_attention(runs, NOW)
    assert [one.name for one in ordered] == ["z", "a", "b", "c"]
    assert headline(ordered) == "4 runs: 1 waiting for you, 3 worth a look."
    assert sorted((one.tone for one in ordered), key=RANKS.index) == [one.tone for one in ordered]


def test_progress_is_known_where_the_length_is() -> None:
    assert (overview(CALM, NOW).step, overview(CALM, NOW).share) == ("12,000 of 40,000", 0.3)
    assert overview(replace(CALM, total_steps=0), NOW).share is None
    assert overview(replace(CALM, total_steps=6_000), NOW).share == 1.0


@pytest.mark.parametrize("values", [(), (1.0,), (2.0, 2.0), (1.7e308, -1.7e308, 0.0), (9.0, 3.0, 2.0, 1.0, 5.0)])
def test_heights_lie_within_the_picture(values: tuple[float, ...]) -> None:
    found = heights(values)
    assert len(found) == len(values)
    assert all(0.0 <= height <= 1.0 for height in found)


def test_a_metric_without_a_value_yet_is_no_fault() -> None:
    seen = overview(replace(QUIET, metric="other", metrics=(MetricStatus("loss", 1, 1.0),)), NOW)
    assert (seen.metric, seen.value) == ("other", "")
