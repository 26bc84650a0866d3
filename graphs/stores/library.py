"""The library: programs by name and version, kept in the database beside the threads or as files in a folder."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyio import to_thread
from langgraph.store.base import BaseStore
from pydantic import JsonValue, TypeAdapter, ValidationError

from agent.core.compiler.argument_check import did_you_mean
from agent.errors import PersistenceError, UsageError
from agent.execution.executor import utc_now
from agent.programs.program import Program, ProgramName, ProgramOrigin, read_program_plan

if TYPE_CHECKING:
    from graphs.persistence import Persistence

_NAMESPACE: Final = ("planwave", "programs")
#: More programs than a planner could look through.
_MAX_ITEMS: Final = 10_000
_FILE: Final = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_-]{0,63})@(?P<version>[1-9][0-9]{0,8})\.json")


class Library:
    """Programs in one place. A name that is added again gets a new version; old versions stay until it is removed."""

    def __init__(self, place: "Persistence | BaseStore | str | Path") -> None:
        """Take a persistence, a LangGraph store, or a folder, which is made when the first program is added.

        In a folder each version is a file `NAME@VERSION.json`, which `planwave run --plan` takes too.
        """
        self._folder = Path(place).expanduser() if isinstance(place, str | Path) else None
        self._store = None if isinstance(place, str | Path) else place if isinstance(place, BaseStore) else place.store

    async def add(
        self,
        name: str,
        plan: dict[str, JsonValue],
        *,
        goal: str = "",
        goal_template: str = "",
        wordings: tuple[str, ...] = (),
        origin: ProgramOrigin | None = None,
    ) -> Program:
        """Keep `plan` as the next version of `name` and return it. Raises `UsageError` for a wrong name or no plan.

        `goal_template` and `wordings` have the names of inputs in braces; a goal that says the same is answered by it.
        """
        try:
            TypeAdapter(ProgramName).validate_python(name)
        except ValidationError:
            raise UsageError(
                f"{name!r} is no name for a program; write a letter, then at most 63 letters, digits, '_' or '-'."
            ) from None
        read_program_plan(plan)
        document = {key: value for key, value in plan.items() if key != "input_values"}

        def build(version: int) -> Program:
            return Program(
                name=name,
                version=version,
                goal=goal,
                goal_template=goal_template,
                wordings=wordings,
                plan=document,
                saved_at=utc_now().isoformat(timespec="microseconds"),
                origin=origin or ProgramOrigin(),
            )

        latest = max((program.version for program in await self.list_versions(name)), default=0)
        if self._store is None:
            return await to_thread.run_sync(self._write_file, build, latest + 1)
        program = build(latest + 1)
        await self._store.aput((*_NAMESPACE, name), f"{program.version:09d}", program.model_dump(mode="json"))
        return program

    async def get(self, name: str, *, version: int | None = None) -> Program:
        """Return a program, its latest version unless one is named. Raises `UsageError` if there is none."""
        versions = await self.list_versions(name)
        if not versions:
            known = [program.name for program in await self.list_programs()]
            hint = did_you_mean(name, known) or (f"It has {', '.join(known)}." if known else "It is empty.")
            raise UsageError(f"The library has no program {name!r}. {hint}")
        for program in versions:
            if version in {None, program.version}:
                return program
        listed = ", ".join(str(program.version) for program in reversed(versions))
        raise UsageError(f"The program {name!r} has no version {version}; it has {listed}.")

    async def list_programs(self) -> list[Program]:
        """Return the latest version of each program, by name."""
        latest: dict[str, Program] = {}
        for program in await self._load(None):
            if program.version > (latest[program.name].version if program.name in latest else 0):
                latest[program.name] = program
        return [latest[name] for name in sorted(latest)]

    async def list_versions(self, name: str) -> list[Program]:
        """Return every version of a program, the latest first; empty if there is no such program."""
        return sorted(await self._load(name), key=lambda program: -program.version)

    async def remove(self, name: str) -> int:
        """Remove every version of a program; return how many there were."""
        versions = await self.list_versions(name)
        for program in versions:
            if self._store is not None:
                await self._store.adelete((*_NAMESPACE, name), f"{program.version:09d}")
            elif self._folder is not None:
                await to_thread.run_sync(self._get_file(name, program.version).unlink, True)
        return len(versions)

    async def _load(self, name: str | None) -> list[Program]:
        if self._store is None:
            return await to_thread.run_sync(self._read_files, name)
        namespace = _NAMESPACE if name is None else (*_NAMESPACE, name)
        found = await self._store.asearch(namespace, limit=_MAX_ITEMS)
        return [_parse(item.value, where="the database") for item in found if name in {None, item.namespace[-1]}]

    def _get_file(self, name: str, version: int) -> Path:
        assert self._folder is not None  # noqa: S101 - for the type checker: only a folder has files
        return self._folder / f"{name}@{version}.json"

    def _read_files(self, name: str | None) -> list[Program]:
        if self._folder is None or not self._folder.is_dir():
            return []
        found: list[Program] = []
        for file in sorted(self._folder.iterdir()):
            match = _FILE.fullmatch(file.name)
            if match is None or name not in {None, match["name"]}:
                continue
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise PersistenceError(f"The program file {str(file)!r} cannot be read: {error}.") from None
            program = content.get("program") if isinstance(content, dict) else None
            if not isinstance(program, dict) or "plan" not in content:
                raise PersistenceError(f"The file {str(file)!r} is no program; move it out of the library.")
            own = {"name": match["name"], "version": int(match["version"])}
            found.append(_parse({**content, **program, **own}, where=str(file)))
        return found

    def _write_file(self, build: Callable[[int], Program], version: int) -> Program:
        """Write the next version, also if another process writes one at the same time."""
        assert self._folder is not None  # noqa: S101 - as above
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            while True:
                program = build(version)
                about = program.model_dump(mode="json", exclude={"name", "version", "goal", "plan"})
                content = {"goal": program.goal, "plan": program.plan, "program": about}
                try:
                    with self._get_file(program.name, version).open("x", encoding="utf-8") as file:
                        file.write(json.dumps(content, ensure_ascii=False, indent=2) + "\n")
                except FileExistsError:
                    version += 1
                else:
                    return program
        except OSError as error:
            raise UsageError(f"The library {str(self._folder)!r} cannot be written: {error.strerror}.") from error


def _parse(value: dict[str, JsonValue], *, where: str) -> Program:
    try:
        return Program.model_validate({key: value[key] for key in value if key in Program.model_fields})
    except ValidationError as error:
        raise PersistenceError(f"A program in {where} cannot be read: {error.errors()[0]['msg']}.") from None
