"""Reads what a goal asks for, so that two wordings of one goal have one reading, and any other goal has another.

A reading keeps every word of content and drops words of grammar. What a small word does to a content word is a mark on
that word: the greatest, the number, the average, each, not, before. A value has the preposition and the word that it
belongs to. Kept in order are the words without such a mark; what is asked for (the first of them), the marked ones and
the values may stand elsewhere in another wording.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.programs.goal_words import Token

#: Words of several tokens, the longest first, and the mark or class that each is.
_PHRASES: Final[Mapping[tuple[str, ...], str]] = {
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
    ("together", "with"): "",
    ("along", "with"): "",
    ("for", "each"): "EACH",
    ("for", "every"): "EACH",
}
_MARKS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("top", "most", "highest", "largest", "greatest", "biggest", "maximum"), "TOP"),
    **dict.fromkeys(("bottom", "least", "lowest", "smallest", "fewest", "minimum"), "LOW"),
    **dict.fromkeys(("average", "mean", "avg"), "AVG"),
    **dict.fromkeys(("total", "sum"), "SUM"),
    **dict.fromkeys(("each", "every", "per"), "EACH"),
    **dict.fromkeys(("no", "not", "never", "without", "non"), "NOT"),
    **dict.fromkeys(("except", "excluding"), "except"),
    **{word: word for word in ("before", "after", "since", "until", "between", "to", "into", "against", "on")},
    "till": "until",
    "exceeding": "more than",
    "above": "more than",
    "below": "less than",
}
_PREPOSITIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("in", "of", "for", "at", "within", "during", "with", "through", "via"), "in"),
    "from": "from",
    "as": "as",
}
_DROPPED: Final = frozenset(
    (
        *("the", "a", "an", "is", "are", "was", "were", "be", "been", "being", "has", "have", "had", "having", "do"),
        *("does", "did", "there", "its", "their", "his", "her", "it", "them", "they", "these", "those", "this", "that"),
        *("which", "who", "whom", "whose", "what", "us", "we", "our", "and", "also", "then", "please", "so", "make"),
        *("makes", "made", "come", "comes", "came"),
    )
)
_QUANTITIES: Final = frozenset({"by", "how", "many", "much", "number", "amount", "count"})
_RELATIVES: Final = frozenset({"who", "whom", "whose", "that", "where"})
_AUXILIARIES: Final = frozenset({"is", "are", "was", "were", "do", "does", "did", "has", "have", "had", "can", "could"})
_ADVERBS: Final = frozenset({"still", "already", "ever", "also"})
_SHOWING: Final = frozenset({"show", "give", "list", "find", "get", "display", "report", "tell", "return"})
_CHARTS: Final = frozenset({"chart", "graph", "diagram"})
_CHART_KINDS: Final = frozenset({"bar", "line", "pie", "scatter", "area", "column", "stacked", "grouped", "box"})
_DRAWING: Final = frozenset({"draw", "plot", "visualize", "visualise"})
#: What may stand before a chart: "and show it as a bar chart".
_BEFORE_CHARTS: Final = (
    _DRAWING
    | _SHOWING
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
_SAVING: Final = frozenset({"save", "export"})
#: Of these "from Spain" and "in Spain" say the same.
_RESIDENTS: Final = frozenset(
    ("customer", "client", "patient", "member", "person", "user", "employe", "student", "supplier", "guest", "citizen")
)
#: Marks that do not depend on the place of their word.
_FREE: Final = frozenset({"TOP", "LOW", "COUNT", "MUCH", "AVG", "SUM", "EACH"})


@dataclass(frozen=True, slots=True)
class SlotValue:
    """How a goal has the value of an input."""

    name: str
    #: The preposition or the comparison before it.
    mark: str
    #: The content word that it belongs to.
    anchor: str


@dataclass(frozen=True)
class Reading:
    """What a goal asks for."""

    #: What is asked for; with "+" for a plural that says that several are meant.
    head: str
    words: tuple[str, ...]
    marked: Counter[str]
    #: The words with "TOP" and "LOW" in their order, if there are several.
    ranks: tuple[str, ...]
    values: Counter[SlotValue]
    #: Years, which may stand elsewhere in a sentence of one deed.
    years: Counter[SlotValue]
    #: Whether the goal has a deed beside the one that it asks about.
    is_nested: bool

    def says_the_same(self, other: "Reading") -> bool:
        """Whether the two ask for the same."""
        is_nested = self.is_nested or other.is_nested
        mine, others = (each.years if is_nested else _drop_anchors(each.years) for each in (self, other))
        return mine == others and all(
            getattr(self, name) == getattr(other, name) for name in ("head", "words", "marked", "ranks", "values")
        )


def _drop_anchors(years: Counter[SlotValue]) -> Counter[SlotValue]:
    return Counter(SlotValue(year.name, year.mark, "") for year in years.elements())


def is_grammar(token: Token) -> bool:
    """Whether a token is no word of content: a word of grammar, or one that only says what is to be done."""
    if token.kind == "mark":
        return True
    own = (_DROPPED, _MARKS, _PREPOSITIONS, _CHARTS, _DRAWING, _SHOWING, _SAVING, _QUANTITIES)
    return token.may_be_function_word and any(token.lower in words for words in own)


def read_goal(tokens: Sequence[Token], slots: Mapping[str, str]) -> Reading:
    """Return what a goal asks for; `slots` has the kind of each input: "year", "count", "file" or "text"."""
    return _Reader(tokens, slots).read()


@dataclass
class _Reader:
    """A goal that is being read."""

    tokens: Sequence[Token]
    slots: Mapping[str, str]
    #: The marks before the next word of content.
    pending: list[str] = field(default_factory=list)
    #: Counts before it: name and mark.
    counts: list[tuple[str, str]] = field(default_factory=list)
    #: "TOP" or "LOW" of "top five products by revenue", until "by" is reached.
    ranking: str = ""
    preposition: str = ""
    #: The last word of content, and the form of it.
    before: Token | None = None
    anchor: str = ""
    #: The nouns so far; a rank is about the last of them: "customers with the most orders".
    nouns: list[str] = field(default_factory=list)
    head: str = ""
    has_count: bool = False
    is_nested: bool = False
    words: list[str] = field(default_factory=list)
    marked: Counter[str] = field(default_factory=Counter)
    ranks: list[str] = field(default_factory=list)
    values: Counter[SlotValue] = field(default_factory=Counter)
    years: Counter[SlotValue] = field(default_factory=Counter)

    def read(self) -> Reading:
        """Read all tokens."""
        if self.tokens and self.tokens[0].lower in _AUXILIARIES:
            # A question that is answered by yes or no.
            self.words.append("WHETHER")
        at = 0
        while at < len(self.tokens):
            at += self._take(at)
        self.marked.update([*self.pending, *filter(None, [self.ranking])])
        self.values.update(SlotValue(name, mark, "") for name, mark in self.counts)
        is_one_of_all = bool(self.ranks) and not self.has_count
        return Reading(
            head=self.head if is_one_of_all else self.head.removesuffix("+"),
            words=tuple(self.words),
            marked=self.marked,
            ranks=tuple(self.ranks) if len(self.ranks) > 1 else (),
            values=self.values,
            years=self.years,
            is_nested=self.is_nested,
        )

    def _take(self, at: int) -> int:
        """Read what begins at `at`; return of how many tokens it is."""
        token = self.tokens[at]
        if (length := self._take_chart(at)) > 0:
            return length
        if token.kind == "mark":
            self.preposition = ""
        elif token.kind == "slot":
            self._take_value(token, at)
        elif not token.may_be_function_word:
            return self._take_word(at)
        else:
            for length in (3, 2):
                phrase = tuple(each.lower for each in self.tokens[at : at + length])
                if phrase in _PHRASES:
                    self._take_mark(_PHRASES[phrase], at, length)
                    return length
            return self._take_small_word(token, at)
        return 1

    def _take_small_word(self, token: Token, at: int) -> int:
        """Read a word that may be one of grammar; return of how many tokens it is."""
        begins = at == 0 or self.tokens[at - 1].kind == "mark" or self.tokens[at - 1].lower in {"and", "then"}
        if token.lower.endswith(("n't", "n\u2019t")):
            self.pending.append("NOT")
        elif token.lower == "count" and at == 0:
            self.pending.append("COUNT")
        elif token.lower == "by":
            self._take_by(at)
        elif token.lower in _MARKS:
            self._take_mark(_MARKS[token.lower], at, 1)
        elif token.lower in _PREPOSITIONS:
            self.preposition = _PREPOSITIONS[token.lower]
        elif token.lower in _SAVING:
            self.marked["save"] += 1
        elif token.lower in _DRAWING and begins:
            is_chart_told = any(other.lower in _CHARTS for other in self.tokens[at + 1 :])
            self.marked.update([] if is_chart_told else ["chart "])
        elif not self._is_idle(token, at, begins=begins):
            return self._take_word(at)
        return 1

    def _is_idle(self, token: Token, at: int, *, begins: bool) -> bool:
        """Whether a word adds nothing to what is asked."""
        word = token.lower
        if word in _DROPPED or (word == "where" and self.head and not begins):
            self.is_nested |= bool(self.head) and word in _RELATIVES
            return True
        # "The names of all patients"; what all patients have is something else.
        is_total = word == "all" and (not self.head or self.tokens[at - 1].lower == "of")
        return is_total or (word == "any" and "NOT" in self.pending) or (word in _SHOWING and begins)

    def _take_chart(self, at: int) -> int:
        """Read a chart with all that leads to it; return of how many tokens it is, 0 if there is none."""
        end = at
        while end < len(self.tokens) and (self.tokens[end].text == "," or self.tokens[end].lower in _BEFORE_CHARTS):
            end += 1
        start = end
        while end < len(self.tokens) and self.tokens[end].lower in _CHART_KINDS:
            end += 1
        if end == len(self.tokens) or self.tokens[end].lower not in _CHARTS:
            return 0
        kinds = " ".join(token.lower for token in self.tokens[start:end])
        self.marked[f"chart {kinds}"] += 1
        return end + 1 - at

    def _take_mark(self, mark: str, at: int, length: int) -> None:
        if mark.endswith("~"):
            self.marked[mark] += 1
            return
        if not mark:
            return
        rest = self.tokens[at + length :]
        word = self.tokens[at].lower
        if mark in {"TOP", "LOW"}:
            if word in {"top", "bottom"} and any(token.lower == "by" for token in rest):
                self.ranking = mark
                return
            if word == "most" and rest and rest[0].lower == "of":
                # "Most of the customers" are no few of them.
                self._store([], word)
                return
            if word == "top" and not self.head and any(_MARKS.get(token.lower) in {"TOP", "LOW"} for token in rest):
                # "The top five customers with the most orders" are the five with the most.
                return
            is_last = not rest or rest[0].kind == "mark" or rest[0].lower in _PREPOSITIONS
            if is_last and self.words and self.words[-1] == self.anchor in self.nouns:
                # "Which month was revenue highest in?"
                self.nouns.remove(self.anchor)
                self._store([mark], self.words.pop())
                return
        if mark == "EACH" and not self._names_a_group(at + length):
            # "And for each of them the best": each of those before.
            self.marked[mark] += 1
            return
        self.pending.append(mark)
        if word in {"most", "least", "fewest"} and mark in {"TOP", "LOW"} and _begins_with_plural(rest):
            self.pending.append("COUNT")

    def _names_a_group(self, at: int) -> bool:
        """Whether the words from `at` on are what each of is meant: "channel", "of the channels"."""
        words = [token.lower for token in self.tokens[at : at + 3]]
        if words[:1] == ["of"]:
            return len(words) == 3 and words[1] in {"the", "these", "those"}
        return bool(words) and not (words[0] in _DROPPED or self.tokens[at].kind == "mark")

    def _take_by(self, at: int) -> None:
        following = self.tokens[at + 1] if at + 1 < len(self.tokens) else None
        # "Made by members": whoever does it.
        is_passive = at > 0 and self.tokens[at - 1].is_participle
        if self.ranking:
            self.pending.append(self.ranking)
            self.ranking = ""
        elif following is not None and following.kind == "word" and not is_grammar(following):
            if not following.is_plural:
                self.pending.append("EACH")
            elif not is_passive:
                self.pending.append("by")
        elif following is None or not (
            following.lower in {"each", "every"} or (is_passive and following.kind == "word")
        ):
            self.pending.append("by")

    def _take_word(self, at: int) -> int:
        """Read the word of content at `at` and what belongs to it; return of how many tokens it is."""
        token, following = self.tokens[at], self.tokens[at + 1] if at + 1 < len(self.tokens) else None
        if token.lower == "year" and following is not None and self.slots.get(following.text) == "year":
            return 1
        if token.is_participle and self._is_noun(at + 1) and not self._is_main_verb(at):
            # "Kept appointments" are appointments that were kept.
            length = self._take_word(at + 1)
            self._store([], token.form)
            return length + 1
        self.is_nested |= bool(self.head) and token.is_participle and not self._is_main_verb(at)
        marks, self.pending = self.pending, []
        length = self._measure_compound(at) if marks and _FREE.issuperset(marks) else 1
        form = " ".join(each.form for each in self.tokens[at : at + length])
        last = self.tokens[at + length - 1]
        self.values.update(SlotValue(name, mark, form) for name, mark in self.counts)
        self.counts = []
        if not self.head and "EACH" not in marks:
            self.head = " ".join([*marks, form]) + ("+" if last.is_plural else "")
            self.ranks += [self.head] if {"TOP", "LOW"} & {*marks} else []
        else:
            self._store(marks, form)
        self.before, self.anchor, self.preposition = last, last.form, ""
        if not (last.is_participle or last.lower in _ADVERBS):
            self.nouns.append(last.form)
        return length

    def _is_noun(self, at: int) -> bool:
        """Whether the word at `at` is a plural that nothing separates from the one before."""
        token = self.tokens[at] if at < len(self.tokens) else None
        return token is not None and token.kind == "word" and token.is_plural and not is_grammar(token)

    def _measure_compound(self, at: int) -> int:
        """Return of how many words the noun at `at` is: "list price", but not "trips start"."""
        length = 1
        while at + length < len(self.tokens):
            token = self.tokens[at + length]
            is_part = token.kind == "word" and not is_grammar(token) and not token.is_participle
            if self.tokens[at + length - 1].is_plural or not is_part:
                break
            length += 1
        return length

    def _is_main_verb(self, at: int) -> bool:
        """Whether the participle at `at` is a passive or a perfect: "how many were returned"."""
        before = [token.lower for token in self.tokens[:at] if token.lower not in {"not", "never", "still", "ever"}]
        return bool(before) and before[-1] in {"is", "are", "was", "were", "be", "been", "being", "has", "have", "had"}

    def _store(self, marks: list[str], form: str) -> None:
        text = " ".join([*marks, form])
        is_rank = bool({"TOP", "LOW"} & {*marks})
        if is_rank and form != "often":
            text += f" of {self.nouns[-1] if self.nouns else ''}"
        if marks and _FREE.issuperset(marks):
            self.marked[text] += 1
        else:
            self.words.append(text)
        if is_rank:
            self.ranks.append(text)

    def _take_value(self, token: Token, at: int) -> None:
        name, kind = token.text, self.slots.get(token.text, "text")
        own = [mark for mark in self.pending if mark not in _FREE]
        self.pending = [mark for mark in self.pending if mark in _FREE]
        preposition, self.preposition = self.preposition, ""
        if kind == "count":
            self.has_count = True
            before = self.tokens[at - 1].lower if at > 0 else ""
            own += [before] if self.head and before in _PREPOSITIONS else []
            self.counts.append((name, " ".join(own)))
        elif kind == "year":
            own += [preposition] if preposition not in {"", "in"} else []
            self.years[SlotValue(name, " ".join(own), self.anchor)] += 1
        elif kind == "file":
            own = [mark for mark in own if mark not in {"to", "into"}]
            self.values[SlotValue(name, " ".join([*own, "file"]), "")] += 1
        else:
            if "on" in own or (preposition == "from" and self.anchor in _RESIDENTS):
                own, preposition = [mark for mark in own if mark != "on"], "in"
            self.values[SlotValue(name, " ".join([*own, preposition]), self.anchor)] += 1


def _begins_with_plural(tokens: Sequence[Token]) -> bool:
    """Whether the first words of content, up to a word of grammar, have a plural."""
    for token in tokens:
        if token.kind == "slot":
            continue
        if token.kind != "word" or is_grammar(token):
            return False
        if token.is_plural:
            return True
    return False
