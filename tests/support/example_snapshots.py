"""Snapshots of an invented run that trains, reaches a plateau, gets a smaller learning rate and continues."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from lrwatch.core.snapshot import (
    EffectStatus,
    FoundStatus,
    MetricStatus,
    ProposalStatus,
    RunStatus,
    Snapshot,
    TrendStatus,
)

CALM = RunStatus(
    name="gpt2",
    mode="auto",
    metric="val/loss",
    up=True,
    step=12_000,
    total_steps=40_000,
    length_source="log",
    last_sample_time=1_700_000_000.5,
    metrics=(
        MetricStatus(
            "train/loss", 12_000, 3.25, watched=True, state="cannot_tell_yet", words="cannot tell yet", tells_at=14_500
        ),
        MetricStatus("grad_norm", 12_000, math.inf),
        MetricStatus(
            "val/loss",
            12_000,
            3.5,
            TrendStatus(0.001, -0.002, 0.004, 1200.0, 0.003),
            watched=True,
            state="plateau",
            words="plateau since step 11,000: improves by 0.1 % \u00b1 0.3 % per 1,200 steps, and 0.5 % is required",
            since=11_000,
        ),
        MetricStatus("val/accuracy", 11_990, math.nan, TrendStatus(0.01, -math.inf, math.inf, 1200.0), watched=True),
    ),
    findings={"plateau": 2, "nonfinite": 1},
    found={"plateau": FoundStatus(11_000, 1_699_999_500.0)},
    labels={"owner": "anna", "priority": "high"},
    scale=0.5,
    schedule_lr={"decay": 3e-4, "no_decay": 1e-4},
    effective_lr={"decay": 1.5e-4, "no_decay": 5e-5},
    commands={
        "plateau": {"asked": 2, "sent": 1, "applied": 1, "proven": 1},
        "operator": {"asked": 1, "sent": 1, "rejected": 1},
    },
    proposals=(
        ProposalStatus(17, 11_500, 0.25, "plateau", "the metric improves by 0.1 %", 17_250, "lrwatch approve gpt2 17"),
    ),
    held=True,
    fenced=True,
    rejected={"out_of_bounds": 1},
    pending_seconds=2.5,
    effect=EffectStatus(9_000, 0.5, 0.021, 0.015, 0.027, "helped"),
    effects={"helped": 1},
    applied_time=1_699_999_000.0,
    token=7,
    bytes=123_456,
    lines=1_000,
    samples=3_000,
    errors={"undecodable": 4},
    lag_bytes=17,
    faults={"message": 3},
    trainer_faults=("two_trainers",),
    life="running",
    life_since=1_699_990_000.0,
    life_note="samples come as they used to",
    patience_seconds=600.0,
)
"""One run with a value everywhere, finite or not."""

WAITING = RunStatus(name="resnet", mode="suggest", problem="no file matches runs/resnet/*.jsonl")
"""A run of which nothing was read yet."""

FULL = Snapshot(1_700_000_001.0, (CALM, WAITING), {"runs": True, "elsewhere/*.log": False}, journal_entries=57)


def training(second: int) -> Snapshot:
    """Return the run at a second: a plateau from 4 on, a command pending at 5, applied from 6 on, measured from 9 on."""
    now = time.time()
    on_plateau = 4 <= second < 7
    scale = 0.5 if second >= 6 else 1.0
    loss = 2.0 + math.exp(-second / 3)
    ratio = 0.001 if on_plateau else 0.05
    running = replace(
        CALM,
        step=100 * second,
        last_sample_time=now,
        metrics=(
            MetricStatus("train/loss", 100 * second, loss - 0.1),
            MetricStatus(
                "val/loss",
                100 * second,
                loss,
                TrendStatus(ratio, ratio - 0.01, ratio + 0.01, 1000.0),
                watched=True,
                state="plateau" if on_plateau else "improving",
            ),
        ),
        findings={"plateau": int(second >= 4)},
        scale=scale,
        effective_lr={"decay": 3e-4 * scale, "no_decay": 1e-4 * scale},
        commands={"plateau": {"asked": int(second >= 5), "sent": int(second >= 5), "applied": int(second >= 6)}},
        rejected={"out_of_bounds": int(second >= 8)},
        pending_seconds=1.0 if second == 5 else 0.0,
        effect=CALM.effect if second >= 9 else None,
        effects={"helped": int(second >= 9)},
        applied_time=now - (second - 6) if second >= 6 else None,
        bytes=1_000 * second,
        lines=10 * second,
        samples=20 * second,
        errors={"undecodable": second // 3},
        lag_bytes=0,
    )
    return Snapshot(now, (running, WAITING), journal_entries=57)


FLEET_NAMES = ("gpt2", "gpt2+rope", "lr(3e-4)", 'a|b \\ "c"/50%')
"""Names with characters that mean something in a pattern, in a query and in an address."""


def fleet(second: int) -> Snapshot:
    """The run of `training` under several names, and runs that are lost, ended, on a plateau, or whose loss is no number."""
    made = training(second)
    run = made.runs[0]
    stuck = tuple(replace(metric, state="plateau") if metric.watched else metric for metric in run.metrics)
    broken = tuple(replace(metric, value=math.nan) if metric.watched else metric for metric in run.metrics)
    more = [replace(run, name=name) for name in FLEET_NAMES if name != "gpt2"]
    more += [
        replace(run, name="lost", life="lost"), replace(run, name="ended", life="ended"), replace(run, name="stuck", metrics=stuck),
        replace(run, name="infinite", metrics=broken, findings={"nonfinite": int(second >= 3)}),
    ]  # fmt: skip
    return replace(made, runs=(*made.runs, *more), paths={"runs": True, "elsewhere": False}, journal_entries=57)
