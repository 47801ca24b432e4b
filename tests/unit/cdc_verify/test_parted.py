"""Rows that share keys: each place of a row, and what has to be there."""

from __future__ import annotations

import dataclasses

import pytest

from cdc.errors import PreflightError
from cdc.key import KeyTemplate, parse_template
from cdc.mask import Mask
from cdc.table import Index
from cdc_verify.expected import Expected
from cdc_verify.parted import Parted, expected_of
from cdc_verify.parts import Part, part_of
from tests.support.planned import a_table

KINDS = {"id": "int", "name": "varchar", "email": "varchar", "born": "date", "rate": "float"}


def template(text: str) -> KeyTemplate:
    """Return a key template of shop.users."""
    return parse_template(text, schema="shop", table="users", pk=("id",), may_be_constant=True)


PLAIN = a_table(key="users:{id}", columns=KINDS, value="email")
FIELD = dataclasses.replace(PLAIN, model="hash", field=template("{name}"))
BY_RATE = Index(kind="zset", key=template("by:{name}"), score="rate", member=None)


def test_rows_that_share_no_key_are_compared_by_keys() -> None:
    """A field or an index makes the difference."""
    assert Expected is type(expected_of(PLAIN))
    assert Parted is type(expected_of(FIELD))
    assert Parted is type(expected_of(dataclasses.replace(PLAIN, indexes=(BY_RATE,))))


def test_a_row_has_a_place_for_its_field_and_each_entry() -> None:
    """Those of NULL and of what is no date are left out."""
    table = dataclasses.replace(
        FIELD,
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


@pytest.mark.parametrize(
    ("name", "rate", "entries"),
    [
        (b"Ada", b"1.100000023841858", [(Part("zset", b"by:Ada", b"users:7").place, b"1.1")]),
        (b"Ada", b"-0", [(Part("zset", b"by:Ada", b"users:7").place, b"-0.0")]),
        (b"Ada", None, []),
        (None, b"1", []),
    ],
)
def test_a_score_is_the_number_as_the_reader_prints_it(
    name: bytes | None, rate: bytes | None, entries: list[tuple[bytes, bytes]]
) -> None:
    """A float with the digits of its 32 bits; without key or score there is no entry."""
    made = expected_of(dataclasses.replace(PLAIN, indexes=(BY_RATE,)))
    own, *found = made.places((b"7", name, b"a@b", rate))

    assert (b"users:7", b"a@b") == own
    assert entries == found


def test_null_in_a_key_or_a_field_is_refused() -> None:
    """The column is named; such a row would have stopped the reader."""
    made = expected_of(FIELD)
    with pytest.raises(PreflightError, match="NULL in 'name'"):
        made.places((b"7", None, b"a@b"))
    with pytest.raises(PreflightError, match="NULL in 'id'"):
        made.places((None, b"Ada", b"a@b"))


def test_places_are_made_of_masked_texts() -> None:
    """What the reader hides is compared as it was hidden."""
    masks = (("name", Mask(kind="truncate", length=1)),)
    made = expected_of(dataclasses.replace(FIELD, masks=masks))

    assert [(Part("hash", b"users:7", b"A").place, b"a@b")] == made.places((b"7", b"Ada", b"a@b"))
