"""The benchmark of plateau rules, with the real rules at a small size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("scipy", reason="the libraries of the benchmark are not installed: make test-frameworks does it")

from bench.detect import changes, counters, curves, peers, picture, real, run, score, trends
from bench.detect.blocks import NEVER

pytestmark = pytest.mark.frameworks

ROOT = Path(__file__).parents[1]
SMALL = curves.Size(1200, 120)


@pytest.mark.parametrize("shape", curves.SHAPES)
def test_from_tau_on_the_mean_improves_by_less_than_1_per_horizon_for_good(shape: str) -> None:
    mean, tau = curves.mean_curve(shape, SMALL, np.random.default_rng(0))
    gain = mean[: -SMALL.horizon] - mean[SMALL.horizon :]
    assert (gain[tau:] < 1).all()
    assert tau == SMALL.values or tau == 0 or tau > len(gain) or gain[tau - 1] >= 1
    assert (tau == SMALL.values) == (shape in ("power", "line"))


@pytest.mark.parametrize("noise", curves.NOISES)
def test_noise_is_of_mean_0_and_standard_deviation_1(noise: str) -> None:
    values = curves.NOISES[noise].noise(np.random.default_rng(0), 200_000)
    assert np.median(values) == pytest.approx(0, abs=0.3)
    assert np.quantile(np.abs(values), 0.68) == pytest.approx(1, abs=0.45)


def test_every_rule_at_every_setting_answers_for_every_run() -> None:
    names = [peer.name for peer in run.installed()[0]]
    task = ("ar9", "hinge", 2, 1, SMALL)
    runs, found = run.look(task, names)
    assert list(found) == names
    for peer in peers.PEERS:
        if peer.name in names:
            assert peer.default in found[peer.name]
        for at in found.get(peer.name, {}).values():
            assert at.shape == runs.tau.shape
            assert ((at == NEVER) | ((at >= 0) & (at < SMALL.values))).all()


@pytest.mark.parametrize("patience", [30, 120, 240])
def test_one_pass_of_torchs_class_tells_when_it_would_cut_at_any_patience(patience: int) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    values = curves.cell("gauss", "hinge", 1, 1, SMALL).values[0]
    own = counters.torch_counts(values, patience)
    assert own[-1] == patience + 1  # it did cut
    found = counters.torch_plateau(values[None], SMALL.horizon)[f"patience {patience / SMALL.horizon:g}, raw"]
    assert found.tolist() == [len(own) - 1]


def test_optax_cuts_one_value_before_torch() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("optax", reason="optax is not installed")
    values = curves.cell("lognormal", "exp", 3, 1, SMALL).values
    theirs = counters.optax_plateau(values, SMALL.horizon)["patience 1, raw"]
    assert (theirs == counters.torch_plateau(values, SMALL.horizon)["patience 1, raw"] - 1).all()


def _steps_without_decrease(window: list[float], limit: float) -> int:
    """The rule as it is described: back from the newest value, the farthest at which a decrease is not sure."""
    from scipy.stats import norm

    count, smallest = 0, []
    for steps, value in enumerate(reversed(window), 1):
        if value <= limit:
            smallest.append(value)
        if len(smallest) > 2:
            x = np.arange(len(smallest)) - (len(smallest) - 1) / 2
            slope = x @ smallest / (x @ x)
            rest = np.array(smallest) - np.mean(smallest) - slope * x
            error = np.sqrt(rest @ rest / (len(smallest) - 2) / (x @ x))
            if norm.cdf(slope / error) < counters.DECREASING:  # backwards in time, so a decrease is a rise
                count = steps
    return count


@pytest.mark.parametrize("seed", range(4))
def test_dlibs_count_reaches_a_full_buffer_where_the_walk_back_through_it_does(seed: int) -> None:
    values = curves.cell("t3", "hinge", 1, seed, curves.Size(300, 30)).values[0]
    size = 60
    at = counters.dlib_first(values, size)
    for end in range(size, len(values) + 1):
        window = values[end - size : end].tolist()
        full = all(
            _steps_without_decrease(window, limit) == size
            for limit in (np.inf, np.quantile(window, 1 - counters.LEFT_OUT))
        )
        if full:
            assert at == end - 1
            return
    assert at == NEVER


@pytest.mark.parametrize("rule", [trends.mann_kendall, trends.mann_kendall_turned, trends.welch, trends.welch_turned])
def test_window_tests_are_silent_while_a_line_falls_and_report_once_it_is_flat(rule: peers.Look) -> None:
    pytest.importorskip("pymannkendall", reason="pymannkendall is not installed")
    falling = 50 - 6 * np.arange(1000) / 100
    flat = np.where(np.arange(1000) < 500, falling, falling[500])
    noise = 0.02 * np.random.default_rng(0).standard_normal((2, 1000))
    for setting, (first, second) in rule(np.stack([falling, flat]) + noise, 100).items():
        assert first == NEVER, setting
        if setting.startswith(("alpha 0.05,", "alpha 0.025,")):
            assert 500 < second < NEVER, setting


def test_a_detector_of_change_is_quiet_from_the_last_drop_on() -> None:
    river = pytest.importorskip("river.drift", reason="river is not installed")
    values = np.where(np.arange(400) < 200, 5.0, 1.0) + 0.1 * np.random.default_rng(0).standard_normal(400)
    (drop,) = changes.drops(river.ADWIN(), changes.estimation, values)
    assert 200 <= drop < 264
    assert changes.drops(river.ADWIN(), changes.estimation, -values) == []


def test_wilsons_interval_is_that_of_the_tables() -> None:
    assert score.wilson(0, 100) == pytest.approx((0.0, 0.0370), abs=1e-4)
    assert score.wilson(50, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)


def _result() -> run.Result:
    return run.measure(1, 1, curves.Size(600, 100), 1, only=["lrwatch", "random", "never", "welch"])


@pytest.fixture(scope="module")
def result() -> run.Result:
    return _result()


def test_who_never_fires_misses_all_and_is_never_wrong(result: run.Result) -> None:
    (figures,) = result.figures["never fires"].values()
    assert (figures.runs, figures.false, figures.missed) == (40, 0.0, 1.0)
    assert set(figures.false_by_noise) == set(curves.NOISES)


def test_fewer_false_alarms_are_never_asked_to_be_faster_than_more(result: run.Result) -> None:
    for settings in result.figures.values():
        frontier = [settings[name] for name in score.frontier(settings)]
        assert frontier == sorted(frontier, key=lambda figures: figures.false)
        assert frontier == sorted(frontier, key=lambda figures: -figures.delay50)
        best = score.strictest(settings, 0.05)
        assert best is None or settings[best].false <= 0.05


def test_the_table_the_figures_and_the_picture_are_the_same_each_time(result: run.Result) -> None:
    again = _result()
    assert run.tables(again) == run.tables(result)
    assert json.dumps(again.plain(), allow_nan=False) == json.dumps(result.plain(), allow_nan=False)
    drawn = picture.draw(result)
    assert picture.draw(again) == drawn
    assert len(drawn) < 60_000
    texts = [text.text for text in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert {"lrwatch", "Welch t-test", "fires at random"} <= set(texts)


def test_a_report_in_a_run_that_goes_on_falling_was_early_and_one_in_a_flat_run_was_not() -> None:
    steps = np.arange(1000.0)
    falling, flat = (real.Judge(real.Run("", steps, values)) for values in (10 - steps / 200, np.full(1000, 5.0)))
    for step in (100.0, 500.0, 850.0):
        assert falling.early(step)[1]
        assert flat.early(step) == (False, False)


def test_real_runs_are_read_up_to_a_sudden_fall_of_the_learning_rate(tmp_path: Path) -> None:
    lines = [{"step": i, "loss": 5 - i / 1000, "lr": 0.1 if i < 80 else 0.01} for i in range(120)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "short.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:20]))
    (loaded,) = real.load_all([tmp_path])
    assert (loaded.name, len(loaded.values)) == ("log.jsonl", 80)


def test_a_directory_of_real_runs_that_is_absent_is_said_to_be(tmp_path: Path) -> None:
    command = [sys.executable, "bench/detect", "--real", str(tmp_path / "none"), "--out", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert f"found none at {tmp_path / 'none'}" in ran.stderr
