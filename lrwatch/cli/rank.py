"""The rank of this process among those of one job, from the environment that launchers and schedulers set."""

from __future__ import annotations

from collections.abc import Mapping

# Kubernetes (Indexed Jobs, and what is made of them), torchrun, srun, Open MPI, Hydra.
_VARIABLES = ("JOB_COMPLETION_INDEX", "RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")


def rank_of(environ: Mapping[str, str]) -> tuple[int, str]:
    """Return the rank and the variable that it is from; 0 and "" without one, because a single process is the first.

    Args:
        environ: The environment.
    """
    for name in _VARIABLES:
        if environ.get(name, "").isdecimal():
            return int(environ[name]), name
    return 0, ""
