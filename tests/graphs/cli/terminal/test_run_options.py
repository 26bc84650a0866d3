"""What a thread remembers of how it was started, and what it must not."""

import json
import shutil
import sqlite3

import pytest

from agent.errors import UsageError
from graphs.cli.terminal.run_options import RunOptions, load_run_options
from graphs.stores.database import mask_password
from tests.support.command_line import CommandLine, query, save
from tests.support.stored_bytes import stored_bytes


def plan(planwave: CommandLine) -> str:
    return planwave.plan_file(
        save("s", "a.txt", "x"), query("q", "SELECT name FROM pets ORDER BY name", depends_on=["s"])
    )


def pets(planwave: CommandLine) -> str:
    file = planwave.home / "here" / "pets.db"
    file.parent.mkdir(exist_ok=True)
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE pets (name TEXT)")
        connection.execute("INSERT INTO pets VALUES ('Mia'), ('Rex')")
    connection.close()
    return str(file)


def test_a_thread_is_resumed_with_its_data_and_its_folder_from_any_place(planwave: CommandLine, monkeypatch) -> None:
    place = pets(planwave)
    monkeypatch.chdir(planwave.home / "here")
    del planwave.env["PLANWAVE_OUTPUT_FOLDER"]
    started = planwave.here(
        "run", "g", "--plan", plan(planwave), "--thread", "t", "--data", "pets.db", "--output", "made", "--json"
    )
    assert started.exit_code == 3, started.stderr
    elsewhere = planwave.home / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    ended = json.loads(planwave.here("resume", "t", "--yes", "--json").stdout)
    assert ended["status"] == "completed"
    assert ended["results"]["q"]["output"]["rows"] == [{"name": "Mia"}, {"name": "Rex"}]
    assert (planwave.home / "here" / "made" / "a.txt").read_text() == "x"
    assert list(elsewhere.iterdir()) == []
    assert place.endswith("pets.db")


def test_the_folder_is_remembered_where_none_was_named(planwave: CommandLine, monkeypatch) -> None:
    del planwave.env["PLANWAVE_OUTPUT_FOLDER"]
    for name in ("first", "second"):
        (planwave.home / name).mkdir()
    monkeypatch.chdir(planwave.home / "first")
    planwave.here("run", "g", "--plan", planwave.plan_file(save("s", "a.txt", "x")), "--thread", "t")
    monkeypatch.chdir(planwave.home / "second")
    assert planwave.here("resume", "t", "--yes").exit_code == 0
    assert (planwave.home / "first" / "planwave-output" / "a.txt").exists()
    assert list((planwave.home / "second").iterdir()) == []


def test_what_is_given_again_is_used_instead_and_remembered(planwave: CommandLine) -> None:
    other = planwave.home / "other.db"
    shutil.copy(pets(planwave), other)
    with sqlite3.connect(other) as connection:
        connection.execute("DELETE FROM pets WHERE name = 'Rex'")
    connection.close()
    planwave.here(
        "run", "g", "--plan", plan(planwave), "--thread", "t", "--data", str(planwave.home / "here" / "pets.db")
    )
    assert planwave.here("resume", "t", "--data", str(other)).exit_code == 3
    folder = str(planwave.home / "new")
    ended = json.loads(planwave.here("resume", "t", "--data", str(other), "--output", folder, "--yes", "--json").stdout)
    assert ended["results"]["q"]["output"]["rows"] == [{"name": "Mia"}]
    assert (planwave.home / "new" / "a.txt").exists()


def test_a_password_is_not_stored_and_asked_for_again(planwave: CommandLine, postgres_url: str) -> None:
    """The server of the tests asks for no password, so any will do."""
    import psycopg

    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE pets (name TEXT)")
        connection.execute("INSERT INTO pets VALUES ('Mia')")
    secret = "Geheimratsecken"
    place = postgres_url.replace("postgres:@", f"postgres:{secret}@")
    words = ("--plan", plan(planwave), "--thread", "t", "--data", place)
    started = planwave.here("run", "g", *words)
    assert started.exit_code == 3, started.stderr
    assert "The password in --data is not stored" in started.stdout
    assert secret.encode() not in stored_bytes(planwave.env["PLANWAVE_DB"])
    refused = planwave.here("resume", "t", "--yes")
    assert refused.exit_code == 2
    assert "whose password is not stored" in refused.stderr
    assert secret not in refused.stderr
    ended = json.loads(planwave.here("resume", "t", "--yes", "--json", "--data", place).stdout)
    assert ended["results"]["q"]["output"]["rows"] == [{"name": "Mia"}]
    assert secret.encode() not in stored_bytes(planwave.env["PLANWAVE_DB"])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p4ss@h/d", "postgresql://u:***@h/d"),
        ("postgresql://h/d?user=u&password=p4ss", "postgresql://h/d?user=u&password=***"),
        ("postgresql://h/d?sslpassword=p4ss&x=1", "postgresql://h/d?sslpassword=***&x=1"),
        ("https://h/rows.csv?token=p4ss#x", "https://h/rows.csv?token=***#x"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("https://h/rows.csv?page=1", "https://h/rows.csv?page=1"),
    ],
)
def test_only_a_url_without_a_secret_is_remembered(url: str, shown: str) -> None:
    kept = RunOptions(data=url).to_persistent()
    assert mask_password(url) == shown
    assert "p4ss" not in kept.model_dump_json()
    assert (kept.data, kept.data_withheld) == ((url, None) if shown == url else (None, shown))
    again = RunOptions().merge_defaults(load_run_options({"planwave_options": kept.model_dump_json()}))
    if shown == url:
        again.require_data("t")
    else:
        with pytest.raises(UsageError, match="password is not stored"):
            again.require_data("t")
        RunOptions(data="other.db").merge_defaults(kept).require_data("t")


def test_a_thread_remembers_all_of_its_data_and_how_to_read_it(planwave: CommandLine, monkeypatch) -> None:
    pets(planwave)
    (planwave.home / "here" / "owners.csv").write_text("pet;since\nMia;01/02/2024\n")
    (planwave.home / "elsewhere").mkdir()
    monkeypatch.chdir(planwave.home / "here")
    tasks = planwave.plan_file(
        save("s", "a.txt", "x"),
        query("q", "SELECT p.name, o.since FROM a.pets p JOIN b.owners o ON o.pet = p.name", depends_on=["s"]),
    )
    words = ("--data", "a=pets.db", "--data", "b=owners.csv?dateformat=%m/%d/%Y")
    started = planwave.here("run", "g", "--plan", tasks, "--thread", "t", *words)
    assert started.exit_code == 3, started.stderr
    monkeypatch.chdir(planwave.home / "elsewhere")
    ended = json.loads(planwave.here("resume", "t", "--yes", "--json").stdout)
    assert ended["results"]["q"]["output"]["rows"] == [{"name": "Mia", "since": "2024-01-02"}]


def test_how_files_were_read_is_said_once_and_can_be_set_in_the_configuration(
    planwave: CommandLine, monkeypatch
) -> None:
    monkeypatch.chdir(planwave.home)
    (planwave.home / "sold.csv").write_text("day,v\n01/02/2024,1\n03/04/2024,2\n")
    tasks = planwave.plan_file(query("q", "SELECT max(day) AS day FROM sold"))
    said = planwave.here("run", "g", "--plan", tasks, "--data", "sold.csv").stdout
    assert said.count("Read sold.csv: fields separated by commas, header in line 1, UTF-8.") == 1
    assert said.count("Check: sold.csv, column 'day': '01/02/2024' is read day before month") == 1
    warned = json.loads(planwave.here("run", "g", "--plan", tasks, "--data", "sold.csv", "--json").stdout)["warnings"]
    assert any("sold.csv, column 'day': '01/02/2024' is read day before month" in sentence for sentence in warned)
    (planwave.home / "planwave.toml").write_text('[data]\ndateformat = "%m/%d/%Y"\n')
    ended = planwave.here("run", "g", "--plan", tasks, "--data", "sold.csv", "--json")
    assert json.loads(ended.stdout)["results"]["q"]["output"]["rows"] == [{"day": "2024-03-04"}]
    assert "Check:" not in ended.stderr
    assert json.loads(ended.stdout)["warnings"] == []
    (planwave.home / "planwave.toml").write_text('[data.files."sold.csv"]\ndateformat = "%m/%d/%Y"\n')
    given = planwave.here("run", "g", "--plan", tasks, "--data", "sold.csv?dateformat=%d/%m/%Y", "--json")
    assert json.loads(given.stdout)["results"]["q"]["output"]["rows"] == [{"day": "2024-04-03"}]
    (planwave.home / "planwave.toml").write_text('[data]\ndecimel = ","\n')
    refused = planwave.here("run", "g", "--plan", tasks, "--data", "sold.csv")
    assert refused.exit_code == 2
    assert "is not valid at 'data.decimel': there is no such option; there are delimiter, quote," in refused.stderr


def test_the_folder_that_an_earlier_version_stored_is_still_read() -> None:
    remembered = load_run_options({"planwave_options": '{"data": "pets.db", "output": "/srv/charts", "max_tasks": 7}'})
    settings = remembered.build_settings()
    assert (settings.output_folder.as_posix(), settings.max_tasks) == ("/srv/charts", 7)
