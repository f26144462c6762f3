"""Two lines in a PyTorch loop, and lrwatch beside it.

Start `lrwatch run --mode auto runs/pytorch_loop` in a second terminal, then this. Without the first, the training runs as
it would without lrwatch. `lrwatch status` and `lrwatch report pytorch_loop -o page.html` show what happened.
"""

import torch

import lrwatch

STEPS = 3000

torch.manual_seed(0)
model = torch.nn.Linear(32, 1)
truth = torch.randn(32)
optimizer = torch.optim.SGD(model.parameters(), lr=0.2)

watch = lrwatch.attach(optimizer, "runs/pytorch_loop/lrwatch")  # the control directory; made if it is not there
for _ in range(STEPS):
    x = torch.randn(32, 32)
    y = (x @ truth + torch.randn(32)).unsqueeze(1)
    loss = torch.nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    watch.step(loss=loss)  # once per optimizer step
watch.close()

print(f"{STEPS} steps, final loss {loss.item():.3f}, scale {watch.scale:g}")
