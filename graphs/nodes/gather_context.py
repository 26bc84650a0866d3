"""`gather_context`: clears what an earlier goal left, looks into the library, and asks the tools that give context."""

from dataclasses import replace

from langgraph.types import Overwrite

from agent.errors import UsageError
from agent.execution.executor import utc_now
from agent.execution.ledger import create_run_id, is_run_id
from agent.telemetry import describe_goal
from graphs.messages import render_conversation
from graphs.nodes.program_lookup import ask_context_tools, look_up_program
from graphs.run.node_context import NodeContext, build_scope
from graphs.state import Output, State, StateRecord

#: A run returns these whether anything was written to them or not.
_OUTPUT_KEYS = frozenset(Output.__annotations__)


async def gather_context(state: State, context: NodeContext) -> StateRecord:
    """Begin a run: clear what an earlier goal left; take a program of the library, or ask the context tools."""
    goal, plan = (state.get("goal") or "").strip(), state.get("plan")
    if not goal and not plan:
        raise UsageError("The goal is empty; say in a sentence what is to be found out or done.")
    describe_goal(goal)
    revision = (state.get("revision") or 0) + 1
    run_id = state.get("run_id") or ""
    if not is_run_id(run_id):
        # Not begun by an input.
        run_id = create_run_id()
        context = replace(context, thread=build_scope(context.runtime, run_id))
    program = await look_up_program(goal, context, revision=revision) if plan is None else None
    # A plan that is there needs no context.
    texts = [await ask_context_tools(context, revision=revision)] if plan is None and program is None else []
    texts.append(render_conversation(state.get("messages") or ()))
    text = "\n\n".join(filter(None, texts))
    begun = reset_state(state, goal, run_id=run_id, given=plan is not None, context=text, revision=revision)
    return {**begun, **(program or {})}


def reset_state(state: State, goal: str, *, run_id: str, given: bool, context: str, revision: int) -> StateRecord:
    """Return the update that brings `state` to the beginning of a run; `given`: its plan came with the input.

    Fields that are empty already are left alone, except those that a run returns: each that is ever written costs
    every superstep of the thread some 15 microseconds.
    """
    empty = {
        name: value
        for name, value in _build_empty_fields().items()
        if state.get(name) or (name in _OUTPUT_KEYS and not isinstance(value, Overwrite))
    }
    return {
        **empty,
        "run_id": run_id,
        "goal": goal,
        "status": "running",
        "plan_was_given": given,
        "revision": revision,
        "planning_context": context,
        "started_at": utc_now().isoformat(),
    }


def _build_empty_fields() -> StateRecord:
    """Return every field in which an earlier goal may have left a value, with its empty value."""
    return {
        "answer": "",
        "problems": [],
        "warnings": [],
        "plan_warnings": {},
        "results": Overwrite({}),
        "program": None,
        "checked_plan_digest": None,
        "replans": 0,
        "context_requests": [],
        "context_rounds": 0,
        "approvals": {},
        "calls_in_doubt": Overwrite({}),
        "resolved_doubts": {},
        "rejected_calls": [],
        "pending_approvals": [],
        "target_tasks": [],
        "waived_tasks": [],
        "replanned_failures": [],
        "dead_end_reason": None,
        "clarification_question": None,
        "clarification_count": 0,
        "guidance": [],
        "replan_requested": False,
        "escalation": None,
        "escalation_count": 0,
        "out_of_budget_tasks": Overwrite({}),
        "raised_budgets": {},
        "partial_result_accepted": False,
        "budget": None,
        "model_failure": None,
        "ended_at": None,
        "budget_ended_tasks": [],
        "replan_history": [],
        "plan_changes": None,
        "termination": None,
        "rollback_plan": None,
        "rollback": None,
        "usage": Overwrite({}),
        "plan_history": [],
        "plan_author": None,
        "confidence": None,
    }
