"""The settings file that is written: it loads, names what it means, and holds no secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.init.proposal import Inventory, Proposal
from cdc.init.settings_file import settings_file
from cdc.settings import Settings, load
from cdc.table_settings import TableSettings

SECRET = "Kanarienvogel"


def written(*tables: Proposal, settings: Settings | None = None) -> str:
    found = Inventory(server="MySQL 9.7.4 at h:3306", tables=tables, grants=("GRANT a TO b;",))
    return settings_file(found, settings or Settings())


def read(text: str, folder: Path) -> Settings:
    path = folder / "cdc.toml"
    path.write_text(text, "utf-8")
    return load({}, {}, path)


def test_captured_tables_are_sections_and_the_rest_is_comment(tmp_path: Path) -> None:
    """A table without a key becomes one when its lines are taken out of the comment."""
    text = written(
        Proposal(table="shop.users", state="captured", settings=(("key", "u:{id}"),)),
        Proposal(table="shop.log", state="needs key", settings=(("key", "{table}:{a}"),)),
        Proposal(table="shop.v", state="excluded", why=("shop.v is a view",)),
    )
    users = TableSettings(name="shop.users", key="u:{id}")
    log = TableSettings(name="shop.log", key="{table}:{a}")

    assert read(text, tmp_path).tables == (users,)
    assert "# - shop.v is a view\n" in text
    uncommented = re.sub(r"(?m)^#(\[|key)", r"\1", text)
    assert read(uncommented, tmp_path).tables == (users, log)


NAMES = st.text(
    st.characters(max_codepoint=0xFFFF, exclude_characters="\0", exclude_categories=["Cs"]),
    min_size=1,
    max_size=12,
)


@given(NAMES)
def test_any_name_is_read_back_as_it_is(name: str) -> None:
    """Quotes, control characters and signs of patterns; none of them ends a comment."""
    import tomllib

    why = (f"{name} is a view",)
    text = written(
        Proposal(table=f"shop.{name}", state="captured", about=name, why=why),
        Proposal(table=f"shop.{name}2", state="needs key", why=why, fix=(name,)),
        Proposal(table=f"shop.{name}3", state="excluded", why=why, fix=(name,)),
    )
    (section,) = tomllib.loads(text)["tables"]
    settings = load({"tables": (section,)}, {})

    assert [table.name for table in settings.tables] == [f"shop.{name}".strip()]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e]", text)


@pytest.mark.parametrize(
    ("flags", "variable"),
    [
        ({"mysql": f"mysql://cdc:{SECRET}@db/shop?ssl-mode=required"}, "CDC_MYSQL_PASSWORD_FILE"),
        ({"nats": f"nats://{SECRET}@n:4222"}, "CDC_NATS_URL_FILE"),
        ({"redis": f"redis://cdc:{SECRET}@r:6379/1"}, "CDC_REDIS_PASSWORD_FILE"),
    ],
)
def test_no_secret_is_written(flags: dict[str, str], variable: str, tmp_path: Path) -> None:
    """In its place the variable that gives it; the rest of the address stays."""
    text = written(settings=load(flags, {}))
    (name,) = flags
    url, given_url = getattr(read(text, tmp_path), name), getattr(load(flags, {}), name)

    assert SECRET not in text
    assert f"#   export {variable}=/run/secrets/" in text
    assert (url.hosts, url.database, url.options) == (
        given_url.hosts, given_url.database, given_url.options,
    )  # fmt: skip


def test_settings_that_were_given_are_written(tmp_path: Path) -> None:
    """And no others; defaults of servers are comments."""
    given_settings = Settings(partitions=4, snapshot=False, heartbeat_s=0.5, stream="OTHER")
    text = written(settings=given_settings)

    assert read(text, tmp_path) == given_settings
    assert '\n#redis = "redis://127.0.0.1:6379/0"\n' in text
    assert "\nsinks" not in text
    assert "#   GRANT a TO b;\n" in text


def test_a_password_that_is_read_again_is_named_where_it_is(tmp_path: Path) -> None:
    """Its file as the variable that names it, and the program as a setting."""
    file = tmp_path / "password"
    file.write_text(SECRET)
    env = {
        "CDC_MYSQL_URL": "mysql://ada@h",
        "CDC_MYSQL_PASSWORD_FILE": str(file),
        "CDC_NATS_URL": "nats://bob@h",
        "CDC_NATS_PASSWORD_COMMAND": "token 'of it'",
    }
    text = written(settings=load({}, env))
    found = read(text, tmp_path)

    assert f"#   export CDC_MYSQL_PASSWORD_FILE={file}\n" in text
    assert (found.mysql.user, found.nats.user) == ("ada", "bob")
    assert found.nats_password_command == ("token", "of it")
    assert SECRET not in text
