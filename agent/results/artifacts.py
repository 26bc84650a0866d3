"""Outputs too large for the state: stored when a task ends, loaded when something reads them."""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import anyio.to_thread
from pydantic import JsonValue

from agent.core.engine.outcomes import Artifact, Done, Outcome
from agent.core.plan.json_schema import get_json_type
from agent.core.plan.tool_spec import JsonSchema
from agent.errors import PersistenceError
from agent.results.summary import preview_value

#: Bytes of artifacts that are cached in the process.
_MAX_CACHED_BYTES: Final = 64 * 2**20
#: Bytes of text from which on it is parsed in a thread, so that the event loop is not blocked.
_INLINE_PARSE_LIMIT: Final = 2**18
#: What `infer_schema` looks at of a value.
_MAX_DEPTH: Final = 5
_MAX_ITEMS: Final = 100
_MAX_PROPERTIES: Final = 50


class ArtifactStore(Protocol):
    """Where the texts of large outputs are stored, for each thread by their SHA-256.

    A text is written under the fence of the thread's lease, like a checkpoint, and deleted with the thread.
    """

    async def put(self, thread: str, digest: str, text: bytes) -> None:
        """Store a text; if it is there already, nothing changes."""
        ...

    async def get(self, thread: str, digests: Collection[str]) -> dict[str, bytes]:
        """Return the texts that are there, by digest."""
        ...


class Artifacts:
    """The large outputs of runs, in a store and partly cached.

    Without a store every output stays in the state: a graph with a plain checkpointer has no other place.
    """

    def __init__(self, store: ArtifactStore | None = None) -> None:
        self._store = store
        self._texts: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._cached_bytes = 0
        #: Each blocking call of a graph has an event loop of its own.
        self._lock = threading.Lock()

    async def store_large_output(self, outcome: Outcome, *, thread: str, limit: int) -> Outcome:
        """Store an output of more than `limit` bytes of JSON, and return `outcome` with its artifact.

        The returned outcome still has the output.
        """
        if self._store is None or not isinstance(outcome, Done) or outcome.artifact is not None:
            return outcome
        text = json.dumps(outcome.output, separators=(",", ":")).encode()
        if len(text) <= limit:
            return outcome
        artifact = Artifact(
            digest=hashlib.sha256(text).hexdigest(),
            size=len(text),
            preview=preview_value(outcome.output),
            output_schema=infer_schema(outcome.output),
        )
        await self._store.put(thread, artifact.digest, text)
        self._cache_text((thread, artifact.digest), text)
        return outcome.model_copy(update={"artifact": artifact})

    async def load_outputs(
        self, outcomes: Mapping[str, Outcome], tasks: Iterable[str], *, thread: str
    ) -> dict[str, Outcome]:
        """Return those outcomes of `tasks` whose output is in the store, with the output loaded.

        Raises `PersistenceError` for an output that is not in its store, or is not what was stored.
        """
        offloaded = {task: done for task in tasks if isinstance(done := outcomes.get(task), Done) and done.is_offloaded}
        texts = await self._load_texts({_require_artifact(done).digest for done in offloaded.values()}, thread=thread)
        return {
            task: done.model_copy(update={"output": await _parse_text(texts[_require_artifact(done).digest])})
            for task, done in offloaded.items()
        }

    async def load_results(
        self, results: Mapping[str, dict[str, Any]], tasks: Iterable[str] | None = None, *, thread: str
    ) -> dict[str, dict[str, Any]]:
        """Return results as JSON with the outputs of `tasks` loaded (None: of all). Raises like `load_outputs`."""
        selected = results.keys() if tasks is None else results.keys() & set(tasks)
        digests = {
            task: str(artifact["digest"])
            for task in selected
            if (artifact := results[task].get("artifact")) and results[task].get("output") is None
        }
        texts = await self._load_texts(set(digests.values()), thread=thread)
        loaded = {task: {**results[task], "output": await _parse_text(texts[digests[task]])} for task in digests}
        return {**results, **loaded}

    async def _load_texts(self, digests: set[str], *, thread: str) -> dict[str, bytes]:
        texts = {digest: text for digest in digests if (text := self._texts.get((thread, digest))) is not None}
        missing = digests - texts.keys()
        if missing and self._store is None:
            raise PersistenceError(
                f"Outputs of thread {thread!r} are stored as artifacts in a database; "
                "build the graph with the persistence that the thread was run with."
            )
        if missing and self._store is not None:
            for digest, text in (await self._store.get(thread, missing)).items():
                if hashlib.sha256(text).hexdigest() != digest:
                    raise PersistenceError(
                        f"The artifact {digest!r} of thread {thread!r} is not what was stored; "
                        "it was changed by something else, or is damaged."
                    )
                texts[digest] = text
        if lost := digests - texts.keys():
            raise PersistenceError(
                f"The artifact {min(lost)!r} of thread {thread!r} is not in its store, though a result refers to it."
            )
        for digest, text in texts.items():
            self._cache_text((thread, digest), text)
        return texts

    def _cache_text(self, key: tuple[str, str], text: bytes) -> None:
        """Cache the text, which cannot be changed, instead of its value, which a tool could change."""
        with self._lock:
            if key not in self._texts:
                self._texts[key] = text
                self._cached_bytes += len(text)
            self._texts.move_to_end(key)
            while self._cached_bytes > _MAX_CACHED_BYTES:
                _, evicted = self._texts.popitem(last=False)
                self._cached_bytes -= len(evicted)


def _require_artifact(done: Done) -> Artifact:
    if done.artifact is None:
        raise AssertionError("only an output that was stored is loaded")
    return done.artifact


async def _parse_text(text: bytes) -> JsonValue:
    value: JsonValue = (
        json.loads(text) if len(text) < _INLINE_PARSE_LIMIT else await anyio.to_thread.run_sync(json.loads, text)
    )
    return value


def drop_stored_output(outcome: Outcome) -> Outcome:
    """Return `outcome` without its output if that is in the store."""
    if isinstance(outcome, Done) and outcome.artifact is not None:
        return outcome.model_copy(update={"output": None})
    return outcome


def infer_schema(value: JsonValue) -> JsonSchema:
    """Return a JSON Schema of the shape of `value`; long lists are judged by their first hundred items."""
    return _infer_from_values([value], depth=_MAX_DEPTH)


def _infer_from_values(values: Sequence[JsonValue], *, depth: int) -> JsonSchema:
    kinds = {get_json_type(value) for value in values}
    if "number" in kinds:
        kinds.discard("integer")
    schema: JsonSchema = {"type": kinds.pop() if len(kinds) == 1 else sorted(kinds)}
    if depth == 0:
        return schema
    objects = [value for value in values if isinstance(value, dict)]
    keys = list(dict.fromkeys(key for value in objects for key in value))[:_MAX_PROPERTIES]
    if keys:
        schema["properties"] = {
            key: _infer_from_values([value[key] for value in objects if key in value], depth=depth - 1) for key in keys
        }
    items = [item for value in values if isinstance(value, list) for item in value[:_MAX_ITEMS]][:_MAX_ITEMS]
    if items:
        schema["items"] = _infer_from_values(items, depth=depth - 1)
    return schema
