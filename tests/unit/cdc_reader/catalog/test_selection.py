"""Which tables are captured: names, patterns, what is excluded, and whose section counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc.errors import UsageError
from cdc.settings import load
from cdc_reader.catalog.entry import Entry
from cdc_reader.catalog.selection import Catalog, Selection, is_matched, select

TABLES = ("crm.orders", "shop.a*b", "shop.log_1", "shop.log_2", "shop.orders", "shop.users")


def entry(name: str, kind: str = "BASE TABLE") -> Entry:
    schema, _, table = name.partition(".")
    return Entry(schema=schema, name=table, kind=kind)


def selected(
    *names: str,
    exclude: tuple[str, ...] = (),
    database: str = "",
    toml: Path | None = None,
    folds: bool = False,
    views: tuple[str, ...] = (),
) -> Selection:
    flags = {"tables": names, "exclude_tables": exclude, "mysql": f"mysql://h/{database}"}
    settings = load(flags, {}, toml)
    entries = [*map(entry, TABLES), *(entry(view, "VIEW") for view in views)]
    return select(Catalog(entries, database, folds=folds), settings)


def names(selection: Selection) -> list[str]:
    assert selection.errors == []
    return [one.entry.qualified for one in selection.tables]


@pytest.mark.parametrize(
    ("wanted", "database", "found"),
    [
        (("shop.*",), "", ["shop.a*b", "shop.log_1", "shop.log_2", "shop.orders", "shop.users"]),
        (("*.orders",), "", ["crm.orders", "shop.orders"]),
        (("*",), "crm", ["crm.orders"]),
        (("log_?",), "shop", ["shop.log_1", "shop.log_2"]),
        (("shop.users", "shop.u*"), "", ["shop.users"]),
        (("shop.l*", "shop.log_*"), "", ["shop.log_1", "shop.log_2"]),
        (("shop.a[*]b",), "", ["shop.a*b"]),
        (("a[*]b",), "shop", ["shop.a*b"]),
    ],
)
def test_patterns_find_tables(wanted: tuple[str, ...], database: str, found: list[str]) -> None:
    """Each once; a name with a sign in brackets is that table alone."""
    assert names(selected(*wanted, database=database)) == found


@pytest.mark.parametrize(
    ("exclude", "found"),
    [
        (("shop.log_*", "shop.a[*]b"), ["shop.orders", "shop.users"]),
        (("*.log_*", "*.a*"), ["shop.orders", "shop.users"]),
        (("shop.[!u]*",), ["shop.users"]),
    ],
)
def test_what_is_excluded_is_not_captured(exclude: tuple[str, ...], found: list[str]) -> None:
    """By name or by pattern."""
    assert names(selected("shop.*", exclude=exclude)) == found


def test_excluding_wins_over_a_name() -> None:
    """However exactly the table is named; a name alone is of the default database."""
    made = selected("shop.users", "shop.orders", exclude=("users",), database="shop")

    assert names(made) == ["shop.orders"]


def test_to_exclude_all_is_an_error() -> None:
    """Instead of a run that captures nothing."""
    ((error, _),) = selected("shop.log_*", exclude=("shop.*",)).errors

    assert "excluded" in str(error)


def test_case_is_one_where_the_server_folds_it() -> None:
    """For patterns and for what is excluded."""
    made = selected("SHOP.*", exclude=("Shop.LOG_*", "shop.A[*]B"), folds=True)

    assert names(made) == ["shop.orders", "shop.users"]


def test_a_pattern_that_matches_nothing_is_a_warning_beside_others() -> None:
    """With the nearest name; the same for one that excludes nothing."""
    made = selected("shop.log_*", "shop.ordrs*", exclude=("shop.usres",))
    texts = [finding.seen for finding in made.warnings]

    assert names(made) == ["shop.log_1", "shop.log_2"]
    assert [finding.stops for finding in made.warnings] == [False, False]
    assert "'shop.ordrs*' matches no table" in texts[0]
    assert "did you mean 'shop.orders'" in texts[0]
    assert "'shop.usres' excludes no table" in texts[1]
    assert "did you mean 'shop.users'" in texts[1]


def test_nothing_that_matches_at_all_is_an_error() -> None:
    """Each pattern with the nearest name."""
    made = selected("shop.ordrs*", "crm.x*")

    assert made.tables == []
    assert [name for _, name in made.errors] == ["shop.ordrs*", "crm.x*"]
    assert "did you mean 'shop.orders'" in str(made.errors[0][0])


def test_the_signs_of_like_are_explained() -> None:
    """``%`` is an ordinary character here."""
    ((error, _),) = selected("shop.log%").errors

    assert isinstance(error, UsageError)
    assert "--table 'shop.log*'" in error.fix


def test_a_view_is_refused_by_name_and_only_marked_by_a_pattern() -> None:
    """Its reason is told where it is found not to be fit."""
    by_name = selected("shop.v", views=("shop.v",))
    by_pattern = selected("shop.v*", views=("shop.v",))

    assert "is a view" in str(by_name.errors[0][0])
    assert [(one.entry.kind, one.pattern) for one in by_pattern.tables] == [("VIEW", "shop.v*")]


SECTIONS = """
[tables."*.*"]
key = "any:{schema}:{table}:{pk}"
[tables."shop.*"]
key = "shop:{table}:{pk}"
[tables."shop.log_*"]
key = "log:{table}:{pk}"
[tables."shop.orders"]
key = "o:{pk}"
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    path = tmp_path / "cdc.toml"
    path.write_text(SECTIONS)
    return path


def keys(selection: Selection) -> dict[str, str | None]:
    assert selection.errors == []
    return {one.entry.qualified: one.wanted.key for one in selection.tables}


def test_the_most_exact_section_counts(toml: Path) -> None:
    """A table's own, then the pattern with most characters of its own; it counts whole."""
    assert keys(selected(toml=toml)) == {
        "shop.orders": "o:{pk}",
        "crm.orders": "any:{schema}:{table}:{pk}",
        "shop.a*b": "shop:{table}:{pk}",
        "shop.log_1": "log:{table}:{pk}",
        "shop.log_2": "log:{table}:{pk}",
        "shop.users": "shop:{table}:{pk}",
    }


def test_sections_are_for_tables_that_flags_name(toml: Path) -> None:
    """By name or by pattern; what is wanted comes from the flags alone."""
    assert keys(selected("shop.log_1", "shop.o*", toml=toml)) == {
        "shop.log_1": "log:{table}:{pk}",
        "shop.orders": "o:{pk}",
    }
    assert keys(selected("log_1", database="shop", toml=toml)) == {"shop.log_1": "log:{table}:{pk}"}


def test_a_section_without_a_database_is_a_tables_own(tmp_path: Path) -> None:
    """Of the default database, or where only one has such a table."""
    path = tmp_path / "cdc.toml"
    path.write_text('[tables.users]\nkey = "u:{pk}"\n[tables."shop.*"]\n')

    for database in ("shop", ""):
        assert keys(selected("*.users", database=database, toml=path)) == {"shop.users": "u:{pk}"}


def test_a_tie_of_two_sections_is_refused_unless_they_are_alike(tmp_path: Path) -> None:
    """With the section that decides it."""
    path = tmp_path / "cdc.toml"
    tied = '[tables."shop.log*"]\nkey = "{table}:{pk}"\n[tables."shop.*g_1"]\n'
    path.write_text(tied)
    ((error, name),) = selected(toml=path).errors
    path.write_text(tied + 'key = "{table}:{pk}"\n')

    assert isinstance(error, UsageError)
    assert name == "shop.log_1"
    assert "'shop.log*' and 'shop.*g_1', which are equally exact" in str(error)
    assert '[tables."shop.log_1"]' in error.fix
    assert names(selected(toml=path)) == ["shop.log_1", "shop.log_2"]


@pytest.mark.parametrize(
    ("names", "exclude", "expected"),
    [
        (("shop.*",), (), True),
        (("shop.*", "shop.users"), (), False),
        (("shop.*", "users"), (), False),
        (("crm.*",), (), False),
        (("shop.*",), ("*.users",), False),
    ],
)
def test_a_table_that_patterns_alone_name_may_come_and_go(
    names: tuple[str, ...], exclude: tuple[str, ...], expected: bool
) -> None:
    """Not one that is named itself, or excluded."""
    flags = {"tables": names, "exclude_tables": exclude, "mysql": "mysql://h/shop"}

    assert is_matched(load(flags, {}), "shop.users") is expected
