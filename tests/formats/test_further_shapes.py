"""Further shapes of the kinds in `test_kinds`, as trainers that no fixture log is of print them.

One file because it is one table.
"""

from __future__ import annotations

import pytest
from support.reading import Samples, read

LOSSES: dict[str, tuple[str, dict[str, Samples]]] = {
    # ---- counters
    "epoch and batch as two fractions": (
        """
        [0/25][0/100]\tLoss_D: 1.25\tLoss_G: 2.5\tD(G(z)): 0.4 / 0.05
        [0/25][50/100]\tLoss_D: 1.0\tLoss_G: 2.75\tD(G(z)): 0.4 / 0.05
        [1/25][0/100]\tLoss_D: 0.75\tLoss_G: 3.0\tD(G(z)): 0.4 / 0.05
        """,
        {"Loss_D": [(0, 1.25), (50, 1.0), (100, 0.75)], "Loss_G": [(0, 2.5), (50, 2.75), (100, 3.0)]},
    ),
    "a counter in thousands": (
        """
        [0.5k/100k] loss: 3.5 tokens: 2.1M
        [1.0k/100k] loss: 3.25 tokens: 4.2M
        """,
        {"loss": [(500, 3.5), (1000, 3.25)]},
    ),
    "a padded step in brackets, and other fractions": (
        """
        [  1] loss=3.5 ratio 3/4 fold 2/5
        [  2] loss=3.25 ratio 3/4 fold 2/5
        """,
        {"loss": [(1, 3.5), (2, 3.25)]},
    ),
    "a rank of all before the epoch, and a bracket that a loss belongs to": (
        """
        [train.py:901] (0/4) Epoch 1, batch 0, loss[loss=3.5, simple_loss=0.5], tot_loss[loss=3.75], lr: 1.0e-03
        [train.py:901] (0/4) Epoch 1, batch 50, loss[loss=3.25, simple_loss=0.5], tot_loss[loss=3.5], lr: 1.0e-03
        [train.py:901] (0/4) Epoch 2, batch 0, loss[loss=3.0, simple_loss=0.5], tot_loss[loss=3.25], lr: 1.0e-03
        """,
        {
            "loss": [(0, 3.5), (50, 3.25), (51, 3.0)],
            "tot_loss.loss": [(0, 3.75), (50, 3.5), (51, 3.25)],
            "simple_loss": [(0, 0.5), (50, 0.5), (51, 0.5)],
        },
    ),
    "frames a second are no step": (
        """
        fps step: 12345 fps total: 123 epoch: 1/500 loss: 3.5
        fps step: 12346 fps total: 124 epoch: 2/500 loss: 3.25
        """,
        {"loss": [(1, 3.5), (2, 3.25)]},
    ),
    # ---- roles
    "validation by a phase": (
        """
        Epoch 1 phase=train loss=3.5
        Epoch 1 phase=val loss=3.75
        Epoch 2 phase=train loss=3.25
        Epoch 2 phase=val loss=3.5
        """,
        {"loss": [(1, 3.5), (2, 3.25)], "val.loss": [(1, 3.75), (2, 3.5)]},
    ),
    "validation of averaged weights by a hyphen": (
        """
        step=100 loss=3.5
        [val] step=100 loss=3.75
        [val-ema] step=100 loss=3.625
        step=200 loss=3.25
        [val] step=200 loss=3.5
        [val-ema] step=200 loss=3.375
        """,
        {
            "loss": [(100, 3.5), (200, 3.25)],
            "val.loss": [(100, 3.75), (200, 3.5)],
            "val.EMA.loss": [(100, 3.625), (200, 3.375)],
        },
    ),
    "behind an arrow": (
        """
        Epoch 1 Iter 10/20 loss 3.5
        Epoch 1 Iter 20/20 loss 3.25
        ====> Epoch: 1 Average loss: 3.375
        ====> Test set loss: 3.625
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "Average loss": [(20, 3.375)], "Test set loss": [(20, 3.625)]},
    ),
    # ---- leaders, arrows, lists, headers behind #
    "dots that lead from a name to its value": (
        """
        [Step 00000] --------------------
            loss ............ 3.5
            lr .............. 1.0e-03
        [Step 00010] --------------------
            loss ............ 3.25
            lr .............. 1.0e-03
        """,
        {"loss": [(0, 3.5), (10, 3.25)], "lr": [(0, 1e-3), (10, 1e-3)]},
    ),
    "arrows as signs": (
        """
        step\u21920 loss\u21923.5 lr\u21920.001
        step\u219210 loss\u21923.25 lr\u21920.001
        """,
        {"loss": [(0, 3.5), (10, 3.25)], "lr": [(0, 1e-3), (10, 1e-3)]},
    ),
    "cells that are lists": (
        """
        Step      Train loss              Test loss               Test metric
        0         [3.50e+00, 6.00e+00]    [3.75e+00, 6.50e+00]    []
        1000      [3.25e+00, 5.75e+00]    [3.50e+00, 6.25e+00]    []
        """,
        {
            "Train loss.0": [(0, 3.5), (1000, 3.25)],
            "Train loss.1": [(0, 6.0), (1000, 5.75)],
            "Test loss.0": [(0, 3.75), (1000, 3.5)],
            "Test loss.1": [(0, 6.5), (1000, 6.25)],
        },
    ),
    "tables of batches behind # and a split": (
        """
        Torch device: cuda
        training
        # Epoch batch         loss        f_mae
              1    10         3.50        0.512
              1    20         3.25        0.492
        validation
        # Epoch batch         loss        f_mae
              1     1         3.75        0.512
        training
        # Epoch batch         loss        f_mae
              2    10         3.00        0.502
              2    20         2.75        0.482
        """,
        {"loss": [(10, 3.5), (20, 3.25), (30, 3.0), (40, 2.75)], "val.loss": [(20, 3.75)]},
    ),
    "a step between a loss and its value": (
        """
        Train loss 100 3.5 Grad Norm 1.25 1.23s/it
        Validation loss 100:  3.75
        Train loss 110 3.25 Grad Norm 1.25 1.23s/it
        """,
        {"Train loss": [(100, 3.5), (110, 3.25)], "Validation loss": [(100, 3.75)]},
    ),
    "epochs behind the letter E, which is the level of an error as well": (
        """
        E0503 10:00:01.123456 140123 train.py:45] queue at 3/64, retry 2 of 5
        E001 | train loss 3.5 | 1.5s
        E002 | train loss 3.25 | 1.5s
        """,
        {"train loss": [(1, 3.5), (2, 3.25)]},
    ),
    "a step with a hash, and a step and its end as one name": (
        """
        step#: 500 learning rate: 0.1 average loss: 3.5
        {'loss': 3.25, 'epoch': 0.1, 'global_step/max_steps': '510/1000', 'elapsed_time': '1m 2s'}
        """,
        {"average loss": [(500, 3.5)], "loss": [(510, 3.25)]},
    ),
    "a unit s is no step, and cells with means are no header": (
        """
        Epoch: [0][0/40] | Loss 3.5000(3.7500) | MAE: e 0.1(0.1)  s 0.2(0.2)
        Epoch: [0][10/40] | Loss 3.2500(3.5000) | MAE: e 0.1(0.1)  s 0.2(0.2)
        Epoch: [0][20/40] | Loss 3.0000(3.2500)
        """,
        {"Loss": [(0, 3.5), (10, 3.25), (20, 3.0)], "running.Loss": [(0, 3.75), (10, 3.5), (20, 3.25)]},
    ),
    "where a run begins again is no sample": (
        """
        step 100 loss 3.5
        Resuming from checkpoint step 50 (best loss 3.25, lr 0.001)
        step 60 loss 3.75
        """,
        {"loss": [(100, 3.5), (60, 3.75)]},
    ),
    "bars of blocks": (
        """
        [Train] Ep 1 |\u2588\u2588  | 50/100 loss: 3.5
        [Train] Ep 1 |\u2588\u2588\u2588\u2588| 100/100 loss: 3.25
        [Train] Ep 2 |\u2588\u2588  | 50/100 loss: 3.0
        """,
        {"loss": [(50, 3.5), (100, 3.25), (150, 3.0)]},
    ),
    "rows without the cells of some columns": (
        """
        Epoch Iteration   Loss   Dev/Loss     Accuracy  Dev/Accuracy
            0        10 3.500000                50.0000
            0        20 3.250000 3.750000       51.0000      49.0000
            0        30 3.000000                52.0000
        """,
        {"Loss": [(10, 3.5), (20, 3.25), (30, 3.0)], "Dev/Loss": [(20, 3.75)]},
    ),
    "a comma behind a printed configuration with points": (
        """
        Konfiguration: lr: 0.001, batch 32, label_smoothing 0.1
        Schritt 10: Verlust 3,5000, Lernrate 0,00100
        Schritt 20: Verlust 3,2500, Lernrate 0,00100
        """,
        {"Verlust": [(10, 3.5), (20, 3.25)], "Lernrate": [(10, 1e-3), (20, 1e-3)]},
    ),
    "a rate that was dropped, and a power that is no number": (
        """
        step 10 loss 3.5
        Plateau reached, dropping LR by factor 10: 0.1 -> 0.01
        step 20 loss 3.25 lr 1\u00b710\u207b\u00b3
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "LR": [(10, 0.01)]},
    ),
    "the best loss so far is no sample": (
        """
        [Trial 3] step 10 loss 3.5
        [Trial 3] step 20 loss 3.25
        [Trial 3] finished: best loss 3.25 at step 20 in 12.3 s
        [Trial 3] step 30 loss 3.0
        """,
        {"loss": [(10, 3.5), (20, 3.25), (30, 3.0)]},
    ),
    "splits of a CSV": (
        """
        split,epoch,loss
        train,1,3.5
        val,1,3.75
        train,2,3.25
        val,2,3.5
        """,
        {"loss": [(1, 3.5), (2, 3.25)], "val.loss": [(1, 3.75), (2, 3.5)]},
    ),
    "ranks of a CSV": (
        """
        rank,step,loss
        0,10,3.5
        1,10,3.75
        0,20,3.25
        1,20,3.5
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "rank1.loss": [(10, 3.75), (20, 3.5)]},
    ),
    "ranks of JSON": (
        """
        {"rank": 0, "step": 10, "loss": 3.5}
        {"rank": 1, "step": 10, "loss": 3.75}
        {"rank": 0, "step": 20, "loss": 3.25}
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "rank1.loss": [(10, 3.75)]},
    ),
    "batches of two phases of JSON": (
        """
        {"phase": "train", "epoch": 1, "batch": 0, "loss": 3.5}
        {"phase": "train", "epoch": 1, "batch": 1, "loss": 3.25}
        {"phase": "val", "epoch": 1, "batch": 0, "loss": 3.75}
        {"phase": "train", "epoch": 2, "batch": 0, "loss": 3.0}
        {"phase": "train", "epoch": 2, "batch": 1, "loss": 2.75}
        """,
        {"loss": [(0, 3.5), (1, 3.25), (2, 3.0), (3, 2.75)], "val.loss": [(1, 3.75)]},
    ),
    "batches of a CSV restart with the epoch": (
        """
        epoch,batch,loss
        0,0,3.5
        0,1,3.25
        1,0,3.0
        1,1,2.75
        """,
        {"loss": [(0, 3.5), (1, 3.25), (2, 3.0), (3, 2.75)]},
    ),
    # ---- rates and numbers
    "a rate in the parameters of the optimizer": (
        """
        epoch 1 loss 3.5
        param_groups[0]['lr'] = 0.001
        epoch 2 loss 3.25
        param_groups[0]['lr'] = 0.0005
        """,
        {"loss": [(1, 3.5), (2, 3.25)], "lr": [(1, 0.001), (2, 0.0005)]},
    ),
    "places that are glued to a letter": (
        """
        E001 I00000 loss3.5 lr1.0e-03
        E001 I00100 loss3.25 lr1.0e-03
        """,
        {"loss": [(0, 3.5), (100, 3.25)], "lr": [(0, 0.001), (100, 0.001)]},
    ),
    # ---- records over several lines
    "a heading between number signs": (
        """
        #### Iteration 1 ####
          total_loss          : 3.5
          learning_rate       : 0.001
        #### Iteration 2 ####
          total_loss          : 3.25
          learning_rate       : 0.001
        """,
        {"total_loss": [(1, 3.5), (2, 3.25)], "learning_rate": [(1, 0.001), (2, 0.001)]},
    ),
    "a heading between equals signs": (
        """
        == step 1000 ==
         train/loss        3.5
         train/lr          0.001
        == step 2000 ==
         train/loss        3.25
         train/lr          0.0005
        """,
        {"train/loss": [(1000, 3.5), (2000, 3.25)], "train/lr": [(1000, 0.001), (2000, 0.0005)]},
    ),
    "splits above the names": (
        """
                   Train      Train      Valid
          Epoch     loss        acc       loss      time
              1   3.5000     0.5100     3.7500     12.3s
              2   3.2500     0.5200     3.5000     12.3s
        """,
        {"Train loss": [(1, 3.5), (2, 3.25)], "Valid loss": [(1, 3.75), (2, 3.5)], "Train acc": [(1, 0.51), (2, 0.52)]},
    ),
    "a split above several columns": (
        """
                        Train                Valid
          Epoch     loss      acc        loss      acc
              1   3.5000   0.5100      3.7500   0.4100
              2   3.2500   0.5200      3.5000   0.4200
        """,
        {"Train loss": [(1, 3.5), (2, 3.25)], "Valid loss": [(1, 3.75), (2, 3.5)], "Valid acc": [(1, 0.41), (2, 0.42)]},
    ),
    "two comments above numbers": (
        """
        # training log
        # epoch   loss   val_loss
        1   3.5    3.75
        2   3.25   3.5
        """,
        {"loss": [(1, 3.5), (2, 3.25)], "val_loss": [(1, 3.75), (2, 3.5)]},
    ),
    "a remark below the names of columns": (
        """
        #  step      rmse_val    rmse_trn         lr
        # If there is no available reference data, rmse_*_{val,trn} will print nan
              0      3.75e+00    3.50e+00    1.0e-03
            100      3.50e+00    3.25e+00    1.0e-03
            200      3.25e+00    3.00e+00    1.0e-03
        """,
        {"rmse_val": [(0, 3.75), (100, 3.5), (200, 3.25)], "lr": [(0, 0.001), (100, 0.001), (200, 0.001)]},
    ),
    # ---- wrapped lines
    "a JSON logger with an object of fields": (
        """
        {"level":"INFO","msg":"metrics","fields":{"step":10,"loss":3.5}}
        {"level":"INFO","msg":"metrics","fields":{"step":20,"loss":3.25}}
        """,
        {"fields.loss": [(10, 3.5), (20, 3.25)]},
    ),
    "a place in a program": (
        """
        2024-05-01 10:00:00.1 | INFO     | __main__:main:12 - step 10 loss 3.5
        2024-05-01 10:00:01.1 | INFO     | __main__:main:12 - step 20 loss 3.25
        """,
        {"loss": [(10, 3.5), (20, 3.25)]},
    ),
    # ---- summaries
    "the end of the run": (
        """
        step 10, train loss 3.5
        step 20, train loss 3.25
        Training finished. Final train loss: 3.25
        Summary: mean loss 3.375, min loss 3.25
        """,
        {"train loss": [(10, 3.5), (20, 3.25)]},
    ),
}


@pytest.mark.parametrize(("log", "wanted"), LOSSES.values(), ids=LOSSES)
def test_the_losses_of_a_log(log: str, wanted: dict[str, Samples]) -> None:
    samples = read(log)
    assert {name: samples.get(name) for name in wanted} == wanted
    others = samples.keys() - wanted.keys()
    assert not [name for name in others if "loss" in name.lower()], "a loss that the log does not have"


PREFIXES = (
    "(proc {}) ", "[2024-05-01][RANK {}/2] ", "local_rank={} ", "gpu-node-0{} | ", "10.0.0.{}: ",
    "05/03/2024 10:00:00 - INFO - __main__ - Process {}: ", "2024-05-01 10:00:00 INFO [rank {}] ", "[gpu{}] ",
    "train-worker-{} pytorch 2024-05-01T10:00:00.123Z ", "[1,mpirank:{},algo-1]<stdout>:", "{}: 2024-05-03 10:00:00 | ",
    "trainer.{}.abc12de@host1    | ", "(worker1, rank={}, pid=12, ip=10.0.0.1) ", "{}_node_gpu ", "{}_worker: ", "gpu-node-{} ",
    "[xla:{}] ", "[cuda:{}] ", "device {}: ", "<host{}> ", "compute-0-{}: ", "algo-{}-7kz3m_1  | ", "[DP={}, PP=0, TP=0] ",
    "2024-05-01 10:00:00 - INFO - rank {} - ", "INFO\t2024-05-01 10:00:00 +0000\tworkerpool0-{}\t\t",
    "2024-05-01 10:00:00,123 - INFO - [GPU {}] ", "Epoch: 1, Rank: {}, ", "| Training Device=xla:0/{} ", "worker0-{}  | ",
)  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_of_several_processes_the_lowest_is_followed(prefix: str) -> None:
    """Process 1 prints first: what it prints is kept apart all the same."""
    lines = [
        f"{prefix.format(rank)}step {step} loss {3.5 - step / 8 + rank / 4}" for step in (1, 2, 3) for rank in (1, 0)
    ]
    samples = read("\n".join(lines) + "\n")
    assert samples["loss"] == [(1, 3.375), (2, 3.25), (3, 3.125)]
    assert samples["rank1.loss"] == [(1, 3.625), (2, 3.5), (3, 3.375)]


@pytest.mark.parametrize(
    "record", ['{{"step": {}, "loss": {}}}', 'INFO {{"step": {}, "train": {{"loss": {}}}, "name": "a"}}']
)
@pytest.mark.parametrize(
    "prefix", ["[rank{}]: ", "{}: ", "[1,{}]<stdout>:", "(head, rank={}, pid=12) ", "{}_node_gpu "]
)
def test_processes_that_print_json_are_kept_apart(prefix: str, record: str) -> None:
    lines = [
        prefix.format(rank) + record.format(step, 3.5 - step / 8 + rank / 4) for step in (1, 2, 3) for rank in (1, 0)
    ]
    samples = read("\n".join(lines) + "\n")
    name = "train.loss" if "train" in record else "loss"
    assert samples[name] == [(1, 3.375), (2, 3.25), (3, 3.125)]
    assert samples[f"rank1.{name}"] == [(1, 3.625), (2, 3.5), (3, 3.375)]


def test_a_process_alone_is_followed_in_json_too() -> None:
    assert read('2: {"step": 1, "loss": 3.5}\n2: {"step": 2, "loss": 3.25}\n')["loss"] == [(1, 3.5), (2, 3.25)]


def test_a_duration_is_no_value() -> None:
    log = "".join(f"iter {i}: loss: {4 - i / 4} eta: 1:02:0{i} elapsed: 12:34 Total time: 0:01:00\n" for i in (1, 2, 3))
    assert read(log) == {"loss": [(1, 3.75), (2, 3.5), (3, 3.25)]}


def test_code_and_comments_place_nothing() -> None:
    """Some trainers print their own source: what compares with a number, or is called a step in a comment, is none."""
    log = """
        # step 5: load the model
        if epoch == 3:
            assert loss == 2.5
        epoch 1 loss 3.5
        epoch 2 loss 3.25
        """
    assert read(log)["loss"] == [(1, 3.5), (2, 3.25)]


def test_summaries_of_an_epoch_are_the_same_in_any_cut() -> None:
    """The mean of an epoch is a loss of its own once there were losses at steps, wherever the log is cut."""
    lines = [f"Epoch {epoch} loss 9.5\n" for epoch in (1, 2)]
    for epoch in (3, 4):
        lines += [f"Epoch {epoch} step {step} loss {4 - step / 8}\n" for step in (1, 2)]
        lines += [f"Epoch {epoch} loss {3.75}\n", "loss 1.5\n"]
    samples = read("".join(lines))
    assert [value for _, value in samples["loss"]] == [9.5, 9.5, 3.875, 3.75, 3.875, 3.75]
    assert [value for _, value in samples["epoch.loss"]] == [3.75, 3.75]
