"""The middleware by which Planwave makes the calls of an agent that it builds."""

from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain.agents.middleware.types import ModelRequest, ModelResponse, ToolCallRequest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.types import Command

from agent.llm.usage import begin_call, count_call, extract_usage
from graphs.delegation.worker_calls import WorkerCalls


class WorkerCallMiddleware(AgentMiddleware[AgentState[Any], None, Any]):
    """Has the calls of a worker made by `WorkerCalls`, and those of its model counted."""

    def __init__(self, calls: WorkerCalls) -> None:
        super().__init__()
        self._calls = calls

    async def awrap_model_call(
        self, request: ModelRequest[None], handler: Callable[[ModelRequest[None]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """Call the model of the worker if the budget of the run allows it. Raises `BudgetError`."""
        begin_call()
        response = await handler(request)
        for message in response.result:
            if isinstance(message, AIMessage):
                count_call(extract_usage(message))
        return response

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """Make a call and return its result. Interrupts for approval before any effect."""
        return await self._calls.make_call(request, handler)
