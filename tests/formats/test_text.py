"""Text with names and numbers."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.format_samples import OUTPUT, cut, feed, random_cuts, samples

from lrwatch.formats.text import Text


def read(*lines: str) -> list[tuple[str, int, str]]:
    return samples(feed(Text(), ["".join(f"{line}\n" for line in lines).encode()]))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("s:699 trl:4.8484 lr:0.000600 norm:0.67", {"trl": 4.8484, "lr": 0.0006, "norm": 0.67}),
        ("step:1/6200 train_loss:10.9184 train_time:74701ms step_avg:nanms", {"train_loss": 10.9184}),
        ("step 250: train loss 2.4989, val loss 2.5072", {"train loss": 2.4989, "val loss": 2.5072}),
        ("iter 10: loss 3.1820, time 35.78ms, mfu 10.41%", {"loss": 3.182, "mfu": 10.41}),
        ("step=3, loss=0.5, lr=1e-05", {"loss": 0.5, "lr": 1e-5}),
        ("2024-05-06 12:30:01,853 - INFO - step: 4  loss: 12.4153  tps: 7,034", {"loss": 12.4153, "tps": 7034.0}),
        (
            "INFO:root:epoch 3 loss=.5 loss_scale=128 top1=9 top5=8",
            {"epoch": 3, "loss": 0.5, "loss_scale": 128, "top1": 9, "top5": 8},
        ),
        (
            " iteration   10/  99 | lm loss: 1.078335E+01 | loss scale: 2048.0 |",
            {"lm loss": 10.78335, "loss scale": 2048.0},
        ),
        ("validation loss at iteration 100 | lm loss value: 9.08 |", {"val.lm loss value": 9.08}),
        ("\x1b[31mstep:\x1b[0m 1  \x1b[32mloss:\x1b[39m  2.5", {"loss": 2.5}),
        (
            "epoch: 1, lr: 1.00e+00 - train loss: 3.96 - valid loss: 3.20",
            {"epoch": 1, "lr": 1, "train loss": 3.96, "valid loss": 3.2},
        ),
        ("loss: -Infinity", {"loss": float("-inf")}),
    ],
)
def test_real_line_shapes_are_understood(line: str, found: dict[str, float]) -> None:
    assert {name: value for name, _, value in read(line)} == {name: repr(float(value)) for name, value in found.items()}


@pytest.mark.parametrize("nan", ["nan", "NaN", "-nan", "+nan"])
def test_a_loss_that_is_not_a_number_is_a_sample(nan: str) -> None:
    assert read(f"step: 3 loss: {nan} lr: 0.1") == [("loss", 3, "nan"), ("lr", 3, "0.1")]


@pytest.mark.parametrize(
    "noise",
    [
        "learning_rate: 0.0006 batch_size: 32 max_steps: 1000 warmup_steps=10",
        "Namespace(lr=0.1, epoch=10, loss=1)",
        "    val_loss_every = 125 # every how many steps to evaluate val loss",
        "    train_loss = 0.0",
        "        val_loss += loss.item() / 20",
        'print(f"step:{step}/{args.num_iterations} train_loss:{train_loss.item():.4f}")',
        "for step in range(args.num_iterations + 1): loss = 0",
        "loss_fn = CrossEntropyLoss(weight=1.0)",
        "def __init__(self, loss: float = 0.5):",
        "    loss: float = 0.5",
        "downloading http://host:8080/x.tar at 12:30:45",
        "the loss was about 3 and the step took 5",
        "step_avg:nanms",
        "loss: nano",
        "trl/trainer/sft_trainer.py:212: UserWarning: 5",
        "| 0   N/A  N/A    1234      C   python    27MiB |",
    ],
)
def test_noise_gives_no_samples(noise: str) -> None:
    assert read(noise) == []


def test_lines_of_one_shape_are_read_by_their_own_digits() -> None:
    assert read(*(f"s:{i} acc{i % 2}:{i}.5 loss:{i / 8}" for i in range(10, 99))) == [
        sample for i in range(10, 99) for sample in ((f"acc{i % 2}", i, f"{i}.5"), ("loss", i, repr(i / 8)))
    ]


def test_output_of_many_trainers_fed_byte_by_byte_with_a_restart_each_time_gives_the_same_samples() -> None:
    whole = samples(feed(Text(), [OUTPUT]))
    assert len(whole) > 40
    assert samples(feed(Text(), [OUTPUT[i : i + 1] for i in range(len(OUTPUT))], restart=True)) == whole


@pytest.mark.slow
@given(at=st.lists(st.integers(0, len(OUTPUT)), max_size=12))
@settings(deadline=None)
def test_output_of_many_trainers_in_any_chunking_gives_the_same_samples(at: list[int]) -> None:
    assert samples(feed(Text(), cut(OUTPUT, at))) == samples(feed(Text(), [OUTPUT]))


@pytest.mark.slow
@given(data=st.data())
@settings(deadline=None, max_examples=200)
def test_lines_of_many_trainers_in_any_order_and_chunking_give_the_same_samples(data: st.DataObject) -> None:
    lines = OUTPUT.splitlines(keepends=True)
    log = b"".join(data.draw(st.lists(st.sampled_from([*lines, b"\r", b"\n", b"\b"]), max_size=40)))
    at = data.draw(st.lists(st.integers(0, len(log)), max_size=8))
    restart = data.draw(st.booleans())
    assert samples(feed(Text(), cut(log, at), restart=restart)) == samples(feed(Text(), [log]))


def test_of_an_epoch_that_is_drawn_over_several_lines_the_last_one_counts() -> None:
    header = "     Epoch   gpu_mem       box       obj       cls    labels  img_size"
    drawn = [
        f"1667892746{i:03} vm error       {i // 3}/9     10.9G    0.{9 - i}     0.05     0.01       602       640: "
        f" {i % 3 * 50}%|###| {i % 3 * 13}/26 [00:10<00:22,  1.15s/it]"
        for i in range(6)
    ]
    lines = [f"1667892745000 vm error {header}", *drawn[:3], "1667892745000 vm info saved", *drawn[3:]]
    assert [(step, value) for name, step, value in read(*lines) if name == "box_loss"] == [(0, "0.7"), (1, "0.4")]


LOGS_OF_TRAINERS = sorted((Path(__file__).parents[1] / "data" / "logs").glob("*.log"))
DAMAGE = [
    b"\r",
    b"\n",
    b"\b\b",
    b"nan",
    b"e999",
    b"1" * 40,
    b"/",
    b"[",
    b"{'",
    b"epoch 99999999999999999999 ",
    b"\x1b[0m",
    b"0/0",
]


@pytest.mark.slow
@pytest.mark.parametrize("log", LOGS_OF_TRAINERS, ids=lambda log: log.stem)
def test_a_damaged_log_gives_the_same_samples_in_any_chunking(log: Path) -> None:
    rng = random.Random(log.name)
    whole = log.read_bytes()
    for _ in range(20):
        start = rng.randrange(max(1, len(whole) - 4000))
        data = bytearray(whole[start : start + 4000])
        for _ in range(rng.randrange(1, 40)):
            at = rng.randrange(len(data) + 1)
            data[at : at + rng.choice([0, 1, 9])] = rng.choice([*DAMAGE, rng.randbytes(1), b""])
        chunks = random_cuts(bytes(data), 6, rng.randrange(1000))
        assert samples(feed(Text(), chunks, restart=rng.random() < 0.5)) == samples(feed(Text(), [bytes(data)]))


RATES = [
    "LR: 1.{i}e-3", "Time: 60s - LR: 1.{i}e-3", "Current learning rate: 0.001{i}", "learning_rate: 0.001{i}",
    "learning_rate = 0.001{i}", "lr 1.{i}e-3", "lr = 1.{i}e-03", "2026-01-02 03:04:05.2: learning rate is 0.001{i}",
]  # fmt: skip


@pytest.mark.parametrize("spelling", RATES)
@pytest.mark.parametrize("last", [False, True], ids=["after the epoch's name", "at its end"])
@pytest.mark.parametrize("bar", [False, True], ids=["alone", "with bars"])
def test_a_learning_rate_on_a_line_of_its_own_is_of_the_epoch_before_it(spelling: str, last: bool, bar: bool) -> None:
    lines = []
    for i in range(1, 6):
        rate = [spelling.format(i=i)]
        losses = [f"train_loss {2 - i / 10:.3f}", f"val_loss {2.1 - i / 10:.3f}"]
        lines += [f"Epoch {i}", *([*losses, *rate] if last else [*rate, *losses])]
        if bar:
            lines += [f" {at}/2 [==>] - ETA: 0s" for at in (1, 2)]
    found = read(*lines)
    rates = [(step, float(value)) for name, step, value in found if "loss" not in name and name != "epoch"]
    assert [step for step, _ in rates] == [1, 2, 3, 4, 5]
    assert [rate for _, rate in rates] == pytest.approx([0.0011, 0.0012, 0.0013, 0.0014, 0.0015])
    assert len([name for name, _, _ in found if name == "train_loss"]) == 5
    data = "".join(f"{line}\n" for line in lines).encode()
    for seed in range(3):
        assert samples(feed(Text(), random_cuts(data, 9, seed), restart=True)) == found


def test_a_learning_rate_before_the_first_epoch_is_a_setting_and_one_that_rests_is_said_each_time() -> None:
    found = read(
        "lr: 0.5", "learning_rate = 0.5", *(line for i in (1, 2, 3) for line in (f"Epoch {i}", "lr: 0.1", "loss: 2"))
    )
    assert [sample for sample in found if sample[0] not in ("loss", "epoch")] == [("lr", i, "0.1") for i in (1, 2, 3)]
