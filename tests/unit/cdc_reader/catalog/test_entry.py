"""What the catalog lists: its names, and whether it is a table."""

from __future__ import annotations

import pytest

from cdc_reader.catalog.entry import Entry, entry_of, no_base_table
from tests.support.planned import a_table


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("VIEW", "is a view"),
        ("SYSTEM VIEW", "is a view"),
        ("SYSTEM VERSIONED", "is a system-versioned table"),
        ("SEQUENCE", "is a sequence, and no table"),
    ],
)
def test_what_is_no_table_has_a_reason(kind: str, words: str) -> None:
    """Each with what to do instead."""
    refused = no_base_table(Entry(schema="shop", name="v", kind=kind))

    assert refused is not None
    assert words in refused.seen
    assert refused.fix


def test_a_table_is_one() -> None:
    """Its names are those of texts and of statements."""
    entry = Entry(schema="shop", name="a`b", kind="BASE TABLE")

    assert no_base_table(entry) is None
    assert (entry.qualified, entry.sql) == ("shop.a`b", "`shop`.`a``b`")
    assert no_base_table(entry_of(a_table())) is None
