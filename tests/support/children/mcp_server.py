"""A real MCP server as a process: notes in a folder, over standard input and output or streamable HTTP.

`python mcp_server.py FOLDER stdio` or `python mcp_server.py FOLDER http PORT`; the latter begins when it is told so by
a line on its standard input. While FOLDER holds a file named `hold`, calls of `slow` and `keep` do not end.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import TypedDict

from mcp.server.fastmcp import FastMCP
from mcp.types import ToolAnnotations

FOLDER = Path(sys.argv[1])
READS = ToolAnnotations(readOnlyHint=True)
server = FastMCP("notes", port=int(sys.argv[3]) if len(sys.argv) > 3 else 8000, log_level="CRITICAL")


class Counted(TypedDict):
    """What `count` returns."""

    notes: int
    process: int


def _began(call: str) -> None:
    with (FOLDER / "calls.log").open("a", encoding="utf-8") as log:
        log.write(f"{call} {os.getpid()}\n")


async def _held() -> None:
    while (FOLDER / "hold").exists():  # noqa: ASYNC110 - the file is another process's word
        await asyncio.sleep(0.01)


@server.tool(annotations=READS)
def count() -> Counted:
    """Count the notes."""
    _began("count")
    return {"notes": len(list(FOLDER.glob("*.note"))), "process": os.getpid()}


@server.tool(annotations=READS, structured_output=False)
def read(name: str) -> str:
    """Read a note."""
    return (FOLDER / f"{name}.note").read_text(encoding="utf-8")


@server.tool(annotations=READS)
async def slow(name: str) -> str:
    """Return a name when it may."""
    _began("slow")
    await _held()
    return name


@server.tool()
async def keep(name: str, text: str) -> str:
    """Keep a note; what kind of tool this is is not said."""
    _began("keep")
    (FOLDER / f"{name}.note").write_text(text, encoding="utf-8")
    await _held()
    return name


@server.tool(annotations=ToolAnnotations(destructiveHint=True, idempotentHint=True))
def drop(name: str) -> bool:
    """Drop a note."""
    (FOLDER / f"{name}.note").unlink(missing_ok=True)
    return True


@server.tool(annotations=READS)
def token_length() -> int:
    """Tell how long the token is that this process was given."""
    return len(os.environ.get("NOTES_TOKEN", ""))


if __name__ == "__main__":
    if sys.argv[2] == "http":
        sys.stdin.readline()
        server.run(transport="streamable-http")
    else:
        server.run(transport="stdio")
