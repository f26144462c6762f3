"""Stable-Baselines3, with the learning rate noted inside the step of each of its optimizers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from frameworks.scheduled_commands import OPTIONS, ScheduledCommands, scale_at

import lrwatch

pytestmark = pytest.mark.frameworks

sb3: Any = pytest.importorskip("stable_baselines3")
callbacks: Any = pytest.importorskip("stable_baselines3.common.callbacks")

PHASE = 8  # timesteps from one phase of training to the next
PHASES = 12
PLAN = {3: 0.5, 6: 0.1, 8: 0.2, 10: 1.0}  # phase from which on -> scale
SEEN: list[float] = []


class Spy(torch.optim.Adam):
    def step(self, closure: Any = None) -> Any:
        SEEN.append(self.param_groups[0]["lr"])
        return super().step(closure)


RATES: dict[str, Any] = {
    "float": 0.01,
    "linear": lambda remaining: 0.01 * remaining,
    "stairs": lambda remaining: 0.01 if remaining > 0.5 else 0.003,
}


class Daemon(callbacks.BaseCallback):
    def __init__(self, directory: Path, plan: Mapping[int, float]) -> None:
        super().__init__()
        self.commands = ScheduledCommands(directory, plan)
        self.watched = lrwatch.stable_baselines3.LrwatchCallback(directory, **OPTIONS)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.commands.before(self.num_timesteps // PHASE, self.watched.watch)

    @property
    def callbacks(self) -> Any:
        return callbacks.CallbackList([self, self.watched])


def build(kind: str, rate: str = "float") -> Any:
    small: dict[str, Any] = {"optimizer_class": Spy, "net_arch": [4]}
    common: dict[str, Any] = {"learning_rate": RATES[rate], "policy_kwargs": small, "seed": 0, "device": "cpu"}
    off: dict[str, Any] = {
        "learning_starts": 0,
        "buffer_size": 200,
        "batch_size": 4,
        "train_freq": PHASE,
        "gradient_steps": 1,
    }
    if kind == "PPO":
        return sb3.PPO("MlpPolicy", "CartPole-v1", n_steps=PHASE, batch_size=PHASE, n_epochs=1, **common)
    if kind == "A2C":
        return sb3.A2C("MlpPolicy", "CartPole-v1", n_steps=PHASE, use_rms_prop=False, **common)
    if kind == "DQN":
        return sb3.DQN("MlpPolicy", "CartPole-v1", **common, **off)
    return sb3.SAC("MlpPolicy", "Pendulum-v1", ent_coef=0.1, **common, **off)


def learn(model: Any, callback: Any = None, phases: int = PHASES, **changes: Any) -> list[float]:
    SEEN.clear()
    model.learn(phases * PHASE, callback=callback, log_interval=1, **changes)
    return list(SEEN)


def expected(plain: list[float], plan: Mapping[int, float], optimizers: int = 1) -> list[float]:
    return [rate * scale_at(number // optimizers + 1, plan) for number, rate in enumerate(plain)]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", ["PPO", "A2C", "DQN", "SAC"])
def test_the_effective_rate_is_the_schedules_times_the_scale_exactly(kind: str, rate: str, tmp_path: Path) -> None:
    optimizers = 2 if kind == "SAC" else 1
    plain = learn(build(kind, rate))
    assert len(plain) == PHASES * optimizers
    daemon = Daemon(tmp_path, PLAN)
    assert learn(build(kind, rate), daemon.callbacks) == expected(plain, PLAN, optimizers)
    answer = daemon.commands.answer
    assert (answer.status, answer.step, answer.scale) == ("applied", PHASES * PHASE, 1.0)


@pytest.mark.parametrize("kind", ["PPO", "SAC"])
def test_attached_and_at_scale_one_the_weights_are_bit_identical(kind: str, tmp_path: Path) -> None:
    plain = build(kind, "linear")
    learn(plain)
    watched = build(kind, "linear")  # only now: it sets the seed of everything that both draw from
    learn(watched, Daemon(tmp_path, {}).callbacks)
    assert all(map(torch.equal, plain.policy.state_dict().values(), watched.policy.state_dict().values()))


@pytest.mark.parametrize("kind", ["PPO", "DQN"])
@pytest.mark.parametrize("phases", [2, 4, 6])
def test_a_saved_model_goes_on_at_its_scale_and_a_new_one_in_the_same_directory_at_one(
    kind: str, phases: int, tmp_path: Path
) -> None:
    plan = {3: 0.5, 6: 0.1}
    first = build(kind)
    learn(first, Daemon(tmp_path, plan).callbacks, phases)
    first.save(tmp_path / "model.zip")
    loaded = type(first).load(tmp_path / "model.zip", env=first.get_env())
    daemon = Daemon(tmp_path, {})
    held = scale_at(phases, plan)
    assert learn(loaded, daemon.callbacks, 3, reset_num_timesteps=False) == [0.01 * held] * 3
    assert daemon.commands.answer.resumed_from_step == phases * PHASE
    assert learn(build(kind), Daemon(tmp_path, {}).callbacks, 3) == [0.01] * 3


def test_the_timesteps_are_the_length_and_make_a_warm_start(tmp_path: Path) -> None:
    watched = lrwatch.stable_baselines3.LrwatchCallback(tmp_path, warm_start=4 / PHASES)
    seen = learn(build("PPO"), watched)
    # The first phase of training comes after the first rollout, when `PHASE` timesteps are done.
    done = [min(phase / 4, 1.0) for phase in range(1, PHASES + 1)]
    assert seen == pytest.approx([0.01 * 0.1 ** (1 - share) for share in done])
    assert watched._state()["total_steps"] == PHASES * PHASE


def test_learning_once_more_goes_on_at_the_scale_once(tmp_path: Path) -> None:
    model, daemon = build("PPO"), Daemon(tmp_path, {3: 0.5})
    learn(model, daemon.callbacks)
    for callback in (daemon.callbacks, Daemon(tmp_path, {}).callbacks):
        assert learn(model, callback, 3) == [0.005] * 3


def test_a_saved_model_loads_where_lrwatch_is_not_installed(tmp_path: Path) -> None:
    model = build("PPO", "linear")
    learn(model, Daemon(tmp_path, {3: 0.5}).callbacks)
    model.policy_kwargs = {"net_arch": [4]}
    model.save(tmp_path / "model.zip")
    script = f"""
import sys
sys.modules["lrwatch"] = None
import stable_baselines3
model = stable_baselines3.PPO.load({str(tmp_path / "model.zip")!r}, device="cpu")
print(model.lr_schedule(0.5))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert ended.stdout.strip() == "0.005", ended.stderr


def test_what_the_model_logs_is_the_product_and_its_numbers_are_in_the_metrics_file(tmp_path: Path) -> None:
    model, daemon = build("PPO"), Daemon(tmp_path, {3: 0.5})
    learn(model, daemon.callbacks)
    assert model.logger.name_to_value["train/learning_rate"] == 0.005
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows][-1] == PHASES * PHASE
    assert any("train/loss" in row for row in rows)
    assert daemon.commands.answer.effective_lr == {"0": 0.005}


@pytest.mark.parametrize("kind", ["PPO", "SAC"])
def test_the_models_own_log_shows_the_scale_and_the_rate_that_was_used(kind: str, tmp_path: Path) -> None:
    from stable_baselines3.common.logger import configure

    model, daemon = build(kind), Daemon(tmp_path / "lrwatch", {3: 0.5})
    model.set_logger(configure(str(tmp_path / "own"), ["json"]))
    learn(model, daemon.callbacks)
    model.logger.dump(step=model.num_timesteps)
    model.logger.close()
    rows = [json.loads(line) for line in (tmp_path / "own" / "progress.json").read_text().splitlines()]
    scales = [row["lrwatch/scale"] for row in rows if "lrwatch/scale" in row]
    assert scales
    assert scales[-1] == 0.5
    assert [row["lrwatch/lr"] for row in rows if "lrwatch/lr" in row][-1] == 0.005
    assert "lrwatch/" not in (tmp_path / "lrwatch" / "metrics.jsonl").read_text()
