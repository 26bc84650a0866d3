"""What a model's server has refused or limited, learned from its errors and remembered, and requests made to fit it."""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agent.llm.provider_errors import ProviderFailure

#: How a reply is made to fit a schema, the most reliable method first. `native` is the own way of a model that does not
#: speak the OpenAI protocol, LangChain's `with_structured_output`.
OutputMethod = Literal["json_schema", "function", "json_object", "native", "text"]
#: What else a server may refuse: a stream, the count of tokens at its end, a system message, and the parameter that
#: limits the reply, under its newer or its older name.
ServerFeature = Literal["stream", "stream_usage", "system_role", "max_completion_tokens", "max_tokens"]

#: Tokens that a reply gets at least, before the prompt is cut instead.
_MIN_REPLY_TOKENS: Final = 1_024
_MIN_LIMIT: Final = 64
#: Tokens left over for what a server adds to a conversation.
_MARGIN_TOKENS: Final = 32
#: Tokens of one character, until a server has counted: JSON and SQL have about one in three.
_TOKENS_PER_CHARACTER: Final = 0.34
_MAX_TOKENS_PER_CHARACTER: Final = 1.5
#: A shorter message is not cut.
_MIN_CUT_CHARACTERS: Final = 1_000
_CONTEXT_BEGIN: Final = "<context>\n"
_NUMBER: Final = re.compile(r"(?<![\w.])\d{1,3}(?:,\d{3})+(?![\w])|(?<![\w.])\d+(?!\w)")
_REFUSED: Final = re.compile(
    r"unsupported|not supported|unrecogni[sz]ed|unknown|unexpected|extra|not permitted|not allowed|no such|forbidden"
    r"|additional propert",
    re.IGNORECASE,
)
_TOO_LARGE: Final = re.compile(
    r"too large|too high|too big|too many|at most|maximum|exceed|less than|lower than|greater than|fewer|between|range"
    r"|limit|<=|≤|>|afford",
    re.IGNORECASE,
)
_CONTEXT_TOKENS: Final = re.compile(
    r"(?:context (?:length|window|size)|max_model_len|max_total_tokens|n_ctx)\D{0,40}?(\d[\d,]*)"
    r"|(\d[\d,]*)[ -]tokens? (?:maximum )?context|inputs\W+tokens \+ \S+ must be <= (\d[\d,]*)",
    re.IGNORECASE,
)
_PROMPT_TOKENS: Final = re.compile(
    r"(\d[\d,]*) (?:tokens )?(?:in|of|from) (?:the |your )?(?:messages|prompt|input|text input)"
    r"|(\d[\d,]*) (?:prompt|input) tokens|(\d[\d,]*) `inputs` tokens|n_prompt_tokens\D{1,4}(\d+)"
    r"|request \((\d[\d,]*) tokens\)",
    re.IGNORECASE,
)
_NO_SYSTEM_ROLE: Final = re.compile(
    r"\bsystem\b.{0,40}\b(?:role|message|prompt|instruction)s?\b|\b(?:role|roles)\b.{0,60}\bsystem\b"
    r"|developer instruction|roles must alternate|only user and assistant roles",
    re.IGNORECASE | re.DOTALL,
)
_REFUSED_ROLE: Final = re.compile(
    r"not (?:be )?(?:supported|allowed|enabled|permitted|accepted)|n't (?:support|accept)|does not (?:support|accept)"
    r"|unsupported|unexpected|invalid|unknown|must alternate|only user and assistant",
    re.IGNORECASE,
)


@dataclass(slots=True)
class ServerLimits:
    """What one server and model has refused, and the numbers that it gave."""

    unsupported: set[OutputMethod | ServerFeature] = field(default_factory=set)
    #: Tokens of one reply, at most.
    reply_tokens: int | None = None
    #: Tokens of prompt and reply together, at most.
    context_tokens: int | None = None
    #: As far as the server has counted them.
    tokens_per_character: float = _TOKENS_PER_CHARACTER

    def copy(self) -> "ServerLimits":
        """Return a copy that can be changed without changing this one."""
        return copy.deepcopy(self)

    def restore(self, earlier: "ServerLimits") -> None:
        """Forget what was learned since `earlier` was copied: it did not help."""
        self.unsupported.clear()
        self.unsupported.update(earlier.unsupported)
        self.reply_tokens, self.context_tokens = earlier.reply_tokens, earlier.context_tokens
        self.tokens_per_character = earlier.tokens_per_character

    @property
    def token_parameter(self) -> Literal["max_completion_tokens", "max_tokens"] | None:
        """The parameter that limits a reply; None if the server takes neither."""
        if "max_completion_tokens" not in self.unsupported:
            return "max_completion_tokens"
        return None if "max_tokens" in self.unsupported else "max_tokens"


@dataclass(frozen=True, slots=True)
class FittedRequest:
    """A request within the limits of a server."""

    messages: list[BaseMessage]
    max_tokens: int | None
    #: Characters of the prompt that were left out.
    left_out: int = 0
    #: Characters of the whole prompt.
    characters: int = 0


_known_limits: dict[tuple[str, str], ServerLimits] = {}


def get_server_limits(server: str, model: str) -> ServerLimits:
    """Return what this process has learned about a model of a server."""
    return _known_limits.setdefault((server, model), ServerLimits())


def forget_server_limits() -> None:
    """Forget what was learned about every server."""
    _known_limits.clear()


def fit_request(messages: Sequence[BaseMessage], limits: ServerLimits, *, max_tokens: int | None) -> FittedRequest:
    """Return a request within `limits`: with fewer tokens for the reply and, if those are too few, with less prompt.

    Text is left out of the middle of the longest messages, whose beginning and end say what to do.
    """
    fitted = fold_system_messages(messages) if "system_role" in limits.unsupported else list(messages)
    total = sum(len(each.text) for each in fitted)
    wanted = max_tokens if limits.reply_tokens is None else min(max_tokens or limits.reply_tokens, limits.reply_tokens)
    if limits.context_tokens is None:
        return FittedRequest(fitted, wanted, characters=total)
    room = limits.context_tokens - _MARGIN_TOKENS
    least = min(wanted or _MIN_REPLY_TOKENS, _MIN_REPLY_TOKENS, room // 2)
    allowed = int((room - least) / limits.tokens_per_character)
    fitted, left_out = cut_messages(fitted, allowed=allowed)
    used = int(sum(len(each.text) for each in fitted) * limits.tokens_per_character) + 1
    if wanted is not None:
        wanted = max(min(wanted, room - used), _MIN_LIMIT)
    return FittedRequest(fitted, wanted, left_out=left_out, characters=total)


def learn_limit(failure: ProviderFailure, limits: ServerLimits, sent: FittedRequest) -> str | None:
    """Take what a refusal of the request `sent` says into `limits`; return what is done about it, None for nothing."""
    status = failure.status
    if status is not None and status not in {400, 402, 404, 413, 422} and status < 500:
        return None
    text = failure.message
    if _names_role(text) and "system_role" not in limits.unsupported and _has_system_message(sent.messages):
        limits.unsupported.add("system_role")
        return "the system message goes into the user's"
    if status is not None and status >= 500:
        return None
    if failure.is_too_long or _CONTEXT_TOKENS.search(text):
        return _learn_context(text, limits, sent)
    if sent.max_tokens is None:
        return None
    if (change := _learn_parameter(text, limits)) is not None:
        return change
    if re.search(r"max\w*[_ ]tokens|maximum tokens|tokens", text, re.IGNORECASE) and _TOO_LARGE.search(text):
        numbers = [number for number in _read_numbers(text) if number < sent.max_tokens and number != status]
        smaller = _find_limit(numbers) or sent.max_tokens // 2
        if smaller < _MIN_LIMIT:
            return None
        limits.reply_tokens = smaller
        return f"at most {smaller} tokens are asked for"
    return None


def cut_messages(messages: Sequence[BaseMessage], *, allowed: int) -> tuple[list[BaseMessage], int]:
    """Return messages of at most `allowed` characters, as far as long ones can be cut, and how many were left out."""
    cut, left_out = list(messages), 0
    while (excess := sum(len(each.text) for each in cut) - allowed) > 0:
        place = max(range(len(cut)), key=lambda index: len(cut[index].text))
        text = str(cut[place].text)
        shorter = _cut_middle(text, excess)
        if len(shorter) >= len(text):
            break
        left_out += len(text) - len(shorter)
        cut[place] = cut[place].model_copy(update={"content": shorter})
    return cut, left_out


def fold_system_messages(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return the messages without system messages: their text begins the user's, and roles alternate."""
    folded: list[BaseMessage] = []
    for message in messages:
        as_user = HumanMessage(message.text) if isinstance(message, SystemMessage) else message
        if folded and isinstance(folded[-1], HumanMessage) and isinstance(as_user, HumanMessage):
            folded[-1] = HumanMessage(f"{folded[-1].text}\n\n{as_user.text}")
        else:
            folded.append(as_user)
    return folded


def _cut_middle(text: str, excess: int) -> str:
    before, begin, inside = text.partition(_CONTEXT_BEGIN)
    if begin and len(inside) > excess + 2 * _MIN_CUT_CHARACTERS:
        # What is known of the data can be missed most easily, and it ends the prompt.
        return before + begin + _cut_middle(inside, excess)
    kept = max(len(text) - excess - 80, _MIN_CUT_CHARACTERS)
    if kept >= len(text):
        return text
    head = kept * 2 // 3
    left_out = len(text) - kept
    return f"{text[:head]}\n[... {left_out} characters left out here ...]\n{text[len(text) - (kept - head) :]}"


def _learn_context(text: str, limits: ServerLimits, sent: FittedRequest) -> str | None:
    """Take the size of the context from an error; without a number, from the size of what did not fit."""
    characters = sum(len(each.text) for each in sent.messages)
    prompt = _read_first(_PROMPT_TOKENS, text)
    context = _read_first(_CONTEXT_TOKENS, text)
    before = (limits.context_tokens, limits.tokens_per_character)
    if prompt is not None and characters:
        counted = prompt * 1.02 / characters
        # What else is in a prompt, a schema say, counts as if it were text.
        limits.tokens_per_character = min(max(counted, _TOKENS_PER_CHARACTER / 2), _MAX_TOKENS_PER_CHARACTER)
    if context is not None:
        limits.context_tokens = context
    elif limits.context_tokens is None:
        limits.context_tokens = int(characters * limits.tokens_per_character) * 3 // 4 + (sent.max_tokens or 0) // 2
    if before == (limits.context_tokens, limits.tokens_per_character):
        limits.tokens_per_character = min(limits.tokens_per_character * 1.3, _MAX_TOKENS_PER_CHARACTER)
    again = fit_request(sent.messages, limits, max_tokens=sent.max_tokens)
    if (again.max_tokens, again.left_out) == (sent.max_tokens, 0):
        return None
    return f"prompt and reply are made to fit into {limits.context_tokens} tokens"


def _learn_parameter(text: str, limits: ServerLimits) -> str | None:
    parameter = limits.token_parameter
    if parameter is None or not _REFUSED.search(text):
        return None
    if re.search(rf"\b{parameter}\b", text):
        limits.unsupported.add(parameter)
    elif re.search(r"\bmax_tokens\b", text):
        # A proxy has sent the older name on, and a server behind it knows neither.
        limits.unsupported.update(("max_completion_tokens", "max_tokens"))
    else:
        return None
    return f"{limits.token_parameter or 'no limit of tokens'} is sent instead of {parameter}"


def _names_role(text: str) -> bool:
    return bool(_NO_SYSTEM_ROLE.search(text) and _REFUSED_ROLE.search(text))


def _has_system_message(messages: Sequence[BaseMessage]) -> bool:
    return any(isinstance(message, SystemMessage) for message in messages)


def _find_limit(numbers: Sequence[int]) -> int | None:
    """Return the greatest number that can be a limit; smaller ones may be part of a model's name."""
    return max((number for number in numbers if number >= _MIN_LIMIT), default=None)


def _read_numbers(text: str) -> list[int]:
    return [int(found.replace(",", "")) for found in _NUMBER.findall(text)]


def _read_first(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(text)
    if found is None:
        return None
    digits: Any = next(group for group in found.groups() if group)
    return int(digits.replace(",", ""))
