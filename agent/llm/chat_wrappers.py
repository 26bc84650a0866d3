"""Chat models inside LangChain's wrappers: `bind`, `with_retry`, `with_fallbacks`, `configurable_fields` and others."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import (
    Runnable,
    RunnableConfig,
    RunnableSequence,
    RunnableWithFallbacks,
    ensure_config,
)
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.config import merge_configs
from langchain_core.runnables.configurable import DynamicRunnable

#: A chat model, or any runnable around one that takes messages and returns one.
ChatRunnable: TypeAlias = Runnable[Any, Any]


def apply_configuration(chat: ChatRunnable, config: RunnableConfig | None = None) -> ChatRunnable:
    """Return `chat` with every configurable part set as `config` says; None: the config of the present run."""
    chosen = ensure_config() if config is None else config
    match chat:
        case DynamicRunnable():
            return apply_configuration(chat.prepare(chosen)[0], chosen)
        case RunnableBindingBase():
            bound = apply_configuration(chat.bound, merge_configs(chat.config, chosen))
            return chat.model_copy(update={"bound": bound})
        case RunnableWithFallbacks():
            others = [apply_configuration(each, chosen) for each in chat.fallbacks]
            return chat.model_copy(update={"runnable": apply_configuration(chat.runnable, chosen), "fallbacks": others})
        case RunnableSequence():
            steps = [apply_configuration(each, chosen) for each in chat.steps]
            return RunnableSequence(*steps, name=chat.name)
        case _:
            return chat


def change_models(
    chat: ChatRunnable, change: Callable[[Any], ChatRunnable], *, without: Collection[str] = ()
) -> ChatRunnable:
    """Return `chat` with `change` made to each model inside it; `without` names bound parameters to leave out.

    The configuration must have been applied.
    """
    match chat:
        case RunnableBindingBase():
            kwargs = {name: value for name, value in chat.kwargs.items() if name not in without}
            return chat.model_copy(
                update={"bound": change_models(chat.bound, change, without=without), "kwargs": kwargs}
            )
        case RunnableWithFallbacks():
            return chat.model_copy(
                update={
                    "runnable": change_models(chat.runnable, change, without=without),
                    "fallbacks": [change_models(each, change, without=without) for each in chat.fallbacks],
                }
            )
        case _:
            return change(chat)


def list_models(chat: ChatRunnable) -> list[ChatRunnable]:
    """Return the models inside `chat`, the one that is asked first at the beginning."""
    match chat:
        case DynamicRunnable():
            return list_models(chat.prepare(ensure_config())[0])
        case RunnableBindingBase():
            return list_models(chat.bound)
        case RunnableWithFallbacks():
            return [model for each in (chat.runnable, *chat.fallbacks) for model in list_models(each)]
        case _:
            return [chat]


def find_bound_value(chat: ChatRunnable, names: Collection[str]) -> Any:  # noqa: ANN401 - whatever was bound
    """Return the first value that is bound to one of `names` or that a model inside has as a field; None if none is."""
    match chat:
        case RunnableBindingBase():
            bound: Mapping[str, Any] = chat.kwargs
            found = next((bound[name] for name in names if bound.get(name) is not None), None)
            return find_bound_value(chat.bound, names) if found is None else found
        case RunnableWithFallbacks():
            return find_bound_value(chat.runnable, names)
        case BaseChatModel():
            values = (getattr(chat, name, None) for name in names)
            return next((value for value in values if value is not None), None)
        case _:
            return None
