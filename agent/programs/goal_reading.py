"""Reads what a goal asks for, so that two wordings of one goal have one reading, and any other goal has another.

A reading keeps every word of content and drops words of grammar. What a small word does to a content word is a mark on
that word: the greatest, the number, the average, each, not, before. A value has the preposition and the word that it
belongs to. Kept in order are the words without such a mark; what is asked for (the first of them), the marked ones and
the values may stand elsewhere in another wording.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.programs.goal_vocabulary import (
    ADVERBS,
    AUXILIARIES,
    BEFORE_CHARTS,
    CHART_KINDS,
    CHART_NOUNS,
    DRAWING_VERBS,
    DROPPED_WORDS,
    FORMS_OF_BE,
    FORMS_OF_HAVE,
    FREE_MARKS,
    MARK_WORDS,
    PHRASES,
    POINTING_WORDS,
    PREPOSITIONS,
    RELATIVE_PRONOUNS,
    RESIDENTS,
    SAVING_VERBS,
    SHOWING_VERBS,
    is_grammar,
)
from agent.programs.goal_words import Token


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


def read_goal(tokens: Sequence[Token], slots: Mapping[str, str]) -> Reading:
    """Return what a goal asks for; `slots` has the kind of each input: "year", "count", "file" or "text"."""
    moved = _move_beginning(tokens)
    reading = _Reader(moved, slots).read() if moved else None
    # In a goal of two deeds its beginning may be about the first of them.
    return reading if reading is not None and not reading.is_nested else _Reader(tokens, slots).read()


def _move_beginning(tokens: Sequence[Token]) -> Sequence[Token]:
    """Return the tokens with "in the Outdoor department," from the beginning at the end; none if there is no such."""
    comma = next((at for at, token in enumerate(tokens) if token.text == ","), 0)
    words = [token.lower for token in tokens[:2]]
    is_place = comma > 1 and words[0] in {"in", "at", "for"} and words[1] not in {"which", "what", "each", "every"}
    has_text = is_place and any(token.kind == "slot" for token in tokens[:comma])
    return [*tokens[comma + 1 :], *tokens[:comma]] if has_text else ()


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
    #: Whether the goal begins with "for each ...", which "its" is about.
    has_group: bool = False
    #: Whether the last mark was "EACH".
    is_each: bool = False
    is_nested: bool = False
    words: list[str] = field(default_factory=list)
    marked: Counter[str] = field(default_factory=Counter)
    ranks: list[str] = field(default_factory=list)
    values: Counter[SlotValue] = field(default_factory=Counter)
    years: Counter[SlotValue] = field(default_factory=Counter)

    def read(self) -> Reading:
        """Read all tokens."""
        if self.tokens and self.tokens[0].lower in AUXILIARIES:
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
                if phrase in PHRASES:
                    self._take_mark(PHRASES[phrase], at, length)
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
        elif token.lower in MARK_WORDS:
            self._take_mark(MARK_WORDS[token.lower], at, 1)
        elif token.lower in PREPOSITIONS:
            self.preposition = PREPOSITIONS[token.lower]
        elif token.lower in SAVING_VERBS:
            self.marked["save"] += 1
        elif token.lower in DRAWING_VERBS and begins:
            is_chart_told = any(other.lower in CHART_NOUNS for other in self.tokens[at + 1 :])
            self.marked.update([] if is_chart_told else ["chart "])
        elif not self._is_idle(token, at, begins=begins):
            return self._take_word(at)
        return 1

    def _is_idle(self, token: Token, at: int, *, begins: bool) -> bool:
        """Whether a word adds nothing to what is asked."""
        word = token.lower
        is_where = word == "where" and bool(self.head) and not begins
        if word in DROPPED_WORDS or is_where or (word in POINTING_WORDS and self._points_back(word, at)):
            self.is_nested |= bool(self.head) and word in RELATIVE_PRONOUNS
            return True
        return word in SHOWING_VERBS and begins

    def _points_back(self, word: str, at: int) -> bool:
        """Whether a word that points means what the goal itself has said, or nothing in particular."""
        before = self.tokens[at - 1].lower if at > 0 else ""
        after = self.tokens[at + 1].lower if at + 1 < len(self.tokens) else ""
        match word:
            case "it":
                return self.has_group or before in SAVING_VERBS | DRAWING_VERBS | SHOWING_VERBS
            case "its" | "their":
                return self.has_group or (bool(self.head) and before in {"and", "with", "by", ","})
            case "them":
                return self.is_each and before == "of"
            case "that" | "those":
                return bool(self.head) and before not in PREPOSITIONS and after not in {"year", "month", ""}
            case "there":
                return before in FORMS_OF_BE or after in FORMS_OF_BE
            case "all":
                # "The names of all patients"; what all patients have is something else.
                return not self.head or before == "of"
            case _:
                return bool({"NOT", "NEVER"} & {*self.pending})

    def _take_chart(self, at: int) -> int:
        """Read a chart with all that leads to it; return of how many tokens it is, 0 if there is none."""
        end = at
        while end < len(self.tokens) and (self.tokens[end].text == "," or self.tokens[end].lower in BEFORE_CHARTS):
            end += 1
        start = end
        while end < len(self.tokens) and self.tokens[end].lower in CHART_KINDS:
            end += 1
        if end == len(self.tokens) or self.tokens[end].lower not in CHART_NOUNS:
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
            if word == "top" and not self.head and any(MARK_WORDS.get(token.lower) in {"TOP", "LOW"} for token in rest):
                # "The top five customers with the most orders" are the five with the most.
                return
            is_last = not rest or rest[0].kind == "mark" or rest[0].lower in PREPOSITIONS
            if is_last and self.words and self.words[-1] == self.anchor in self.nouns:
                # "Which month was revenue highest in?"
                self.nouns.remove(self.anchor)
                self._store([mark], self.words.pop())
                return
        self.is_each = mark == "EACH"
        if mark == "EACH" and not self._names_a_group(at + length):
            # "And for each of them the best": each of those before.
            self.marked[mark] += 1
            return
        self.pending.append(mark)
        # "With the most kept ones": "with" belongs to the most.
        self.preposition = ""
        if word in {"most", "least", "fewest"} and mark in {"TOP", "LOW"} and _begins_with_plural(rest):
            self.pending.append("COUNT")

    def _names_a_group(self, at: int) -> bool:
        """Whether the words from `at` on are what each of is meant: "channel", "of the channels"."""
        words = [token.lower for token in self.tokens[at : at + 3]]
        if words[:1] == ["of"]:
            return len(words) == 3 and words[1] in {"the", "these", "those"}
        return bool(words) and not (words[0] in DROPPED_WORDS | POINTING_WORDS or self.tokens[at].kind == "mark")

    def _take_by(self, at: int) -> None:
        following = self.tokens[at + 1] if at + 1 < len(self.tokens) else None
        if self.ranking:
            self.pending.append(self.ranking)
            self.ranking = ""
        elif following is not None and following.kind == "word" and not is_grammar(following):
            self.pending.append("by" if following.is_plural else "EACH")
        elif following is None or following.lower not in {"each", "every"}:
            self.pending.append("by")

    def _take_word(self, at: int) -> int:
        """Read the word of content at `at` and what belongs to it; return of how many tokens it is."""
        token, following = self.tokens[at], self.tokens[at + 1] if at + 1 < len(self.tokens) else None
        if token.lower == "year" and following is not None and self.slots.get(following.text) == "year":
            return 1
        if token.kind == "literal" and self.marked["save"]:
            # "As x.csv", "to x.csv".
            self.marked[" ".join([*(mark for mark in self.pending if mark not in {"to", "into"}), token.form])] += 1
            self.pending = []
            return 1
        if token.is_participle and self._is_noun(at + 1) and not self._is_main_verb(at):
            # "Kept appointments" are appointments that were kept.
            length = self._take_word(at + 1)
            self._store([], f"be {token.form}")
            return length + 1
        self.is_nested |= bool(self.head) and token.is_participle and not self._is_main_verb(at)
        marks, self.pending = self.pending, []
        length = self._measure_compound(at) if marks and FREE_MARKS.issuperset(marks) else 1
        form = " ".join(each.form for each in self.tokens[at : at + length])
        if token.is_participle and token.lower != "born" and self._find_auxiliary(at) in FORMS_OF_BE:
            # "Who were called" are not "who called".
            form = f"be {form}"
        last = self.tokens[at + length - 1]
        self.values.update(SlotValue(name, mark, form) for name, mark in self.counts)
        self.counts = []
        if not self.head and "EACH" not in marks:
            self.head = " ".join([*marks, form]) + ("+" if last.is_plural else "")
            self.ranks += [self.head] if {"TOP", "LOW"} & {*marks} else []
        else:
            self.has_group |= not self.head
            self._store(marks, form)
        self.before, self.anchor, self.preposition = last, last.form, ""
        if not (last.is_participle or last.lower in ADVERBS):
            self.nouns.append(last.form)
        return length

    def _is_noun(self, at: int) -> bool:
        """Whether the word at `at` is a plural that nothing separates from the one before."""
        token = self.tokens[at] if at < len(self.tokens) else None
        return token is not None and token.kind == "word" and token.is_plural and not is_grammar(token)

    def _measure_compound(self, at: int) -> int:
        """Return of how many words the noun at `at` is: "list price", but not "trips start"."""
        length = 1
        has_do = any(token.lower in {"do", "does", "did"} for token in self.tokens[:at])
        while at + length < len(self.tokens):
            token = self.tokens[at + length]
            is_part = token.kind == "word" and not is_grammar(token) and not token.is_participle
            after = self.tokens[at + length + 1 : at + length + 2]
            # "How many trips did each member make?"
            is_verb = has_do and (not after or is_grammar(after[0]))
            if self.tokens[at + length - 1].is_plural or not is_part or is_verb:
                break
            length += 1
        return length

    def _is_main_verb(self, at: int) -> bool:
        """Whether the participle at `at` is a passive or a perfect: "how many were returned"."""
        return self._find_auxiliary(at) in FORMS_OF_BE | FORMS_OF_HAVE

    def _find_auxiliary(self, at: int) -> str:
        """Return the word before the verb at `at`, adverbs aside."""
        before = (token.lower for token in reversed(self.tokens[:at]))
        return next((word for word in before if word not in ADVERBS | {"not", "never"}), "")

    def _store(self, marks: list[str], form: str) -> None:
        text = " ".join([*marks, form])
        is_rank = bool({"TOP", "LOW"} & {*marks})
        if is_rank and form != "often":
            text += f" of {self.nouns[-1] if self.nouns else ''}"
        if marks and FREE_MARKS.issuperset(marks):
            self.marked[text] += 1
        else:
            self.words.append(text)
        if is_rank:
            self.ranks.append(text)

    def _take_value(self, token: Token, at: int) -> None:
        name, kind = token.text, self.slots.get(token.text, "text")
        own = [mark for mark in self.pending if mark not in FREE_MARKS]
        self.pending = [mark for mark in self.pending if mark in FREE_MARKS]
        preposition, self.preposition = self.preposition, ""
        if kind == "count":
            self.has_count = True
            before = self.tokens[at - 1].lower if at > 0 else ""
            own += [before] if self.head and before in PREPOSITIONS else []
            self.counts.append((name, " ".join(own)))
        elif kind == "year":
            own += [preposition] if preposition not in {"", "in"} else []
            self.years[SlotValue(name, " ".join(own), self.anchor)] += 1
        elif kind == "file":
            own = [mark for mark in own if mark not in {"to", "into"}]
            self.values[SlotValue(name, " ".join([*own, "file"]), "")] += 1
        else:
            if "on" in own or (preposition == "from" and self.anchor in RESIDENTS):
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
