"""`lrwatch mcp` as an assistant has it: a process that is spoken to over its standard input and output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import mcp
import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.quadratic import Training
from support.waiting import eventually

from lrwatch.cli.agent_tools import INSTRUCTIONS

pytestmark = pytest.mark.slow


def test_an_assistant_lists_the_tools_reads_a_run_and_holds_it_where_that_is_allowed(tmp_path: Path) -> None:
    log = tmp_path / "train.jsonl"
    log.write_text(Training().lines(60))
    config = tmp_path / "lrwatch.toml"
    config.write_text('[operators]\nhold = ["mcp:*"]\n')
    daemon = DaemonProcess(tmp_path / "daemon", "--config", config, log)
    arguments = ["-m", "lrwatch", "mcp", "--state", str(daemon.state)]

    async def session() -> None:
        server = mcp.StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))
        async with mcp.Client(mcp.stdio_client(server), read_timeout_seconds=60) as client:
            assert client.instructions == INSTRUCTIONS
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) >= {"status", "journal", "explain", "doctor", "forecast", "read", "replay", "hold"}
            assert "set" not in tools
            assert [
                name for name, tool in tools.items() if not (tool.annotations and tool.annotations.read_only_hint)
            ] == ["hold"]
            status = await client.call_tool("status", {"run": "train"})
            assert not status.is_error
            assert status.structured_content["records"][0]["step"] == 60
            assert json.loads(status.content[0].text) == status.structured_content  # type: ignore[union-attr]
            forbidden = await client.call_tool("set", {"run": "train", "scale": 0.1})
            assert forbidden.is_error
            assert "does not name mcp:USER" in str(forbidden.content)
            held = await client.call_tool("hold", {"run": "train"})
            assert not held.is_error, held

    try:
        eventually(lambda: daemon.value("lrwatch_run_step", run="train") == 60, what="the run")
        anyio.run(session)
        journal = lrwatch("journal", "--state", daemon.state).stdout
        assert "through mcp: hold: " in journal
    finally:
        daemon.end()


def test_without_its_package_it_says_what_to_install(tmp_path: Path) -> None:
    hidden = (
        "import sys; sys.modules['mcp'] = None; from lrwatch.cli import main; sys.argv = ['lrwatch', 'mcp']; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", hidden], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert ended.returncode == 4
    assert (
        ended.stderr
        == "lrwatch: lrwatch mcp: expected the package mcp, found none. Install it: pip install 'lrwatch[mcp]'.\n"
    )
