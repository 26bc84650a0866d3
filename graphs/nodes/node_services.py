"""The nodes: one short method each. Only `wave_dispatch` has a choice, and `next_move` makes it."""

from functools import partial
from typing import Any

from langgraph.config import get_config
from langgraph.errors import GraphInterrupt
from langgraph.runtime import Runtime
from langgraph.types import Command, Overwrite, interrupt

from agent.core.engine.budgets import Exhausted, Spending, with_raised
from agent.core.engine.next_move import next_move
from agent.core.engine.outcomes import InDoubt
from agent.core.plan.limits import Limits
from agent.errors import AnswerError, UsageError
from agent.events import ApprovalAsked, ProgressMade
from agent.execution.concurrency import Halted
from agent.execution.executor import utc_now
from agent.llm.usage import Meter, Meters, metered
from graphs.nodes.answer import ending, forget_calls
from graphs.nodes.look_up import looked_up, world_told
from graphs.nodes.planner import fresh, made_plan, taken_plan
from graphs.nodes.replanner import replanned_update
from graphs.nodes.rollback import rollback_update
from graphs.nodes.wave_dispatch import Next, begin_first_calls, command_for, recompiled
from graphs.run.approvals import answered, payload
from graphs.run.dispatch_board import Boards, Suspended
from graphs.run.early_execution import slots_of
from graphs.run.escalations import can_wait, impasse_in, impasse_shown, passed, settled
from graphs.run.graceful_stop import Control
from graphs.run.output_loading import with_all_outputs, with_outputs_to_ask, with_outputs_to_undo
from graphs.run.plan_history import lineage_update
from graphs.run.services import Context, Wiring
from graphs.run.snapshots import Recalls, snapshot_of
from graphs.run.state_updates import emitter, record, spent
from graphs.run.task_runner import meter_of, resumed_board, work_on
from graphs.state import State, TaskOrder, merge_results


class Nodes:
    """The nodes of one graph over its wiring."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._boards = Boards()
        self._recalls = Recalls()
        self._meters = Meters()

    async def gather_context(self, state: State, runtime: Runtime[Context]) -> dict[str, Any]:
        """Begin a run: forget what an earlier goal on this thread left, and ask the tools that give context."""
        goal, plan = (state.get("goal") or "").strip(), state.get("plan")
        if not goal and not plan:
            raise UsageError("The goal is empty; say in a sentence what is to be found out or done.")
        thread, revision = thread_of(state, runtime), (state.get("revision") or 0) + 1
        if revision > 1:
            # What was called for an earlier goal on this thread is called anew.
            await self._wiring.calls.forget(thread)
        context = ""
        if plan is None:
            emit = emitter(runtime)
            context = await world_told(self._wiring, runtime, thread=thread, revision=revision, emit=emit)
        return fresh(state, goal, given=plan is not None, context=context, revision=revision)

    async def planner(self, state: State, runtime: Runtime[Context]) -> dict[str, Any]:
        """Make a plan that compiles, or check the one that was given."""
        limits, emit, thread = self._limits(state, runtime), emitter(runtime), thread_of(state, runtime)
        recall = self._recalls.of(thread)
        if state.get("plan") is not None:
            return await taken_plan(state, self._wiring, limits=limits, recall=recall, emit=emit)
        meter = self._meter(state, runtime, limits)
        return await made_plan(
            state, self._wiring, runtime, limits=limits, meter=meter, thread=thread, recall=recall, emit=emit
        )

    async def look_up(self, state: State, runtime: Runtime[Context]) -> dict[str, Any]:
        """Put the planner's questions to their tools."""
        meter, thread = self._meter(state, runtime, self._limits(state, runtime)), thread_of(state, runtime)
        return await looked_up(state, self._wiring, runtime, meter=meter, thread=thread, emit=emitter(runtime))

    async def wave_dispatch(self, state: State, runtime: Runtime[Context]) -> Command[Next]:
        """Carry out the next move."""
        toolbox, emit = await self._wiring.ready_toolbox(), emitter(runtime)
        limits = self._limits(state, runtime)
        self._boards.drop(state.get("dispatch") or "")
        artifacts, thread = self._wiring.artifacts, thread_of(state, runtime)
        recall = self._recalls.of(thread)
        changed = await recompiled(
            state, toolbox, limits=limits, artifacts=artifacts, thread=thread, recall=recall, emit=emit
        )
        state = await with_outputs_to_ask(
            {**state, **changed},  # type: ignore[typeddict-item]  # a part of the same state
            toolbox,
            limits=limits,
            artifacts=artifacts,
            thread=thread,
            recall=recall,
        )
        granted = await self._wiring.grants.valid(state.get("approvals") or {})
        durations = await self._wiring.durations.known(frozenset(toolbox))
        snapshot = snapshot_of(
            state, toolbox, thread=thread, now=utc_now(), granted=granted, recall=recall, durations=durations
        )
        if snapshot.frontier is not None:
            emit(ProgressMade(progress=snapshot.frontier.progress()))
        move = next_move(snapshot, limits)
        slots = slots_of(runtime, self._wiring.settings_for(runtime.context))
        meter = self._meter(state, runtime, limits)
        command, board = command_for(
            move, state=state, snapshot=snapshot, recall=recall, slots=slots, meter=meter, thread=thread, emit=emit
        )
        update = {**changed, **lineage_update(state), **(command.update or {})}
        if "results" in changed:
            update["results"] = Overwrite(merge_results(changed["results"], [update.get("results", {})]))
            update["cut"] = Overwrite({})
        if board is not None:
            self._boards.put(update["dispatch"], board, run=runtime.control)
            await begin_first_calls(move, board, self._wiring, toolbox, runtime)
        return Command(goto=command.goto, update=update)

    async def tool_executor(self, order: TaskOrder, runtime: Runtime[Context]) -> dict[str, Any]:
        """Run one task as soon as its own needs are done, and record its outcome."""
        toolbox, settings = await self._wiring.ready_toolbox(), self._wiring.settings_for(runtime.context)
        task = order["task"]
        board = self._boards.get(order["dispatch"], run=runtime.control)
        if board is None:
            thread = runtime.execution_info.thread_id if runtime.execution_info else None
            made = partial(
                resumed_board,
                get_config(),
                toolbox,
                settings=settings,
                meters=self._meters,
                thread=thread or "",
                durations=self._wiring.durations,
                calls=self._wiring.calls,
            )
            board = await self._boards.taken_up(order["dispatch"], made, run=runtime.control)
        if isinstance(runtime.control, Control):
            runtime.control.let_go()
            runtime.control.watch(board.slots.halt)
        approved = board.approvals.get(task)
        await self._wiring.grants.take_over(task, approved, thread=board.thread, revision=board.revision)
        try:
            outcome = await board.settle(task, work_on(task, board, self._wiring, toolbox, runtime))
        except (Suspended, Halted) as stop:
            if isinstance(stop, Halted) and isinstance(runtime.control, Control):
                runtime.control.left_over = True
            raise GraphInterrupt(()) from None
        usage = {"usage": spent(used)} if (used := board.meter.take()) != Spending() else {}
        if outcome is None:
            return usage
        if isinstance(outcome, Exhausted):
            return {**usage, "cut": {task: outcome.model_dump()}}
        channel = "doubts" if isinstance(outcome, InDoubt) else "results"
        return {**usage, channel: {task: record(outcome)}}

    async def human_approval(self, state: State, runtime: Runtime[Context]) -> dict[str, Any]:
        """Stop until a person has answered every request, and record the answers."""
        toolbox = await self._wiring.ready_toolbox()
        limits, thread = self._limits(state, runtime), thread_of(state, runtime)
        impasse = impasse_in(state)
        snapshot = snapshot_of(state, toolbox, thread=thread, now=utc_now())
        if impasse is not None and passed(impasse, snapshot, limits):
            return {"impasse": None, "status": "running"}
        asked = payload(state, toolbox) if impasse is None else impasse_shown(impasse, state, thread=thread)
        emitter(runtime)(ApprovalAsked(request=asked))
        while True:
            answer = interrupt(asked)
            try:
                if impasse is not None:
                    return settled(answer, impasse, state, snapshot, limits=limits, thread=thread)
                granted, update = await answered(
                    answer, state, toolbox, limits=limits, artifacts=self._wiring.artifacts, thread=thread
                )
            except AnswerError as error:
                # Raising would keep the wrong answer in the checkpoint, to be given again at every resume.
                asked = {**asked, "error": str(error)}
            else:
                await self._wiring.grants.give(granted, thread=thread, revision=state["revision"])
                return update

    async def replanner(self, state: State, runtime: Runtime[Context]) -> dict[str, Any]:
        """Have the rest of the plan made anew, or end the run where that cannot be done."""
        toolbox, thread = await self._wiring.ready_toolbox(), thread_of(state, runtime)
        state = await with_all_outputs(state, artifacts=self._wiring.artifacts, thread=thread)
        snapshot = snapshot_of(state, toolbox, thread=thread, now=utc_now())
        limits = self._limits(state, runtime)
        meter = self._meter(state, runtime, limits)
        with metered(meter):
            update = await replanned_update(
                self._wiring, state, snapshot, toolbox, runtime.context, limits=limits, emit=emitter(runtime)
            )
        return {**update, "usage": spent(meter.take())}

    async def rollback(self, state: State, runtime: Runtime[Context]) -> dict[str, Any]:
        """Make the plan that undoes finished writes; it goes through the same dispatch, asked and checked."""
        toolbox, thread = await self._wiring.ready_toolbox(), thread_of(state, runtime)
        state = await with_outputs_to_undo(state, artifacts=self._wiring.artifacts, thread=thread)
        rows = await self._wiring.ledger.rows(thread)
        return await rollback_update(state, toolbox, limits=self._limits(state, runtime), ledger=rows)

    async def answer(self, state: State, runtime: Runtime[Context]) -> dict[str, Any]:
        """End the run: an outcome for every task, a status, and an answer that rests on the results."""
        toolbox, thread = await self._wiring.ready_toolbox(), thread_of(state, runtime)
        state = await with_all_outputs(state, artifacts=self._wiring.artifacts, thread=thread)
        snapshot = snapshot_of(state, toolbox, thread=thread, now=utc_now(), recall=self._recalls.of(thread))
        self._recalls.drop(thread)
        await self._wiring.durations.keep()
        await forget_calls(self._wiring, snapshot, thread)
        meter = self._meter(state, runtime, self._limits(state, runtime))
        return await ending(self._wiring, state, snapshot, runtime.context, meter=meter, emit=emitter(runtime))

    def _limits(self, state: State, runtime: Runtime[Context]) -> Limits:
        given, attended = bool(state.get("given")), can_wait(get_config())
        found = self._wiring.limits_for(runtime.context, given=given, attended=attended)
        return with_raised(found, state.get("raised") or {})

    def _meter(self, state: State, runtime: Runtime[Context], limits: Limits) -> Meter:
        return meter_of(self._meters, state, limits, settings=self._wiring.settings_for(runtime.context))


def thread_of(state: State, runtime: Runtime[Context]) -> str:
    """Return the thread's id; a run without a checkpointer has none and goes by its own."""
    return (runtime.execution_info.thread_id if runtime.execution_info else None) or state.get("run") or ""
