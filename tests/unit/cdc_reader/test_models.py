"""Settings and columns of a table to what its rows become; what cannot be is refused."""

from __future__ import annotations

from typing import Any

import pytest

from cdc.errors import CdcError, UsageError
from cdc.mask import Mask, MaskKey, parse_mask
from cdc.table import Column, Table
from cdc.table_settings import IndexSettings, TableSettings
from cdc_reader.models import Modelling
from cdc_reader.tables import _shared_keys

SECRET = MaskKey(b"0123456789abcdef")


def column(name: str, data_type: str) -> Column:
    charset = "utf8mb4" if data_type in ("varchar", "text") else None
    return Column(
        name=name, data_type=data_type, column_type=data_type, charset=charset, nullable=False
    )


COLUMNS = (
    column("id", "int"),
    column("user_id", "int"),
    column("email", "varchar"),
    column("at", "datetime"),
    column("picture", "blob"),
    column("place", "geometry"),
)


def table(mask_key: MaskKey | None = SECRET, **how: Any) -> Table:
    wanted = TableSettings(**({"name": "orders", "exclude": ("place",)} | how))
    return Modelling("shop", "orders", wanted, COLUMNS, [("id",)], mask_key).table()


def index(key: str = "of:{user_id}", **how: Any) -> IndexSettings:
    return IndexSettings(**({"kind": "set", "key": key} | how))


def test_a_projection_leaves_out_and_renames() -> None:
    """In the table's order, or in that of `columns`; names have no case; dropped is left out."""
    fields = table(rename=(("AT", "when"),), mask=(("email", parse_mask("drop")),)).fields
    chosen = table(columns=("email", "ID"), exclude=()).fields

    assert fields == (("id", "id"), ("user_id", "user_id"), ("at", "when"), ("picture", "picture"))
    assert chosen == (("email", "email"), ("id", "id"))


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
        ({"mask": (("id", parse_mask("hash")),)}, "stands in every heartbeat"),
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

    assert "openssl rand -hex 32" in refused.value.remedy


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
