"""What a run returns and what a thread holds, as notebooks show them: as a report."""

from typing import Any

from langgraph.types import StateSnapshot

from agent.execution.executor import utc_now


class RunOutput(dict[str, Any]):
    """What `invoke` and `ainvoke` return: the dictionary of an `Output`, which a notebook shows as a report."""

    def _repr_html_(self) -> str:
        from agent.report.report_page import render_frame  # noqa: PLC0415 - only a notebook asks for it
        from graphs.report.loading import build_output_report  # noqa: PLC0415 - as above

        return render_frame(build_output_report(self, now=utc_now()))


class ThreadState(StateSnapshot):
    """LangGraph's snapshot of a state, which a notebook shows as a report."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from agent.report.report_page import render_frame  # noqa: PLC0415 - as above
        from graphs.report.loading import build_state_report  # noqa: PLC0415 - as above

        thread = str((self.config.get("configurable") or {}).get("thread_id") or "")
        return render_frame(build_state_report(self, thread=thread, now=utc_now()))
