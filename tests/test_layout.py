"""The layout of the code, held to its rules."""

from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = [path for top in ("agent", "graphs", "prompts") for path in sorted((ROOT / top).rglob("*.py"))]


def test_no_room_has_more_than_twelve_files() -> None:
    rooms = Counter(path.parent for path in MODULES if path.name != "__init__.py")
    assert {str(room.relative_to(ROOT)): count for room, count in rooms.items() if count > 12} == {}
