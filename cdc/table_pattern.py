"""Patterns of table names: ``shop.*``, ``*.orders``, ``shop.log_[0-9]``.

Pure.  ``*`` is any number of characters, ``?`` one, ``[abc]``, ``[a-z]`` and ``[!a-z]`` one of a
set, as in a shell.  The first dot outside of brackets parts the database from the table, and no
sign crosses it.  A set of one character is that character: a table called ``a*b`` is written
``a[*]b``.  A ``[`` without its ``]`` is a character like others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property

_TOKEN = re.compile(r"\*|\?|\[(!?)(\][^\]]*|[^\]]+)\]|.", re.DOTALL)
_SIGNS = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class TablePattern:
    """A pattern, with the database that it is for.

    >>> pattern = parse_pattern("log_?", "shop")
    >>> pattern.matches("shop", "log_7"), pattern.matches("shop", "log_17")
    (True, False)
    """

    text: str
    """As the user wrote it."""
    schema: tuple[str, ...]
    """Regular expressions of the database, one for each sign or character."""
    table: tuple[str, ...]
    literals: int
    """How many characters stand for themselves: more of them are more exact."""

    @cached_property
    def _whole(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        schema, table = ("".join(part) for part in (self.schema, self.table))
        return re.compile(schema, re.DOTALL), re.compile(table, re.DOTALL)

    @cached_property
    def _folded(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        schema, table = self._whole
        flags = re.DOTALL | re.IGNORECASE
        return re.compile(schema.pattern, flags), re.compile(table.pattern, flags)

    def matches(self, schema: str, table: str, *, folds: bool = False) -> bool:
        """Return whether it matches a table.

        Args:
            folds: upper and lower case of names are one (``lower_case_table_names``).
        """
        of_schema, of_table = self._folded if folds else self._whole
        return bool(of_schema.fullmatch(schema) and of_table.fullmatch(table))


def is_pattern(name: str) -> bool:
    """Return whether a name has a sign that stands for other characters.

    >>> [is_pattern(name) for name in ("shop.*", "shop.a[*]b", "shop.a[b", "users")]
    [True, False, False, False]
    """
    return any(_literal(token) is None for token in _TOKEN.finditer(name))


def plain_name(name: str) -> str:
    """Return the name of the one table that is meant, where it is no pattern.

    >>> plain_name("shop.a[*]b[[]c[.]d")
    'shop.a*b[c.d'
    """
    return "".join(_literal(token) or "" for token in _TOKEN.finditer(name))


def escaped_name(name: str) -> str:
    """Return how a table is named where patterns are allowed.

    >>> escaped_name("shop.a*b[c"), escaped_name("shop.users")
    ('shop.a[*]b[[]c', 'shop.users')
    """
    return _SIGNS.sub(r"[\g<0>]", name)


@cache
def parse_pattern(text: str, database: str) -> TablePattern:
    """Return a pattern.

    Args:
        database: that of a pattern without a dot.

    Raises:
        ValueError: it has no dot and there is no database, or a range is empty (``[z-a]``).
    """
    parts: list[list[str]] = [[]]
    literals = 0
    for token in _TOKEN.finditer(text):
        if token[0] == "." and len(parts) == 1:
            parts.append([])
            continue
        literals += _literal(token) is not None
        parts[-1].append(_expression(token))
    if len(parts) == 1:
        if not database:
            raise ValueError(
                "names no database, and neither does the mysql setting; as in 'shop.*'"
            )
        parts.insert(0, [re.escape(database)])
        literals += len(database)
    try:
        for part in parts:
            re.compile("".join(part))
    except re.error:
        raise ValueError("has a range that is empty, such as [z-a]") from None
    return TablePattern(text, tuple(parts[0]), tuple(parts[1]), literals)


def most_exact(
    patterns: Iterable[TablePattern], schema: str, table: str, *, folds: bool = False
) -> list[TablePattern]:
    """Return those that match a table with the most characters of its own; several are a tie."""
    found = [one for one in patterns if one.matches(schema, table, folds=folds)]
    most = max((one.literals for one in found), default=0)
    return [one for one in found if one.literals == most]


def means(
    text: str, schema: str, table: str, database: str, *, folds: bool = False, alone: bool = False
) -> bool:
    """Return whether a name or a pattern, as a user wrote it, is for a table.

    >>> means("users", "shop", "users", "shop"), means("users", "shop", "users", "")
    (True, False)

    Args:
        alone: no other database has a table of that name, so that it needs none.
    """
    if is_pattern(text):
        return parse_pattern(text, database).matches(schema, table, folds=folds)
    names = {f"{schema}.{table}", table if alone or schema == database else ""}
    name = plain_name(text)
    return name in names or (folds and name.lower() in {one.lower() for one in names})


def _literal(token: re.Match[str]) -> str | None:
    """Return the character that a token stands for; None: for several."""
    if token[0] in ("*", "?"):
        return None
    if token[2] is None:
        return token[0]
    return token[2] if not token[1] and len(token[2]) == 1 else None


def _expression(token: re.Match[str]) -> str:
    if (character := _literal(token)) is not None:
        return re.escape(character)
    if token[2] is None:
        return ".*" if token[0] == "*" else "."
    inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", token[2])
    return f"[{'^' if token[1] else ''}{inside}]"
