"""The training process needs the standard library, and gets nothing else from us."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lrwatch

BLOCK = """
import sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        room = name.partition(".")[0]
        if room != "lrwatch" and room not in sys.stdlib_module_names:
            raise ImportError(f"blocked: {name}")
        return None

sys.meta_path.insert(0, Wall())
"""

CYCLE = """
import lrwatch, lrwatch.client
try:
    import numpy
except ImportError:
    pass
else:
    raise SystemExit("the wall has a hole")

scales = []
for optimizer in (scales.append, None):
    with lrwatch.attach(optimizer, sys.argv[1]) as watch:
        for step in range(3):
            watch.step(loss=0.5)
    state = watch.state_dict()
    assert state["step"] == 3 and not watch.errors, (state, watch.errors)
    watch.load_state_dict({**state, "scale": 0.5})
assert scales == [0.5]
outside = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"lrwatch", "__main__"}
print(sorted(name for name in outside if not name.startswith(("_distutils", "_virtualenv", "__editable__"))))
"""


# Slow to import, one with the other half of the standard library behind it; the client loads them where they are used, if
# at all. With them `from lrwatch.client import attach` took three times as long.
SLOW = {
    "argparse", "ast", "asyncio", "concurrent", "copy", "dataclasses", "datetime", "decimal", "dis", "email", "enum", "fractions",
    "hashlib", "hmac", "http", "importlib.metadata", "inspect", "ipaddress", "json", "logging", "multiprocessing", "numbers",
    "pathlib", "pickle", "platform", "queue", "random", "re", "secrets", "selectors", "shutil", "socket", "sqlite3", "ssl",
    "statistics", "subprocess", "tempfile", "tokenize", "traceback", "typing", "unittest", "urllib", "uuid", "zipfile",
}  # fmt: skip


def run(script: str, *arguments: str, options: tuple[str, ...] = ()) -> str:
    ended = subprocess.run(
        [sys.executable, *options, "-c", script, *arguments], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_a_training_works_where_every_third_party_package_is_blocked(tmp_path: Path) -> None:
    assert run(BLOCK + CYCLE, str(tmp_path)) == "[]"
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 6


def test_the_facade_alone_loads_nothing_of_the_package() -> None:
    script = "import sys, lrwatch; print(sorted(name for name in sys.modules if name.startswith('lrwatch')))"
    assert run(script) == "['lrwatch', 'lrwatch._version']"


def test_the_import_of_the_client_loads_no_slow_module() -> None:
    # -S: site and what hangs on it may load anything beforehand.
    script = """
import sys
sys.path.insert(0, sys.argv[1])
from lrwatch.client import attach
print(*sorted(sys.modules))
"""
    loaded = set(run(script, str(Path(lrwatch.__file__).parents[1]), options=("-I", "-S")).split())
    assert "lrwatch.client.worker" in loaded
    assert loaded & SLOW == set()


@pytest.mark.slow
def test_every_public_name_loads_on_use() -> None:
    script = """
import lrwatch
for name in lrwatch.__all__:
    assert getattr(lrwatch, name) is getattr(lrwatch, name), name
    assert name in dir(lrwatch)
try:
    lrwatch.nonsense
except AttributeError as error:
    print(error)
"""
    assert run(script) == "module 'lrwatch' has no attribute 'nonsense'"
