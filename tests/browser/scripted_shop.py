"""The model of the browser tests: plans over the sample shop by a word of the goal, and answers in words."""

import re
from typing import Any

from tests.support.openai_endpoint import Request, Scripted
from tests.support.worlds import ref

SQL = "SELECT status, count(*) AS orders FROM orders GROUP BY status ORDER BY status"
READ = {"id": "orders", "tool": "query_database", "args": {"sql": SQL}, "description": "Count orders by status"}
#: What the answers say; they cite a result, and hold no figure that a result would have to support.
PARAGRAPHS = (
    "The orders of the shop were counted by status [orders].",
    "The table was saved where you said, so that it can be opened in any program [save].",
    "Each status has a line of its own, and the lines are in the order of the alphabet [save].",
    "Nothing else was changed [save].",
)
ANSWER = "\n\n".join(PARAGRAPHS)
SECOND_ANSWER = "As before, the orders were counted by status, this time without saving them [orders]."


THIRD_ANSWER = "Both files were saved [one], [two]."


def save(path: str, task: str = "save", **more: Any) -> dict[str, Any]:
    args = {"path": path, "content": "status\n", "overwrite": False}
    return {"id": task, "tool": "save_file", "args": args, "description": f"Keep {path}", **more}


def plan_for(goal: str) -> dict[str, Any]:
    """Return the plan for a goal; the file is named in the goal."""
    path = next(iter(re.findall(r"[\w-]+\.(?:csv|txt|json)", goal)), "orders.csv")
    if "two files" in goal:
        return {"tasks": [save(f"one-{path}", "one"), save(f"two-{path}", "two")]}
    if "save" not in goal.lower():
        return {"tasks": [READ]}
    writing = save(path, expected_outcome="A line for each status")
    return {"tasks": [READ, {**writing, "args": {**writing["args"], "content": ref("orders", "rows")}}]}


def answer_request(request: Request) -> Scripted:
    """Return a plan where one is asked for, else an answer."""
    if request.way == "text":
        if "two files" in request.text:
            return THIRD_ANSWER
        return SECOND_ANSWER if "How many" in request.text else ANSWER
    return plan_for(find_goal(request))


def find_goal(request: Request) -> str:
    """Return the goal that is planned now; what was said earlier on the thread stands before it, as `Goal: ...`."""
    text = str(request.body["messages"][-1]["content"])
    found = [line for line in text.splitlines() if re.search(r"(?i)save|how many|two files", line)]
    return found[-1] if found else text
