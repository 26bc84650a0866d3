"""Tools that give one open-ended task to an agent: one that is built here, or one that is compiled already."""

from agent.moved_modules import Moved, forward_names
from graphs.delegation.delegate_tool import DelegateArgs, delegate_tool

__all__ = ["DelegateArgs", "delegate_tool"]

__getattr__ = forward_names(
    __name__,
    Moved("delegate_tool", {"Delegate": "DelegateTool", "NAME": "DELEGATE_NAME", "PROMPT": "DELEGATE_PROMPT"}),
)
