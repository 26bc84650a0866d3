"""The tool with which a model writes a text from given data."""

from collections.abc import Callable
from typing import Any

import anyio.to_thread
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json

from agent.core.grounding import find_ungrounded
from agent.errors import ToolFailure
from agent.llm.chat_wrappers import ChatRunnable
from agent.llm.models import ModelSource, defer_model
from agent.llm.replies import drop_reasoning
from agent.llm.usage import begin_call, count_call, extract_usage
from agent.tools.call_inputs import describe_cut_inputs, render_cut_inputs
from prompts import render

WRITE_TEXT_PROMPT = "write_text.v1"
WRITE_TEXT_REPAIR_PROMPT = "write_text_repair.v1"

MAX_INPUT_CHARACTERS = 60_000  # characters of JSON, about 20,000 tokens: within the context of every common model


class WriteTextArgs(BaseModel):
    """Arguments of `write_text`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instruction: str = Field(min_length=1, max_length=2000, description="What to write, and for whom.")
    inputs: dict[str, JsonValue] = Field(
        min_length=1, max_length=20, description="Named data, all that the text may speak of: earlier outputs."
    )
    max_words: int | None = Field(default=None, ge=10, le=2000)


class WriteText(BaseTool):
    """Writes a text; every number and name in it is checked against the inputs."""

    name: str = "write_text"
    description: str = "Write or summarise in words from given data only; returns the text under `text`."
    args_schema: type[BaseModel] = WriteTextArgs
    #: Called when a text is written, so that no model is needed before.
    writer: Callable[[], ChatRunnable]
    metadata: dict[str, Any] | None = {  # noqa: RUF012 - pydantic copies it
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": False,
        "openWorldHint": False,
        "timeout_s": 300,
        "output_schema": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
            "additionalProperties": False,
        },
    }

    def _run(self, **arguments: JsonValue) -> dict[str, JsonValue]:
        draft = WritingConversation(WriteTextArgs.model_validate(arguments))
        model = self.writer()
        text: str | None = None
        while text is None:
            begin_call()
            reply = _as_message(model.invoke(draft.messages))
            count_call(extract_usage(reply))
            text = draft.check_reply(reply)
        return {"text": text}

    async def _arun(self, **arguments: JsonValue) -> dict[str, JsonValue]:
        draft = WritingConversation(WriteTextArgs.model_validate(arguments))
        model = await anyio.to_thread.run_sync(self.writer)
        text: str | None = None
        while text is None:
            begin_call()
            reply = _as_message(await model.ainvoke(draft.messages))
            count_call(extract_usage(reply))
            text = draft.check_reply(reply)
        return {"text": text}


def _as_message(reply: object) -> AIMessage:
    return reply if isinstance(reply, AIMessage) else AIMessage(str(reply))


class WritingConversation:
    """The conversation for one text: a request, and one repair if the text says more than the data supports."""

    def __init__(self, request: WriteTextArgs) -> None:
        size = len(to_json(request.inputs))
        if size > MAX_INPUT_CHARACTERS:
            raise ToolFailure(
                f"The inputs of write_text have {size:,} characters, and at most {MAX_INPUT_CHARACTERS:,} are allowed; "
                "aggregate the rows first."
            )
        self._request = request
        self._repaired = False
        self.messages: list[BaseMessage] = [
            HumanMessage(render(WRITE_TEXT_PROMPT, **request.model_dump()) + render_cut_inputs())
        ]
        self._cuts = describe_cut_inputs()

    def check_reply(self, reply: AIMessage) -> str | None:
        """Return the text of the reply if the data supports it; otherwise ask for a repair and return None.

        Raises `ToolFailure` for an empty or cut-off reply, and for a repaired text that is still not supported.
        """
        text = drop_reasoning(str(reply.text)).strip()
        if not text:
            raise ToolFailure("The model wrote nothing; give a simpler instruction or fewer inputs.")
        if reply.response_metadata.get("finish_reason") == "length":
            raise ToolFailure("The model's text was cut off; ask for fewer words.")
        unknown = find_ungrounded(text, self._request.instruction, self._request.inputs, *self._cuts)
        if not unknown:
            return text
        if self._repaired:
            listed = ", ".join(repr(item) for item in unknown)
            raise ToolFailure(f"The inputs do not support this part of the text: {listed}; add the data for it.")
        self._repaired = True
        self.messages += [reply, HumanMessage(render(WRITE_TEXT_REPAIR_PROMPT, ungrounded=unknown))]
        return None


def writing_tools(model: ModelSource = None) -> list[BaseTool]:
    """Return the tools that write with `model`, which is made when a text is written; see `typed_writing_tools`."""
    return [WriteText(writer=defer_model(model))]
