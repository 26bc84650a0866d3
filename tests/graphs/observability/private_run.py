"""A run of two hundred secrets in a process of its own: half configure tools, half are arguments, all are let slip.

`python -m tests.graphs.observability.private_run DATABASE LOG`, with the secrets in the environment, as CONFIGURED_n
and PLANWAVE_SECRET_S_n.
"""

import asyncio
import json
import logging
import os
import sys
from typing import Any
from urllib.parse import quote

import httpx
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.tracers.langchain import wait_for_all_tracers
from langgraph.types import Command
from pydantic import BaseModel, SecretStr

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph

TOOLS = 100


class Vault(BaseModel):
    """Secrets deep inside an argument."""

    keys: list[SecretStr]


class Given(BaseModel):
    """What each tool takes: a secret as an argument, or inside one."""

    name: str
    key: SecretStr | None = None
    vault: Vault | None = None


class Leaky(BaseTool):
    """Knows two secrets and lets both slip, in a way of its own."""

    args_schema: type[BaseModel] = Given
    number: int
    token: SecretStr

    async def _arun(self, name: str, key: SecretStr | None = None, vault: Vault | None = None) -> object:
        [given] = [each.get_secret_value() for each in (key, *(vault.keys if vault else ())) if each]
        mine = self.token.get_secret_value()
        said = f"{name} with {mine} and {given}"
        match self.number % 5:
            case 0:
                return {"text": said, mine: [given, {"deep": (mine, given)}]}
            case 1:
                raise ValueError(said)
            case 2:
                try:
                    raise KeyError(mine)  # noqa: TRY301 - the cause of another
                except KeyError as error:
                    raise ConnectionError(said) from error
            case 3:
                address = f"http://127.0.0.1:9/{quote(mine, safe='')}?key={quote(given, safe='')}"
                request = httpx.Request("GET", address)
                raise httpx.HTTPStatusError(f"503 for {address}", request=request, response=httpx.Response(503))
            case _:
                return said

    def _run(self, name: str, key: SecretStr | None = None, vault: Vault | None = None) -> object:
        raise NotImplementedError


async def served(password: str, more: dict[str, list[str]]) -> str:
    """Show a tool whose schema is JSON only."""
    return f"opened with {password} and {more['keys'][0]}"


def tools() -> list[BaseTool]:
    leaky: list[BaseTool] = [
        Leaky(
            name=f"leaky_{n}",
            description="Leaks.",
            number=n,
            token=SecretStr(os.environ[f"CONFIGURED_{n}"]),
            metadata={"readOnlyHint": n % 2 == 0},
        )
        for n in range(TOOLS)
    ]
    private = {"type": "string", "format": "password", "writeOnly": True}
    more = {"type": "object", "additionalProperties": {"type": "array", "items": {"$ref": "#/$defs/private"}}}
    schema = {"type": "object", "properties": {"password": private, "more": more}, "$defs": {"private": private}}
    metadata = {"readOnlyHint": True}
    json_only = StructuredTool(
        name="served", description="Serves.", args_schema=schema, coroutine=served, metadata=metadata
    )
    return [*leaky, json_only]


def secret(number: int) -> dict[str, Any]:
    name = f"secret:S_{number}"
    return {"key": name} if number % 2 else {"vault": {"keys": [name]}}


async def main() -> None:
    logging.basicConfig(filename=sys.argv[2], level=logging.DEBUG)
    tasks: list[dict[str, Any]] = [
        {
            "id": f"t{n}",
            "tool": f"leaky_{n}",
            "args": {"name": f"visible-{n}", **secret(n)},
            "on_failure": "skip",
            "max_retries": 1,
        }
        for n in range(TOOLS)
    ]
    tasks.append({"id": "s", "tool": "served", "args": {"password": "secret:S_0", "more": {"keys": ["secret:S_1"]}}})
    config: Any = {"configurable": {"thread_id": "private"}}
    async with open_persistence(f"sqlite:///{sys.argv[1]}") as stored:
        graph = build_graph(tools=tools(), persistence=stored, settings=Settings(max_concurrency=100))
        out = await graph.ainvoke({"goal": "Leak", "plan": {"tasks": tasks}}, config)
        asked = len(out["__interrupt__"][0].value["action_requests"])
        approve = Command(resume={"decisions": [{"type": "approve"}] * asked})
        events = [part async for part in graph.astream(approve, config, stream_mode=["custom", "updates"])]
        state = await graph.aget_state(config)
    print(json.dumps([state.values, events], default=str))
    await asyncio.to_thread(wait_for_all_tracers)


if __name__ == "__main__":
    asyncio.run(main())
