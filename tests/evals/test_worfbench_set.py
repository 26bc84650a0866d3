"""WorFBench's scores against values computed by hand, and its gold against itself."""

import json
from itertools import combinations
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.llm.models import resolve_model
from agent.tools.toolbox import Toolbox
from tests.evals.cases import Attempt, Call
from tests.evals.records import Key
from tests.evals.running import run_case
from tests.evals.sets import sentences, worfbench
from tests.evals.sets.outside import DATA
from tests.evals.sets.workflow import Workflow, f1_chain, f1_graph, matching, scores
from tests.evals.strategies import STRATEGIES
from tests.support.openai_endpoint import Endpoint

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the data lie beside a development checkout only")
needs_model = pytest.mark.skipif(not sentences.available(), reason="the sentence model is not in the cache")

#: a -> b -> d, a -> c -> d
DIAMOND = Workflow.of(["a", "b", "c", "d"], [[], [0], [0], [1, 2]])


def equal(left, right):
    """Sentences are alike where they are the same."""
    return [[float(one == other) for other in right] for one in left]


def scored(texts, needs, gold=DIAMOND):
    found = scores(Workflow.of(texts, needs), gold, alike=equal)
    return round(found["f1_chain"], 4), round(found["f1_graph"], 4)


@pytest.mark.parametrize(
    ("texts", "needs", "chain", "graph"),
    [
        (["a", "b", "c", "d"], [[], [0], [0], [1, 2]], 1.0, 1.0),
        # Another order of the same graph is as good: c before b is an order of the gold too.
        (["a", "c", "b", "d"], [[], [0], [0], [1, 2]], 1.0, 1.0),
        # A chain has all nodes in order; a-b and c-d are of the gold, and START-a and d-END: two parts of three.
        (["a", "b", "c", "d"], [[], [0], [1], [2]], 1.0, 0.5),
        # Backwards one node is in order; no edge is the gold's, so the largest part is a single node of six.
        (["d", "c", "b", "a"], [[], [0], [1], [2]], 0.5, 0.1667),
        # START-a-b: three nodes of a plan of 2 + 2 and a gold of 4 + 2; b-END is not of the gold.
        (["a", "b"], [[], [0]], 0.6667, 0.6),
        (["x", "y"], [[], []], 0.0, 0.2),
        ([], [], 0.0, 0.0),
    ],
)
def test_scores_against_values_computed_by_hand(texts, needs, chain, graph):
    assert scored(texts, needs) == (chain, graph)


def test_nodes_are_matched_by_the_largest_sum_above_the_threshold():
    table = [[0.9, 0.85], [0.88, 0.5]]
    assert matching(["p", "q"], ["g", "h"], alike=lambda _left, _right: table) == {0: 1, 1: 0}
    # 0.5 is below the threshold, so the second node stays alone rather than push the first away.
    assert matching(["p", "q"], ["g", "h"], alike=lambda _left, _right: [[0.9, 0.5], [0.5, 0.6]]) == {0: 0}


def chain_by_trying(plan, gold, matched):
    """Return the longest run over all orders of the gold and all subsets of the plan's nodes."""
    graph = nx.DiGraph(gold.edges)
    graph.add_nodes_from(range(len(gold.texts)))
    orders = [{node: place for place, node in enumerate(order)} for order in nx.all_topological_sorts(graph)]
    nodes = sorted(matched)
    return max(
        len(chosen)
        for size in range(len(nodes) + 1)
        for chosen in combinations(nodes, size)
        for order in orders
        if (places := [order[matched[node]] for node in chosen]) == sorted(places)
    )


@st.composite
def workflows(draw):
    size = draw(st.integers(1, 6))
    needs = [draw(st.sets(st.integers(0, after - 1))) if after else set() for after in range(size)]
    return Workflow.of([str(place) for place in range(size)], [sorted(each) for each in needs])


@given(workflows(), workflows())
def test_scores_lie_between_nought_and_one_and_are_one_for_the_gold_itself(plan, gold):
    found = scores(plan, gold, alike=equal)
    assert all(0 <= value <= 1 for value in found.values())
    assert scores(gold, gold, alike=equal) == {"f1_chain": 1.0, "f1_graph": 1.0}
    assert f1_graph(plan, gold, {}) <= 0.5


@given(workflows(), st.permutations(range(5)))
@settings(max_examples=40)
def test_the_longest_run_is_what_trying_all_orders_gives(gold, order):
    gold = Workflow(gold.texts[:5], frozenset(edge for edge in gold.edges if max(edge) < 5))
    matched = {place: node for place, node in enumerate(order) if node < len(gold.texts)}
    plan = Workflow(("x",) * 5, frozenset())
    expected = 2 * chain_by_trying(plan, gold, matched) / (5 + len(gold.texts))
    assert f1_chain(plan, gold, matched) == pytest.approx(expected)


@needs_data
def test_every_gold_workflow_scores_one_and_every_task_is_a_case_with_tools():
    records = worfbench.records()
    assert len(records) == 430
    for record in records:
        wanted = worfbench.gold(record)
        assert scores(wanted, wanted, alike=equal) == {"f1_chain": 1.0, "f1_graph": 1.0}, record["id"]
    offered = [worfbench._tools(record["tools"], Path(), None) for record in records if record.get("tools")]
    assert len(offered) == 428
    for tools in offered:
        assert Toolbox(tools)


def test_the_three_ways_of_describing_a_tool_come_to_one():
    seal = {"api_name": "t", "parameters": {"x": {"type": "int"}, "y": {"type": "str"}}, "required": ["x"]}
    bench = {"name": "t", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}}
    alpaca = {"name": "t", "parameters": {"x": "Required. integer. How many.", "y": "string. What."}}
    schemas = [Toolbox([worfbench._tool("t", each)]).specs["t"].args_schema for each in (seal, bench, alpaca)]
    assert [schema["required"] for schema in schemas] == [["x"], ["x"], ["x"]]
    assert {schema["properties"]["x"]["type"] for schema in schemas} == {"integer"}
    assert schemas[2]["properties"]["y"] == {"type": "string", "description": "What."}


def test_an_encoder_with_known_weights_gives_known_states():
    """With all weights 0 but the last bias each layer leaves that bias: attention and width add nothing to it."""
    size, wide = 12, 4
    weights = {
        "embeddings.word_embeddings.weight": np.zeros((3, size)),
        "embeddings.position_embeddings.weight": np.zeros((3, size)),
        "embeddings.token_type_embeddings.weight": np.zeros((2, size)),
    }
    bias = np.arange(size, dtype=float)
    shapes = {"intermediate.dense": (wide, size), "output.dense": (size, wide), "attention.output.dense": (size, size)}
    shapes |= {f"attention.self.{name}": (size, size) for name in ("query", "key", "value")}
    for layer in range(6):
        for name, shape in shapes.items():
            weights[f"encoder.layer.{layer}.{name}.weight"] = np.zeros(shape)
            weights[f"encoder.layer.{layer}.{name}.bias"] = np.zeros(shape[0])
    norms = ["embeddings.LayerNorm"]
    norms += [f"encoder.layer.{n}.{name}.LayerNorm" for n in range(6) for name in ("attention.output", "output")]
    for name in norms:
        weights[f"{name}.weight"], weights[f"{name}.bias"] = np.ones(size), np.zeros(size)
    weights[f"{norms[-1]}.bias"] = bias
    assert np.allclose(sentences.encoded([0, 2], weights), [bias, bias])


@needs_model
def test_sentences_of_one_meaning_are_more_alike():
    table = sentences.alike(
        ["Get the weather in Oslo", "Encrypt a text"], ["Find out how the weather is in Oslo", "Cipher some text"]
    )
    assert table[0][0] > 0.8
    assert table[0][1] < 0.3
    assert table[1][1] > 0.6
    assert sentences.alike(["same words"], ["same words"])[0][0] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("strategy", "answer"),
    [
        (
            "oneshot",
            json.dumps(
                {
                    "tasks": [
                        {"id": "x", "does": "Look up the town", "tool": "find", "args": {"name": "Oslo"}},
                        {"id": "y", "does": "Tell its weather", "tool": "weather", "args": {"town": "$x.town"}},
                    ]
                }
            ),
        ),
        ("llmcompiler", '1. find(name="Oslo")  # Look up the town\n2. weather($1.town)  # Tell its weather\n3. join()'),
        (
            "planwave",
            json.dumps(
                {
                    "execution_mode": "parallel",
                    "tasks": [
                        {
                            "id": "x",
                            "description": "Look up the town",
                            "reasoning": "r",
                            "tool": "find",
                            "args": {"name": "Oslo"},
                        },
                        {
                            "id": "y",
                            "description": "Tell its weather",
                            "reasoning": "r",
                            "tool": "weather",
                            "args": {"town": {"output_of": "x", "path": ["town"]}},
                        },
                    ],
                }
            ),
        ),
    ],
)
async def test_every_strategy_that_plans_is_scored_by_the_words_and_needs_of_its_plan(strategy, answer, monkeypatch):
    monkeypatch.setattr(sentences, "alike", equal)
    described = [
        {"name": "find", "parameters": {"name": "Required. string. Its name."}},
        {"name": "weather", "parameters": {"town": "Required. string. The town."}},
    ]
    wanted = Workflow.of(["Look up the town", "Tell its weather"], [[], [0]])
    case = worfbench.Case(
        id="w",
        goal="How is the weather in Oslo?",
        tools=lambda output, writer: worfbench._tools(described, output, writer),
        judge=lambda attempt, output: worfbench.judged(wanted, attempt, output),
        runs=False,
    )
    with Endpoint([answer]) as endpoint:
        for name, value in endpoint.env.items():
            monkeypatch.setenv(name, value)
        line = await run_case(
            case,
            STRATEGIES[strategy],
            choice="openai:scripted",
            model=resolve_model("openai:scripted"),
            key=Key("w", strategy, "m", "c"),
            budget_s=20,
        )
    assert (line.outcome, line.scores) == ("right", {"f1_chain": 1.0, "f1_graph": 1.0}), line.problems


def test_a_plan_without_the_gold_edge_is_not_right(monkeypatch):
    monkeypatch.setattr(sentences, "alike", equal)
    wanted = Workflow.of(["one", "two"], [[], [0]])
    apart = Attempt((Call("1", "t", {}, text="one"), Call("2", "t", {}, text="two")), "finished")
    verdict = worfbench.judged(wanted, apart, Path())
    assert not verdict.right
    # START-one and two-END are in both: two parts of two nodes each, of four and four.
    assert verdict.scores == {"f1_chain": 1.0, "f1_graph": 0.5}
