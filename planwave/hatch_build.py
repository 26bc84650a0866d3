"""The build of the wheel: the rooms move into `planwave/`, and their imports with them.

The wheel installs one top-level name, so that it works beside a user's own `agent` or `graphs`.
"""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOMS = ("agent", "graphs", "prompts")
#: `from agent.core import x` and `from agent import x`; the house imports in no other way, which a lint rule holds.
_IMPORT = re.compile(rf"^(\s*from )(?=(?:{'|'.join(ROOMS)})\b)", flags=re.MULTILINE)
_SKIPPED = shutil.ignore_patterns("__pycache__", "README.md", "server.md", "scheduling.md")


class RoomsInside(BuildHookInterface[Any]):
    """Copies the rooms and `planwave/` into a temporary folder, with imports rewritten, and has hatch pack that."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the rewritten copies into `build_data`; an editable install takes the clone as it is."""
        if version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory()
        for source in ("planwave", *ROOMS):
            inside = Path(self._folder.name, source)
            shutil.copytree(Path(self.root, source), inside, ignore=_SKIPPED)
            for module in inside.rglob("*.py"):
                module.write_text(_IMPORT.sub(r"\1planwave.", module.read_text(encoding="utf-8")), encoding="utf-8")
            if source == "planwave":
                (inside / "hatch_build.py").unlink()
            build_data["force_include"][str(inside)] = "planwave" if source == "planwave" else f"planwave/{source}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary folder."""
        del build_data, artifact_path
        if version != "editable":
            self._folder.cleanup()
