"""What the model was asked and what it said, counted alike for every strategy."""

import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult


@dataclass
class Asked:
    """One question to the model; seconds are None while it has not answered."""

    role: str
    #: Whether an answer of the model's stood in the question: it was told what is wrong, or is in a loop.
    again: bool
    began: float
    text: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float | None = None
    error: str = ""


@dataclass(eq=False)
class Meter(BaseCallbackHandler):
    """Notes every question that is asked below a run it is a callback of."""

    asked: dict[UUID, Asked] = field(default_factory=dict)
    run_inline = True

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        again = any(isinstance(message, AIMessage) for message in messages[0])
        role = str((metadata or {}).get("langgraph_node", "model"))
        self.asked[run_id] = Asked(role, again, time.monotonic())

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        asked = self.asked[run_id]
        asked.seconds = time.monotonic() - asked.began
        generation, *others = response.generations[0]
        asked.text = "\n\n".join(each.text for each in (generation, *others))
        message = generation.message if isinstance(generation, ChatGeneration) else None
        spent = message.usage_metadata if isinstance(message, AIMessage) else None
        if spent:
            asked.input_tokens, asked.output_tokens = spent["input_tokens"], spent["output_tokens"]

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        asked = self.asked[run_id]
        asked.seconds = time.monotonic() - asked.began
        asked.error = f"{type(error).__name__}: {error}"[:500]

    @property
    def planning(self) -> list[Asked]:
        """The questions but for those that word an answer, which only one of the strategies gives."""
        return [asked for asked in self.asked.values() if asked.role != "answer"]
