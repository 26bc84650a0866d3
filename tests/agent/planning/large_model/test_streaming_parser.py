"""Tasks found in the growing text of a plan, however it is cut."""

import json
import time

from hypothesis import given
from hypothesis import strategies as st

from agent.planning.large_model.streaming_parser import StreamingPlanParser

TEXTS = st.text(alphabet=st.sampled_from('ab{}[]:,"\\/ \n\té\u2028😀'), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("tasks"), inner, max_size=3),
    max_leaves=8,
)
TASKS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=4), max_size=5)
OTHERS = st.dictionaries(TEXTS.filter(lambda name: name not in {"tasks", "execution_mode"}), VALUES, max_size=2)
MODES = st.sampled_from(["parallel", "sequential", "conditional"])


def pieces_of(text, cuts):
    ends = sorted({min(cut, len(text)) for cut in cuts} | {len(text)})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(
    TASKS,
    OTHERS,
    OTHERS,
    MODES,
    st.lists(st.integers(0, 400), max_size=40),
    st.booleans(),
    st.sampled_from([None, 2]),
    st.sampled_from(["", "\n ", "```json\n", "```\n"]),
)
def test_any_plan_in_any_pieces_yields_exactly_its_tasks(tasks, before, after, mode, cuts, ascii_only, indent, opening):
    plan = {**before, "execution_mode": mode, "tasks": tasks, **{f"after {name}": each for name, each in after.items()}}
    text = opening + json.dumps(plan, ensure_ascii=ascii_only, indent=indent)
    drafting = StreamingPlanParser()
    found = [task for piece in pieces_of(text, cuts) for task in drafting.feed(piece)]
    assert [json.loads(task) for task in found] == tasks
    assert drafting.execution_mode == mode


@given(TASKS, OTHERS)
def test_each_task_comes_with_its_closing_brace(tasks, before):
    text = json.dumps({**before, "tasks": tasks}, ensure_ascii=False)
    decoder, drafting = json.JSONDecoder(), StreamingPlanParser()
    expected = []
    at = text.rindex('"tasks": [' + json.dumps(tasks, ensure_ascii=False)[1:]) + len('"tasks": [')
    for task in tasks:
        value, at = decoder.raw_decode(text, at)
        assert value == task
        expected.append(at)
        at += len(", ")
    assert [read for read, character in enumerate(text, 1) for _ in drafting.feed(character)] == expected


def test_what_is_no_plan_yields_nothing():
    for text in ("", "Here is the plan: {", "[{}]", '"tasks"', "I would run {a} first.", '{"tasks": {"a": {}}}', "}}}"):
        assert [task for character in text for task in StreamingPlanParser().feed(character)] == []


def test_only_the_first_document_counts():
    text = '{"tasks": [{"id": "a"}]} and {"tasks": [{"id": "b"}]}'
    drafting = StreamingPlanParser()
    assert [task for character in text for task in drafting.feed(character)] == ['{"id": "a"}']


def test_the_mode_is_unknown_while_it_has_not_been_said():
    drafting = StreamingPlanParser()
    assert list(drafting.feed('{"tasks": [{"id": "a"}], "execution_mode": "sequential"')) == ['{"id": "a"}']
    assert drafting.execution_mode is None
    assert list(drafting.feed(', "x": 1}')) == []
    assert drafting.execution_mode == "sequential"


def test_time_grows_with_the_text_and_not_with_its_square():
    def seconds(length):
        text = json.dumps({"tasks": [{"id": "a", "args": {"sql": 'x{"\\' * length}}]})
        begun = time.process_time()
        drafting = StreamingPlanParser()
        assert len([task for at in range(0, len(text), 4) for task in drafting.feed(text[at : at + 4])]) == 1
        return time.process_time() - begun

    seconds(1_000)
    small = min(seconds(10_000) for _ in range(3))
    assert seconds(80_000) < 24 * small
