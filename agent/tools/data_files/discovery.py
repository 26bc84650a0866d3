"""The tables that a file or a folder holds: which files belong to which table, and what the tables are called."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote

from agent.tools.data_files.csv_import import TablePart

FileFormat = Literal["csv", "parquet", "json", "excel"]
_FORMATS: Final[dict[str, FileFormat]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".csv.gz": "csv",
    ".tsv.gz": "csv",
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json.gz": "json",
    ".jsonl.gz": "json",
    ".ndjson.gz": "json",
    ".xlsx": "excel",
}
TABLE_SUFFIXES: Final = tuple(sorted(_FORMATS, key=len, reverse=True))
#: What stands for no value in the name of a partition.
_NO_PARTITION: Final = "__HIVE_DEFAULT_PARTITION__"
_PARTITION: Final = re.compile(r"([^=/\\]+)=(.*)")
#: The names that programs give to the parts of a table.
_PART_NAME: Final = re.compile(r"(part|data)?[-_.]?[0-9]+([-_.].*)?", re.IGNORECASE)
_NUMBERED: Final = re.compile(r"(.*?)[-_ .(]*[0-9]+\)?")


@dataclass(frozen=True, slots=True)
class TableFiles:
    """The files of one table; an Excel file may have several tables."""

    name: str
    format: FileFormat
    parts: tuple[TablePart, ...]
    #: The directory below which its parts are.
    root: Path | None = None


@dataclass(frozen=True, slots=True)
class Discovery:
    """The tables that were found, and what is to be said of their names."""

    tables: tuple[TableFiles, ...]
    notes: tuple[str, ...] = ()


def find_tables(path: Path) -> Discovery:
    """Return the tables of a file, or of a folder: each file is one, and so is a folder of parts in it."""
    if path.is_file():
        return Discovery((_make_single(path),))
    if _PARTITION.fullmatch(path.name) and (parts := _list_parts(path)):
        # A partition by itself belongs to the table above it.
        root = path
        while _PARTITION.fullmatch(root.name):
            root = root.parent
        return _name_apart(_group_parts(derive_table_name(root), parts, root=root))
    found: list[TableFiles] = []
    direct = [entry for entry in _list_entries(path) if entry.is_file() and detect_format(entry) is not None]
    if len(direct) > 1 and all(_PART_NAME.fullmatch(derive_table_name(file)) for file in direct):
        found += _group_parts(derive_table_name(path), [TablePart(file) for file in direct], root=path)
    else:
        found += map(_make_single, direct)
    inner = [entry for entry in _list_entries(path) if entry.is_dir()]
    partitions = [entry for entry in inner if _PARTITION.fullmatch(entry.name)]
    if partitions:
        parts = [part for entry in partitions for part in _list_parts(entry, root=path)]
        found += _group_parts(derive_table_name(path.resolve()), parts, root=path)
    for entry in inner:
        if entry not in partitions:
            # Spark calls the folder like a file: sales.parquet.
            found += _group_parts(derive_table_name(entry), _list_parts(entry), root=entry)
    apart = _name_apart(found)
    return Discovery(apart.tables, (*apart.notes, *_find_numbered(direct)))


def holds_tables(folder: Path) -> bool:
    """Whether a folder has a file that can be read as a table."""
    return bool(find_tables(folder).tables)


def detect_format(file: Path) -> FileFormat | None:
    """Return the format of a file by its name; None if it is none that is read."""
    name = file.name.lower()
    return next((_FORMATS[suffix] for suffix in TABLE_SUFFIXES if name.endswith(suffix)), None)


def derive_table_name(file: Path) -> str:
    """Return the table name of `file`: its file name without the suffix."""
    suffix = next((each for each in TABLE_SUFFIXES if file.name.lower().endswith(each)), "")
    return file.name[: len(file.name) - len(suffix)] or file.name


def _list_entries(folder: Path) -> list[Path]:
    """Return what a folder has, without hidden files, macOS's companions of files and Excel's locks."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith((".", "~$")))


def _list_parts(folder: Path, *, root: Path | None = None) -> list[TablePart]:
    """Return the files at any depth below `folder`, with the values of the partitions in their paths."""
    base = folder if root is None else root
    parts = []
    for file in sorted(folder.rglob("*")):
        inner = file.relative_to(folder).parts
        # Marks of programs that write parts begin with an underscore: _SUCCESS, _metadata, _temporary.
        if any(name.startswith((".", "_", "~$")) for name in inner) or not file.is_file():
            continue
        if detect_format(file) is not None:
            parts.append(TablePart(file, tuple(_read_partition(file, base=base))))
    return parts


def _read_partition(file: Path, *, base: Path) -> Iterator[tuple[str, str | None]]:
    """Yield the column and value of each partition of a file, from `base` and the partitions right above it on."""
    while _PARTITION.fullmatch(base.name):
        base = base.parent
    for name in file.relative_to(base).parts[:-1]:
        if found := _PARTITION.fullmatch(name):
            value = unquote(found[2])
            yield unquote(found[1]), None if value == _NO_PARTITION else value


def _make_single(file: Path) -> TableFiles:
    return TableFiles(derive_table_name(file), detect_format(file) or "csv", (TablePart(file),))


def _group_parts(name: str, parts: Sequence[TablePart], *, root: Path) -> list[TableFiles]:
    """Return the table of the parts; a table of each if they are files of different kinds with names of their own."""
    by_format: dict[FileFormat, list[TablePart]] = defaultdict(list)
    for part in parts:
        by_format[detect_format(part.file) or "csv"].append(part)
    tables: list[TableFiles] = []
    for kind, same in by_format.items():
        if kind == "parquet" or _are_parts(same):
            tables.append(TableFiles(name, kind, tuple(same), root))
        else:
            tables += [TableFiles(f"{name}_{derive_table_name(part.file)}", kind, (part,), root) for part in same]
    return tables


def _are_parts(parts: Sequence[TablePart]) -> bool:
    """Whether files are parts of one table: they are in partitions, are numbered alike, or have the same first line."""
    if detect_format(parts[0].file) == "excel":
        return False
    if len(parts) == 1 or all(part.values for part in parts):
        return True
    names = [derive_table_name(part.file) for part in parts]
    if all(_PART_NAME.fullmatch(name) for name in names):
        return True
    if detect_format(parts[0].file) == "json":
        stems = {found[1].lower() if (found := _NUMBERED.fullmatch(name)) else name.lower() for name in names}
        return len(stems) == 1
    return len({_read_first_line(part.file) for part in parts}) == 1


def _read_first_line(file: Path) -> bytes:
    from agent.tools.data_files.text_encoding import open_bytes  # noqa: PLC0415 - only for folders of parts

    with open_bytes(file) as opened:
        return opened.readline(2**16).strip()


def _name_apart(tables: Iterable[TableFiles]) -> Discovery:
    """Return the tables with names that differ without regard to case, and a sentence for each that got another."""
    named: list[TableFiles] = []
    notes: list[str] = []
    taken: dict[str, TableFiles] = {}
    for table in tables:
        name = table.name
        if name.lower() in taken:
            other = taken[name.lower()]
            name = f"{table.name}_{table.format}" if other.format != table.format else f"{table.name}_2"
            number = 2
            while name.lower() in taken:
                number += 1
                name = f"{table.name}_{number}"
            notes.append(
                f"{_show_files(table)} is the table {name!r}, because {_show_files(other)} is called {other.name!r}."
            )
        renamed = TableFiles(name, table.format, table.parts, table.root)
        taken[name.lower()] = renamed
        named.append(renamed)
    return Discovery(tuple(named), tuple(notes))


def _show_files(table: TableFiles) -> str:
    return table.parts[0].file.name if len(table.parts) == 1 else f"the folder {table.root.name if table.root else ''}"


def _find_numbered(files: Sequence[Path]) -> Iterator[str]:
    """Yield a sentence for files side by side that look like parts of one table, which only a folder makes them."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        found = _NUMBERED.fullmatch(derive_table_name(file))
        if found and found[1] and detect_format(file) in {"csv", "parquet"}:
            groups[found[1].lower()].append(file)
    for same in groups.values():
        if len(same) > 1 and (detect_format(same[0]) == "parquet" or len(set(map(_read_first_line, same))) == 1):
            names = ", ".join(file.name for file in same[:3])
            yield (
                f"{names}{' ...' if len(same) > 3 else ''} are a table each; put them into a folder of their own "
                "to have them as one."
            )
