"""`lrwatch assets`: the files for what stands beside lrwatch: alert rules, dashboards, manifests, units.

They lie in `deploy/` and `grafana/` of the repository, and only there. A wheel carries a copy of them in `lrwatch/assets`; pyproject.toml says
which goes where.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from lrwatch.cli.output import safe

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of assets.

    Attributes:
        name: Its name below the directory that they are written to.
        source: Where it lies in the repository.
        use: What to do with its files.
    """

    name: str
    source: str
    use: str

    @property
    def path(self) -> Path:
        """Its path here: in the wheel's copy, or in the repository of an editable installation."""
        packed = PACKAGE / "assets" / self.name
        return packed if packed.is_dir() else PACKAGE.parent / self.source


FOLDERS = (
    Folder(
        "prometheus", "deploy/prometheus",
        "Name rules.yml in `rule_files` of your Prometheus, and scrape lrwatch as prometheus.yml does. alertmanager.yml routes the alerts: put in your receivers.",
    ),
    Folder(
        "grafana/dashboards", "grafana/dashboards", "Import each into Grafana (Dashboards, New, Import), or let provisioning load them.",
    ),
    Folder("grafana/provisioning", "grafana/provisioning", "Copy into /etc/grafana/provisioning, and set the paths in it."),
    Folder("kubernetes", "deploy/kubernetes", "A sidecar beside your job: `kubectl apply -k kubernetes` shows one, component/ is for your own."),
    Folder("systemd", "deploy/systemd", "Copy into /etc/systemd/system; `lrwatch service install` writes one with your paths in it."),
    Folder("slurm", "deploy/slurm", "train.sbatch is a job with lrwatch in it; the prolog and the epilog are for the administrators of the cluster."),
)  # fmt: skip


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--force", is_flag=True, help="Overwrite files that are there and differ.")
def assets(directory: Path | None, force: bool) -> int:
    """Write alert rules, dashboards, manifests and units into DIR; without DIR, list them.

    Files that are there already and differ are kept, and nothing is written, unless --force is given.
    """
    from lrwatch.errors import InputError

    if directory is None:
        for folder in FOLDERS:
            _print(folder, [Path(folder.name, file) for file in _files(folder)])
        click.echo("`lrwatch assets DIR` writes them.", err=True)
        return 0
    targets = [(folder.path / file, directory / folder.name / file) for folder in FOLDERS for file in _files(folder)]
    differing = [target for source, target in targets if target.exists() and target.read_bytes() != source.read_bytes()]
    if differing and not force:
        raise InputError(
            expected="no files, or the same ones", found=f"{len(differing)} that differ: {', '.join(map(str, differing))}",
            where=str(directory), hint="Nothing was written. Give another directory, or --force to overwrite them.",
        )  # fmt: skip
    for source, target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        target.chmod(source.stat().st_mode & 0o777)
    for folder in FOLDERS:
        _print(folder, [directory / folder.name / file for file in _files(folder)])
    return 0


def _files(folder: Folder) -> list[Path]:
    """Return the files of a folder, relative to it."""
    return sorted(path.relative_to(folder.path) for path in folder.path.rglob("*") if path.is_file())


def _print(folder: Folder, files: list[Path]) -> None:
    click.echo(folder.use)
    for file in files:
        click.echo(safe(f"  {file}"))
    click.echo()
