"""Which hints of an MCP server count: those that make a call stricter, and all only if the user trusts the server.

The MCP specification has clients treat annotations as untrusted: a server that calls its `send` read-only would
otherwise have it called unasked.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from langchain_core.tools import BaseTool

#: MCP's hints, and the value of each that makes a call stricter.
_STRICT_VALUES: Final = {
    "readOnlyHint": False,
    "destructiveHint": True,
    "idempotentHint": False,
    "openWorldHint": True,
}
#: What may stand in the metadata of a tool whose server is not trusted, besides the hints: it loosens nothing.
_HARMLESS_FIELDS = frozenset({"timeout_s", "max_retries", "max_concurrency", "rate_per_s", "output_schema"})
#: A tag, because an adapter fills the metadata of a tool with whatever its server sends, and its tags with nothing.
_TRUST_TAG = "planwave:trust_hints"
_ADAPTER_MODULE = "langchain_mcp_adapters"


def select_server_hints(hints: Mapping[str, Any], *, trusted: bool) -> dict[str, Any]:
    """Return the hints that count among a server's annotations, which may contain anything else."""
    given = {name: hints[name] for name in _STRICT_VALUES if isinstance(hints.get(name), bool)}
    return given if trusted else {name: value for name, value in given.items() if value is _STRICT_VALUES[name]}


def trust_hints(tools: Iterable[BaseTool]) -> list[BaseTool]:
    """Return tools of `langchain-mcp-adapters` so that their metadata counts, as that of other tools does.

    Without it their loosening hints do not: the adapters copy what the server says into the metadata.
    """
    return [tool.model_copy(update={"tags": [*(tool.tags or ()), _TRUST_TAG]}) for tool in tools]


def get_trusted_metadata(tool: BaseTool) -> dict[str, Any]:
    """Return the metadata that counts of a tool: all of it, unless a server wrote it that nobody trusts."""
    metadata = dict(tool.metadata or {})
    if not is_from_adapter(tool) or _TRUST_TAG in (tool.tags or ()):
        return metadata
    kept = {name: value for name, value in metadata.items() if name in _HARMLESS_FIELDS}
    return {**kept, **select_server_hints(metadata, trusted=False)}


def is_from_adapter(tool: BaseTool) -> bool:
    """Whether `langchain-mcp-adapters` made the tool, by the module of the function that it calls."""
    calls = (getattr(tool, "coroutine", None), getattr(tool, "func", None))
    return any(str(getattr(call, "__module__", "")).partition(".")[0] == _ADAPTER_MODULE for call in calls)
