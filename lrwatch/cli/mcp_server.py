"""The tools as a server of the Model Context Protocol, over standard input and output. Imports the package `mcp`."""

from __future__ import annotations

from typing import Any

import anyio
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)

from lrwatch._version import __version__
from lrwatch.cli.agent_tools import INSTRUCTIONS, Tools
from lrwatch.cli.output import json_text


def server(tools: Tools) -> Server[dict[str, Any]]:
    """Return the server of these tools.

    Args:
        tools: What can be called.
    """
    # One call at a time: a verb prints, and what it prints is its result.
    turn = anyio.Lock()

    async def list_tools(_: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> ListToolsResult:
        async with turn:
            offered = await anyio.to_thread.run_sync(tools.offered)
        return ListToolsResult(
            tools=[
                Tool(
                    name=tool.name,
                    description=tool.description,
                    input_schema=tool.schema(),
                    annotations=ToolAnnotations(
                        read_only_hint=not tool.changes, destructive_hint=tool.changes, open_world_hint=False
                    ),
                )
                for tool in offered
            ]
        )

    async def call_tool(_: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        async with turn:
            result = await anyio.to_thread.run_sync(tools.call, params.name, params.arguments or {})
        text = json_text(result.content)
        return CallToolResult(
            content=[TextContent(type="text", text=text)], structured_content=result.content, is_error=result.failed
        )

    return Server(
        "lrwatch", version=__version__, instructions=INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool
    )


def serve(tools: Tools) -> None:
    """Serve until standard input ends.

    Args:
        tools: What can be called.
    """

    async def run() -> None:
        made = server(tools)
        async with stdio_server() as (read, write):
            await made.run(read, write, made.create_initialization_options())

    anyio.run(run)
