"""The meaning of the names of logged numbers.

Every trainer has its own spelling, so a name is first cut into lower-case words (at ``/ . _ - :`` and spaces, and where
``camelCase`` changes case) and then looked up. Read the tables from top to bottom; the first one that fits decides:

===========  =====================================================================================================
step         the words, without what only says *whose* step it is, spell one of `_STEPS`: the whole name counts,
             because ``total_steps`` and ``step_time`` are not steps
epoch        likewise, one of `_EPOCHS`
other        some word is the rank of a process: what one of several says is not the metric of the training
scale        some word is ``scale``: ``loss_scale`` and ``lr_scale`` are neither a loss nor a learning rate; but
             ``box_scale_loss`` ends in ``loss`` and is one
time         some word is a duration or a date, and the last one is no loss, or it is the ``cost`` of a part of a step
             (``batch_cost``: seconds)
setting      some word says that the number configures something (``val_loss_every``, ``min_lr``, ``loss_weight``): other
lr           some word is ``lr`` (also ``lr0``), or ``learning rate``
loss         some word is or ends in ``loss``, or is one of its short names, or a measure of it (perplexity, bits per
             byte); it is a validation loss when a further word says so
other        everything else
===========  =====================================================================================================

Words of some other languages are translated first: ``потери`` and ``损失`` are ``loss``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache, wraps
from itertools import pairwise
from typing import Literal, TypeVar

Role = Literal["step", "epoch", "lr", "train_loss", "val_loss", "scale", "time", "other"]

# Words before a step or an epoch that only say whose it is.
_WHOSE = frozenset({
    "train", "training", "trainer", "progress", "time", "metadata",
    "env", "metrics", "fields", "message", "msg", "json", "payload", "extra", "attributes", "data", "values", "scalars", "attrs",
    "context", "record", "system", "state",  # objects of a JSON logger
})  # fmt: skip

# Words behind a step that only say that it is a number: `update_idx`, `steps done`.
_COUNTED = frozenset({"idx", "index", "no", "nr", "number", "done", "completed"})

# Best first: a record that carries several is placed by the first of them. A batch number may begin again each epoch,
# so it comes last.
_STEPS = (
    "global step", "acc iter", "step", "current steps", "current step", "cur step", "cur iter", "curr iter", "num updates",
    "total timesteps", "optimizer step", "global iter", "global iteration", "iteration", "iter", "it", "steps", "iterations", "iters", "step num", "timestep",
    "timesteps", "update", "updates", "nupdates", "n iter", "itn", "s", "batch", "mini batch", "minibatch", "example counter", "round", "communication round",
    "episode", "total train updates", "iterate",
)  # fmt: skip
_STEP_RANK = {name: rank for rank, name in enumerate(_STEPS)}
_EPOCHS = frozenset({"epoch", "epoches", "current epoch", "epoch num", "ep"})

_SCALE = frozenset({"scale", "scaler", "scaling"})
_TIME = frozenset({
    "time", "eta", "elapsed", "duration", "sec", "secs", "seconds", "ms", "runtime", "timestamp", "wall", "walltime",
    "date", "remaining",
})  # fmt: skip
# Parts of a step whose cost is a duration.
_COSTLY = frozenset({
    "batch", "reader", "read", "data", "load", "loader", "iter", "compute", "forward", "backward", "comm", "communication",
    "io", "fetch", "update", "fwd", "bwd", "opt", "optim", "optimizer", "sync", "preprocess", "inference",
})  # fmt: skip
_SETTING = frozenset({
    "every", "freq", "frequency", "interval", "weight", "weights", "coef", "coeff", "lambda", "fn", "func", "function",
    "type", "threshold", "tol", "patience", "max", "min", "mult", "multiplier", "factor", "scheduler", "schedule", "decay",
    "gamma", "power", "warmup", "init", "initial", "final", "base", "count", "num", "acc", "accuracy", "best", "ratio",
    "std", "stddev", "var", "variance",
})  # fmt: skip
_RANK = re.compile(r"rank\d+")
_LR = re.compile(r"lr\d*")
_RATE = re.compile(r"\blearn(?:ing)? rate\b")
_LOSS = re.compile(r"\w*loss(es)?\d*|nll|xent|crossentropy|trl|tel|cost|\w*ppl|\w*perplexity|bpb|bpc|b?ce|\w+verlust")
_MEASURE = re.compile(r"(?i)ppl|perplexity|\bbp[bc]\b|bits[ _]per[ _](byte|char(acter)?)")
_LOSS_WORDS_OF_A_SETTING = frozenset({"final", "min", "max"})
_VALIDATION = frozenset(
    {"val", "va", "valid", "validation", "eval", "evaluation", "test", "dev", "holdout", "heldout", "tel"}
)
_VALIDATION_LOSS = re.compile(r"(val|valid|validation|eval|test|dev|v)loss\d*")

# Words that a total loss may carry beside "loss"; anything else makes it a part, such as `loss_rpn_cls`.
_TOTAL = frozenset(
    {
        "loss",
        "trl",
        "tel",
        "cost",
        "total",
        "tot",
        "overall",
        "tr",
        "lm",
        "train",
        "training",
        "trainer",
        "step",
        "batch",
        "epoch",
        "mean",
        "avg",
        "average",
    }
)
# Words of a mean over many steps.
_AVERAGED = frozenset({"epoch", "mean", "avg", "average"})
# Words of a measure of error that is no loss by name but is what boosting libraries minimise.
_ERRORS = frozenset({"rmse", "mse", "mae", "error", "err", "logloss", "rmsle", "mape", "learn", "rms"})
# Beside a measure of error, words of what is not to be watched: the best so far, and what an optimiser computes.
_NOT_WATCHED = frozenset(
    {"best", "worst", "grad", "gradient", "gradients", "norm", "update", "updates", "weights", "activation"}
)

# Losses of a game: each goes up as another goes down, or is about 0 by construction, so that its level says nothing of the
# training. Those of a GAN, and those of a policy and its value in reinforcement learning.
_GAMES = frozenset({
    "g", "d", "gen", "disc", "generator", "discriminator", "adv", "adversarial", "gan", "gans", "critic", "actor", "policy",
    "pg", "pi", "v", "vf", "rl", "ppo", "surrogate", "kl", "kld", "advantage", "alpha",
})  # fmt: skip
_Q = re.compile(r"q(f)?\d*")
_LOSS_OF_A_PLAYER = re.compile(r"(loss|err)[gd]|[gd](loss|err)")
# The entropy of a policy, not that of a classification.
_CROSS = frozenset({"cross", "ce", "bce", "binary", "crossentropy"})
_VALUE = re.compile(r"(?i)\bvalue[ _]*(function|fn|head)?[ _]*loss|loss[/.:]value|loss_value_f")

# Words of what should rise. `map` and `return` are among them only as metrics.
_RISING = frozenset({
    "reward", "rewards", "acc", "accuracy", "dice", "elbo", "psnr", "ssim", "bleu", "rouge", "f1", "map", "iou", "miou", "auc",
    "auroc", "score", "scores", "return", "returns", "precision", "recall", "top1", "top5", "acc1", "acc5", "r2", "success",
})  # fmt: skip

# Words of other languages, the longest first.
_TRANSLATED = {
    "скорость обучения": "learning rate", "taux d'apprentissage": "learning rate",
    "tasa de aprendizaje": "learning rate", "学习率": "learning rate", "學習率": "learning rate", "学習率": "learning rate",
    "학습률": "learning rate", "lernrate": "learning rate",
    "训练": "train", "訓練": "train", "学習": "train", "학습": "train", "훈련": "train", "обучения": "train", "обучение": "train",
    "обуч": "train", "entraînement": "train", "entrenamiento": "train",
    "验证": "val", "驗證": "val", "検証": "val", "검증": "val", "валидации": "val", "валидация": "val", "валид": "val", "вал.": "val",
    "validierung": "val", "validación": "val", "проверка": "val",
    "测试": "test", "測試": "test", "テスト": "test", "테스트": "test", "тест": "test",
    "损失值": "loss", "損失值": "loss", "损失": "loss", "損失": "loss", "손실": "loss", "потери": "loss", "потеря": "loss", "потерь": "loss",
    "ошибка": "error", "verlust": "loss", "perte": "loss", "pérdida": "loss", "perda": "loss",
    "准确率": "accuracy", "準確率": "accuracy", "精度": "accuracy", "정확도": "accuracy", "точность": "accuracy",
    "轮次": "epoch", "輪次": "epoch", "周期": "epoch", "週期": "epoch", "轮": "epoch", "輪": "epoch", "エポック": "epoch", "에폭": "epoch", "에포크": "epoch", "эпоха": "epoch",
    "эпохи": "epoch", "epoche": "epoch", "époque": "epoch", "época": "epoch",
    "epoque": "epoch", "epoca": "epoch", "étape": "step", "etape": "step", "perdida": "loss", "perdita": "loss",
    "strata": "loss", "treningowa": "train", "walidacyjna": "val", "epoka": "epoch", "krok": "step", "kay\u0131p": "loss",
    "öğrenme oran\u0131": "learning rate", "doğruluk": "accuracy", "ad\u0131m": "step", "verlies": "loss", "stap": "step",
    "ztráta": "loss", "förlust": "loss", "втрати": "loss", "крок": "step", "епоха": "epoch",
    "trainingsverlust": "train loss", "validierungsverlust": "val loss", "testverlust": "test loss",
    "tasso di apprendimento": "learning rate", "taxa de aprendizado": "learning rate", "taxa de aprendizagem": "learning rate",
    "itération": "iteration", "iteración": "iteration", "iteração": "iteration", "iterazione": "iteration", "paso": "step",
    "passo": "step",
    "迭代次数": "iteration", "迭代次數": "iteration", "迭代": "iteration", "步数": "step", "步數": "step", "步": "step", "ステップ": "step", "스텝": "step", "шаг": "step",
    "итерация": "iteration", "schritt": "step", "批次": "batch",
}  # fmt: skip
_FOREIGN = re.compile("|".join(
    re.escape(word) if not word.isascii() else rf"\b{word}\b" for word in sorted(_TRANSLATED, key=len, reverse=True)
), re.IGNORECASE)  # fmt: skip

_SEPARATORS = re.compile(r"[/._\-:\s]+")
_SPLIT = re.compile(r"(?i)\((train|training|val|valid|validation|eval|test|dev)\)")  # `loss(val)`
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])")
# Distinct names that are remembered: a run has tens of them, a hostile log any number.
_REMEMBERED = 8192
LONGEST_NAME = 256
"""Characters of the name of a metric. A longer one is a sentence or worse, and has no role; it is not remembered either."""

_Meaning = TypeVar("_Meaning")


def _remembered(meaning: Callable[[str], _Meaning]) -> Callable[[str], _Meaning]:
    """Remember the meaning of names; a name that is too long means what the empty one does."""
    known = lru_cache(_REMEMBERED)(meaning)

    @wraps(meaning)
    def meaning_of(name: str) -> _Meaning:
        return known(name) if len(name) <= LONGEST_NAME else known("")

    return meaning_of


def _words(name: str) -> list[str]:
    if not name.isascii() or _FOREIGN.search(name):
        name = _FOREIGN.sub(lambda word: f" {_TRANSLATED[word[0].lower()]} ", name)
    if "(" in name:
        name = _SPLIT.sub(r" \1 ", name)
    return [word.lower() for word in _SEPARATORS.split(_CAMEL.sub(" ", name)) if word]


def _position(words: list[str]) -> str:
    """Return the words without those that only say whose step it is, or that it is a number."""
    start, end = 0, len(words)
    while start < end - 1 and words[start] in _WHOSE:
        start += 1
    while end > start + 1 and words[end - 1] in _COUNTED:
        end -= 1
    return " ".join(words[start:end])


def _is_duration(words: list[str]) -> bool:
    """Return whether words name the cost of a part of a step: `batch_cost`, not `cost on training data`."""
    return "cost" in words and not _COSTLY.isdisjoint(words[: words.index("cost")])


def _is_validation(words: list[str]) -> bool:
    return any(word in _VALIDATION or _VALIDATION_LOSS.fullmatch(word) for word in words)


@_remembered
def role(name: str) -> Role:
    """Return the role of the number called `name`.

    >>> [role(name) for name in ("global_step", "train/epoch", "lr/pg0", "lm loss", "eval_loss")]
    ['step', 'epoch', 'lr', 'train_loss', 'val_loss']
    >>> [role(name) for name in ("loss scale", "BoxScaleLoss", "total_steps", "lr_scheduler", "train_time", "Duration Loss")]
    ['scale', 'train_loss', 'other', 'other', 'time', 'train_loss']
    """
    words = _words(name)
    position = _position(words)
    if position in _STEP_RANK:
        return "step"
    if position in _EPOCHS:
        return "epoch"
    if any(_RANK.fullmatch(word) for word in words):
        return "other"
    of_loss = bool(words) and words[-1] != "cost" and _LOSS.fullmatch(words[-1]) is not None
    if not of_loss and not _SCALE.isdisjoint(words):
        return "scale"
    if (not of_loss and not _TIME.isdisjoint(words)) or _is_duration(words):
        return "time"
    is_loss = any(_LOSS.fullmatch(word) for word in words) or _MEASURE.search(name) is not None
    is_loss = is_loss or ("cross", "entropy") in pairwise(words)
    settings = _SETTING.intersection(words)
    if name.lower().rpartition("/")[2] in ("lr", "learning_rate") and "lrwatch" not in words:
        return "lr"  # of a group of parameters, as `_base/lr`
    if is_loss and _VALUE.search(name):  # the loss of a value function
        settings -= {"function", "fn"}
    if settings and not (is_loss and settings <= _LOSS_WORDS_OF_A_SETTING):
        return "other"
    if any(_LR.fullmatch(word) for word in words) or _RATE.search(" ".join(words)):
        # The callbacks log the rate that was used as `lrwatch/lr`, beside the schedule's, which is the one to follow.
        return "other" if "lrwatch" in words else "lr"
    if is_loss:
        return "val_loss" if _is_validation(words) else "train_loss"
    return "other"


@_remembered
def step_rank(name: str) -> int:
    """Return how well the step called `name` places a record among several of its steps; lower is better."""
    return _STEP_RANK.get(_position(_words(name)), len(_STEPS))


@_remembered
def is_of_a_game(name: str) -> bool:
    """Return whether `name` is a loss of a GAN, or of a policy or its value: to be shown, and not to be judged.

    >>> [is_of_a_game(name) for name in ("g_loss", "Loss_D", "actor/loss", "train/value_loss", "entropy_loss")]
    [True, True, True, True, True]
    >>> [is_of_a_game(name) for name in ("loss", "loss value", "cross_entropy_loss", "val_loss", "d_model")]
    [False, False, False, False, False]
    """
    words = _words(name)
    if role(name) not in ("train_loss", "val_loss") and _ERRORS.isdisjoint(words):
        return False
    if not _GAMES.isdisjoint(words) or any(_Q.fullmatch(word) or _LOSS_OF_A_PLAYER.fullmatch(word) for word in words):
        return True
    return _VALUE.search(name) is not None or ("entropy" in words and _CROSS.isdisjoint(words))


@_remembered
def is_total(name: str) -> bool:
    """Return whether `name` is a training loss as a whole, neither a part of it nor by name a mean.

    >>> [is_total(name) for name in ("loss", "Train Loss", "avg_loss", "loss_cls", "val_loss")]
    [True, True, False, False, False]
    """
    words = _words(name)
    return role(name) == "train_loss" and _TOTAL.issuperset(words) and _AVERAGED.isdisjoint(words)


@_remembered
def should_rise(name: str) -> bool:
    """Return whether `name` says that the metric should rise, as a reward or an accuracy.

    >>> [should_rise(name) for name in ("reward", "val/acc", "mIoU", "loss", "accuracy_loss", "error")]
    [True, True, True, False, False, False]
    """
    words = _words(name.replace("@", " "))
    joined = {"".join(pair) for pair in pairwise(words)}
    return not any(_LOSS.fullmatch(word) for word in words) and not _RISING.isdisjoint({*words, *joined})


@_remembered
def is_measure(name: str) -> bool:
    """Return whether `name` is a measure of a loss: perplexity or bits per byte.

    >>> is_measure("perplexity"), is_measure("bpb"), is_measure("loss")
    (True, True, False)
    """
    return _MEASURE.search(name) is not None


def primary(names: Iterable[str]) -> str | None:
    """Return the metric to watch when the user names none, or None where nothing looks like a loss.

    A total training loss comes before a part of one, a training loss before a validation loss, and a loss before another
    measure of error. Losses of a game (`is_of_a_game`) are never watched. The answer does not depend on the order of `names`.

    >>> primary(["lr", "loss_rpn_cls", "loss", "val_loss"])
    'loss'
    >>> primary(["lr", "grad_norm", "accuracy"]) is None
    True
    >>> primary(["average loss", "train_loss"]), primary(["lr", "l_pix", "psnr"])
    ('train_loss', 'l_pix')
    """
    ranked = sorted((rank, name) for name in names if (rank := _watch_rank(name)) is not None)
    return ranked[0][1] if ranked else None


def _watch_rank(name: str) -> tuple[int, int, int] | None:
    """Which of several metrics to watch: (group, order within the group, number of words), lower first."""
    words = _words(name)
    if is_of_a_game(name):
        return None
    match role(name):
        case "train_loss" if _TOTAL.issuperset(words):
            # The explicit total, then the bare "loss"; of two lengths of averaging, the shorter.
            averaged = not _AVERAGED.isdisjoint(words)
            order = 0 if "total" in words else 3 if averaged else 1 if "step" in words or len(words) == 1 else 2
            return 0, 4 if "cost" in words else order, len(words)
        case "train_loss":
            extreme = not {"max", "min"}.isdisjoint(words)
            return 1, 2 if extreme else 1 if _MEASURE.search(name) else 0, len(words)
        case "val_loss":
            return 2, 0 if (_TOTAL | _VALIDATION).issuperset(words) else 1, len(words)
        case "other" if (
            words and words[-1] in ("l1", "l2") and ("'s" in name or words[0] in ("training", "valid"))
        ):  # LightGBM's `training's l2`
            return 3, 1 if _is_validation(words) else 0, len(words)
        case "other" if not _ERRORS.isdisjoint(words) and _NOT_WATCHED.isdisjoint(words):
            return 3, 1 if _is_validation(words) else 0, len(words)
        case "other" if words in (["l1"], ["l2"]) or (
            words[:1] == ["l"] and len(words) > 1 and _GAMES.isdisjoint(words)
        ):  # `l_pix`, of super-resolution
            return 4, 1 if _is_validation(words) else 0, len(words)
        case "other" if words == ["value"]:  # the only metric of a log that names none
            return 5, 0, 1
        case _:
            return None
