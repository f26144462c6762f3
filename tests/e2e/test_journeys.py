"""The journeys of a person with a training, from the first look to a report, with real processes and PyTorch.

Each journey has a test; what had one already keeps it, and is named here.

==================================================  ===================================================================
journey                                             test
==================================================  ===================================================================
a demo in one command                               `test_demo`
two lines in a loop, `train.log` beside, auto       here: `test_it_acts_within_the_first_hundreds_of_steps`, and the others of
                                                    `acted`
the same with stdout elsewhere, to the step         `test_several_logs`; with Hugging Face's Trainer
                                                    `frameworks/test_trainer_with_stdout`
suggest, approve, effect, undo                      `test_voice`; `undo` also here
nobody answers; deny                                here: `test_without_a_trainer_it_advises_...`
`PlateauLR` once an epoch, fewer than 100 epochs    here: `test_plateau_lr_acts_within_ninety_epochs`
real logs: replay and report                        here: `test_the_famous_overfitting_is_found`; `test_live_trainer`
explain without options                             here: `test_every_decision_is_computed_again`; `test_operators`
set, undo, hold, resume, decay, strategy            here: `test_each_verb_was_carried_out_or_refused_with_numbers_and_remedy`
init, run --config, with control directories        here: `test_what_init_wrote_is_backtested_and_run_unchanged`
backtest of a directory with control directories    here: the same
config check, show, schema                          `test_operators`
auto without a trainer; standard input; Ctrl-C      here: `test_auto_without_a_trainer_...`; `test_many_kinds_of_logs`,
                                                    `cli/test_run_process`
two daemons; port or state taken                    here: `test_two_daemons_...`; `test_operators`, `cli/test_run_process`
a run of another user                               `test_other_users`
runs that end, are lost, finished, removed; alerts  `test_life`
watch only: status, /metrics, first advice          here: `test_without_a_trainer_it_advises_...`
advise: evidence in words, what to type             the same, and `test_voice`
act: acknowledged, annotated, undone                here: `acted`; the annotation in `test_demo`
journal --follow                                    `test_operators`
report                                              here: `test_the_page_tells_the_same_story`
programs: JSON, exit codes, no right by default     here: `test_programs_...`; rights in `test_operators`
failures, each one line with the fix                here: `test_each_failure_...`, `test_the_wrong_optimizer_...`,
                                                    `test_a_log_that_is_rotated_...`
==================================================  ===================================================================

Notifications without Prometheus are in `test_notifications`, a listener for other machines in `test_listener`. Not here, because
they are not built yet: a live page of a run, backtest as HTML, and a bridge from `lr_override.txt` by one flag. Wheels are the business
of the package, not of a run.

One file because the table and what it names are read together, and because the tests of `acted` share one training.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.forked import TORCH, Forked, run
from support.quadratic import Training
from support.waiting import eventually

pytestmark = pytest.mark.slow

NANOGPT = Path(__file__).parents[3] / "shared/data/real/text_nanogpt/innerfirexy__nanoGPT__shakespeare_char_log.txt"

# A linear model whose loss is held up by its rate: SGD at a constant rate, noisy labels. It prints every tenth step, as people
# do, and ends when the file `stop` is there; a step takes as long as keeps a daemon in step with it.
TRAINER = """
import pathlib, sys, time
import torch
import lrwatch

home, seconds = sys.argv[1], float(sys.argv[2])
torch.set_num_threads(1)
torch.manual_seed(0)
model, truth = torch.nn.Linear(32, 1), torch.randn(32)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
watch = lrwatch.attach(optimizer, home + "/lrwatch", poll_seconds=0.02)
step = 0
while not pathlib.Path(home, "stop").exists():
    step += 1
    x = torch.randn(8, 32)
    loss = torch.nn.functional.mse_loss(model(x), (x @ truth + 0.3 * torch.randn(8)).unsqueeze(1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    watch.step(loss=loss)
    if step % 10 == 0:
        print(f"step {step} | loss {loss.item():.4f} | lr {optimizer.param_groups[0]['lr']:.3e}", flush=True)
        time.sleep(seconds)
watch.close()
"""


@dataclass(frozen=True)
class Acted:
    """A training that has ended, with what a daemon in mode auto and an operator did to it.

    Attributes:
        runs: The directory above the run's.
        state: The daemon's state.
        events: The journal.
        answers: What each verb printed, by verb and number.
        printed: What the daemon printed.
    """

    runs: Path
    state: Path
    events: list[dict[str, Any]]
    answers: dict[str, subprocess.CompletedProcess[str]]
    printed: str

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] in kinds]


@pytest.fixture(scope="module")
def acted(tmp_path_factory: pytest.TempPathFactory) -> Acted:
    """One training of PyTorch with `train.log` beside the client's metrics, from its first step to its last."""
    place = tmp_path_factory.mktemp("acted")
    home = place / "runs" / "net"
    home.mkdir(parents=True)
    (home / "train.log").touch()
    daemon = DaemonProcess(place / "daemon", "--poll-seconds", "0.05", "--mode", "auto", place / "runs")
    with (home / "train.log").open("wb") as out:
        trainer = Forked(["-c", TRAINER, home, "0.02"], TORCH, stdout=out)
    to = ("--state", daemon.state)
    answers = {}

    def arrives(answer: subprocess.CompletedProcess[str]) -> None:
        """Wait until the trainer has the scale that an operator asked for, as often as it was asked for."""
        found = re.fullmatch(r"net: scale (\S+) is on its way\n", answer.stdout)
        assert found, (answer.stderr, daemon.stdout)
        words = f"acknowledged: scale {found[1]} from"
        eventually(lambda: words in daemon.stdout.partition(": resume: ")[2], what=f"{words}; {daemon.stdout}")

    def applied() -> float:
        return daemon.value("lrwatch_commands_total", run="net", state="applied") or 0.0

    try:
        assert daemon.address
        eventually(lambda: applied() >= 1, timeout=60, what="a command")
        answers["hold"] = lrwatch("hold", "net", *to)
        answers["set held"] = lrwatch("set", "net", "--scale", "0.5", *to)
        answers["doctor held"] = lrwatch("doctor", "net", *to)
        answers["status"] = lrwatch("status", *to)
        answers["observe"] = lrwatch("strategy", "net", "observe", *to)  # from here on only the operator decides
        answers["resume"] = lrwatch("resume", "net", *to)
        answers["decay"] = lrwatch("decay", "net", *to)
        answers["cosine"] = lrwatch("strategy", "net", "cosine", *to)
        now = daemon.value("lrwatch_lr_scale", run="net") or 0.0  # 0.5, 1, or what a second trial left
        answers["set"] = lrwatch("set", "net", "--scale", f"{0.6 * now:g}", *to)
        arrives(answers["set"])
        answers["set far"] = lrwatch("set", "net", "--scale", f"{0.01 * now:g}", *to)
        answers["set out"] = lrwatch("set", "net", "--scale", "5", *to)
        answers["undo"] = lrwatch("undo", "net", *to)
        arrives(answers["undo"])
        answers["deny"] = lrwatch("deny", "net", "1", *to)
        (home / "stop").touch()
        assert trainer.wait(30) == 0
        eventually(lambda: daemon.value("lrwatch_run_life", run="net", life="ended"), what="a goodbye")
        assert daemon.end() == 0
    finally:
        trainer.kill()
        trainer.wait()
        daemon.end(signal.SIGKILL)
    journal = lrwatch("journal", "net", "--format", "json", *to)
    events = [json.loads(line) for line in journal.stdout.splitlines()]
    return Acted(place / "runs", daemon.state, events, answers, daemon.stdout)


def test_it_acts_within_the_first_hundreds_of_steps(acted: Acted) -> None:
    """The log with a tenth of the values beside the client's delays nothing."""
    command, answer = acted.of("command")[0], acted.of("acknowledged")[0]
    assert command["state"] == "sent"
    assert command["step"] < 1500
    assert command["step"] <= answer["step"] <= command["step"] + 500
    assert {e["scale"] for e in acted.of("acknowledged")} >= {command["scale"]}
    assert "improves by -" not in acted.printed


def test_each_verb_was_carried_out_or_refused_with_numbers_and_remedy(acted: Acted) -> None:
    done, refused = ("hold", "resume", "observe", "set", "undo"), {
        "set held": ["`lrwatch resume net` lets commands through"],
        "set far": ["a factor of 0.01667", "0.1 to 2", "`lrwatch set net --scale 0.0"],
        "set out": ["scale 5 is outside 0.001 to 1", "min_scale, max_scale"],
        "cosine": ["`lrwatch strategy net cosine --length STEPS`"],
        "decay": ["strategy must be wsd to decay, got 'observe'", "`lrwatch strategy RUN wsd`"],
        "deny": ["entry 1 of the journal is no open proposal of this run", "none is open now"],
    }  # fmt: skip
    for verb in done:
        assert acted.answers[verb].returncode == 0, acted.answers[verb].stderr
    for verb, words in refused.items():
        assert (acted.answers[verb].returncode, acted.answers[verb].stdout) == (5, "")
        for word in words:
            assert word in acted.answers[verb].stderr
    asked = [(e["verb"], e["done"]) for e in acted.of("operator")]
    assert asked == [
        ("hold", True), ("set", False), ("strategy", True), ("resume", True), ("decay", False), ("strategy", False),
        ("set", True), ("set", False), ("set", False), ("undo", True), ("deny", False),
    ]  # fmt: skip
    assert any(line.startswith("net: held: ") for line in acted.answers["doctor held"].stdout.splitlines())
    assert acted.of("rejected") == [], "what was said to be on its way arrived"


def test_status_is_a_table_in_columns_with_sentences_below(acted: Acted) -> None:
    head, row, *sentences = acted.answers["status"].stdout.splitlines()
    assert row[head.index("waits for you") :].startswith("held: lrwatch resume net")
    state = row[head.index("state") : head.index("scale")].strip()
    assert state in ("improving", "plateau", "cannot tell yet", "rising")
    assert any(line.startswith(f"net: loss: {state}") for line in sentences)


def test_every_decision_is_computed_again(acted: Acted) -> None:
    newest = acted.of("command", "effect")[-1]
    for arguments in ([], [str(newest["id"])]):
        explained = lrwatch("explain", "net", *arguments, "--state", acted.state)
        assert explained.stdout.endswith("Computed again: the same numbers.\n"), explained.stdout


def test_a_run_that_ended_has_one_thing_to_say_and_it_is_not_to_wait(acted: Acted) -> None:
    last = max(int(step) for step in re.findall(r"step (\d+) ", (acted.runs / "net/train.log").read_text()))
    told = lrwatch("doctor", "net", "--state", acted.state).stdout.splitlines()
    assert len(told) == 1
    assert re.fullmatch(
        r"net: over: the run has ended: the training closed its client at step (\d+)\. Nothing to do; .*", told[0]
    )
    row = lrwatch("status", "--state", acted.state).stdout.splitlines()[1].split()
    assert (row[0], row[2], row[4]) == ("net", "loss", "ended")
    assert 0 <= int(row[1]) - last < 10
    assert not [event for event in acted.of("finding") if event["kind"] == "stalled"]


def test_the_page_tells_the_same_story(acted: Acted, tmp_path: Path) -> None:
    page = tmp_path / "lrwatch-net.html"
    assert lrwatch("report", "net", "--state", acted.state, cwd=tmp_path).returncode == 0
    text = page.read_text()
    assert "acknowledged" in text
    for scale in {f"{event['scale']:g}" for event in acted.of("acknowledged")}:
        assert scale in text
    assert "set by" in text or "asked for it" in text, "who did it"


def test_what_init_wrote_is_backtested_and_run_unchanged(acted: Acted, tmp_path: Path) -> None:
    """Control directories are no runs: not to `init`, `backtest` or `run`."""
    settings = acted.runs / "lrwatch.toml"
    assert lrwatch("init", acted.runs).returncode == 0
    tested = lrwatch("backtest", "--config", settings, "--format", "json", f"{acted.runs}/**")
    rows = [row for row in map(json.loads, tested.stdout.splitlines()) if row["event"] == "backtest"]
    assert [(row["log"], row["problem"]) for row in rows] == [(str(acted.runs / "net"), "")]
    state = tmp_path / "state"
    ended = lrwatch("run", "--once", "--config", settings, "--state", state)
    assert ended.returncode == 0, ended.stderr
    (status,) = map(json.loads, lrwatch("status", "--format", "json", "--state", state).stdout.splitlines())
    assert (status["name"], status["step"]) == ("net", rows[0]["step"])
    replayed = lrwatch("replay", "--format", "json", "--config", settings, acted.runs / "net").stdout
    found = [json.loads(line) for line in replayed.splitlines()]
    kept = {e["step"] for e in found if e["event"] == "finding"}
    journal = lrwatch("journal", "--format", "json", "--state", state).stdout
    assert {e["step"] for e in map(json.loads, journal.splitlines()) if e["event"] == "finding"} == kept


def test_programs_get_json_from_each_verb_and_a_code_for_each_kind_of_failure(acted: Acted, tmp_path: Path) -> None:
    at = ("--state", acted.state, "--format", "json")
    for verb in (["status"], ["journal"], ["doctor"]):
        ended = lrwatch(*verb, *at)
        assert ended.returncode == 0, (verb, ended.stderr)
        assert all(isinstance(json.loads(line), dict) for line in ended.stdout.splitlines())
        assert ended.stdout
    (tmp_path / "bad.toml").write_text("[policy]\nmode = 'automatic'\n")
    for code, wrong in (
        (2, ["status", "--format", "jsn"]),
        (3, ["config", "check", "--config", tmp_path / "bad.toml"]),
        (4, ["explain", "nobody", "--state", acted.state]),
    ):
        assert lrwatch(*wrong).returncode == code


# ---- only watched ---------------------------------------------------------------------------------------------------


@pytest.fixture
def daemons() -> Iterator[Callable[..., DaemonProcess]]:
    started: list[DaemonProcess] = []

    def start(home: Path, *arguments: str | Path) -> DaemonProcess:
        started.append(DaemonProcess(home, "--poll-seconds", "0.05", *arguments))
        assert started[-1].address
        return started[-1]

    yield start
    for daemon in started:
        daemon.end(signal.SIGKILL)


def test_without_a_trainer_it_advises_and_what_nobody_answers_is_void_and_made_again(
    tmp_path: Path, daemons: Callable[..., DaemonProcess]
) -> None:
    log, training = tmp_path / "metrics.jsonl", Training()
    log.write_text(training.lines(100))
    daemon = daemons(tmp_path / "daemon", log)
    at = ("--state", daemon.state)
    pending = partial(daemon.value, "lrwatch_proposals_pending", run="metrics")

    def write(until: Callable[[], Any], what: str) -> None:
        def more() -> bool:
            with log.open("a") as file:
                file.write(training.lines(50))
            eventually(lambda: daemon.value("lrwatch_run_step", run="metrics") == training.done, what="all is read")
            return bool(until())

        eventually(more, timeout=60, what=what)

    write(lambda: pending() == 1, "a first advice")
    first = json.loads(lrwatch("status", "--format", "json", *at).stdout)["proposals"][0]
    shown = lrwatch("status", *at).stdout
    assert f"{first['approve']}, before step {first['expires_at']}" in shown
    assert not daemon.value("lrwatch_commands_total", run="metrics", state="sent")
    write(lambda: training.done > first["expires_at"], "five horizons")
    write(lambda: pending() == 1, "the same advice again")
    journal = [json.loads(line) for line in lrwatch("journal", "--format", "json", *at).stdout.splitlines()]
    made = [event for event in journal if event["event"] in ("command", "expired")]
    assert [event["event"] for event in made][:3] == ["command", "expired", "command"]
    assert made[1]["step"] == first["expires_at"]
    newest = made[-1]["id"]
    late = lrwatch("approve", "metrics", str(made[0]["id"]), *at)
    assert (late.returncode, f"open now: {newest}" in late.stderr) == (5, True), late.stderr
    assert lrwatch("deny", "metrics", str(newest), *at).returncode == 0
    eventually(lambda: pending() == 0, what="the denial")


def test_auto_without_a_trainer_says_what_is_missing(tmp_path: Path, daemons: Callable[..., DaemonProcess]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "train.jsonl").write_text(Training().lines(1000))
    daemon = daemons(tmp_path / "daemon", "--mode", "auto", tmp_path / "run")
    eventually(lambda: daemon.value("lrwatch_run_step", run="run") == 1000, what="the log")
    told = lrwatch("doctor", "run", "--state", daemon.state).stdout
    assert f"run: no trainer: no trainer listens in {tmp_path}/run/lrwatch. Two lines in the loop: " in told
    assert not daemon.value("lrwatch_commands_total", run="run", state="sent")
    assert daemon.end(signal.SIGINT) == 130
    assert "Traceback" not in daemon.stderr


@pytest.mark.skipif(not NANOGPT.is_file(), reason=f"the real log is not there: {NANOGPT}")
def test_the_famous_overfitting_is_found(tmp_path: Path) -> None:
    replayed = lrwatch("replay", NANOGPT).stdout
    assert re.search(r"overfitting: val loss has got worse by .* keep the checkpoint of about step 1,750", replayed)
    assert "nothing to report" not in replayed
    assert lrwatch("report", NANOGPT, "-o", tmp_path / "page.html").returncode == 0
    assert "the run overfits" in (tmp_path / "page.html").read_text()


# ---- a scheduler in the loop ------------------------------------------------------------------------------------------

# What `ReduceLROnPlateau` is used for: one call an epoch.
EPOCHS = """
import torch
import lrwatch.torch

optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
scheduler = lrwatch.torch.PlateauLR(optimizer)
noise = torch.Generator().manual_seed(0)
for epoch in range(90):
    scheduler.step(0.5 + 2 * 0.8**epoch + 0.002 * torch.randn(1, generator=noise).item())
    print(optimizer.param_groups[0]["lr"])
"""


def test_plateau_lr_acts_within_ninety_epochs() -> None:
    """A loss that is flat from epoch 25 on: it tries half the rate, which changes nothing here, and takes that back."""
    ended = run(["-c", EPOCHS], TORCH)
    assert ended.returncode == 0, ended.stderr
    rates = [float(line) for line in ended.stdout.split()]
    assert 30 < rates.index(0.05) < 90
    assert rates[-1] == 0.1


# ---- what goes wrong --------------------------------------------------------------------------------------------------


def test_each_failure_has_one_line_with_the_fix(tmp_path: Path) -> None:
    def written(name: str, rows: list[dict[str, float]]) -> Path:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    losses = [{"step": i, "loss": 1 + 5 / i} for i in range(1, 300)]
    rewards = [{"step": i, "reward": i / 10} for i in range(1, 300)]
    losing = written("loss.jsonl", losses)
    winning = written("reward.jsonl", rewards)
    (tmp_path / "words.log").write_text("hello\nworld\n" * 10)
    for name in ("losss", "reward"):
        (tmp_path / f"{name}.toml").write_text(f'[run]\nmetric = "{name}"\n')
    for arguments, words in (
        (
            [losing, "--config", tmp_path / "losss.toml"],
            "loss: no loss: no metric is called 'losss'; the log has loss. Name one: ",
        ),
        ([winning], "reward: no loss: no metric looks like a loss; the log has reward. Name one: "),
        (
            [winning, "--config", tmp_path / "reward.toml"],
            "reward: direction: reward sounds like a metric that should rise, and is taken for a loss. Say [detect] direction",
        ),
        (
            [tmp_path / "words.log"],
            "words: no metric: nothing so far that could be understood as a metric. `lrwatch read --explain ",
        ),
    ):
        told = lrwatch("doctor", *arguments)
        assert told.returncode == 0, told.stderr
        assert [line.startswith(words) for line in told.stdout.splitlines()].count(True) == 1, told.stdout
    replayed = lrwatch("replay", "--metric", "reward", winning)
    assert "reward sounds like a metric that should rise, and is taken for a loss. Say [detect] " in replayed.stderr
    missing = lrwatch("doctor", tmp_path / "missing.log")
    assert missing.returncode == 4
    assert missing.stderr.startswith(
        f"lrwatch: {tmp_path}/missing.log: expected the name of a run, a log or a directory"
    )
    resumed = written("resumed.jsonl", [*losses, *losses[150:]])
    assert "the log goes back to step 151: a resume, or another run" in lrwatch("replay", resumed).stdout
    os.utime(losing, (10**9, 10**9))
    state = ("--state", tmp_path / "state")
    assert lrwatch("run", "--once", losing, *state).returncode == 0
    (told_of,) = lrwatch("doctor", *state).stdout.splitlines()
    assert re.match(r"loss: over: the run is finished: last written on 2001-09-\d\d .* Nothing to do", told_of)


# Attaches to an optimizer that another one has replaced, and waits for its input to end.
TWO_OPTIMIZERS = """
import sys
import torch
import lrwatch

model = torch.nn.Linear(1, 1)
given, used = (torch.optim.SGD(model.parameters(), lr=0.01) for _ in range(2))
watch = lrwatch.attach(given, sys.argv[1], poll_seconds=0.02)
for step in range(20):
    model(torch.ones(1)).square().sum().backward()
    used.step()
    watch.step(loss=1.0 - step / 40)
sys.stdin.read()
watch.close()
"""


def test_the_wrong_optimizer_and_a_second_daemon_are_told_while_the_training_runs(
    tmp_path: Path, daemons: Callable[..., DaemonProcess]
) -> None:
    home = tmp_path / "net"
    reading, writing = os.pipe()
    trainer = Forked(["-c", TWO_OPTIMIZERS, home / "lrwatch"], TORCH, stdin=reading)
    os.close(reading)
    try:
        eventually(lambda: (home / "lrwatch" / "metrics.jsonl").exists(), what="a client")
        first = daemons(tmp_path / "first", "--mode", "auto", home)
        eventually(lambda: first.value("lrwatch_run_step", run="net") == 20, what="all steps")

        def told() -> dict[str, str]:
            found = lrwatch("doctor", "net", "--format", "json", "--state", first.state).stdout.splitlines()
            return {cause["cause"]: cause["text"] for cause in map(json.loads, found)}

        eventually(lambda: "not_stepping" in told(), what="the wrong optimizer")
        assert "other_daemon" not in told()
        second = daemons(tmp_path / "second", "--mode", "auto", home)
        eventually(lambda: second.value("lrwatch_run_step", run="net") == 20, what="all steps")
        eventually(lambda: "other_daemon" in told(), what="the other daemon")
        assert f"process {second.process.pid} on " in told()["other_daemon"]
    finally:
        os.close(writing)
        trainer.wait(30)


def test_a_log_that_is_rotated_is_one_run_that_goes_on(tmp_path: Path, daemons: Callable[..., DaemonProcess]) -> None:
    (tmp_path / "run").mkdir()
    log, training = tmp_path / "run" / "train.jsonl", Training()
    log.write_text(training.lines(200))
    daemon = daemons(tmp_path / "daemon", tmp_path / "run")
    step = partial(daemon.value, "lrwatch_run_step", run="run")
    eventually(lambda: step() == 200, what="the log")
    log.rename(tmp_path / "run" / "train.jsonl.1")
    log.write_text(training.lines(100))
    eventually(lambda: step() == 300, what="the log behind the rotation")
    (status,) = map(json.loads, lrwatch("status", "--format", "json", "--state", daemon.state).stdout.splitlines())
    assert (status["samples"], status["errors"]) == (2 * 300, {})
    assert "a resume" not in lrwatch("journal", "--state", daemon.state).stdout
