"""The plan document: its format, its parts and what they mean."""

from agent.moved_modules import Moved, forward_names

_SAME = ("Call", "ExecutionMode", "OnFailure", "OnItemFailure", "Plan", "Task", "TaskId")

__getattr__ = forward_names(
    __name__, Moved("document", {**dict(zip(_SAME, _SAME, strict=True)), "LONGEST_ID": "MAX_ID_LENGTH"})
)
