"""How soon the first tool is called after a model has begun to write the plan, streaming on and off side by side."""

import asyncio
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import SecretStr

from agent.settings import Settings
from graphs.plan_execute import build_graph
from tests.bench.driving import Sleepers
from tests.bench.figures import Finding, figure
from tests.support.openai_endpoint import Endpoint, Request, Text

BENCH = "first_tool"
TOKENS_PER_S = 50
_LETTERS_PER_TOKEN = 4
#: The endpoint sends eight letters at a time.
_CHUNK_S = 8 / _LETTERS_PER_TOKEN / TOKENS_PER_S
#: Seconds that a tool takes.
_TOOL_S = 1.0
#: Tasks of a plan, all side by side or each behind the one before.
_SIZES = (4, 8, 16)
_SHAPES = ("flat", "deep")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds from the first token of the plan."""

    first_tool: float
    last_result: float


class _Model(Endpoint):
    """A model that writes `plan` at its pace, and any other reply at once; it notes when it begins with the plan."""

    def __init__(self, plan: dict[str, Any], *, chunk_s: float) -> None:
        super().__init__(self._reply, chunk_s=chunk_s)
        self._pace = chunk_s
        self._text = json.dumps(plan)
        self.begun = 0.0

    def _reply(self, request: Request) -> Text:
        if request.way == "text":
            self.chunk_s = 0.0
            return Text("The work is done.")
        self.chunk_s = self._pace
        self.begun = time.monotonic()
        if not request.body.get("stream"):
            # Without a stream the reply comes when its last token is written.
            self.wait(self._pace * len(self._text) / 8)
        return Text(self._text)


def bench(*, quick: bool = False) -> Iterator[Finding]:
    """Yield both times of plans of several sizes, and their ratios."""
    rounds = 1 if quick else 3
    for shape in _SHAPES:
        for size in _SIZES[:1] if quick else _SIZES:
            yield from measured(shape, size, rounds=rounds)


def measured(
    shape: str, size: int, *, rounds: int, chunk_s: float = _CHUNK_S, tool_s: float = _TOOL_S
) -> Iterator[Finding]:
    """Yield what one plan comes to with streaming and without, in turns."""
    plan = plan_of(shape, size, tool_s=tool_s)
    case = f"{shape} {size}"
    times: dict[bool, list[Timing]] = {True: [], False: []}
    for turn in range(rounds):
        for stream in (True, False) if turn % 2 else (False, True):
            times[stream].append(asyncio.run(_once(plan, stream=stream, chunk_s=chunk_s)))
    tokens = len(json.dumps(plan)) / _LETTERS_PER_TOKEN
    note = f"{tokens:.0f} tokens at {8 / _LETTERS_PER_TOKEN / chunk_s:.0f}/s, each tool {tool_s:g} s"
    for name, pick in (("to first tool", _first), ("to last result", _last)):
        for stream, label in ((True, "streaming"), (False, "whole plan first")):
            yield figure(BENCH, f"{case}, {label}", name, pick(times[stream]), unit="s", note=note)
        ratios = [on / off for on, off in zip(pick(times[True]), pick(times[False]), strict=True)]
        saved = statistics.median(off - on for on, off in zip(pick(times[True]), pick(times[False]), strict=True))
        yield figure(BENCH, case, f"{name}, streaming / whole", ratios, unit="", note=f"{saved:.2f} s saved")


def plan_of(shape: str, size: int, *, tool_s: float) -> dict[str, Any]:
    """Return a plan of reading tasks in the words that a model gives them."""
    words = random.Random(size)  # noqa: S311 - for the same plan each time
    tasks = []
    for number in range(size):
        needs = {"depends_on": [f"step_{number - 1}"]} if shape == "deep" and number else {}
        tasks.append(
            {
                "id": f"step_{number}",
                "description": f"Look up what is known about part {words.randrange(10**6)} of the question.",
                "reasoning": "The answer has to say how this part compares with the others.",
                "tool": "look_up",
                "args": {"name": f"part {number}", "seconds": tool_s},
                **needs,
            }
        )
    return {"execution_mode": "parallel", "tasks": tasks}


async def _once(plan: dict[str, Any], *, stream: bool, chunk_s: float) -> Timing:
    sleepers = Sleepers(["look_up"])
    with _Model(plan, chunk_s=chunk_s) as model:
        chat = ChatOpenAI(model="scripted", base_url=model.url, api_key=SecretStr("none"), use_responses_api=False)
        settings = Settings(stream_plan=stream)
        graph = build_graph(tools=sleepers.tools, model=chat, settings=settings, checkpointer=InMemorySaver())
        out = await graph.ainvoke({"goal": "Look it all up."}, {"configurable": {"thread_id": uuid4().hex}})
        if out["status"] != "completed" or sleepers.calls != len(plan["tasks"]):
            raise AssertionError(f"{out['status']}, {sleepers.calls} calls, {out['problems'][:3]}")
        first, last = sleepers.span
        return Timing(first - model.begun, last - model.begun)


def _first(times: Sequence[Timing]) -> list[float]:
    return [each.first_tool for each in times]


def _last(times: Sequence[Timing]) -> list[float]:
    return [each.last_result for each in times]
