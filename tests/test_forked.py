"""Programs that the tests fork (`support.forked`) live and end as those of a fresh interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.forked import Forked, run
from support.waiting import eventually

SAYS = "import os, sys; print(os.getcwd(), sys.argv, os.environ.get('WORD'), sys.stdin.read(), sys.stdout.isatty())"
ENDS = {
    "by itself": "print('out'); print('err', file=__import__('sys').stderr)",
    "with a code": "import sys; print('out'); sys.exit(7)",
    "with a word": "import sys; sys.exit('a word')",
    "with an error": "print('out'); 1 / 0",
    "at once": "import os; os._exit(9)",
    "by a signal": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "with things to do": """
import atexit, threading, time
atexit.register(print, "at the exit")
threading.Thread(target=lambda: [time.sleep(0.05), print("thread")]).start()
raise SystemExit(3)
""",
}


def fresh(*command: str | Path, cwd: Path, env: dict[str, str], typed: str = "") -> subprocess.CompletedProcess[str]:
    program = [sys.executable, *map(str, command)]
    return subprocess.run(program, cwd=cwd, env=env, input=typed, capture_output=True, text=True, check=False)


def test_it_has_its_own_arguments_environment_directory_and_streams(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SAYS)
    environment = {**os.environ, "WORD": "word"}
    for command in (["-c", SAYS, "one", "two"], [tmp_path / "script.py", "one"], ["-m", "script", "two"]):
        forked = run(command, (), cwd=tmp_path, env=environment, typed="typed\n")
        alone = fresh(*command, cwd=tmp_path, env=environment, typed="typed\n")
        assert (forked.returncode, forked.stdout, forked.stderr) == (0, alone.stdout, alone.stderr), alone.stderr


@pytest.mark.parametrize("how", ENDS)
def test_it_ends_as_a_fresh_interpreter_does(how: str, tmp_path: Path) -> None:
    forked = run(["-c", ENDS[how]], ())
    alone = fresh("-c", ENDS[how], cwd=tmp_path, env=dict(os.environ))
    assert (forked.returncode, forked.stdout) == (alone.returncode, alone.stdout)
    assert forked.stderr.splitlines()[-1:] == alone.stderr.splitlines()[-1:]


def test_a_disk_that_is_full_is_no_success() -> None:
    with Path("/dev/full").open("w") as full:
        assert Forked(["-c", "print('lost')"], (), stdout=full, stderr=full).wait() != 0


def test_it_is_killed_and_waited_for_and_the_next_one_knows_nothing_of_it(tmp_path: Path) -> None:
    there = tmp_path / "there"
    waits = f"import builtins, time; builtins.left = 1; open({str(there)!r}, 'w').close(); time.sleep(60)"
    process = Forked(["-c", waits], ())
    eventually(there.exists, what="a start")
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    assert run(["-c", "import builtins; print(hasattr(builtins, 'left'))"], ()).stdout == "False\n"
    process.kill()
    assert process.wait() == process.poll() == -signal.SIGKILL


def test_what_python_reads_at_its_start_comes_too_late() -> None:
    with pytest.raises(AssertionError, match="use subprocess"):
        run(["-c", "pass"], (), env={**os.environ, "PYTHONHASHSEED": "1"})
