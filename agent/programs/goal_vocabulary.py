"""The small words of goals: which are dropped, and which are marks on the word that they stand before."""

from collections.abc import Mapping
from typing import Final

from agent.programs.goal_words import Token

#: Words of several tokens, the longest first, and the mark or class that each is.
PHRASES: Final[Mapping[tuple[str, ...], str]] = {
    ("no", "more", "than"): "at most",
    ("no", "less", "than"): "at least",
    ("no", "fewer", "than"): "at least",
    ("as", "well", "as"): "",
    ("the", "number", "of"): "COUNT",
    ("the", "amount", "of"): "MUCH",
    ("how", "many"): "COUNT",
    ("number", "of"): "COUNT",
    ("count", "of"): "COUNT",
    ("how", "much"): "MUCH",
    ("amount", "of"): "MUCH",
    ("at", "least"): "at least",
    ("at", "most"): "at most",
    ("up", "to"): "at most",
    ("more", "than"): "more than",
    ("less", "than"): "less than",
    ("fewer", "than"): "less than",
    ("other", "than"): "except",
    ("apart", "from"): "except",
    ("aside", "from"): "except",
    ("on", "average"): "AVG~",
    ("in", "total"): "SUM~",
    **{(verb, "me"): "" for verb in ("tell", "give", "show")},
    ("together", "with"): "",
    ("along", "with"): "",
    ("for", "each"): "EACH",
    ("for", "every"): "EACH",
}
MARK_WORDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("top", "most", "highest", "largest", "greatest", "biggest", "maximum"), "TOP"),
    **dict.fromkeys(("bottom", "least", "lowest", "smallest", "fewest", "minimum"), "LOW"),
    **dict.fromkeys(("average", "mean", "avg"), "AVG"),
    **dict.fromkeys(("total", "sum"), "SUM"),
    **dict.fromkeys(("each", "every", "per"), "EACH"),
    **dict.fromkeys(("no", "not", "without", "non"), "NOT"),
    "never": "NEVER",
    **dict.fromkeys(("except", "excluding"), "except"),
    **{word: word for word in ("before", "after", "since", "until", "between", "to", "into", "against", "on")},
    "till": "until",
    "exceeding": "more than",
    "above": "more than",
    "below": "less than",
}
PREPOSITIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("in", "of", "for", "at", "within", "during", "with", "through", "via"), "in"),
    "from": "from",
    "as": "as",
}
FORMS_OF_BE: Final = frozenset({"is", "are", "was", "were", "be", "been", "being"})
FORMS_OF_HAVE: Final = frozenset({"has", "have", "had", "having"})
DROPPED_WORDS: Final = (
    FORMS_OF_BE
    | FORMS_OF_HAVE
    | frozenset(
        (
            *("the", "a", "an", "do", "does", "did", "which", "who", "whom", "whose", "what", "us", "we", "our", "and"),
            *("also", "then", "please", "so", "come", "comes", "came"),
        )
    )
)
#: Words that point at something: dropped only where it stands in the goal itself, and not in what was said before it.
POINTING_WORDS: Final = frozenset({"it", "its", "their", "them", "that", "those", "there", "all", "any"})
QUANTITY_WORDS: Final = frozenset({"by", "how", "many", "much", "number", "amount", "count", "me"})
RELATIVE_PRONOUNS: Final = frozenset({"who", "whom", "whose", "that", "where"})
AUXILIARIES: Final = frozenset({"is", "are", "was", "were", "do", "does", "did", "has", "have", "had", "can", "could"})
ADVERBS: Final = frozenset({"still", "already", "ever", "also"})
SHOWING_VERBS: Final = frozenset({"show", "give", "list", "find", "get", "display", "tell", "compare"})
CHART_NOUNS: Final = frozenset({"chart", "graph", "diagram"})
CHART_KINDS: Final = frozenset({"bar", "line", "pie", "scatter", "area", "column", "stacked", "grouped", "box"})
DRAWING_VERBS: Final = frozenset({"draw", "plot", "visualize", "visualise"})
#: What may stand before a chart: "and show it as a bar chart".
BEFORE_CHARTS: Final = (
    DRAWING_VERBS
    | SHOWING_VERBS
    | frozenset(
        (
            *(
                "a",
                "an",
                "the",
                "as",
                "in",
                "with",
                "and",
                "it",
                "this",
                "them",
                "also",
                "then",
                "add",
                "include",
                "create",
            ),
            *("produce", "make", "result", "results"),
        )
    )
)
SAVING_VERBS: Final = frozenset({"save", "export"})
#: Of these "from Spain" and "in Spain" say the same.
RESIDENTS: Final = frozenset(
    ("customer", "client", "patient", "member", "person", "user", "employe", "student", "supplier", "guest", "citizen")
)
#: Marks that do not depend on the place of their word.
FREE_MARKS: Final = frozenset({"TOP", "LOW", "COUNT", "MUCH", "AVG", "SUM", "EACH"})


def is_grammar(token: Token) -> bool:
    """Whether a token is no word of content: a word of grammar, or one that only says what is to be done."""
    if token.kind == "mark":
        return True
    own = (
        DROPPED_WORDS,
        POINTING_WORDS,
        MARK_WORDS,
        PREPOSITIONS,
        CHART_NOUNS,
        DRAWING_VERBS,
        SHOWING_VERBS,
        SAVING_VERBS,
        QUANTITY_WORDS,
    )
    return token.may_be_function_word and any(token.lower in words for words in own)
