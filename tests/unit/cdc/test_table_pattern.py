"""Patterns of table names: what they match, how exact they are, and names with their signs."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.table_pattern import (
    escaped_name,
    is_pattern,
    most_exact,
    parse_pattern,
    plain_name,
)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("shop.*", ["shop.users", "shop.a.b", "shop."], ["shops.users", "xshop.users"]),
        ("*.orders", ["shop.orders", "crm.orders"], ["shop.orders2", "shop.x.orders"]),
        ("shop.log_?", ["shop.log_1"], ["shop.log_", "shop.log_12"]),
        ("shop.log_[0-9]", ["shop.log_7"], ["shop.log_x"]),
        ("shop.[!a]*", ["shop.b", "shop.ba"], ["shop.a", "shop.ab"]),
        ("shop.[]a]", ["shop.]", "shop.a"], ["shop.[]a]"]),
        ("shop.[a^\\]*", ["shop.^x", "shop.\\"], ["shop.b"]),
        ("shop.a+*", ["shop.a+b"], ["shop.aab"]),
        ("shop.*", ["shop.a\nb"], []),
        ("sh[.]op.*", [], ["sh.op"]),
    ],
)
def test_signs_are_those_of_a_shell(pattern: str, matching: list[str], others: list[str]) -> None:
    """No sign crosses the dot between database and table; every other character is itself."""
    parsed = parse_pattern(pattern, "")

    def matches(name: str) -> bool:
        schema, _, table = name.partition(".")
        return parsed.matches(schema, table)

    assert [name for name in matching if not matches(name)] == []
    assert [name for name in others if matches(name)] == []


def test_a_dot_in_brackets_belongs_to_the_database() -> None:
    """A database called ``my.db`` can be named."""
    parsed = parse_pattern("my[.]db.*", "")

    assert parsed.matches("my.db", "users")
    assert not parsed.matches("my", "db.users")


def test_without_a_dot_it_is_of_the_default_database() -> None:
    """And without one it is refused, as is a range that has no character."""
    assert parse_pattern("log_*", "shop").matches("shop", "log_1")
    assert not parse_pattern("log_*", "shop").matches("crm", "log_1")
    with pytest.raises(ValueError, match="names no database"):
        parse_pattern("log_*", "")
    with pytest.raises(ValueError, match="a range that is empty"):
        parse_pattern("shop.[z-a]", "")


def test_case_matters_unless_the_server_folds_names() -> None:
    """As for names: ``lower_case_table_names``."""
    parsed = parse_pattern("Shop.*", "")

    assert not parsed.matches("shop", "users")
    assert parsed.matches("shop", "users", folds=True)


def test_more_literal_characters_are_more_exact() -> None:
    """The database counts, also where it is the default; equally many are a tie."""
    texts = ("*.*", "shop.*", "shop.order*", "*.orders", "s*p.orders", "order_*")
    patterns = [parse_pattern(text, "shop") for text in texts]

    def best(table: str) -> list[str]:
        return [one.text for one in most_exact(patterns, "shop", table)]

    assert best("users") == ["shop.*"]
    assert best("order_lines") == ["order_*"]
    assert best("orders") == ["shop.order*"]
    assert most_exact(patterns[3:4], "shop", "users") == []
    tied = [parse_pattern(text, "") for text in ("shop.a*", "shop.*a")]
    assert [one.text for one in most_exact(tied, "shop", "aa")] == ["shop.a*", "shop.*a"]


NAMES = st.text(st.sampled_from("ab.*?[]!-^\\"), max_size=8)


@given(NAMES)
def test_any_name_can_be_written_as_itself(name: str) -> None:
    """Escaped, it is no pattern and means that name alone."""
    assert not is_pattern(escaped_name(name))
    assert plain_name(escaped_name(name)) == name


@given(NAMES)
def test_what_is_no_pattern_and_has_no_brackets_is_its_own_name(name: str) -> None:
    """Names without ``*``, ``?`` and ``[`` never change."""
    if not any(sign in name for sign in "*?["):
        assert not is_pattern(name)
        assert plain_name(name) == name


@given(
    NAMES.filter(lambda text: "-" not in text), st.text(st.sampled_from("ab*?[]!^\\"), max_size=4)
)
def test_it_matches_what_a_shells_pattern_matches(pattern: str, table: str) -> None:
    """The same as Python's fnmatch for the table's part."""
    pattern = pattern.replace(".", "")

    assert parse_pattern(f"s.{pattern}", "").matches("s", table) == fnmatch.fnmatchcase(
        table, pattern
    )
