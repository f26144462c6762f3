"""The pipeline: what it says depends on the samples and acknowledgements alone.

One file because the tests share the logs that a pipeline is fed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.batches import Values, batch, cut, feed, restarted

from lrwatch.core.events import Command, Effect, Event, Expired, Finding, Phase
from lrwatch.core.metrics import MAX_METRICS
from lrwatch.core.options import DetectOptions, PolicyOptions
from lrwatch.core.pending_samples import MAX_SAMPLES
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.sample import Batch, Column

DETECT = DetectOptions(horizon=300, min_improvement=0.02)
# Cuts are proposed by looks, and tried by nobody: see tests/core/strategies for trials.
AUTO = PolicyOptions(mode="auto", first_cut=0.02, probe=False)
N = 4000


def run(metric: str | None = None, policy: PolicyOptions = AUTO, *, attached: bool = False) -> Pipeline:
    made = Pipeline(DETECT, policy, metric)
    made.attached = attached
    return made


def noisy(mean: Values | float, seed: int = 0, sd: float = 0.02, n: int = N) -> Values:
    return np.asarray(mean + sd * np.random.default_rng(seed).standard_normal(n), np.float64)


def flat(level: float, seed: int = 0, sd: float = 0.02, n: int = N, since: int = 0) -> Values:
    """Return a curve that falls to half within 100 values from `since` on, and then rests: before, nothing is a plateau."""
    return noisy(level * (1 + np.clip(1 - (np.arange(n) - since) / 100, 0, 1)), seed, sd, n)


def kinds(events: Sequence[Event]) -> list[str]:
    return [f"{e.kind}" if isinstance(e, Finding) else type(e).__name__.lower() for e in events]


def of(events: Sequence[Event], kind: type) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def eventful() -> Batch:
    """Two losses at different cadences, NaN, a warmup and a jump of the rate, a resume, and a name that is seen late."""
    steps = np.concatenate([np.arange(2500), np.arange(2000, 3500)])
    loss = noisy(2 + np.maximum(0, 1 - np.arange(N) / 500))
    loss[[50, 51, 700, 3333]] = np.nan
    loss[1600:1750] += 20
    val = noisy(3.0, 1)
    lr = np.minimum(1e-3, 1e-5 * (1 + np.arange(N)))
    lr[1200:] *= 0.4
    lr[3000:3100] = np.linspace(4e-4, 3e-4, 100)
    lr[3100:] = 3e-4
    late = noisy(5.0, 2)
    loss_rows, val_rows, late_rows = np.arange(N) % 10 != 3, np.arange(N) % 5 == 0, np.arange(N) > 1900
    absent = -1.0
    return batch(
        steps,
        {
            "val/loss": np.where(val_rows, val, absent),
            "train/lm loss": np.where(loss_rows, loss, absent),
            "lr": np.where(np.arange(N) % 3 == 0, lr, absent),
            "total loss": np.where(late_rows, late, absent),
            "grad_norm": noisy(1.0, 3),
        },
        absent,
    )


EVENTFUL = eventful()
AT_ONCE = {attached: run(attached=attached) for attached in (False, True)}
WHOLE = {attached: feed(watched, [EVENTFUL]) for attached, watched in AT_ONCE.items()}


def test_the_eventful_log_has_events_of_every_kind_that_samples_can_cause() -> None:
    said = kinds(WHOLE[False])
    assert {"plateau", "nonfinite", "divergence", "command", "phase"} <= set(said)
    assert [e.cause for e in WHOLE[False] if isinstance(e, Phase)] == [
        "warmup_end",
        "lr_change",
        "level_shift",
        "resume",
    ]


@pytest.mark.slow
@given(st.lists(st.integers(1, N - 1), max_size=40), st.booleans(), st.booleans())
@settings(max_examples=20, deadline=None)
def test_how_the_log_is_cut_and_where_lrwatch_is_restarted_changes_nothing(
    cuts: list[int], restart: bool, attached: bool
) -> None:
    watched = run(attached=attached)
    said: list[Event] = []
    for piece in cut(EVENTFUL, cuts):
        said.extend(watched.feed(piece))
        if restart:
            watched = restarted(watched)
    assert said == WHOLE[attached]
    assert watched.state() == AT_ONCE[attached].state()


@pytest.mark.slow
def test_read_line_by_line_the_log_says_the_same() -> None:
    assert feed(run(), cut(EVENTFUL, range(N))) == WHOLE[False]


# ---- acknowledgements ---------------------------------------------------------------------------------------------


def answered(better_from: int) -> Batch:
    """A plateau, better from a row on, with a second loss, NaN, and a burst that looks like divergence."""
    mean = 2 + np.maximum(0, 1 - np.arange(N) / 500) - np.where(np.arange(N) >= better_from, 0.4, 0.0)
    loss = noisy(mean)
    loss[[1300, 1550, 1700]] = np.nan
    loss[1600:1700] += 30
    val = noisy(mean + 1, 1)
    return batch(np.arange(N), {"val_loss": np.where(np.arange(N) % 7 == 0, val, -1.0), "loss": loss}, -1.0)


def first_command(log: Batch) -> int:
    watched = run(attached=True)
    for row, piece in enumerate(cut(log, range(log.rows))):
        if any(isinstance(event, Command) for event in watched.feed(piece)):
            return row
    raise AssertionError("no command")


ASKED_AT = first_command(answered(N))
APPLIED_AT = ASKED_AT + 30
ANSWERED = answered(APPLIED_AT)


def acknowledged_after(
    rows: int, cuts: Sequence[int] = (), *, restart: bool = False
) -> tuple[list[Event], list[Event]]:
    """What is said before and from an acknowledgement of step APPLIED_AT that comes after so many rows."""
    watched = run(attached=True)
    before: list[Event] = []
    after: list[Event] = []
    at = 0
    for piece in cut(ANSWERED, [rows, *cuts]):
        (before if at < rows else after).extend(watched.feed(piece))
        at += piece.rows
        if restart:
            watched = restarted(watched)
        if at == rows:
            after.extend(watched.acknowledged(APPLIED_AT, 0.5))
    return before, after


def apart(events: Sequence[Event]) -> tuple[list[Event], list[Event]]:
    """Findings that are made at once whatever the phase is, and the rest."""
    at_once: list[Event] = [
        e for e in events if isinstance(e, Finding) and e.kind in ("nonfinite", "divergence", "spike")
    ]
    return at_once, [e for e in events if e not in at_once]


IN_TIME = acknowledged_after(APPLIED_AT)


def test_an_acknowledgement_begins_a_phase_at_its_step_and_the_effect_is_measured() -> None:
    before, after = IN_TIME
    assert [command.scale for command in before if isinstance(command, Command)] == [0.5]
    assert after[0] == Phase(APPLIED_AT, "command", f"scale 0.5 from step {APPLIED_AT:,} on: acknowledged")
    (effect,) = of(after, Effect)[:1]
    assert isinstance(effect, Effect)
    assert effect.verdict == "helped"
    assert {"nonfinite", "divergence", "plateau"} <= set(kinds(after))


@pytest.mark.slow
@given(
    st.integers(ASKED_AT + 1, APPLIED_AT + MAX_SAMPLES - 200),
    st.lists(st.integers(1, N - 1), max_size=8),
    st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_when_the_acknowledgement_arrives_changes_nothing(rows: int, cuts: list[int], restart: bool) -> None:
    before, after = acknowledged_after(rows, cuts, restart=restart)
    assert apart(after)[1] == apart(IN_TIME[1])[1]
    assert apart(before)[0] + apart(after)[0] == apart(IN_TIME[0])[0] + apart(IN_TIME[1])[0]


def test_late_samples_of_the_old_phase_are_skipped() -> None:
    log = batch(np.arange(N), {"loss": np.where(np.arange(N) < 2000, noisy(9.0), noisy(1.0))})
    first, second = cut(log, [1500])
    watched, fresh = run(attached=True), run(attached=True)
    watched.feed(first)
    watched.acknowledged(2000, 0.5)
    watched.feed(second)
    fresh.feed(cut(log, [2000])[1])
    assert watched.trend is not None
    assert fresh.trend is not None
    assert 1900 < watched.trend.samples <= 2000
    assert (watched.trend.samples, watched.trend.end) == (fresh.trend.samples, fresh.trend.end)


def test_a_second_answer_to_the_same_command_says_nothing() -> None:
    watched = run(attached=True)
    watched.feed(cut(ANSWERED, [ASKED_AT + 1])[0])
    assert kinds(watched.acknowledged(ASKED_AT + 1, 0.5)) == ["phase"]
    state = watched.state()
    assert watched.acknowledged(ASKED_AT + 1, 0.5) == []
    assert watched.state() == state


def test_to_ask_for_the_scale_that_is_in_use_begins_no_phase_and_ends_the_waiting() -> None:
    watched = run(attached=True)
    watched.feed(cut(ANSWERED, [ASKED_AT - 1])[0])
    before = watched.state()
    watched.ask(1.0)
    assert watched.command.wanted == 1.0
    assert watched.acknowledged(ASKED_AT, 1.0) == []
    assert watched.state() == before


def with_rate(after: float, at: int = 1500, n: int = N) -> Batch:
    rate = np.where(np.arange(n) < at, 1e-3, 1e-3 * after)
    loss = noisy(2 + np.maximum(0, 1 - np.arange(n) / 500) - np.where(np.arange(n) < at, 0.0, 0.3), n=n)
    return batch(np.arange(n), {"loss": loss, "lr": rate})


@pytest.mark.parametrize("acknowledged_at_row", [1500, 1510, 1900])
@pytest.mark.parametrize("attached", [False, True])
def test_an_acknowledgement_and_the_jump_in_the_log_are_one_phase(acknowledged_at_row: int, attached: bool) -> None:
    watched = run(attached=attached, policy=replace(AUTO, max_commands=2))
    first, second = cut(with_rate(0.5), [acknowledged_at_row])
    said = [*watched.feed(first), *watched.acknowledged(1500, 0.5), *watched.feed(second)]
    assert [(e.step, e.cause) for e in said if isinstance(e, Phase)] == [(1500, "command")]
    assert len(of(said, Effect)) == 1
    assert watched.command.scale == 0.5


@pytest.mark.parametrize("restart", [False, True])
def test_what_the_log_shows_before_the_trainer_has_answered_leads_to_no_further_command(restart: bool) -> None:
    watched = run(attached=True)
    curve = with_rate(0.5)
    *asked, rest = cut(curve, [first_command(curve) + 1, 3500])
    watched.feed(asked[0])
    watched.unanswered = True  # it was sent
    if restart:
        watched = restarted(watched)
    assert kinds(watched.feed(asked[1])).count("command") == 0
    assert watched.command.scale == 0.5
    assert watched.command.wanted is None
    watched.unanswered = False
    assert watched.acknowledged(1500, 0.5) == []
    assert "command" in kinds(watched.feed(rest))


def test_a_jump_by_another_ratio_is_a_phase_of_its_own() -> None:
    watched = run(policy=replace(AUTO, max_commands=2))
    said = feed(watched, [with_rate(0.1)])
    assert [(e.step, e.cause) for e in said if isinstance(e, Phase)] == [(1500, "lr_change")]
    assert watched.command.scale == 1.0


def test_where_the_log_does_not_show_our_change_a_later_step_of_the_schedule_is_a_phase() -> None:
    watched = run(attached=True, policy=replace(AUTO, max_commands=0))
    first, second = cut(with_rate(0.5, at=3000), [1000])
    said = [*watched.feed(first), *watched.acknowledged(1000, 0.5), *watched.feed(second)]
    assert [(e.step, e.cause) for e in said if isinstance(e, Phase)] == [(1000, "command"), (3000, "lr_change")]


def test_what_is_refused_is_asked_again_only_after_a_horizon() -> None:
    watched = run(attached=True)
    log = batch(np.arange(N), {"loss": noisy(2 + np.maximum(0, 1 - np.arange(N) / 500))})
    first, rest = cut(log, [ASKED_AT + 1])
    watched.feed(first)
    watched.refused()
    commands = [e for piece in cut(rest, range(rest.rows)) for e in watched.feed(piece) if isinstance(e, Command)]
    assert ASKED_AT + 300 <= commands[0].step < ASKED_AT + 330


def test_a_resume_forgets_the_command_that_was_on_its_way() -> None:
    steps = np.concatenate([np.arange(1200), np.arange(1000, 1100)])
    log = batch(steps, {"loss": flat(2.0, n=1300)})
    for cuts in ([], [1200], [1250]):
        watched = run(attached=True)
        said = feed(watched, cut(log, cuts))
        assert kinds(said).count("command") == 1
        assert said[-1] == Phase(1000, "resume", "the log goes back to step 1000: a resume, or another run")
        assert watched.command.wanted is None
        assert watched.state()["pending"] is None


# ---- trainers that join -------------------------------------------------------------------------------------------


def test_a_trainer_that_joins_with_another_scale_begins_a_phase() -> None:
    watched = run()
    watched.feed(cut(ANSWERED, [ASKED_AT + 1])[0])
    (phase,) = watched.joined(ASKED_AT, 0.25)
    assert phase == Phase(ASKED_AT, "resume", "the trainer starts with scale 0.25")
    assert (watched.command.scale, watched.command.wanted, watched.attached) == (0.25, None, True)
    assert watched.trend is None


def test_a_trainer_that_joins_with_the_known_scale_changes_nothing_but_what_was_asked() -> None:
    watched = run()
    watched.feed(cut(ANSWERED, [ASKED_AT + 1])[0])
    trend = watched.trend
    assert watched.joined(ASKED_AT, 1.0) == []
    assert (watched.command.wanted, watched.attached, watched.trend) == (None, True, trend)


def test_what_an_operator_set_is_not_taken_back() -> None:
    policy = PolicyOptions(mode="auto", first_cut=0.0)
    watched = run(attached=True, policy=policy)
    worse = noisy(2 + np.where(np.arange(N) < 1000, 0.0, 0.5))
    first, second = cut(batch(np.arange(N), {"loss": worse}), [1000])
    watched.feed(first)
    watched.ask(0.5)
    said = [*watched.acknowledged(1000, 0.5), *watched.feed(second)]
    (effect,) = (e for e in said if isinstance(e, Effect))
    assert effect.upper < 0
    assert "restore" not in [e.cause for e in said if isinstance(e, Command)]


# ---- which metric -------------------------------------------------------------------------------------------------


def test_commands_are_decided_on_the_metric_that_the_user_names() -> None:
    falling = noisy(9 - np.arange(N) / 1000)
    log = batch(np.arange(N), {"loss": falling, "perplexity": flat(2.0, 1)})
    watched = run("perplexity")
    said = watched.feed(log)
    assert watched.metric == "perplexity"
    assert {e.metric for e in said if isinstance(e, Finding) and e.kind == "plateau"} == {"perplexity"}
    assert len(of(said, Command)) == 1 + len(of(said, Expired))  # the next one comes when the one before is void
    assert of(run(policy=replace(AUTO, probe=False)).feed(log), Command) == []


def test_a_metric_that_is_named_and_never_seen_is_no_reason_to_decide_on_another() -> None:
    watched = run("accuracy")
    said = watched.feed(batch(np.arange(N), {"loss": noisy(2.0)}))
    assert of(said, Command) == []
    assert (watched.metric, watched.trend, watched.metrics.names) == ("accuracy", None, ["loss"])


def test_when_a_better_metric_shows_up_it_decides_from_then_on_and_effects_are_not_mixed() -> None:
    part = np.where(np.arange(N) < 1900, flat(2.0, 4), -1.0)
    total = np.where(np.arange(N) < 1300, -1.0, flat(50.0, 1, sd=0.5, since=1300))
    log = batch(np.arange(N), {"loss_cls": part, "loss": total}, -1.0)
    for cuts in ([], [1299, 1300, 1301], [1299, 1500, 1700, 2000]):
        watched = run(attached=True)
        first, *rest = cut(log, [1250, *cuts])
        said = watched.feed(first)
        assert watched.metric == "loss_cls"
        (command,) = (e for e in said if isinstance(e, Command))
        said = [*watched.acknowledged(1250, command.scale), *feed(watched, rest)]
        assert watched.metric == "loss"
        assert of(said, Effect) == []
        back, *later = [e for e in said if isinstance(e, Command)]
        assert (back.cause, back.scale) == ("restore", 1.0)
        assert "it cannot be measured" in back.reason
        assert all(e.step >= 1600 for e in later)


def test_a_learning_rate_that_is_never_finite_is_no_trouble() -> None:
    watched = run()
    watched.feed(batch(np.arange(100), {"loss": noisy(2.0, n=100), "lr": np.full(100, np.nan)}))
    watched.feed(batch(np.arange(100, 200), {"loss": noisy(2.0, n=100), "lr": np.full(100, np.inf)}))
    assert watched.step == 199


def test_a_batch_of_nothing_says_nothing() -> None:
    assert run().feed(Batch(np.empty(0, np.int64), {})) == []


def test_while_the_schedule_moves_a_plateau_is_a_finding_and_no_reason_for_a_command() -> None:
    steps = np.arange(N)
    said = run().feed(batch(steps, {"loss": flat(2.0), "lr": 1e-3 * (1 + np.cos(np.pi * steps / N)) / 2}))
    assert kinds(said) == ["plateau"]
    assert "command" in kinds(run().feed(batch(steps, {"loss": flat(2.0), "lr": np.full(N, 1e-3)})))


def test_flat_before_the_metric_has_once_improved_is_advice_and_no_reason_for_a_command() -> None:
    steps = np.arange(N)
    rests_at_first = noisy(2 + np.clip(2 - steps / 1000, 0, 1), 0, n=N)
    for cuts in ([], [300], list(range(100, N, 100))):
        said = feed(run(), cut(batch(steps, {"loss": rests_at_first}), cuts))
        plateaus = [event for event in said if isinstance(event, Finding) and event.kind == "plateau"]
        assert [plateau.step < 1000 for plateau in plateaus] == [True, False]
        assert [bool(plateau.evidence.get("advice")) for plateau in plateaus] == [True, False]
        assert "it has not surely improved since the run began" in plateaus[0].message
        assert all(event.step > 1000 for event in of(said, Command))


def test_what_was_known_of_the_progress_is_saved_and_holds_after_a_resume_but_not_for_another_run() -> None:
    steps = np.arange(N)
    watched = restarted(run())
    for part in cut(batch(steps, {"loss": flat(2.0)}), list(range(90, N, 90))):
        watched.feed(part)
        watched = restarted(watched)
    assert watched.metrics.improved("loss")
    watched.feed(batch(np.array([2000]), {"loss": np.array([2.0])}))
    assert watched.metrics.improved("loss")
    watched.feed(batch(np.array([0]), {"loss": np.array([2.0])}))
    assert not watched.metrics.improved("loss")
    assert not watched.metrics.improved("val_loss")


def test_losses_of_a_game_are_shown_and_not_judged_unless_they_are_named() -> None:
    log = batch(np.arange(N), {"d_loss": flat(2.0), "g_loss": flat(3.0, 1)})
    watched = run()
    assert watched.feed(log) == []
    assert watched.metric is None
    assert [(status.name, status.state) for status in watched.metrics.statuses()] == [
        ("d_loss", "not_judged"),
        ("g_loss", "not_judged"),
    ]
    named = run("g_loss")
    assert "plateau" in kinds(named.feed(log))
    assert {e.metric for e in named.feed(log) if isinstance(e, Finding)} <= {"g_loss"}
    (nan,) = run().feed(batch(np.arange(N), {"d_loss": np.where(np.arange(N) < 99, 1.0, np.nan)}))
    assert isinstance(nan, Finding)
    assert nan.kind == "nonfinite"


def test_metrics_beyond_the_limit_are_counted_and_not_kept() -> None:
    watched = run()
    names = [f"metric {i}" for i in range(MAX_METRICS + 2)]
    for cuts in ([], [1, 2]):
        watched = run()
        feed(watched, cut(batch(np.arange(3), dict.fromkeys(names, np.ones(3))), cuts))
        assert len(watched.metrics.statuses()) == MAX_METRICS
        assert watched.metrics.unwatched == 2 * 3


def test_where_a_metric_stands() -> None:
    watched = run()
    watched.feed(batch(np.arange(N), {"loss": noisy(2.0), "grad_norm": np.full(N, 0.25)}))
    loss, norm = watched.metrics.statuses()
    assert (norm.name, norm.step, norm.value, norm.trend) == ("grad_norm", N - 1, 0.25, None)
    assert loss.trend is not None
    assert loss.state == "plateau"
    assert loss.trend.lower < loss.trend.improvement < loss.trend.upper < 0.02


def test_a_mean_since_the_epoch_began_is_shown_and_its_nan_is_found_but_it_is_not_judged() -> None:
    run = Pipeline(DetectOptions(horizon=50, min_improvement=0.01), PolicyOptions(mode="auto"))
    values = np.concatenate([np.full(600, 2.0), [np.nan], np.full(99, 2.0)])
    column = Column(np.arange(700), values)
    events = run.feed(Batch(np.arange(700), {"running.loss": column}, smoothing={"running.loss": "running"}))
    assert [event.kind for event in events if isinstance(event, Finding)] == ["nonfinite"]
    assert run.metric is None
    assert run.metrics.names == ["running.loss"]
    restored = Pipeline(run.detect, run.options)
    restored.restore(json.loads(json.dumps(run.state())))
    column = Column(np.arange(100), np.full(100, 2.0))
    assert restored.feed(Batch(np.arange(700, 800), {"running.loss": column})) == []


def test_a_length_decides_the_strategy_whether_it_is_told_or_set() -> None:
    told, given = (Pipeline(DetectOptions(), PolicyOptions()) for _ in range(2))
    assert told.policy.strategy.NAME == "plateau"
    told.set_total_steps(30_000, "trainer")
    given.length = told.length
    assert (told.policy.strategy.NAME, given.policy.strategy.NAME) == ("anneal", "anneal")
