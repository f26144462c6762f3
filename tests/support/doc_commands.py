"""The commands that the documents tell people to type, and the few that cannot be executed here, each with its reason."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "examples/**/*.md", "grafana/*.md") for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"  # of which the older parts tell what was
)  # fmt: skip

ELSEWHERE = {
    "lrwatch demo": "takes half a minute: tests/e2e/test_demo.py",
    "lrwatch PATH": "a live view in a terminal, which never ends",
    "lrwatch train.log": "a live view in a terminal, which never ends: tests/cli/test_live.py",
    "lrwatch run --textfile DIR": "names a flag, without the paths: tests/export/test_textfile.py",
    "lrwatch journal --anchor ID:HASH": "needs the hash of an entry: tests/e2e/test_bounded_journal.py",
    "lrwatch run --once": "names a flag, without the paths: tests/cli/test_run_process.py",
    "LRWATCH_EXPORT_HOSTS=lrwatch,.cluster.example lrwatch run runs --listen 0.0.0.0:9767 --insecure-listen": "listens to other machines: tests/export/test_web_config.py",
    "amtool silence": "speaks to an Alertmanager: tests/e2e/test_alerts.py types it",
    "lrwatch service": "writes a unit into the machine: tests/deploy/test_systemd.py",
    "lrwatch notify": "sends messages through channels that are not here",
    "lrwatch read FILE --teach": "asks questions: tests/cli/test_teach.py",
    "make": "would run all tests, measurements or installations; its commands are printed by `make -n`",
    "pip": "needs a network; tests/deploy/test_client_distribution.py and test_containers.py build the packages",
    "pre-commit": "installs hooks into the repository",
    "python": "measurements take minutes, and tests/test_examples.py runs the examples",
    "docker": "there is no Docker engine; tests/deploy/test_containers.py checks the files",
    "kubectl": "there is no cluster; the files are rendered and checked in tests/deploy/test_kubernetes.py",
    "helm": "there is no cluster",
    "systemctl": "there is no running systemd; tests/deploy/test_systemd.py checks the units",
    "journalctl": "there is no running systemd",
    "loginctl": "there is no running systemd",
    "systemd-creds": "there is no running systemd",
    "sbatch": "needs a cluster; tests/deploy has a test with a Slurm of one node",
    "srun": "needs a cluster",
    "scontrol": "needs a cluster",
    "sudo": "changes the machine",
    "apt": "changes the machine",
    "apt-get": "changes the machine",
    "install": "changes the machine",
    "cp": "copies to places of the machine",
    "mkdir": "makes places of the machine",
    "useradd": "changes the machine",
    "curl": "speaks to a server that is not here",
    "git": "needs a network",
    "cd": "leads to the repository, where the commands are executed",
    "export": "sets a variable for the commands behind it",
    "prometheus": "never ends; tests/deploy starts it with the files",
    "alertmanager": "never ends; tests/deploy starts it with the files",
    "dask": "never ends; tests/cli/test_backtest.py has a cluster",
    "openssl": "makes a key of one's own",
    "htpasswd": "asks for a password",
}
"""Program, or whole command, to the reason why it is not executed. The files that such a command names must exist all the same."""

# What stands for something in the prose of a page.
PLACEHOLDERS = {
    "RUN": "a", "FILE": "train.log", "DIR": "runs/a", "STEPS": "100000", "NAME": "observe", "VERB": "status", "PATH": "runs", "X": "0.9",
    "N": "5", "ID": "1", "RUN|FILE": "a", "RUN|PATH": "a", "F": "lrwatch.toml",
}  # fmt: skip


@dataclass(frozen=True)
class DocCommand:
    """One command of a page.

    Attributes:
        page: The page, below the repository.
        text: The command as it is written, without the comment behind it.
        typed: Whether it stands in a block, to be typed as it is; else it is named in a sentence.
    """

    page: str
    text: str
    typed: bool

    @property
    def program(self) -> str:
        """The program that is called, behind settings of the environment."""
        words = [word for word in self.text.split() if not re.fullmatch(r"\w+=\S*", word)]
        return words[0] if words else "export"

    @property
    def not_here(self) -> str:
        """The reason why it cannot be executed here, or ""."""
        verb = " ".join(self.text.split()[:2])
        return ELSEWHERE.get(self.text) or ELSEWHERE.get(verb) or ELSEWHERE.get(self.program, "")

    @property
    def names_a_verb(self) -> bool:
        """Whether it only names a verb in a sentence, as in "`lrwatch run` says so"."""
        return not self.typed and len(self.text.split()) == 2

    @property
    def goes_on(self) -> bool:
        """Whether it does not end by itself, or speaks over standard input, or needs a shell."""
        words = self.filled()
        return self.needs_a_shell or words[1] in ("run", "mcp") or not {"--watch", "--follow", "-f"}.isdisjoint(words)

    @property
    def needs_a_shell(self) -> bool:
        """Whether something in it is for a shell: a pipe, a variable, a job in the background."""
        return bool(re.search(r"[|&;<>$`]", re.sub(r"'[^']*'", "", self.text)))

    def filled(self) -> list[str]:
        """The words of the command, with what stands for something filled in."""
        return [PLACEHOLDERS.get(word, word) for word in shlex.split(self.text)]

    def files(self) -> list[str]:
        """What it names of the repository."""
        return [
            word
            for word in re.findall(r"(?<![\w/.$-])(?:deploy|docs|grafana|examples|bench|tests)/[\w./@-]+", self.text)
            if "NAME" not in word
        ]


def _of_page(path: Path) -> list[DocCommand]:
    page, text = str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    found: list[DocCommand] = []
    blocks = re.compile(r"^ *```(console|sh|bash|shell)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
    for kind, block in blocks.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            written = line.strip()
            if kind == "console" and not written.startswith("$ "):
                continue  # what the command before prints
            command = re.sub(r"\s+#\s.*$", "", written.removeprefix("$ ")).strip()
            if command and not command.startswith("#"):
                found.append(DocCommand(page, " ".join(command.split()), typed=True))
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"`((?:lrwatch|make|promtool|amtool|pip|docker|kubectl|train\.py \|) [^`\n]+)`", prose)
    # With brackets or dots it is a usage, as in the contract.
    found += [
        DocCommand(page, one.replace("\\|", "|"), typed=False) for one in named if not re.search(r"\[|\.\.\.|…|<", one)
    ]
    return found


COMMANDS = list(dict.fromkeys(command for path in PAGES for command in _of_page(path)))
"""All commands of all pages."""
