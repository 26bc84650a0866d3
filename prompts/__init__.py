"""Prompts as versioned files, and the only loader that renders them."""

from functools import lru_cache
from importlib.resources import files

from jinja2 import StrictUndefined, Template, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic_core import to_json

FILE_SUFFIX = ".md"


class PromptError(ValueError):
    """A prompt does not exist, is not a valid template, or was not given exactly its variables."""


def render(name: str, **variables: object) -> str:
    """Render a prompt, such as "write_text.v1", from the file of that name.

    Every variable of the prompt must be given, and no other. A prompt may have loops and conditions over its variables;
    the filter `json` writes a value as JSON with the characters that could close a fence escaped.
    Raises `PromptError` if there is no such file or the variables do not match.
    """
    template, expected = _load_template(name)
    if missing := sorted(expected - variables.keys()):
        raise PromptError(f"Prompt {name!r} lacks the variables {missing}; give each of {sorted(expected)}.")
    if unused := sorted(variables.keys() - expected):
        raise PromptError(f"Prompt {name!r} does not use the variables {unused}; it takes {sorted(expected)}.")
    try:
        return template.render(variables).strip() + "\n"
    except TemplateError as error:
        raise PromptError(f"Prompt {name!r} cannot be rendered: {error}.") from error


def list_prompts() -> list[str]:
    """Return the names of all prompts, with their versions."""
    return sorted(
        file.name.removesuffix(FILE_SUFFIX) for file in files(__name__).iterdir() if _is_prompt_file(file.name)
    )


def _is_prompt_file(file_name: str) -> bool:
    stem = file_name.removesuffix(FILE_SUFFIX)
    return file_name.endswith(FILE_SUFFIX) and stem.rpartition(".v")[2].isdigit()


@lru_cache(maxsize=64)
def _load_template(name: str) -> tuple[Template, frozenset[str]]:
    if name not in list_prompts():
        raise PromptError(f"There is no prompt {name!r}; there are {list_prompts()}.")
    source = files(__name__).joinpath(name + FILE_SUFFIX).read_text(encoding="utf-8")
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["json"] = _to_safe_json
    try:
        expected = meta.find_undeclared_variables(environment.parse(source))
        return environment.from_string(source), frozenset(expected)
    except TemplateError as error:
        raise PromptError(f"Prompt {name!r} is not a valid template: {error}.") from error


def _to_safe_json(value: object) -> str:
    """Return JSON in which no text of the value can look like the end of a fence or like a tag."""
    text = to_json(value, indent=2).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("`", "\\u0060")
