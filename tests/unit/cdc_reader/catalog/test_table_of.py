"""Settings and columns of a table to what its rows become; what cannot be is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from cdc.errors import CdcError, PreflightError, UsageError
from cdc.mask import Mask, MaskKey, parse_mask
from cdc.table import Column, Table
from cdc.table_settings import IndexSettings, TableSettings
from cdc_reader.catalog.dialect import NEWEST, Dialect
from cdc_reader.catalog.table_of import TableBuilder
from cdc_reader.catalog.tables import _shared_keys
from cdc_reader.catalog.unique_key import UniqueKeys, key_fix

SECRET = MaskKey(b"0123456789abcdef")


def column(name: str, data_type: str) -> Column:
    charset = "utf8mb4" if data_type in ("varchar", "text") else None
    return Column(
        name=name, data_type=data_type, column_type=data_type, charset=charset, nullable=False
    )


ID = UniqueKeys((("id",),), primary=("id",))
COLUMNS = (
    column("id", "int"),
    column("user_id", "int"),
    column("email", "varchar"),
    column("at", "datetime"),
    column("picture", "blob"),
    column("place", "geometry"),
)


def table(
    mask_key: MaskKey | None = SECRET,
    among: Sequence[Column] = COLUMNS,
    keys: UniqueKeys = ID,
    dialect: Dialect = NEWEST,
    **how: Any,
) -> Table:
    wanted = TableSettings(**({"name": "orders", "exclude": ("place",)} | how))
    return TableBuilder("shop", "orders", wanted, among, keys, mask_key, dialect).table()


def index(key: str = "of:{user_id}", **how: Any) -> IndexSettings:
    return IndexSettings(**({"kind": "set", "key": key} | how))


def test_a_projection_leaves_out_and_renames() -> None:
    """In the table's order, or in that of `columns`; names have no case; dropped is left out."""
    fields = table(rename=(("AT", "when"),), mask=(("email", parse_mask("drop")),)).fields
    chosen = table(columns=("email", "ID"), exclude=()).fields

    assert fields == (("id", "id"), ("user_id", "user_id"), ("at", "when"), ("picture", "picture"))
    assert chosen == (("email", "email"), ("id", "id"))


def test_a_list_of_columns_stays_one_where_it_names_all() -> None:
    """Only a missing list means None: all columns, also those that are added later."""
    few = COLUMNS[:2]

    assert table(among=few, columns=("id", "USER_ID"), exclude=()).fields == (
        ("id", "id"),
        ("user_id", "user_id"),
    )
    assert table(among=few, exclude=()).fields is None


def test_a_key_that_mysql_made_itself_is_no_column_of_the_row() -> None:
    """SELECT * does not show it; rows are told apart by it all the same."""
    made = replace(column("my_row_id", "bigint"), extra="auto_increment INVISIBLE")
    own = replace(made, extra="INVISIBLE")
    keys = UniqueKeys((("my_row_id",),), primary=("my_row_id",))
    found = table(among=(made, COLUMNS[1]), keys=keys, exclude=())

    assert found.fields == (("user_id", "user_id"),)
    assert found.key.columns == found.chunk_key == ("my_row_id",)
    assert table(among=(own, COLUMNS[1]), keys=keys, exclude=()).fields is None


def test_generated_columns_are_refused_where_updates_lack_them() -> None:
    """By name, with the lines that leave them out; not where none of them is used."""
    generated = replace(column("sum", "int"), extra="STORED GENERATED")
    default = replace(column("at", "datetime"), extra="DEFAULT_GENERATED")
    among = (*COLUMNS[:2], generated, default)
    new = Dialect(mariadb=True, version=(11, 8, 9))

    with pytest.raises(PreflightError, match="generated columns: sum;") as refused:
        table(among=among, dialect=new, exclude=())
    assert 'exclude = ["sum"] in [tables."shop.orders"]' in refused.value.fix
    with pytest.raises(PreflightError, match="generated columns: sum"):
        table(among=among, dialect=new, exclude=("sum",), index=(index("of:{sum}"),))
    table(among=among, dialect=new, exclude=("sum",))
    table(among=among, dialect=new, exclude=(), value="at")
    table(among=among, dialect=Dialect(mariadb=True, version=(10, 11, 18)), exclude=())
    table(among=among, exclude=())


def test_a_key_on_a_part_of_a_column_tells_rows_apart_alone() -> None:
    """It is reported; named in a template it is enough, and rows are then read in one piece."""
    keys = UniqueKeys(partial=((("email",), "email(3)"),), primary=("email",))

    with pytest.raises(PreflightError, match=r"only one on email\(3\)") as refused:
        table(keys=keys)
    assert "UNIQUE KEY" in refused.value.fix
    assert "--key '{table}:{email}'" in refused.value.fix
    assert table(keys=keys, key="o:{email}", index=(index(),)).chunk_key == ()


@pytest.mark.parametrize(
    ("extra", "has_primary", "dialect", "words"),
    [
        ("", False, NEWEST, "ADD COLUMN `cdc_id` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT INVISIBLE"
         " PRIMARY KEY;"),
        ("", True, NEWEST, "AUTO_INCREMENT INVISIBLE UNIQUE KEY;"),
        ("", False, Dialect(mariadb=False, version=(8, 0, 15)), "AUTO_INCREMENT PRIMARY KEY;"),
        ("auto_increment", False, NEWEST, "ADD PRIMARY KEY (`n`);"),
        ("auto_increment", True, NEWEST, "ADD UNIQUE KEY (`n`);"),
    ],
)  # fmt: skip
def test_the_statement_that_adds_a_key_fits_the_table(
    extra: str, has_primary: bool, dialect: Dialect, words: str
) -> None:
    """One AUTO_INCREMENT, one primary key; INVISIBLE where the server knows the word."""
    number = replace(column("n", "int"), extra=extra)
    fix = key_fix(
        ("shop", "t"), [number], has_primary=has_primary, dialect=dialect, otherwise="or not"
    )

    assert fix.sql[0].startswith("ALTER TABLE `shop`.`t` ADD ")
    assert fix.sql[0].endswith(words)


def test_a_hash_has_the_secret_and_a_dropped_column_no_mask() -> None:
    """What is left for the codecs to do."""
    found = table(mask=(("email", parse_mask("hash")), ("at", parse_mask("drop"))))

    assert found.masks == (("email", Mask(kind="hash", key=SECRET)),)


def test_an_index_and_a_field_name_columns_that_are_left_out() -> None:
    """They need not be in the row's object."""
    found = table(columns=("id",), exclude=(), index=(index("{EMAIL}:{table}"),))

    assert [i.key.columns for i in found.indexes] == [("email",)]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"exclude": ("plase", "place")}, "did you mean 'place'"),
        ({"columns": ("emial",)}, "did you mean 'email'"),
        ({"rename": (("emial", "x"),)}, "did you mean 'email'"),
        ({"rename": (("place", "x"),)}, "'place' is not in the row's object"),
        ({"rename": (("email", "id"),)}, "two columns are called 'id'"),
        ({"exclude": tuple(c.name for c in COLUMNS)}, "leave no column"),
        ({"exclude": ()}, "place (geometry)"),
        ({"mask": (("emial", parse_mask("drop")),)}, "did you mean 'email'"),
        ({"mask": (("id", parse_mask("hash")),)}, "is in every heartbeat"),
        ({"mask": (("picture", parse_mask("truncate:3")),)}, "cannot be truncated"),
        ({"mask": (("user_id", parse_mask("truncate:3")),)}, "cannot be truncated"),
        ({"mask": (("email", parse_mask("drop")),), "value": "email"}, "dropped by its mask"),
        (
            {"mask": (("email", parse_mask("truncate:3")),), "key": "o:{id}:{email}"},
            "only a hashed one",
        ),
        (
            {"mask": (("at", parse_mask("hash")),), "index": (index(kind="zset", score="at"),)},
            "'at' is masked",
        ),
        ({"index": (index("of:{usr_id}"),)}, "did you mean 'user_id'"),
        ({"index": (index(kind="zset", score="email"),)}, "no number and no time"),
        ({"index": (index(member="{email}"),)}, "its members contain no unique key"),
        ({"index": (index("at:{place}"),)}, "place (geometry)"),
        ({"model": "hash", "key": "u:{user_id}", "field": "{at}"}, "rows would share a field"),
        ({"model": "hash", "key": "u:{user_id}", "field": "{idd}"}, "did you mean 'id'"),
    ],
)
def test_what_cannot_be_is_refused(how: dict[str, Any], words: str) -> None:
    """By name, before anything is written."""
    with pytest.raises(CdcError) as refused:
        table(**how)

    assert words in refused.value.text()


def test_a_hash_without_a_secret_is_refused() -> None:
    """And told how to make one."""
    with pytest.raises(UsageError, match="needs a secret") as refused:
        table(mask_key=None, mask=(("email", parse_mask("hash")),))

    assert "openssl rand -hex 32" in refused.value.fix


def test_all_problems_of_a_table_are_told_at_once() -> None:
    """Columns, masks, templates and types."""
    with pytest.raises(CdcError) as refused:
        table(exclude=("plase",), mask=(("id", parse_mask("hash")),), index=(index("of:{usr_id}"),))

    text = refused.value.text()
    assert text.startswith("error: 4 problems")
    assert all(word in text for word in ("plase", "heartbeat", "usr_id", "geometry"))


@pytest.mark.parametrize(
    ("key", "indexes", "apart"),
    [
        ("orders:{id}", ["orders:of:{user_id}"], True),
        ("orders:{id}", ["orders:{user_id}"], False),
        ("orders:{id}", ["orders:{email}"], False),
        ("orders:{id}", ["of:{email}", "of:{user_id}"], False),
        ("orders:{id}", ["of:{user_id}", "of:all"], True),
        ("orders:{id}", ["all", "all"], False),
        ("orders:{email}:{id}", ["orders:{user_id}"], True),
    ],
)
def test_keys_and_indexes_are_told_apart(key: str, indexes: list[str], *, apart: bool) -> None:
    """Of one table too: a row's key that is an index's would overwrite it."""
    one = table(key=key, index=tuple(map(index, indexes)))

    assert (list(_shared_keys([one])) == []) is apart


def test_what_a_hash_can_be_tells_keys_apart() -> None:
    """Hexadecimal digits; the column's own text could be anything."""
    masked = table(
        mask=(("email", parse_mask("hash")),), index=(index("orders:{email}"),), key="orders:x{id}"
    )
    plain = table(index=(index("orders:{email}"),), key="orders:x{id}")

    assert list(_shared_keys([masked])) == []
    assert list(_shared_keys([plain])) != []
