"""Why nothing happens: each cause on a real run, with what to do about it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.waiting import eventually

import lrwatch
from lrwatch.config import Config, load
from lrwatch.control.token import claim_token, newest_claim
from lrwatch.offline.doctor import of_path, of_run, watched_run_of
from lrwatch.offline.examination import Cause

Make = Callable[..., Any]


def causes(rig: Any, *, daemon: bool = True) -> dict[str, Cause]:
    """What is in the way of the only run of a rig, as the state alone tells."""
    rig.daemon.save()
    return {cause.cause: cause for cause in of_run("train", rig.store, Config(), daemon=daemon)}


@pytest.fixture
def rig(make_rig: Make) -> Any:
    """A run in mode auto with a trainer that listens."""
    made = make_rig(policy__mode="auto")
    made.clock.now = time.time()
    made.attach()
    made.train(100)
    made.look()
    return made


def test_a_run_that_does_well_is_said_to(rig: Any) -> None:
    assert list(causes(rig)) == ["improving"]
    assert "loss: improving: " in causes(rig)["improving"].text


def test_looking_changes_nothing(rig: Any) -> None:
    rig.daemon.save()
    before = rig.store.load_run("train"), list(rig.store.journal()), newest_claim(rig.control)
    causes(rig)
    assert (rig.store.load_run("train"), list(rig.store.journal()), newest_claim(rig.control)) == before


def test_without_a_daemon_a_command_line_starts_one(rig: Any) -> None:
    found = causes(rig, daemon=False)["no_daemon"]
    assert f"`lrwatch run {rig.log}` suggests" in found.remedy


def test_a_hold_is_told_with_who_and_since_when(rig: Any) -> None:
    rig.ask("hold", actor="ben")
    found = causes(rig)["held"]
    assert found.text == "ben holds the run since step 100"
    assert found.remedy == "`lrwatch resume train` lets commands through."
    rig.ask("resume")
    assert "held" not in causes(rig)


def test_where_no_trainer_listens_the_two_lines_are_given(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    rig.train(5)
    rig.look()
    found = causes(rig)["no_trainer"]
    assert f"lrwatch.attach(optimizer, {str(rig.control)!r})" in found.remedy


@pytest.mark.parametrize("mode", ["observe", "suggest"])
def test_a_mode_that_sends_nothing_is_named(make_rig: Make, mode: str) -> None:
    rig = make_rig(policy__mode=mode)
    rig.train(5)
    rig.look()
    assert f"mode {mode} " in causes(rig)["mode"].text
    assert "no_trainer" not in causes(rig)


@pytest.mark.parametrize("mode", ["approve", "suggest"])
def test_an_open_proposal_is_shown_with_the_command_to_type(make_rig: Make, mode: str) -> None:
    rig = make_rig(policy__mode=mode)
    rig.attach()
    rig.until("command")
    (entry,) = rig.run.commands.proposals
    assert f"`lrwatch approve train {entry}`" in causes(rig)["awaits_approval"].remedy


def test_a_client_on_an_optimizer_that_does_not_step_is_found(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    (used, given) = (torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1) for _ in range(2))
    with lrwatch.attach(given, rig.control, poll_seconds=0.002, metrics_file=False) as client:
        for step in range(1, 21):
            used.step()
            rig.train(1)
            client.step(step)
        eventually(lambda: rig.says('"step":20,'), what="the report of step 20")
        rig.look()
        found = causes(rig)["not_stepping"]
        assert "has counted 20 steps, and the optimizer that was given to attach has made none" in found.text
        for parameter in given.param_groups[0]["params"]:
            parameter.grad = torch.zeros(1)
        given.step()
        client.step(21)
        eventually(lambda: rig.says('"schedule_lr":{"0":0.1}'), what="a rate")
        assert "not_stepping" not in causes(rig)


def test_a_trainer_that_never_counts_a_step_is_found(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    rig.train(20)
    rig.attach()
    rig.look()
    assert "watch.step()" in causes(rig)["no_steps"].remedy


def test_a_schedule_that_moves_the_rate_is_found(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    with rig.log.open("w", encoding="utf-8") as log:
        for step in range(1, 401):
            record = {"step": step, "loss": 2.0 - 0.001 * step, "lr": 0.1 * (1 - step / 1000)}
            log.write(json.dumps(record) + "\n")
    rig.look()
    assert "schedule_moves" in causes(rig)


def test_a_warmup_is_found_wherever_it_is_said(make_rig: Make) -> None:
    of_policy = make_rig(policy__mode="auto", policy__warmup_steps=1000)
    of_policy.train(5)
    of_policy.look()
    assert "before step 1,000" in causes(of_policy)["warmup"].text
    of_trainer = make_rig(policy__mode="auto")
    of_trainer.attach(warmup_steps=700)
    of_trainer.train(5)
    of_trainer.look()
    assert "until step 700" in causes(of_trainer)["warmup"].text


def test_noise_that_hides_the_trend_is_told_with_about_when(make_rig: Make) -> None:
    rig = make_rig(policy__mode="auto")
    noise = iter(torch.randn(2000, generator=torch.Generator().manual_seed(1)).tolist())
    rig.log.write_text("".join(json.dumps({"step": s, "loss": 5 + x}) + "\n" for s, x in enumerate(noise)))
    rig.look()
    found = causes(rig)["cannot_tell"]
    assert "loss: cannot tell yet: " in found.text
    assert re.search(r"the noise hides the required 0.5 % .* it can tell by about step [\d,]+$", found.text)
    assert "has not surely improved since the run began" in causes(rig)["not_improved"].text


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_a_loss_that_is_no_number_needs_a_checkpoint_and_no_other_metric(make_rig: Make, value: str) -> None:
    rig = make_rig()
    rig.log.write_text("".join(f'{{"step": {s}, "loss": {9 / (s + 1) if s < 50 else value}}}\n' for s in range(60)))
    rig.look()
    found = causes(rig)
    assert "not_judged" not in found
    assert "last good checkpoint" in found["not_finite"].remedy


def test_a_spent_budget_is_found_on_both_sides(make_rig: Make) -> None:
    of_policy = make_rig(policy__mode="auto", policy__max_commands=0)
    of_policy.train(5)
    of_policy.look()
    assert causes(of_policy)["budget_spent"].text == "all 0 commands of the run are used (0 so far)"
    of_trainer = make_rig(policy__mode="auto")
    of_trainer.attach(max_commands=0)
    of_trainer.train(5)
    of_trainer.look()
    assert causes(of_trainer)["budget_spent"].text == "the trainer has taken all of its 0 commands"


def test_another_daemon_and_then_that_this_one_is_fenced(rig: Any) -> None:
    claim_token(rig.control, 0)
    found = causes(rig)["other_daemon"]
    claim = newest_claim(rig.control)
    assert claim is not None
    assert f"process {claim.pid} on {claim.host} has token {claim.token}, this daemon has " in found.text
    command = json.loads(rig.observed())
    from lrwatch.control.directory import ControlDirectory
    from lrwatch.protocol import Desired

    ControlDirectory(rig.control).publish(
        Desired(run="", incarnation=command["incarnation"], generation=1, token=claim.token, scale=0.9)
    )
    eventually(lambda: rig.says(f'"max_token":{claim.token}'), what="the trainer has heard of it")
    rig.train(2)
    refused = rig.ask("set", "0.5")
    assert "another daemon commands this run" in refused["text"]
    assert "end one of the two" in refused["text"]
    assert "the trainer refuses this daemon" in causes(rig)["fenced"].text
    assert rig.events("rejected") == [], "nothing was written that the trainer could refuse"


def test_a_log_that_is_gone_and_one_without_a_metric_or_a_loss_are_told_apart(make_rig: Make) -> None:
    gone = make_rig()
    gone.train(5)
    gone.look()
    gone.log.unlink()
    assert causes(gone)["no_log"].text == f"{gone.log} is not there"
    words = make_rig()
    words.log.write_text("hello world\n" * 20)
    words.look()
    assert f"`lrwatch read --explain {words.log}`" in causes(words)["no_metric"].remedy
    rewards = make_rig()
    rewards.log.write_text("".join(f'{{"step": {s}, "reward": {s}}}\n' for s in range(50)))
    rewards.look()
    assert causes(rewards)["no_loss"].text == "no metric looks like a loss; the log has reward"


def test_a_control_directory_that_cannot_be_used_is_told(rig: Any) -> None:
    rig.control.chmod(0o777)
    found = causes(rig)["control_directory"]
    assert "observed.json cannot be used (mode)" in found.text
    assert "chmod 700" in found.remedy


def test_silence_is_told(make_rig: Make) -> None:
    rig = make_rig()  # its clock stands long ago
    rig.train(5)
    rig.look()
    assert "no new value for " in causes(rig)["silent"].text


def test_a_path_that_nobody_watches_is_read(make_rig: Make, tmp_path: Path) -> None:
    rig = make_rig()
    rig.attach()
    rig.train(50)
    found = {cause.cause: cause for cause in of_path(rig.home, load())}
    assert f"`lrwatch run {rig.log}`" in found["no_daemon"].remedy
    assert "no_trainer" not in found, "one listens"
    (tmp_path / "empty").mkdir()
    (nothing,) = of_path(tmp_path / "empty", load())
    assert nothing.cause == "no_log"


def test_the_run_of_a_path_is_known(rig: Any) -> None:
    rig.daemon.save()
    assert watched_run_of(rig.log, rig.store) == "train"
    assert watched_run_of(rig.home, rig.store) == "train"
    assert watched_run_of(rig.home / "other", rig.store) is None


def test_a_state_that_this_version_cannot_read_is_told_and_no_traceback(rig: Any) -> None:
    rig.daemon.save()
    rig.store.save_run("train", {"pipeline": {}})
    (found,) = of_run("train", rig.store, Config(), daemon=False)
    assert found.cause == "state"
