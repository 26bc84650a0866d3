"""A chat model that plays an agent by a script, so that the notebook runs without a key."""

from collections.abc import Callable
from typing import Any, Self

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

#: Takes what the last call returned, at first all that the agent is told; returns calls of tools, or the last words.
Turn = Callable[[str], list[tuple[str, dict[str, Any]]] | str]


class Colleague(BaseChatModel):
    """Takes its turns in order, one for each time that it is asked in a conversation."""

    turns: list[Turn]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, _tools: Any, **_options: Any) -> Self:
        return self

    def _generate(self, messages: list[BaseMessage], *_args: Any, **_options: Any) -> ChatResult:
        number = sum(isinstance(message, AIMessage) for message in messages)
        read = messages[-1:] if number else messages
        said = self.turns[number]("\n".join(str(message.text) for message in read))
        if isinstance(said, str):
            message = AIMessage(said)
        else:
            calls = [{"name": name, "args": args, "id": f"{number}.{at}"} for at, (name, args) in enumerate(said)]
            message = AIMessage("", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=message)])
