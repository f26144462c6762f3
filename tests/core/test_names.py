"""What names mean."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrwatch.core.names import Role, is_of_a_game, primary, role, should_rise, step_rank

MEANINGS: dict[Role, list[str]] = {
    "step": [
        "step", "iter", "iteration", "global_step", "Global-Step", "current_steps", "num_updates", "s", "it", "batch",
        "trainer/global_step", "train/step", "time/total_timesteps", "globalStep",
    ],
    "epoch": ["epoch", "Epoch", "train/epoch", "trainer.epoch", "current_epoch", "Эпоха", "轮次"],
    "lr": [
        "lr", "learning_rate", "learning rate", "learningRate", "train_lr", "lr/pg0", "lr-AdamW", "optim0_lr0", "optim/LR",
    ],
    "train_loss": [
        "loss", "trl", "train/loss", "train_loss", "total_loss", "training_loss", "nll", "ce_loss", "train.loss", "lm loss",
        "lm loss PPL", "perplexity", "bits per byte", "cost", "train cost", "value_function loss", "训练损失", "потери", "Verlust",
        "train/CrossEntropyLoss", "loss_rpn_cls", "s0.loss_cls", "train_loss_epoch", "train loss",
    ],
    "val_loss": ["val_loss", "eval_loss", "test_loss", "tel", "validation/loss", "test.loss", "vloss", "valid loss", "val bpb", "验证损失", "Вал. потери", "test_ppl"],
    "scale": ["loss_scale", "loss scale", "lr_scale", "train/lrwatch/scale", "lrwatch-scale"],
    "time": ["time", "train_time", "eta", "elapsed_time", "step_time", "epoch_time", "loss_time", "batch_cost", "avg_reader_cost"],
    "other": [
        "total_steps", "max_steps", "lr_scheduler", "min_lr", "url", "clr", "val_loss_every", "loss_weight", "mfu", "norm", "lrm",
        "train/lrwatch/lr", "lrwatch/lr", "lrwatch-lr",
        "accuracy", "epochs", "batch_size", "number of skipped iterations", "", "..",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "meaning"), [(name, m) for m, names in MEANINGS.items() for name in names])
def test_a_name_has_one_meaning(name: str, meaning: Role) -> None:
    assert role(name) == meaning


@pytest.mark.slow
@given(st.text(max_size=40))
@settings(deadline=None)
def test_any_text_has_a_meaning_that_does_not_depend_on_its_digits_being_zeros(name: str) -> None:
    zeros = "".join("0" if c in "123456789" else c for c in name)
    assert role(name) == role(zeros)


def test_of_several_steps_the_global_one_places_a_record() -> None:
    assert sorted(["batch", "iter", "step", "global_step"], key=step_rank) == ["global_step", "step", "iter", "batch"]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["loss", "train_loss"], "loss"),
        (["loss", "train/loss", "validation/loss"], "loss"),
        (["loss_cls", "loss_box", "total_loss"], "total_loss"),
        (["s0.loss_cls", "loss_rpn", "loss"], "loss"),
        (["train_loss_epoch", "train_loss_step", "train_loss"], "train_loss_step"),
        (["loss_a", "val_loss"], "loss_a"),
        (["val_loss", "val_loss_box", "accuracy"], "val_loss"),
        (["RMSE", "lr"], "RMSE"),
        (["accuracy", "lr", "loss_scale"], None),
        ([], None),
    ],
)
def test_the_metric_to_watch_is_the_most_total_loss_in_whatever_order_names_come(
    names: list[str], chosen: str | None
) -> None:
    assert {primary(order) for order in itertools.permutations(names)} == {chosen}


@pytest.mark.parametrize(
    "name",
    [
        "g_loss", "d_loss", "loss_G", "loss_D", "lossD", "errD", "generator/loss", "discriminator_loss", "adv_loss",
        "adversarial loss", "policy_loss", "actor/loss", "train/policy_gradient_loss", "value_loss", "train/value_loss",
        "critic_loss", "critic/vf_loss", "pg_loss", "rl_loss", "entropy_loss", "kl_loss", "qf1_loss", "Loss/surrogate",
    ],
)  # fmt: skip
def test_losses_of_a_gan_and_of_a_policy_are_of_a_game_and_never_chosen(name: str) -> None:
    assert is_of_a_game(name)
    assert primary([name]) is None
    assert primary([name, "val_loss"]) == "val_loss"


@pytest.mark.parametrize(
    "name",
    [
        "loss",
        "total_loss",
        "cross_entropy_loss",
        "CrossEntropyLoss",
        "loss value",
        "lm loss value",
        "loss_d3",
        "d_model",
        "kl",
    ],
)
def test_what_only_sounds_alike_is_of_no_game(name: str) -> None:
    assert not is_of_a_game(name)


def test_names_that_should_rise() -> None:
    rising = [
        "reward",
        "ep_rew_mean/return",
        "acc",
        "val/accuracy",
        "Acc@1",
        "top-5",
        "dice",
        "elbo",
        "PSNR",
        "bleu",
        "F1",
        "mAP",
    ]
    assert [should_rise(name) for name in rising] == len(rising) * [True]
    falling = ["loss", "reward_loss", "dice_loss", "error", "wer", "perplexity", "lr", "grad_norm", "mapping"]
    assert [should_rise(name) for name in falling] == len(falling) * [False]
