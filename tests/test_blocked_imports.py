"""The training process needs the standard library, and gets nothing else from us."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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

told = []
for optimizer in (told.append, None):
    with lrwatch.attach(optimizer, sys.argv[1]) as watch:
        for step in range(3):
            watch.step(loss=0.5)
    state = watch.state_dict()
    assert state["step"] == 3 and not watch.errors, (state, watch.errors)
    watch.load_state_dict({**state, "scale": 0.5})
assert told == [0.5]
outside = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"lrwatch", "__main__"}
print(sorted(name for name in outside if not name.startswith(("_distutils", "_virtualenv", "__editable__"))))
"""


def run(script: str, *arguments: str) -> str:
    ended = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_a_training_works_where_every_third_party_package_is_blocked(tmp_path: Path) -> None:
    assert run(BLOCK + CYCLE, str(tmp_path)) == "[]"
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 6


def test_the_facade_alone_loads_nothing_of_the_package() -> None:
    script = "import sys, lrwatch; print(sorted(name for name in sys.modules if name.startswith('lrwatch')))"
    assert run(script) == "['lrwatch', 'lrwatch._version']"


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
