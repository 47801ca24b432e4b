"""What Redis has to hold for a row: projection, names, masks, models."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac

import pytest

from cdc.errors import PreflightError
from cdc.key import parse_template
from cdc.mask import Mask, MaskKey
from cdc_verify.expected import Expected
from cdc_verify.inverse import EVERY_ROW, Inverse
from tests.support.planned import a_table

SECRET = b"a secret of sixteen bytes or more"
KINDS = {"id": "int", "name": "varchar", "email": "varchar", "born": "date", "more": "json"}
TABLE = a_table(key="users:{id}", columns=KINDS)
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
    """A key that is NULL."""
    with pytest.raises(PreflightError, match="NULL in"):
        Expected(TABLE).key((None, *ROW[1:]))
