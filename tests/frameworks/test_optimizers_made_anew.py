"""The callbacks of Lightning and Transformers follow the optimizers that are made anew, and can be saved after the training."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [
    pytest.mark.frameworks,
    *(
        pytest.mark.filterwarnings(f"ignore:.*{words}")
        for words in ("does not have many workers", "LeafSpec", "`srun` command")
    ),
]

lightning: Any = pytest.importorskip("lightning.pytorch")


def batches() -> Any:
    numbers: Any = range(8)
    return torch.utils.data.DataLoader(numbers, batch_size=1)


class Module(lightning.LightningModule):
    """One weight; makes its optimizer anew in the third batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.used: list[float] = []

    def training_step(self, batch: Any, index: int) -> Any:
        self.before = self.weight.item()
        return self.weight.sum()

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        self.used.append(self.before - self.weight.item())
        if index == 2:
            self.trainer.strategy.setup_optimizers(self.trainer)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([self.weight], lr=0.1)


def test_the_callback_attaches_anew_with_the_same_state(tmp_path: Path) -> None:
    from lrwatch.integrations.lightning import LrwatchCallback

    class Halved(LrwatchCallback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            super().on_train_start(trainer, pl_module)
            assert self.watch is not None
            self.watch.load_state_dict({**self.watch.state_dict(), "scale": 0.5})

    callback = Halved(tmp_path / "control")
    module = Module()
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[callback],
    )  # fmt: skip
    trainer.fit(module, batches())
    assert module.used == pytest.approx([0.05] * 8), "the optimizer that was made anew is scaled from its first step on"
    assert callback.watch is not None
    assert (callback.watch.scale, callback.watch.state_dict()["step"]) == (0.5, 8)
    copied: Any = copy.deepcopy(callback)
    assert copied.watch.scale == 0.5


def test_a_callback_that_has_trained_can_be_pickled(tmp_path: Path) -> None:
    from lrwatch.integrations.lightning import LrwatchCallback

    callback = LrwatchCallback(tmp_path / "control")
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[callback],
    )  # fmt: skip
    trainer.fit(Module(), batches())
    again = pickle.loads(pickle.dumps(callback))
    assert again.watch.state_dict()["step"] == 8


def test_a_step_of_an_optimizer_that_lightning_does_not_know_is_noticed(tmp_path: Path) -> None:
    from lrwatch.client.step_hooks import PATIENCE
    from lrwatch.integrations.lightning import LrwatchCallback

    class Manual(Module):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.own = torch.optim.SGD([self.weight], lr=0.1)

        def training_step(self, batch: Any, index: int) -> Any:
            self.manual_backward(self.weight.sum())
            (self.optimizers() if index < 4 else self.own).step()

        def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
            pass

    callback = LrwatchCallback(tmp_path / "control", poll_seconds=0.05)
    numbers: Any = range(5 + PATIENCE)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[callback],
    )  # fmt: skip
    trainer.fit(Manual(), torch.utils.data.DataLoader(numbers, batch_size=1))
    said = json.loads((tmp_path / "control" / "observed.json").read_text())
    assert (said["step"], said["not_acting"], said["effective_lr"]) == (4, "no_step", {})


def test_batches_whose_gradients_are_accumulated_are_no_steps_that_are_missed(tmp_path: Path) -> None:
    from lrwatch.client.step_hooks import PATIENCE
    from lrwatch.integrations.lightning import LrwatchCallback

    callback = LrwatchCallback(tmp_path / "control", poll_seconds=0.05)
    numbers: Any = range(2 * PATIENCE)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[callback], accumulate_grad_batches=2 * PATIENCE,
    )  # fmt: skip

    class Plain(Module):
        def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
            assert callback.watch is not None
            assert callback.watch._adapter.not_acting() is None

    trainer.fit(Plain(), torch.utils.data.DataLoader(numbers, batch_size=1))
    assert json.loads((tmp_path / "control" / "observed.json").read_text())["step"] == 1


@pytest.mark.parametrize("prepared", [False, True], ids=["put in place", "prepared by Accelerate"])
@pytest.mark.parametrize("event", ["on_step_end", "on_step_begin"])
def test_the_callback_of_transformers_follows_the_trainers_optimizer(
    event: str, prepared: bool, tmp_path: Path
) -> None:
    """The Trainer goes on to give its callbacks the optimizer of the beginning."""
    transformers: Any = pytest.importorskip("transformers")
    from frameworks.test_transformers import Spy, Training

    training = Training(tmp_path, {}, schedule="constant", max_steps=8)
    trainer, first = training.trainer, training.optimizer
    second = Spy(trainer.model.parameters(), lr=0.04)

    class Halved(transformers.TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            watch = training.callback.watch
            if state.global_step == 0:
                watch.load_state_dict({**watch.state_dict(), "scale": 0.5})

    def make_anew(args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 4:
            trainer.optimizer = trainer.accelerator.prepare(second) if prepared else second

    stage = transformers.TrainerCallback()
    setattr(stage, event, make_anew)
    for callback in (Halved(), stage):
        trainer.add_callback(callback)
    trainer.train()
    assert [rates[0] for rates in first.seen] == [0.005] * 4
    assert [rates[0] for rates in second.seen] == pytest.approx([0.02] * 4)
    watch = training.callback.watch
    assert (watch.scale, watch.state_dict()["step"], watch.lr) == (0.5, 8, {"0": 0.02})
    assert training.commands.answer.not_acting is None
