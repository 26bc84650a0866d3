"""The compiled graph as users call it: checked inputs, durable by default, blocking calls that cannot deadlock."""

import queue
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import cache
from typing import Any, Self, TypedDict, Unpack, cast, overload

import anyio
from anyio.from_thread import start_blocking_portal
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import All, Command, Durability, GraphOutput, StateSnapshot, StateUpdate
from pydantic import BaseModel

from agent.core.plan.limits import Limits
from agent.errors import PersistenceError, UsageError
from agent.execution.ledger import Ledger
from agent.logging_context import get_logger
from agent.programs.matching import ProgramMatch, match_programs
from agent.report.model import RunReport
from agent.results.artifacts import Artifacts
from agent.secret_values import mask_custom_part, reject_cleartext_call, reject_cleartext_secrets
from agent.settings import Settings
from agent.telemetry import RunSpan
from agent.tools.toolbox import Toolbox
from graphs.input_validation import (
    bind_answer,
    find_edited_calls,
    find_last_answered,
    get_chosen_model,
    is_answer,
    is_message_only,
    is_resolution,
    is_same_answer,
    reject_unstorable,
    validate_input,
)
from graphs.langgraph_internals import CONFIG_KEY_CHECKPOINTER
from graphs.messages import close_calls, reply_to_waiting
from graphs.nesting import (
    Caller,
    identify_caller,
    is_checkpointed,
    is_nested,
    is_on_server,
    merge_caller_config,
    repeated_runs,
    resolve_durability,
)
from graphs.report.notebook import RunOutput, ThreadState
from graphs.run.graceful_stop import (
    GracefulRunControl,
    GracefulRunner,
    log_run,
    register_run,
    wait_for_stopping_run,
)
from graphs.run.services import Context
from graphs.state import Input, Output, OutputState, RunInput, State
from graphs.stores.checkpoint_upgrade import upgrade_saver_of
from graphs.stores.library import Library
from graphs.stores.single_thread import LeasedSaver
from graphs.thread_status import is_unfinished, resume_ended_run, summarize_listing

_logger = get_logger(__name__)

#: Seconds beyond its grace time in which a run that is being stopped stores what it has.
_STOP_MARGIN_S = 5.0
_UNANSWERABLE = (
    "Nobody can answer what waits: the graph has no checkpointer. Build it with `checkpointer=InMemorySaver()` or a "
    "persistence, or with Settings(approve='never')."
)
#: The node in which a run waits for an answer, and the one that sends it there.
_ASKING = "human_approval"
_DISPATCHING = "wave_dispatch"


class InvokeOptions(TypedDict, total=False):
    """LangGraph's options of `invoke` with which it returns an `Output`; the others change what it returns."""

    context: Context | dict[str, Any] | None
    interrupt_before: All | Sequence[str] | None
    interrupt_after: All | Sequence[str] | None
    durability: Durability | None


_END_OF_STREAM = object()


class PlanwaveGraph(CompiledStateGraph[State, Context, RunInput, OutputState]):
    """LangGraph's compiled graph with checked input, leases and graceful stop; `build_graph` creates it."""

    def __init__(
        self,
        *,
        settings: Settings,
        artifacts: Artifacts,
        toolbox: Callable[[], Awaitable[Toolbox]],
        limits: Callable[[Context | None, bool], Limits],
        ledger: Ledger,
        check_model: Callable[[str | None], Awaitable[None]],
        description: str | None = None,
        library: Library | None = None,
        **parts: Any,  # noqa: ANN401 - LangGraph's own
    ) -> None:
        """Take LangGraph's own `parts`, and the settings of the graph.

        `limits` returns the limits of a run that can wait for a human, by its context and whether its plan was given.
        `check_model` raises `UsageError` if the model of a context, or None for the configured one, is none.
        """
        super().__init__(**parts)
        self.settings = settings
        self.artifacts = artifacts
        self.toolbox = toolbox
        self.limits = limits
        self.ledger = ledger
        self.check_model = check_model
        #: What the graph is for, in the words of its maker; None: it is for any goal.
        self.description = description
        #: The programs that the planner looks through before it asks a model.
        self.library = library

    async def find_program(self, goal: str) -> ProgramMatch | None:
        """Return the program of the library whose goal says what `goal` says; None if there is none, or several.

        A run takes it only if it compiles and the data have the texts that the goal names.
        """
        if self.library is None or not self.settings.use_library:
            return None
        return match_programs(goal, await self.library.list_programs())

    def as_tool(
        self,
        args_schema: type[BaseModel] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        arg_types: dict[str, type] | None = None,
    ) -> BaseTool:
        """Return the tool of `planwave_tool` over this graph; with a schema or types of arguments, LangChain's own."""
        if args_schema is not None or arg_types is not None:
            return super().as_tool(args_schema, name=name, description=description, arg_types=arg_types)
        from graphs.composition.planwave_tool import create_graph_tool  # noqa: PLC0415 - it builds graphs

        return create_graph_tool(self, name=name or self.get_name(), description=description)

    def copy(self, update: dict[str, Any] | None = None) -> Self:
        """Return a copy, with a persistence's stores kept: a LangGraph server puts its own in their place.

        Its saver knows no leases and no ledger, so that a worker which is killed could make a write twice.
        """
        if isinstance(self.checkpointer, LeasedSaver):
            update = {name: value for name, value in (update or {}).items() if name not in {"checkpointer", "store"}}
        return super().copy(update)

    @overload
    async def ainvoke(
        self,
        input: Input | Command[Any] | None,
        config: RunnableConfig | None = None,
        **options: Unpack[InvokeOptions],
    ) -> Output: ...

    @overload
    async def ainvoke(
        self,
        input: Input | Command[Any] | None,
        config: RunnableConfig | None = None,
        **options: Any,  # noqa: ANN401 - LangGraph's own
    ) -> Any: ...  # noqa: ANN401 - as these options say

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Any:  # noqa: A002
        """Run as `astream` does and return what LangGraph does, every output in full.

        A stream and a state hold a large output as `artifact`: its digest, size, preview and schema; `aload_outputs`
        loads it.
        """
        return await self._complete_result(await super().ainvoke(input, config, **options), config)

    @overload
    def invoke(
        self,
        input: Input | Command[Any] | None,
        config: RunnableConfig | None = None,
        **options: Unpack[InvokeOptions],
    ) -> Output: ...

    @overload
    def invoke(
        self,
        input: Input | Command[Any] | None,
        config: RunnableConfig | None = None,
        **options: Any,  # noqa: ANN401 - LangGraph's own
    ) -> Any: ...  # noqa: ANN401 - as these options say

    def invoke(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Any:  # noqa: A002
        """Run as `stream` does and return what `ainvoke` does."""
        out = super().invoke(input, config, **options)
        with start_blocking_portal() as portal:
            return portal.call(self._complete_result, out, config)

    def get_input_jsonschema(self, config: RunnableConfig | None = None) -> dict[str, Any]:
        """Return the JSON Schema of what a caller gives; the id of a run is made here."""
        schema = super().get_input_jsonschema(config)
        return {**schema, "properties": {key: value for key, value in schema["properties"].items() if key != "run_id"}}

    async def aload_outputs(
        self, results: Mapping[str, dict[str, Any]], config: RunnableConfig | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return the results of a state of this thread with every output in full.

        Raises `PersistenceError` if a stored output is missing.
        """
        return await self.artifacts.load_results(results, thread=self._get_thread_id(config) or "")

    async def _complete_result(self, out: Any, config: RunnableConfig | None) -> Any:  # noqa: ANN401 - what LangGraph returns
        if isinstance(out, GraphOutput):
            return replace(out, value=await self._complete_result(out.value, config))
        if isinstance(out, dict) and isinstance(out.get("results"), dict):
            # A task that asks by itself stops in the middle of a dispatch, whose status it cannot set.
            asking: dict[str, Any] = {"status": "awaiting_approval"} if out.get("__interrupt__") else {}
            if asking and not is_checkpointed(merge_caller_config(self.config, config), own=self.checkpointer):
                asking["warnings"] = [*(out.get("warnings") or ()), _UNANSWERABLE]
            return RunOutput({**out, **asking, "results": await self.aload_outputs(out["results"], config)})
        return out

    async def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:  # noqa: A002, ANN401
        """Stream a run as LangGraph does. Raises `UsageError` for an empty goal, `AnswerError` if nothing waits.

        A wrong answer is no error: what waits is asked about again, with an `error` in the interrupt's payload.

        Raises `UsageError` also for a model that there is not, even if the run needs none.
        A superstep is on disk before the next one starts (`durability="sync"`) unless the caller says otherwise. With a
        persistence the thread is leased until the end: raises `ThreadBusyError` if another run has it, `LeaseLostError`
        if another run took it over. When the caller is cancelled, or stops early, no further task starts, running calls
        get the settings' `grace_s` to end, and what has finished is stored. `astream(None, config)` continues from
        there, and also where a budget ended the run, if the settings have raised that budget since, or where no model
        answered. So does an answer that is given again after it was taken, while nothing else waits. A run that begins
        while another one of this process is being stopped on the thread waits for the end of that first.
        """
        config = merge_caller_config(self.config, config)
        caller = identify_caller(config)
        async with (
            repeated_runs.number_call(upgrade_saver_of(config), input) as numbered,
            aclosing(self._stream_run(input, numbered, caller, options)) as parts,
        ):
            async for part in parts:
                yield part

    async def _stream_run(
        self,
        input: Any,  # noqa: A002, ANN401 - as `astream`
        config: RunnableConfig,
        caller: Caller | None,
        options: dict[str, Any],
    ) -> AsyncGenerator[Any]:
        """Stream a run that has its number among those that a node calls; see `astream`."""
        kept = is_checkpointed(config, own=self.checkpointer)
        options["durability"] = resolve_durability(options.get("durability"), config) if kept else None
        given, control = validate_input(input), GracefulRunControl(has_breakpoints=self._has_breakpoints(options))
        thread = self._get_thread_id(config)
        runner = GracefulRunner(
            control, grace_s=self.settings.grace_s, caller_control=options.get("control"), thread=thread
        )
        options["control"] = control
        refusal: str | None = None
        try:
            self._reject_unstorable(given)
            await self._reject_plaintext_secrets(given)
        except UsageError as error:
            if not is_answer(given) or given.update is not None:
                raise
            refusal = str(error)
        await self.check_model(get_chosen_model(options.get("context")))
        if not isinstance(self.checkpointer, LeasedSaver) and is_on_server(config):
            _warn_of_memory_ledger()
        # A run without a thread shares nothing with another one.
        scope = (id(self.artifacts), thread or f"run {id(control)}")
        await wait_for_stopping_run(scope, timeout_s=self.settings.grace_s + _STOP_MARGIN_S)
        async with register_run(scope, control), self._hold_thread(thread, caller), log_run(thread, given):
            if isinstance(given, Command) and kept:
                await self._reject_other_run(given.update, config)
            if kept and isinstance(given, dict) and not is_nested(config):
                given = await self._continue_messages(given, config, is_message=is_message_only(input))
            if is_answer(given):
                given = await self._bind_answer(given, config, refusal=refusal)
            if given is None and kept:
                given = await self._resume_ended_run(config, options.get("context"))
            if kept and is_resolution(given):
                await self.aupdate_state(config, None, as_node=END)
                given = None
            span = RunSpan(self.settings, name=self.get_name(), thread=thread)
            config = span.add_to_config(config)
            # Closed here, so that a run whose consumer stops early has stored everything before the thread is released.
            run = cast("AsyncGenerator[Any]", super().astream(given, config, **options))
            async with aclosing(runner.stream_parts(run)) as parts:
                async for part in span.follow(parts):
                    yield mask_custom_part(part, options.get("stream_mode"))

    async def abulk_update_state(self, config: RunnableConfig, supersteps: Any) -> RunnableConfig:  # noqa: ANN401 - LangGraph's own
        """Change a state as LangGraph does, for `aupdate_state` too.

        Raises `UsageError` as for an input, and for the id of another run.
        """
        return await super().abulk_update_state(config, await self._check_updates(config, supersteps))

    def bulk_update_state(self, config: RunnableConfig, supersteps: Any) -> RunnableConfig:  # noqa: ANN401 - as above
        """Change a state as LangGraph does, for `update_state` too. Raises as `abulk_update_state`."""
        with start_blocking_portal() as portal:
            checked = portal.call(self._check_updates, config, supersteps)
        return super().bulk_update_state(config, checked)

    async def _check_updates(self, config: RunnableConfig, supersteps: Any) -> list[list[StateUpdate]]:  # noqa: ANN401
        """Return updates that may be made; before one that ends the run, what its state and messages say of that."""
        checked: list[list[StateUpdate]] = []
        for step in supersteps:
            for update in step:
                await self._reject_update(update.values)
                await self._reject_other_run(update.values, config)
            if await self._is_message_to_waiting(step, config):
                # LangGraph takes it for an update of the node that dispatched, whose next one was chosen by that.
                [update] = step
                checked.append([StateUpdate(Command(update=update.values, goto=_ASKING), as_node=_DISPATCHING)])  # type: ignore[arg-type]
                continue
            is_end = len(step) == 1 and step[0].as_node == END and step[0].values is None
            state = await self.aget_state(config) if is_end and not is_nested(config) else None
            if state is not None and state.next and state.values.get("run_id"):
                closed = close_calls(state.values.get("messages") or ())
                values = {"status": "cancelled", "pending_approvals": [], "escalation": None, "messages": closed}
                checked.append([StateUpdate(values, as_node="human_approval")])
            checked.append(list(step))
        return checked

    async def _is_message_to_waiting(self, step: Sequence[StateUpdate], config: RunnableConfig) -> bool:
        """Return whether an update changes nothing but the messages of a thread that waits for an answer."""
        is_message = len(step) == 1 and step[0].as_node is None and (step[0].values or {}).keys() == {"messages"}
        return is_message and not is_nested(config) and (await self.aget_state(config)).next == (_ASKING,)

    async def _load_question(self, config: RunnableConfig) -> StateSnapshot:
        """Return the state with what waits; a question whose messages were changed since is asked again before."""
        state = await self.aget_state(config)
        if state.next == (_ASKING,) and not state.interrupts:
            async for _ in super().astream(None, config):
                pass
            state = await self.aget_state(config)
        return state

    async def _continue_messages(
        self, given: dict[str, Any], config: RunnableConfig, *, is_message: bool
    ) -> dict[str, Any] | Command[Any]:
        """Return the input of a run after the messages of its thread: their calls without a result get one.

        A mere message to a thread that waits starts no run.
        """
        state = await self._load_question(config)
        if is_message and state.interrupts:
            return reply_to_waiting(given["goal"], given["messages"], state.interrupts)
        return {**given, "messages": [*close_calls(state.values.get("messages") or ()), *given["messages"]]}

    async def _bind_answer(
        self, command: Command[Any], config: RunnableConfig, *, refusal: str | None = None
    ) -> Command[Any] | None:
        """Return the answer bound to what waits; None for an answer that comes again after it was taken.

        Raises `AnswerError` as `bind_answer` does.
        """
        waiting = (await self._load_question(config)).interrupts
        if not waiting and command.goto == () and command.update is None:
            saver = config.get("configurable", {}).get(CONFIG_KEY_CHECKPOINTER) or self.checkpointer
            last = await find_last_answered(saver, config) if isinstance(saver, BaseCheckpointSaver) else None
            if last is not None and is_same_answer(bind_answer(command, last[0]), *last):
                _logger.info(
                    "Answer was taken before: the run goes on", extra={"thread_id": self._get_thread_id(config)}
                )
                return None
        return bind_answer(command, waiting, require_named=self.settings.require_named_answers, refusal=refusal)

    async def _resume_ended_run(self, config: RunnableConfig | None, context: Any) -> Command[Any] | None:  # noqa: ANN401 - LangGraph's
        """Return the command that resumes a run that a budget or the lack of a model ended, if it can continue now."""
        state = await self.aget_state(config or {})
        if is_unfinished(state) or not (state.values.get("budget") or state.values.get("model_failure")):
            return None
        chosen = Context.model_validate(context) if isinstance(context, dict) else context
        return resume_ended_run(state.values, self.limits(chosen, bool(state.values.get("plan_was_given"))))

    async def _reject_update(self, values: Any) -> None:  # noqa: ANN401 - LangGraph's update
        """Raise `UsageError` for a value that cannot be stored, or a cleartext secret."""
        self._reject_unstorable(Command(update=values))
        await self._reject_plaintext_secrets(Command(update=values))

    def _reject_unstorable(self, given: Any) -> None:  # noqa: ANN401 - LangGraph's input
        if isinstance(self.checkpointer, BaseCheckpointSaver):
            reject_unstorable(given, self.checkpointer)

    async def _reject_plaintext_secrets(self, given: Any) -> None:  # noqa: ANN401 - LangGraph's input
        """Raise `UsageError` for a cleartext secret in a plan or an answer: LangGraph stores both as they are."""
        if isinstance(given, Command):
            for name, args in find_edited_calls(given.resume):
                reject_cleartext_call(name, args, (await self.toolbox()).specs, where="The edited call")
            given = given.update
        if isinstance(given, Mapping) and given.get("plan"):
            reject_cleartext_secrets(given["plan"], (await self.toolbox()).specs)

    async def _reject_other_run(self, update: Any, config: RunnableConfig) -> None:  # noqa: ANN401 - LangGraph's
        """Raise `UsageError` for an update that gives a run another id: what it has written would count as unmade."""
        changed = dict(update or ()) if isinstance(update, Mapping | Sequence) else {}
        if "run_id" not in changed:
            return
        own = (await self.aget_state(config)).values.get("run_id")
        if own and changed["run_id"] != own:
            raise UsageError("The field 'run_id' names the run and cannot be changed; leave it out of the update.")

    async def aget_report(self, config: RunnableConfig) -> RunReport:
        """Return the report of a thread, which a notebook shows and `to_html` writes; raises as `aget_state`."""
        from graphs.report.loading import load_report  # noqa: PLC0415 - most runs are not reported

        thread = self._get_thread_id(config) or ""
        state = await self.aget_state(config)
        return await load_report(state, thread=thread, ledger=self.ledger, artifacts=self.artifacts)

    def get_report(self, config: RunnableConfig) -> RunReport:
        """Return what `aget_report` does."""
        with start_blocking_portal() as portal:
            report: RunReport = portal.call(self.aget_report, config)
            return report

    async def aget_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """Return the state as LangGraph does; a notebook shows it as a report."""
        return ThreadState(*await super().aget_state(config, subgraphs=subgraphs))

    def get_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """Return what `aget_state` does."""
        return ThreadState(*super().get_state(config, subgraphs=subgraphs))

    @asynccontextmanager
    async def _hold_thread(self, thread: str | None, caller: Caller | None) -> AsyncIterator[None]:
        """Hold the lease of the thread, and note at the end what is listed of it; nothing without leases."""
        if thread is None or not isinstance(self.checkpointer, LeasedSaver):
            yield
            return
        async with self.checkpointer.lease(thread, caller=caller):
            try:
                yield
            finally:
                if caller is None:
                    with anyio.CancelScope(shield=True):
                        await self._note_listing(thread, self.checkpointer)

    async def _note_listing(self, thread: str, saver: LeasedSaver) -> None:
        try:
            state = await self.aget_state({"configurable": {"thread_id": thread}})
            newest = state.config["configurable"].get("checkpoint_id")
            if newest and state.values.get("run_id"):
                await saver.run_on_worker(saver.threads.close_row, thread, summarize_listing(state), newest=newest)
        except PersistenceError as error:
            # It is listed by its checkpoints then.
            _logger.info("What is listed was not stored: %s", error, extra={"thread_id": thread})

    def _has_breakpoints(self, options: Mapping[str, Any]) -> bool:
        """Return whether a run with these options has breakpoints."""
        own = (self.interrupt_before_nodes, self.interrupt_after_nodes)
        return any((*own, options.get("interrupt_before"), options.get("interrupt_after")))

    def _get_thread_id(self, config: RunnableConfig | None) -> str | None:
        thread = merge_caller_config(self.config, config)["configurable"].get("thread_id")
        return None if thread is None else str(thread)

    def stream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Iterator[Any]:  # noqa: A002, ANN401
        """Stream a run to a caller without an event loop, or to one that blocks its own.

        The run has its own event loop and thread, so it cannot deadlock with the caller.
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
                # Only if the stream was not read to its end: a run that is about to end would count as cancelled.
                running.cancel()
                raise
            running.result()


@cache
def _warn_of_memory_ledger() -> None:
    """Say once what is not promised on a server that keeps the checkpoints while the ledger is in memory."""
    _logger.warning(
        "This server keeps the checkpoints, but the record of writes is in this process's memory: if the process dies, "
        "a write that was begun may be made again unasked. Set PLANWAVE_DB and serve graphs.server:graph against that."
    )
