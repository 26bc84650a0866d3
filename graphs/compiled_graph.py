"""The compiled graph as users call it: checked inputs, durable by default, blocking calls that cannot deadlock."""

import queue
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import replace
from typing import Any, cast

from anyio.from_thread import start_blocking_portal
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from langgraph._internal._constants import CONFIG_KEY_CHECKPOINTER
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Durability, GraphOutput, Interrupt

from agent.core.engine.approvals import ApprovalRequest, bind_to_digests, parse_decisions
from agent.core.engine.escalations import Escalation, parse_escalation_answer
from agent.core.plan.limits import Limits
from agent.errors import AnswerError, UsageError
from agent.results.artifacts import Artifacts
from agent.secret_values import reject_cleartext_call, reject_cleartext_secrets
from agent.tools.toolbox import Toolbox
from graphs.run.graceful_stop import GracefulRunControl, GracefulRunner
from graphs.run.services import Context
from graphs.state import Input, Output, State
from graphs.stores.checkpoint_upgrade import upgrade_saver_of
from graphs.stores.single_thread import LeasedSaver
from graphs.thread_status import resume_after_budget

_INTERRUPT_ID_PATTERN = re.compile("[0-9a-f]{32}")


def validate_input(given: Any) -> Any:  # noqa: ANN401 - whatever a caller passes
    """Return the input as the graph takes it. Raises `UsageError` or `AnswerError` with nothing changed."""
    if isinstance(given, Command):
        if given.resume is None and given.goto == () and given.update is None:
            raise AnswerError("The answer is None; answer with {'decisions': [{'type': 'approve'}, ...]}.")
        if given.resume == {}:
            raise AnswerError("The answer is empty; answer with {'decisions': [{'type': 'approve'}, ...]}.")
        return given
    if given is None:
        return None
    if not isinstance(given, dict):
        raise UsageError(f"A run is started with {{'goal': '...'}}, not {type(given).__name__}.")
    goal, plan = given.get("goal"), given.get("plan")
    if goal is not None and not isinstance(goal, str):
        raise UsageError(f"The goal is {goal!r}; it must be a text.")
    if not (goal or "").strip() and plan is None:
        raise UsageError("The goal is empty; say in a sentence what is to be found out or done.")
    # Without this a plan of an earlier goal on the thread would pass for one that was given.
    return {**given, "goal": goal or "", "plan": plan}


def bind_answer(command: Command[Any], waiting: Sequence[Interrupt]) -> Command[Any]:
    """Return an answer so that it holds for what was asked and for nothing else.

    LangGraph keeps an answer in the checkpoint, before a node can look at it, until the superstep ends. When a run is
    taken up after a crash it gives it to whatever asks first: a worker's next call, once the one that was shown is
    made. So an answer to a call carries its digest, and any other the id of its interrupt, which is not kept.
    Raises `AnswerError` for one that does not fit, before anything is stored.
    """
    if not waiting:
        raise AnswerError("Nothing on this thread waits for an answer; it may have been answered already.")
    asked, answer = {interrupt.id: interrupt.value for interrupt in waiting}, command.resume
    if isinstance(answer, dict) and all(map(_INTERRUPT_ID_PATTERN.fullmatch, map(str, answer))):
        answers = answer
    elif len(waiting) > 1:
        raise AnswerError(f"{len(waiting)} interrupts wait; answer them by id: {', '.join(asked)}.")
    else:
        answers = {waiting[0].id: answer}
    for key, one in answers.items():
        if key not in asked:
            raise AnswerError(f"No interrupt {key!r} waits for an answer; it may have been answered already.")
        _check_answer(one, asked[key])
    marked = {key: _add_digests(one, asked[key]) for key, one in answers.items()}
    if len(asked) == 1 and all(_is_call_approval(question) or _is_escalation(question) for question in asked.values()):
        [answer] = marked.values()
        return replace(command, resume=answer)
    return replace(command, resume=marked)


def _add_digests(answer: Any, asked: Any) -> Any:  # noqa: ANN401 - whatever a caller passes, and a tool asks
    if not _is_call_approval(asked):
        return answer
    return bind_to_digests(answer, [action["digest"] for action in asked["action_requests"]])


def _is_call_approval(asked: Any) -> bool:  # noqa: ANN401 - as above
    """Whether a question is one of ours about calls; a tool that asks may use the same schema for its own."""
    actions = asked.get("action_requests") if isinstance(asked, dict) else None
    ours = isinstance(actions, list) and all({"task_id", "digest"} <= action.keys() for action in actions)
    return ours and not _is_escalation(asked)


def _is_escalation(asked: Any) -> bool:  # noqa: ANN401 - as above
    return isinstance(asked, dict) and bool(asked.get("impasse"))


def _check_answer(answer: Any, asked: Any) -> None:  # noqa: ANN401
    if _is_escalation(asked):
        mark = asked["action_requests"][0]["digest"]
        chosen = parse_escalation_answer(answer, Escalation.model_validate(asked["impasse"]), mark=mark)
        if isinstance(chosen, str):
            raise AnswerError(chosen)
    if not _is_call_approval(asked):
        return
    requests = [
        ApprovalRequest(
            task=action["task_id"],
            tool=action["name"],
            **{key: action[key] for key in ("args", "items", "digest", "doubt") if key in action},
        )
        for action in asked["action_requests"]
    ]
    decisions = parse_decisions(answer, requests)
    if isinstance(decisions, str):
        raise AnswerError(decisions)


_END_OF_STREAM = object()


class PlanwaveGraph(CompiledStateGraph[State, Context, Input, Output]):
    """LangGraph's compiled graph with the manners of Planwave; `graphs.plan_execute.build_graph` makes it."""

    def __init__(
        self,
        *,
        grace_s: float,
        artifacts: Artifacts,
        toolbox: Callable[[], Awaitable[Toolbox]],
        limits: Callable[[Context | None, bool], Limits],
        **parts: Any,  # noqa: ANN401 - LangGraph's own
    ) -> None:
        """Take LangGraph's own `parts`, and the seconds that calls are given to end when a run is stopped.

        `limits` tells those of a run that can stop for a person, by its context and whether its plan was given.
        """
        super().__init__(**parts)
        self.grace_s = grace_s
        self.artifacts = artifacts
        self.toolbox = toolbox
        self.limits = limits

    @classmethod
    def from_compiled(
        cls,
        compiled: CompiledStateGraph[Any, Any, Any, Any],
        *,
        grace_s: float,
        artifacts: Artifacts,
        toolbox: Callable[[], Awaitable[Toolbox]],
        limits: Callable[[Context | None, bool], Limits],
    ) -> "PlanwaveGraph":
        """Return `compiled` as a graph of this class."""
        parts = {
            name: value
            for name, value in vars(compiled).items()
            if name in _KEPT_PRIVATE_FIELDS or not name.startswith("_")
        }
        return cls(grace_s=grace_s, artifacts=artifacts, toolbox=toolbox, limits=limits, **parts)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Any:  # noqa: A002, ANN401
        """Run as `astream` does and return what LangGraph does, every output in full.

        A stream and a state hold a large output as `artifact`: its digest, size, preview and schema; `ain_full` loads.
        """
        return await self._complete_result(await super().ainvoke(input, config, **options), config)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Any:  # noqa: A002, ANN401
        """Run as `stream` does and return what `ainvoke` does."""
        out = super().invoke(input, config, **options)
        with start_blocking_portal() as portal:
            return portal.call(self._complete_result, out, config)

    async def aload_outputs(
        self, results: Mapping[str, dict[str, Any]], config: RunnableConfig | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return the results of a state of this thread with every output in full.

        Raises `PersistenceError` for an output that is not where it was put.
        """
        return await self.artifacts.load_results(results, thread=self._get_thread_id(config) or "")

    async def _complete_result(self, out: Any, config: RunnableConfig | None) -> Any:  # noqa: ANN401 - what LangGraph returns
        if isinstance(out, GraphOutput):
            return replace(out, value=await self._complete_result(out.value, config))
        if isinstance(out, dict) and isinstance(out.get("results"), dict):
            # A task that asks by itself stops in the middle of a dispatch, whose status it cannot set.
            asking = {"status": "awaiting_approval"} if out.get("__interrupt__") else {}
            return {**out, **asking, "results": await self.aload_outputs(out["results"], config)}
        return out

    async def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:  # noqa: A002, ANN401
        """Stream a run as LangGraph does. Raises `UsageError` for an empty goal, `AnswerError` for an empty answer.

        A superstep is on disk before the next one begins (`durability="sync"`) unless the caller says otherwise. With a
        persistence the thread is held until the end: `ThreadBusyError` where another run has it, `LeaseLostError` where
        another took it over. When the caller is cancelled, or stops early, nothing new is begun, what runs is given
        the settings' `grace_s`, and what finished is stored; `astream(None, config)` goes on from there, and from where
        a budget ended the run that the settings have raised since.
        """
        config = upgrade_saver_of(config)
        kept = bool(self.checkpointer) or CONFIG_KEY_CHECKPOINTER in (config or {}).get("configurable", {})
        options["durability"] = _resolve_durability(options.get("durability"), config or {}) if kept else None
        given, control = validate_input(input), GracefulRunControl(has_breakpoints=self._has_breakpoints(options))
        drained = GracefulRunner(control, grace_s=self.grace_s, caller_control=options.get("control"))
        options["control"] = control
        await self._reject_plaintext_secrets(given)
        async with self._hold_thread(config):
            if isinstance(given, Command) and given.resume is not None:
                given = bind_answer(given, (await self.aget_state(config or {})).interrupts)
            if given is None and kept:
                given = await self._resume_after_budget(config, options.get("context"))
            # Closed here, so that a run whose consumer stops early has stored its last before the thread is let go.
            run = cast("AsyncGenerator[Any]", super().astream(given, config, **options))
            async with aclosing(drained.stream_parts(run)) as parts:
                async for part in parts:
                    yield part

    async def abulk_update_state(self, config: RunnableConfig, supersteps: Any) -> RunnableConfig:  # noqa: ANN401 - LangGraph's own
        """Change a state as LangGraph does, for `aupdate_state` too. Raises `UsageError` for a secret in clear."""
        for update in (each for step in supersteps for each in step):
            await self._reject_plaintext_secrets(Command(update=update.values))
        return await super().abulk_update_state(config, supersteps)

    def bulk_update_state(self, config: RunnableConfig, supersteps: Any) -> RunnableConfig:  # noqa: ANN401 - as above
        """Change a state as LangGraph does, for `update_state` too. Raises `UsageError` for a secret in clear."""
        with start_blocking_portal() as portal:
            for update in (each for step in supersteps for each in step):
                portal.call(self._reject_plaintext_secrets, Command(update=update.values))
        return super().bulk_update_state(config, supersteps)

    async def _resume_after_budget(self, config: RunnableConfig | None, context: Any) -> Command[Any] | None:  # noqa: ANN401 - LangGraph's
        """Return what takes up a run that a budget ended, where these settings allow it to go on."""
        state = await self.aget_state(config or {})
        if state.next or not state.values.get("budget"):
            return None
        chosen = Context.model_validate(context) if isinstance(context, dict) else context
        return resume_after_budget(state.values, self.limits(chosen, bool(state.values.get("plan_was_given"))))

    async def _reject_plaintext_secrets(self, given: Any) -> None:  # noqa: ANN401 - LangGraph's input
        """Raise `UsageError` for a private argument in clear in a plan or an answer: LangGraph stores both as given."""
        if isinstance(given, Command):
            for name, args in _find_edited_calls(given.resume):
                reject_cleartext_call(name, args, (await self.toolbox()).specs, where="The edited call")
            given = given.update
        if isinstance(given, Mapping) and given.get("plan"):
            reject_cleartext_secrets(given["plan"], (await self.toolbox()).specs)

    def _hold_thread(self, config: RunnableConfig | None) -> AbstractAsyncContextManager[object]:
        """Return what holds the thread for the run: its lease, or nothing where there are none."""
        thread = self._get_thread_id(config)
        if thread is None or not isinstance(self.checkpointer, LeasedSaver):
            return nullcontext()
        return self.checkpointer.lease(thread)

    def _has_breakpoints(self, options: Mapping[str, Any]) -> bool:
        """Whether a run with these options has breakpoints."""
        own = (self.interrupt_before_nodes, self.interrupt_after_nodes)
        return any((*own, options.get("interrupt_before"), options.get("interrupt_after")))

    def _get_thread_id(self, config: RunnableConfig | None) -> str | None:
        thread = merge_configs(self.config, config).get("configurable", {}).get("thread_id")
        return None if thread is None else str(thread)

    def stream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Iterator[Any]:  # noqa: A002, ANN401
        """Stream a run to a caller without an event loop, or inside one that it blocks.

        The run has a loop and a thread of its own, so it waits for nothing that the caller holds.
        """
        parts: queue.SimpleQueue[Any] = queue.SimpleQueue()

        async def produce() -> None:
            try:
                async for part in self.astream(input, config, **options):
                    parts.put(part)
            finally:
                parts.put(_END_OF_STREAM)

        with start_blocking_portal() as portal:
            running = portal.start_task_soon(produce)
            try:
                while (part := parts.get()) is not _END_OF_STREAM:
                    yield part
            except BaseException:
                # Not where all was had: a run that is about to end would count as cancelled.
                running.cancel()
                raise
            running.result()


def _resolve_durability(requested: Durability | None, config: RunnableConfig) -> Durability:
    """Return `wanted`, or "sync" where nothing is.

    A LangGraph server says "async" for each client that says nothing, so on a server "async" is nobody's wish.
    """
    on_server = "graph_id" in config.get("configurable", {})
    return "sync" if requested is None or (on_server and requested == "async") else requested


def _find_edited_calls(answer: Any) -> Iterator[tuple[object, object]]:  # noqa: ANN401 - whatever a caller passes
    """Yield tool and arguments of every call that stands anywhere in an answer, in today's form or the older one."""
    waiting = [answer]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield each.get("name", each.get("action")), each.get("args")
            waiting += each.values()
        elif isinstance(each, list | tuple):
            waiting += each


_KEPT_PRIVATE_FIELDS = frozenset({"_serde_allowlist"})
