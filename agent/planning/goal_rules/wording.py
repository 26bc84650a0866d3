"""The words of a goal: its parts, the conditions among them, their numbers, and which tool a word speaks of."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from agent.core.plan.tool_spec import ToolSpec
from agent.programs.input_proposal import NUMBER_WORDS

_QUOTED: Final = re.compile("(?<!\\w)'[^']*'(?!\\w)|\"[^\"]*\"|\u2018[^\u2019]*\u2019|\u201c[^\u201d]*\u201d")
_THOUSANDS: Final = re.compile(r"(?<=\d),(?=\d{3}\b)")
_WORD: Final = re.compile(r"[a-z]+")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_MIN_STEM: Final = 3
_ENDINGS: Final = (("ies", "y"), ("ss", "ss"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""))
SPELLED_NUMBERS: Final = {
    **NUMBER_WORDS,
    "zero": 0,
    "one": 1,
    "dozen": 12,
    "thirteen": 13,
    "fourteen": 14,
    "sixteen": 16,
    "seventeen": 17,
    "eighteen": 18,
}
DATE: Final = re.compile(r"\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b")
#: Words that begin the name of a tool that only looks something up, whether or not it says so.
_READING_VERBS: Final = frozenset(
    {
        *(
            "get",
            "list",
            "find",
            "search",
            "look",
            "lookup",
            "check",
            "read",
            "fetch",
            "show",
            "count",
            "query",
            "tell",
        ),
        *("describe", "view", "load", "retrieve", "is", "has", "current", "latest", "available", "status"),
    }
)
#: Words that mean the same in goals and in the names of tools.
SYNONYMS: Final = (
    frozenset({"email", "mail", "message", "notify", "inform", "write", "tell", "send", "forward"}),
    frozenset({"order", "buy", "purchase", "reorder", "restock"}),
    frozenset({"create", "add", "make", "open", "schedule", "book", "set", "plan", "put", "new", "raise", "file"}),
    frozenset({"reserve", "book"}),
    frozenset({"cancel", "delete", "remove", "drop"}),
    frozenset({"close", "resolve", "shut"}),
    frozenset({"assign", "give", "hand"}),
    frozenset({"comment", "note", "reply"}),
    frozenset({"update", "change", "set", "move", "reschedule", "edit"}),
    frozenset({"pay", "settle"}),
    frozenset({"event", "meeting", "appointment"}),
)
#: Of no use to tell which tool is meant.
_COMMON_WORDS: Final = frozenset(
    {
        *("the", "and", "for", "with", "all", "each", "every", "any", "that", "this", "then", "from", "into", "one"),
        *("on", "of", "to", "in", "at", "by", "an", "is", "are", "be", "it", "as", "we", "its", "his", "her", "there"),
        *("than", "less", "fewer", "more", "how", "many", "or", "if", "so", "them", "these", "those"),
    }
)

_IF: Final = r"if|when|whenever|in case|as long as|provided that|provided"
_OTHERWISE: Final = r"otherwise|or else|else|if not"
#: "if CONDITION, CONSEQUENCE; otherwise OTHER": what is behind the comma depends on it, to the end of the sentence.
_BEFORE: Final = re.compile(
    rf"\b(?P<word>only if|only when|{_IF}|unless)\s+(?P<test>[^,;:]+?)"
    r"\s*(?:,\s*then\b|[,:]|\bthen\b)\s*"
    rf"(?P<met>.+?)"
    rf"(?:[\s,;.]*\b(?:{_OTHERWISE})\b[\s,]*(?P<unmet>.+))?$",
    re.IGNORECASE | re.DOTALL,
)
#: The same without a comma, in front of one of some verbs.
_BARE: Final = (
    rf"\b(?P<word>only if|only when|{_IF}|unless)\s+(?P<test>[^,;:]+?)\s+(?P<met>(?:%s)\b.+?)"
    rf"(?:[\s,;.]*\b(?:{_OTHERWISE})\b[\s,]*(?P<unmet>.+))?$"
)
#: "CONSEQUENCE if CONDITION, otherwise OTHER".
_BEHIND: Final = re.compile(
    rf"^(?P<met>.+?)[\s,]*\b(?:but\s+)?(?P<word>only if|only when|{_IF}|unless)\s+(?P<test>[^,;:]+?)"
    rf"(?:[\s,;.]*\b(?:{_OTHERWISE})\b[\s,]*(?P<unmet>.+))?[\s,;.]*$",
    re.IGNORECASE | re.DOTALL,
)
_SENTENCE_END: Final = re.compile(rf"(?<=[.!?;])\s+(?!(?:{_OTHERWISE})\b)(?=\S)|\n+", re.IGNORECASE)
#: What begins another errand.
_PART_END: Final = re.compile(r",\s*(?:and\s+|but\s+)?(?:then\s+)?|\s+(?:and|then|but)\s+(?:then\s+)?", re.IGNORECASE)
#: "if possible", "when done": nothing that is known beforehand depends on it.
_POLITE: Final = re.compile(
    r"^(?:any|possible|so|needed|necessary|(?:(?:that|this|it|all|everything) (?:is|was|has been) )?"
    r"(?:done|finished|ready))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class GoalCondition:
    """A condition that a goal puts on a part of it."""

    #: The words of the condition, and those that it stands in, for messages.
    test: str
    said: str
    #: What is done if it is met, and what if it is not.
    met: str
    unmet: str
    #: `unless`: what is done if the test is false.
    is_negated: bool


def mask_quotes(goal: str) -> str:
    """Return the goal with the words inside quotation marks, and the commas of numbers, replaced by underscores."""
    goal = _THOUSANDS.sub("_", goal)
    return _QUOTED.sub(lambda found: found[0][0] + "_" * (len(found[0]) - 2) + found[0][-1], goal)


def find_quoted(goal: str) -> list[str]:
    """Return the texts in quotation marks."""
    return [found[0][1:-1] for found in _QUOTED.finditer(goal)]


def split_sentences(goal: str) -> list[str]:
    """Return the sentences of a goal as they are written."""
    masked, at, found = mask_quotes(goal), 0, list[str]()
    for end in _SENTENCE_END.finditer(masked):
        found.append(goal[at : end.start()])
        at = end.end()
    return [each for each in (*found, goal[at:]) if each.strip()]


def find_conditions(goal: str, verbs: Collection[str] = ()) -> list[GoalCondition]:
    """Return the conditions of a goal, at most one a sentence.

    `verbs` are words by which the goal may begin an errand: a comma in front of one may be left out.
    """
    found = []
    for sentence in split_sentences(goal):
        masked = mask_quotes(sentence)
        match = _BEFORE.search(masked)
        if match is None or re.match(_OTHERWISE, match["met"], re.IGNORECASE):
            bare = re.compile(_BARE % "|".join(map(re.escape, sorted(verbs))), re.IGNORECASE | re.DOTALL)
            match = (bare.search(masked) if verbs else None) or _BEHIND.search(masked)
        if match is None or _POLITE.match(match["test"]):
            continue
        parts = {name: sentence[slice(*match.span(name))] if match[name] else "" for name in ("test", "met", "unmet")}
        if match.re is _BEHIND:
            # Of what stands before it, the last errand depends on the condition.
            parts["met"] = split_parts(parts["met"])[-1]
        said = " ".join(sentence[match.start("word") :].split()[:6])
        found.append(GoalCondition(said=said, is_negated=match["word"].lower() == "unless", **parts))
    return found


def split_parts(text: str) -> list[str]:
    """Return the errands of a text, split at commas, "and" and "then"."""
    masked, at, found = mask_quotes(text), 0, list[str]()
    for end in _PART_END.finditer(masked):
        found.append(text[at : end.start()])
        at = end.end()
    return [each for each in (*found, text[at:]) if each.strip()] or [text]


def list_words(text: str) -> list[str]:
    """Return the words of a text, or of a name such as `sendEmail` or `send_email`, in lower case."""
    return _WORD.findall(_CAMEL.sub(" ", text).lower())


def stem_word(word: str) -> str:
    """Return a word without the ending that goals give it: "tickets" and "ticket", "closing" and "close"."""
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _MIN_STEM:
            word = word[: -len(ending)] + instead
            break
    word = word.removesuffix("e") if len(word) > _MIN_STEM else word
    return word[:-1] if len(word) > _MIN_STEM and word[-1] == word[-2] else word


def list_stems(text: str) -> set[str]:
    """Return the stems of the words of a text that say something."""
    return {stem_word(word) for word in list_words(text) if word not in _COMMON_WORDS and len(word) > 1}


def expand_stems(stems: Iterable[str]) -> set[str]:
    """Return stems with those of words that mean the same."""
    given = set(stems)
    groups = [{stem_word(word) for word in group} for group in SYNONYMS]
    return given.union(*(group for group in groups if group & given))


def is_action(spec: ToolSpec) -> bool:
    """Whether a tool does something: it does not say that it only reads, nor does its name."""
    words = list_words(spec.name)
    return not spec.policy.read_only and not (words and words[0] in _READING_VERBS)


def score_tool(spec: ToolSpec, text: str) -> float:
    """Return how many words of a tool's name a text has; one that only means the same counts less."""
    stems = list_stems(text)
    expanded = expand_stems(stems)
    return sum(
        1.0 if part in stems else 0.6 if part in expanded else 0.0
        for part in map(stem_word, list_words(spec.name))
        if part not in _COMMON_WORDS
    )


def find_numbers(text: str) -> list[float]:
    """Return the numbers of a text, those in words included and those of dates not."""
    text = DATE.sub(" ", text)
    words = [SPELLED_NUMBERS[word] for word in list_words(text) if word in SPELLED_NUMBERS]
    digits = [float(each.replace(",", "")) for each in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?", text)]
    return [*digits, *map(float, words)]
