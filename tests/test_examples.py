"""Every example runs as it is, in an empty directory, and does what it shows."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import forked
from support.waiting import eventually

from lrwatch.cli import cli
from lrwatch.control.directory import ControlDirectory

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PATTERN = EXAMPLES / "custom_pattern.toml"
NOTEBOOK = EXAMPLES / "notebook.ipynb"
STDIN = EXAMPLES / "stdin.sh"
PLATEAU = r"plateau: loss (?:improves|gets worse|changes) by .* surely (?:improves )?by less than"
# Example -> what its last line looks like.
LAST_LINES = {
    "pytorch_loop": r"3000 steps, final loss \d\.\d+, scale 1",
    "plateau_lr": r"learning rate 0\.(?:0\d+|1)",
    "controller_loop": r"find_plateaus: step \d+: .+",
    "custom_detector": r"step \d+: loss has no new best in 200 values",
    "log_only": r"step 20000/20000 \| loss \d\.\d+ \| lr 0\.001",
    "hf_trainer": r"60 steps, mean loss \d\.\d+",
    "lightning_fit": r"200 steps, final loss \d\.\d+",
    "keras_fit": r"80 steps, final loss \d\.\d+",
    "optax_loop": r"200 steps, final loss \d\.\d+",
    "xgboost_train": r"100 rounds, final rmse \d\.\d+",
}
# Example -> the optimizer steps that its metrics file ends with.
STEPS = {
    "pytorch_loop": 3000, "hf_trainer": 60, "lightning_fit": 200, "keras_fit": 80, "optax_loop": 200, "xgboost_train": 100,
}  # fmt: skip
NEED_FRAMEWORKS = {"hf_trainer", "lightning_fit", "keras_fit", "optax_loop", "xgboost_train"}

WITH_TORCH = {"pytorch_loop", "plateau_lr"}


def example(name: str) -> object:
    marks = [pytest.mark.frameworks] if name in NEED_FRAMEWORKS else []
    return pytest.param(name, marks=marks, id=name)


def run(name: str, folder: Path) -> list[str]:
    """Run an example in a folder. Return the lines of its standard output."""
    program = EXAMPLES / f"{name}.py"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    if name in WITH_TORCH:
        done = forked.run([program], forked.TORCH, cwd=folder, env=environment)
    else:
        environment["PYTHONPATH"] = str(ROOT)
        done = subprocess.run(
            [sys.executable, program], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert name in NEED_FRAMEWORKS or done.stderr == ""
    return done.stdout.splitlines()


def test_each_example_is_run_and_listed() -> None:
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()} - {"README.md"}
    assert files == {f"{name}.py" for name in LAST_LINES} | {PATTERN.name, NOTEBOOK.name, STDIN.name}
    listed = re.findall(
        r"^\| \[([\w.]+)\]\(\1\) \|", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert set(listed) == files


@pytest.mark.slow
@pytest.mark.parametrize("name", [example(name) for name in LAST_LINES])
def test_the_example_runs_as_it_is(name: str, tmp_path: Path) -> None:
    lines = run(name, tmp_path)
    assert re.fullmatch(LAST_LINES[name], lines[-1])
    if name in STEPS:
        control = tmp_path / "runs" / name / "lrwatch"
        observed = ControlDirectory(control).read_observed()
        assert observed is not None
        assert observed.status == "hello"
        records = (control / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        assert json.loads(records[-1])["step"] == STEPS[name]


def test_the_pattern_reads_the_log_of_its_comment(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    lines = re.findall(r"^#     (T\+.+)$", PATTERN.read_text(encoding="utf-8"), re.MULTILINE)
    log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    assert CliRunner().invoke(cli, ["config", "check", str(PATTERN)]).exit_code == 0
    result = CliRunner().invoke(cli, ["replay", "--config", str(PATTERN), str(log)])
    assert result.exit_code == 0
    assert f"{2 * len(lines)} samples of 2 metrics up to step {100 * len(lines)}; watched was loss" in result.stderr


@pytest.mark.slow
def test_a_log_alone_is_enough_for_a_file_and_for_a_pipe(tmp_path: Path) -> None:
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LRWATCH_DAEMON_STATE": str(tmp_path / "state"),
    }  # fmt: skip
    log, piped = tmp_path / "train.log", tmp_path / "piped.txt"
    log.write_text("".join(f"{line}\n" for line in run("log_only", tmp_path)), encoding="utf-8")
    result = CliRunner().invoke(cli, ["replay", str(log)])
    found = re.search(rf"(\d+)  {PLATEAU}", result.stdout)
    assert found, result.stdout
    with piped.open("wb") as out:
        pipe = subprocess.Popen(["sh", STDIN], cwd=tmp_path, env=environment, stdout=out, start_new_session=True)
    try:
        same = rf"step {found[1]}  {PLATEAU}"
        eventually(lambda: re.search(same, piped.read_text(encoding="utf-8")), timeout=60, what="the same plateau")
    finally:
        os.killpg(pipe.pid, signal.SIGTERM)
        pipe.wait(30)


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom_and_is_kept_without_output(tmp_path: Path) -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")
    script = (
        "import nbclient, nbformat, sys\n"
        "book = nbformat.read(sys.argv[1], 4)\n"
        "nbclient.NotebookClient(book, kernel_name='python3', timeout=120).execute()\n"
        "nbformat.write(book, 'run.ipynb')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, NOTEBOOK],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    book = json.loads((tmp_path / "run.ipynb").read_text(encoding="utf-8"))
    said = "".join(text for cell in book["cells"] for out in cell.get("outputs", []) for text in out.get("text", []))
    assert re.search(r"^step \d+: .*surely (?:improves )?by less than", said, re.MULTILINE), said
    assert said.endswith("2000 steps, scale 1\n")
