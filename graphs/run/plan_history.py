"""The plans of a run in order, kept for provenance."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from agent.core.engine.call_preparation import PlanDiff, diff_plans
from agent.core.engine.outcomes import Outcome
from agent.core.plan.document import Plan
from agent.core.plan.hashing import hash_json
from agent.core.provenance.lineage import Author, PlanVersion, Provenance
from agent.execution.executor import utc_now
from agent.llm.replies import Usage
from agent.planning.draft_review import Confidence
from agent.programs.matching import ProgramMatch
from graphs.state import State, StateRecord, parse_stored_plan


def record_plan_author(
    model: str,
    plan: Mapping[str, Any],
    usage: Usage,
    *,
    doubt: str = "",
    confidence: Confidence | None = None,
    question: str = "",
) -> dict[str, Any]:
    """Return the update that records which model wrote the plan in the update `plan`, and how sure it is.

    `question` is what the plan may not run without an answer to.
    """
    spent = usage.model_dump(exclude_none=True)
    rated = None if confidence is None else confidence.model_dump()
    author = {"compiled": plan["checked_plan_digest"], "model": model, "usage": spent, "doubt": doubt}
    if question:
        author["question"] = question
    return {"plan_author": {**author, "confidence": rated}, "confidence": rated}


def record_program(match: ProgramMatch, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the update that records which program the plan in the update `plan` is, and with which inputs."""
    program = {"name": match.program.name, "version": match.program.version, "inputs": dict(match.values)}
    author = {"compiled": plan["checked_plan_digest"], "author": "program", "model": match.program.label}
    return {"plan_author": {**author, "program": program}}


def get_used_program(values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the name, version and inputs of the program that the state's plan is; None if it is none."""
    author = values.get("plan_author") or {}
    return author.get("program") if author.get("compiled") == values.get("checked_plan_digest") else None


def get_planner_doubt(state: State) -> str:
    """Return why the planner is not sure of the state's plan; "" if it is, or if a human has confirmed the plan."""
    author = state.get("plan_author") or {}
    is_current = author.get("compiled") == state.get("checked_plan_digest")
    return str(author.get("doubt") or "") if is_current and not author.get("confirmed") else ""


def get_planner_question(state: State) -> str:
    """Return what is to be asked before the plan runs; "" if nothing is, or if a human has confirmed the plan."""
    author = state.get("plan_author") or {}
    is_current = author.get("compiled") == state.get("checked_plan_digest")
    return str(author.get("question") or "") if is_current and not author.get("confirmed") else ""


def get_plan_confidence(state: State) -> dict[str, Any] | None:
    """Return how sure the state's plan is; None if a small model did not write it as it is now."""
    author = state.get("plan_author") or {}
    return author.get("confidence") if author.get("compiled") == state.get("checked_plan_digest") else None


def update_plan_history(state: State) -> dict[str, Any]:
    """Return the update that adds the state's plans, also that of a rollback, to the history if they are new.

    Done at the dispatch, because every plan comes there, whoever changed it and in whatever way.
    """
    if state.get("problems"):
        return {}
    known, undo = list(state.get("plan_history") or ()), state.get("rollback_plan")
    added = [
        _build_entry(state, document, mark, author=author)
        for document, mark, author in (
            (state.get("plan"), state.get("checked_plan_digest"), _determine_author(state)),
            (undo, hash_json(undo) if undo else None, "rollback"),
        )
        if document and mark and mark != _find_last_digest(known, undo=author == "rollback")
    ]
    return {"plan_history": [*known, *added]} if added else {}


def diff_last_plan(state: State, plan: Plan) -> PlanDiff | None:
    """Return how `plan` differs from the last one of the run; None if it is the first."""
    plans = _list_plan_entries(state)
    return diff_plans(parse_stored_plan(plans[-1]["plan"]), plan) if plans else None


def list_plan_changes(values: Mapping[str, Any]) -> list[StateRecord]:
    """Return for each plan of a run but the first how it differs from the one before, and who wrote it when."""
    return [
        {
            **{name: after[name] for name in ("revision", "author", "model", "at")},
            "difference": diff_plans(parse_stored_plan(before["plan"]), parse_stored_plan(after["plan"])).model_dump(
                mode="json"
            ),
        }
        for before, after in pairwise(_list_plan_entries(values))
    ]


def _list_plan_entries(values: Mapping[str, Any]) -> list[StateRecord]:
    return [entry for entry in values.get("plan_history") or () if entry["author"] != "rollback"]


def provenance_of(values: Mapping[str, Any], outcomes: Mapping[str, Outcome]) -> Provenance:
    """Return the provenance of a run's results; the outputs of `outcomes` must be loaded."""
    versions = [
        PlanVersion(
            plan=parse_stored_plan(entry["plan"]),
            **{name: entry.get(name) for name in PlanVersion.model_fields if name != "plan"},
        )
        for entry in values.get("plan_history") or ()
    ]
    return Provenance(
        goal=values.get("goal") or "", versions=versions, outcomes=outcomes, answer=values.get("answer") or ""
    )


def _find_last_digest(entries: list[StateRecord], *, undo: bool) -> str | None:
    marks = [entry["mark"] for entry in entries if (entry["author"] == "rollback") is undo]
    return marks[-1] if marks else None


def _determine_author(state: State) -> Author:
    written = state.get("plan_author")
    if written is not None and written["compiled"] == state.get("checked_plan_digest"):
        return "program" if written.get("author") == "program" else "model"
    return "user" if state.get("plan_was_given") and not state.get("plan_history") else "person"


def _build_entry(state: State, document: StateRecord, mark: str, *, author: str) -> StateRecord:
    written = (state.get("plan_author") or {}) if author in {"model", "program"} else {}
    return {
        "revision": state.get("revision") or 1,
        "author": author,
        "model": written.get("model"),
        "usage": written.get("usage"),
        "at": utc_now().isoformat(),
        "mark": mark,
        "plan": document,
    }
