"""Trainings that do well as they are, each with a curve that tempts a rule to cut the rate for nothing.

A dozen small ones, seconds each. The strategies were tuned while these were looked at; `bench.harm.held_out` has kinds
that nothing was tuned on.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from bench.harm.training import EVALUATION, FLOOR, Make, Training

Pair = tuple[Tensor, Tensor]

# Degrees of freedom of the heavy-tailed noise: its variance exists, its third moment does not.
TAILS = 2.5


def _drawn(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    draw: Callable[[int, int], Pair],
    criterion: Callable[[Tensor, Tensor], Tensor],
    batch: int,
    evaluated: int,
    floor: float = 0.0,
) -> Training:
    """Make a training on fresh samples; `draw(n, step)` draws n of them, and `steps` stands for the end."""

    def loss(step: int) -> Tensor:
        x, y = draw(batch, step)
        return criterion(net(x), y)

    def final() -> float:
        torch.manual_seed(EVALUATION)
        x, y = draw(evaluated, steps)
        return floor + criterion(net(x), y).item()

    return Training(optimizer, steps, loss, final)


def _in_epochs(
    net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, batch: int, steps: int
) -> Training:
    """Make a training on a fixed set, shuffled each epoch; its final loss is that of the whole set."""
    batches: list[Tensor] = []

    def loss(_: int) -> Tensor:
        if not batches:
            batches.extend(reversed(torch.split(torch.randperm(len(x)), batch)))
        chosen = batches.pop()
        return F.cross_entropy(net(x[chosen]), y[chosen])

    return Training(optimizer, steps, loss, lambda: F.cross_entropy(net(x), y).item())


def _by_heart(seed: int, samples: int, batch: int, epochs: int, rate: float) -> Training:
    torch.manual_seed(seed)
    x, y = torch.randn(samples, 32), torch.randint(10, (samples,))
    net = nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 10))
    return _in_epochs(net, torch.optim.Adam(net.parameters(), lr=rate), x, y, batch, samples // batch * epochs)


def stairs(seed: int) -> Training:
    """Learn random labels by heart: flat within an epoch, and a step down where the next one begins."""
    return _by_heart(seed, samples=800, batch=4, epochs=25, rate=1e-3)


def stairs_long(seed: int) -> Training:
    """Learn by heart with few long epochs: each tread is as long as a whole plateau would be."""
    return _by_heart(seed, samples=4000, batch=8, epochs=8, rate=5e-4)


def saddle(seed: int) -> Training:
    """Start at a saddle: small weights in five layers of tanh, so the loss is flat before it falls."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in ((16, 32), (32, 32), (32, 32), (32, 32)):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.Tanh()]
    net = nn.Sequential(*layers, nn.Linear(32, 1, bias=False))
    for parameter in net.parameters():
        parameter.data.mul_(0.75)
    truth = torch.randn(16)

    def draw(n: int, _: int) -> Pair:
        x = torch.randn(n, 16)
        return x, torch.tanh(x @ truth / 2)[:, None] + 0.3 * torch.randn(n, 1)

    return _drawn(net, torch.optim.SGD(net.parameters(), lr=0.05), 6000, draw, F.mse_loss, 16, 20_000)


def deepsaddle(seed: int) -> Training:
    """Start at the saddle of a deep linear network: a long flat start without any noise of the targets."""
    torch.manual_seed(seed)
    net = nn.Sequential(*[nn.Linear(20, 20, bias=False) for _ in range(4)])
    for parameter in net.parameters():
        parameter.data.normal_(0, 0.1)
    truth = torch.randn(20, 20) / 20**0.5

    def draw(n: int, _: int) -> Pair:
        x = torch.randn(n, 20)
        return x, x @ truth.T

    optimizer = torch.optim.SGD(net.parameters(), lr=0.03)
    return _drawn(net, optimizer, 8000, draw, F.mse_loss, 8, 5000, floor=FLOOR)


def _parity(seed: int, inputs: int, of: int, hidden: int, rate: float, batch: int) -> Training:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def draw(n: int, _: int) -> Pair:
        x = torch.randint(0, 2, (n, inputs)).float() * 2 - 1
        return x, (x[:, :of].prod(dim=1, keepdim=True) > 0).float()

    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    return _drawn(net, optimizer, 6000, draw, F.binary_cross_entropy_with_logits, batch, 5000, floor=FLOOR)


def parity(seed: int) -> Training:
    """Learn the parity of 2 of 10 bits behind the trainer's own warm-up: flat at ln 2 while the rate rises."""
    plain = _parity(seed, inputs=10, of=2, hidden=64, rate=2e-3, batch=16)
    return Training(plain.optimizer, plain.steps, plain.loss, plain.final, lambda step: min(1.0, 0.001 + step / 1500))


def parity3(seed: int) -> Training:
    """Learn the parity of 3 of 12 bits: flat at ln 2, then a sudden fall."""
    return _parity(seed, inputs=12, of=3, hidden=128, rate=1e-3, batch=32)


def harder(seed: int) -> Training:
    """Follow a plan in which the data get harder all the time: the loss rises though the network learns."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(8, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 1))
    steps, truth = 6000, torch.randn(8, 6)

    def target(x: Tensor, share: float) -> Tensor:
        weights = [1.0] + [min(1.0, max(0.0, 5 * share - k)) for k in range(5)]
        waves = [w * torch.sin((1 + k) * (x @ truth[:, k])) for k, w in enumerate(weights)]
        return torch.stack(waves).sum(dim=0)[:, None] / 2

    def draw(n: int, step: int) -> Pair:
        x = torch.randn(n, 8) * 0.5
        return x, target(x, step / steps)

    return _drawn(net, torch.optim.Adam(net.parameters(), lr=2e-3), steps, draw, F.mse_loss, 32, 5000)


def harder_steps(seed: int) -> Training:
    """Add classes four times: the loss jumps up by plan, and falls again each time."""
    torch.manual_seed(seed)
    centres = torch.randn(20, 24, generator=torch.Generator().manual_seed(7)) * 1.2
    net, steps = nn.Sequential(nn.Linear(24, 64), nn.ReLU(), nn.Linear(64, 20)), 6000

    def draw(n: int, step: int) -> Pair:
        y = torch.randint(min(20, 4 + 4 * (5 * step // steps)), (n,))
        return centres[y] + torch.randn(n, 24), y

    return _drawn(net, torch.optim.Adam(net.parameters(), lr=1e-3), steps, draw, F.cross_entropy, 32, 8000)


def heavy(seed: int) -> Training:
    """Regress on targets with heavy-tailed noise: single losses are a hundred times the mean."""
    torch.manual_seed(seed)
    truth = torch.randn(30)
    net = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 1))
    noise = torch.distributions.StudentT(TAILS)

    def clean(n: int) -> Pair:
        x = torch.randn(n, 30)
        return x, torch.sin(x @ truth / 4)[:, None]

    def loss(_: int) -> Tensor:
        x, y = clean(16)
        return F.smooth_l1_loss(net(x), y + 0.4 * noise.sample(torch.Size((16, 1))))

    def final() -> float:
        torch.manual_seed(EVALUATION)
        x, y = clean(8000)
        return F.mse_loss(net(x), y).item()

    return Training(torch.optim.Adam(net.parameters(), lr=5e-4), 8000, loss, final)


def finetune(seed: int) -> Training:
    """Fine-tune for four short epochs: the run ends long before a plateau, and a trial costs a large share of it."""
    torch.manual_seed(seed)
    fixed, samples = torch.Generator().manual_seed(3), 4000
    truth, x = torch.randn(32, 10, generator=fixed), torch.randn(samples, 32, generator=fixed)
    y = (x @ truth + 2 * torch.randn(samples, 10, generator=fixed)).argmax(dim=1)
    net = nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 10))
    return _in_epochs(net, torch.optim.AdamW(net.parameters(), lr=1e-3), x, y, batch=8, steps=2000)


def power(seed: int) -> Training:
    """Descend a quadratic with a power-law spectrum: ever slower, never flat, and noise only in what is logged."""
    torch.manual_seed(seed)
    curvatures = torch.arange(1, 201.0) ** -1.5
    weights = torch.ones(200, requires_grad=True)

    def loss(_: int) -> Tensor:
        return 0.5 * (curvatures * weights * weights).sum() + 0.02 * torch.randn(())

    def final() -> float:
        return 2 * FLOOR + 0.5 * float((curvatures * weights**2).sum())

    return Training(torch.optim.SGD([weights], lr=1.0), 6000, loss, final)


def matfac(seed: int) -> Training:
    """Factorise a matrix from small weights: one saddle behind the other, a step down at each."""
    torch.manual_seed(seed)
    left, right = nn.Parameter(1e-3 * torch.randn(20, 8)), nn.Parameter(1e-3 * torch.randn(8, 20))
    (u, _), (v, _) = torch.linalg.qr(torch.randn(20, 20)), torch.linalg.qr(torch.randn(20, 20))
    truth = u @ torch.diag(torch.tensor([4.0, 2.5, 1.6, 1.0, 0.7] + [0.0] * 15)) @ v

    def loss(_: int) -> Tensor:
        noise = 0.05 * torch.randn(20, 20)
        return torch.sum(torch.square(torch.mm(left, right) - truth - noise)) / 20

    def final() -> float:
        return 2 * FLOOR + torch.sum(torch.square(torch.mm(left, right) - truth)).item() / 20

    return Training(torch.optim.SGD([left, right], lr=0.02), 5000, loss, final)


SEEN: dict[str, Make] = {
    make.__name__: make
    for make in (
        stairs, stairs_long, saddle, deepsaddle, parity, parity3, harder, harder_steps, heavy, finetune, power, matfac,
    )
}  # fmt: skip
