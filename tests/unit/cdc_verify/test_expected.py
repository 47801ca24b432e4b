"""What Redis has to hold for a row: projection, names, masks, models."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac

import pytest

from cdc.errors import PreflightError
from cdc.key import KeyTemplate, parse_template
from cdc.mask import Mask, MaskKey
from cdc.table import Column, Index, Table
from cdc_verify.expected import Expected
from cdc_verify.inverse import EVERY_ROW, Inverse
from cdc_verify.parted import expected_of
from cdc_verify.parts import Part, part_of

SECRET = b"a secret of sixteen bytes or more"
KINDS = {"id": "int", "name": "varchar", "email": "varchar", "born": "date", "more": "json"}
TABLE = Table(
    schema="shop",
    name="users",
    columns=tuple(
        Column(name=name, data_type=kind, column_type=kind, charset=None, nullable=True)
        for name, kind in KINDS.items()
    ),
    identity=("id",),
    chunk_key=("id",),
    key=parse_template("users:{id}", schema="shop", table="users", pk=("id",)),
    value_column=None,
    model="string",
)
FIELD = parse_template("{name}", schema="shop", table="users", pk=("id",))
ROW = (b"7", b'A "x"', b"a@b", b"1815-12-10", b'{"a": [1, "b c"]}', b"7")


def test_a_row_as_an_object_and_as_a_hash() -> None:
    """All columns; what stands behind them in a row is not looked at."""
    text = b'{"id":7,"name":"A \\"x\\"","email":"a@b","born":"1815-12-10","more":{"a":[1,"b c"]}}'

    assert Expected(TABLE).content(ROW) == text
    assert Expected(dataclasses.replace(TABLE, model="hash")).content(ROW) == {
        b"id": b"7",
        b"name": b'A "x"',
        b"email": b"a@b",
        b"born": b"1815-12-10",
        b"more": b'{"a":[1,"b c"]}',
    }


def test_columns_in_another_order_under_other_names() -> None:
    """Of a projection only its columns are read, and those of the key."""
    made = Expected(dataclasses.replace(TABLE, fields=(("born", "b%"), ("name", "full"))))

    assert [column.name for column in made.columns] == ["id", "name", "born"]
    assert made.content((b"7", b"Ada", None)) == b'{"b%":null,"full":"Ada"}'
    assert made.key((b"7", b"Ada", None)) == b"users:7"


def test_masked_columns() -> None:
    """Hashed and cut as the reader does it, in keys too; nothing leads back from a hash."""
    masks = (
        ("email", Mask(kind="hash", key=MaskKey(SECRET))),
        ("born", Mask(kind="truncate", length=4)),
    )
    key = parse_template("u:{email}", schema="shop", table="users", pk=("id",))
    table = dataclasses.replace(
        TABLE, masks=masks, key=key, fields=(("email", "email"), ("born", "born"))
    )
    digest = hmac.new(SECRET, b"a@b", hashlib.sha256).hexdigest()
    made = Expected(table)

    assert made.key((b"a@b", b"1815-12-10")).decode() == f"u:{digest}"
    content = f'{{"email":"{digest}","born":"1815"}}'.encode()
    assert made.content((b"a@b", b"1815-12-10")) == content
    assert Inverse(table).condition(f"u:{digest}") == EVERY_ROW


def test_what_cannot_be_compared_is_refused() -> None:
    """A key that is NULL, and a field."""
    parted = dataclasses.replace(TABLE, model="hash", field=FIELD)
    with pytest.raises(PreflightError, match="NULL in 'name'"):
        expected_of(parted).places((ROW[0], None, *ROW[2:]))
    with pytest.raises(PreflightError, match="NULL in"):
        Expected(TABLE).key((None, *ROW[1:]))


def test_a_row_has_a_place_for_its_field_and_each_entry() -> None:
    """Those of NULL and of what is no date are left out."""

    def template(text: str) -> KeyTemplate:
        return parse_template(text, schema="shop", table="users", pk=("id",), may_be_constant=True)

    table = dataclasses.replace(
        TABLE,
        model="hash",
        field=FIELD,
        value_column="email",
        indexes=(
            Index(kind="set", key=template("of:{email}"), score=None, member=template("{id}")),
            Index(kind="zset", key=template("all"), score="born", member=template("{id}")),
        ),
    )
    made = expected_of(table)
    row = (b"7", b"Ada", b"a@b", b"1815-12-10")

    assert [column.name for column in made.columns] == ["id", "name", "email", "born"]
    assert made.places(row) == [
        (Part("hash", b"users:7", b"Ada").place, b"a@b"),
        (b"\x00set\x006\x00of:a@b7", b""),
        (b"\x00zset\x003\x00all7", b"-4861728000.0"),
    ]
    assert made.places((b"7", b"Ada", None, b"0000-00-00")) == [
        (Part("hash", b"users:7", b"Ada").place, None)
    ]
    assert [part_of(place) for place, _ in made.places(row)] == [
        Part("hash", b"users:7", b"Ada"), Part("set", b"of:a@b", b"7"), Part("zset", b"all", b"7")
    ]  # fmt: skip
