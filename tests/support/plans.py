"""Small catalogues and plans to try the core with."""

from agent.core.compiler.compiler import CompiledPlan, compile_plan
from agent.core.plan.document import Plan
from agent.core.plan.limits import Limits
from agent.core.plan.parser import parse_plan
from agent.core.plan.tool_spec import Policy, Preflight, ToolSpec

ROW = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "total": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "owner": {"$ref": "#/$defs/Owner"},
    },
    "required": ["name", "total"],
}
#: Rows whose shape lies behind `$ref`, as pydantic writes it.
ROWS = {
    "type": "object",
    "properties": {
        "rows": {"type": "array", "items": {"$ref": "#/$defs/Row"}},
        "row_count": {"type": "integer"},
        "best": {"anyOf": [{"$ref": "#/$defs/Row"}, {"type": "null"}]},
    },
    "$defs": {"Row": ROW, "Owner": {"type": "object", "properties": {"email": {"type": "string"}}}},
}
READ = Policy(read_only=True, destructive=False, idempotent=True)


def arguments(required=(), **properties):
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def tool(name, args=None, *, output=None, policy=READ):
    return ToolSpec(name=name, args_schema=args or arguments(), output_schema=output, policy=policy)


#: `fetch` gives rows, `free` an output of which nothing is known, `take` wants one thing of each type.
CATALOGUE = {
    spec.name: spec
    for spec in (
        tool("fetch", arguments(sql={"type": "string"}), output=ROWS),
        tool("free", {"type": "object", "properties": {}, "additionalProperties": True}),
        tool(
            "take",
            arguments(
                text={"type": "string"},
                number={"type": "number"},
                whole={"type": "integer"},
                texts={"type": "array", "items": {"type": "string"}},
                row={"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]},
                choice={"enum": ["sum", "mean"]},
                nested={
                    "type": "object",
                    "properties": {"list": {"type": "array", "items": arguments(["deep"], deep={"type": "integer"})}},
                    "additionalProperties": False,
                },
            ),
            output={"type": "string"},
        ),
        tool("need", arguments(["key"], key={"type": "string", "description": "the key to look under."})),
        tool("write", arguments(text={"type": "string"}), output={"type": "string"}, policy=Policy()),
    )
}


def plan_of(*tasks, **plan) -> Plan:
    found = parse_plan({"tasks": list(tasks), **plan})
    assert isinstance(found, Plan), [str(problem) for problem in found]
    return found


def problems_of(*tasks, limits=None, findings=None, used=None, **plan):
    found = compile_plan(plan_of(*tasks, **plan), CATALOGUE, limits=limits or Limits(), findings=findings, used=used)
    return () if isinstance(found, CompiledPlan) else found


def compiled_of(*tasks, catalogue=None, limits=None, **plan) -> CompiledPlan:
    found = compile_plan(plan_of(*tasks, **plan), catalogue or CATALOGUE, limits=limits or Limits())
    assert isinstance(found, CompiledPlan), [str(problem) for problem in found]
    return found


def ref(task, *path):
    return {"output_of": task, "path": list(path)}


def finding(*problems, **preflight):
    return Preflight(problems=problems, **preflight)
