"""A Lightning `Trainer` with lrwatch's callback. Beside it: `lrwatch run --mode auto runs/lightning_fit`.

The scale is in Lightning's checkpoints, so `trainer.fit(model, ckpt_path="last")` continues with it.
"""

from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

import lrwatch

STEPS = 200


class Model(lightning.LightningModule):
    """A linear regression."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 1)

    def training_step(self, batch: Any) -> torch.Tensor:
        """Return the loss of one batch."""
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.layer(x), y)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer; a scheduler beside it is fine."""
        return torch.optim.AdamW(self.parameters(), lr=0.01)


torch.manual_seed(0)
x = torch.randn(512, 8)
loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=16, shuffle=True)
trainer = lightning.Trainer(
    callbacks=[lrwatch.lightning.LrwatchCallback("runs/lightning_fit/lrwatch")],
    max_steps=STEPS, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
)  # fmt: skip
trainer.fit(Model(), loader)

print(f"{trainer.global_step} steps, final loss {float(trainer.callback_metrics['train_loss']):.4f}")
