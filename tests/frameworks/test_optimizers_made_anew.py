"""The callback of Lightning follows the optimizers that the trainer makes anew, and can be saved after the training."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [
    pytest.mark.frameworks,
    *(pytest.mark.filterwarnings(f"ignore:.*{words}") for words in ("does not have many workers", "LeafSpec")),
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
