"""The agent, without LangGraph: what is decided, planned, called and recorded."""

from agent.moved_modules import Moved, forward_modules

_SCHEDULE = {
    "Needs": "DependencyGraph",
    "needs_of": "list_dependencies",
    "plan_needs": "build_dependency_graph",
    "order": "sort_topologically",
    "closure": "find_runnable_closure",
}
_TYPED_WRITING = {"Summarise": "SummarizeTool", "Draft": "DraftTool", "Classify": "ClassifyTool"}

forward_modules(
    __name__,
    {
        "configuration": Moved("config_file"),
        "core.editor": Moved("core.compiler.editor"),
        "core.schedule": Moved("core.plan.dependencies", _SCHEDULE),
        "tools.catalogue": Moved("tools.toolbox"),
        "tools.typed_writing": Moved("tools.writing.typed_writing", _TYPED_WRITING),
    },
)
