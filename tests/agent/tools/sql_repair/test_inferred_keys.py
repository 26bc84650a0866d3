"""Keys of files, which declare none: by the names of columns, if every row bears them out."""

from pathlib import Path

import pytest

from agent.tools.db_schema.model import DatabaseSchema, ForeignKey
from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import IntrospectedDatabase

BAND = {
    "artists": "artist_id,artist\n1,Ana\n2,Ben\n",
    "albums": "album_id,title,artist_id\n1,Rain,1\n2,Sun,1\n3,Fog,2\n",
    "labels": "id,label\n1,North\n",
    "deals": "deal_id,label_id,artist_id\n1,1,2\n2,1,\n",
}


def read_keys(folder: Path, **changed: str) -> dict[str, tuple[ForeignKey, ...]]:
    for name, text in {**BAND, **changed}.items():
        (folder / f"{name}.csv").write_text(text)
    schema: DatabaseSchema = IntrospectedDatabase(open_data_source(folder)).load_schema()
    return {relation.name: relation.foreign_keys for relation in schema.relations}


def build_key(column: str, table: str, reference: str) -> ForeignKey:
    return ForeignKey(columns=(column,), table=table, references=(reference,))


def test_columns_of_the_same_name_and_ids_of_a_table_are_keys(tmp_path: Path) -> None:
    keys = read_keys(tmp_path)
    assert keys["albums"] == (build_key("artist_id", "artists", "artist_id"),)
    assert keys["deals"] == (build_key("label_id", "labels", "id"), build_key("artist_id", "artists", "artist_id"))
    assert keys["artists"] == keys["labels"] == ()


@pytest.mark.parametrize(
    "changed",
    [
        {"albums": "album_id,title,artist_id\n1,Rain,7\n"},  # a value that is not there
        {"artists": "artist_id,artist\n1,Ana\n1,Ben\n2,Cem\n"},  # a value that is there twice
        {"albums": "album_id,title,artist_id\n1,Rain,one\n"},  # another type
    ],
)
def test_rows_that_disagree_make_no_key(tmp_path: Path, changed: dict[str, str]) -> None:
    assert read_keys(tmp_path, **changed)["albums"] == ()
