"""Writing with typed outputs: summarise, draft, classify. A reply must fit a schema and be supported by its data."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import anyio.to_thread
from anyio.from_thread import start_blocking_portal
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json

from agent.core.grounding import find_ungrounded
from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.errors import ToolFailure
from agent.llm.chat_wrappers import ChatRunnable
from agent.llm.models import ModelSource, defer_model, resolve_model
from agent.llm.replies import MalformedReply
from agent.tools.call_inputs import describe_cut_inputs, render_cut_inputs
from agent.tools.writing.write_text import MAX_INPUT_CHARACTERS
from prompts import render

TYPED_REPAIR_PROMPT = "typed_repair.v1"
_ATTEMPTS = 3
#: Items in one question; with more, a small model returns a wrong number of results.
_BATCH_SIZE = 20

Inputs = Field(min_length=1, max_length=20, description="Named data, all that the text may speak of: earlier outputs.")


class _Args(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SummariseArgs(_Args):
    """Arguments of `summarise`."""

    inputs: dict[str, JsonValue] = Inputs
    about: str = Field(
        default="What stands out.", min_length=1, max_length=1000, description="What matters and to whom."
    )
    max_points: int = Field(default=5, ge=1, le=20)


class DraftArgs(_Args):
    """Arguments of `draft`."""

    kind: Literal["email", "letter", "report", "announcement", "message"]
    instruction: str = Field(min_length=1, max_length=2000, description="What to say, and to whom.")
    inputs: dict[str, JsonValue] = Inputs
    max_words: int | None = Field(default=None, ge=10, le=2000)


class ClassifyArgs(_Args):
    """Arguments of `classify`."""

    items: list[JsonValue] = Field(
        min_length=1, max_length=500, description="What is to be classified, each by itself."
    )
    instruction: str = Field(min_length=1, max_length=2000, description="By what, and what each class means.")
    item_schema: dict[str, JsonValue] = Field(description="The JSON Schema of the result for one item, with an `enum`.")


@dataclass(frozen=True, slots=True)
class _Question:
    prompt: str
    schema: JsonSchema
    #: Returns sentences on what is wrong with a reply that fits the schema.
    find_problems: Callable[[dict[str, Any]], list[str]]


class _TypedWritingTool(BaseTool):
    #: Called when a question is asked, so that no model is needed before.
    writer: Callable[[], ChatRunnable]
    answer_schema: ClassVar[JsonSchema]

    @abstractmethod
    def build_questions(self, arguments: dict[str, JsonValue]) -> list[_Question]:
        """Return the questions for the model."""

    def merge_answers(self, answers: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the output of the tool from the answers, in the order of the questions."""
        return answers[0]

    async def _arun(self, **arguments: JsonValue) -> dict[str, JsonValue]:
        size = len(to_json(arguments))
        if size > MAX_INPUT_CHARACTERS:
            raise ToolFailure(
                f"The data of {self.name} has {size:,} characters, and at most {MAX_INPUT_CHARACTERS:,} are allowed; "
                "give it less data."
            )
        return self.merge_answers(
            [await self._ask_until_valid(question) for question in self.build_questions(arguments)]
        )

    def _run(self, **arguments: JsonValue) -> dict[str, JsonValue]:
        with start_blocking_portal() as portal:
            return portal.call(partial(self._arun, **arguments))

    async def _ask_until_valid(self, question: _Question) -> dict[str, Any]:
        from agent.llm.structured_output import ask_json  # noqa: PLC0415 - `openai` takes a second to load

        messages: list[BaseMessage] = [HumanMessage(question.prompt)]
        model = resolve_model(await anyio.to_thread.run_sync(self.writer))
        problems: list[str] = []
        for _ in range(_ATTEMPTS):
            reply = await ask_json(model, messages, schema=question.schema, name=self.name)
            problems = [reply.reason] if isinstance(reply, MalformedReply) else question.find_problems(reply.value)
            if not isinstance(reply, MalformedReply) and not problems:
                return reply.value
            messages += [AIMessage(reply.raw or "{}"), HumanMessage(render(TYPED_REPAIR_PROMPT, problems=problems))]
        raise ToolFailure(f"The model's answer to {self.name!r} cannot be used: {' '.join(problems)}")


def _build_metadata(output_schema: JsonSchema) -> dict[str, Any]:
    hints = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": False, "openWorldHint": False}
    return {**hints, "timeout_s": 300, "output_schema": output_schema}


def _make_object_schema(**properties: JsonSchema) -> JsonSchema:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


_TEXT: JsonSchema = {"type": "string", "minLength": 1}
_SUMMARY = _make_object_schema(
    summary=_TEXT,
    points={
        "type": "array",
        "minItems": 1,
        "items": _make_object_schema(text=_TEXT, inputs={"type": "array", "minItems": 1, "items": {"type": "string"}}),
    },
)
_DRAFT = _make_object_schema(subject=_TEXT, body=_TEXT)


class SummarizeTool(_TypedWritingTool):
    """Summarises data in points, each with the names of the inputs that support it."""

    name: str = "summarise"
    description: str = "Summarise data in points; returns `summary` and `points`, each with `text` and its `inputs`."
    args_schema: type[BaseModel] = SummariseArgs
    metadata: dict[str, Any] | None = _build_metadata(_SUMMARY)

    def build_questions(self, arguments: dict[str, JsonValue]) -> list[_Question]:  # noqa: D102 - as in the base
        request, cuts = SummariseArgs.model_validate(arguments), describe_cut_inputs()

        def find_problems(answer: dict[str, Any]) -> Iterator[str]:
            if len(answer["points"]) > request.max_points:
                yield f"There are {len(answer['points'])} points; give at most {request.max_points}."
            for point in answer["points"]:
                unknown = [name for name in point["inputs"] if name not in request.inputs]
                if unknown:
                    yield f"There is no input named {unknown[0]!r}; the inputs are: {', '.join(request.inputs)}."
                else:
                    yield from _find_ungrounded(
                        point["text"], *(request.inputs[name] for name in point["inputs"]), *cuts
                    )
            yield from _find_ungrounded(answer["summary"], request.about, *request.inputs.values(), *cuts)

        prompt = render("summarise.v1", **request.model_dump()) + render_cut_inputs()
        return [_Question(prompt, _SUMMARY, lambda answer: list(find_problems(answer)))]


class DraftTool(_TypedWritingTool):
    """Drafts a text with a subject."""

    name: str = "draft"
    description: str = "Draft an email, letter, report, announcement or message; returns `subject` and `body`."
    args_schema: type[BaseModel] = DraftArgs
    metadata: dict[str, Any] | None = _build_metadata(_DRAFT)

    def build_questions(self, arguments: dict[str, JsonValue]) -> list[_Question]:  # noqa: D102 - as in the base
        request, cuts = DraftArgs.model_validate(arguments), describe_cut_inputs()

        def find_problems(answer: dict[str, Any]) -> list[str]:
            count = len(answer["body"].split())
            problems = []
            if request.max_words is not None and count > request.max_words:
                problems.append(f"The body has {count} words; {request.max_words} are allowed.")
            text = f"{answer['subject']}\n\n{answer['body']}"
            return [*problems, *_find_ungrounded(text, request.instruction, request.inputs, *cuts)]

        prompt = render("draft.v1", **request.model_dump()) + render_cut_inputs()
        return [_Question(prompt, _DRAFT, find_problems)]


class ClassifyTool(_TypedWritingTool):
    """Classifies items by a schema that the plan gives."""

    name: str = "classify"
    description: str = (
        "Classify each of many items; `item_schema` is the JSON Schema of the result for one item. "
        "Returns `results`, one for each item, in their order."
    )
    args_schema: type[BaseModel] = ClassifyArgs
    metadata: dict[str, Any] | None = _build_metadata(_make_object_schema(results={"type": "array"}))

    def preflight(self, args: dict[str, Any]) -> Preflight:
        """Check the schema of the items, and return the output schema that follows from it."""
        schema = args.get("item_schema")
        if not isinstance(schema, dict):
            return Preflight()
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            return Preflight(problems=(f"'item_schema' is not a JSON Schema: {error.message}.",))
        return Preflight(output_schema=_make_object_schema(results={"type": "array", "items": schema}))

    def build_questions(self, arguments: dict[str, JsonValue]) -> list[_Question]:  # noqa: D102 - as in the base
        request = ClassifyArgs.model_validate(arguments)
        preflight = self.preflight(arguments)
        if preflight.problems:
            raise ToolFailure(preflight.problems[0])
        batches = [request.items[start : start + _BATCH_SIZE] for start in range(0, len(request.items), _BATCH_SIZE)]
        return [self._build_question(batch, request) for batch in batches]

    def merge_answers(self, answers: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: D102 - as in the base
        return {"results": [result for answer in answers for result in answer["results"]]}

    @staticmethod
    def _build_question(batch: list[JsonValue], request: ClassifyArgs) -> _Question:
        def find_problems(answer: dict[str, Any]) -> list[str]:
            count = len(answer["results"])
            return (
                [] if count == len(batch) else [f"There are {len(batch)} items and {count} results; give one for each."]
            )

        prompt = render(
            "classify.v1",
            instruction=request.instruction,
            item_schema=request.item_schema,
            items=batch,
            count=len(batch),
        )
        schema = _make_object_schema(results={"type": "array", "items": request.item_schema})
        return _Question(prompt, schema, find_problems)


def _find_ungrounded(text: str, *data: JsonValue) -> Iterator[str]:
    unknown = find_ungrounded(text, *data)
    if unknown:
        yield f"The data does not support {', '.join(map(repr, unknown))}, in: {text:.200}"


def typed_writing_tools(model: ModelSource = None) -> list[BaseTool]:
    """Return the tools that summarise, draft and classify with `model`, which is made when one of them is called.

    It is a choice as in `build_graph`, or a function that returns the model; None: the configured one. Raises
    `UsageError` for a choice that names no model.
    """
    writer = defer_model(model)
    return [SummarizeTool(writer=writer), DraftTool(writer=writer), ClassifyTool(writer=writer)]
