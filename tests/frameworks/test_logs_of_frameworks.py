"""What real training libraries write, read back: the samples are those that the training itself saw."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from frameworks.framework_logs import Samples, Training, assert_close, samples, train

from lrwatch import read_log

pytestmark = pytest.mark.frameworks

# Half a unit in the last place of what a library prints, and a little for binary fractions.
FOUR_DECIMALS = 5.1e-5
FOUR_DIGITS = 5.1e-4
THREE_DIGITS = 5.1e-3
FLOAT32 = 1e-6


@pytest.fixture(scope="module")
def keras_twice(tmp_path_factory: pytest.TempPathFactory) -> Training:
    return train(tmp_path_factory.mktemp("keras"), "keras_fit", "2", "2", needs="keras")


@pytest.fixture(scope="module")
def lightning(tmp_path_factory: pytest.TempPathFactory) -> Training:
    return train(tmp_path_factory.mktemp("lightning"), "lightning_fit", needs="lightning")


@pytest.fixture(scope="module")
def transformers(tmp_path_factory: pytest.TempPathFactory) -> Training:
    return train(tmp_path_factory.mktemp("transformers"), "transformers_train", needs="transformers")


@pytest.fixture(scope="module")
def catboost(tmp_path_factory: pytest.TempPathFactory) -> Training:
    return train(tmp_path_factory.mktemp("catboost"), "boosting", "catboost", needs="catboost")


@pytest.fixture(scope="module")
def stable_baselines3(tmp_path_factory: pytest.TempPathFactory) -> Training:
    return train(tmp_path_factory.mktemp("sb3"), "stable_baselines3_learn", needs="stable_baselines3")


def of_keras(training: Training, metric: str, *, first_epoch: int, which: tuple[int, ...]) -> Samples:
    return [(row["epoch"] + first_epoch, row[metric]) for row in training.truth if row["training"] in which]


def test_the_progress_bar_of_keras_gives_each_epoch_once(tmp_path: Path) -> None:
    training = train(tmp_path, "keras_fit", "1", "1", needs="keras")
    table = read_log(training.output)
    assert table.attrs["axis"] == "epoch"
    for metric in ("loss", "mae", "val_loss", "val_mae", "learning_rate"):
        expected = of_keras(training, metric, first_epoch=1, which=(0,))
        assert_close(samples(table, metric), expected, abs=FOUR_DECIMALS)


def test_two_trainings_in_the_output_of_keras_are_both_read(keras_twice: Training) -> None:
    table = read_log(keras_twice.output)
    for metric in ("loss", "mae", "val_loss", "learning_rate"):
        expected = of_keras(keras_twice, metric, first_epoch=1, which=(0, 1))
        assert_close(samples(table, metric), expected, abs=FOUR_DECIMALS)


def test_the_csv_logger_of_keras_keeps_the_last_training(keras_twice: Training) -> None:
    table = read_log(keras_twice.file("training.log"))
    assert table.attrs["axis"] == "epoch"
    for metric in ("loss", "val_loss", "learning_rate"):
        assert samples(table, metric) == of_keras(keras_twice, metric, first_epoch=0, which=(1,))


def test_the_csv_logger_of_lightning_is_read_with_a_metric_that_came_late(lightning: Training) -> None:
    table = read_log(lightning.file("lightning_logs/version_0/metrics.csv"))
    for metric, name in (("train_loss", "train"), ("val_loss", "val"), ("late_loss", "late")):
        assert samples(table, metric) == [(step, value) for step, value in lightning.truth[name]]


def test_the_event_file_of_lightning_is_read(lightning: Training) -> None:
    table = read_log(lightning.file("tensorboard/version_0/events.out.tfevents.*"))
    for metric, name in (("train_loss", "train"), ("val_loss", "val"), ("late_loss", "late")):
        assert_close(samples(table, metric), lightning.truth[name], rel=FLOAT32)


def test_the_bar_of_lightning_counts_each_step_once(lightning: Training) -> None:
    table = read_log(lightning.output)
    expected = [(step + 1, value) for step, value in lightning.truth["train"]]  # the bar counts finished batches
    assert_close(samples(table, "train_loss"), expected, rel=THREE_DIGITS)


@pytest.mark.parametrize("metric", ["loss", "grad_norm", "learning_rate", "eval_loss", "epoch"])
def test_the_dictionaries_of_transformers_are_read_in_order(transformers: Training, metric: str) -> None:
    found = [value for _, value in samples(read_log(transformers.output), metric)]
    expected = [row[metric] for row in transformers.truth if metric in row]
    assert found == pytest.approx(expected, rel=FOUR_DIGITS)


def test_the_state_of_the_transformers_trainer_is_read(transformers: Training) -> None:
    table = read_log(transformers.file("out/checkpoint-48/trainer_state.json"))
    for metric in ("loss", "learning_rate", "eval_loss"):
        expected = [(row["step"], row[metric]) for row in transformers.truth if metric in row]
        assert samples(table, metric) == expected


def test_the_event_file_of_transformers_is_read(transformers: Training) -> None:
    table = read_log(transformers.file("out/runs/*/events.out.tfevents.*"))
    for metric, tag in (("loss", "train/loss"), ("learning_rate", "train/learning_rate"), ("eval_loss", "eval/loss")):
        expected = [(row["step"], row[metric]) for row in transformers.truth if metric in row]
        assert_close(samples(table, tag), expected, rel=FLOAT32)


def test_the_rounds_of_xgboost_are_read(tmp_path: Path) -> None:
    training = train(tmp_path, "boosting", "xgboost", needs="xgboost")
    table = read_log(training.output)
    for name in ("train", "validation"):
        assert_close(samples(table, f"{name}-rmse"), [*enumerate(training.truth[name]["rmse"])], abs=5.1e-6)


def test_the_evaluations_of_lightgbm_are_read_between_its_warnings(tmp_path: Path) -> None:
    training = train(tmp_path, "boosting", "lightgbm", needs="lightgbm")
    table = read_log(training.output)
    for name, metrics in training.truth.items():
        for metric, values in metrics.items():
            expected = [*enumerate(values, 1)][1::2]  # every second round is printed
            assert_close(samples(table, f"{name}'s {metric}"), expected, rel=5.1e-6)


def test_the_output_of_catboost_is_read(catboost: Training) -> None:
    table = read_log(catboost.output)
    for column, name in (("learn", "learn"), ("test", "validation")):
        assert_close(samples(table, column), [*enumerate(catboost.truth[name]["RMSE"])], abs=5.1e-8)


@pytest.mark.parametrize(("kind", "name"), [("learn", "learn"), ("test", "validation")])
def test_the_tables_and_event_files_of_catboost_are_read(catboost: Training, kind: str, name: str) -> None:
    expected = [*enumerate(catboost.truth[name]["RMSE"])]
    for file in (f"{kind}_error.tsv", f"{kind}/events.out.tfevents"):
        table = read_log(catboost.directory / "catboost_info" / file)
        assert_close(samples(table, "RMSE"), expected, rel=FLOAT32)


def test_the_json_of_catboost_is_read(catboost: Training) -> None:
    table = read_log(catboost.directory / "catboost_info" / "catboost_training.json")
    for part, name in (("learn", "learn"), ("test", "validation")):
        (column,) = (column for column in table.columns if column.startswith(part))
        assert_close(samples(table, column), [*enumerate(catboost.truth[name]["RMSE"])], rel=FLOAT32)


@pytest.mark.parametrize("metric", ["train/loss", "train/value_loss", "train/approx_kl", "rollout/ep_rew_mean"])
def test_the_boxes_of_stable_baselines3_are_placed_by_their_timesteps(stable_baselines3: Training, metric: str) -> None:
    expected = [(int(row["time/total_timesteps"]), row[metric]) for row in stable_baselines3.truth if metric in row]
    assert_close(samples(read_log(stable_baselines3.output), metric), expected, rel=THREE_DIGITS)
    assert_close(samples(read_log(stable_baselines3.file("progress.csv")), metric), expected, rel=FLOAT32)
    assert_close(samples(read_log(stable_baselines3.file("events.out.tfevents.*")), metric), expected, rel=FLOAT32)


def test_the_monitor_of_stable_baselines3_gives_an_episode_a_row(stable_baselines3: Training) -> None:
    monitor = stable_baselines3.file("*monitor.csv")
    expected = [float(line.split(",")[0]) for line in monitor.read_text().splitlines()[2:]]
    table = read_log(monitor)
    assert table.attrs["axis"] == "record"
    assert [value for _, value in samples(table, "r")] == expected


@pytest.mark.parametrize("bars", ["once", "each"])
def test_a_bar_with_a_postfix_gives_one_sample_a_step(tmp_path: Path, bars: str) -> None:
    training = train(tmp_path, "tqdm_loop", bars, needs="tqdm")
    table = read_log(training.output)
    assert samples(table, "loss") == [(step, value) for step, value in training.truth]
    assert samples(table, "lr") == [(step, 1e-3) for step, _ in training.truth]


def test_the_scalars_of_torch_are_read_and_nan_is_one_of_them(tmp_path: Path) -> None:
    training = train(tmp_path, "torch_tensorboard", needs="tensorboard")
    table = read_log(training.file("events/events.out.tfevents.*"))
    for tag, factor in (("Loss/train", 1.0), ("Loss/val", 2.0)):
        found = samples(table, tag)  # a NaN that was logged is a value
        assert [step for step, value in found if math.isnan(value)] == [100]
        assert [step for step, value in training.truth if math.isnan(value)] == [100]
        finite = [(step, factor * value) for step, value in training.truth if not math.isnan(value)]
        assert_close([one for one in found if not math.isnan(one[1])], finite, rel=FLOAT32)
    for name, sign in (("a", 1), ("b", -1)):
        part = read_log(training.file(f"events/both_{name}/events.out.tfevents.*"))
        assert samples(part, "both") == [(step, float(sign * step)) for step, _ in training.truth]
