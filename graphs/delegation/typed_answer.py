"""The answer of a worker that has a schema of its own, and how it is read from what the worker's model wrote."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, create_model, model_validator
from pydantic_core import to_jsonable_python

from agent.core.compiler.argument_check import find_value_errors
from agent.core.plan.tool_spec import JsonSchema
from agent.errors import ToolError
from agent.llm.replies import MalformedReply, Usage, parse_reply

#: A Pydantic model, or a JSON Schema of an object.
OutputSchema = type[BaseModel] | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """The form of a typed answer."""

    #: What a model is asked to fill in, and what checks it.
    model: type[BaseModel]
    #: What a plan can refer into.
    output_schema: JsonSchema

    @property
    def tool_name(self) -> str:
        """Return the name of the call by which LangChain has a model give the answer."""
        return self.model.__name__

    @classmethod
    def of_schema(cls, given: OutputSchema, *, worker: str) -> Self:
        """Return the form that a caller gave. Raises `ToolError` for what describes no object."""
        if isinstance(given, type) and issubclass(given, BaseModel):
            form = cls(given, given.model_json_schema(mode="serialization"))
        elif isinstance(given, Mapping):
            schema = dict(given)
            try:
                Draft202012Validator.check_schema(schema)
            except SchemaError as error:
                raise ToolError(f"The output_schema of {worker!r} is not a JSON Schema: {error.message}.") from error
            form = cls(_build_checked_model(schema, name=f"{worker}_answer"), schema)
        else:
            raise ToolError(
                f"The output_schema of {worker!r} is {given!r:.100}; give a Pydantic model or the JSON Schema of an "
                "object."
            )
        if form.output_schema.get("type") != "object":
            raise ToolError(
                f"The output_schema of {worker!r} must describe an object, so that a plan can name its fields."
            )
        return form

    def dump(self, answer: object) -> JsonValue:
        """Return an answer as JSON; it is one of `model`, or what a graph of the user's has as such."""
        if isinstance(answer, BaseModel):
            return answer.model_dump(mode="json", by_alias=True)
        value: JsonValue = to_jsonable_python(answer)
        return value

    def parse(self, text: str) -> dict[str, Any] | MalformedReply:
        """Return the answer in a text that a model wrote instead of the call; or what is wrong with it."""
        schema = self.model.model_json_schema()
        reply = parse_reply(text, schema=schema, tolerant=True, usage=Usage())
        if isinstance(reply, MalformedReply):
            return reply
        try:
            return self.model.model_validate(reply.value).model_dump(mode="json", by_alias=True)
        except ValidationError as error:
            told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:5])
            return MalformedReply(reason=f"The answer does not fit: {told}.", raw=text, usage=Usage())


class _CheckedAnswer(BaseModel):
    """An answer that is checked by a JSON Schema; LangChain itself checks only models."""

    model_config = ConfigDict(extra="allow")


def _build_checked_model(schema: JsonSchema, *, name: str) -> type[BaseModel]:
    def check_value(value: Any) -> Any:  # noqa: ANN401 - as a model wrote it
        errors = find_value_errors(schema, value)
        if errors:
            raise ValueError("; ".join(errors[:5]))
        return value

    validators: dict[str, Any] = {"check_value": model_validator(mode="before")(check_value)}
    model = create_model(name, __base__=_CheckedAnswer, __validators__=validators, __doc__="The result of the task.")
    model.model_json_schema = lambda *_args, **_options: schema  # type: ignore[method-assign]  # what the model is shown
    return model
