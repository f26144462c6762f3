"""Histories that are one JSON document."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.format_samples import samples, values

from lrwatch.core.sample import Batch
from lrwatch.formats.json.document import JsonDocument
from lrwatch.formats.lines import MAX_LINE_BYTES

TRAINER_STATE = {
    "best_metric": None,
    "epoch": 1.0,
    "global_step": 20,
    "log_history": [
        {"epoch": 0.5, "grad_norm": 1.5, "learning_rate": 0.001, "loss": 2.5, "step": 10},
        {"epoch": 1.0, "grad_norm": float("nan"), "learning_rate": 0.0005, "loss": 2.25, "step": 20},
        {"epoch": 1.0, "eval_loss": 2.125, "step": 20},
    ],
    "logging_steps": 10,
    "stateful_callbacks": {"TrainerControl": {"args": {"should_log": False}, "attributes": {}}},
}
SACRED = {
    "train.loss": {"steps": [1, 2, 4], "timestamps": ["a", "b", "c"], "values": [2.5, float("nan"), 1.5]},
    "val.loss": {"steps": [2, 4], "timestamps": ["b", "c"], "values": [{"dtype": "float64", "value": 3.5}, 3.25]},
}
CATBOOST = (
    b'{\n"meta":{"test_sets":["test"],"test_metrics":[{"best_value":"Min","name":"RMSE"}],'
    b'"learn_metrics":[{"best_value":"Min","name":"RMSE"}],"learn_sets":["learn"],"iteration_count":3},\n"iterations":[\n'
    b'{"learn":[1.5],"iteration":0,"test":[1.75]},\n'
    b'{"learn":[1.25],"iteration":1,"test":[1.5]},\n'
    b'{"learn":[1],"iteration":2,"test":[1.25]}\n]}'
)
KERAS = {"loss": [2.5, 2.25, 2.0], "val_loss": [2.75, 2.5, 2.5], "lr": [0.1, 0.1, 0.01]}


def read(document: Any, *, final: bool = False) -> Batch:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    batch, used = JsonDocument().feed(data, final=final)
    assert used == len(data)
    return batch


def test_the_log_history_of_a_trainer_state_is_placed_by_step() -> None:
    batch = read(TRAINER_STATE)
    assert values([batch], "loss") == [(10, 2.5), (20, 2.25)]
    assert values([batch], "eval_loss") == [(20, 2.125)]
    assert [repr(value) for _, value in values([batch], "grad_norm")] == ["1.5", "nan"]
    assert (batch.axis, batch.lines, batch.smoothing) == ("step", 1, {"loss": "window"})


def test_the_columns_of_sacred_keep_steps_of_their_own() -> None:
    assert samples([read(SACRED)]) == [
        ("train.loss", 1, "2.5"),
        ("train.loss", 2, "nan"),
        ("val.loss", 2, "3.5"),
        ("train.loss", 4, "1.5"),
        ("val.loss", 4, "3.25"),
    ]


def test_several_values_at_one_step_of_sacred_are_all_kept() -> None:
    batch = read({"loss": {"steps": [0, 0, 0, None], "values": [3, 2, 1, 0.5]}})
    assert samples([batch]) == [("loss", 0, "3.0"), ("loss", 0, "2.0"), ("loss", 0, "1.0"), ("loss", 3, "0.5")]


def test_the_values_of_catboost_are_named_by_its_metrics() -> None:
    batch = read(CATBOOST)
    assert values([batch], "learn.RMSE") == [(0, 1.5), (1, 1.25), (2, 1.0)]
    assert values([batch], "test.RMSE") == [(0, 1.75), (1, 1.5), (2, 1.25)]


def test_while_catboost_writes_what_is_complete_counts() -> None:
    complete = samples([read(CATBOOST)])
    at_most = 0
    for end in range(CATBOOST.index(b"}") + 1, len(CATBOOST) + 1):
        batch, used = JsonDocument().feed(CATBOOST[:end])
        found = samples([batch])
        assert used in ((0, end) if not found else (end,))
        assert complete[: len(found)] == found
        assert len(found) >= at_most
        at_most = len(found)
    assert at_most == len(complete)


@pytest.mark.parametrize("document", [TRAINER_STATE, SACRED, KERAS, [{"step": 1, "loss": 2.5}]])
@pytest.mark.parametrize("indent", [None, 2])
def test_half_a_document_says_nothing_and_is_not_consumed(document: Any, indent: int | None) -> None:
    data = json.dumps(document, indent=indent).encode()
    for end in range(len(data)):
        batch, used = JsonDocument().feed(data[:end])
        assert (len(batch), used, batch.errors) == (0, 0, {})
    assert len(read(data)) > 0


@pytest.mark.parametrize("indent", [None, 2])
def test_of_a_document_that_stays_half_what_is_complete_counts(indent: int | None) -> None:
    data = json.dumps(TRAINER_STATE, indent=indent).encode()
    batch = read(data[: data.index(b'"loss": 2.25')], final=True)
    assert values([batch], "loss") == [(10, 2.5)]
    assert values([batch], "learning_rate") == [(10, 0.001)]  # the step of the second record is missing


@pytest.mark.parametrize("records", [1, 40])
def test_a_list_of_records_may_lie_up_to_two_levels_down(records: int) -> None:
    table = [{"step": i, "loss": i / 8} for i in range(records)]
    expected = [("loss", i, repr(i / 8)) for i in range(records)]
    for document in (table, {"log": table}, {"run": {"a": 1}, "results": {"history": table}}):
        assert samples([read(document)]) == expected


def test_several_lists_are_told_apart_and_put_in_the_order_of_steps() -> None:
    batch = read(
        {
            "config": {"betas": [0.9, 0.999]},
            "train": [{"step": 1, "loss": 3}, {"step": 3, "loss": 1}],
            "val": [{"step": 2, "loss": 5}],
        }
    )
    assert samples([batch]) == [("train.loss", 1, "3.0"), ("val.loss", 2, "5.0"), ("train.loss", 3, "1.0")]


@pytest.mark.parametrize("document", [KERAS, {"params": {"epochs": 3, "sizes": [8, 9]}, "history": KERAS}])
def test_an_object_of_lists_is_placed_by_epoch(document: Any) -> None:
    batch = read(document)
    assert batch.axis == "epoch"
    assert values([batch], "val_loss") == [(0, 2.75), (1, 2.5), (2, 2.5)]
    assert set(batch.columns) == {"loss", "val_loss", "lr"}


def test_an_object_of_lists_is_placed_by_its_own_steps() -> None:
    batch = read({"steps": [10, 20], "loss": [2.5, None], "acc": [0.5, 0.75]})
    assert samples([batch]) == [("acc", 10, "0.5"), ("loss", 10, "2.5"), ("acc", 20, "0.75")]
    assert batch.axis == "step"


def test_the_results_of_a_booster_are_named_by_their_set() -> None:
    batch = read({"train": {"rmse": [3, 2, 1]}, "valid": {"rmse": [3.5, 2.5, 1.5]}})
    assert values([batch], "train.rmse") == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert values([batch], "valid.rmse") == [(0, 3.5), (1, 2.5), (2, 1.5)]


def test_one_object_over_several_lines_is_a_record() -> None:
    batch = read(b'{\n  "epoch": 3,\n  "eval_loss": 0.5\n}\n')
    assert values([batch], "eval_loss") == [(3, 0.5)]
    assert batch.axis == "epoch"


@pytest.mark.parametrize("spelling", ["NaN", "nan", "-nan", '"nan"', "Infinity", "-inf", "1e999"])
def test_what_is_not_finite_is_a_sample_in_any_spelling(spelling: str) -> None:
    batch = read(b'{\n "loss": [\n  %s\n ,1]}' % spelling.encode())
    expected = {"N": "nan", "n": "nan", "I": "inf", "1": "inf", "i": "inf"}[spelling.strip('"-')[0]]
    assert samples([batch])[0] == ("loss", 0, "-inf" if spelling == "-inf" else expected)


def test_nul_bytes_and_a_byte_order_mark_do_no_harm() -> None:
    assert samples([read(b"\xef\xbb\xbf" + CATBOOST + b"\n" + bytes(100))]) == samples([read(CATBOOST)])


def test_a_document_that_was_rewritten_longer_begins_with_the_same_samples() -> None:
    rng = random.Random(1)
    history: list[dict[str, float]] = []
    before: list[tuple[str, int, str]] = []
    for step in range(1, 200):
        entry = {"step": step, "epoch": step / 50, ("loss" if step % 10 else "eval_loss"): rng.random()}
        history.append(entry)
        now = samples([read({"log_history": history})])
        assert now[: len(before)] == before
        before = now


DOCUMENTS = [
    json.dumps(TRAINER_STATE).encode(),
    json.dumps(TRAINER_STATE, indent=2).encode(),
    json.dumps(TRAINER_STATE).encode() + b"\n",
    json.dumps({"log_history": [], "global_step": 0}).encode(),
    json.dumps(SACRED).encode(),
    json.dumps(SACRED, indent=1).encode(),
    CATBOOST,
    CATBOOST[:-40],
    json.dumps(KERAS).encode(),
    json.dumps(KERAS, indent=4).encode(),
    b'[{"step": 1, "loss": 2.5}]',
    b'[\n {"step": 1, "loss": 2.5},\n {"step": 2, "loss": 2.25}\n]\n',
    b'{\n "epoch": 3.0,\n "eval_loss": 0.5\n}\n',
    b'{"epoch": 9, "train_losses": [9, 8, 7, 6, 5, 4, 3, 2, 1]}',
]
NO_DOCUMENTS = [
    b"",
    b"{}",
    b"[]",
    b"[1, 2]",
    b"step 1 loss 2\n",
    b'{"train_lr": 1e-06, "train_loss": 6.9, "test_loss": 6.8, "epoch": 0}\n',
    b'{"train_lr": 1e-06, "train_loss": 6.9, "test_loss": 6.8, "epoch": 0}',
    b'{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.25}\n',
    b'{"log_history": []}\n{"step": 1, "loss": 2.5}\n',
    b'{"step": 1, "losses": [1, 2, 3, 4, 5, 6, 7, 8, 9]}\n',
    b'{"losses": [1, 2, 3',
    b'{"step": 1, "lo',
    b"{\n  optnet_optimize : true\n  loss : 5\n}\n",
    b'{\n "lr": 0.1,\n "epochs": 3, "betas": [0.9, 0.99]}\n',
    b'{\n "lr": 0.1,\n "loss": 3\n}\nstep 1 loss 2\n',
    b"[2024-01-01 12:00:00] step 1 loss 2\n",
    b'[{"step": 1, "loss": 2.5}]\n[{"step": 2, "loss": 2.5}]\n',
    b"{" * 100,
    b'{"' + b'\\"' * 100_000,
]


@pytest.mark.parametrize("head", DOCUMENTS)
def test_a_history_is_claimed(head: bytes) -> None:
    assert JsonDocument.claims(head)


@pytest.mark.parametrize("head", NO_DOCUMENTS)
def test_lines_settings_and_text_are_not_claimed(head: bytes) -> None:
    assert not JsonDocument.claims(head)


@pytest.mark.slow
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("document", ["trainer_state", "sacred", "keras", "list"])
def test_of_a_long_history_the_beginning_is_enough(document: str, indent: int | None) -> None:
    many = range(MAX_LINE_BYTES // 20)
    long: Any = {
        "trainer_state": {"log_history": [{"step": i, "loss": 1 / 3} for i in many]},
        "sacred": {"loss": {"steps": list(many), "values": [1 / 3 for _ in many]}},
        "keras": {"loss": [1 / 3 for _ in many], "val_loss": [1 / 3 for _ in many]},
        "list": [{"step": i, "loss": 1 / 3} for i in many],
    }[document]
    data = json.dumps(long, indent=indent).encode()
    assert len(data) > MAX_LINE_BYTES
    assert JsonDocument.claims(data[:MAX_LINE_BYTES])


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS)
@given(at=st.integers(0, 400), noise=st.binary(min_size=1, max_size=8))
@settings(deadline=None, max_examples=30)
def test_damaged_bytes_raise_nothing_and_are_counted(document: bytes, at: int, noise: bytes) -> None:
    damaged = document[:at] + noise + document[at + len(noise) :]
    JsonDocument.claims(damaged)
    batch, used = JsonDocument().feed(damaged)
    assert used in (0, len(damaged))
    batch, used = JsonDocument().feed(damaged, final=True)
    assert used == len(damaged)
    assert batch.lines <= 1
    assert set(batch.errors) <= {"not a JSON document", "not a record"}


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["loss", "step", "steps", "values", "epoch", "meta", "iterations", "log_history", "a"])
                | st.text(max_size=3),
                inner,
                max_size=4,
            )
        ),
        max_leaves=30,
    )
)
@settings(deadline=None, max_examples=300)
def test_any_document_gives_samples_or_none(document: Any) -> None:
    data = json.dumps(document).encode()
    JsonDocument.claims(data)
    batch, used = JsonDocument().feed(data, final=True)
    assert used == len(data)
    assert all(len(column.rows) == len(column.values) for column in batch.columns.values())
    assert samples([JsonDocument().feed(data)[0]]) == samples([batch]) or not isinstance(document, (dict, list))


@pytest.mark.slow
@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "data",
    [b"[" * MAX_LINE_BYTES, b'{"a":' * 200_000, b'[{"a' + b'\\"' * 500_000, b'{"loss":[' + b"[,{," * 250_000, b'{"a":1,' * 150_000],
)  # fmt: skip
def test_hostile_documents_neither_stall_nor_raise(data: bytes) -> None:
    # Quadratic work on a megabyte would take hours.
    assert not JsonDocument.claims(data)
    batch, used = JsonDocument().feed(data, final=True)
    assert (len(batch), used) == (0, len(data))


def test_the_state_of_a_document_is_nothing() -> None:
    assert JsonDocument().state() == {}


def test_no_step_of_a_list_of_losses_is_taken_from_its_settings() -> None:
    batch = read({"loss": [3, 2, 1], "gamma": [0.5], "milestones": [10, 20, 30, 40, 50]})
    assert set(batch.columns) == {"loss"}
    assert not re.search("gamma|milestones", " ".join(batch.columns))
