"""Paths into runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrwatch.sources.discover import MAX_LOGS, Discovery, Log, discover


def make(root: Path, *files: str) -> None:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x\n")


def shown(found: Discovery, root: Path) -> list[tuple[str, str, str]]:
    return [
        (log.run, log.path.relative_to(root).as_posix(), log.control.relative_to(root).as_posix()) for log in found.logs
    ]


def test_a_file_is_a_run_named_after_it(tmp_path: Path) -> None:
    make(tmp_path, "runs/a.jsonl")
    assert shown(discover([tmp_path / "runs/a.jsonl"]), tmp_path) == [("a", "runs/a.jsonl", "runs/lrwatch")]


def test_a_missing_file_is_waited_for(tmp_path: Path) -> None:
    found = discover([tmp_path / "later.log"])
    assert shown(found, tmp_path) == [("later", "later.log", "lrwatch")]
    assert found.problems == ()


def test_a_directory_with_logs_is_one_run_and_the_clients_log_comes_first(tmp_path: Path) -> None:
    make(tmp_path, "a/train.log", "a/metrics.csv", "a/model.pt", "a/.hidden.log", "a/old/x.log")
    make(tmp_path, "a/lrwatch/metrics.jsonl", "a/lrwatch/observed.json", "a/lrwatch/desired.json")
    assert shown(discover([tmp_path / "a"]), tmp_path) == [
        ("a", "a/lrwatch/metrics.jsonl", "a/lrwatch"),
        ("a", "a/metrics.csv", "a/lrwatch"),
        ("a", "a/train.log", "a/lrwatch"),
    ]


def test_a_directory_without_logs_is_searched_for_runs(tmp_path: Path) -> None:
    make(tmp_path, "logs/version_1/metrics.csv", "logs/version_0/metrics.csv", "logs/version_0/checkpoints/x.txt")
    make(tmp_path, "logs/deep/seed/lrwatch/metrics.jsonl")
    assert shown(discover([tmp_path / "logs"]), tmp_path) == [
        ("version_0", "logs/version_0/metrics.csv", "logs/version_0/lrwatch"),
        ("version_1", "logs/version_1/metrics.csv", "logs/version_1/lrwatch"),
        ("seed", "logs/deep/seed/lrwatch/metrics.jsonl", "logs/deep/seed/lrwatch"),
    ]


@pytest.mark.parametrize("given", ["a/lrwatch", "a/control", "a/control/metrics.jsonl"])
def test_a_control_directory_belongs_to_the_run_above_it(tmp_path: Path, given: str) -> None:
    make(tmp_path, "a/lrwatch/metrics.jsonl", "a/control/observed.json", "a/control/metrics.jsonl")
    assert {log.run for log in discover([tmp_path / given]).logs} == {"a"}


def test_a_control_directory_that_is_given_is_read_by_itself(tmp_path: Path) -> None:
    make(tmp_path, "a/lrwatch/metrics.jsonl", "a/lrwatch/observed.json", "a/train.log", "a/other/x.log")
    assert shown(discover([tmp_path / "a/lrwatch"]), tmp_path) == [("a", "a/lrwatch/metrics.jsonl", "a/lrwatch")]
    both = discover([tmp_path / "a/lrwatch", tmp_path / "a"])
    assert names_in(both) == ["metrics.jsonl", "train.log"]
    assert {log.run for log in both.logs} == {"a"}


def test_a_control_directory_of_another_name_belongs_to_the_run_around_it(tmp_path: Path) -> None:
    make(tmp_path, "a/ctl/metrics.jsonl", "a/ctl/observed.json", "a/ctl/controller-1", "a/train.log")
    assert shown(discover([tmp_path / "a"]), tmp_path) == [
        ("a", "a/ctl/metrics.jsonl", "a/ctl"),
        ("a", "a/train.log", "a/ctl"),
    ]
    (tmp_path / "a/train.log").unlink()
    assert shown(discover([tmp_path / "a"]), tmp_path) == [("a", "a/ctl/metrics.jsonl", "a/ctl")]


def test_a_directory_with_checkpoints_is_one_run_with_the_newest_of_them(tmp_path: Path) -> None:
    make(tmp_path, *(f"out/checkpoint-{i}/trainer_state.json" for i in (900, 1000, 1100)))
    make(tmp_path, "out/runs/Dec01_host/events.out.tfevents.1.host")
    assert shown(discover([tmp_path / "out"]), tmp_path) == [
        ("out", "out/checkpoint-1000/trainer_state.json", "out/lrwatch"),
        ("out", "out/checkpoint-1100/trainer_state.json", "out/lrwatch"),
        ("out", "out/runs/Dec01_host/events.out.tfevents.1.host", "out/lrwatch"),
    ]


def test_attempts_and_ranks_of_torchrun_are_one_run_in_their_order(tmp_path: Path) -> None:
    make(tmp_path, *(f"logs/none_a/attempt_{i}/{rank}/stdout.log" for i in (2, 10) for rank in (0, 1)))
    found = discover([tmp_path / "logs"])
    assert {log.run for log in found.logs} == {"none_a"}
    assert [log.path.relative_to(tmp_path / "logs/none_a").as_posix() for log in found.logs] == [
        f"attempt_{i}/{rank}/stdout.log" for i in (2, 10) for rank in (0, 1)
    ]


def test_logs_that_are_numbered_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    make(tmp_path, "a/slurm-10.out", "a/slurm-9.out")
    assert [log.path.name for log in discover([tmp_path / "a"]).logs] == ["slurm-9.out", "slurm-10.out"]


def test_a_pattern_stands_for_its_matches_in_order(tmp_path: Path) -> None:
    make(tmp_path, "b/log.csv", "a/log.csv", "c/other.csv")
    assert shown(discover([f"{tmp_path}/*/log.csv"]), tmp_path) == [
        ("a/log", "a/log.csv", "a/lrwatch"),
        ("b/log", "b/log.csv", "b/lrwatch"),
    ]


@pytest.mark.parametrize("pattern", ["*", "**"])
def test_a_pattern_that_ends_with_nothing_but_a_wildcard_finds_what_is_named_like_a_log(
    tmp_path: Path, pattern: str
) -> None:
    make(tmp_path, "a.csv", "b.jsonl", "model.pt", "config.yaml")
    assert [log.run for log in discover([f"{tmp_path}/{pattern}"]).logs] == ["a", "b"]
    assert [log.run for log in discover([f"{tmp_path}/*.pt"]).logs] == ["model.pt"]  # who names it wants it


def test_a_name_with_magic_characters_that_exists_is_itself(tmp_path: Path) -> None:
    make(tmp_path, "lr[0.1].csv")
    assert [log.run for log in discover([tmp_path / "lr[0.1].csv"]).logs] == ["lr[0.1]"]


def test_runs_that_share_a_name_get_more_of_their_path(tmp_path: Path) -> None:
    make(tmp_path, "x/a/log.csv", "y/a/log.csv", "z/log.csv", "z/log.jsonl")
    found = discover([f"{tmp_path}/*/a/log.csv", f"{tmp_path}/z/log.*"])
    names = [log.run for log in found.logs]
    assert names[:2] == ["x/a/log", "y/a/log"]
    assert len(set(names)) == 4


def test_the_same_file_given_twice_is_followed_once(tmp_path: Path) -> None:
    make(tmp_path, "a/train.log")
    (tmp_path / "latest.log").symlink_to(tmp_path / "a/train.log")
    found = discover([tmp_path / "a", tmp_path / "a/train.log", f"{tmp_path}/a/*.log", tmp_path / "latest.log"])
    assert shown(found, tmp_path) == [("a", "a/train.log", "a/lrwatch")]


def test_what_gives_nothing_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = discover([tmp_path / "empty", f"{tmp_path}/*.nothing"])
    assert found.logs == ()
    assert len(found.problems) == 2
    assert "no logs (*.csv, " in found.problems[0]
    assert "no file or directory matches" in found.problems[1]


def test_a_collection_of_logs_is_bounded_and_says_so(tmp_path: Path) -> None:
    make(tmp_path, *(f"a/{i:03}.log" for i in range(MAX_LOGS + 5)))
    found = discover([tmp_path / "a"])
    assert len(found.logs) == MAX_LOGS
    assert f"only the first {MAX_LOGS} of {MAX_LOGS + 5} logs" in found.problems[0]


def names_in(found: Discovery) -> list[str]:
    return sorted(log.path.name for log in found.logs)


def test_logs_without_an_ending_of_their_own_are_found_by_their_names(tmp_path: Path) -> None:
    logs = [
        "events.out.tfevents.1700000000.host.1.0", "events.out.tfevents.1700000001.host.2.0.v2", "run-1.wandb",
        "mlflow.db", "trackio.sqlite3", "nohup.out",
    ]  # fmt: skip
    make(tmp_path, *(f"a/{name}" for name in logs))
    make(tmp_path, "a/x.log.gz", "a/events.out.tfevents.1.h.profile-empty", "a/mlflow.db-wal", "a/lrwatch.sqlite")
    assert names_in(discover([tmp_path / "a"])) == sorted(logs)


def test_configurations_and_summaries_are_no_logs(tmp_path: Path) -> None:
    make(tmp_path, *(f"a/{name}" for name in [
        "package.json", "config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json",
        "special_tokens_map.json", "vocab.json", "model.safetensors.index.json", "wandb-metadata.json",
        "wandb-summary.json", "run.json", "args.json", "hparams.json", "all_results.json", "requirements.txt", "README.txt",
        "debug.log", "debug-internal.log",
    ]))  # fmt: skip
    logs = ["metrics.json", "trainer_state.json", "trainer_log.jsonl", "log.txt", "debugging.log", "runs.json"]
    make(tmp_path, *(f"a/{name}" for name in logs))
    assert names_in(discover([tmp_path / "a"])) == sorted(logs)


def test_a_run_of_mlflow_has_a_log_for_each_metric_losses_first(tmp_path: Path) -> None:
    make(tmp_path, "mlruns/0/meta.yaml", "mlruns/0/abc/meta.yaml", "mlruns/0/abc/artifacts/history.json")
    make(tmp_path, *(f"mlruns/0/abc/metrics/{name}" for name in ["accuracy", "val/loss", "loss"]))
    make(tmp_path, "mlruns/0/def/meta.yaml", "mlruns/0/def/artifacts/history.json")
    (tmp_path / "mlruns/0/def/metrics").mkdir()
    found = discover([tmp_path / "mlruns"])
    assert shown(found, tmp_path) == [
        ("abc", f"mlruns/0/abc/metrics/{name}", "mlruns/0/abc/lrwatch") for name in ["loss", "val/loss", "accuracy"]
    ]


def test_the_directories_of_wandb_and_lightning_are_runs(tmp_path: Path) -> None:
    make(tmp_path, "wandb/debug.log", "wandb/offline-run-1-a/run-a.wandb", "wandb/offline-run-1-a/logs/debug.log")
    make(tmp_path, "wandb/run-2-b/run-b.wandb", "wandb/run-2-b/files/output.log")
    make(tmp_path, "lightning_logs/version_0/metrics.csv", "lightning_logs/version_0/hparams.yaml")
    (tmp_path / "wandb/latest-run").symlink_to(tmp_path / "wandb/run-2-b")
    assert [(log.run, log.path.name) for log in discover([tmp_path]).logs] == [
        ("version_0", "metrics.csv"), ("offline-run-1-a", "run-a.wandb"), ("run-2-b", "run-b.wandb")
    ]  # fmt: skip


def test_of_many_event_files_the_newest_are_followed(tmp_path: Path) -> None:
    make(tmp_path, *(f"a/events.out.tfevents.{i:03}.host" for i in range(MAX_LOGS + 3)))
    found = names_in(discover([tmp_path / "a"]))
    assert (found[0], found[-1]) == ("events.out.tfevents.003.host", f"events.out.tfevents.{MAX_LOGS + 2:03}.host")


def test_a_linked_file_is_a_log(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/deep/train.log")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/latest.log").symlink_to(tmp_path / "elsewhere/deep/train.log")
    assert shown(discover([tmp_path / "a"]), tmp_path) == [("a", "a/latest.log", "a/lrwatch")]


def test_a_dash_is_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path, "train.log")
    assert [(log.run, str(log.path), log.control) for log in discover(["-", "train.log"]).logs] == [
        ("stdin", "-", tmp_path / "lrwatch"), ("train", str(tmp_path / "train.log"), tmp_path / "lrwatch")
    ]  # fmt: skip


def test_a_directory_that_appears_later_is_found_then(tmp_path: Path) -> None:
    assert names_in(discover([tmp_path / "later/*"])) == []
    assert len(discover([f"{tmp_path}/later/*.log"]).problems) == 1
    make(tmp_path, "later/train.log")
    assert names_in(discover([f"{tmp_path}/later/*.log"])) == ["train.log"]
    assert names_in(discover([tmp_path / "later"])) == ["train.log"]


@pytest.mark.slow
def test_ten_thousand_files_are_found_by_one_pattern_each_with_its_own_name(tmp_path: Path) -> None:
    for i in range(100):
        folder = tmp_path / f"exp{i}"
        folder.mkdir()
        for j in range(100):
            (folder / f"run{j}.log").touch()
    found = discover([f"{tmp_path}/*/*.log"])
    assert len({log.run for log in found.logs}) == 10_000
    assert {log.run for log in found.logs} >= {"exp0/run0", "exp99/run99"}


def test_a_control_directory_elsewhere_is_a_source_of_the_one_run(tmp_path: Path) -> None:
    logs, control = tmp_path / "logs", tmp_path / "control/train"
    logs.mkdir()
    found = discover([logs], str(control))
    assert (found.logs, found.up) == ((), {str(logs): False})
    assert len(found.problems) == 1
    control.mkdir(parents=True)
    (control / "metrics.jsonl").write_text("")
    found = discover([logs], str(control))
    assert found.logs == (Log("train", control / "metrics.jsonl", control),)
    assert (found.problems, found.up) == ((), {str(logs): True})
    (logs / "train.jsonl").write_text("")
    found = discover([logs], str(control))
    assert [(log.run, log.path) for log in found.logs] == [
        ("logs", control / "metrics.jsonl"), ("logs", logs / "train.jsonl"),
    ]  # fmt: skip


def test_of_several_runs_none_is_given_the_metrics_of_one_control_directory(tmp_path: Path) -> None:
    control = tmp_path / "control/train"
    for path in (tmp_path / "runs/a/log.jsonl", tmp_path / "runs/b/log.jsonl", control / "metrics.jsonl"):
        path.parent.mkdir(parents=True)
        path.write_text("")
    found = discover([tmp_path / "runs"], str(control))
    assert [log.path for log in found.logs] == [tmp_path / "runs/a/log.jsonl", tmp_path / "runs/b/log.jsonl"]
