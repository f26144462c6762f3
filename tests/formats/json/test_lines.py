"""JSON lines."""

from __future__ import annotations

import math

import pytest
from support.format_samples import JSONL, feed, samples, values

from lrwatch.formats.json.lines import JsonLines


def read(text: bytes) -> list[tuple[str, int, str]]:
    return samples(feed(JsonLines(), [text]))


def test_nested_names_are_dotted_and_only_numbers_are_samples() -> None:
    line = (
        b'{"step": 3, "train": {"loss": 2.5, "parts": [1, 2]}, "ok": true, "none": null, "name": "x", "lr": "1e-3"}\n'
    )
    assert read(line) == [
        ("lr", 3, "0.001"),
        ("train.loss", 3, "2.5"),
        ("train.parts.0", 3, "1.0"),
        ("train.parts.1", 3, "2.0"),
    ]


@pytest.mark.parametrize(
    "spelling", ["NaN", "nan", "-nan", '"nan"', '"NaN"', '"-nan"', '"nan(ind)"', '"1.#QNAN"', "-nan(ind)"]
)
def test_nan_in_any_spelling_is_a_sample(spelling: str) -> None:
    batches = feed(JsonLines(), [b'{"step": 1, "loss": %s, "lr": 0.5}\n' % spelling.encode()])
    assert math.isnan(values(batches, "loss")[0][1])
    assert values(batches, "lr") == [(1, 0.5)]


@pytest.mark.parametrize(
    "spelling",
    ["Infinity", "-Infinity", "inf", "-inf", '"inf"', '"-Infinity"', '"+INF"', "1e400", "-1e400", '"1.#INF"'],
)
def test_an_infinity_in_any_spelling_is_a_sample(spelling: str) -> None:
    (found,) = values(feed(JsonLines(), [b'{"step": 1, "loss": %s}\n' % spelling.encode()]), "loss")
    assert found == (1, -math.inf if "-" in spelling else math.inf)


def test_a_bare_nan_within_text_stays_text() -> None:
    assert read(b'{"step": 1, "note": "a, NaN, b", "loss": NaN}\n') == [("loss", 1, "nan")]


def test_a_line_that_is_no_object_costs_only_itself() -> None:
    batches = feed(JsonLines(), [JSONL])
    assert values(batches, "train.loss") == [(4, -math.inf)]
    assert batches[0].errors == {"not a JSON object": 1}


@pytest.mark.parametrize(
    "text", [b'{"step":\n1}\n', b'{"step": 1, "loss": 2}{"step": 2, "loss": 3}\n', b'5\n[1]\n"x"\n']
)
def test_what_is_not_one_object_a_line_is_counted(text: bytes) -> None:
    (batch, _) = feed(JsonLines(), [text])
    assert len(batch) == 0
    assert batch.errors == {"not a JSON object": batch.lines}


def test_invalid_utf8_does_not_hide_the_loss() -> None:
    assert read(b'{"step": 1, "note": "\xff\xfe", "loss": 2.5}\n') == [("loss", 1, "2.5")]


def test_rows_of_many_shapes_keep_the_order_of_the_log() -> None:
    lines = b"".join(
        b'{"step": %d, "loss": %d}\n' % (i, i) if i % 3 else b'{"loss": %d, "step": %d, "eval": {"loss": 1}}\n' % (i, i)
        for i in range(3000)
    )
    batches = feed(JsonLines(), [lines])
    assert values(batches, "loss") == [(i, float(i)) for i in range(3000)]
    assert values(batches, "eval.loss") == [(i, 1.0) for i in range(0, 3000, 3)]


def test_a_validation_record_does_not_mix_with_the_training() -> None:
    lines = (
        b'{"mode": "train", "iter": 50, "loss": 2.5}\n{"mode": "val", "iter": 7, "loss": 2.75}\n'
        b'{"split": "test", "step": 60, "loss": 3.5}\n'
    )
    assert read(lines) == [("loss", 50, "2.5"), ("val.loss", 50, "2.75"), ("test.loss", 60, "3.5")]


def test_a_whole_number_beyond_a_double_is_infinite() -> None:
    assert read(b'{"step": 1, "loss": 1%s}\n' % (b"0" * 400)) == [("loss", 1, "inf")]


def test_the_iterations_of_mmcv_that_begin_again_with_each_epoch_count_the_run() -> None:
    line = b'{"mode": "train", "epoch": %d, "iter": %d, "loss": %d}\n'
    lines = b"".join(line % (epoch, i, epoch) for epoch in (1, 2, 3) for i in (50, 100, 150)) + (
        b'{"mode": "val", "epoch": 3, "iter": 7, "mAP": 0.5}\n'
    )
    batches = feed(JsonLines(), [lines])
    assert [step for step, _ in values(batches, "loss")] == [50, 100, 150, 200, 250, 300, 350, 400, 450]
    assert values(batches, "val.mAP") == [(450, 0.5)]
    bytewise = feed(JsonLines(), [lines[i : i + 1] for i in range(len(lines))], restart=True)
    assert samples(bytewise) == samples(batches)


def test_an_evaluation_of_mmengine_that_counts_epochs_stays_at_its_step() -> None:
    lines = (
        b'{"lr": 0.02, "loss": 2.5, "epoch": 1, "iter": 50, "step": 50}\n{"coco/bbox_mAP": 0.25, "step": 1}\n'
        b'{"lr": 0.02, "loss": 2.25, "epoch": 2, "iter": 100, "step": 100}\n'
    )
    batches = feed(JsonLines(), [lines])
    assert values(batches, "coco/bbox_mAP") == [(50, 0.25)]
    assert values(batches, "loss") == [(50, 2.5), (100, 2.25)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            b'{"iteration": 19, "total_loss": NaN, "bbox/AP": 1.5}',
            [("bbox/AP", 19, "1.5"), ("total_loss", 19, "nan")],
        ),
        (b'{"current_steps": 10, "total_steps": 90, "loss": 2.5}', [("loss", 10, "2.5"), ("total_steps", 10, "90.0")]),
        (b'{"train_loss": 6.5, "test_loss": 6.25, "epoch": 4}', [("epoch", 4, "4.0"), ("test_loss", 4, "6.25"), ("train_loss", 4, "6.5")]),
        (b'{"step": 7, "loss": 2.5, "lr": 2e-05}', [("loss", 7, "2.5"), ("lr", 7, "2e-05")]),
    ],
)  # fmt: skip
def test_the_records_of_known_trainers_are_placed(line: bytes, expected: list[tuple[str, int, str]]) -> None:
    assert read(line + b"\n") == expected
