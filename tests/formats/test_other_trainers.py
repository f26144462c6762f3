"""Lines of further trainers, and what stands around them: configurations, bars that load data, means in brackets."""

from __future__ import annotations

import json

import pytest
from support.reading import Samples, read

from lrwatch.core.names import primary

LOGS: dict[str, tuple[str, dict[str, Samples]]] = {
    # ---- counters
    "thousands on both sides of a counter": (
        """
        iteration: 11,000 / 1,000,000 | loss: 3.5
        iteration: 12,000 / 1,000,000 | loss: 3.25
        """,
        {"loss": [(11000, 3.5), (12000, 3.25)]},
    ),
    "thousands before a comma": (
        """
        <epoch:  0, iter:   1,000, lr:2.000e-04> l_pix: 3.5
        <epoch:  0, iter:   2,000, lr:2.000e-04> l_pix: 3.25
        """,
        {"l_pix": [(1000, 3.5), (2000, 3.25)], "lr": [(1000, 2e-4), (2000, 2e-4)]},
    ),
    "a counter between pipes": (
        """
        |   1/12 | 2024.05.03 | loss 3.5 | acc 7/10
        |   2/12 | 2024.05.03 | loss 3.25 | acc 7/10
        """,
        {"loss": [(1, 3.5), (2, 3.25)]},
    ),
    "a step that is called a number": (
        """
        | update_idx 100 | loss 3.5 | steps/s 2.1
        | update_idx 200 | loss 3.25 | steps/s 2.1
        """,
        {"loss": [(100, 3.5), (200, 3.25)]},
    ),
    "an epoch in brackets behind the split": (
        """
        TRAIN [0][0/100]\tTime 0.301 (0.312)\tLoss/tok 3.5 (3.75)\tLR 1.0e-03
        TRAIN [1][0/100]\tTime 0.301 (0.312)\tLoss/tok 3.25 (3.5)\tLR 5.0e-04
        """,
        {
            "Loss/tok": [(0, 3.5), (100, 3.25)],
            "LR": [(0, 0.001), (100, 0.0005)],
            "running.Loss/tok": [(0, 3.75), (100, 3.5)],
        },
    ),
    "a counter of a bar with the unit": (
        """
        Progress on:train 1.0kit/10.0kit rate:1.2it/s remaining:00:10 elapsed:00:01 postfix:loss=3.5
        Progress on:train 1.1kit/10.0kit rate:1.2it/s remaining:00:09 elapsed:00:02 postfix:loss=3.25
        """,
        {"loss": [(1000, 3.5), (1100, 3.25)]},
    ),
    "rounds of clients": (
        """
        round   1/10 :: client_loss(avg)=3.5 clients=8/10 acc=50.0% (4096/8192)
        round   2/10 :: client_loss(avg)=3.25 clients=8/10 acc=51.0% (4177/8192)
        """,
        {"client_loss(avg)": [(1, 3.5), (2, 3.25)]},
    ),
    "steps behind a counter, in Chinese": (
        """
        训练进度: 10/100 步, 损失: 3.5
        训练进度: 20/100 步, 损失: 3.25
        """,
        {"损失": [(10, 3.5), (20, 3.25)]},
    ),
    # ---- roles
    "averaged weights in brackets behind the split": (
        """
        Epoch 1 done. Train: loss=3.5
        Valid: loss=3.75
        Valid(EMA): loss=3.625
        Epoch 2 done. Train: loss=3.25
        Valid: loss=3.5
        Valid(EMA): loss=3.375
        """,
        {"loss": [(1, 3.5), (2, 3.25)], "val.loss": [(1, 3.75), (2, 3.5)], "val.EMA.loss": [(1, 3.625), (2, 3.375)]},
    ),
    # ---- rates
    "the rate before and after": (
        """
        epoch 1 loss 3.5
        INFO ReduceLROnPlateau: lr 1.0e-03 -> 5.0e-04
        epoch 2 loss 3.25
        Optimizer: current LR [0.0001]
        """,
        {"loss": [(1, 3.5), (2, 3.25)], "lr": [(1, 0.0005)], "current LR": [(2, 0.0001)]},
    ),
    "the rate of this epoch": (
        """
        Epoch 3
        learning rate used in this epoch: 1.0e-03
        train loss 3.5
        """,
        {"train loss": [(3, 3.5)], "learning rate used in this epoch": [(3, 0.001)]},
    ),
    "the rate of the first epoch, set before its bar": (
        """
        Epoch 1: LearningRateScheduler setting learning rate to 0.01.
        Epoch 1/2
        100/100 - 12s - loss: 3.5
        Epoch 2: LearningRateScheduler setting learning rate to 0.005.
        Epoch 2/2
        100/100 - 12s - loss: 3.25
        """,
        {"loss": [(1, 3.5), (2, 3.25)], "learning rate": [(1, 0.01), (2, 0.005)]},
    ),
    # ---- numbers
    "assignments behind blanks, as Fortran writes them": (
        """
        ITER =      5   LOSS = 0.350000D+01   LR = 0.100000D-02
          ITER =     10   LOSS = 0.325000D+01   LR = 0.100000D-02
        """,
        {"LOSS": [(5, 3.5), (10, 3.25)], "LR": [(5, 0.001), (10, 0.001)]},
    ),
    "points of thousands beside decimal commas": (
        """
        Schritt 0: Verlust = 3,5; Lernrate = 0,00030
        Schritt 1.000: Verlust = 3,25; Lernrate = 0,00030
        Schritt 12.000: Verlust = 3,0; Lernrate = 0,00030
        """,
        {"Verlust": [(0, 3.5), (1000, 3.25), (12000, 3.0)], "Lernrate": [(0, 3e-4), (1000, 3e-4), (12000, 3e-4)]},
    ),
    "values in brackets at once behind their names": (
        """
        Shape-Model-1 -> Loss[3.5] Step[10] Lr[0.00100]
        Shape-Model-2 -> Loss[3.25] Step[20] Lr[0.00100]
        """,
        {"Loss": [(10, 3.5), (20, 3.25)], "Lr": [(10, 0.001), (20, 0.001)]},
    ),
    "the sign of a number": (
        """
        шаг №10; потери: 3.5
        шаг №20; потери: 3.25
        """,
        {"потери": [(10, 3.5), (20, 3.25)]},
    ),
    "Polish": (
        """
        Epoka 1/2, strata treningowa: 3.5, strata walidacyjna: 3.75
        Epoka 2/2, strata treningowa: 3.25, strata walidacyjna: 3.5
        """,
        {"strata treningowa": [(1, 3.5), (2, 3.25)], "strata walidacyjna": [(1, 3.75), (2, 3.5)]},
    ),
    "traditional characters": (
        """
        訓練步數 10, 訓練損失 3.5, 學習率 0.001
        訓練步數 20, 訓練損失 3.25, 學習率 0.001
        """,
        {"訓練損失": [(10, 3.5), (20, 3.25)], "學習率": [(10, 0.001), (20, 0.001)]},
    ),
    # ---- records over several lines
    "a dictionary of dictionaries": (
        """
        {
          "epoch": 1,
          "train": {
            "loss": 3.5
          },
          "val_loss": 3.75
        }
        {
          "epoch": 2,
          "train": {
            "loss": 3.25
          },
          "val_loss": 3.5
        }
        """,
        {"train/loss": [(1, 3.5), (2, 3.25)], "val_loss": [(1, 3.75), (2, 3.5)]},
    ),
    "splits above indented items": (
        """
        epoch: 1
          train:
            loss: 3.5
          val:
            loss: 3.75
          lr: 0.001
        epoch: 2
          train:
            loss: 3.25
          val:
            loss: 3.5
          lr: 0.001
        """,
        {"loss": [(1, 3.5), (2, 3.25)], "val.loss": [(1, 3.75), (2, 3.5)], "lr": [(1, 0.001), (2, 0.001)]},
    ),
    "a list in Markdown": (
        """
        - **Step:** 10
        - **Loss:** 3.5

        - **Step:** 20
        - **Loss:** 3.25
        """,
        {"Loss": [(10, 3.5), (20, 3.25)]},
    ),
    "a box of metrics and values": (
        """
        ┌─────────────┬──────────┐
        │ metric      │ value    │
        ├─────────────┼──────────┤
        │ step        │ 100      │
        │ loss        │ 3.5      │
        └─────────────┴──────────┘
        ┌─────────────┬──────────┐
        │ metric      │ value    │
        ├─────────────┼──────────┤
        │ step        │ 200      │
        │ loss        │ 3.25     │
        └─────────────┴──────────┘
        """,
        {"loss": [(100, 3.5), (200, 3.25)]},
    ),
    "columns that are called after splits": (
        """
        epoch train valid lr time
           1 3.5000 3.7500 0.001 10:00:01
           2 3.2500 3.5000 0.001 10:00:02
        """,
        {"train": [(1, 3.5), (2, 3.25)], "valid": [(1, 3.75), (2, 3.5)], "lr": [(1, 0.001), (2, 0.001)]},
    ),
    # ---- bars and summaries
    "a bar of rich": (
        """
        Epoch 0/1 ━━━━━━━━━━━━ 1/2 0:00:01 • 0:00:02 12.31it/s v_num: 0 train/loss: 3.5
        Epoch 0/1 ━━━━━━━━━━━━ 2/2 0:00:02 • 0:00:00 12.31it/s v_num: 0 train/loss: 3.25
        Epoch 1/1 ━━━━━━━━━━━━ 1/2 0:00:01 • 0:00:02 12.31it/s v_num: 0 train/loss: 3.0
        """,
        {"train/loss": [(1, 3.5), (2, 3.25), (3, 3.0)]},
    ),
    "a bar without an end whose postfix follows the rate": (
        """
        Epoch #1: 10001it [00:30, 320.1it/s, env_step=10000, loss=3.5]
        Epoch #2: 10001it [00:30, 320.1it/s, env_step=20000, loss=3.25]
        """,
        {"loss": [(10000, 3.5), (20000, 3.25)]},
    ),
    "a record over a bar that has not begun": (
        """
        {'step': 0, 'loss': 3.5}
        \r  0%|          | 0/100 [00:00<?, ?it/s]{'step': 10, 'loss': 3.25}
        """,
        {"loss": [(0, 3.5), (10, 3.25)]},
    ),
    "bars that prepare data": (
        """
        Map: 100%|██████████| 10000/10000 [00:02<00:00, 4321.12 examples/s]
        Loading checkpoint shards: 100%|██████████| 300/300 [00:05<00:00,  1.80s/it]
        \r 50%|█████     | 5/10 [00:05<00:05,  1.1it/s]{'loss': 3.5, 'epoch': 0.5}
        \r 60%|██████    | 6/10 [00:06<00:04,  1.1it/s]{'loss': 3.25, 'epoch': 0.6}
        """,
        {"loss": [(5, 3.5), (6, 3.25)]},
    ),
    "means in brackets": (
        """
        [000/002][0000/0100] loss: 3.5
        [000/002][0050/0100] loss: 3.25
        [000/002] [Avg] loss: 3.375
        [001/002][0000/0100] loss: 3.0
        """,
        {"loss": [(0, 3.5), (50, 3.25), (100, 3.0)], "epoch.loss": [(50, 3.375)]},
    ),
    "a configuration and the beginning of the run": (
        """
        args: {'lr': 0.1, 'epochs': 90, 'loss_weight': 2.0, 'steps': 1000}
        Start training from epoch 0 of 90, base lr 0.1
        Epoch 1 [0/100] loss: 3.5
        Epoch 1 [50/100] loss: 3.25
        Epoch 2 [0/100] loss: 3.0
        """,
        {"loss": [(0, 3.5), (50, 3.25), (100, 3.0)]},
    ),
    "a rate beside a place and one word of a configuration": (
        """
        epoch=1 lr=0.001 batch_size=64
        train loss 3.5
        epoch=2 lr=0.0005 batch_size=64
        train loss 3.25
        """,
        {"train loss": [(1, 3.5), (2, 3.25)], "lr": [(1, 0.001), (2, 0.0005)]},
    ),
    "the end of the run with the best step": (
        """
        step 10: train loss 3.5
        step 20: train loss 3.25
        Training complete: final loss 3.25, best val loss 3.5 at step 10
        [I 2024-05-03 10:00:00,123] Trial 0 finished with value: 3.5 and parameters: {'lr': 0.001}. Best is trial 0.
        """,
        {"train loss": [(10, 3.5), (20, 3.25)]},
    ),
}


@pytest.mark.parametrize(("log", "wanted"), LOGS.values(), ids=LOGS)
def test_the_losses_and_rates_of_a_log(log: str, wanted: dict[str, Samples]) -> None:
    samples = read(log)
    assert {name: samples.get(name) for name in wanted} == wanted
    others = samples.keys() - wanted.keys()
    assert not [name for name in others if "loss" in name.lower() or name == "lr"], "what the log does not have"


WATCHED = [
    (["fwd_cost", "bwd_cost", "opt_cost", "cost"], "cost"),
    (["loss_max", "loss_std", "loss_mean"], "loss_mean"),
    (["Train-accuracy", "Train-cross-entropy"], "Train-cross-entropy"),
    (["Trainingsverlust", "Validierungsverlust"], "Trainingsverlust"),
    (["training's l2", "valid_1's l2"], "training's l2"),
    (["New worst char error", "Mean rms"], "Mean rms"),
    (["LossPi", "LossV"], None),
]


@pytest.mark.parametrize(("names", "watched"), WATCHED)
def test_the_metric_to_watch_of_other_trainers(names: list[str], watched: str | None) -> None:
    assert primary(names) == watched


def test_parts_of_two_streams_are_put_together_each_by_itself() -> None:
    log = """
        2024-05-03T10:00:00.1Z stderr P step 10 |
        2024-05-03T10:00:00.1Z stdout F noise
        2024-05-03T10:00:00.1Z stderr F  loss 3.5
        2024-05-03T10:00:01.1Z stderr F step 20 | loss 3.25
        """
    assert read(log)["loss"] == [(10, 3.5), (20, 3.25)]


def test_lines_of_their_own_before_a_json_logger_are_no_obstacle() -> None:
    records = [
        json.dumps({"level": "INFO", "message": f"step {step} loss {loss}"}) for step, loss in [(10, 3.5), (20, 3.25)]
    ]
    assert read("\n".join(["Starting", "node 0 is up", *records]) + "\n")["loss"] == [(10, 3.5), (20, 3.25)]
