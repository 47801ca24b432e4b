"""When new tables are looked for."""

from __future__ import annotations

from dataclasses import replace

from cdc.process.new_tables import is_wanted
from cdc.settings import load


def test_nothing_is_looked_for_without_a_pattern_or_an_interval() -> None:
    """Names mean what they mean, and looking is asked for."""
    patterns = load({"tables": ("shop.*",), "new_tables_every_s": "5"}, {})
    names = load({"tables": ("shop.users",), "new_tables_every_s": "5"}, {})

    assert is_wanted(patterns)
    assert not is_wanted(names)
    assert not is_wanted(replace(patterns, new_tables_every_s=0))
