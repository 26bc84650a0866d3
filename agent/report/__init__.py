"""The report of a run: one frozen model of what happened, and the HTML page that shows it.

Whoever imports this room can look at a `Plan` in a notebook.
"""

from agent.core.plan.document import Plan


def _render_plan(plan: Plan) -> str:
    from agent.report.plan_report import build_plan_report  # noqa: PLC0415 - only a notebook asks for it
    from agent.report.report_page import render_frame  # noqa: PLC0415 - as above

    return render_frame(build_plan_report(plan))


def _teach_plans() -> None:
    Plan.render_html = _render_plan


_teach_plans()
