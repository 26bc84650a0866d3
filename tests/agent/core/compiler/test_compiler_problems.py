"""Every problem that the compiler finds, a row each: kind, place, and part of the sentence with its remedy."""

import pytest

from agent.core.compiler.compiler import compile_plan
from agent.core.plan.document import Task
from agent.core.plan.limits import Limits
from tests.support.plans import CATALOGUE, arguments, compiled_of, finding, plan_of, problems_of, ref, tool

FETCH = {"id": "a", "tool": "fetch", "args": {"sql": "select"}}
FREE = {"id": "a", "tool": "free"}


def take(**args):
    return {"id": "b", "tool": "take", "args": args}


def after(*needs, task="b", **more):
    return {"id": task, "tool": "free", "depends_on": list(needs), **more}


DUPLICATE = "Task 'a': 2 tasks have the id 'a'. Give each task an id of its own."
CHAIN = "these tasks wait for each other in a cycle: {}. Drop one of these dependencies."

ROWS = {
    "duplicate id": ([FREE, FREE], "duplicate_id", "task 'a'", DUPLICATE),
    "unknown tool, one is close": (
        [{"id": "a", "tool": "fetsh"}],
        "unknown_tool",
        "task 'a'",
        "there is no tool 'fetsh'. Did you mean 'fetch'?",
    ),
    "unknown tool, none is close": (
        [{"id": "a", "tool": "zzz"}],
        "unknown_tool",
        "task 'a'",
        "there is no tool 'zzz'. The tools are 'fetch', 'free', 'need', 'take', 'write'.",
    ),
    "missing argument": (
        [{"id": "a", "tool": "need"}],
        "missing_argument",
        "task 'a', args",
        "the tool 'need' needs 'key'. Give 'key': the key to look under.",
    ),
    "missing argument, nested": (
        [take(nested={"list": [{"deep": 1}, {}]})],
        "missing_argument",
        "task 'b', args.nested.list[1]",
        "the tool 'take' needs 'deep'. Give 'deep'.",
    ),
    "extra argument": (
        [take(txet="x")],
        "extra_argument",
        "task 'b', args.txet",
        "the tool 'take' takes no argument 'txet'. Did you mean 'text'?",
    ),
    "extra argument, nothing is close": (
        [{"id": "a", "tool": "need", "args": {"key": "k", "zzz": 1}}],
        "extra_argument",
        "task 'a', args.zzz",
        "takes no argument 'zzz'. It takes 'key'.",
    ),
    "extra argument, nested": (
        [take(nested={"lists": []})],
        "extra_argument",
        "task 'b', args.nested",
        "('lists' was unexpected). It takes 'list'.",
    ),
    "wrong type": (
        [take(number="5")],
        "wrong_type",
        "task 'b', args.number",
        "'5' is not of type 'number'. 'take' expects a number here.",
    ),
    "wrong type, nested": (
        [take(nested={"list": [{"deep": 1}, {"deep": 1.5}]})],
        "wrong_type",
        "task 'b', args.nested.list[1].deep",
        "1.5 is not of type 'integer'. 'take' expects a whole number here.",
    ),
    "wrong choice": (
        [take(choice="max")],
        "wrong_type",
        "task 'b', args.choice",
        "'max' is not one of ['sum', 'mean']",
    ),
    "wrong type beside a reference": (
        [FETCH, take(text=ref("a", "rows", 0, "name"), texts=["x", 1])],
        "wrong_type",
        "task 'b', args.texts[1]",
        "1 is not of type 'string'",
    ),
    "unknown reference": (
        [{"id": "orders", "tool": "free"}, take(text=ref("ordres"))],
        "unknown_reference",
        "task 'b'",
        "it refers to a task 'ordres', which is not in the plan. Did you mean 'orders'?",
    ),
    "unknown dependency": (
        [FREE, after("zzzz")],
        "unknown_reference",
        "task 'b'",
        "'zzzz', which is not in the plan. Refer to a task of this plan.",
    ),
    "unknown reference in a template": (
        [FREE, take(text={"template": "{x}", "values": {"x": ref("zzzz")}})],
        "unknown_reference",
        "task 'b'",
        "'zzzz', which is not in the plan.",
    ),
    "later reference": (
        [take(text=ref("z")), {"id": "z", "tool": "free"}],
        "later_reference",
        "task 'b'",
        "it uses 'z', which is listed later. List 'z' before 'b'.",
    ),
    "self-dependency by depends_on": (
        [FREE, after("b")],
        "self_dependency",
        "task 'b'",
        "'b' depends on itself. Refer to another task, or drop the reference.",
    ),
    "self-dependency by reference": ([take(text=ref("b"))], "self_dependency", "task 'b'", "'b' depends on itself."),
    "cycle": (
        [after("c", task="a"), after("a", task="b"), after("b", task="c")],
        "cycle",
        "task 'a'",
        CHAIN.format("a -> c -> b -> a"),
    ),
    "cycle closed through a condition": (
        [after(task="a", condition="b.n > 0"), after("a", task="b")],
        "cycle",
        "task 'a'",
        CHAIN.format("a -> b -> a"),
    ),
    "cycle closed through for_each": (
        [after(task="a", for_each=ref("b")), after("a", task="b")],
        "cycle",
        "task 'a'",
        CHAIN.format("a -> b -> a"),
    ),
    "unknown path": (
        [FETCH, take(text=ref("a", "rws"))],
        "unknown_path",
        "task 'b', args.text",
        "the output of 'a' at ['rws'] has no 'rws'; it has 'rows', 'row_count', 'best'. Use a path that exists.",
    ),
    "unknown path, nested behind $ref": (
        [FETCH, take(text=ref("a", "rows", 0, "nmae"))],
        "unknown_path",
        "task 'b', args.text",
        "has no 'nmae'; it has 'name', 'total'",
    ),
    "unknown path through two $ref": (
        [FETCH, take(text=ref("a", "rows", 0, "owner", "phone"))],
        "unknown_path",
        "task 'b', args.text",
        "has no 'phone'; it has 'email'.",
    ),
    "unknown path behind *": (
        [FETCH, take(texts=ref("a", "rows", "*", "nmae"))],
        "unknown_path",
        "task 'b', args.texts",
        "has no 'nmae'",
    ),
    "unknown path through anyOf": (
        [FETCH, take(text=ref("a", "best", "nmae"))],
        "unknown_path",
        "task 'b', args.text",
        "has no 'nmae'",
    ),
    "path goes on below a text": (
        [FETCH, take(text=ref("a", "rows", 0, "name", "first"))],
        "unknown_path",
        "task 'b', args.text",
        "is a text, which has no 'first'",
    ),
    "path counts into an object": (
        [FETCH, take(text=ref("a", 0))],
        "unknown_path",
        "task 'b', args.text",
        "is an object, which has no item 0",
    ),
    "path names a key of a list": (
        [FETCH, take(text=ref("a", "rows", "name"))],
        "unknown_path",
        "task 'b', args.text",
        "is a list, which has no 'name'",
    ),
    "unknown path in a template": (
        [FETCH, take(text={"template": "{x}", "values": {"x": ref("a", "rws")}})],
        "unknown_path",
        "task 'b', args.text.values.x",
        "has no 'rws'",
    ),
    "unknown path of the item, behind $ref": (
        [FETCH, {**take(text={"item": ["nmae"]}), "for_each": ref("a", "rows")}],
        "unknown_path",
        "task 'b', args.text",
        "the item has no 'nmae'",
    ),
    "unknown path in for_each": (
        [FETCH, {**take(), "for_each": ref("a", "rws")}],
        "unknown_path",
        "task 'b', for_each",
        "has no 'rws'",
    ),
    "path into the list that for_each makes": (
        [FETCH, {**FETCH, "id": "each", "for_each": ref("a", "rows")}, take(whole=ref("each", "row_count"))],
        "unknown_path",
        "task 'b', args.whole",
        "is a list, which has no 'row_count'",
    ),
    "text into a number": (
        [FETCH, take(number=ref("a", "rows", 0, "name"))],
        "type_mismatch",
        "task 'b', args.number",
        "the output of 'a' at ['rows', 0, 'name'] gives a text where a number is expected. Refer to another part",
    ),
    "text or null into a number": (
        [FETCH, take(number=ref("a", "rows", 0, "note"))],
        "type_mismatch",
        "task 'b', args.number",
        "gives a text or null where a number is expected",
    ),
    "list of numbers into a list of texts": (
        [FETCH, take(texts=ref("a", "rows", "*", "total"))],
        "type_mismatch",
        "task 'b', args.texts",
        "gives a number where a text is expected in its items",
    ),
    "object without what is expected": (
        [FETCH, take(row=ref("a", "rows", 0, "owner"))],
        "type_mismatch",
        "task 'b', args.row",
        "has no 'total', which is required",
    ),
    "reference below a nested argument": (
        [FETCH, take(nested={"list": [{"deep": ref("a", "rows")}]})],
        "type_mismatch",
        "task 'b', args.nested.list[0].deep",
        "gives a list where a whole number is expected",
    ),
    "item of the wrong type": (
        [FETCH, {**take(number={"item": ["name"]}), "for_each": ref("a", "rows")}],
        "type_mismatch",
        "task 'b', args.number",
        "the item gives a text where a number is expected",
    ),
    "template into a number": (
        [take(number={"template": "{n}", "values": {"n": 5}})],
        "type_mismatch",
        "task 'b', args.number",
        "a template gives a text where a number is expected",
    ),
    "reference of a wrong shape": (
        [FREE, take(text={"output_of": "a", "paht": []})],
        "malformed",
        "task 'b', args.text",
        "this reference has more than 'output_of' and 'path': 'paht'. Write {\"output_of\": id, \"path\": [...]}.",
    ),
    "template without a value": (
        [take(text={"template": "{n} of {m}", "values": {"n": 1}})],
        "malformed",
        "task 'b', args.text",
        "this template has no value for 'm'.",
    ),
    "item outside for_each": (
        [take(text={"item": []})],
        "bad_for_each",
        "task 'b', args.text",
        "an 'item' reference is used in a task without 'for_each'. Add 'for_each'",
    ),
    "what items do, without for_each": (
        [FREE, after(on_item_failure="skip")],
        "bad_for_each",
        "task 'b', on_item_failure",
        "'on_item_failure' is about the items of a 'for_each', and the task has none. Add 'for_each', or drop",
    ),
    "a bound on items, without for_each": (
        [FREE, after(max_concurrency=2)],
        "bad_for_each",
        "task 'b', max_concurrency",
        "'max_concurrency' is about the items of a 'for_each', and the task has none.",
    ),
    "null in the place of items that failed": (
        [
            FETCH,
            {**FETCH, "id": "each", "for_each": ref("a", "rows"), "on_item_failure": "null"},
            take(text=ref("each", 0)),
        ],
        "type_mismatch",
        "task 'b', args.text",
        "the output of 'each' at [0] ",
    ),
    "for_each over no list": (
        [FETCH, {**take(), "for_each": ref("a", "row_count")}],
        "bad_for_each",
        "task 'b', for_each",
        "the output of 'a' is not a list at ['row_count']. Refer to a list.",
    ),
    "for_each is no reference": (
        [{**take(), "for_each": {"in": [1, 2]}}],
        "bad_for_each",
        "task 'b', for_each",
        "{'in': [1, 2]} is neither a reference nor a list. Write {\"output_of\"",
    ),
    "condition does not parse": (
        [FREE, after(condition="a.n >")],
        "bad_condition",
        "task 'b', condition",
        "'a.n >' does not parse: ",
    ),
    "condition is too long": (
        [FREE, after(condition="1+" * 20_000 + "a")],
        "bad_condition",
        "task 'b', condition",
        "it has 40001 characters and 2000 are allowed. Write a CEL expression over earlier tasks",
    ),
    "condition names nothing": (
        [FREE, after(condition="1 > 0")],
        "bad_condition",
        "task 'b', condition",
        "'1 > 0' uses no task, so its result is always the same.",
    ),
    "condition names an unknown task": (
        [{"id": "orders", "tool": "free"}, after(condition="ordres.n > 0")],
        "unknown_reference",
        "task 'b'",
        "it refers to a task 'ordres', which is not in the plan. Did you mean 'orders'?",
    ),
    "condition names an unknown task by key": (
        [FREE, after(condition='outputs["x-1"].n > 0')],
        "unknown_reference",
        "task 'b'",
        "'x-1', which is not in the plan.",
    ),
    "timeout out of bounds": (
        [{**FREE, "timeout_s": 4000}],
        "out_of_bounds",
        "task 'a', timeout_s",
        "4000.0 is more than the 3600 that the settings allow. Give at most 3600.",
    ),
    "retries out of bounds": (
        [{**FREE, "max_retries": 10**300}],
        "out_of_bounds",
        "task 'a', max_retries",
        "is more than the 5 that the settings allow. Give at most 5.",
    ),
    "rollback by an unknown tool": (
        [{**FREE, "rollback": {"tool": "wirte"}}],
        "unknown_tool",
        "task 'a', rollback",
        "there is no tool 'wirte'. Did you mean 'write'?",
    ),
    "rollback without an argument": (
        [{**FREE, "rollback": {"tool": "need"}}],
        "missing_argument",
        "task 'a', rollback.args",
        "needs 'key'",
    ),
    "rollback refers to a task that is not in the plan": (
        [{**FREE, "rollback": {"tool": "free", "args": {"x": ref("zzz")}}}],
        "bad_rollback",
        "task 'a', rollback.args.x",
        "it refers to 'zzz', which 'a' does not wait for. Refer to 'a' or to a task that it waits for.",
    ),
    "rollback refers to a task that may not be done": (
        [{"id": "z", "tool": "free"}, {**FREE, "rollback": {"tool": "free", "args": {"x": ref("z")}}}],
        "bad_rollback",
        "task 'a', rollback.args.x",
        "it refers to 'z', which 'a' does not wait for.",
    ),
    "rollback refers to an item": (
        [FREE, {**after("a"), "rollback": {"tool": "free", "args": {"x": {"item": []}}}}],
        "bad_rollback",
        "task 'b', rollback.args.x",
        "an 'item' reference is used in the rollback of a task without 'for_each'",
    ),
    "rollback with an output of the wrong type": (
        [{**FETCH, "rollback": {"tool": "take", "args": {"text": ref("a", "row_count")}}}],
        "type_mismatch",
        "task 'a', rollback.args.text",
        "gives a whole number where a text is expected",
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_one_problem(row):
    tasks, kind, place, sentence = row
    (found,) = [problem for problem in problems_of(*tasks) if problem.kind == kind]
    assert found.place == place
    assert sentence in str(found)
    assert found.remedy
    assert found.task is not None
    # What follows from the same mistake may be reported beside it, but nothing that has nothing to do with it.
    others = {problem.kind for problem in problems_of(*tasks)} - {kind}
    assert others <= {"cycle": {"later_reference"}}.get(kind, set())


def test_too_many_tasks():
    tasks = [{"id": f"t{number}", "tool": "free"} for number in range(4)]
    (found,) = problems_of(*tasks, limits=Limits(max_tasks=3))
    assert (found.kind, found.place) == ("too_many_tasks", "plan")
    assert str(found).startswith("Plan: it has 4 tasks and 3 are allowed. Combine tasks")


def test_no_tasks():
    (found,) = problems_of()
    assert (found.kind, found.remedy) == ("empty_plan", "Give at least one task.")


def test_used_id():
    (found,) = problems_of({**FREE, "args": {"x": 1}}, used={"a": Task(id="a", tool="free"), "aa": None})
    assert (found.kind, found.place) == ("used_id", "task 'a'")
    assert found.remedy == "Give the new task an id of its own, such as 'ab'."


def test_the_same_work_may_keep_its_id_and_new_prose():
    assert problems_of({**FREE, "description": "again"}, used={"a": Task(id="a", tool="free")}) == ()
    assert [problem.kind for problem in problems_of(FREE, used={"a": None})] == ["used_id"]


def test_preflight_findings_are_problems():
    (found,) = problems_of(FETCH, findings={"a": finding("there is no table 'x'.")})
    assert (found.kind, found.place, found.task) == ("preflight", "task 'a', args", "a")
    assert str(found) == "Task 'a', args: there is no table 'x'."


def test_an_output_schema_found_by_preflight_takes_the_place_of_the_tools_own():
    narrow = {"type": "object", "properties": {"rows": {"type": "array", "items": arguments(n={"type": "integer"})}}}
    tasks = FETCH, take(text=ref("a", "rows", 0, "name"))
    assert problems_of(*tasks) == ()
    (found,) = problems_of(*tasks, findings={"a": finding(output_schema=narrow)})
    assert (found.kind, found.place) == ("unknown_path", "task 'b', args.text")


def test_sequential_plans_wait_in_listed_order():
    tasks = after("b", task="a"), after(task="b")
    assert problems_of(*tasks) == ()
    kinds = {problem.kind for problem in problems_of(*tasks, execution_mode="sequential")}
    assert kinds == {"later_reference", "cycle"}


def test_every_problem_at_once():
    found = problems_of(
        FREE,
        FREE,
        {"id": "no_tool", "tool": "nothing_like_it"},
        {"id": "args", "tool": "take", "args": {"number": "x", "extra": 1, "text": ref("nowhere")}},
        {"id": "missing", "tool": "need", "condition": "1 >", "timeout_s": 1e9, "depends_on": ["missing"]},
        {"id": "rows", "tool": "fetch"},
        {"id": "path", "tool": "take", "args": {"text": ref("rows", "nope"), "whole": ref("rows", "rows")}},
        {"id": "x", "tool": "free", "depends_on": ["y"]},
        {"id": "y", "tool": "free", "depends_on": ["x"]},
        {"id": "v", "tool": "free", "depends_on": ["w"]},
        {"id": "w", "tool": "free", "depends_on": ["v"]},
        findings={"rows": finding("one.", "two.")},
    )
    assert sorted(problem.kind for problem in found) == [
        "bad_condition",
        "cycle",
        "cycle",
        "duplicate_id",
        "extra_argument",
        "missing_argument",
        "out_of_bounds",
        "preflight",
        "preflight",
        "self_dependency",
        "type_mismatch",
        "unknown_path",
        "unknown_reference",
        "unknown_tool",
        "wrong_type",
    ]
    assert len(set(found)) == len(found)


def test_of_a_great_many_problems_the_first_are_listed():
    found = problems_of(*({"id": f"t{number}", "tool": "gone", "depends_on": ["nowhere"]} for number in range(5_000)))
    assert len(found) == 201
    assert found[-1].kind == "further_problems"


ACCEPTED = {
    "every reference fits": [
        FETCH,
        take(
            text=ref("a", "rows", -1, "name"),
            number=ref("a", "row_count"),
            texts=ref("a", "rows", "*", "name"),
            row=ref("a", "rows", 0),
            nested={"list": [{"deep": ref("a", "row_count")}]},
        ),
    ],
    "a number may be whole": [FETCH, take(whole=ref("a", "rows", 0, "total"))],
    "a text that may be null": [FETCH, take(text=ref("a", "rows", 0, "note"))],
    "an output of which nothing is known": [FREE, take(texts=ref("a", "x", 0, "*", "y"), whole=ref("a"))],
    "an earlier dependency listed later": [after("z", task="a"), after(task="z")],
    "a template of anything": [FETCH, take(text={"template": "{x}", "values": {"x": ref("a", "rows")}})],
    "items": [FETCH, {**take(text={"item": ["name"]}, texts={"item": ["tags"]}), "for_each": ref("a", "rows")}],
    "items behind *": [FETCH, {**take(text={"item": []}), "for_each": ref("a", "rows", "*", "name")}],
    "the list that for_each makes": [
        FETCH,
        {**FETCH, "id": "each", "for_each": ref("a", "rows")},
        take(whole=ref("each", 0, "row_count")),
    ],
    "a list with null in the place of items that failed": [
        FETCH,
        {**FETCH, "id": "each", "for_each": ref("a", "rows"), "on_item_failure": "null", "max_concurrency": 2},
        take(whole=ref("each", 0, "row_count")),
    ],
    "a condition with a macro": [FETCH, after(condition="a.rows.exists(r, r.total > 1.0) && size(a.rows) > 0")],
    "a condition by key": [{"id": "a-1", "tool": "free"}, after(condition="outputs['a-1'].n > 0")],
    "a rollback with the task's own output": [
        FETCH,
        {**take(text="x"), "depends_on": ["a"], "rollback": {"tool": "take", "args": {"text": ref("b")}}},
        {**after("b", task="c"), "rollback": {"tool": "take", "args": {"number": ref("a", "row_count")}}},
    ],
    "a rollback for each item, with what that item gave": [
        FETCH,
        {
            **FETCH,
            "id": "each",
            "for_each": ref("a", "rows"),
            "rollback": {"tool": "take", "args": {"whole": ref("each", "row_count"), "number": {"item": ["total"]}}},
        },
    ],
}


@pytest.mark.parametrize("tasks", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_nothing_is_wrong(tasks):
    assert [str(problem) for problem in problems_of(*tasks)] == []


@pytest.mark.parametrize("args", [{"item": ["a"]}, {"template": "{x}", "values": {"x": 1}}, {"output_of": "x"}])
def test_arguments_may_have_the_names_of_references(args):
    catalogue = {"t": tool("t", arguments(**{name: {} for name in args}))}
    compiled = compiled_of({"id": "a", "tool": "t", "args": args}, catalogue=catalogue)
    assert compiled.needs == {"a": ()}


def test_a_compiled_plan_knows_what_follows_from_it():
    compiled = compiled_of(after("z", task="a"), after(task="z"), after("a", task="c"))
    assert compiled.order == ("z", "a", "c")
    assert compiled.ranks == {"z": 3.0, "a": 2.0, "c": 1.0}
    assert compiled.get_spec("a") is CATALOGUE["free"]


def test_an_empty_catalogue():
    (found,) = compile_plan(plan_of(FREE), {}, limits=Limits())
    assert found.remedy == "There are no tools at all."
