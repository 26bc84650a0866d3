"""Arguments that nothing gives: neither the goal nor a result says them, so they are looked up, or asked for."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic import JsonValue

from agent.core.plan.json_schema import branches, iterate_properties
from agent.core.plan.references import (
    ItemReference,
    OutputReference,
    find_producers,
    has_item_reference,
    parse_reference,
)
from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.planning.field_choice import choose_field, list_fields
from agent.planning.goal_rules.draft_tasks import DraftTasks, TaskDocument
from agent.planning.goal_rules.texts import is_text_argument
from agent.planning.goal_rules.wording import DATE, find_numbers, is_action, list_stems, list_words, split_sentences

#: What nobody can guess: addresses, links, and numbers that name something.
_GUESSED: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|https?://\S+|\+?\d[\d -]{6,}\d")
#: Words by which a goal says a day or a time without its digits.
_TIME_WORDS: Final = re.compile(
    r"\b(?:today|tomorrow|tonight|yesterday|now|noon|midnight|morning|afternoon|evening|night|weekend|"
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|(?:next|this|last|coming) \w+|week|month|year|quarter|"
    r"jan\w*|feb\w*|march|apr\w*|may|june?|july?|aug\w*|sept?\w*|oct\w*|nov\w*|dec\w*|\d+(?:st|nd|rd|th)|am|pm|o'clock)\b",
    re.IGNORECASE,
)
#: Words that say a number without its digits.
_AMOUNT_WORDS: Final = re.compile(
    r"\b(?:half|quarter|couple|pair|dozen|double|twice|once|week|weekend|fortnight|hour|day|night|month|hundred|thousand|"
    r"percent)s?\b",
    re.IGNORECASE,
)
#: Words of other languages, in which numbers, days and things have names that are not known here.
_FOREIGN: Final = re.compile(
    r"(?i:\b(?:der|die|das|und|für|mit|ein|eine|einen|den|dem|wenn|bitte|le|la|les|des|pour|avec|une|el|los|las|para|con|"
    r"una|por|il|che|het|een|voor|och)\b)|[^\x00-\u00bf]{2,}"
)
_SINGLE: Final = re.compile(r"\b(?:an?|one|another|single)\b", re.IGNORECASE)
_VAGUE_AMOUNT: Final = re.compile(r"\b(?:some|more|several|many|a few|enough|additional|further)\b", re.IGNORECASE)
_PLACEHOLDERS: Final = frozenset(
    {"?", "", "unknown", "tbd", "todo", "n/a", "na", "none", "null", "xxx", "...", "not specified", "unspecified"}
)
_MARKED: Final = re.compile(
    r"^[<\[{].*[>\]}]$|^(?:your|my|the user'?s?)[ _-]|placeholder|^(?:enter|insert|specify)\b", re.IGNORECASE
)
_NAME: Final = re.compile(r"\b[A-Z][\w'-]+(?:\s+[A-Z][\w'-]+)+\b|(?<=[a-z,] )[A-Z][a-z]+\b")
_ADDRESS: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_ADDRESS_NAMES: Final = frozenset({"to", "recipient", "recipients", "email", "mail", "address", "cc", "bcc"})
_MAX_CODE: Final = 4
#: A word that begins like one of the goal may be another form of it, or its name in another language.
_PREFIX: Final = 3


class MissingArgument(NamedTuple):
    """An argument of a task for which the draft has a value that nothing gives."""

    task: TaskDocument
    name: str
    value: JsonValue

    @property
    def sentence(self) -> str:
        """What is wrong, for the model and for humans."""
        return f"{self.name!r} of {self.task['id']!r} is {self.value!r}, which neither the goal nor a result says."

    @property
    def question(self) -> str:
        """What is to be asked."""
        return f"What is {self.name!r} of {self.task['tool']!r}? Neither the goal nor a result says it."


def find_missing(goal: str, draft: DraftTasks, *, context: str = "") -> list[MissingArgument]:
    """Return the arguments of the draft that neither `goal`, nor `context`, nor a result gives."""
    return [
        MissingArgument(task, name, value)
        for task in draft
        if task["tool"] in draft.specs
        for name, value in task["args"].items()
        if _is_missing(name, value, draft.get_spec(task), goal=goal, known=f"{goal} {context}")
    ]


def find_questions(
    goal: str,
    tasks: Sequence[Mapping[str, Any]],
    specs: Mapping[str, ToolSpec],
    *,
    done: Sequence[Mapping[str, Any]] = (),
    context: str = "",
) -> tuple[str, ...]:
    """Return what is to be asked before the tasks, as documents, run: the values that nothing gives."""
    draft = DraftTasks([dict(task) for task in tasks], specs, done=done)
    found = find_missing(goal, draft, context=context)
    return tuple(dict.fromkeys(each.question for each in found if not is_text_argument(each.name)))


def _is_missing(name: str, value: JsonValue, spec: ToolSpec, *, goal: str, known: str) -> bool:
    root = spec.args_schema
    schema = dict(iterate_properties(root)).get(name, {})
    option = next((each for each in branches(schema, root) if each.get("type") != "null"), schema)
    if isinstance(value, bool) or "enum" in option or "const" in option or schema.get("default") == value:
        return False
    required = name in root.get("required", ())
    if isinstance(value, list):
        return any(isinstance(each, str) and _is_guessed(each, known) for each in value)
    if isinstance(value, str):
        if required and not is_text_argument(name) and _is_placeholder(value, name, known):
            return True
        if _is_guessed(value, known):
            return True
        if _FOREIGN.search(goal) is not None:
            return False
        return required and not is_text_argument(name) and _is_unsaid_text(name, value, spec, option, known=known)
    if isinstance(value, int | float) and required and is_action(spec) and _FOREIGN.search(goal) is None:
        return _is_unsaid_number(name, value, known=known, goal=goal)
    return False


def _is_guessed(value: str, known: str) -> bool:
    return any(each.lower() not in known.lower() for each in _GUESSED.findall(DATE.sub("", value)))


def _is_placeholder(value: str, name: str, known: str) -> bool:
    plain = value.strip().lower()
    if plain in _PLACEHOLDERS or plain == name.lower().replace("_", " "):
        return True
    return _MARKED.search(value.strip()) is not None and plain not in known.lower()


def _is_unsaid_text(name: str, value: str, spec: ToolSpec, option: JsonSchema, *, known: str) -> bool:
    words = list_words(name)
    if DATE.fullmatch(value.strip()[:10]):
        parts = {float(part) for part in re.findall(r"\d+", value[:10])}
        has_day = bool(DATE.search(known) or parts & set(find_numbers(known)))
        return value not in known and not has_day and _TIME_WORDS.search(known) is None
    if words and words[-1] in _ADDRESS_NAMES and list_stems(f"{spec.name} {spec.description}") & {"email", "mail"}:
        # Words are no address: somebody has to say or look up which one is meant.
        return "@" not in value and not value.startswith(("+", "#"))
    if value.lower() in known.lower() or (value.isupper() and len(value) <= _MAX_CODE):
        return False
    stems = list_stems(value)
    told = list_stems(f"{known} {spec.description} {option.get('description', '')}")
    if not stems or stems & told or any(word[:_PREFIX] in known.lower() for word in stems if len(word) >= _PREFIX):
        return False
    return is_action(spec) or value[:1].isupper()


def _is_unsaid_number(name: str, value: float, *, known: str, goal: str) -> bool:
    numbers = find_numbers(known)
    if list_words(name)[-1:] in (["id"], ["number"], ["no"]):
        return value not in numbers
    if value in numbers or value - 12 in numbers or value == 0:
        return False
    if value == 1:
        return _SINGLE.search(goal) is None or _VAGUE_AMOUNT.search(goal) is not None
    return _AMOUNT_WORDS.search(known) is None and _TIME_WORDS.search(DATE.sub(" ", known)) is None


def look_up_missing(goal: str, draft: DraftTasks, *, context: str = "") -> None:
    """Take what nothing gives from an earlier output, or from a tool that looks it up by a name of the goal."""
    _prefer_given_addresses(goal, draft)
    for missing in find_missing(goal, draft, context=context):
        found = _find_in_outputs(missing, draft) or _add_lookup(missing, goal, draft)
        if found is not None:
            missing.task["args"][missing.name] = found


def _prefer_given_addresses(goal: str, draft: DraftTasks) -> None:
    """Let a call go to the address that the goal gives, and not to one that the script looks up for it."""
    addresses = list(dict.fromkeys(_ADDRESS.findall(goal)))
    for task in draft.list_actions():
        _skip_lookup_of_addresses(task, draft)
        for name, value in task["args"].items():
            found = parse_reference(value)
            if list_words(name)[-1:] not in ([each] for each in _ADDRESS_NAMES) or not isinstance(
                found, OutputReference
            ):
                continue
            source = next((each for each in draft if each["id"] == found.task), None)
            if source is None or source.get("for_each") is not None or draft.find_list(source) is not None:
                continue
            said = {word for given in source["args"].values() if isinstance(given, str) for word in list_words(given)}
            meant = [each for each in addresses if said & set(list_words(each.partition("@")[0]))]
            if len(meant) == 1:
                task["args"][name] = meant[0]
                if draft.find_dependants(source["id"]) == {source["id"]}:
                    draft.tasks.remove(source)


def _skip_lookup_of_addresses(task: TaskDocument, draft: DraftTasks) -> None:
    """Take the address of each item itself where the script looks one up by it."""
    loop = task.get("for_each")
    source = next((each for each in draft if isinstance(loop, dict) and each["id"] == loop.get("output_of")), None)
    if source is None or source.get("for_each") is None or len(source["args"]) != 1:
        return
    [key] = source["args"].values()
    origin = next((each for each in draft if each["id"] in find_producers(source["for_each"])), None)
    taken = {name for name, value in task["args"].items() if has_item_reference({name: value})}
    if origin is None or not _is_address(key, draft.get_spec(origin)) or not taken <= {*_ADDRESS_NAMES}:
        return
    task["for_each"] = source["for_each"]
    task["args"] = {name: key if name in taken else value for name, value in task["args"].items()}
    if draft.find_dependants(source["id"]) == {source["id"]}:
        draft.tasks.remove(source)


def _is_address(value: JsonValue, spec: ToolSpec) -> bool:
    """Whether a field of an item is an address, by its name or by what the tool that gives it says of it."""
    found = parse_reference(value)
    if not isinstance(found, ItemReference) or not found.path:
        return False
    field = str(found.path[-1])
    said = re.search(
        rf"\b{re.escape(field)}\b[\s,(:]*(?:is |which is )?(?:an? )?e-?mail", spec.description, re.IGNORECASE
    )
    return said is not None or list_words(field)[-1:] in ([each] for each in _ADDRESS_NAMES)


def _find_in_outputs(missing: MissingArgument, draft: DraftTasks) -> JsonValue:
    for source in reversed(draft.list_sources(before=missing.task)):
        field = _choose_output_field(missing, draft.get_spec(source), draft)
        if field is not None and not source.get("for_each") and _is_before(source, missing.task, draft):
            return {"output_of": source["id"], "path": [field]}
    return None


def _is_before(source: Mapping[str, Any], task: TaskDocument, draft: DraftTasks) -> bool:
    ids = [each["id"] for each in draft.all_tasks]
    return ids.index(source["id"]) < ids.index(task["id"])


def _choose_output_field(missing: MissingArgument, source: ToolSpec, draft: DraftTasks) -> str | None:
    """Return the field of a tool's output that is what an argument takes, by its name; None if there is none."""
    root = draft.get_spec(missing.task).args_schema
    output = source.output_schema or {}
    if output.get("type") != "object":
        return None
    schema = dict(iterate_properties(root)).get(missing.name, {})
    field = choose_field(missing.name, schema, list_fields(output, output, description=""), roots=(output, root))
    # A number is not what is looked for only because it is the only one.
    return field if field is not None and isinstance(missing.value, str) else None


def _add_lookup(missing: MissingArgument, goal: str, draft: DraftTasks) -> JsonValue:
    names = _find_names(goal)
    near = [name for name in names if set(list_words(name)) & set(list_words(str(missing.value)))]
    if len(names) != 1 and len(near) != 1:
        return None
    [name] = near if len(near) == 1 else names
    for source in _list_lookups(missing, draft):
        [argument] = source.args_schema["required"]
        place = draft.tasks.index(missing.task)
        task = draft.insert_before(place, source.name, {argument: name}, f"{missing.name} of {name}")
        return {"output_of": task["id"], "path": [_choose_output_field(missing, source, draft)]}
    return None


def _find_names(goal: str) -> list[str]:
    """Return the names in a goal; the first word of a sentence is none."""
    found = dict[str, None]()
    for sentence in split_sentences(goal):
        for name in _NAME.finditer(sentence):
            words = name[0].split()
            found[" ".join(words[1:] if name.start() == 0 else words)] = None
    return [name for name in found if name]


def _list_lookups(missing: MissingArgument, draft: DraftTasks) -> Iterator[ToolSpec]:
    """Yield the tools that look an argument up by a single text."""
    for spec in draft.specs.values():
        required = spec.args_schema.get("required", ())
        kinds = [part.get("type") for name, part in iterate_properties(spec.args_schema) if name in required]
        if not is_action(spec) and kinds == ["string"] and _choose_output_field(missing, spec, draft) is not None:
            yield spec
