"""The length of a run, as its log states it. A wrong length is worse than none, so most logs state none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.format_samples import feed, random_cuts

from lrwatch.formats import by_name
from lrwatch.sources.reader import LogReader

LOGS = Path(__file__).parents[1] / "data" / "logs"
SHARED = Path(__file__).parents[3] / "shared"

# Every log that states its length; each was compared by hand with its last step, or with the trainer's own words.
STATED = {
    "keras_verbose1.log": 6,
    "megatron.log": 500,
    "megatron_dated.log": 500,
    "megatron_torchrun.log": 500,
    "modded_nanogpt.log": 40,
    "nanotron.log": 1000,
    "olmo.log": 739_328,
    "opennmt.log": 100_000,
    "plain_epochs.log": 10,
    "torchtitan.log": 40,
    "tqdm_bar_each_epoch.log": 36,
    "tqdm_one_bar.log": 30,
    "transformers_trainer.log": 48,
    "transformers_trainer_state.json": 48,
}
STATED_ELSEWHERE = {
    "data/real": {
        "wangd12rpi__fin-llm__nohup_cr_only.out": 260,
        "microsoft__Megatron-DeepSpeed__moe.log": 1_716_613,
        "microsoft__Megatron-DeepSpeed__ltd_baseline.log": 171_661,
        "microsoft__Megatron-DeepSpeed__moe_with_kernel.log": 1_716_613,
        "syGOAT__Mistral-v0.2-Translator-bf16__trainer_log.jsonl": 8660,
        "syGOAT__Mistral-v0.2-Translator-bf16__trainer_state.json": 8660,
    },
    "cases/read": {
        "two_bars_slow.log": 18_700,
        "epoch_average_line.log": 1000,
        "comma_text.log": 40,
        "zh_epoch.log": 40,
    },
}


def length(path: Path) -> int:
    reader = LogReader(path)
    total = 0
    while (read := reader.read(final=True)) is not None:
        total = read[0].total_steps
    reader.close()
    return total


def in_text(text: str) -> int:
    return feed(by_name("text"), [text.encode()])[-1].total_steps


@pytest.mark.parametrize("path", sorted(LOGS.iterdir()), ids=lambda path: path.name)
def test_a_fixture_log_states_its_length_or_none(path: Path) -> None:
    assert length(path) == STATED.get(path.name, 0)


@pytest.mark.slow
@pytest.mark.parametrize("part", STATED_ELSEWHERE)
def test_a_real_log_states_its_length_or_none(part: str) -> None:
    logs = [path for path in sorted((SHARED / part).rglob("*")) if path.is_file()]
    if not logs:
        pytest.skip(f"no logs at {SHARED / part}")
    named = {path.name: total for path in logs if not path.name.endswith("expected.json") and (total := length(path))}
    assert named == STATED_ELSEWHERE[part]


@pytest.mark.parametrize("name", [name for name in STATED if name.endswith(".log")])
def test_the_length_does_not_depend_on_how_the_log_was_cut_or_on_restarts(name: str) -> None:
    data = (LOGS / name).read_bytes()
    for seed in range(5):
        cuts = random_cuts(data, 9, seed)
        assert feed(by_name("text"), cuts, restart=True)[-1].total_steps == STATED[name]


def lines(pattern: str, steps: range, **more: object) -> str:
    return "".join(pattern.format(step=step, loss=10 / (step + 1), **more) + "\n" for step in steps)


def test_a_counter_that_is_called_a_step_counts_the_run() -> None:
    assert in_text(lines("step {step}/1000 loss {loss:.3f}", range(0, 500, 10))) == 1000


def test_a_counter_that_begins_again_counts_an_epoch() -> None:
    epoch = lines("step {step}/100 loss {loss:.3f}", range(0, 100, 10))
    assert in_text(epoch + epoch) == 0


def test_a_run_that_continues_from_a_checkpoint_keeps_its_length() -> None:
    text = lines("step {step}/1000 loss {loss:.3f}", range(0, 500, 10))
    assert in_text(text + lines("step {step}/1000 loss {loss:.3f}", range(400, 600, 10))) == 1000


@pytest.mark.parametrize("second", ["step {step}/2000 loss {loss:.3f}", "step {step} loss {loss:.3f}"])
def test_a_log_that_contradicts_itself_states_nothing(second: str) -> None:
    text = lines("step {step}/300 loss {loss:.3f}", range(0, 290, 10))
    assert in_text(text) == 300
    assert in_text(text + lines(second, range(290, 400, 10))) == 0


def test_batches_of_an_epoch_need_the_number_of_epochs() -> None:
    def log(heading: str) -> str:
        return "".join(lines(heading + "[{step}/50] loss {loss:.3f}", range(1, 51, 7), epoch=epoch) for epoch in (1, 2))

    assert in_text(log("Epoch [{epoch}/8] ")) == 400
    assert in_text(log("Epoch [{epoch}] ")) == 0


def test_steps_of_an_epoch_are_known_to_be_so_in_the_second_epoch() -> None:
    first, second = (
        lines("Epoch [{epoch}/5], Step [{step}/600], Loss: {loss:.3f}", range(100, 601, 100), epoch=epoch)
        for epoch in (1, 2)
    )
    assert in_text(first) == 0
    assert in_text(first + second) == 3000


def test_epochs_from_0_on_may_be_one_more_than_the_log_says() -> None:
    assert in_text("Epoch 0/24 train Loss: 0.5 \nEpoch 1/24 train Loss: 0.4 \n") == 0


def test_a_bar_of_the_preparation_is_not_the_length_of_the_run() -> None:
    prepared = "Map: 100%|##########| 52000/52000 [00:01<00:00, 9000.00 examples/s]\n"
    records = "".join(f"{{'loss': {5 / i:.2f}, 'epoch': {i / 4}}}\n" for i in range(1, 9))
    assert in_text(prepared + records) == 0


def test_a_bar_that_is_called_steps_counts_the_run() -> None:
    bars = "".join(
        f"Steps:  {i}%|#  | {i}/500 [00:01<00:20,  4.2it/s, lr=1e-5, step_loss={5 / i:.3f}]\r" for i in range(1, 20)
    )
    assert in_text(bars + "\n") == 500


@pytest.mark.parametrize(
    "line",
    [
        "  Total optimization steps = 8,660",
        "Training starts at step 1, with local batch 8, total steps 8660 (warmup 200).",
    ],
)
def test_a_line_that_names_the_steps_of_the_run_is_believed(line: str) -> None:
    assert in_text(f"{line}\n" + lines("step: {step}  loss: {loss:.3f}", range(1, 20))) == 8660


def jsonl(rows: list[dict[str, float]]) -> int:
    return feed(by_name("jsonl"), ["".join(json.dumps(row) + "\n" for row in rows).encode()])[-1].total_steps


def test_a_column_of_the_length_counts_if_it_stays_the_same_while_steps_pass() -> None:
    assert jsonl([{"step": i, "total_steps": 900, "loss": 1.0} for i in range(5)]) == 900
    assert jsonl([{"step": 3, "total_steps": 900, "loss": 1.0}]) == 0  # it may be a counter
    assert jsonl([{"step": i, "total_steps": 100 * i, "loss": 1.0} for i in range(1, 5)]) == 0
    assert jsonl([{"epoch": i, "total_steps": 900, "loss": 1.0} for i in range(5)]) == 0  # counted in epochs
    csv = b"step,loss,max_steps\n1,2.0,50\n2,1.9,50\n3,1.8,50\n"
    assert feed(by_name("csv"), [csv])[-1].total_steps == 50
