"""What docs/frameworks.md says for each framework, run as it is written, against the framework itself or its double."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from frameworks.scheduled_commands import ScheduledCommands
from support.optimizer_doubles import (
    ChainedOptimizer,
    ComposerCallback,
    ComposerTrainer,
    DeepSpeedZero,
    MegatronOptimizer,
    TitanContainer,
    build,
)
from support.waiting import eventually

import lrwatch
from lrwatch.client import Client
from lrwatch.control.directory import ControlDirectory

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
    pytest.mark.filterwarnings(
        "ignore:.*(does not have many workers|`srun` command|without a logger|no `val_dataloader`|LeafSpec)"
    ),
]

PAGE = (Path(__file__).parents[2] / "docs/frameworks.md").read_text(encoding="utf-8")
SECTION = PAGE.split("## Two lines for each framework")[1].split("\n## ")[0]
BLOCKS = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


def torch_loop() -> dict[str, Any]:
    model = torch.nn.Linear(3, 1)
    return {"model": model, "optimizer": torch.optim.AdamW(model.parameters()), "loss": torch.tensor(0.5)}


def transformers() -> dict[str, Any]:
    from frameworks.test_transformers import Training

    return {"trainer": Training(Path.cwd() / "out", max_steps=3).trainer}


def lightning() -> dict[str, Any]:
    from frameworks.test_lightning import Automatic, lightning

    class Model(Automatic):
        def train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(8, 3)), batch_size=4)

    def trainer(**arguments: Any) -> Any:  # silent, small, and otherwise as written
        quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu"}
        return lightning.Trainer(**(arguments | quiet | {"max_steps": 3, "enable_model_summary": False}))

    return {"Trainer": trainer, "model": Model("none")}


def accelerate() -> dict[str, Any]:
    import accelerate

    loop = torch_loop()
    accelerator = accelerate.Accelerator(cpu=True)
    return loop | {"accelerator": accelerator, "optimizer": accelerator.prepare(loop["optimizer"])}


def keras() -> dict[str, Any]:
    import keras

    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse")
    fit = model.fit

    def quiet(*arguments: Any, **changes: Any) -> Any:
        return fit(*arguments, **changes, verbose=0)

    return {"model": SimpleNamespace(fit=quiet), "x": np.ones((8, 3)), "y": np.ones((8, 1))}


def optax() -> dict[str, Any]:
    import jax
    import optax

    names: dict[str, Any] = {"optax": optax, "schedule": optax.constant_schedule(0.1), "batches": [1.0, 2.0, 3.0]}

    def train_step(params: Any, opt_state: Any, batch: Any) -> Any:
        loss, gradients = jax.value_and_grad(lambda p: (p["w"] * batch) ** 2)(params)
        updates, opt_state = names["optimizer"].update(gradients, opt_state, params)  # what the block has made
        return optax.apply_updates(params, updates), opt_state, loss

    names.update(params={"w": 1.0}, train_step=jax.jit(train_step))
    return names


def xgboost() -> dict[str, Any]:
    import xgboost

    data = xgboost.DMatrix(np.arange(20.0).reshape(10, 2), np.arange(10.0))
    return {"xgboost": xgboost, "parameters": {"nthread": 1}, "data": data}


def lightgbm() -> dict[str, Any]:
    import lightgbm

    data = lightgbm.Dataset(np.arange(200.0).reshape(100, 2), np.arange(100.0))
    return {"lightgbm": lightgbm, "parameters": {"verbose": -1, "num_threads": 1}, "data": data}


def stable_baselines3() -> dict[str, Any]:
    import stable_baselines3

    model = stable_baselines3.PPO("MlpPolicy", "CartPole-v1", n_steps=2000, batch_size=2000, n_epochs=1, device="cpu")
    return {"model": model}


def deepspeed() -> dict[str, Any]:
    return {"engine": SimpleNamespace(optimizer=DeepSpeedZero(build(0.1, 0.2))), "loss": 0.5}


def megatron() -> dict[str, Any]:
    return {"optimizer": ChainedOptimizer([MegatronOptimizer(build(0.1))]), "loss": 0.5}


def torchtitan() -> dict[str, Any]:
    return {"trainer": SimpleNamespace(optimizers=TitanContainer([build(0.1), build(0.2)])), "loss": 0.5}


def composer() -> dict[str, Any]:
    return {"composer": SimpleNamespace(Callback=ComposerCallback)}


# A word of the block -> what is there when it runs.
PREPARED: dict[str, Callable[[], dict[str, Any]]] = {
    "transformers": transformers, "lightning": lightning, "accelerator": accelerate, "keras": keras, "optax": optax,
    "xgboost": xgboost, "lightgbm": lightgbm, "stable_baselines3": stable_baselines3, "DeepSpeed": deepspeed,
    "Megatron": megatron, "torchtitan": torchtitan, "composer": composer,
}  # fmt: skip


def block_of(word: str) -> str:
    found = [block for block in BLOCKS if word in block]
    assert len(found) == 1, word
    return str(found[0])


def test_each_block_of_the_section_is_run() -> None:
    assert sorted(BLOCKS) == sorted({block_of(word) for word in PREPARED})


@pytest.mark.parametrize("word", PREPARED)
def test_the_block_as_it_is_written(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    names = PREPARED[word]()
    names["lrwatch"] = lrwatch
    exec(compile(block_of(word), f"frameworks.md, {word}", "exec"), names)
    if word == "composer":
        ComposerTrainer([names["Watch"]()], [build(0.1)]).fit(2)
    watch = names.get("watch")
    observed = eventually(ControlDirectory(tmp_path / "runs/a/lrwatch").read_observed)
    assert observed.status == "hello"
    if isinstance(watch, Client):
        watch.close()
        assert watch.errors == {}


def test_the_callback_for_composer_goes_on_after_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = composer() | {"lrwatch": lrwatch}
    exec(compile(block_of("composer"), "frameworks.md, composer", "exec"), names)

    class Daemon(ComposerCallback):
        def __init__(self, watched: Any, plan: dict[int, float]) -> None:
            self.watched, self.commands = watched, ScheduledCommands(tmp_path / "runs/a/lrwatch", plan)

        def batch_end(self, state: Any, logger: Any) -> None:
            self.commands.before(state.batch + 1, self.watched.watch)

    def run(plan: dict[int, float], batches: int, loaded: Any = None) -> tuple[list[Any], dict[str, Any]]:
        spy, watched = build(0.1), names["Watch"]()
        trainer = ComposerTrainer([Daemon(watched, plan), watched], [spy], loaded)
        trainer.fit(batches)
        return spy.used, trainer.checkpoint()

    before, checkpoint = run({3: 0.5}, 5)
    assert before == [[0.1]] * 2 + [[0.05]] * 3
    assert run({}, 2, checkpoint)[0] == [[0.05]] * 2
    assert run({}, 2)[0] == [[0.1]] * 2
