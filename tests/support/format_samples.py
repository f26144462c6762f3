"""A small invented log of each format, and functions that feed it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise

from support.event_files import TFEVENTS
from support.wandb_files import framed, history

from lrwatch.core.sample import Batch
from lrwatch.formats import Format, restore

JSONL = (
    b'{"config": {"lr": 0.1, "name": "x"}}\n'
    b'{"step": 1, "loss": 2.5, "lr": 0.001, "ok": true, "note": "a"}\n'
    b'{"step": 2, "loss": NaN, "lr": "1e-3"}\r\n'
    b'{"step": 3, "loss": 2.25, "lr": 0.001}\r'
    b"not json at all\n"
    b'{"step": 4, "train": {"loss": -Infinity, "parts": [1, 2.5]}}\n'
    b"\n"
    b'{"mode": "val", "iter": 9, "loss": 2.125}\n'
    b'{"step": 5, "loss": "nan", "top5": 0.5}\n'
    b'{"step": 6, "loss": 2'  # torn
)

CSV = (
    b"\xef\xbb\xbf    epoch,  step, train/loss,lr\n"
    b"0,1,2.5,0.001\n"
    b"0,2,,\n"
    b"\n"
    b"0,3,nan,0.001\r\n"
    b'0,4,"2.25",0.001\n'
    b"0,5,2.0\n"  # misfit
    b"    epoch,  step, train/loss,lr\n"
    b"1,6,-inf,0.0005\n"
    b"epoch,step,train/loss,val_loss,lr\n"
    b"1,7,1.5,1.75,0.0005\n"
    b"1,8,1.25,1.5,0.00"  # torn
)

TEXT = (
    b"config: lr=0.1 batch_size=32\n"
    b"    for step in range(10): loss = 0.5\n"
    b"s:1 trl:10.5 lr:0.001 norm:1.5\n"
    b"\x1b[32mINFO\x1b[0m step: 2 loss: 9.5 top5: 0.25 top1: 0.125\r"
    b"step:3/6200 train_loss:nan step_avg:nanms train_time:85ms tps: 7,034\n"
    b"step 4: train loss 2.4989, val loss 2.5072\n"
    b"iter 5: loss -inf, time 35.78ms, mfu -100.00%\r\n"
    b" iteration        6/   100 | learning rate: 9.339E-08 | lm loss: 1.078335E+01 | loss scale: 2048.0 |\n"
    b"the loss is about 3 and nan is inf\n"
    b"Some warning: loss of 3\n"
    b"  0%|          | 1/10 [00:01<00:09]\r"
    b"{'loss': 1.416, 'grad_norm': 0.5, 'learning_rate': 9.9e-05, 'epoch': 0.15}\r"
    b"  0%|          | 2/10 [00:01<00:09] {'loss': nan, 'learning_rate': '9e-05', 'epoch': 1.0}\n"
    b"A sample: {'content': \"loss: 3\"}\n"
    b"{'eval_loss': 1.5, 'eval_runtime': 3.0, 'epoch': 1.0}\r\n"
    b"step=7 loss=1."  # torn
)

OUTPUT = (
    b"Epoch 1/2\r\n"
    b"\b\b\b\r 1/20 [>....] - ETA: 0s - loss: 2.5000\b\b\b\r20/20 [====] - 1s 2ms/step - loss: 2.2500\n"
    b"20/20 \xe2\x94\x81\xe2\x94\x81 1s 2ms/step - loss: 2.2500 - val_loss: 2.5000\n"
    b"Epoch 2/2\n"
    b"20/20 - 3s - loss: nan - val_loss: 1.5\n"
    b"Epoch 1:   0%|          | 0/10 [00:00<?, ?it/s]\rEpoch 1:  10%|#         | 1/10 [00:01<00:09, 1.2it/s, loss=0.5]\r"
    b"Epoch 1:  10%|#         | 1/10 [00:01<00:09, 1.2it/s, loss=0.25]\r\n"
    b"Epoch 2: 100%|##########| 10/10 [00:01<00:00, 1.2it/s, loss=0.125]\n"
    b"[rank0]: step: 41 loss: 2.5\n[rank1]: step: 41 loss: 2.5\n[rank1]: step: 42 loss: 2.25\n"
    b"Epoch [2][50/489]\tlr: 4.945e-04, loss_rpn: 0.5, loss: 1.5\nEpoch [3][50/489]\tlr: 4.945e-04, loss: 1.25\n"
    b"Test: [ 0/39]  Loss: 6.5 (6.5)\nTest: [39/39]  Loss: 6.25 (6.125)\n"
    b"[2024-04-17 09:42:38] INFO [olmo.train:816, rank=0] [step=2/739328]\n    train/CrossEntropyLoss=10.73\n"
    b"    train/Perplexity=45,773\nepoch  train_loss  valid_loss  time\n0      0.5         0.75        00:12\n"
    b"1      0.25        nan         00:12\n"
    b"-----------------\n| train/    |   |\n|    loss   | 2 |\n| time/     |   |\n|    total_timesteps | 64 |\n-----------------\n"
    b" iteration 70/ 100 | consumed samples: 256 | lm loss: 1.5E+00 | number of skipped iterations: 0 | "
    b"number of nan iterations: 0 |\n iteration 80/ 100 | consumed samples: 256 | number of skipped iterations: 0 | "
    b"number of nan iterations: 1 |\n"
    b" 10%|#    | 866/8660 [00:01<00:09, 1.2it/s]\r{'loss': 1.5, 'epoch': 0.5}\r 10%|#    | 867/8660 [00:01<00:09, 1.2it/s]\r"
    b"{'loss': '1.25', 'epoch': '0.6'}\n70: 13.5, -nan avg, 0.001 rate, 0.16 seconds, 70 images\ntrailing loss: 3 step: 9"
)

NUMBERS = b"# step loss\n1 2.5\n2 2.25\r\n3 nan\n4\t2.0\n5 -inf\nnot a row\n6 1.75\n7 1.5 9\n8 1.25\n\n9 1."  # torn

PREFIXED = (
    b"Using config with lr 0.1\n"
    b':::MLLOG {"key": "global_batch_size", "value": 64, "metadata": {"lineno": 3}}\n'
    b'0: :::MLLOG {"key": "train_loss", "value": 0.75, "metadata": {"epoch_num": 1, "step_num": 10}}\n'
    b'1: :::MLLOG {"key": "train_loss", "value": 0.75, "metadata": {"epoch_num": 1, "step_num": 10}}\r\n'
    b'2021-07-01 | INFO | train_inner | {"epoch": 1, "loss": "11.2", "num_updates": "100", "lr": "1e-5"}\n'
    b'json_stats: {"lr":0.1,"epoch":2,"loss":NaN,"path":"a\\/b"}\r'
    b"loss 0.5 in prose {not json}\n"
    b'x {"step": 200, "loss": -Infinity}\n'
    b'x {"step": 300, "train": {"loss": 2.5, "parts": [1, 2]}}\n'
    b'x {"step": 400, "loss": 2'  # torn
)

WANDB = framed(
    [
        history({"_step": str(i), "loss": value, "lr": "0.001"})
        for i, value in enumerate(["2.5", '"NaN"', "2.25", "2.0"])
    ]
)

WRAPPED = (
    b'{"log": "Starting \\u4e2d\\n", "stream": "stdout", "time": "2024-05-01T10:00:00.1Z"}\n'
    b'{"log": "step 1 | loss 2.5\\n", "stream": "stdout", "time": "2024-05-01T10:00:00.1Z"}\n'
    b'{"log": "step 2 | loss nan\\n", "stream": "stdout", "time": "2024-05-01T10:00:01.1Z"}\r\n'
    b"a line of another writer\n"
    b'{"log": "step 3 | lo", "stream": "stdout", "time": "2024-05-01T10:00:02.1Z"}\n'
    b'{"log": "ss 2.25\\n", "stream": "stdout", "time": "2024-05-01T10:00:02.1Z"}\n'
    b'{"log": "step 4 | loss 2.0\\nstep 5 | loss -inf\\n", "stream": "stdout", "time": "2024-05-01T10:00:03.1Z"}\n'
    b'{"log": "step 6 | loss 1.5\\n", "stream": "stdou'  # torn
)

LOGS = {
    "wrapped": WRAPPED,
    "wandb": WANDB,
    "numbers": NUMBERS,
    "prefixed": PREFIXED,
    "tfevents": TFEVENTS,
    "jsonl": JSONL,
    "csv": CSV,
    "text": TEXT,
}


def feed(reader: Format, chunks: Iterable[bytes], *, restart: bool = False) -> list[Batch]:
    """Feed chunks as a tail does, the unconsumed rest again with each next one; with `restart` through the state.

    A document is given as a whole, and gives all its samples each time: the last time counts.
    """
    if reader.whole:
        return [reader.feed(b"".join(chunks), final=True)[0]]
    batches = []
    rest = b""
    for chunk in chunks:
        rest += chunk
        batch, used = reader.feed(rest)
        rest = rest[used:]
        batches.append(batch)
        if restart:
            reader = restore(reader.name, reader.state())
    batch, used = reader.feed(rest, final=True)
    assert used == len(rest)
    return [*batches, batch]


def samples(batches: Iterable[Batch]) -> list[tuple[str, int, str]]:
    """All samples, with values as text so that NaN equals NaN."""
    return [(s.metric, s.step, repr(s.value)) for batch in batches for s in batch.samples()]


def values(batches: Iterable[Batch], metric: str) -> list[tuple[int, float]]:
    """Step and value of one metric."""
    return [(s.step, s.value) for batch in batches for s in batch.samples() if s.metric == metric]


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    """Cut `data` at the given offsets."""
    edges = [0, *sorted({min(max(i, 0), len(data)) for i in at}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def random_cuts(data: bytes, pieces: int, seed: int) -> list[bytes]:
    """Cut `data` at random, reproducibly."""
    rng = random.Random(seed)
    return cut(data, (rng.randrange(len(data) + 1) for _ in range(pieces)))
