"""Layouts of records that few trainers have, but people's own scripts do: tables, JSON and sentences.

One file because it is one table.
"""

from __future__ import annotations

import pytest
from support.reading import Samples, read

LOGS: dict[str, tuple[str, dict[str, Samples]]] = {
    # ---- several processes, the highest first
    "ranks of a CSV, the highest first": (
        """
        rank,step,loss
        2,10,4.0
        1,10,3.75
        0,10,3.5
        2,20,3.75
        1,20,3.5
        0,20,3.25
        """,
        {
            "loss": [(10, 3.5), (20, 3.25)],
            "rank1.loss": [(10, 3.75), (20, 3.5)],
            "rank2.loss": [(10, 4.0), (20, 3.75)],
        },
    ),
    "local ranks behind the values of a CSV": (
        """
        step,loss,local_rank
        10,3.75,1
        10,3.5,0
        20,3.5,1
        20,3.25,0
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "rank1.loss": [(10, 3.75), (20, 3.5)]},
    ),
    "ranks of JSON, the highest first": (
        """
        {"rank": 2, "step": 10, "loss": 4.0}
        {"rank": 1, "step": 10, "loss": 3.75}
        {"rank": 2, "step": 20, "loss": 3.75}
        {"rank": 1, "step": 20, "loss": 3.5}
        """,
        {"loss": [(10, 3.75), (20, 3.5)], "rank2.loss": [(10, 4.0), (20, 3.75)]},
    ),
    "one process of JSON that is not the first": (
        """
        {"local_rank": 3, "step": 10, "loss": 3.5}
        {"local_rank": 3, "step": 20, "loss": 3.25}
        """,
        {"loss": [(10, 3.5), (20, 3.25)]},
    ),
    # ---- long tables
    "a long CSV": (
        """
        step,metric,value
        10,loss,3.5
        10,val_loss,3.75
        10,lr,0.001
        20,loss,3.25
        20,val_loss,3.5
        20,lr,0.0005
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "val_loss": [(10, 3.75), (20, 3.5)], "lr": [(10, 1e-3), (20, 5e-4)]},
    ),
    "a long CSV with a run and a time": (
        """
        run,tag,step,value,wall_time
        exp1,train/loss,10,3.5,1714730400.5
        exp1,val/loss,10,3.75,1714730400.6
        exp1,train/loss,20,3.25,1714730401.5
        """,
        {"train/loss": [(10, 3.5), (20, 3.25)], "val/loss": [(10, 3.75)]},
    ),
    "a long CSV with splits": (
        """
        epoch;split;name;value
        1;train;loss;3,5
        1;val;loss;3,75
        2;train;loss;3,25
        2;val;loss;3,5
        """,
        {"loss": [(1, 3.5), (2, 3.25)], "val.loss": [(1, 3.75), (2, 3.5)]},
    ),
    "JSON with a tag and a value": (
        """
        {"tag": "train/loss", "step": 10, "value": 3.5}
        {"tag": "lr", "step": 10, "value": 0.001}
        {"tag": "train/loss", "step": 20, "value": "nan"}
        {"tag": "lr", "step": 20, "value": 0.0005}
        {"tag": "train/loss", "step": 30, "value": 3.25}
        """,
        {"train/loss": [(10, 3.5), (20, float("nan")), (30, 3.25)], "lr": [(10, 1e-3), (20, 5e-4)]},
    ),
    "JSON with a list of metrics": (
        """
        {"step": 10, "metrics": [{"name": "loss", "value": 3.5}, {"name": "lr", "value": 0.001}]}
        {"step": 20, "metrics": [{"name": "loss", "value": 3.25}, {"name": "lr", "value": 0.0005}]}
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "lr": [(10, 1e-3), (20, 5e-4)]},
    ),
    # ---- headers of two lines
    "the split above the metric in a CSV": (
        """
        ,train,val,optim
        step,loss,loss,lr
        10,3.5,3.75,0.001
        20,3.25,3.5,0.0005
        """,
        {
            "train loss": [(10, 3.5), (20, 3.25)],
            "val loss": [(10, 3.75), (20, 3.5)],
            "optim lr": [(10, 1e-3), (20, 5e-4)],
        },
    ),
    "the levels of a data frame": (
        """
        ,train,train,val
        ,loss,acc,loss
        epoch,,,
        1,3.5,0.25,3.75
        2,3.25,0.5,3.5
        """,
        {"train loss": [(1, 3.5), (2, 3.25)], "val loss": [(1, 3.75), (2, 3.5)]},
    ),
    "a line with commas above the header": (
        """
        host,gpu01
        step,loss
        10,3.5
        20,3.25
        """,
        {"loss": [(10, 3.5), (20, 3.25)]},
    ),
    # ---- objects of Python, and units of places
    "the text of an object": (
        """
        TrainMetrics(step=10, loss=3.5, lr=0.001)
        TrainMetrics(step=20, loss=3.25, lr=0.0005)
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "lr": [(10, 1e-3), (20, 5e-4)]},
    ),
    "a list of pairs": (
        """
        OrderedDict([('step', 10), ('loss', 3.5), ('lr', 0.001)])
        OrderedDict([('step', 20), ('loss', 3.25), ('lr', 0.0005)])
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "lr": [(10, 1e-3), (20, 5e-4)]},
    ),
    "a dictionary with defaults": (
        """
        step 10: defaultdict(<class 'float'>, {'loss': 3.5})
        step 20: defaultdict(<class 'float'>, {'loss': 3.25})
        """,
        {"loss": [(10, 3.5), (20, 3.25)]},
    ),
    "an optimizer is no record": (
        """
        Adam(lr=0.1, betas=(0.9, 0.999))
        StepLR(step_size=30, gamma=0.1)
        step 10 loss 3.5
        step 20 loss 3.25
        """,
        {"loss": [(10, 3.5), (20, 3.25)]},
    ),
    "places with a unit": (
        """
        Epoch (#),Train Loss (MSE),Elapsed (s)
        1,3.5,1.5
        2,3.25,3.0
        """,
        {"Train Loss (MSE)": [(1, 3.5), (2, 3.25)]},
    ),
    "a step in an object of state": (
        """
        {"state": {"step": 10}, "metrics": {"train": {"loss": 3.5}, "_base/lr": 0.001}}
        {"state": {"step": 20}, "metrics": {"train": {"loss": 3.25}, "_base/lr": 0.0005}}
        """,
        {"metrics.train.loss": [(10, 3.5), (20, 3.25)], "metrics._base/lr": [(10, 1e-3), (20, 5e-4)]},
    ),
    # ---- objects behind a place
    "a place before an object": (
        """
        step 10: {"loss": 3.5, "lr": 0.001}
        step 20: {"loss": 3.25, "lr": 0.0005}
        """,
        {"loss": [(10, 3.5), (20, 3.25)], "lr": [(10, 1e-3), (20, 5e-4)]},
    ),
}


@pytest.mark.parametrize(("log", "wanted"), LOGS.values(), ids=LOGS)
def test_the_samples_of_a_log(log: str, wanted: dict[str, Samples]) -> None:
    samples = read(log)
    assert {name: repr(samples.get(name)) for name in wanted} == {name: repr(wanted[name]) for name in wanted}
    others = samples.keys() - wanted.keys()
    assert not [name for name in others if "loss" in name.lower()], "a loss that the log does not have"
