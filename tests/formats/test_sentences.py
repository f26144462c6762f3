"""Places, signs and repetitions in lines of text, as toolkits of language, recommendation and federation print them.

One file because it is one table.
"""

from __future__ import annotations

import pytest
from support.reading import Samples, read

from lrwatch.core.names import primary, role
from lrwatch.formats.text.presets import search

LOGS: dict[str, tuple[str, dict[str, Samples]]] = {
    # ---- places
    "a mean at a padded step, and an accuracy at it": (
        """
        Average loss at step  2000 :  3.5
        Accuracy at step 2000: 0.25
        Average loss at step  4000 :  3.25
        Accuracy at step 4000: 0.5
        """,
        {"Average loss": [(2000, 3.5), (4000, 3.25)], "Accuracy": [(2000, 0.25), (4000, 0.5)]},
    ),
    "a loss of an epoch": (
        """
        12:00:01 Train loss of epoch 1 is 3.5
        12:00:14 Train loss of epoch 2 is 3.25
        """,
        {"Train loss": [(1, 3.5), (2, 3.25)]},
    ),
    "a place in parentheses behind other words": (
        """
        trainer - Train Metrics (step 10) - Loss: 3.5 | Learning Rate: 0.001
        trainer - Train Metrics (step 20) - Loss: 3.25 | Learning Rate: 0.0005
        """,
        {"Loss": [(10, 3.5), (20, 3.25)], "Learning Rate": [(10, 1e-3), (20, 5e-4)]},
    ),
    "a place that opens parentheses": (
        """
        Step... (500 | Loss: 3.5, Learning Rate: 0.001)
        Step... (1000 | Loss: 3.25, Learning Rate: 0.0005)
        Step... (1000 | Eval Loss: 3.75)
        """,
        {"Loss": [(500, 3.5), (1000, 3.25)], "Eval Loss": [(1000, 3.75)]},
    ),
    "a step and seconds in brackets": (
        """
        [10 | 28.12] loss=3.5 avg=3.5
        [20 | 56.24] loss=3.25 avg=3.375
        """,
        {"loss": [(10, 3.5), (20, 3.25)]},
    ),
    "a step in parentheses, behind a device": (
        """
        [xla:0](20) Loss=3.5 Rate=123.45
        [xla:0](40) Loss=3.25 Rate=123.45
        """,
        {"Loss": [(20, 3.5), (40, 3.25)]},
    ),
    "a step in angle brackets": (
        """
        <10> [loss 3.5] [lr 0.001]
        <20> [loss 3.25] [lr 0.0005]
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "lr": [(10, 1e-3), (20, 5e-4)]},
    ),
    "episodes beside the counter of steps": (
        """
        337/5000: episode: 1, episode steps: 337, episode reward: 13.5, loss: 3.5
        783/5000: episode: 2, episode steps: 446, episode reward: 14.5, loss: 3.25
        """,
        {"loss": [(337, 3.5), (783, 3.25)], "episode reward": [(337, 13.5), (783, 14.5)]},
    ),
    "steps of actors and of the learner": (
        """
        [Learner] Actor Steps = 825 | Evaluator Steps = 1530 | Learner Steps = 2 | Loss = 3.5
        [Learner] Actor Steps = 1678 | Evaluator Steps = 1530 | Learner Steps = 4 | Loss = 3.25
        """,
        {"Loss": [(2, 3.5), (4, 3.25)]},
    ),
    "the batches of a pass beside the epoch": (
        """
        Epoch:  1/12 Train steps: 938 Val steps: 157 12.34s loss: 3.5 val_loss: 3.75
        Epoch:  2/12 Train steps: 938 Val steps: 157 12.34s loss: 3.25 val_loss: 3.5
        """,
        {"loss": [(1, 3.5), (2, 3.25)], "val_loss": [(1, 3.75), (2, 3.5)]},
    ),
    # ---- roles
    "the perplexity of a validation": (
        """
        epoch 0: perplexity: 33.25 eval_loss: 3.5
        epoch 1: perplexity: 25.75 eval_loss: 3.25
        """,
        {"eval_loss": [(0, 3.5), (1, 3.25)], "val.perplexity": [(0, 33.25), (1, 25.75)]},
    ),
    "a learning rate with an apostrophe": (
        """
        Étape 10 : perte = 3.5 ; taux d'apprentissage = 0.001
        Étape 20 : perte = 3.25 ; taux d'apprentissage = 0.0005
        """,
        {"perte": [(10, 3.5), (20, 3.25)], "taux d'apprentissage": [(10, 1e-3), (20, 5e-4)]},
    ),
    "a validation that is not there yet": (
        """
        Epoch 1 | iter 4 step 1 | loss train: 3.5, val: n/a | iter time: 345.67 ms (step)
        Epoch 1 | iter 8 step 2 | loss train: 3.25, val: 3.75 | iter time: 345.67 ms (step)
        """,
        {"train loss": [(1, 3.5), (2, 3.25)], "val loss": [(2, 3.75)]},
    ),
    # ---- signs
    "fat arrows, and about": (
        """
        step 10 | loss => 3.5 | lr \u2248 0.001
        step 20 | loss => 3.25 | lr \u2248 0.0005
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "lr": [(10, 1e-3), (20, 5e-4)]},
    ),
    "numbers between backticks": (
        """
        step `10` loss `3.5`
        step `20` loss `3.25`
        """,
        {"loss": [(10, 3.5), (20, 3.25)]},
    ),
    "a pipe before the value": (
        """
        Step    100: Ran 100 train steps in 12.34 secs
        Step    100: train CrossEntropyLoss |  3.5
        Step    100: eval  CrossEntropyLoss |  3.75
        Step    200: train CrossEntropyLoss |  3.25
        Step    200: eval  CrossEntropyLoss |  3.5
        """,
        {"train CrossEntropyLoss": [(100, 3.5), (200, 3.25)], "val.CrossEntropyLoss": [(100, 3.75), (200, 3.5)]},
    ),
    "the tabs of syslog": (
        """
        [0]#011train-rmse:3.5#011validation-rmse:3.75
        [1]#011train-rmse:3.25#011validation-rmse:3.5
        """,
        {"train-rmse": [(0, 3.5), (1, 3.25)], "validation-rmse": [(0, 3.75), (1, 3.5)]},
    ),
    "a table behind the prefix of a logger": (
        """
        2024-05-01 10:00:00,123 INFO  step      loss      lr
        2024-05-01 10:00:01,123 INFO  10        3.5       0.001
        2024-05-01 10:00:02,123 INFO  20        3.25      0.0005
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "lr": [(10, 1e-3), (20, 5e-4)]},
    ),
    # ---- passes over the validation data
    "batches of a validation of another length": (
        """
        INFO - trainer - Epoch 0/9
        INFO - trainer - Training
        INFO - trainer - Batch 50/100: accuracy: 0.25, loss: 3.5 ||
        INFO - trainer - Batch 100/100: accuracy: 0.25, loss: 3.25 ||
        INFO - lib.training.trainer - Validating
        INFO - trainer - Batch 5/10: accuracy: 0.5, loss: 4.0 ||
        INFO - trainer - Batch 10/10: accuracy: 0.5, loss: 3.75 ||
        INFO - trainer - Epoch 1/9
        INFO - trainer - Training
        INFO - trainer - Batch 50/100: accuracy: 0.25, loss: 3.0 ||
        """,
        {"loss": [(50, 3.5), (100, 3.25), (150, 3.0)], "val.loss": [(100, 3.75)]},
    ),
    "steps of the run behind an evaluation": (
        """
        step 10/100 loss 3.5
        Starting evaluation ...
        step 5/8 loss 4.0
        step 8/8 loss 3.75
        step 20/100 loss 3.25
        Evaluating on 100 prompts
        step 30/100 loss 3.0
        """,
        {"loss": [(10, 3.5), (20, 3.25), (30, 3.0)], "val.loss": [(10, 3.75)]},
    ),
    "the result of an evaluation, without a place": (
        """
        ***** Evaluating perplexity, Epoch 0/2 *****
        ppl: 33.25, loss: 3.5
        Epoch: 0, Step: 1, loss = 3.5
        Epoch: 0, Step: 2, loss = 3.25
        ***** Evaluating perplexity, Epoch 1/2 *****
        ppl: 25.75, loss: 3.25
        Epoch: 1, Step: 3, loss = 3.0
        """,
        {
            "loss": [(1, 3.5), (2, 3.25), (3, 3.0)],
            "val.loss": [(0, 3.5), (2, 3.25)],
            "val.ppl": [(0, 33.25), (2, 25.75)],
        },
    ),
    "metrics that say their split behind an evaluation": (
        """
        Epoch 1
        Evaluating the model
        train loss: 3.5
        val loss: 3.75
        Epoch 2
        Evaluating the model
        train loss: 3.25
        val loss: 3.5
        """,
        {"train loss": [(1, 3.5), (2, 3.25)], "val loss": [(1, 3.75), (2, 3.5)]},
    ),
    # ---- values before their names, and without any
    "values before their names": (
        """
           10 93.44 s run, 3.5 loss, 0.001 LR, 642.43 GB used,  19644.30 GFLOPS
           20 10.24 s run, 3.25 loss, 0.0005 LR, 642.43 GB used,  19644.30 GFLOPS
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "LR": [(10, 1e-3), (20, 5e-4)]},
    ),
    "values before their names, and the step behind": (
        """
        3.5 train loss | 0.001 lr | step 10
        3.25 train loss | 0.0005 lr | step 20
        """,
        {"train loss": [(10, 3.5), (20, 3.25)], "lr": [(10, 1e-3), (20, 5e-4)]},
    ),
    "a loss without a name": (
        """
        0m 6s (- 1m 30s) (5000 6%) 3.5
        0m 12s (- 1m 24s) (10000 13%) 3.25
        """,
        {"loss": [(5000, 3.5), (10000, 3.25)]},
    ),
    "a loss without a name before a guess": (
        """
        5000 5% (0m 7s) 3.5 Ly / Vietnamese
        10000 10% (0m 15s) 3.25 Ruaidh / Irish
        """,
        {"loss": [(5000, 3.5), (10000, 3.25)]},
    ),
    "the seconds of a batch are no batch": (
        """
        10/400 (epoch 0), train_loss = 3.5, time/batch = 0.521
        20/400 (epoch 1), train_loss = 3.25, time/batch = 0.498
        """,
        {"train_loss": [(10, 3.5), (20, 3.25)]},
    ),
    "a step with decimals": (
        """
        Epoch 0:   6%|6         | 19/300 [05:27<1:21:41, 17.26s/it, loss=3.5, global_step=18.00]
        Epoch 0:   7%|7         | 20/300 [05:44<1:21:24, 17.26s/it, loss=3.25, global_step=19.00]
        """,
        {"loss": [(18, 3.5), (19, 3.25)]},
    ),
    "a table of one row": (
        """
        INFO     === Training Iteration 100 Result ===
        +-------+------------+----------------+
        | Name  | cur_lr_avg | total_loss_avg |
        +-------+------------+----------------+
        | Value | 0.001000   | 3.500000       |
        +-------+------------+----------------+
        INFO     === Training Iteration 200 Result ===
        +-------+------------+----------------+
        | Name  | cur_lr_avg | total_loss_avg |
        +-------+------------+----------------+
        | Value | 0.000500   | 3.250000       |
        +-------+------------+----------------+
        """,
        {"total_loss_avg": [(100, 3.5), (200, 3.25)], "cur_lr_avg": [(100, 1e-3), (200, 5e-4)]},
    ),
    "a header with colons": (
        """
        Step:   Loss:   LR:
        10      3.5     0.001
        20      3.25    0.0005
        """,
        {"Loss": [(10, 3.5), (20, 3.25)], "LR": [(10, 1e-3), (20, 5e-4)]},
    ),
    "bars that are called after the epoch": (
        """
        Train     0: 100%|##########| 154/154 [00:04<00:00, 31.77it/s, GPU RAM: 0.5 G]
        INFO  epoch 0 training [time: 4.85s, train loss: 3.5]
        Train     1: 100%|##########| 154/154 [00:04<00:00, 31.77it/s, GPU RAM: 0.5 G]
        INFO  epoch 1 training [time: 4.85s, train loss: 3.25]
        """,
        {"train loss": [(154, 3.5), (308, 3.25)]},
    ),
    # ---- what is no sample
    "a box of settings": (
        """
        │ Parameter     │ Value  │
        │ learning_rate │ 0.1    │
        │ epochs        │ 3      │
        │ batch_size    │ 32     │
        step 10 loss 3.5 lr 0.001
        step 20 loss 3.25 lr 0.0005
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "lr": [(10, 1e-3), (20, 5e-4)], "learning_rate": []},
    ),
    "the command and what it loads": (
        """
        python train.py --lr 0.1 --epochs 10 --steps 1000 --loss-weight 0.5
            --lr 1e-4 \\
        Loaded checkpoint at step 1000 with loss 9.5
        2024-05-01 10:00:00,123 INFO Restored the model of step 1000, loss 9.5
        step 10 loss 3.5 lr 0.001
        step 20 loss 3.25 lr 0.0005
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "lr": [(10, 1e-3), (20, 5e-4)]},
    ),
    # ---- rounds, means and summaries
    "rounds of a federation": (
        """
        INFO flower 2024-05-01 10:00:00,001 | server.py:148 | fit progress: (1, 3.5, {'accuracy': 0.25}, 30.7)
        INFO flower 2024-05-01 10:00:31,001 | server.py:148 | fit progress: (2, 3.25, {'accuracy': 0.5}, 61.4)
        INFO flower 2024-05-01 10:00:32,001 | app.py:121 | app_fit: losses_centralized [(1, 3.5), (2, 3.25)]
        """,
        {"loss": [(1, 3.5), (2, 3.25)], "accuracy": [(1, 0.25), (2, 0.5)]},
    ),
    "means of an epoch between pipes": (
        """
        | epoch 001:    100 / 200 loss=3.5, num_updates=101, lr=0.001
        | epoch 001 | loss 3.75 | num_updates 200 | lr 0.001 | wall 85
        | epoch 001 | valid on 'valid' subset | loss 4.0 | num_updates 200
        | epoch 002:    100 / 200 loss=3.25, num_updates=301, lr=0.0005
        """,
        {"loss": [(101, 3.5), (301, 3.25)], "epoch.loss": [(200, 3.75)], "val.loss": [(200, 4.0)]},
    ),
    "a summary of Comet and a minimum": (
        """
        step 10 loss 3.5
        step 20 loss 3.25
        Minimum loss: 3.25
        COMET INFO:   Metrics [count] (min, max):
        COMET INFO:     loss [2] : (3.25, 3.5)
        COMET INFO:     lr : 0.1
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "lr": []},
    ),
}


@pytest.mark.parametrize(("log", "wanted"), LOGS.values(), ids=LOGS)
def test_the_samples_of_a_log(log: str, wanted: dict[str, Samples]) -> None:
    samples = read(log)
    assert {name: samples.get(name, []) for name in wanted} == wanted
    others = {name for name in samples.keys() - wanted.keys() if not name.startswith("epoch.")}
    assert not [name for name in others if role(name) in ("train_loss", "val_loss")], (
        "a loss that the log does not have"
    )


def test_the_perplexity_of_a_validation_is_not_watched_as_training() -> None:
    assert primary(read(LOGS["the perplexity of a validation"][0])) == "eval_loss"


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "piece", ["(", "`", "a(<class 'a'>,", "loaded ", "a ", "loss at step 0 ", "- ", "step=0 loss=0 ", "gpu-", "('a', "]
)
def test_the_work_for_a_long_line_grows_no_faster_than_its_length(piece: str) -> None:
    """Ten lines with quadratic work would take twenty seconds."""
    for end in range(10):
        search(piece.encode() * (16000 // len(piece)) + b"x" * end)
