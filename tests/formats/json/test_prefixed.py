"""JSON objects behind text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.format_samples import cut, feed, samples, values

from lrwatch.core.sample import Batch
from lrwatch.formats.json.prefixed import Prefixed

LOG = (
    b'12:00 | INFO | config {"lr": 0.1, "seed": 7, "name": "x"}\n'
    b'12:01 | INFO | train_inner | {"epoch": 1, "loss": "11.25", "num_updates": "100", "lr": "1e-5"}\n'
    b"Epoch 1 begins {not json}\n"
    b'  5%| | 1/20\rjson_stats: {"loss":nan,"num_updates":200,"save":"logs\\/x"}\t\n'
    b'0: :::MLLOG {"key": "train_loss", "value": 0.75, "time_ms": 1, "metadata": {"epoch_num": 1, "step_num": 300}}\n'
    b'3: :::MLLOG {"key": "train_loss", "value": 0.75, "time_ms": 2, "metadata": {"epoch_num": 1, "step_num": 300}}\r\n'
    b':::MLLOG {"key": "seed", "value": 5, "metadata": {"file": "a.py", "lineno": 417}}\n'
    b'INFO {"mode": "val", "step": 300, "loss": 2.5} (train.py:7)\n'
    b'INFO {"step": 400, "loss": 2.5\n'
    b'INFO {"step": 400, loss: 2.5}\n'
    b'INFO {"step": 500, "loss": 2.'  # torn
)


def read(log: bytes) -> list[Batch]:
    return feed(Prefixed(), [log])


def test_records_are_found_among_text_and_settings_are_none() -> None:
    batches = read(LOG)
    assert samples(batches) == [
        ("epoch", 100, "1.0"),
        ("loss", 100, "11.25"),
        ("lr", 100, "1e-05"),
        ("loss", 200, "nan"),
        ("epoch_num", 300, "1.0"),
        ("train_loss", 300, "0.75"),
        ("val.loss", 300, "2.5"),
    ]
    assert batches[0].errors == {"not a JSON object": 1}
    assert batches[0].axis == "step"


@given(at=st.lists(st.integers(0, len(LOG)), max_size=12), repeat=st.integers(1, 3))
@settings(deadline=None)
def test_any_chunking_and_any_restart_give_the_same_samples(at: list[int], repeat: int) -> None:
    log = LOG * repeat
    assert samples(feed(Prefixed(), cut(log, at))) == samples(read(log))


def test_a_restart_at_any_byte_gives_the_same_samples_and_the_state_is_plain() -> None:
    reader, found, rest = Prefixed(), [], b""
    for i in range(len(LOG)):
        rest += LOG[i : i + 1]
        batch, used = reader.feed(rest)
        rest = rest[used:]
        found.append(batch)
        state = json.loads(json.dumps(reader.state()))
        reader = Prefixed()
        reader.restore(state)
    assert samples(found) == samples(read(LOG))


def test_a_record_that_several_processes_print_is_counted_once() -> None:
    line = b'%d: :::MLLOG {"key": "loss", "value": %f, "time_ms": %d, "metadata": {"step_num": %d}}\n'
    log = b"".join(line % (rank, 1 / step, rank + step, step) for step in range(1, 50) for rank in range(64))
    assert [step for step, _ in values(read(log), "loss")] == list(range(1, 50))


def test_an_object_behind_a_brace_is_read_beside_ranks_too() -> None:
    value = b':::MLLOG {"key": "train_loss", "value": 0.75, "metadata": {"step_num": 10}}\n'
    log = [b"{epoch " + value, b"1: " + value, b'INFO | {"loss": "11.2", "num_updates": "100"}\n']
    whole = samples(feed(Prefixed(), [b"".join(log)]))
    assert whole == samples(feed(Prefixed(), log)) == [("train_loss", 10, "0.75"), ("loss", 100, "11.2")]


def test_records_without_a_place_are_never_repetitions() -> None:
    assert len(values(read(b'x {"loss": 2.5}\n' * 3), "loss")) == 3


@pytest.mark.parametrize(
    ("metadata", "axis", "step"),
    [
        ('{"epoch_num": 3, "step_num": 40}', "step", 40),
        ('{"epoch_num": 3, "file": "a", "lineno": 7}', "epoch", 3),
        ('{"samples_count": 512, "lineno": 7}', "step", 512),
        ("{}", "record", 0),
    ],
)
def test_a_value_of_mlperf_is_placed_by_its_metadata(metadata: str, axis: str, step: int) -> None:
    batches = read(
        b':::MLLOG {"namespace": "", "key": "eval_loss", "value": 2.5, "metadata": %s}\n' % metadata.encode()
    )
    assert values(batches, "eval_loss") == [(step, 2.5)]
    assert batches[-1].axis == axis


@pytest.mark.parametrize(
    "line",
    [
        b'Config: {"lr": 0.1, "epochs": 10, "loss": "mse", "loss_weight": 2.0, "eval_steps": 500}\n',
        b'args {"optimizer": {"lr": 0.1, "betas": [0.9, 0.999]}}\n',
        b"{'loss': 1.5, 'epoch': 0.5}\n",
        b"step 1 loss 2.5 {\n",
        b':::MLLOG {"key": "global_batch_size", "value": 64, "metadata": {"lineno": 1}}\n',
    ],
)
def test_settings_and_text_are_no_records_and_no_errors(line: bytes) -> None:
    (batch, _) = read(line)
    assert (batch.rows, batch.errors, batch.lines) == (0, {}, 1)
