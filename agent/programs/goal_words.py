"""The words of goals: cut into tokens, each with the form by which inflections of one word are the same word.

Only inflection is taken away, never meaning: plurals, the past of a verb, spellings of the two shores. A word ending in
"-ing" stays ("returning" is not "returned"), and so does the past of a verb that is also a state ("opened", "open").
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from agent.programs.input_proposal import NUMBER_WORDS

#: What may stand before a goal, or be left out, without changing what is asked.
_OPENINGS: Final = (
    r"(?:please|kindly|can you|could you|would you|i want to know|i would like to know|i'd like to know|i need|i want|"
    r"let me know|tell me|give me|show me|show|look up|list|find out|find|get|compute|calculate|determine|display|"
    r"compare|what are|what is|what's|what were|what was|which are|which is|which were|which was|who are|who is)"
)
_OPENING: Final = re.compile(rf"^\W*(?:{_OPENINGS}\b[\s,:]*)+", re.IGNORECASE)
_ENDING: Final = re.compile(r"[\s,]*(?:please|thanks|thank you)?[\s.!?]*$", re.IGNORECASE)
_TOKEN: Final = re.compile(
    r"\{(?P<slot>\w+)\}"
    r"""|(?P<quoted>"[^"]{1,80}"|(?<!\w)'[^']{1,80}'(?!\w)|\u201c[^\u201d]{1,80}\u201d)"""
    r"|(?P<literal>https?://\S+[^\s.,;:!?]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+|\d{4}-\d\d-\d\d|\w[\w-]*\.[A-Za-z]\w{1,5}\b)"
    r"|(?P<number>\d+(?:[.,]\d+)*%?(?![^\W\d_]))"
    r"|(?P<word>[^\W_]+(?:_[^\W_]+)*(?:['\u2019][^\W_]+)*)"
    r"|(?P<hyphen>(?<=[^\W\d_])-(?=[^\W\d_]))"
    r"|(?P<sign>[<>=%$\u20ac\u00a3&+/*#@|~^-])|(?P<mark>[,;:.?!()])"
)
_IRREGULAR: Final[Mapping[str, str]] = {
    "bought": "buy",
    "sold": "sell",
    "paid": "pay",
    "rode": "ride",
    "ridden": "ride",
    "took": "take",
    "taken": "take",
    "wrote": "write",
    "written": "write",
    "began": "begin",
    "begun": "begin",
    "spent": "spend",
    "sent": "send",
    "lent": "lend",
    "built": "build",
    "left": "leave",
    "lost": "lose",
    "won": "win",
    "met": "meet",
    "saw": "see",
    "seen": "see",
    "grew": "grow",
    "grown": "grow",
    "fell": "fall",
    "fallen": "fall",
    "ran": "run",
    "brought": "bring",
    "caught": "catch",
    "taught": "teach",
    "thought": "think",
    "drove": "drive",
    "driven": "drive",
    "flew": "fly",
    "flown": "fly",
    "went": "go",
    "gone": "go",
    "came": "come",
    "got": "get",
    "people": "person",
    "children": "child",
    "men": "man",
    "women": "woman",
}
_PARTICIPLES: Final = frozenset(word for word in _IRREGULAR if word not in {"people", "children", "men", "women"}) | {
    "kept",
    "held",
    "born",
    "made",
}
#: The past of these is a deed, the word itself a state.
_STATES: Final = frozenset(
    ("open", "clos", "complet", "clean", "empti", "correct", "own", "direct", "present", "activ", "current", "need")
)
#: Words that say the same wherever they stand.
_SYNONYMS: Final[Mapping[str, str]] = {"frequent": "common", "frequently": "often", "purchas": "buy", "begin": "start"}
_SPELLINGS: Final = (("metre", "meter"), ("litre", "liter"), ("centre", "center"), ("colour", "color"))


@dataclass(frozen=True, slots=True)
class Token:
    """A part of a goal; `kind` is the name of its group in the pattern of tokens."""

    kind: str
    #: As it stands in the goal.
    text: str
    #: Without case and possessive.
    lower: str
    #: Without inflection.
    form: str
    start: int
    end: int
    #: What stands before it: a space, a hyphen or nothing.
    gap: str
    #: Whether it begins a sentence, where a capital says nothing.
    is_first: bool

    @property
    def is_plural(self) -> bool:
        """Whether a word has the ending of a plural."""
        return self.lower in {"people", "children", "men", "women"} or (
            len(self.lower) > 3 and self.lower.endswith("s") and not self.lower.endswith(("ss", "us", "is"))
        )

    @property
    def is_participle(self) -> bool:
        """Whether a word may be the past of a verb."""
        return self.lower in _PARTICIPLES or (len(self.lower) > 4 and self.lower.endswith("ed"))

    @property
    def may_be_function_word(self) -> bool:
        """Whether the word is written as words of grammar are: "IT" and "US" are none."""
        return self.kind == "word" and (self.text == self.text.lower() or (self.is_first and not self.is_capitals))

    @property
    def is_capitals(self) -> bool:
        """Whether the word is an abbreviation."""
        return len(self.text) > 1 and self.text == self.text.upper()


def strip_courtesy(text: str) -> str:
    """Return a goal without what is said for politeness at its beginning and end."""
    return _ENDING.sub("", _OPENING.sub("", text.strip()))


def split_goal(text: str) -> list[Token]:
    """Return the tokens of a goal, or of its template, without what is said for politeness."""
    text = strip_courtesy(text)
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind == "hyphen":
            continue
        lower = re.sub(r"['\u2019]s$", "", match[0].casefold())
        form = normalize_word(lower) if kind == "word" else lower.replace(",", "")
        between = text[tokens[-1].end : match.start()] if tokens else ""
        is_first = not tokens or tokens[-1].text in {".", "?", "!", ":"}
        gap = between if between in {"", "-"} else " "
        tokens.append(Token(kind, match["slot"] or match[0], lower, form, *match.span(), gap, is_first))
    return tokens


def normalize_word(word: str) -> str:
    """Return a word in lower case without its inflection; the result is a mark, and not always a word."""
    form = _strip_inflection(word)
    return _SYNONYMS.get(form, form)


def _strip_inflection(word: str) -> str:
    if word in NUMBER_WORDS:
        return str(NUMBER_WORDS[word])
    word = _IRREGULAR.get(word, word)
    for british, american in _SPELLINGS:
        word = word.replace(british, american)
    if word.endswith("ies") and len(word) > 4:
        word = f"{word[:-3]}y"
    elif word.endswith(("sses", "shes", "ches", "xes", "zes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    elif word.endswith("ied") and len(word) > 4:
        word = f"{word[:-3]}y"
    elif word.endswith("ed") and len(word) > 4 and not word.endswith("eed"):
        stem = word[:-2]
        if len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in "sfz":
            stem = stem[:-1]
        return word if stem in _STATES else stem
    # "prescribe" as "prescribed", "cancelling l" as one.
    word = word[:-1] if word.endswith("e") and len(word) > 3 else word
    return word[:-1] if word.endswith("ll") and len(word) > 5 else word
