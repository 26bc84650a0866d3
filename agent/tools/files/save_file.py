"""The tool that saves a file."""

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.errors import ToolFailure
from agent.tools.call_inputs import describe_cut_inputs, get_call_inputs
from agent.tools.files.output_folder import MAX_PATH_LENGTH, OutputFolder
from agent.tools.files.serialization import find_name_problem, find_schema_problem, serialize_content

MAX_BYTES = 50_000_000


class SaveFileArgs(BaseModel):
    """Arguments of `save_file`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        min_length=1, max_length=MAX_PATH_LENGTH, description="Relative path in the output folder, such as 'report.md'."
    )
    content: JsonValue = Field(
        description=(
            "Text, or rows (a table in '.csv', '.tsv', '.xlsx', '.parquet', '.jsonl' and '.md'), or any value for a "
            "path that ends in '.json'."
        )
    )
    overwrite: bool = Field(default=False, description="Replace a file that is already there.")


class SaveFile(BaseTool):
    """Saves a value as a file in the output folder, atomically."""

    name: str = "save_file"
    description: str = "Save text, rows or a JSON value as a file; returns its path, size and SHA-256."
    args_schema: type[BaseModel] = SaveFileArgs
    folder: OutputFolder
    metadata: dict[str, Any] | None = {  # noqa: RUF012 - pydantic copies it
        "readOnlyHint": False,
        "destructiveHint": True,
        "idempotentHint": True,
        "openWorldHint": False,
        "timeout_s": 60,
        "output_schema": {
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "bytes": {"type": "integer"},
                "sha256": {"type": "string"},
            },
            "required": ["path", "bytes", "sha256"],
            "additionalProperties": False,
        },
    }

    def preflight(self, args: dict[str, JsonValue], open: dict[str, JsonSchema]) -> Preflight:  # noqa: A002
        """Check the path, and that the content suits the kind of file."""
        path = args.get("path")
        if not isinstance(path, str):
            return Preflight()
        if problem := self.folder.find_problem(path) or find_name_problem(path):
            return Preflight(problems=(problem,))
        return Preflight(problems=tuple(self._find_problems(path, args=args, schemas=open)))

    def _find_problems(
        self, path: str, *, args: Mapping[str, JsonValue], schemas: Mapping[str, JsonSchema]
    ) -> list[str]:
        problems = []
        is_known = "content" in args and not any(name.partition(".")[0] == "content" for name in schemas)
        if is_known:
            try:
                content = serialize_content(args["content"], path=path)
            except ToolFailure as failure:
                return [str(failure)]
            if self.folder.has_content(path, content=content):
                return []
        elif problem := find_schema_problem(schemas.get("content", {}), path=path):
            problems.append(problem)
        if args.get("overwrite", False) is False and self.folder.exists(path):
            problems.append(f"{path!r} exists; choose another name or set overwrite to true.")
        return problems

    def _run(self, path: str, content: JsonValue, overwrite: bool = False) -> dict[str, JsonValue]:
        return save_content(path, content=content, overwrite=overwrite, folder=self.folder)

    async def _arun(self, path: str, content: JsonValue, overwrite: bool = False) -> dict[str, JsonValue]:
        return await asyncio.to_thread(self._run, path, content, overwrite)


def save_content(path: str, *, content: JsonValue, overwrite: bool, folder: OutputFolder) -> dict[str, JsonValue]:
    """Save `content` at `path`; a file that already has exactly this content is not written again.

    Raises `ToolFailure` if the path leaves the folder, the file exists and must not be overwritten, or the content
    does not suit the kind of file or is too large.
    """
    inputs = get_call_inputs()
    holder = next((each.holder for each in inputs if each.place == ("content",)), None) or {}
    columns = holder.get("columns") if "rows" in holder else None
    data = serialize_content(content, path=path, columns=columns, notes=describe_cut_inputs(inputs))
    if len(data) > MAX_BYTES:
        raise ToolFailure(f"{path!r} would have {len(data):,} bytes; save at most {MAX_BYTES:,}.")
    written = folder.write(path, content=data, overwrite=overwrite)
    return {"path": str(written), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def file_tools(output: Path) -> list[BaseTool]:
    """Return the tools that write files, all in the folder `output`."""
    return [SaveFile(folder=OutputFolder(output))]
