"""`lrwatch run --only-rank`: one process of a job watches."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from lrwatch.cli import cli
from lrwatch.cli.rank import rank_of


@pytest.mark.parametrize(
    ("environ", "rank"),
    [
        ({}, (0, "")),
        ({"JOB_COMPLETION_INDEX": "3"}, (3, "JOB_COMPLETION_INDEX")),
        ({"JOB_COMPLETION_INDEX": "", "RANK": "2"}, (2, "RANK")),
        ({"RANK": "one", "SLURM_PROCID": "1"}, (1, "SLURM_PROCID")),
        ({"OMPI_COMM_WORLD_RANK": "0", "PMI_RANK": "5"}, (0, "OMPI_COMM_WORLD_RANK")),
    ],
)
def test_the_rank_is_what_the_launcher_says_and_a_process_alone_is_the_first(
    environ: dict[str, str], rank: tuple[int, str]
) -> None:
    assert rank_of(environ) == rank


@pytest.mark.parametrize(("index", "watched"), [("0", True), ("3", False)])
def test_only_the_process_of_that_rank_reads(index: str, watched: bool, tmp_path: Path) -> None:
    log = tmp_path / "train.jsonl"
    log.write_text("".join(f'{{"step": {step}, "loss": 2.0}}\n' for step in range(20)))
    arguments = ["run", str(log), "--once", "--only-rank", "0", "--state", str(tmp_path / "state")]
    result = CliRunner().invoke(cli, arguments, env={"JOB_COMPLETION_INDEX": index})
    assert result.exit_code == 0
    assert (tmp_path / "state/lrwatch.sqlite").exists() == watched
    assert ("only rank 0 watches" in result.output) != watched
