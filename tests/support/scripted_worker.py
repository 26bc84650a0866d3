"""A model that works on a delegated task by a script."""

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field


class Worker(BaseChatModel):
    """Answers by a script: each turn a list of calls, or the last words. Counts how often it was asked."""

    turns: list[list[tuple[str, dict]] | str]
    asked: list[list] = Field(default_factory=list)
    offered: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self):
        return "scripted"

    def bind_tools(self, tools, **kwargs):
        self.offered[:] = [tool.name for tool in tools]
        return self

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self.asked.append(list(messages))
        number = sum(isinstance(message, AIMessage) for message in messages)
        turn = self.turns[min(number, len(self.turns) - 1)]
        if isinstance(turn, str):
            said = AIMessage(turn)
        else:
            # The same ids in every turn, as some servers give them.
            calls = [{"name": name, "args": args, "id": f"call_{at}"} for at, (name, args) in enumerate(turn)]
            said = AIMessage("", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=said)])
