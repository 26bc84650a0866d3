"""The nodes: one short method each. Only `wave_dispatch` has a choice, and `next_move` makes it."""

from functools import partial
from typing import Any

from langgraph.config import get_config
from langgraph.errors import GraphInterrupt
from langgraph.runtime import Runtime
from langgraph.types import Command, Overwrite, interrupt

from agent.core.engine.budgets import ExhaustedBudget, Spending, raise_limits
from agent.core.engine.next_move import next_move
from agent.core.engine.outcomes import InDoubt
from agent.core.plan.limits import Limits
from agent.errors import AnswerError, UsageError
from agent.events import ApprovalRequested, PlanProgress
from agent.execution.concurrency import RunHalted
from agent.execution.executor import utc_now
from agent.llm.usage import Meter, MeterRegistry, use_meter
from graphs.nodes.answer import finish_run, prune_call_log
from graphs.nodes.look_up import answer_questions, ask_context_tools
from graphs.nodes.planner import check_given_plan, generate_plan, reset_state
from graphs.nodes.replanner import replan_after_failure
from graphs.nodes.rollback import plan_rollback
from graphs.nodes.wave_dispatch import NodeName, build_command, recompile_changed_plan, start_early_reads
from graphs.run.approvals import apply_decisions, build_interrupt_payload
from graphs.run.dispatch_board import BoardRegistry, Suspended
from graphs.run.early_execution import get_slots
from graphs.run.escalations import (
    apply_escalation,
    build_escalation_interrupt,
    can_wait_for_answer,
    is_moot,
    parse_stored_escalation,
)
from graphs.run.graceful_stop import GracefulRunControl
from graphs.run.output_loading import load_all_outputs, load_outputs_for_approval, load_outputs_for_rollback
from graphs.run.plan_history import update_lineage
from graphs.run.services import Context, Services
from graphs.run.snapshots import RunCaches, build_snapshot
from graphs.run.state_updates import build_usage_update, create_emitter, outcome_to_json
from graphs.run.task_runner import make_task_runner, prepare_meter, restore_board
from graphs.state import State, TaskOrder, merge_results


class Nodes:
    """The nodes of one graph over its wiring."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._boards = BoardRegistry()
        self._run_caches = RunCaches()
        self._meters = MeterRegistry()

    async def gather_context(self, state: State, runtime: Runtime[Context]) -> dict[str, Any]:
        """Begin a run: forget what an earlier goal on this thread left, and ask the tools that give context."""
        goal, plan = (state.get("goal") or "").strip(), state.get("plan")
        if not goal and not plan:
            raise UsageError("The goal is empty; say in a sentence what is to be found out or done.")
        thread, revision = resolve_thread_id(state, runtime), (state.get("revision") or 0) + 1
        if revision > 1:
            # What was called for an earlier goal on this thread is called anew.
            await self._services.calls.delete_calls(thread)
        context = ""
        if plan is None:
            emit = create_emitter(runtime)
            context = await ask_context_tools(self._services, runtime, thread=thread, revision=revision, emit=emit)
        return reset_state(state, goal, given=plan is not None, context=context, revision=revision)

    async def planner(self, state: State, runtime: Runtime[Context]) -> dict[str, Any]:
        """Make a plan that compiles, or check the one that was given."""
        limits, emit, thread = (
            self._resolve_limits(state, runtime),
            create_emitter(runtime),
            resolve_thread_id(state, runtime),
        )
        recall = self._run_caches.get_or_create(thread)
        if state.get("plan") is not None:
            return await check_given_plan(state, self._services, limits=limits, cache=recall, emit=emit)
        meter = self._prepare_meter(state, runtime, limits)
        return await generate_plan(
            state, self._services, runtime, limits=limits, meter=meter, thread=thread, cache=recall, emit=emit
        )

    async def look_up(self, state: State, runtime: Runtime[Context]) -> dict[str, Any]:
        """Put the planner's questions to their tools."""
        meter, thread = (
            self._prepare_meter(state, runtime, self._resolve_limits(state, runtime)),
            resolve_thread_id(state, runtime),
        )
        return await answer_questions(
            state, self._services, runtime, meter=meter, thread=thread, emit=create_emitter(runtime)
        )

    async def wave_dispatch(self, state: State, runtime: Runtime[Context]) -> Command[NodeName]:
        """Carry out the next move."""
        toolbox, emit = await self._services.load_toolbox(), create_emitter(runtime)
        limits = self._resolve_limits(state, runtime)
        self._boards.drop(state.get("dispatch") or "")
        artifacts, thread = self._services.artifacts, resolve_thread_id(state, runtime)
        recall = self._run_caches.get_or_create(thread)
        changed = await recompile_changed_plan(
            state, toolbox, limits=limits, artifacts=artifacts, thread=thread, cache=recall, emit=emit
        )
        state = await load_outputs_for_approval(
            {**state, **changed},  # type: ignore[typeddict-item]  # a part of the same state
            toolbox,
            limits=limits,
            artifacts=artifacts,
            thread=thread,
            cache=recall,
        )
        granted = await self._services.grants.get_valid_digests(state.get("approvals") or {})
        durations = await self._services.durations.get_estimates(frozenset(toolbox))
        snapshot = build_snapshot(
            state, toolbox, thread=thread, now=utc_now(), granted=granted, cache=recall, durations=durations
        )
        if snapshot.frontier is not None:
            emit(PlanProgress(progress=snapshot.frontier.get_progress()))
        move = next_move(snapshot, limits)
        slots = get_slots(runtime, self._services.resolve_settings(runtime.context))
        meter = self._prepare_meter(state, runtime, limits)
        command, board = build_command(
            move, state=state, snapshot=snapshot, cache=recall, slots=slots, meter=meter, thread=thread, emit=emit
        )
        update = {**changed, **update_lineage(state), **(command.update or {})}
        if "results" in changed:
            update["results"] = Overwrite(merge_results(changed["results"], [update.get("results", {})]))
            update["cut"] = Overwrite({})
        if board is not None:
            self._boards.put(update["dispatch"], board, run=runtime.control)
            await start_early_reads(move, board, self._services, toolbox, runtime)
        return Command(goto=command.goto, update=update)

    async def tool_executor(self, order: TaskOrder, runtime: Runtime[Context]) -> dict[str, Any]:
        """Run one task as soon as its own needs are done, and record its outcome."""
        toolbox, settings = await self._services.load_toolbox(), self._services.resolve_settings(runtime.context)
        task = order["task"]
        board = self._boards.get(order["dispatch"], run=runtime.control)
        if board is None:
            thread = runtime.execution_info.thread_id if runtime.execution_info else None
            made = partial(
                restore_board,
                get_config(),
                toolbox,
                settings=settings,
                meters=self._meters,
                thread=thread or "",
                durations=self._services.durations,
                calls=self._services.calls,
            )
            board = await self._boards.get_or_create(order["dispatch"], made, run=runtime.control)
        if isinstance(runtime.control, GracefulRunControl):
            runtime.control.allow_drain()
            runtime.control.on_stop(board.slots.halt)
        approved = board.approvals.get(task)
        await self._services.grants.adopt_checkpoint_approval(
            task, approved, thread=board.thread, revision=board.revision
        )
        try:
            outcome = await board.run_when_ready(task, make_task_runner(task, board, self._services, toolbox, runtime))
        except (Suspended, RunHalted) as stop:
            if isinstance(stop, RunHalted) and isinstance(runtime.control, GracefulRunControl):
                runtime.control.has_unstarted_tasks = True
            raise GraphInterrupt(()) from None
        usage = {"usage": build_usage_update(used)} if (used := board.meter.take_spending()) != Spending() else {}
        if outcome is None:
            return usage
        if isinstance(outcome, ExhaustedBudget):
            return {**usage, "cut": {task: outcome.model_dump()}}
        channel = "doubts" if isinstance(outcome, InDoubt) else "results"
        return {**usage, channel: {task: outcome_to_json(outcome)}}

    async def human_approval(self, state: State, runtime: Runtime[Context]) -> dict[str, Any]:
        """Stop until a person has answered every request, and record the answers."""
        toolbox = await self._services.load_toolbox()
        limits, thread = self._resolve_limits(state, runtime), resolve_thread_id(state, runtime)
        impasse = parse_stored_escalation(state)
        snapshot = build_snapshot(state, toolbox, thread=thread, now=utc_now())
        if impasse is not None and is_moot(impasse, snapshot, limits):
            return {"impasse": None, "status": "running"}
        asked = (
            build_interrupt_payload(state, toolbox)
            if impasse is None
            else build_escalation_interrupt(impasse, state, thread=thread)
        )
        create_emitter(runtime)(ApprovalRequested(request=asked))
        while True:
            answer = interrupt(asked)
            try:
                if impasse is not None:
                    return apply_escalation(answer, impasse, state, snapshot, limits=limits, thread=thread)
                granted, update = await apply_decisions(
                    answer, state, toolbox, limits=limits, artifacts=self._services.artifacts, thread=thread
                )
            except AnswerError as error:
                # Raising would keep the wrong answer in the checkpoint, to be given again at every resume.
                asked = {**asked, "error": str(error)}
            else:
                await self._services.grants.store_approvals(granted, thread=thread, revision=state["revision"])
                return update

    async def replanner(self, state: State, runtime: Runtime[Context]) -> dict[str, Any]:
        """Have the rest of the plan made anew, or end the run where that cannot be done."""
        toolbox, thread = await self._services.load_toolbox(), resolve_thread_id(state, runtime)
        state = await load_all_outputs(state, artifacts=self._services.artifacts, thread=thread)
        snapshot = build_snapshot(state, toolbox, thread=thread, now=utc_now())
        limits = self._resolve_limits(state, runtime)
        meter = self._prepare_meter(state, runtime, limits)
        with use_meter(meter):
            update = await replan_after_failure(
                self._services, state, snapshot, toolbox, runtime.context, limits=limits, emit=create_emitter(runtime)
            )
        return {**update, "usage": build_usage_update(meter.take_spending())}

    async def rollback(self, state: State, runtime: Runtime[Context]) -> dict[str, Any]:
        """Make the plan that undoes finished writes; it goes through the same dispatch, asked and checked."""
        toolbox, thread = await self._services.load_toolbox(), resolve_thread_id(state, runtime)
        state = await load_outputs_for_rollback(state, artifacts=self._services.artifacts, thread=thread)
        rows = await self._services.ledger.list_rows(thread)
        return await plan_rollback(state, toolbox, limits=self._resolve_limits(state, runtime), ledger=rows)

    async def answer(self, state: State, runtime: Runtime[Context]) -> dict[str, Any]:
        """End the run: an outcome for every task, a status, and an answer that rests on the results."""
        toolbox, thread = await self._services.load_toolbox(), resolve_thread_id(state, runtime)
        state = await load_all_outputs(state, artifacts=self._services.artifacts, thread=thread)
        snapshot = build_snapshot(
            state, toolbox, thread=thread, now=utc_now(), cache=self._run_caches.get_or_create(thread)
        )
        self._run_caches.drop(thread)
        await self._services.durations.save_changes()
        await prune_call_log(self._services, snapshot, thread)
        meter = self._prepare_meter(state, runtime, self._resolve_limits(state, runtime))
        return await finish_run(
            self._services, state, snapshot, runtime.context, meter=meter, emit=create_emitter(runtime)
        )

    def _resolve_limits(self, state: State, runtime: Runtime[Context]) -> Limits:
        given, attended = bool(state.get("given")), can_wait_for_answer(get_config())
        found = self._services.resolve_limits(runtime.context, given=given, attended=attended)
        return raise_limits(found, state.get("raised") or {})

    def _prepare_meter(self, state: State, runtime: Runtime[Context], limits: Limits) -> Meter:
        return prepare_meter(self._meters, state, limits, settings=self._services.resolve_settings(runtime.context))


def resolve_thread_id(state: State, runtime: Runtime[Context]) -> str:
    """Return the thread's id; a run without a checkpointer has none and goes by its own."""
    return (runtime.execution_info.thread_id if runtime.execution_info else None) or state.get("run") or ""
