"""Plans with inputs: planned once, run with other values each time, without a model."""

import json

import pytest
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.core.plan.document import Plan
from agent.errors import UsageError
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.openai_endpoint import Endpoint
from tests.support.worlds import APPROVE, World, ref, thread

GOAL = "Look and write"


def use(name, *path):
    return {"input": name, "path": list(path)} if path else {"input": name}


#: `who` in a condition, a `for_each`, arguments, a template and a rollback.
PROGRAM = {
    "inputs": {
        "who": {"type": "array", "items": {"type": "string"}},
        "box": {"type": "object", "properties": {"size": {"type": "integer"}}, "default": {"size": 3}},
    },
    "tasks": [
        {"id": "a", "tool": "look", "args": {"value": use("box", "size")}},
        {
            "id": "b",
            "tool": "look",
            "args": {"value": {"item": []}},
            "for_each": use("who"),
            "condition": "inputs.box.size > 1 && a.value == inputs.box.size && size(inputs.who) > 0",
        },
        {
            "id": "w",
            "tool": "write",
            "args": {"value": {"template": "{first} of {all}", "values": {"first": use("who", 0), "all": ref("b")}}},
            "rollback": {"tool": "erase", "args": {"value": use("who", 0)}},
        },
    ],
}


def graph_of(world, **settings):
    return build_graph(
        tools=world.tools(), settings=Settings(**{"approve": "never", **settings}), checkpointer=InMemorySaver()
    )


def run(world, inputs, program=PROGRAM, graph=None, name="t"):
    return (graph or graph_of(world)).invoke({"goal": GOAL, "plan": program, "inputs": inputs}, thread(name))


def test_values_stand_wherever_the_plan_refers_to_them():
    world = World()
    out = run(world, {"who": ["ann", "bob"]})
    assert out["status"] == "completed"
    assert world.log == [
        ("look", 3),
        ("look", "ann"),
        ("look", "bob"),
        ("write", 'ann of [{"value": "ann"}, {"value": "bob"}]'),
    ]
    assert out["plan"]["input_values"] == {"who": ["ann", "bob"], "box": {"size": 3}}


def test_other_values_are_another_run_of_the_same_program():
    world = World()
    graph = graph_of(world)
    first = run(world, {"who": ["ann"]}, graph=graph)
    second = run(world, {"who": ["eve"], "box": {"size": 5}}, graph=graph)
    assert first["results"]["w"]["output"] == {"written": 'ann of [{"value": "ann"}]'}
    assert second["results"]["w"]["output"] == {"written": 'eve of [{"value": "eve"}]'}
    assert [entry for entry in world.log if entry[0] == "look"] == [
        ("look", 3),
        ("look", "ann"),
        ("look", 5),
        ("look", "eve"),
    ]


def test_a_condition_on_the_inputs_alone_decides():
    world = World()
    program = {
        "inputs": {"go": {"type": "boolean"}, "note": {"type": "string", "default": 'it\'s "inputs.go" 🙂\n'}},
        "tasks": [
            {
                "id": "a",
                "tool": "look",
                "args": {"value": 1},
                "condition": "inputs.go && inputs['note'] != 'inputs.go'",
            },
            {"id": "b", "tool": "look", "args": {"value": use("note")}, "condition": "!inputs.go"},
        ],
    }
    statuses = [
        [each["status"] for each in run(world, {"go": go}, program)["results"].values()] for go in (True, False)
    ]
    assert statuses == [["done", "skipped"], ["skipped", "done"]]


def test_what_was_approved_is_bound_to_the_values():
    world = World()
    program = {
        "inputs": {"n": {"type": "integer"}},
        "tasks": [{"id": "w", "tool": "write", "args": {"value": use("n")}}],
    }
    graph = graph_of(world, approve="ask")
    asked = [run(world, {"n": n}, program, graph, f"t{n}")["__interrupt__"][0].value for n in (1, 2)]
    [one], [two] = (each["action_requests"] for each in asked)
    assert (one["args"], two["args"]) == ({"value": 1}, {"value": 2})
    assert one["digest"] != two["digest"]
    out = graph.invoke(Command(resume=APPROVE), thread("t2"))
    assert (out["status"], world.log) == ("completed", [("write", 2)])


async def test_a_program_is_resumed_and_undone_with_its_values(tmp_path):
    world = World()
    plan = {
        **PROGRAM,
        "tasks": [
            *PROGRAM["tasks"],
            {"id": "x", "tool": "look", "args": {"value": 9}, "on_failure": "abort", "depends_on": ["w"]},
        ],
    }
    world.failing = {9}
    async with open_persistence(f"sqlite:///{tmp_path / 't.db'}") as persistence:
        graph = build_graph(tools=world.tools(), settings=Settings(), persistence=persistence)
        out = await graph.ainvoke({"goal": GOAL, "plan": plan, "inputs": {"who": ["ann"]}}, thread())
        assert out["status"] == "awaiting_approval"
    async with open_persistence(f"sqlite:///{tmp_path / 't.db'}") as persistence:
        graph = build_graph(tools=world.tools(), settings=Settings(), persistence=persistence)
        out = await graph.ainvoke(Command(resume=APPROVE), thread())
        while out["status"] == "awaiting_approval":
            out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert out["status"] == "failed"
    assert [entry for entry in world.log if entry[0] != "look"] == [
        ("write", 'ann of [{"value": "ann"}]'),
        ("erase", "ann"),
    ]


async def test_a_replan_keeps_the_inputs():
    world = World()
    world.failing = {1}
    program = {
        "inputs": {"n": {"type": "integer"}, "m": {"type": "integer", "default": 7}},
        "tasks": [
            {"id": "a", "tool": "look", "args": {"value": use("n")}},
            {"id": "b", "tool": "look", "args": {"value": use("m")}, "condition": "inputs.m > 5", "depends_on": ["a"]},
        ],
    }
    change = {"task": "a", "tool": "look", "args": {"value": 2}}
    retry = {"reason": "Try two.", "decision": {"action": "retry", "changes": [change], "skip": []}}
    with Endpoint([retry, "It is 7 [b]."]) as endpoint:
        model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", timeout=10)
        graph = build_graph(
            tools=world.tools(), model=model, settings=Settings(approve="never"), checkpointer=InMemorySaver()
        )
        out = await graph.ainvoke({"goal": GOAL, "plan": program, "inputs": {"n": 1}}, thread())
    assert (out["status"], out["replans"]) == ("completed", 1)
    assert out["plan"]["input_values"] == {"n": 1, "m": 7}
    assert world.log == [("look", 1), ("look", 2), ("look", 7)]


ONE = {"n": {"type": "integer"}}


@pytest.mark.parametrize(
    ("declared", "args", "inputs", "sentence"),
    [
        (ONE, {"seconds": use("n")}, {}, "Inputs: the input 'n' is missing. Give a value for 'n'."),
        (ONE, {"seconds": use("n")}, None, "Inputs: the input 'n' is missing. Give a value for 'n'."),
        (ONE, {"seconds": use("n")}, {"n": "4"}, "n: '4' is not of type 'integer'"),
        (ONE, {"seconds": use("n")}, {"n": 4, "nn": 5}, "Inputs.nn: the plan has no input 'nn'. Did you mean 'n'?"),
        (ONE, {"seconds": use("m")}, {"n": 4}, "Task 'a', args.seconds: the object of the inputs at ['m'] has no 'm'"),
        (ONE, {"seconds": 1, "name": use("n")}, {"n": 4}, "gives a whole number where a text is expected"),
        (
            {"type": "object", "properties": {**ONE, "k": {"type": "integer"}}, "required": ["n"], "minProperties": 2},
            {"seconds": use("n")},
            {"k": None},
            "the input 'n' is missing",
        ),
        ({"n": {"type": "intger"}}, {"seconds": use("n")}, {"n": 4}, "it is no JSON Schema: 'intger' is not valid"),
        ({"n": {}}, {"seconds": 1, "name": use("n")}, {"n": {"output_of": "a"}}, "has the form of a reference"),
        ({"n": {}}, {"seconds": 1, "name": use("n")}, {"n": [{"k": {"input": "n"}}]}, "has the form of a reference"),
        (ONE, {"seconds": use("n", "deep")}, {"n": 4}, "is a whole number, which has no 'deep'"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_runs(declared, args, inputs, sentence):
    world = World()
    program = {
        "inputs": declared,
        "tasks": [{"id": "a", "tool": "wait", "args": args}, {"id": "l", "tool": "look", "args": {"value": 1}}],
    }
    out = run(world, inputs, program)
    assert out["status"] == "failed"
    assert any(sentence in problem for problem in out["problems"]), out["problems"]
    assert world.log == []


@pytest.mark.parametrize("inputs", [[1], "x", 3, {"n": 1}])
def test_inputs_without_a_plan_that_declares_them_are_misuse_or_a_problem(inputs):
    world = World()
    plain = {"tasks": [{"id": "a", "tool": "look", "args": {"value": {"input": "n"}}}]}
    if isinstance(inputs, dict):
        assert "declares no inputs" in run(world, inputs, plain)["problems"][0]
    for plan in (None, [], plain) if not isinstance(inputs, dict) else (None, []):
        with pytest.raises(UsageError, match=r"inputs|Inputs"):
            run(world, inputs, plan)
    assert world.log == []


def test_without_declared_inputs_an_object_with_that_key_is_a_literal():
    world = World()
    out = run(world, None, {"tasks": [{"id": "a", "tool": "look", "args": {"value": {"input": "n"}}}]})
    assert (out["status"], world.log) == ("completed", [("look", {"input": "n"})])


def test_a_parsed_plan_takes_inputs_too():
    world = World()
    assert run(world, {"who": ["ann"]}, Plan.model_validate(PROGRAM))["status"] == "completed"


def test_a_list_in_the_plan_is_gone_through_item_by_item():
    world = World()
    task = {"id": "a", "tool": "wait", "args": {"seconds": {"item": ["s"]}, "name": {"item": ["n"]}}}
    out = run(world, None, {"tasks": [{**task, "for_each": [{"s": 0, "n": "x"}, {"s": 0.0, "n": "y"}]}]})
    assert out["results"]["a"]["output"] == ["x", "y"]
    for items, sentence in (([{"s": "0", "n": "x"}], "a text where a number"), ([{"s": 0}], "has no 'n'")):
        out = run(world, None, {"tasks": [{**task, "for_each": items}]})
        assert sentence in " ".join(out["problems"])


def test_from_the_command_line(planwave, tmp_path):
    file = tmp_path / "program.json"
    file.write_text(
        json.dumps(
            {
                "goal": "Products of a country",
                "inputs": {"country": {"type": "string"}, "top": {"type": "integer", "default": 2}},
                "tasks": [
                    {
                        "id": "q",
                        "tool": "query_database",
                        "args": {
                            "sql": "SELECT DISTINCT country FROM sales WHERE country = $country LIMIT $top",
                            "params": {"country": use("country"), "top": use("top")},
                        },
                    }
                ],
            }
        )
    )
    checked = planwave.here("plan", "validate", str(file))
    assert (checked.exit_code, "1 tasks in 1 waves" in checked.stdout) == (0, True), checked.output
    ran = planwave.here("run", "--plan", str(file), "--input", "country=France", "--input", "top=1", "--json")
    assert json.loads(ran.stdout)["results"]["q"]["output"]["rows"] == [{"country": "France"}]
    for words, sentence, code in (
        (["--input", "country"], "--input 'country' is not NAME=VALUE", 2),
        (["--input", "country=a", "--input", "country=b"], "--input country is given twice", 2),
        (["--input", "country=12", "--input", "top=x"], "top: 'x' is not of type 'integer'", 1),
    ):
        ended = planwave.here("run", "--plan", str(file), *words)
        assert ended.exit_code == code, ended.output
        assert sentence in ended.output.replace("\n", " ")
    assert "--input is for a plan" in planwave.here("run", "x", "--input", "a=1").stderr
