"""Trainings that do well as they are, of kinds that nothing was tuned on."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from bench.closed.data import LETTERS, WINDOW, Digits, Text, evaluated_digits, evaluated_text
from bench.harm.training import EVALUATION, FLOOR, Make, Training


def contrastive(seed: int) -> Training:
    """Pair two views with a learned temperature: the scale of the loss moves with what is learned."""
    torch.manual_seed(seed)
    one, other = (nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 16)) for _ in range(2))
    sharpness = nn.Parameter(torch.tensor(2.0))
    mixed = torch.randn(2, 8, 32) / 8**0.5
    optimizer = torch.optim.Adam([*one.parameters(), *other.parameters(), sharpness], lr=1e-3)

    def loss_of(n: int) -> Tensor:
        hidden = torch.randn(n, 8)
        x, y = torch.tanh(hidden @ mixed) + 0.7 * torch.randn(2, n, 32)
        x, y = F.normalize(one(x), dim=1), F.normalize(other(y), dim=1)
        alike = sharpness.exp().clamp(max=100.0) * x @ y.T
        return (F.cross_entropy(alike, torch.arange(n)) + F.cross_entropy(alike.T, torch.arange(n))) / 2

    def final() -> float:
        torch.manual_seed(EVALUATION)
        return sum(loss_of(64).item() for _ in range(200)) / 200

    return Training(optimizer, 5000, lambda _: loss_of(64), final)


class _Residual(nn.Module):
    """Two convolutions with batch normalisation beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.branch(x))


def residual(seed: int) -> Training:
    """Train a residual network with batch normalisation, whose weights grow: the effective rate falls by itself."""
    torch.manual_seed(seed)
    first = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(12), nn.ReLU())
    net = nn.Sequential(first, _Residual(12), _Residual(12), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(48, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    stream = Digits(seed, 32)

    def loss(_: int) -> Tensor:
        batch = stream.next()
        return F.cross_entropy(net(torch.from_numpy(batch.x)[:, None]), torch.from_numpy(batch.y))

    def final() -> float:
        batch = evaluated_digits()
        net.eval()
        return F.cross_entropy(net(torch.from_numpy(batch.x)[:, None]), torch.from_numpy(batch.y)).item()

    return Training(optimizer, 2500, loss, final)


class _Reader(nn.Module):
    """A transformer of two layers that sees the whole window."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.letters, self.places = nn.Embedding(LETTERS + 1, width), nn.Parameter(0.1 * torch.randn(WINDOW, width))
        layer = nn.TransformerEncoderLayer(width, 2, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.last = nn.Linear(width, LETTERS)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.blocks(self.letters(x) + self.places))  # type: ignore[no-any-return]


def masked(seed: int) -> Training:
    """Predict masked letters of a text: long at the entropy of single letters, then ever slower."""
    torch.manual_seed(seed)
    net, stream = _Reader(), Text(seed)

    def loss_of(x: Tensor) -> Tensor:
        hidden = torch.rand(x.shape) < 0.15
        hidden[:, 0] = True  # a batch without any would have no loss
        return F.cross_entropy(net(x.masked_fill(hidden, LETTERS))[hidden], x[hidden])

    def final() -> float:
        torch.manual_seed(EVALUATION)
        return loss_of(torch.from_numpy(evaluated_text().x)).item()

    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    return Training(optimizer, 3000, lambda _: loss_of(torch.from_numpy(stream.next().x)), final)


class _Recurrent(nn.Module):
    """Gated recurrent units and a linear layer on each of their states."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.units, self.last = nn.GRU(inputs, width, batch_first=True), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.units(x)
        return self.last(states)  # type: ignore[no-any-return]


def copying(seed: int) -> Training:
    """Say symbols again after a pause: a long saddle at the loss of guessing, before the network remembers."""
    torch.manual_seed(seed)
    symbols, length, pause = 8, 3, 10
    net = _Recurrent(symbols + 1, symbols, width=48)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)

    def loss_of(n: int) -> Tensor:
        said = torch.randint(symbols, (n, length))
        heard = torch.full((n, 2 * length + pause), symbols)
        heard[:, :length] = said
        answer = net(F.one_hot(heard, symbols + 1).float())[:, -length:]
        return F.cross_entropy(answer.reshape(-1, symbols), said.reshape(-1))

    def final() -> float:
        torch.manual_seed(EVALUATION)
        return FLOOR + loss_of(5000).item()

    return Training(optimizer, 3000, lambda _: loss_of(16), final)


HELD_OUT: dict[str, Make] = {make.__name__: make for make in (contrastive, residual, masked, copying)}
"""`residual` needs scikit-learn."""
