"""The shared part of the framework callbacks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lrwatch.client.adapter import Adapter, LearningRates
from lrwatch.integrations._base import CallbackBase, RoundAdapter, all_ranks, known_length, scalars


class Framework:
    """The base class of a framework's callbacks."""

    def __init__(self) -> None:
        self.ready = True


class Callback(CallbackBase, Framework):
    pass


def test_the_framework_is_initialised_and_without_a_client_nothing_happens(tmp_path: Path) -> None:
    callback = Callback(tmp_path / "control")
    assert callback.ready
    assert callback.watch is None
    callback._step(3, loss=1.0)
    callback._close()
    assert (callback._scale, callback._state()) == (1.0, {})
    assert not (tmp_path / "control").exists()


def test_the_options_of_the_script_override_those_of_the_framework(tmp_path: Path) -> None:
    callback = Callback(tmp_path, poll_seconds=0.01, run="mine")
    watch = callback._attach(None, 7, run="theirs", metrics_file=False)
    callback._step()
    callback._close()
    assert callback.watch is watch
    assert watch.state_dict()["step"] == 8
    assert json.loads((tmp_path / "observed.json").read_text())["run"] == "mine"
    assert not (tmp_path / "metrics.jsonl").exists()


def test_the_length_is_the_scripts_or_else_the_frameworks_and_without_one_there_is_no_warm_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = Callback(tmp_path / "a", warm_start=0.1)
    watch = known._attach(None, 0, **known_length(100))
    assert (watch.scale, watch.state_dict()["total_steps"], watch.state_dict()["warm_until"]) == (0.1, 100, 10)
    known._close()
    given = Callback(tmp_path / "b", total_steps=50)
    assert given._attach(None, 0, **known_length(100)).state_dict()["total_steps"] == 50
    given._close()
    assert not caplog.records
    unknown = Callback(tmp_path / "c", warm_start=0.1)
    for _ in range(2):
        assert unknown._attach(None, 0, **known_length(-1)).scale == 1.0
        unknown._close()
    assert [record.message for record in caplog.records if "give total_steps" in record.message] == caplog.messages
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("told", "length"),
    [
        (100, {"total_steps": 100}),
        (100.0, {"total_steps": 100}),
        (-1, {}),
        (0, {}),
        (math.inf, {}),
        (None, {}),
        (True, {}),
    ],
)
def test_what_frameworks_say_for_an_unknown_length_is_none(told: object, length: dict[str, Any]) -> None:
    assert known_length(told) == length


@pytest.mark.slow
def test_a_second_training_closes_the_first_client_and_continues_from_a_state(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    callback = Callback(tmp_path, poll_seconds=0.01)
    first = callback._attach(optimizer, 0)
    state = {**first.state_dict(), "scale": 0.5, "generation": 1, "commands": 1, "last_step": 2, "step": 4}
    second = callback._attach(optimizer, 5, state)  # the same optimizer: only a closed client lets go of it
    assert second is not first
    assert (callback._scale, callback._state()["step"]) == (0.5, 5)
    callback._close()


def test_a_round_adapter_reports_the_rate_of_a_round_until_the_next_scale_is_wanted() -> None:
    adapter = RoundAdapter("xgboost")
    assert issubclass(RoundAdapter, Adapter)
    assert (adapter.name, adapter.wanted, adapter.sample()) == ("xgboost", True, None)
    adapter.used_rate(0.3, 0.5)
    assert (adapter.wanted, adapter.lr) == (False, 0.15)
    assert adapter.sample() == LearningRates(0.5, {"0": 0.3}, {"0": 0.15})
    adapter.set(0.25)
    assert (adapter.wanted, adapter.lr) == (True, 0.15)


def test_only_single_numbers_become_metrics() -> None:
    logs = {
        "loss": 1,
        "tensor": torch.tensor(0.5),
        "text": "x",
        "flag": True,
        "many": torch.zeros(2),
        "step": 3,
        4: 1.0,
    }
    assert list(scalars(logs)) == ["loss", "tensor"]
    assert scalars(None) == {}


def test_one_process_needs_no_ranks() -> None:
    assert all_ranks() == {}
