"""`xgboost.train` with lrwatch's callback: a step is a boosting round. Beside it: `lrwatch run --mode auto runs/xgboost_train`.

After a command the scale is an attribute of the booster, and so in every saved model.
"""

import numpy as np
import xgboost

import lrwatch

ROUNDS = 100

rng = np.random.default_rng(0)
x = rng.standard_normal((500, 4))
data = xgboost.DMatrix(x, x[:, 0] ** 2 + x[:, 1] + 0.1 * rng.standard_normal(500))
results: dict[str, dict[str, list[float]]] = {}
xgboost.train(
    {"eta": 0.1, "max_depth": 2, "nthread": 1}, data, ROUNDS,
    evals=[(data, "train")], evals_result=results, verbose_eval=False,
    callbacks=[lrwatch.xgboost.LrwatchCallback("runs/xgboost_train/lrwatch")],
)  # fmt: skip

print(f"{ROUNDS} rounds, final rmse {results['train']['rmse'][-1]:.3f}")
