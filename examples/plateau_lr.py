"""`lrwatch.torch.PlateauLR` in the place of `ReduceLROnPlateau`: no second process, no patience to choose."""

import torch

import lrwatch

STEPS = 6000

torch.manual_seed(0)
model = torch.nn.Linear(32, 1)
truth = torch.randn(32)
optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
scheduler = lrwatch.torch.PlateauLR(optimizer)

for _ in range(STEPS):
    x = torch.randn(32, 32)
    y = (x @ truth + torch.randn(32)).unsqueeze(1)
    loss = torch.nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step(loss.item())  # every step; or once per epoch with the validation loss

for finding in scheduler.findings:
    print(f"step {finding.step}: {finding.message}")
for command in scheduler.commands:
    print(f"step {command.step}: scale {command.scale:g}: {command.reason}")
for effect in scheduler.effects:
    print(f"step {effect.step}: {effect.message}")
print(f"learning rate {scheduler.get_last_lr()[0]:g}")
