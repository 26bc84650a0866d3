"""Replies of a model, and how a JSON object is parsed from one."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict

from agent.core.plan.tool_spec import JsonSchema
from agent.llm.response_schema import remove_optional_nulls

_FENCE_PATTERN: Final = re.compile(r"```[a-zA-Z]*\s*\n(.*?)```", re.DOTALL)
_MAX_CHARACTERS: Final = 300
#: Faults named in one sentence; a reply with more of them is written again anyway.
_MAX_FAULTS: Final = 3


class Usage(BaseModel):
    """Tokens of one call, or of several together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_tokens: int = 0
    output_tokens: int = 0
    #: As the server reports it with its reply, in the server's currency; None if it reports none.
    cost: float | None = None

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost=sum_costs(self.cost, other.cost),
        )


def sum_costs(*costs: float | None) -> float | None:
    """Return the sum of the costs that are known; None if none is."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None


class ParsedReply(BaseModel):
    """A reply that fits the schema."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: dict[str, Any]
    raw: str
    usage: Usage


class MalformedReply(BaseModel):
    """A reply that cannot be used; `reason` is a sentence that the model itself can be given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    raw: str
    usage: Usage


class TextReply(BaseModel):
    """A reply in prose, not empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    usage: Usage
    #: The server ended it at the token limit.
    truncated: bool = False


Reply = ParsedReply | MalformedReply

#: What models write around their reasoning if their server does not separate it: the tags of DeepSeek, Qwen and others,
#: and the marks of Kimi, Magistral and gpt-oss.
_TAGS: Final = ("think", "thinking", "thought", "thoughts", "reasoning", "seed:think")
_CHANNEL: Final = "<|channel|>"
_BEGIN_MARKS: Final = (*(f"<{tag}>" for tag in _TAGS), "◁think▷", "[think]", f"{_CHANNEL}analysis<|message|>")
_FINAL_MARK: Final = f"{_CHANNEL}final<|message|>"
_END_MARKS: Final = (
    *(f"</{tag}>" for tag in _TAGS),
    *("◁/think▷", "[/think]"),
    *(f"<|end|><|start|>assistant{_FINAL_MARK}", f"<|end|>{_FINAL_MARK}", "<|end|>"),
)
_REASONING_BEGIN: Final = re.compile("|".join(map(re.escape, _BEGIN_MARKS)), re.IGNORECASE)
_REASONING_END: Final = re.compile("|".join(map(re.escape, _END_MARKS)), re.IGNORECASE)
_LONGEST_MARK: Final = max(map(len, (*_BEGIN_MARKS, *_END_MARKS)))


def drop_reasoning(text: str) -> str:
    """Return a reply without the model's reasoning, also if the reasoning has no end, or no beginning."""
    reasoning = ReasoningFilter()
    kept = reasoning.feed(text) + reasoning.finish()
    *_, end = (None, *_REASONING_END.finditer(kept))
    # Some templates write the beginning into the prompt.
    return kept if end is None else kept[end.end() :].lstrip()


class ReasoningFilter:
    """Takes the reasoning out of a text that arrives in pieces."""

    def __init__(self) -> None:
        self._is_inside = False
        self._held = ""

    def feed(self, piece: str) -> str:
        """Return what can be shown after `piece`; the beginning of a possible mark is held back."""
        self._held += piece
        shown: list[str] = []
        while True:
            mark = (_REASONING_END if self._is_inside else _REASONING_BEGIN).search(self._held)
            if mark is None or self._may_grow(mark.end(), mark.group()):
                break
            if not self._is_inside:
                shown.append(self._held[: mark.start()])
            self._held = self._held[mark.end() :]
            self._is_inside = not self._is_inside
        safe = self._find_safe_end()
        if not self._is_inside:
            shown.append(self._held[:safe])
        self._held = self._held[safe:]
        return "".join(shown)

    def finish(self) -> str:
        """Return what was held back at the end of the text."""
        rest, self._held = ("" if self._is_inside else self._held), ""
        return rest

    def _may_grow(self, end: int, mark: str) -> bool:
        """Whether a longer mark begins with this one, at the end of what has arrived."""
        tail = mark.lower() + self._held[end:].lower()
        return any(each != tail and each.startswith(tail) for each in _END_MARKS) and self._is_inside

    def _find_safe_end(self) -> int:
        """Return where a mark begins of which the rest has not arrived; the end if none does."""
        held, marks = self._held.lower(), _END_MARKS if self._is_inside else _BEGIN_MARKS
        first = max(0, len(held) - _LONGEST_MARK)
        return next(
            (at for at in range(first, len(held)) if any(mark.startswith(held[at:]) for mark in marks)), len(held)
        )


class _InvalidJsonError(ValueError):
    """The text is not JSON that we accept; the message is a sentence."""


def parse_reply(raw: str, *, schema: JsonSchema, tolerant: bool, usage: Usage) -> Reply:
    """Return the JSON object in `raw` if it fits `schema`.

    `tolerant` is for a server that was asked for JSON but not constrained to it: fences and text around the object, and
    repeated keys (the last one counts), are accepted. Numbers outside JSON and lone surrogates never are.
    """
    text = raw if raw.lstrip().startswith("{") else drop_reasoning(raw)
    if not text.strip() and "{" in raw:
        # The reasoning has no end, and the object may be at its end.
        text = raw
    try:
        value = _parse_tolerant(text) if tolerant else _parse_exact(text)
        _refuse_unstorable(value)
    except _InvalidJsonError as error:
        return MalformedReply(reason=str(error), raw=raw, usage=usage)
    if not isinstance(value, dict):
        return MalformedReply(reason="The reply must be one JSON object.", raw=raw, usage=usage)
    value = remove_optional_nulls(value, schema=schema)
    if faults := list(_describe_faults(value, schema)):
        return MalformedReply(reason=" ".join(faults), raw=raw, usage=usage)
    return ParsedReply(value=value, raw=raw, usage=usage)


def _parse_exact(raw: str) -> object:
    try:
        return json.loads(raw, object_pairs_hook=_reject_repeated_keys, parse_constant=_reject_constant)
    except _InvalidJsonError:
        raise
    except RecursionError as error:
        raise _InvalidJsonError("The reply is nested too deeply.") from error
    except ValueError as error:
        raise _InvalidJsonError(f"The reply is not JSON: {error}.") from error


def _parse_tolerant(raw: str) -> object:
    decoder = json.JSONDecoder(parse_constant=_reject_constant)
    for text in (*_FENCE_PATTERN.findall(raw), raw):
        for start in _find_braces(text):
            try:
                value, _end = decoder.raw_decode(text, start)
            except _InvalidJsonError:
                raise
            except (ValueError, RecursionError):
                continue
            return value
    raise _InvalidJsonError("The reply contains no complete JSON object.")


def _find_braces(text: str) -> Iterator[int]:
    return (match.start() for match in re.finditer(r"\{", text))


def _reject_repeated_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    parsed: dict[str, object] = {}
    for key, value in pairs:
        if key in parsed:
            raise _InvalidJsonError(f"The key {key!r} appears twice in one object; give it once.")
        parsed[key] = value
    return parsed


def _reject_constant(word: str) -> float:
    raise _InvalidJsonError(f"{word} is not a JSON number; leave it out or use null.")


def _refuse_unstorable(value: object) -> None:
    """Reject what a database or another model could not accept: infinite numbers and lone surrogates."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise _InvalidJsonError(
            "The reply contains half a character (a lone surrogate); write the whole character."
        ) from error
    except (ValueError, RecursionError) as error:
        raise _InvalidJsonError("The reply contains a number that is too large, or is nested too deeply.") from error


def _describe_faults(value: object, schema: JsonSchema) -> Iterator[str]:
    errors = sorted(Draft202012Validator(schema).iter_errors(value), key=lambda error: list(map(str, error.path)))
    for error in errors[:_MAX_FAULTS]:
        place = ".".join(map(str, error.absolute_path)) or "the top"
        yield f"At {place}: {_truncate(error.message)}."
    if len(errors) > _MAX_FAULTS:
        yield f"And {len(errors) - _MAX_FAULTS} more like these."


def _truncate(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."
