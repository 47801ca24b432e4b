"""Sections of cdc.toml: what a table may say, and what cannot be together."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc.errors import SettingsError
from cdc.mask import Mask, MaskKey
from cdc.settings import load
from cdc.table_settings import IndexSettings, TableSettings

SECRET = "0123456789abcdef"


def loaded(folder: Path, section: str, *, head: str = "", **env: str) -> TableSettings:
    """Return the settings of one table whose section this is."""
    path = folder / "cdc.toml"
    path.write_text(f'{head}\n[tables."shop.orders"]\n{section}\n')
    (table,) = load({}, env, path).tables
    return table


def test_all_of_a_section_is_read(tmp_path: Path) -> None:
    """Lists, names and numbers as TOML has them."""
    section = """
        key = "orders:{id}"
        exclude = ["phone"]
        rename = {created_at = "at"}
        mask = {email = "hash", phone = "truncate:4", note = "drop"}
        index = [{set = "of:{user_id}"}, {zset = "by:{user_id}", score = "at", member = "{id}"}]
    """
    assert loaded(tmp_path, section) == TableSettings(
        name="shop.orders",
        key="orders:{id}",
        exclude=("phone",),
        rename=(("created_at", "at"),),
        mask=(
            ("email", Mask(kind="hash")),
            ("phone", Mask(kind="truncate", length=4)),
            ("note", Mask(kind="drop")),
        ),
        index=(
            IndexSettings(kind="set", key="of:{user_id}"),
            IndexSettings(kind="zset", key="by:{user_id}", score="at", member="{id}"),
        ),
    )


def test_a_cache_and_a_parents_hash(tmp_path: Path) -> None:
    """Each with what it needs."""
    cache = loaded(tmp_path, 'mode = "cache"\nttl_s = 60')
    lines = loaded(tmp_path, 'as = "hash"\nkey = "o:{o}"\nfield = "{no}"\nvalue = "article"')

    assert (cache.mode, cache.ttl_s) == ("cache", 60)
    assert (lines.model, lines.field, lines.value) == ("hash", "{no}", "article")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ('columns = "id"', "must be a list in brackets"),
        ("columns = []", "columns names no column"),
        ('columns = ["id", "ID"]', "columns names a column twice"),
        ("exclude = [1]", "exclude must be a list of column names in quotes"),
        ('colums = ["id"]', "did you mean 'columns'"),
        ('columns = ["id"]\nexclude = ["a"]', "columns and exclude"),
        ('value = "a"\nrename = {a = "b"}', "value takes one column"),
        ("rename = {a = 1}", "rename must give each column a text"),
        ('mask = {a = "hsah"}', "did you mean 'hash'"),
        ('mask = {a = "truncate"}', "truncate:N"),
        ('mask = {a = "truncate:0"}', "N from 1 on"),
        ('as = "hash"\nvalue = "a"', "keep one"),
        ('field = "{no}"\nkey = "o:{o}"', "add as = 'hash'"),
        ('as = "hash"\nfield = "{no}"', "a key that is the parent's"),
        ('as = "hash"\nfield = ""\nkey = "a:{b}"', "must not be empty"),
        ('mode = "chache"', "did you mean 'cache'"),
        ('mode = "cache"', "needs ttl_s"),
        ("ttl_s = 5", "add mode = 'cache'"),
        ("ttl_s = true", "must be a whole number"),
        ('mode = "cache"\nttl_s = -1', "ttl_s must be 1 to"),
        ('mode = "cache"\nttl_s = 5\nindex = [{set = "a"}]', "their members stay"),
        (
            'mode = "cache"\nttl_s = 5\nas = "hash"\nkey = "o:{o}"\nfield = "{no}"',
            "return with only some",
        ),
        ('index = [{set = "a", score = "b"}]', "a set has none"),
        ('index = [{zset = "a"}]', "a zset needs score"),
        ('index = [{sett = "a"}]', "did you mean 'set'"),
        ('index = [{set = "a", zset = "b"}]', "either set or zset"),
        ('index = ["a"]', "index 1 must be such as"),
        (
            'as = "hash"\nkey = "o:{o}"\nfield = "{no}"\nindex = [{set = "a"}]',
            "an index together with a field needs a member",
        ),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, section: str, words: str) -> None:
    """Before anything is connected to; the nearest name at a typo."""
    with pytest.raises(SettingsError) as refused:
        loaded(tmp_path, section)

    assert words in refused.value.text()


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """Of one table too."""
    with pytest.raises(SettingsError) as refused:
        loaded(tmp_path, 'mode = "cache"\ncolumns = []\nmask = {a = "x"}\nindex = [{}]')

    assert "4 settings cannot be used" in refused.value.text()


def test_with_several_partitions_a_member_is_the_rows_key(tmp_path: Path) -> None:
    """Else two partitions could write the same entry, in either order."""
    section = 'index = [{set = "of:{u}", member = "{id}"}]'
    with pytest.raises(SettingsError, match="leave member out"):
        loaded(tmp_path, section, head="partitions = 2")

    assert loaded(tmp_path, section, head="partitions = 1").index
    assert loaded(tmp_path, 'index = [{set = "of:{u}"}]', head="partitions = 2").index


def test_the_secret_of_hashes_comes_from_a_variable_or_a_file(tmp_path: Path) -> None:
    """Never from cdc.toml, as a password; never shown; never a short one."""
    (tmp_path / "key").write_text(SECRET + "\n")
    for env in ({"CDC_MASK_KEY": SECRET}, {"CDC_MASK_KEY_FILE": str(tmp_path / "key")}):
        settings = load({}, env)
        assert settings.mask_key == MaskKey(SECRET.encode())
        assert SECRET not in repr(settings)
    with pytest.raises(SettingsError, match="at least 16 bytes") as refused:
        load({}, {"CDC_MASK_KEY": "short"})
    assert "short" not in refused.value.text()
    (tmp_path / "cdc.toml").write_text(f'mask_key = "{SECRET}"')
    with pytest.raises(SettingsError, match="unknown setting 'mask_key'"):
        load({}, {}, tmp_path / "cdc.toml")
