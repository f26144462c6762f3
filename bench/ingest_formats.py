"""Throughput of each format in lines a second, beside `json.loads` over the lines of the first log.

Run with ``python bench/ingest_formats.py``. One core; the best of several runs, which reduces the influence of a busy
machine. The last column compares with `json.loads` in the same run: ratios are comparable between machines, lines a
second are not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial

from lrwatch.formats import by_name

LINES = 200_000
RUNS = 5
# Bytes of one read by the daemon.
CHUNK_BYTES = 1 << 20


def _lines(make: Callable[[int], str]) -> bytes:
    return "".join(make(i) for i in range(LINES)).encode()


LOGS: dict[str, tuple[str, bytes]] = {
    "jsonl": ("jsonl", _lines(lambda i: f'{{"step": {i}, "loss": 2.3456, "lr": 0.001}}\n')),
    "jsonl, another shape in every 10th line": (
        "jsonl",
        _lines(lambda i: f'{{"step": {i}, "{"loss" if i % 10 else "val_loss"}": 2.3456, "lr": 0.001}}\n'),
    ),
    "jsonl, NaN in every line": ("jsonl", _lines(lambda i: f'{{"step": {i}, "loss": NaN, "lr": 0.001}}\n')),
    "jsonl, a foreign line in every 100": (
        "jsonl",
        _lines(lambda i: f'{{"step": {i}, "loss": 2.3456, "lr": 0.001}}\n' if i % 100 else "Saving the model ...\n"),
    ),
    "jsonl, nested": ("jsonl", _lines(lambda i: f'{{"step": {i}, "train": {{"loss": 2.3456, "lr": 0.001}}}}\n')),
    "csv": ("csv", b"step,loss,lr,norm\n" + _lines(lambda i: f"{i},2.3456,0.001,0.67\n")),
    "csv, every other cell empty": (
        "csv",
        b"epoch,step,loss,val_loss,lr,acc\n"
        + _lines(lambda i: f"0,{i},2.3456,,0.001,\n" if i % 2 else f"0,{i},,2.5,,0.5\n"),
    ),
    "numbers": ("numbers", _lines(lambda i: f"{i} {i / 977:.6f}\n")),
    "prefixed": (
        "prefixed",
        _lines(lambda i: f'2021-07-01 | INFO | train | {{"loss": "11.2", "num_updates": "{i}"}}\n'),
    ),
    "text, llm.c": (
        "text",
        _lines(lambda i: f"s:{i} trl:{i % 97 / 9:.4f} lr:0.000600 norm:{i % 13 / 9:.2f}\n"),
    ),
    "text, full precision": ("text", _lines(lambda i: f"step={i} loss={i / 977!r} lr={i / 9_999_991!r}\n")),
    "text, epoch and a counter in it": (
        "text",
        _lines(
            lambda i: (
                f"Epoch [{i // 500 + 1}][{i % 500}/500]\tlr: 1.0e-04, time: 0.25, loss_cls: 0.5245, loss: 1.6494\n"
            )
        ),
    ),
    "text, Hugging Face": (
        "text",
        _lines(lambda i: f"{{'loss': 1.416, 'grad_norm': 0.117, 'learning_rate': 9.96e-05, 'epoch': {i / 1000}}}\n"),
    ),
}


def _best(work: Callable[[], object]) -> float:
    """Return the seconds of the fastest run."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def ingest(name: str, log: bytes) -> int:
    """Feed a log as a tail does, and return the number of samples."""
    reader = by_name(name)
    samples = at = 0
    while at < len(log):
        batch, used = reader.feed(log[at : at + CHUNK_BYTES], final=at + CHUNK_BYTES >= len(log))
        samples += len(batch)
        at += used
    return samples


def main() -> None:
    """Print the table."""
    lines = LOGS["jsonl"][1].splitlines()
    peer = LINES / _best(lambda: [json.loads(line) for line in lines])
    print(f"{'log':<42}{'lines/s':>12}{'samples/s':>12}{'x json.loads':>14}")
    print(f"{'json.loads alone':<42}{peer:>12,.0f}{'':>12}{1:>14.2f}")
    for title, (name, log) in LOGS.items():
        found = ingest(name, log)
        rate = LINES / _best(partial(ingest, name, log))
        print(f"{title:<42}{rate:>12,.0f}{rate * found / LINES:>12,.0f}{rate / peer:>14.2f}")


if __name__ == "__main__":
    main()
