"""What a goal says by "then", "after" and "before" as dependencies."""

import re
from typing import Final

from agent.planning.goal_rules.draft_tasks import DraftTasks, TaskDocument
from agent.planning.goal_rules.wording import mask_quotes, split_sentences

#: Between two errands: what stands behind comes later.
_THEN: Final = re.compile(
    r"[,;.]?\s*\b(?:and\s+|but\s+|only\s+)*(?:then|after that|afterwards?|after which|thereafter|subsequently|finally|"
    r"lastly|at the end|in the end|next,|before|"
    r"once (?:it|that|this|they|he|she|all|everything)\b[^,;.]*?\b(?:is|are|was|"
    r"were|has been|have been)\s+\w+|(?:when|as soon as) (?:it|that|this|all|everything) (?:is|has been) \w+)\b,?\s*",
    re.IGNORECASE,
)
#: "After X, Y": what stands in front comes first.
_AFTER_FIRST: Final = re.compile(
    r"^\W*(?:only\s+)?(?:after|once|as soon as|when)\s+(?P<first>[^,;]+),\s*(?:then\s+)?(?P<second>.+)$",
    re.IGNORECASE | re.DOTALL,
)
#: "Before X, Y": what stands behind comes first.
_BEFORE_FIRST: Final = re.compile(r"^\W*before\s+(?P<second>[^,;]+),\s*(?P<first>.+)$", re.IGNORECASE | re.DOTALL)
#: "Y after X": what stands behind comes first.
_AFTER_LAST: Final = re.compile(
    r"^(?P<second>.+?)\s+(?:only\s+)?(?:after|once|as soon as)\s+(?!that\b|which\b)(?P<first>.+)$",
    re.IGNORECASE | re.DOTALL,
)
#: "if X, then Y" says what depends on a condition, not what comes later.
_IF_THEN: Final = re.compile(r"(\b(?:if|unless|when|in case)\b[^,;:]*[,:]?\s*)then\b", re.IGNORECASE)
_TIME: Final = re.compile(r"^\W*(?:before|after|until|by)\s+(?:\d|noon|midnight|the end|today|tomorrow)", re.IGNORECASE)


def add_order(goal: str, draft: DraftTasks) -> None:
    """Let each call wait for those that the goal puts in front of it.

    Two lookups need no order. A task that a condition may skip is waited for only under the same condition, since what
    waits for a skipped task is skipped itself.
    """
    stages = split_stages(goal)
    if len(stages) < 2:
        return
    placed = {task["id"]: stage for task in draft if (stage := _find_stage(task, stages, draft)) is not None}
    actions = {task["id"] for task in draft.list_actions()}
    by_id = {task["id"]: task for task in draft}
    for task in draft:
        stage = placed.get(task["id"], 0)
        earlier = [
            other
            for other, place in placed.items()
            if place < stage
            and (other in actions or task["id"] in actions)
            and other not in draft.find_dependants(task["id"])
            and by_id[other].get("condition") in {None, task.get("condition")}
        ]
        for other in earlier:
            rests = draft.find_dependants(other)
            if task["id"] not in rests and not any(each in rests for each in earlier if each != other):
                task["depends_on"] = [*task.get("depends_on", ()), other]


def split_stages(goal: str) -> list[str]:
    """Return the parts of a goal in the order in which it wants them done."""
    found = list[str]()
    for sentence in split_sentences(_IF_THEN.sub(r"\1", goal)):
        masked = mask_quotes(sentence)
        for pattern in (_AFTER_FIRST, _BEFORE_FIRST, _AFTER_LAST):
            match = pattern.search(masked)
            if match is not None and not _is_time(masked, match):
                parts = [sentence[slice(*match.span(name))] for name in ("first", "second")]
                found += [stage for part in parts for stage in _split_then(part)]
                break
        else:
            found += _split_then(sentence)
    return found


def _is_time(sentence: str, match: re.Match[str]) -> bool:
    """Whether "after" and "before" speak of the clock or the calendar."""
    word = re.search(r"\b(?:before|after)\s+\S+", sentence[match.start() :], re.IGNORECASE)
    return word is not None and _TIME.match(word[0]) is not None


def _split_then(text: str) -> list[str]:
    masked, at, found = mask_quotes(text), 0, list[str]()
    for end in _THEN.finditer(masked):
        if _TIME.match(masked[end.start() :].lstrip(" ,;.")):
            continue
        found.append(text[at : end.start()])
        at = end.end()
    return [each for each in (*found, text[at:]) if each.strip(" .,;")]


def _find_stage(task: TaskDocument, stages: list[str], draft: DraftTasks) -> int | None:
    scores = [draft.score(task, stage) for stage in stages]
    best = max(scores)
    return scores.index(best) if best > 0 else None
