"""XGBoost and LightGBM: the model is, bit for bit, the one that their own schedule of the products gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from frameworks.scheduled_commands import OPTIONS, PLAN, STEPS, ScheduledCommands, scale_at
from support.waiting import eventually

import lrwatch

pytestmark = pytest.mark.frameworks

RATES: dict[str, Callable[[int], float]] = {
    "constant": lambda _: 0.25,
    "halves": lambda step: 0.5 / 2 ** (step // 4),  # a new rate may be just what a scaled one was
    "linear": lambda step: round(0.3 - 0.01 * step, 2),
}
X = np.random.default_rng(0).standard_normal((200, 3))
Y = X[:, 0] ** 2 + X[:, 1]


def planned(rate: Callable[[int], float], plan: Mapping[int, float]) -> list[float]:
    return [rate(step) * scale_at(step + 1, plan) for step in range(STEPS)]


class TestXGBoost:
    settings: ClassVar[dict[str, Any]] = {
        "max_depth": 3,
        "learning_rate": 0.25,
        "nthread": 1,
        "tree_method": "hist",
        "eval_metric": "rmse",
    }

    def train(self, *callbacks: Any, rounds: int = STEPS, start: Any = None, **changes: Any) -> Any:
        import xgboost

        data = xgboost.DMatrix(X, Y)
        return xgboost.train(
            self.settings | changes, data, rounds, evals=[(data, "train")], verbose_eval=False,
            callbacks=list(callbacks), xgb_model=start,
        )  # fmt: skip

    def schedule(self, rates: list[float], ahead: int = 1) -> Any:
        """XGBoost's own gives the rate of a round after the one before: the first is that of the parameters."""
        import xgboost

        return xgboost.callback.LearningRateScheduler([*rates[ahead:], *[rates[-1]] * ahead])

    def daemon(self, directory: Path, plan: Mapping[int, float]) -> Any:
        import xgboost

        class Daemon(xgboost.callback.TrainingCallback):
            def __init__(self) -> None:
                self.commands = ScheduledCommands(directory, plan)
                self.watched = lrwatch.xgboost.LrwatchCallback(directory, **OPTIONS)

            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
                self.commands.before(model.num_boosted_rounds() + 1, self.watched.watch)
                return False

        return Daemon()

    @staticmethod
    def trees(booster: Any) -> list[str]:
        return list(booster.get_dump(with_stats=True))

    @pytest.mark.parametrize("order", ["schedule first", "schedule last"])
    @pytest.mark.parametrize("rate", RATES)
    def test_the_effective_rate_is_the_schedules_times_the_scale(self, rate: str, order: str, tmp_path: Path) -> None:
        rates = planned(RATES[rate], PLAN)
        wanted = self.train(self.schedule(rates), learning_rate=rates[0])
        daemon = self.daemon(tmp_path, PLAN)
        plain = planned(RATES[rate], {})
        callbacks = [daemon, daemon.watched]
        callbacks.insert(0 if order == "schedule first" else 2, self.schedule(plain))
        booster = self.train(*callbacks, learning_rate=plain[0])
        assert self.trees(booster) == self.trees(wanted)
        assert np.array_equal(booster.inplace_predict(X), wanted.inplace_predict(X))
        answer = daemon.commands.answer
        assert (answer.status, answer.applied_step, answer.step, answer.scale) == ("applied", 19, STEPS, 1.0)
        assert daemon.watched.watch.errors == {}

    def test_attached_and_at_scale_one_the_model_is_the_same_to_the_byte(self, tmp_path: Path) -> None:
        daemon = self.daemon(tmp_path, {})
        assert self.train(daemon, daemon.watched).save_raw() == self.train().save_raw()

    @pytest.mark.parametrize("saved", ["in memory", "ubj"])
    @pytest.mark.parametrize("rounds", [6, 8, 12])
    def test_a_training_that_goes_on_from_a_model_goes_on_at_its_scale(
        self, rounds: int, saved: str, tmp_path: Path
    ) -> None:
        plan = {4: 0.5, 9: 0.1}  # asked for in round 8, so the model of 8 rounds has not used it, and knows it
        wanted = self.train(
            self.schedule(planned(RATES["constant"], {s: v for s, v in plan.items() if s <= rounds + 1}))
        )
        first = self.daemon(tmp_path, plan)
        booster = self.train(first, first.watched, rounds=rounds)
        if saved == "ubj":
            booster.save_model(tmp_path / "model.ubj")
            booster = tmp_path / "model.ubj"
        second = self.daemon(tmp_path, {})
        booster = self.train(second, second.watched, rounds=STEPS - rounds, start=booster)
        assert self.trees(booster) == self.trees(wanted)
        assert second.commands.answer.resumed_from_step == rounds
        assert (second.commands.answer.step, second.commands.answer.scale) == (STEPS, scale_at(rounds + 1, plan))

    def test_a_model_has_the_schedules_rate_even_where_another_callback_ended_the_round(self, tmp_path: Path) -> None:
        import xgboost

        class Stop(xgboost.callback.TrainingCallback):
            def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
                return epoch == 6

        daemon = self.daemon(tmp_path, {4: 0.5})
        booster = self.train(daemon, Stop(), daemon.watched)
        assert lrwatch.xgboost._rate_of(booster) == 0.25
        booster.set_param("max_depth", 2)

    def test_a_new_training_in_the_same_directory_begins_at_scale_one(self, tmp_path: Path) -> None:
        first = self.daemon(tmp_path, {4: 0.5})
        self.train(first, first.watched)
        second = self.daemon(tmp_path, {})
        assert self.trees(self.train(second, second.watched)) == self.trees(self.train())
        again = self.train(first.watched)  # the same callback once more
        assert self.trees(again) == self.trees(self.train())

    def test_a_cross_validation_and_the_interface_of_scikit_learn(self, tmp_path: Path) -> None:
        import xgboost

        def validate(*callbacks: Any) -> Any:
            data = xgboost.DMatrix(X, Y)
            return xgboost.cv(self.settings, data, STEPS, nfold=2, callbacks=list(callbacks), as_pandas=False)

        daemon = self.daemon(tmp_path, PLAN)

        def after_iteration(model: Any, epoch: int, evals_log: Any) -> bool:
            daemon.commands.before(epoch + 2, daemon.watched.watch)
            return False

        daemon.after_iteration = after_iteration
        assert validate(daemon, daemon.watched) == validate(self.schedule(planned(RATES["constant"], PLAN)))
        callback = lrwatch.xgboost.LrwatchCallback(tmp_path)
        model = xgboost.XGBRegressor(n_estimators=5, n_jobs=1, callbacks=[callback]).fit(X, Y)
        assert callback.watch is not None
        assert callback.watch.state_dict()["step"] == model.get_booster().num_boosted_rounds() == 5

    def test_a_given_length_makes_a_warm_start(self, tmp_path: Path) -> None:
        factors = [0.1 ** (1 - done / 4) if done < 4 else 1.0 for done in range(STEPS)]
        rates = [0.25 * factor for factor in factors]
        wanted = self.train(self.schedule(rates), learning_rate=rates[0])
        watched = lrwatch.xgboost.LrwatchCallback(tmp_path, total_steps=STEPS, warm_start=4 / STEPS)
        assert self.trees(self.train(watched)) == self.trees(wanted)

    def test_what_is_evaluated_is_in_the_metrics_file(self, tmp_path: Path) -> None:
        daemon = self.daemon(tmp_path, {4: 0.5})
        self.train(daemon, daemon.watched)
        rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
        assert all("train-rmse" in row for row in rows)
        assert rows[-1]["lr"] == 0.125
        assert daemon.commands.answer.effective_lr == {"0": 0.125}

    def test_what_is_printed_and_returned_shows_the_scale_and_the_rate_of_each_round(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        import xgboost

        plan: dict[int, float] = {4: 0.5, 9: 0.2}
        rates = planned(RATES["halves"], {})
        results: dict[str, Any] = {}
        daemon = self.daemon(tmp_path, plan)
        data = xgboost.DMatrix(X, Y)
        xgboost.train(
            self.settings | {"learning_rate": rates[0]}, data, STEPS, evals=[(data, "train")], evals_result=results,
            callbacks=[self.schedule(rates), daemon, daemon.watched],
        )  # fmt: skip
        assert results["lrwatch"]["scale"] == [scale_at(step + 1, plan) for step in range(STEPS)]
        assert results["lrwatch"]["lr"] == pytest.approx(planned(RATES["halves"], plan), rel=1e-6)
        assert list(results) == ["lrwatch", "train"]
        assert "lrwatch-scale:0.50000" in capsys.readouterr().out
        rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert not [name for row in rows for name in row if name.startswith("lrwatch")]

    def test_early_stopping_stops_where_it_would_without_it(self, tmp_path: Path) -> None:
        import xgboost

        train, check = xgboost.DMatrix(X[:100], Y[:100]), xgboost.DMatrix(X[100:], Y[100:] + 3 * X[100:, 2])

        def best(*callbacks: Any) -> Any:
            booster = xgboost.train(
                self.settings | {"learning_rate": 1.0}, train, 60, evals=[(train, "train"), (check, "check")],
                verbose_eval=False, early_stopping_rounds=3, callbacks=list(callbacks),
            )  # fmt: skip
            return booster.best_iteration, booster.best_score

        wanted = best()
        assert wanted[0] < 50
        assert best(lrwatch.xgboost.LrwatchCallback(tmp_path)) == wanted

    def test_without_anything_that_is_evaluated_nothing_is_added(self, tmp_path: Path) -> None:
        import xgboost

        results: dict[str, Any] = {}
        watched = lrwatch.xgboost.LrwatchCallback(tmp_path)
        xgboost.train(self.settings, xgboost.DMatrix(X, Y), 4, evals_result=results, callbacks=[watched])
        assert results == {}


class TestLightGBM:
    settings: ClassVar[dict[str, Any]] = {
        "objective": "l2",
        "num_leaves": 7,
        "verbose": -1,
        "num_threads": 1,
        "deterministic": True,
        "metric": "l2",
    }

    def train(self, *callbacks: Any, rounds: int = STEPS, start: Any = None, **changes: Any) -> Any:
        import lightgbm

        data = lightgbm.Dataset(X, Y, free_raw_data=False)
        return lightgbm.train(
            {"learning_rate": 0.25} | self.settings | changes, data, rounds, valid_sets=[data], valid_names=["train"],
            callbacks=list(callbacks), init_model=start,
        )  # fmt: skip

    def schedule(self, rates: list[float]) -> Any:
        import lightgbm

        return lightgbm.reset_parameter(learning_rate=rates)

    class Daemon:
        before_iteration = True

        def __init__(self, directory: Path, plan: Mapping[int, float], state: Any = None) -> None:
            self.order = 5
            self.commands = ScheduledCommands(directory, plan)
            self.watched = lrwatch.lightgbm.LrwatchCallback(directory, state=state, **OPTIONS)

        def __call__(self, env: Any) -> None:
            if env.iteration > env.begin_iteration:
                self.commands.before(env.iteration + 1, self.watched.watch)

        @property
        def callbacks(self) -> list[Any]:
            return [self, self.watched, self.watched.metrics]

    @staticmethod
    def trees(booster: Any) -> Any:
        return booster.dump_model()["tree_info"]

    @pytest.mark.parametrize("rate", RATES)
    def test_the_effective_rate_is_the_schedules_times_the_scale_exactly(self, rate: str, tmp_path: Path) -> None:
        wanted = self.train(self.schedule(planned(RATES[rate], PLAN)))
        daemon = self.Daemon(tmp_path, PLAN)
        booster = self.train(self.schedule(planned(RATES[rate], {})), *daemon.callbacks)
        assert self.trees(booster) == self.trees(wanted)
        assert np.array_equal(booster.predict(X), wanted.predict(X))
        answer = daemon.commands.answer
        assert (answer.status, answer.applied_step, answer.step, answer.scale) == ("applied", 19, STEPS, 1.0)

    @pytest.mark.parametrize("name", ["learning_rate", "eta", "shrinkage_rate", None])
    def test_a_rate_by_any_of_its_names(self, name: str | None, tmp_path: Path) -> None:
        import lightgbm

        def train(*callbacks: Any) -> Any:
            settings = self.settings | ({} if name is None else {name: 0.25})
            return lightgbm.train(settings, lightgbm.Dataset(X, Y), STEPS, callbacks=list(callbacks))

        base = 0.1 if name is None else 0.25
        wanted = train(self.schedule(planned(lambda _: base, PLAN)))
        assert self.trees(train(*self.Daemon(tmp_path, PLAN).callbacks)) == self.trees(wanted)

    def test_attached_and_at_scale_one_the_model_is_the_same(self, tmp_path: Path) -> None:
        assert self.train(*self.Daemon(tmp_path, {}).callbacks).model_to_string() == self.train().model_to_string()

    @pytest.mark.parametrize("rounds", [6, 8, 12])
    def test_a_training_that_goes_on_from_a_model_is_given_the_state(self, rounds: int, tmp_path: Path) -> None:
        plan = {4: 0.5, 9: 0.1}
        first = self.Daemon(tmp_path, plan)
        booster = self.train(*first.callbacks, rounds=rounds, keep_training_booster=True)
        held = scale_at(rounds, plan)
        second = self.Daemon(tmp_path, {}, state=json.loads(json.dumps(first.watched.state_dict())))
        going_on = self.train(*second.callbacks, rounds=STEPS - rounds, start=booster)
        wanted = self.train(rounds=STEPS - rounds, start=booster, learning_rate=0.25 * held)
        assert self.trees(going_on) == self.trees(wanted)
        assert (second.commands.answer.resumed_from_step, second.commands.answer.step) == (rounds, STEPS)

    def test_a_new_training_in_the_same_directory_begins_at_scale_one(self, tmp_path: Path) -> None:
        first = self.Daemon(tmp_path, {4: 0.5})
        self.train(*first.callbacks)
        assert self.trees(self.train(*self.Daemon(tmp_path, {}).callbacks)) == self.trees(self.train())
        assert self.trees(self.train(first.watched, first.watched.metrics)) == self.trees(self.train())

    def test_the_number_of_rounds_is_the_length_and_makes_a_warm_start(self, tmp_path: Path) -> None:
        factors = [0.1 ** (1 - done / 4) if done < 4 else 1.0 for done in range(STEPS)]
        wanted = self.train(self.schedule([0.25 * factor for factor in factors]))
        watched = lrwatch.lightgbm.LrwatchCallback(tmp_path, warm_start=4 / STEPS)
        assert self.trees(self.train(watched, watched.metrics)) == self.trees(wanted)
        assert watched.state_dict()["total_steps"] == STEPS

    def test_what_is_evaluated_is_in_the_metrics_file(self, tmp_path: Path) -> None:
        daemon = self.Daemon(tmp_path, {4: 0.5})
        self.train(*daemon.callbacks)
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
        assert all("train-l2" in row for row in rows)
        assert eventually(lambda: daemon.commands.answer.effective_lr) == {"0": 0.125}

    def test_the_dictionary_of_evaluations_shows_the_scale_and_the_rate_of_each_round(self, tmp_path: Path) -> None:
        import lightgbm

        plan: dict[int, float] = {4: 0.5, 9: 0.2}
        results: dict[str, Any] = {}
        daemon = self.Daemon(tmp_path, plan)
        daemon.watched._record = results
        callbacks = [
            self.schedule(planned(RATES["halves"], {})),
            lightgbm.record_evaluation(results),
            *daemon.callbacks,
        ]
        self.train(*callbacks)
        assert results["lrwatch"]["scale"] == [scale_at(step + 1, plan) for step in range(STEPS)]
        assert results["lrwatch"]["lr"] == planned(RATES["halves"], plan)
        assert len(results["train"]["l2"]) == STEPS

    def test_early_stopping_stops_where_it_would_without_it(self, tmp_path: Path) -> None:
        import lightgbm

        def best(*callbacks: Any) -> Any:
            train = lightgbm.Dataset(X[:100], Y[:100])
            check = train.create_valid(X[100:], Y[100:] + 3 * X[100:, 2])
            booster = lightgbm.train(
                self.settings | {"learning_rate": 1.0}, train, 60, valid_sets=[check],
                callbacks=[lightgbm.early_stopping(3, verbose=False, min_delta=[0.0]), *callbacks],
            )  # fmt: skip
            return booster.best_iteration, dict(booster.best_score)

        wanted = best()
        assert wanted[0] < 50
        results: dict[str, Any] = {}
        watched = lrwatch.lightgbm.LrwatchCallback(tmp_path, record=results)
        assert best(watched, watched.metrics) == wanted
        assert len(results["lrwatch"]["scale"]) >= wanted[0]
