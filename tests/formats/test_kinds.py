"""Kinds of lines that logs have, each in shapes that no fixture log has: what is read, and what is not.

One file because it is one table of lines.
"""

from __future__ import annotations

import math

import pytest
from support.reading import read

# ---- counters that are none -----------------------------------------------------------------------------------------

COUNTERS = {
    "a date before the epoch": """
        [05/03 10:00:11] engine INFO: Epoch: [0] [ 20/400] lr: 0.001 loss: 3.5 eta: 1 day, 10:42:59
        [05/03 10:00:12] engine INFO: Epoch: [0] [ 40/400] lr: 0.001 loss: 3.25 eta: 1 day, 10:42:58
        """,
    "a date that might be a counter": """
        03/05 10:00:11 | Epoch 0 [20/400] loss: 3.5
        03/05 10:00:12 | Epoch 0 [40/400] loss: 3.25
        """,
    "correct answers of the total": """
        epoch 0, iter 20/400, loss 3.5, acc 12.5% (80/640)
        epoch 0, iter 40/400, loss 3.25, acc 13.5% (172/1280)
        """,
    "correct answers first": """
        Accuracy: 12.5% (80/640) | Epoch 0 [20/400] | loss 3.5
        Accuracy: 13.5% (172/1280) | Epoch 0 [40/400] | loss 3.25
        """,
    "seconds and gigabytes": """
        [12/300s] mem 3/16 GB epoch 0 batch 20/400 loss 3.5
        [13/300s] mem 3/16 GB epoch 0 batch 40/400 loss 3.25
        """,
}


@pytest.mark.parametrize("log", COUNTERS.values(), ids=COUNTERS)
def test_a_fraction_that_is_no_counter_is_not_the_step(log: str) -> None:
    assert read(log)["loss"] == [(20, 3.5), (40, 3.25)]


def test_a_log_without_a_counter_but_with_correct_answers_is_counted_in_epochs() -> None:
    log = """
        Epoch 1/3 - train loss 1.5 - train acc 61.25% (6037/10000)
        Epoch 2/3 - train loss 1.25 - train acc 62.25% (6074/10000)
        """
    assert read(log)["train loss"] == [(1, 1.5), (2, 1.25)]


def test_samples_of_an_epoch_in_brackets_behind_the_loss_are_a_counter_still() -> None:
    assert read("loss: 2.5  [   64/60000]\nloss: 2.25  [ 6464/60000]\n")["loss"] == [(64, 2.5), (6464, 2.25)]


# ---- a learning rate on a line of its own ---------------------------------------------------------------------------

RATES = [
    "LR: {}", "lr = {}", "Learning rate: {}", "Current learning rate: {}", "Time: 60s - LR: {}", "current lr {}, momentum 0.9",
    "Adjusting learning rate of group 0 to {}.", "[2024-05-01 10:00:00] INFO - new learning rate is {}", "LR: [{}]",
    "learning_rate={} | weight_decay=0.01", "Setting LR to {}", "Epoch time: 1.5s, lr: {}",
]  # fmt: skip


@pytest.mark.parametrize("spelling", RATES)
def test_a_learning_rate_on_a_line_of_its_own_belongs_to_the_run(spelling: str) -> None:
    lines = [
        f"Epoch {i}\n{spelling.format(rate)}\ntrain_loss {loss}\n"
        for i, rate, loss in [(0, 0.01, 2.5), (1, 0.001, 2.25)]
    ]
    samples = read("".join(lines))
    assert samples["train_loss"] == [(0, 2.5), (1, 2.25)]
    rates = [values for name, values in samples.items() if "lr" in name.lower() or "rate" in name.lower()]
    assert rates == [[(0, 0.01), (1, 0.001)]]


def test_a_learning_rate_before_the_first_step_is_a_setting() -> None:
    assert "lr" not in read("lr: 0.1\nstep 1 loss 2\nstep 2 loss 1\n")


# ---- roles in their context -----------------------------------------------------------------------------------------


def test_a_validation_of_averaged_weights_is_kept_apart() -> None:
    log = """
        Train: 0 [  90/100 ( 90%)]  Loss: 2.5 (3.0)
        Test: [   0/39]  Loss: 2.0 (2.0)
        Test: [  39/39]  Loss: 2.25 (2.125)
        Test (EMA): [   0/39]  Loss: 6.0 (6.0)
        Test (EMA): [  39/39]  Loss: 6.25 (6.125)
        """
    samples = read(log)
    assert samples["test.Loss"] == [(90, 2.125)]
    assert samples["test.EMA.Loss"] == [(90, 6.125)]


def test_a_validation_and_a_test_are_kept_apart() -> None:
    log = "Epoch 1 train loss 3\nValidation: loss 2.5 acc 0.5\nTest: loss 2.75 acc 0.25\nEpoch 2 train loss 2\nTest: loss 2.25 acc 0.5\n"
    samples = read(log)
    assert samples["val.loss"] == [(1, 2.5)]
    assert samples["test.loss"] == [(1, 2.75), (2, 2.25)]


def test_a_cost_is_a_loss_alone_and_a_time_beside_one() -> None:
    assert read("step 1 cost: 2.5\nstep 2 cost: 2.25\n")["cost"] == [(1, 2.5), (2, 2.25)]
    beside = read("step 1 loss: 2.5 cost: 0.5\nstep 2 loss: 2.25 cost: 0.5\n")
    assert beside["loss"] == [(1, 2.5), (2, 2.25)]
    assert beside["time.cost"] == [(1, 0.5), (2, 0.5)]


def test_the_loss_of_a_value_function_is_shown() -> None:
    assert read("step 1\nvalue_function loss: 0.5\nstep 2\nvalue_function loss: 0.25\n")["value_function loss"] == [
        (1, 0.5), (2, 0.25),
    ]  # fmt: skip


# ---- a log in two formats -------------------------------------------------------------------------------------------

MLLOG = ':::MLLOG {{"namespace": "", "time_ms": 1, "key": "eval_error", "value": {v}, "metadata": {{"lineno": 1, "epoch_num": {s}}}}}\n'
KERAS = "Epoch {s}/9\n10/10 - 3s - loss: {v} - val_loss: 4.5\n"


@pytest.mark.parametrize("log", [KERAS + MLLOG, MLLOG + KERAS], ids=["text first", "objects first"])
def test_values_of_mlperf_among_lines_of_keras_are_read_and_so_are_those(log: str) -> None:
    samples = read("".join(log.format(s=epoch, v=value) for epoch, value in [(1, 2.5), (2, 2.25), (3, 2.125)]))
    assert samples["loss"] == samples["eval_error"] == [(1, 2.5), (2, 2.25), (3, 2.125)]


def test_objects_among_lines_of_text_are_read_and_so_are_those() -> None:
    samples = read(
        "".join(f'{{"step": {i}, "loss": {v}}}\nstep {i} val_loss {v + 1}\n' for i, v in [(1, 2.5), (2, 2.25)])
    )
    assert samples["loss"] == [(1, 2.5), (2, 2.25)]
    assert samples["val_loss"] == [(1, 3.5), (2, 3.25)]


# ---- summaries and repetitions --------------------------------------------------------------------------------------


def test_the_mean_of_an_epoch_is_no_sample_of_its_steps() -> None:
    log = """
        epoch: [1/20], step: [50/100], loss: 15.5
        epoch: [1/20], step: [100/100], loss: 14.5
        epoch: [1/20], loss: 15.0, epoch time: 12.3
        epoch: [2/20], step: [50/100], loss: 13.5
        """
    samples = read(log)
    assert samples["loss"] == [(50, 15.5), (100, 14.5), (150, 13.5)]
    assert samples["epoch.loss"] == [(100, 15.0)]


SAID_AGAIN = {
    "averaged stats": "Averaged stats: lr: 0.1 (0.1)  loss: 9.0 (9.0)\n",
    "a summary without a place": "Done. loss: 9.0\n",
    "wandb": "wandb: Run summary:\nwandb:     loss 9.0\nwandb:     step 2\n",
    "the best": "Best loss: 9.0\n",
    "lightgbm": "Early stopping, best iteration is:\n[1]\tloss: 9.0\n",
    "xgboost": "Stopping. Best iteration:\n[1]\tloss: 9.0\n",
    "xgboost with a date": "[10:00:00] Stopping. Best iteration:\n[1]\tloss: 9.0\n",
}


@pytest.mark.parametrize("line", SAID_AGAIN.values(), ids=SAID_AGAIN)
def test_what_is_said_again_is_no_sample(line: str) -> None:
    assert read("[1]\tloss: 2.5\n[2]\tloss: 2.25\n" + line)["loss"] == [(1, 2.5), (2, 2.25)]


def test_a_summary_below_bars_of_keras_is_no_sample() -> None:
    log = "Epoch 1/2\n9/9 - 3s - loss: 2.5 - val_loss: 3.5\nEpoch 2/2\n9/9 - 3s - loss: 2.25 - val_loss: 3.25\nINFO val_loss: 3.25\n"
    assert read(log)["val_loss"] == [(1, 3.5), (2, 3.25)]


def test_epochs_of_keras_without_their_lines_are_counted() -> None:
    log = "40/40 - 6s - loss: 2.5 - val_loss: 3.5\n40/40 - 6s - loss: 2.25 - val_loss: 3.25\n"
    assert [value for _, value in read(log)["loss"]] == [2.5, 2.25]


def test_means_of_an_epoch_in_brackets_are_none_of_the_training() -> None:
    log = """
        [Train][Epoch 1/5][Iter: 0/20]lr: 0.1, loss: 7.0, batch_cost: 0.9s
        [Train][Epoch 1/5][Iter: 10/20]lr: 0.1, loss: 6.0, batch_cost: 0.9s
        [Train][Epoch 1/5][Avg]loss: 6.5
        [Eval][Epoch 1][Avg]loss: 6.25
        """
    samples = read(log)
    assert samples["loss"] == [(0, 7.0), (10, 6.0)]
    assert samples["val.loss"] == [(10, 6.25)]


# ---- two bars -------------------------------------------------------------------------------------------------------


def bar(name: str, total: int, values: list[float], metric: str = "loss") -> str:
    drawn = [
        f"{name}: {100 * i // total:3d}%|##  | {i}/{total} [00:01<00:01, 9.0it/s, {metric}={v}]"
        for i, v in values_at(total, values)
    ]
    return "\r".join(drawn) + "\n"


def values_at(total: int, values: list[float]) -> list[tuple[int, float]]:
    return [((i + 1) * total // len(values), value) for i, value in enumerate(values)]


@pytest.mark.parametrize("metric", ["loss", "val_loss"])
def test_bars_of_different_totals_are_counted_each_by_itself(metric: str) -> None:
    log = (
        bar("Epoch 1/2", 100, [2.5, 2.25]) + bar("Validation", 10, [4.0, 3.0], metric)
        + bar("Epoch 2/2", 100, [2.0, 1.75]) + bar("Validation", 10, [3.5, 2.5], metric)
    )  # fmt: skip
    samples = read(log)
    assert samples["loss"] == [(50, 2.5), (100, 2.25), (150, 2.0), (200, 1.75)]
    assert samples["val.loss" if metric == "loss" else "val_loss"] == [(100, 3.0), (200, 2.5)]


def test_a_bar_that_is_written_over_its_own_end_is_read() -> None:
    log = "Epoch: 0\n"
    for i, loss in [(1, 2.5), (2, 2.25)]:
        log += (
            f" [={'>' * i}..]  Step: 61ms | Tot: 1s1ms | Loss: {loss} | Acc: 10.1% (13/128)"
            + "\b" * 12
            + f" {i}/2 "
            + "\r\n"[i - 1]
        )
    for i in (1, 2):
        log += (
            f" [=>..]  Step: 6ms | Tot: 1s1ms | Loss: {i + 4.5} | Acc: 10.1% (13/50) "
            + "\b" * 9
            + f" {i}/9 "
            + "\r\n"[i - 1]
        )
    samples = read(log)
    assert samples["Loss"] == [(1, 2.5), (2, 2.25)]
    assert samples["val.Loss"] == [(2, 6.5)]


# ---- numbers and names ----------------------------------------------------------------------------------------------

SPELLINGS = {
    "numpy": "step {s} loss np.float64({v}) acc np.float32(0.5)",
    "numpy in a dictionary": "{{'step': {s}, 'loss': np.float64({v}), 'lr': 0.1}}",
    "torch": "step {s}, loss tensor({v}, device='cuda:0', grad_fn=<NllLossBackward0>), lr 0.1",
    "torch with dtype": "step: {s} loss: tensor([{v}], dtype=torch.float64)",
    "jax": "step={s} loss=Array({v}, dtype=float32)",
    "tensorflow": "step {s} loss: <tf.Tensor: shape=(), dtype=float32, numpy={v}>",
    "tensorflow 1": "step {s}: loss=tf.Tensor({v}, shape=(), dtype=float32)",
    "in quotes": "iter: {s}, 'loss': '{v}', batch_cost: 0.4 sec",
    "in double quotes": 'iter: {s}, "loss": "{v}"',
    "fortran": "step {s} loss {v}D+00",
    "a power of ten": "step {s} loss {v}x10^0",
    "wide punctuation": "Step\uff1a{s}\uff0closs\uff1a{v}\uff0c",
    "chinese": "第 {s} 步, 训练损失: {v}",
    "chinese without blanks": "第{s}步 损失:{v}",
    "chinese sentence": "步数 {s}, 损失为 {v}",
    "japanese": "ステップ: {s} 損失: {v}",
    "russian": "шаг {s}: потери = {v}",
    "german": "Schritt {s} Verlust: {v}",
    "glued": "step{s} loss{v} lr1e-4",
    "an ordinal": "this is the {s}th step, loss: {v}",
    "an ordinal of its own": "current step: {s}th step\nbatch loss:{v}",
    "steps done": "now it is {s} steps and the loss is : {v}",
    "a hash": "#{s} loss: {v}",
    "a named hash": "Step #{s} | loss: {v}",
    "bare": "   {s}  loss={v}  lr=1e-3",
    "bare with a pipe": "{s} | loss {v} | lr 1e-3",
}


@pytest.mark.parametrize("line", SPELLINGS.values(), ids=SPELLINGS)
def test_a_number_is_read_in_each_spelling(line: str) -> None:
    samples = read("".join(line.format(s=step, v=value) + "\n" for step, value in [(9, 2.5), (10, 2.25), (11, 2.125)]))
    losses = [values for name, values in samples.items() if name not in ("lr", "acc", "batch_cost", "epoch")]
    assert losses == [[(9, 2.5), (10, 2.25), (11, 2.125)]]


def test_thousands_behind_a_step_are_a_factor() -> None:
    assert read("step: 0.0k | loss: 2.5\nstep: 1.2k | loss: 2.25\nstep: 1.3M | loss: 2\n")["loss"] == [
        (0, 2.5), (1200, 2.25), (1_300_000, 2.0),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["Acc@1", "val-core/gsm/acc/mean@1", "acc/best@4/mean", "top-5", "loss/0", "hits@10"])
def test_digits_belong_to_the_name_in_which_they_stand(name: str) -> None:
    samples = read(f"step:1 - {name}:0.5 - loss:2.5\nstep:2 - {name}:0.25 - loss:2.25\n")
    assert samples[name] == [(1, 0.5), (2, 0.25)]
    assert samples["loss"] == [(1, 2.5), (2, 2.25)]


def test_a_decimal_comma_is_one_in_all_of_the_log() -> None:
    log = "Epoche 1/40: loss: 2,5; val_loss: 2,345; lr: 0,001\nEpoche 2/40: loss: 2,25; val_loss: 1.234,5; lr: 1,0e-3\n"
    samples = read(log)
    assert samples["loss"] == [(1, 2.5), (2, 2.25)]
    assert samples["val_loss"] == [(1, 2.345), (2, 1234.5)]
    assert samples["lr"] == [(1, 0.001), (2, 0.001)]


def test_a_comma_that_may_be_of_thousands_is_left_out_until_something_decides() -> None:
    assert read("step 1 loss: 2,345\nstep 2 loss: 2,25\nstep 3 loss: 1,125\n")["loss"] == [(2, 2.25), (3, 1.125)]
    assert read("step 1,000 loss: 2.5 tokens: 1,024\nstep 2,000 loss: 2.25\n")["loss"] == [(1000, 2.5), (2000, 2.25)]


def test_half_of_a_number_is_never_a_value() -> None:
    samples = read("step 1 | quux: 0,5234 | loss: 2.5\nstep 2 | quux: 0,4234 | loss: 2.25\n")
    assert "quux" not in samples
    assert samples["loss"] == [(1, 2.5), (2, 2.25)]
    assert read("Época 1/9 - pérdida: 0,5234\nÉpoca 2/9 - pérdida: 0,4234\n")["pérdida"] == [(1, 0.5234), (2, 0.4234)]


@pytest.mark.parametrize("step", ["1,000", "1'000", "1_000"])
def test_thousands_are_set_apart_in_several_ways(step: str) -> None:
    assert read(f"step {step} loss 2.5\nstep 2{step[1:]} loss 2.25\n")["loss"] == [(1000, 2.5), (2000, 2.25)]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("log", ["epoch,loss\n0,2.5\n1,2.25\n", "轮次 0 损失: 2.5\r\n轮次 1 损失: 2.25\r\n"])
def test_the_first_bytes_tell_utf_16(encoding: str, log: str) -> None:
    samples = read(("\ufeff" + log).encode(encoding))
    assert [values for name, values in samples.items() if name not in ("epoch", "轮次")] == [[(0, 2.5), (1, 2.25)]]


# ---- records over several lines -------------------------------------------------------------------------------------

BLOCKS = {
    "a heading and indented lines": "Step {s}/300\n  loss: {v}\n  grad_norm: 1.0\n",
    "an iteration and right-aligned lines": (
        "####\n             Learning iteration {s}/300\n\n   Computation: 4000 steps/s\n            Mean loss: {v}\n"
        "Episode_Reward/track: 0.5\n------------\n   Iteration time: 2.2s\n"
    ),
    "a dictionary": "Step {s} per-step time 0.4s\nINFO:x:{{'loss': {v},\n 'learning_rate': 0.1}}\n",
    "a dictionary of its own": "{{'grad_norm': 1.0,\n 'loss': {v},\n 'step': {s}}}\n",
    "an indented object": 'metrics: {{\n  "step": {s},\n  "loss": {v}\n}}\n',
    "a result of Ray": (
        "Result for PPO_env_1:\n  custom_metrics: {{}}\n  info:\n    learner:\n      loss: {v}\n"
        "  done: false\n  training_iteration: {s}\n\n"
    ),
    "a place and a line": "Iteration: {s}\nTotal loss is {v}  ETA is 7:57:00\n",
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_lines_of_one_record_are_put_together(block: str) -> None:
    samples = read("".join(block.format(s=step, v=value) for step, value in [(10, 2.5), (20, 2.25), (30, 2.125)]))
    losses = [values for name, values in samples.items() if "loss" in name.lower()]
    assert losses == [[(10, 2.5), (20, 2.25), (30, 2.125)]]


def test_an_open_brace_that_never_closes_loses_no_line() -> None:
    log = "Config: {\nstep 1 loss 2.5\nstep 2 loss 2.25\n"
    assert read(log)["loss"] == [(1, 2.5), (2, 2.25)]
    assert len(read("x: {\n" + "  a\n" * 300 + "step 1 loss 2.5\nstep 2 loss 2.25\n")["loss"]) == 2


TABLES = {
    "names of several words": """
        E    #       LOSS TOK2VEC  LOSS NER  ENTS_F
        ---  ------  ------------  --------  ------
          0       0          2.50    920.00    0.00
          0     200          2.25    720.92    5.00
        """,
    "one blank between short columns": """
        Itn  NER Loss   NER P   NER R
        ---  ---------  ------  ------
          0     2.500   10.000   1.000
        200     2.250   20.000   5.000
        """,
    "units in cells": """
              Iter       Train Loss   Remaining Time
                 0           2.5000           59.50s
               200           2.2500            1.00m
        """,
    "two lines of names between pipes": """
        |=======================================|
        |  Iteration  |  Mini-batch  |   Time   |
        |             |     Loss     | (mm:ss)  |
        |=======================================|
        |           0 |       2.5000 |    00:01 |
        |         200 |       2.2500 |    00:02 |
        """,
    "two lines of names without pipes": """
        average  since         example        example  current  current  current
        loss     last          counter         weight    label  predict features
        2.500000 2.500000            0            1.0   0.0000   0.0000        5
        2.250000 2.000000          200            2.0   1.0000   0.0000        5
        """,
    "markdown": """
        | step | train loss | valid loss |
        |------|:----------:|-----------:|
        | 0 | 2.5 | |
        | 200 | 2.25 | 3.5 |
        """,
    "a box": """
        ┏━━━━━━┳━━━━━━━━━━━━┳━━━━━━━━━━┓
        ┃ Step ┃ Train loss ┃ Accuracy ┃
        ┡━━━━━━╇━━━━━━━━━━━━╇━━━━━━━━━━┩
        │ 0    │ 2.5        │ 10.5%    │
        │ 200  │ 2.25       │ 12.5%    │
        └──────┴────────────┴──────────┘
        """,
    "two columns": """
        | step | loss |
        | 0    | 2.5  |
        | 200  | 2.25 |
        """,
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_is_read_by_its_columns(table: str) -> None:
    samples = read(table)
    assert [(0, 2.5), (200, 2.25)] in [
        values for name, values in samples.items() if "loss" in name.lower() and "valid" not in name
    ]


def test_columns_of_splits_name_the_metrics_of_rows() -> None:
    log = """
        2024-05-03 10:00:00,123 - INFO - a.trainer - Epoch 0/3
        2024-05-03 10:00:00,123 - INFO - a.logger -              Training |  Validation
        2024-05-03 10:00:00,123 - INFO - a.logger - accuracy    |  0.500  |  0.450
        2024-05-03 10:00:00,123 - INFO - a.logger - gpu_0_mem   |  2012   |  N/A
        2024-05-03 10:00:00,123 - INFO - a.logger - loss        |  2.500  |  3.500
        """
    samples = read(log)
    assert samples["Training.loss"] == [(0, 2.5)]
    assert samples["Validation.loss"] == [(0, 3.5)]


def test_columns_of_splits_in_a_box() -> None:
    log = """
        Epoch 1
        ┌──────────┬───────┬────────────┐
        │ Metric   │ Train │ Validation │
        ├──────────┼───────┼────────────┤
        │ loss     │ 2.5   │ 3.5        │
        │ accuracy │ 0.5   │ 0.25       │
        └──────────┴───────┴────────────┘
        """
    samples = read(log)
    assert samples["Train.loss"] == [(1, 2.5)]
    assert samples["Validation.accuracy"] == [(1, 0.25)]


@pytest.mark.parametrize("header", ["#  step  rmse_trn  lr", "# step,rmse_trn,lr", "#step rmse_trn lr"])
def test_a_comment_names_the_columns_of_numbers(header: str) -> None:
    separator = "," if "," in header else "  "
    rows = ["0 3.5 0.1", "10 2.5 0.01", "20 1.5 0.001"]
    samples = read("\n".join([header, *[row.replace(" ", separator) for row in rows], ""]))
    assert samples["rmse_trn"] == [(0, 3.5), (10, 2.5), (20, 1.5)]
    assert samples["lr"] == [(0, 0.1), (10, 0.01), (20, 0.001)]


def test_a_comment_with_another_number_of_words_names_nothing() -> None:
    assert "value" in read("# step rmse\n0 3.5 0.1\n10 2.5 0.01\n20 1.5 0.001\n")


def test_rows_that_grow_a_column_are_read() -> None:
    samples = read("step,loss\n1,2.5\n2,2.25,0.5\n3,2.125,0.25\n")
    assert samples["loss"] == [(1, 2.5), (2, 2.25), (3, 2.125)]
    assert samples["column3"] == [(2, 0.5), (3, 0.25)]


@pytest.mark.parametrize("header", ["epoch;loss;lr", '"epoch";"loss";"lr"', '"";"epoch";"loss";"lr"'])
def test_a_semicolon_separates_numbers_with_a_decimal_comma(header: str) -> None:
    index = '"1";' if header.startswith('"";') else ""
    samples = read(f"{header}\n{index}0;2,5;0,001\n{index}1;2,25;1,0e-3\n")
    assert samples["loss"] == [(0, 2.5), (1, 2.25)]
    assert samples["lr"] == [(0, 0.001), (1, 0.001)]


# ---- wrapped lines and ranks ----------------------------------------------------------------------------------------

WRAPPERS = {
    "docker": '{{"log": "{line}\\n", "stream": "stdout", "time": "2024-05-01T10:00:00.1Z"}}',
    "python-json-logger": '{{"asctime": "2024-05-01", "levelname": "INFO", "message": "{line}"}}',
    "journald": '{{"MESSAGE": "{line}", "_PID": "12", "PRIORITY": "6"}}',
    "google cloud": '{{"severity": "INFO", "textPayload": "{line}", "insertId": "x1"}}',
    "google cloud with a payload": '{{"severity": "INFO", "jsonPayload": {{"message": "{line}"}}}}',
    "cri": "2024-05-01T10:00:00.1Z stdout F {line}",
}


@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize("line", ["step {s} | loss {v}", "{{'step': {s}, 'loss': {v}}}"])
def test_a_line_is_taken_out_of_its_wrapping(wrapper: str, line: str) -> None:
    log = "".join(wrapper.format(line=line.format(s=step, v=value)) + "\n" for step, value in [(1, 2.5), (2, 2.25)])
    assert read(log)["loss"] == [(1, 2.5), (2, 2.25)]


def test_parts_of_a_line_are_put_together() -> None:
    stamp = "2024-05-01T10:00:00.1Z stdout"
    log = f"{stamp} F step 1 | loss 2.5\n{stamp} P step 2 | lo\n{stamp} P ss 2.\n{stamp} F 25\n{stamp} F step 3 | loss 2\n"
    assert read(log)["loss"] == [(1, 2.5), (2, 2.25), (3, 2.0)]


def test_a_json_logger_whose_records_have_the_loss_themselves_is_read_as_json() -> None:
    log = '{"message": "start"}\n{"message": "train", "step": 1, "loss": 2.5}\n{"message": "train", "step": 2, "loss": 2.25}\n'
    assert read(log)["loss"] == [(1, 2.5), (2, 2.25)]


PREFIXES = {
    "mpirun": "[1,{r}]<stdout>:", "horovodrun": "[{r}]<stdout>:", "srun": "{r}: ", "torchrun": "[default{r}]:",
    "ray": "(RayTrainWorker pid=100{r}, ip=10.0.0.1) ", "kubectl": "[pod/train-{r}/main] ", "compose": "trainer-{r}  | ",
    "worker": "worker-{r}: ", "node": "node{r}: ", "rank": "rank {r}: ", "gpu": "[GPU {r}] ", "bracketed": "[rank{r}]: ",
}  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
def test_the_losses_of_processes_are_never_mixed(prefix: str) -> None:
    log = "".join(
        f"{prefix.format(r=rank)}step {step} | loss {2.5 - step / 8 + rank / 1024}\n"
        for step in range(1, 5)
        for rank in [(1, 0, 2), (2, 1, 0), (0, 2, 1), (1, 2, 0)][step - 1]
    )
    samples = read(log)
    assert samples["loss"] == [(step, 2.5 - step / 8) for step in range(1, 5)]


def test_of_processes_that_begin_with_another_the_lowest_is_followed_and_the_only_one_is() -> None:
    assert read("[default7]: step 1 loss 2.5\n[default7]: step 2 loss 2.25\n")["loss"] == [(1, 2.5), (2, 2.25)]


def test_a_place_and_a_loss_on_two_lines_of_one_process_stay_together() -> None:
    log = "".join(f"[rank3]: Step {i}\n[rank3]: loss: {3 - i / 2}\n" for i in (1, 2, 3))
    assert read(log)["loss"] == [(1, 2.5), (2, 2.0), (3, 1.5)]


def test_a_process_that_goes_on_alone_is_followed() -> None:
    log = "(W pid=1, ip=a) step 0 loss 9\n" + "".join(
        f"(W pid=2, ip=a) step {i} loss {8 - i / 8}\n" for i in range(1, 40)
    )
    assert read(log)["loss"][-1] == (39, 8 - 39 / 8)


def test_nothing_is_lost_where_a_loss_is_not_a_number() -> None:
    samples = read("step 1 loss np.float64(nan)\nstep 2 loss tensor(nan, device='cuda:0')\nstep 3 loss: 'nan'\n")
    assert [step for step, value in samples["loss"] if math.isnan(value)] == [1, 2, 3]
