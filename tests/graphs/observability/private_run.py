"""A run of two hundred secrets in a process of its own: half configure tools, half are arguments, all are let slip.

`python -m tests.graphs.observability.private_run DATABASE LOG`, with the secrets in the environment, as CONFIGURED_n
and PLANWAVE_SECRET_S_n.
"""

import asyncio
import json
import logging
import os
import sys
from base64 import b64encode, encodebytes
from typing import Any
from urllib.parse import quote

import httpx
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.tracers.langchain import wait_for_all_tracers
from langgraph.config import get_stream_writer
from langgraph.types import Command
from pydantic import BaseModel, SecretStr, field_validator

from agent.logging_context import LogContextFilter
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


#: How a tool that was given no secret lets one slip that it found elsewhere.
FORMS = {
    "plain": str,
    "html": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "html_hex": lambda text: "".join(f"&#x{ord(letter):X};" for letter in text),
    "json": lambda text: json.dumps(json.dumps({"a": text})),
    "url": lambda text: quote(quote(text, safe=""), safe=""),
    "url_all": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "bytes": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    "hex": lambda text: text.encode().hex(":").upper(),
    "base64": lambda text: b64encode(text.encode()).decode().rstrip("="),
    "wrapped": lambda text: encodebytes(b"user:" + text.encode() * 4).decode(),
}


class Outsider(BaseTool):
    """Was given nothing, and lets the environment slip: as output, error, note, group, log and event."""

    args_schema: type[BaseModel] = Given

    async def _arun(self, name: str, key: SecretStr | None = None, vault: Vault | None = None) -> object:
        found = [value for each, value in sorted(os.environ.items()) if each.startswith("PLANWAVE_SECRET_")]
        said = {form: [write(value) for value in found] for form, write in FORMS.items()}
        logging.getLogger("agent.execution").warning("found %s", said)
        get_stream_writer()({"type": "found", "said": said})
        match name:
            case "output":
                return said
            case "bytes":
                return json.dumps(said).encode()
            case "note":
                error = LookupError("see the note")
                error.add_note(str(said))
                raise error
            case "group":
                raise ExceptionGroup("several", [ValueError(str(said)), ExceptionGroup("more", [KeyError(str(said))])])
            case _:
                raise RuntimeError({"said": said})

    def _run(self, name: str, key: SecretStr | None = None, vault: Vault | None = None) -> object:
        raise NotImplementedError


class Checked(BaseModel):
    """Tells the secret before the tool is run."""

    key: SecretStr

    @field_validator("key")
    @classmethod
    def refuse(cls, key: SecretStr) -> SecretStr:
        raise ValueError(f"not {key.get_secret_value()}, nor {FORMS['html'](key.get_secret_value())}")


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
    outsider = Outsider(name="outsider", description="Reads.", metadata=metadata)
    checked = StructuredTool.from_function(
        lambda key: key, name="checked", description="Checks.", args_schema=Checked, metadata=metadata
    )
    return [*leaky, json_only, outsider, checked]


def secret(number: int) -> dict[str, Any]:
    name = f"secret:S_{number}"
    return {"key": name} if number % 2 else {"vault": {"keys": [name]}}


async def main() -> None:
    logging.basicConfig(filename=sys.argv[2], level=logging.DEBUG)
    logging.root.handlers[0].addFilter(LogContextFilter())
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
    tasks += [
        {"id": f"o_{name}", "tool": "outsider", "args": {"name": name}, "on_failure": "skip", "max_retries": 0}
        for name in ("output", "bytes", "note", "group", "other")
    ]
    tasks.append({"id": "c", "tool": "checked", "args": {"key": "secret:S_0"}, "on_failure": "skip"})
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
