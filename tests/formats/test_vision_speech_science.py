"""Lines of trainers for vision, speech and science, and of older toolkits: what is the step, what is a loss and what is not.

One file because it is one table.
"""

from __future__ import annotations

import pytest
from support.reading import Samples, read

from lrwatch.core.names import primary

LOGS: dict[str, tuple[str, dict[str, Samples]]] = {
    # ---- places
    "a value behind the place that its name stands before": (
        """
        Cost after iteration 0: 0.75
        Cost after iteration 100: 0.5
        """,
        {"Cost": [(0, 0.75), (100, 0.5)]},
    ),
    "the same with words and in epochs": (
        """
        Epoch 1 begins
        The average loss at epoch 1 is 0.75
        Validation loss at the end of epoch 1: 0.875
        The average loss at epoch 2 is 0.5
        """,
        {"average loss": [(1, 0.75), (2, 0.5)], "Validation loss": [(1, 0.875)]},
    ),
    "a value behind its place and a remark": (
        """
        Start of epoch 0
        Training loss (for one batch) at step 0: 3.5
        Seen so far: 64 samples
        Training loss (for one batch) at step 200: 3.25
        Start of epoch 1
        Training loss (for one batch) at step 0: 3.0
        """,
        {"Training loss": [(0, 3.5), (200, 3.25), (201, 3.0)]},
    ),
    "the best of before is not read at the place behind it": (
        """
        train loss at step 10 = 0.75
        best loss at step 10 = 0.5
        train loss at step 20 = 0.625
        """,
        {"train loss": [(10, 0.75), (20, 0.625)]},
    ),
    "a counter of the run beside one of the epoch": (
        """
        epoch: 18/120, acc_iter=4879, cur_iter=0/271, batch_size=4, loss=3.5, lr=0.001
        epoch: 18/120, acc_iter=4900, cur_iter=21/271, batch_size=4, loss=3.25, lr=0.001
        """,
        {"loss": [(4879, 3.5), (4900, 3.25)], "lr": [(4879, 0.001), (4900, 0.001)]},
    ),
    "a counter of the epoch that is called the current one": (
        """
        epoch: 1, cur_iter: 10/100, loss: 3.5
        epoch: 2, cur_iter: 10/100, loss: 3.25
        """,
        {"loss": [(10, 3.5), (110, 3.25)]},
    ),
    "a total of steps that rises": (
        """
        epoch 0, total_step 22050, total loss is 3.5 , reg_loss is 0.25
        epoch 1, total_step 22100, total loss is 3.25 , reg_loss is 0.25
        """,
        {"total loss": [(22050, 3.5), (22100, 3.25)]},
    ),
    "epochs as a fraction": (
        """
        Epochs: 1/10 - loss 3.5 - lr 0.1
        Epochs: 2/10 - loss 3.25 - lr 0.1
        """,
        {"loss": [(1, 3.5), (2, 3.25)]},
    ),
    "epoch and batch in brackets without an end": (
        """
        Epoch: [0][0]\tTime 0.5 (0.6)\tLoss 3.5 (3.75)\tLr: 0.1
        Epoch: [0][50]\tTime 0.5 (0.6)\tLoss 3.25 (3.5)\tLr: 0.1
        Epoch: [1][0]\tTime 0.5 (0.6)\tLoss 3.0 (3.25)\tLr: 0.1
        """,
        {"Loss": [(0, 3.5), (50, 3.25), (51, 3.0)]},
    ),
    "seconds that are called after the batch": (
        """
        Epoch: [1/50][10/100] Data 0.125 (0.25) Batch 0.512 (0.634) Remain 01:02:03 Loss 3.5 Accuracy 0.6123.
        Epoch: [2/50][10/100] Data 0.125 (0.25) Batch 0.512 (0.634) Remain 01:02:03 Loss 3.25 Accuracy 0.6123.
        """,
        {"Loss": [(10, 3.5), (110, 3.25)]},
    ),
    "a range of batches": (
        """
        INFO:root:Epoch[0] Batch [0-20]\tSpeed: 6.31 samples/sec\tLoss=3.5
        INFO:root:Epoch[0] Batch [20-40]\tSpeed: 6.31 samples/sec\tLoss=3.25
        INFO:root:Epoch[1] Batch [0-20]\tSpeed: 6.31 samples/sec\tLoss=3.0
        """,
        {"Loss": [(20, 3.5), (40, 3.25), (60, 3.0)]},
    ),
    "a range of batches with a share of the epoch": (
        """
         Epoch[ 1 of 25]-Minibatch[   1-  10, 12.5%]: loss = 3.5 * 2560; time = 0.2134s
         Epoch[ 1 of 25]-Minibatch[  11-  20, 25.0%]: loss = 3.25 * 2560; time = 0.2134s
         Epoch[ 2 of 25]-Minibatch[   1-  10, 12.5%]: loss = 3.0 * 2560; time = 0.2134s
        """,
        {"loss": [(10, 3.5), (20, 3.25), (30, 3.0)]},
    ),
    "the number of a process in brackets before epoch and iteration": (
        """
        [2023-04-08 05:40:27,016] [42292] [MainThread] [INFO] (engine:272) - Epoch: 1/50, Iter: 1/2 -- train_loss: 3.5
        [2023-04-08 05:40:27,016] [42292] [MainThread] [INFO] (engine:272) - Epoch: 1/50, Iter: 2/2 -- train_loss: 3.25
        [2023-04-08 05:40:27,016] [42292] [MainThread] [INFO] (engine:272) - Epoch: 2/50, Iter: 1/2 -- train_loss: 3.0
        """,
        {"train_loss": [(1, 3.5), (2, 3.25), (3, 3.0)]},
    ),
    "numbers of steps of both splits": (
        """
        Epoch:  1/8 Train steps: 100 Val steps: 20 1.21s loss: 3.5 acc: 90.25 val_loss: 3.75
        Epoch:  2/8 Train steps: 100 Val steps: 20 1.21s loss: 3.25 acc: 90.25 val_loss: 3.5
        """,
        {"loss": [(1, 3.5), (2, 3.25)], "val_loss": [(1, 3.75), (2, 3.5)]},
    ),
    "a number of iterations alone above its values": (
        """
        100 iterations
        loss: 3.5
        200 iterations
        loss: 3.25
        """,
        {"loss": [(100, 3.5), (200, 3.25)]},
    ),
    "the number of a run in brackets alone above its values": (
        """
        run [50]:
        Style Loss : 3.5 Content Loss: 2.5
        run [100]:
        Style Loss : 3.25 Content Loss: 2.25
        """,
        {"Style Loss": [(50, 3.5), (100, 3.25)], "Content Loss": [(50, 2.5), (100, 2.25)]},
    ),
    "step and rate in a list above the losses": (
        """
        INFO:voice:Train Epoch: 9 [20%]
        INFO:voice:[4200, 9.5e-05]
        INFO:voice:loss_mel=17.5, loss_kl=1.5
        INFO:voice:Train Epoch: 9 [50%]
        INFO:voice:[4400, 9.0e-05]
        INFO:voice:loss_mel=17.25, loss_kl=1.25
        """,
        {
            "loss_mel": [(4200, 17.5), (4400, 17.25)],
            "loss_kl": [(4200, 1.5), (4400, 1.25)],
            "lr": [(4200, 9.5e-5), (4400, 9e-5)],
        },
    ),
    "a loss without a name behind a counter": (
        """
              0/ 200000: 3.5
          10000/ 200000: 3.25
          20000/ 200000: 3.0
        """,
        {"value": [(0, 3.5), (10000, 3.25), (20000, 3.0)]},
    ),
    "a batch before errors, without a loss": (
        """
        DEEPMD INFO    batch     100: trn: rmse = 2.5e+01, rmse_f = 6.4e-01, lr = 1.00e-03
        DEEPMD INFO    batch     100: val: rmse = 2.75e+01, rmse_f = 6.4e-01
        DEEPMD INFO    batch     200: trn: rmse = 2.25e+01, rmse_f = 6.4e-01, lr = 1.00e-03
        """,
        {"rmse": [(100, 25.0), (200, 22.5)], "val.rmse": [(100, 27.5)], "lr": [(100, 0.001), (200, 0.001)]},
    ),
    "steps that begin again below the line of each epoch": (
        """
        EPOCH 1:
          batch 1000 loss: 3.5
          batch 2000 loss: 3.25
        LOSS train 3.375 valid 3.5
        EPOCH 2:
          batch 1000 loss: 3.0
          batch 2000 loss: 2.75
        LOSS train 2.875 valid 3.25
        """,
        {
            "loss": [(1000, 3.5), (2000, 3.25), (3000, 3.0), (4000, 2.75)],
            "epoch.train loss": [(2000, 3.375), (4000, 2.875)],
            "valid loss": [(2000, 3.5), (4000, 3.25)],
        },
    ),
    "steps of the run below the line of each epoch": (
        """
        Epoch 1/3
        step 100 loss: 3.5
        step 200 loss: 3.25
        Epoch 2/3
        step 200 val_loss: 3.75
        step 300 loss: 3.0
        step 400 loss: 2.75
        """,
        {"loss": [(100, 3.5), (200, 3.25), (300, 3.0), (400, 2.75)], "val_loss": [(200, 3.75)]},
    ),
    "an epoch that is named at its end": (
        """
        batch 100/200 loss 3.5
        batch 200/200 loss 3.25
        Epoch 1 finished, train loss 3.375, val loss 3.5
        batch 100/200 loss 3.0
        batch 200/200 loss 2.75
        Epoch 2 finished, train loss 2.875, val loss 3.25
        """,
        {
            "loss": [(100, 3.5), (200, 3.25), (300, 3.0), (400, 2.75)],
            "epoch.train loss": [(200, 3.375), (400, 2.875)],
            "val loss": [(200, 3.5), (400, 3.25)],
        },
    ),
    "an epoch that is named behind iterations without an end": (
        """
        Iteration 0: loss 3.5
        Iteration 100: loss 3.25
        End of epoch 0: validation loss 3.5
        Iteration 0: loss 3.0
        Iteration 100: loss 2.75
        End of epoch 1: validation loss 3.25
        """,
        {"loss": [(0, 3.5), (100, 3.25), (101, 3.0), (201, 2.75)], "validation loss": [(100, 3.5), (201, 3.25)]},
    ),
    "epochs that are named behind steps of the run": (
        """
        iter 100 loss 3.5
        iter 200 loss 3.25
        epoch 1 done, val_loss 3.5
        iter 300 loss 3.0
        iter 400 loss 2.75
        epoch 2 done, val_loss 3.25
        """,
        {"loss": [(100, 3.5), (200, 3.25), (300, 3.0), (400, 2.75)], "val_loss": [(200, 3.5), (400, 3.25)]},
    ),
    "the loss of an epoch under another name than that of its steps": (
        """
        Epoch(1/2)
          100/200 - training loss: 3.5
          200/200 - training loss: 3.25
        [Epoch 1] Loss: 3.375 | Val Loss: 3.5 | Time: 12s
        Epoch(2/2)
          100/200 - training loss: 3.0
        [Epoch 2] Loss: 3.0 | Val Loss: 3.25 | Time: 12s
        """,
        {
            "training loss": [(100, 3.5), (200, 3.25), (300, 3.0)],
            "epoch.Loss": [(200, 3.375), (300, 3.0)],
            "Val Loss": [(200, 3.5), (300, 3.25)],
        },
    ),
    "a step before a colon": (
        """
        50: loss=3.5 lr=0.1
        100: loss=3.25 lr=0.1
        step 100: val loss 3.75
        150: loss=3.0 lr=0.1
        """,
        {
            "loss": [(50, 3.5), (100, 3.25), (150, 3.0)],
            "lr": [(50, 0.1), (100, 0.1), (150, 0.1)],
            "val loss": [(100, 3.75)],
        },
    ),
    "a step before a colon, behind a logger": (
        """
        2024-05-03 10:00:00,123 - INFO - 50: loss=3.5 lr=0.1
        2024-05-03 10:00:00,124 - INFO - 100: loss=3.25 lr=0.1
        2024-05-03 10:00:00,125 - INFO - val loss: 3.75
        """,
        {"loss": [(50, 3.5), (100, 3.25)], "lr": [(50, 0.1), (100, 0.1)], "val loss": [(100, 3.75)]},
    ),
    "a place in parentheses": (
        """
        (1) loss: 3.5 acc: 0.5
        (2) loss: 3.25 acc: 0.5
        """,
        {"loss": [(1, 3.5), (2, 3.25)]},
    ),
    "numbers of mini-batches": (
        """
        Epoch 1
        Mini-batch 100, loss 3.5
        Mini-batch 200, loss 3.25
        Train loss: 3.375 Val loss: 3.5
        Epoch 2
        Mini-batch 100, loss 3.0
        """,
        {"loss": [(100, 3.5), (200, 3.25), (300, 3.0)], "epoch.Train loss": [(200, 3.375)], "Val loss": [(200, 3.5)]},
    ),
    "a counter in a cell behind the split": (
        """
        train | 100/200 | loss 3.5
        train | 200/200 | loss 3.25
        valid | 20/20 | loss 3.75
        epoch 1 | took 12.5 s
        train | 100/200 | loss 3.0
        """,
        {"loss": [(100, 3.5), (200, 3.25), (300, 3.0)], "val.loss": [(200, 3.75)]},
    ),
    "a tuple of epoch and iteration": (
        """
        DLL 2020-05-03 10:00:00.123456 - (0, 0) train_loss : 3.5
        DLL 2020-05-03 10:00:00.123456 - (0, 10) train_loss : 3.25
        DLL 2020-05-03 10:00:00.123456 - (1, 0) train_loss : 3.0
        """,
        {"train_loss": [(0, 3.5), (10, 3.25), (11, 3.0)]},
    ),
    "samples of the epoch in the second line of a record": (
        """
        Training Step: 1  | total loss: 3.5 | time: 0.275s
        | Adam | epoch: 001 | loss: 3.5 - acc: 0.2720 -- iter: 00064/55000
        Training Step: 2  | total loss: 3.25 | time: 8.900s
        | Adam | epoch: 001 | loss: 3.25 - acc: 0.3264 | val_loss: 3.75 - val_acc: 0.5097 -- iter: 00128/55000
        """,
        {"total loss": [(1, 3.5), (2, 3.25)], "val_loss": [(2, 3.75)]},
    ),
    # ---- what is announced
    "a validation that is announced, with a shorter counter": (
        """
        Epoch 1/2
        step 100/200 - loss: 3.5 - acc: 0.5 - 21ms/step
        step 200/200 - loss: 3.25 - acc: 0.5 - 21ms/step
        Eval begin...
        step 40/40 - loss: 3.75 - acc: 0.5 - 5ms/step
        Epoch 2/2
        step 100/200 - loss: 3.0 - acc: 0.5 - 21ms/step
        """,
        {"loss": [(100, 3.5), (200, 3.25), (300, 3.0)], "val.loss": [(200, 3.75)]},
    ),
    "a validation that is announced, with the names of the training": (
        """
        [Epoch: 0, numImages: 10582]
        Loss: 123.5
        Validation:
        [Epoch: 0, numImages:  1449]
        Acc:0.875, Acc_class:0.5, mIoU:0.4
        Loss: 45.5
        [Epoch: 1, numImages: 10582]
        Loss: 121.5
        """,
        {"Loss": [(0, 123.5), (1, 121.5)], "val.Loss": [(0, 45.5)]},
    ),
    "a validation that is announced, below a heading with the step": (
        """
        --> STEP: 0/75 -- GLOBAL_STEP: 0
             | > loss: 3.5  (3.75)
        > EVALUATION
          --> EVAL PERFORMANCE
             | > avg_loss: 3.75 (+0.0000)
        --> STEP: 25/75 -- GLOBAL_STEP: 25
             | > loss: 3.25  (3.5)
        """,
        {"loss": [(0, 3.5), (25, 3.25)], "val.avg_loss": [(0, 3.75)]},
    ),
    "the error of a test, of which the loss is a part": (
        """
        Epoch 1
        loss: 3.5  [   64/60000]
        loss: 3.25  [ 6464/60000]
        Test Error:
         Accuracy: 50.1%, Avg loss: 3.375
        Epoch 2
        loss: 3.0  [   64/60000]
        """,
        {"loss": [(64, 3.5), (6464, 3.25), (60064, 3.0)], "test.Avg loss": [(6464, 3.375)]},
    ),
    "a bar of the validation, with other names than that of the training": (
        """
        Epoch 1:  50%|##  | 100/200 [00:01<00:01, 9.1it/s, train_loss=3.5]
        Epoch 1: 100%|####| 200/200 [00:02<00:00, 9.1it/s, train_loss=3.25]
        Val: 100%|####| 40/40 [00:02<00:00, 9.1it/s, loss=3.75]
          val_acc: 0.5
        Epoch 2:  50%|##  | 100/200 [00:01<00:01, 9.1it/s, train_loss=3.0]
        """,
        {"train_loss": [(100, 3.5), (200, 3.25), (300, 3.0)], "val.loss": [(200, 3.75)]},
    ),
    "an indented loss below a bar, and the loss of the epoch under the name of the bar": (
        """
        Epoch 1:  50%|##  | 100/200 [00:01<00:01, 9.1it/s, train_loss=3.5]
        Epoch 1: 100%|####| 200/200 [00:02<00:00, 9.1it/s, train_loss=3.25]
          val_loss: 3.75
        Epoch 1: train_loss=3.375
        Epoch 2:  50%|##  | 100/200 [00:01<00:01, 9.1it/s, train_loss=3.0]
            val_loss = 9.5
        """,
        {
            "train_loss": [(100, 3.5), (200, 3.25), (300, 3.0)],
            "val_loss": [(200, 3.75)],
            "epoch.train_loss": [(200, 3.375)],
        },
    ),
    "a validation that is announced with its step": (
        """
        step 100 loss: 3.5
        Validation at step 100:
          loss: 3.75
          acc: 0.5
        step 200 loss: 3.25
        Evaluation after step 200
        loss: 3.5
        step 300 loss: 3.0
        """,
        {"loss": [(100, 3.5), (200, 3.25), (300, 3.0)], "val.loss": [(100, 3.75), (200, 3.5)]},
    ),
    "a validation that is announced behind a logger": (
        """
        INFO:trainer:step 100: loss 3.5
        INFO:trainer:Evaluating...
        INFO:trainer:loss: 3.75, acc: 0.5
        INFO:trainer:step 200: loss 3.25
        """,
        {"loss": [(100, 3.5), (200, 3.25)], "val.loss": [(100, 3.75)]},
    ),
    "a validation that is announced and prints nothing": (
        """
        step 100/200 - loss: 3.5
        Evaluating...
        step 200/200 - loss: 3.25
        """,
        {"loss": [(100, 3.5), (200, 3.25)]},
    ),
    # ---- what is a loss
    "the losses of two outputs": (
        """
        Epoch 1: head: default, loss=3.5, RMSE_F=111.5 meV / A
        Epoch 1: head: pt_head, loss=9.5, RMSE_F=339.5 meV / A
        Epoch 2: head: default, loss=3.25, RMSE_F=110.5 meV / A
        Epoch 2: head: pt_head, loss=9.25, RMSE_F=338.5 meV / A
        """,
        {"default.loss": [(1, 3.5), (2, 3.25)], "pt_head.loss": [(1, 9.5), (2, 9.25)]},
    ),
    "a dictionary of the test": (
        """
        Epoch 0/16, Iter 0/100, train loss = 3.5, time = 1.25
        avg_test_scalars: {'loss': 4.5, 'abs_depth_error': 5.5}
        Epoch 1/16, Iter 0/100, train loss = 3.25, time = 1.25
        """,
        {"train loss": [(0, 3.5), (100, 3.25)], "test.loss": [(0, 4.5)]},
    ),
    "the validation behind the training, with the same names": (
        """
        epoch: 1 |loss 3.5 | hm_loss 2.5 | time 33.75 |
        epoch: 2 |loss 3.25 | hm_loss 2.25 | time 33.75 | loss 4.5 | hm_loss 4.25 | time 19.5 |
        """,
        {
            "loss": [(1, 3.5), (2, 3.25)],
            "hm_loss": [(1, 2.5), (2, 2.25)],
            "second.loss": [(2, 4.5)],
            "second.hm_loss": [(2, 4.25)],
        },
    ),
    "the accuracy of a test before the loss of the training": (
        """
        training iter: 194, test accuracy : 0.5, loss : 3.5
        training iter: 195, test accuracy : 0.5, loss : 3.25
        """,
        {"loss": [(194, 3.5), (195, 3.25)]},
    ),
    "the cost of an epoch beside its losses": (
        """
        [Epoch 1] Training cost: 557.5, ObjLoss=3.5, BoxScaleLoss=2.5
        [Epoch 2] Training cost: 558.5, ObjLoss=3.25, BoxScaleLoss=2.25
        """,
        {
            "ObjLoss": [(1, 3.5), (2, 3.25)],
            "BoxScaleLoss": [(1, 2.5), (2, 2.25)],
            "time.Training cost": [(1, 557.5), (2, 558.5)],
        },
    ),
    "a cost in seconds": (
        """
        step: 100, lr: 0.0001, reference_loss: 3.5
        ====> Epoch: 1, cost 143.5 s
        step: 200, lr: 0.0001, reference_loss: 3.25
        ====> Epoch: 2, cost 143.5 s
        """,
        {"reference_loss": [(100, 3.5), (200, 3.25)], "time.cost": [(100, 143.5), (200, 143.5)]},
    ),
    "a cost on data": (
        """
        Epoch 0 training complete
        Cost on training data: 3.5
        Cost on evaluation data: 3.75
        Epoch 1 training complete
        Cost on training data: 3.25
        Cost on evaluation data: 3.5
        """,
        {
            "Cost on training data": [(0, 3.5), (1, 3.25)],
            "Cost on evaluation data": [(0, 3.75), (1, 3.5)],
        },
    ),
    "a change in brackets is no mean": (
        """
        step 1 loss: 3.5 (+0.125) lr: 0.1
        step 2 loss: 3.25 (-0.25) lr: 0.1
        """,
        {"loss": [(1, 3.5), (2, 3.25)], "lr": [(1, 0.1), (2, 0.1)]},
    ),
    "a loss behind a sentence": (
        """
        [Epoch 1 512/28857][Iteration 1][Wall Clock 1.3s] Throughput is 414.5 records/second. Loss is 3.5.
        [Epoch 1 1024/28857][Iteration 2][Wall Clock 2.6s] Throughput is 414.5 records/second. Loss is 3.25.
        Loss is (Loss: 134.5, count: 128, Average Loss: 1.25)
        """,
        {"Loss": [(1, 3.5), (2, 3.25)]},
    ),
    "numbers of single precision in Julia": (
        """
        Epoch: 1   Train: (loss = 3.5f0, acc = 93.25)   Test: (loss = 3.75f0, acc = 93.5)
        Epoch: 2   Train: (loss = 3.25f-1, acc = 93.25)   Test: (loss = 3.5f0, acc = 93.5)
        """,
        {"loss": [(1, 3.5), (2, 0.325)], "test.loss": [(1, 3.75), (2, 3.5)]},
    ),
    "the rate of the optimizer under the name of its base": (
        """
        Epoch[1] Iteration[50/210] Loss: 3.5, Acc: 0.125, Base Lr: 3.50e-05
        Epoch[1] Iteration[100/210] Loss: 3.25, Acc: 0.125, Base Lr: 3.25e-05
        """,
        {"Loss": [(50, 3.5), (100, 3.25)], "lr": [(50, 3.5e-5), (100, 3.25e-5)]},
    ),
    "the split in parentheses behind the loss": (
        """
        epoch: 1, loss(train): 3.5, loss(val): 3.75
        epoch: 2, loss(train): 3.25, loss(val): 3.5
        """,
        {"loss(train)": [(1, 3.5), (2, 3.25)], "loss(val)": [(1, 3.75), (2, 3.5)]},
    ),
    "a rate of two words behind a logger": (
        """
        INFO:root:Epoch 1
        INFO:root:Training loss = 3.5
        INFO:root:Validation loss = 3.75
        INFO:root:Learning rate = 0.1
        INFO:root:Epoch 2
        INFO:root:Training loss = 3.25
        INFO:root:Validation loss = 3.5
        INFO:root:Learning rate = 0.05
        """,
        {
            "Training loss": [(1, 3.5), (2, 3.25)],
            "Validation loss": [(1, 3.75), (2, 3.5)],
            "Learning rate": [(1, 0.1), (2, 0.05)],
        },
    ),
    # ---- tables
    "rows that leave different columns empty": (
        """
        Iteration    LearnRate    TrainingLoss    ValidationLoss
                0        0.001                              4.25
               50        0.001             3.5
              100        0.001            3.25              4.0
        """,
        {
            "TrainingLoss": [(50, 3.5), (100, 3.25)],
            "ValidationLoss": [(0, 4.25), (100, 4.0)],
            "LearnRate": [(0, 0.001), (50, 0.001), (100, 0.001)],
        },
    ),
    "rows of the training and of the validation": (
        """
          Train      #    Epoch      wal       LR       loss_f         loss
        ! Train               1   35.250    0.005         2.25          3.5
        ! Validation          1   35.250    0.005          2.5         3.75
        ! Train               2   70.500    0.005          2.0         3.25
        ! Validation          2   70.500    0.005         2.25          3.5
        """,
        {"loss": [(1, 3.5), (2, 3.25)], "val.loss": [(1, 3.75), (2, 3.5)]},
    ),
    "rows of an epoch below rows of its batches": (
        """
        # Epoch batch         loss       loss_f
              1    10         3.75          2.5
              1    20         3.25          2.0
          Train      #    Epoch      wal       LR       loss_f         loss
        ! Train               1   35.250    0.005         2.25          3.5
        # Epoch batch         loss       loss_f
              2    10         3.0           2.0
        """,
        {"loss": [(10, 3.75), (20, 3.25), (30, 3.0)], "epoch.loss": [(20, 3.5)]},
    ),
    "underscores below the names of a table": (
        """
            Iteration    Epoch    LearnRate    TrainingLoss
            _________    _____    _________    ____________
                   50        1        0.001            3.5
                  100        2        0.001           3.25
        """,
        {"TrainingLoss": [(50, 3.5), (100, 3.25)]},
    ),
    "cells of a list with one number": (
        """
        Epoch ,FinishTime     ,LR    ,RMSE_Train
            0 ,04.29_01:45:54 ,0.1 , 3.5
            1 ,04.29_02:45:54 ,[0.05]   , 3.25
        """,
        {"RMSE_Train": [(0, 3.5), (1, 3.25)], "LR": [(0, 0.1), (1, 0.05)]},
    ),
}


@pytest.mark.parametrize(("log", "wanted"), LOGS.values(), ids=LOGS)
def test_the_losses_of_a_log(log: str, wanted: dict[str, Samples]) -> None:
    samples = read(log)
    assert {name: samples.get(name) for name in wanted} == wanted
    assert primary(samples) in {
        name for name in wanted if not name.startswith(("val.", "test.", "second.", "time.", "epoch."))
    }
