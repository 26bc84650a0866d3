"""The only room that knows LangGraph: state, nodes, stores and the command line."""

from agent.moved_modules import Moved, forward_modules

_STANDING = {
    "thread_snapshot": "build_thread_snapshot",
    "thread_standings": "get_task_states",
    "results_of": "collect_results",
    "asked_in": "find_asked_tasks",
    "overview": "summarize_thread",
}
_LINEAGE = {
    "written_by": "record_plan_author",
    "doubt_of": "get_planner_doubt",
    "lineage_update": "update_plan_history",
    "changed_since_last": "diff_last_plan",
    "changes_of": "list_plan_changes",
}

forward_modules(
    __name__,
    {
        "editing": Moved("thread_editing", {"plan_editor": "load_plan_editor", "put_plan": "replace_plan"}),
        "lineage": Moved("run.plan_history", _LINEAGE),
        "standing": Moved("thread_status", _STANDING),
    },
)
