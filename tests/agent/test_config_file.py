"""`planwave.toml`: what it may say, and what is said of what it may not."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from agent.config_file import HttpServer, StdioServer, read_configuration
from agent.errors import SettingsError


def written(folder: Path, text: str) -> Path:
    file = folder / "planwave.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_servers_are_read_with_their_variables_filled_in(tmp_path):
    text = """
        [mcp.servers.notes]
        command = "python"
        args = ["notes.py", "${FOLDER}/notes"]
        env = { NOTES_TOKEN = "${TOKEN}" }

        [mcp.servers.shop]
        url = "https://${HOST}/mcp"
        headers = { Authorization = "Bearer ${TOKEN}" }
        prefix = true

        [mcp.servers.shop.tools.find]
        readOnlyHint = true
        timeout_s = 5
    """
    environ = {"FOLDER": "data", "TOKEN": "s3cret", "HOST": "shop.example"}
    found = read_configuration(written(tmp_path, text), environ=environ)
    notes, shop = found.mcp.servers["notes"], found.mcp.servers["shop"]
    assert isinstance(notes, StdioServer)
    assert isinstance(shop, HttpServer)
    assert (notes.args, notes.env, notes.cwd) == (
        ("notes.py", "data/notes"),
        {"NOTES_TOKEN": SecretStr("s3cret")},
        tmp_path,
    )
    assert (shop.url, shop.headers["Authorization"].get_secret_value()) == ("https://shop.example/mcp", "Bearer s3cret")
    assert (shop.prefix, shop.tools["find"].readOnlyHint, shop.tools["find"].timeout_s) == (True, True, 5)
    assert "s3cret" not in repr(found)


def test_a_file_without_servers_has_none(tmp_path):
    assert read_configuration(written(tmp_path, "")).mcp.servers == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[mcp.servers.a", "is not valid TOML"),
        ("[mpc]", "not valid at 'mpc': Extra inputs"),
        (
            '[mcp.servers.a]\ncommand = "x"\nurl = "http://h"',
            "not valid at 'mcp.servers.a.command': a server has either a command or a url",
        ),
        ("[mcp.servers.a]\nargs = []", "not valid at 'mcp.servers.a.command': a server has either"),
        ('[mcp.servers.a]\nurl = "ftp://h"', "not valid at 'mcp.servers.a.url': String should match"),
        (
            '[mcp.servers.a]\ncommand = "x"\nargs = ["${NOT_SET}"]',
            "uses the environment variable 'NOT_SET', which is not set",
        ),
        (
            '[mcp.servers.a]\ncommand = "x"\n[mcp.servers.a.tools.t]\nreadOnly = true',
            "'mcp.servers.a.tools.t.readOnly'",
        ),
        ('[mcp.servers.a]\ncommand = "x"\nenv = { A = 3 }', "not valid at 'mcp.servers.a.env.A'"),
        ('[mcp.servers]\na = "x"', "not valid at 'mcp.servers.a'"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, text, says):
    with pytest.raises(SettingsError) as caught:
        read_configuration(written(tmp_path, text), environ={})
    assert says in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.toml' cannot be read"):
        read_configuration(tmp_path / "nowhere.toml")


def test_an_agent_is_read_with_the_texts_of_its_files(tmp_path):
    (tmp_path / "roles").mkdir()
    (tmp_path / "roles" / "researcher.md").write_text("You look for ${SOURCES}.", encoding="utf-8")
    (tmp_path / "report.json").write_text('{"type": "object"}', encoding="utf-8")
    text = """
        [agents.researcher]
        description = "Looks for facts."
        prompt = "roles/researcher.md"
        tools = ["query_database"]
        max_steps = 6

        [agents.writer]
        description = "Writes."
        model = "openai:${MODEL}"
        output_schema = "report.json"

        [agents.analyst]
        description = "Counts."
        output_schema = { type = "object", properties = { n = { type = "integer" } } }
    """
    found = read_configuration(written(tmp_path, text), environ={"MODEL": "m"})
    researcher, writer, analyst = (found.agents[name] for name in ("researcher", "writer", "analyst"))
    # A text of a file is taken as it is.
    assert (researcher.prompt, researcher.tools, researcher.max_steps) == (
        "You look for ${SOURCES}.",
        ("query_database",),
        6,
    )
    assert (writer.model, writer.output_schema, writer.tools) == ("openai:m", {"type": "object"}, None)
    assert analyst.output_schema == {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert found.needs_trust


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[agents.a]", "not valid at 'agents.a.description': Field required"),
        ('[agents."a b"]\ndescription = "x"', "agents.a b"),
        ('[agents.a]\ndescription = "x"\nmax_steps = 0', "agents.a.max_steps"),
        ('[agents.a]\ndescription = "x"\ntools = []', "agents.a.tools"),
        ('[agents.a]\ndescription = "x"\nprompt = "no.md"', "names the file 'no.md' at 'agents.a.prompt'"),
        ('[agents.a]\ndescription = "x"\noutput_schema = "planwave.toml"', "names no JSON at 'agents.a.output_schema'"),
    ],
)
def test_a_wrong_agent_is_told_with_its_place(tmp_path, text, says):
    with pytest.raises(SettingsError) as told:
        read_configuration(written(tmp_path, text), environ={})
    assert says in str(told.value)
