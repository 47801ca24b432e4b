"""What a statement in the binlog means for the captured tables.

Pure.  A row-based binlog has statements only for transaction control and DDL; DML as a
statement means that a session left ROW format, and its rows are not in the binlog.

Nothing is parsed beyond tokens: a statement concerns a table when its name stands in it as an
identifier, or could where a character of it is not certain.  That can stop the reader once too
often, never once too few.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple

UNSURE = "\ufffd"
"""A character of a statement that may be another one: see `cdc_reader.charset`."""

Control = Literal["begin", "commit", "rollback", "savepoint", "rollback to", "xa start", "xa end"]

_GRAMMAR = r"""/\*M?!\d*|\*/              # executable comments are statements
      |/\*.*?\*/|--\s[^\n]*|\#[^\n]*
      |`(?P<quoted>(?:[^`]|``)*)`
      |"(?P<ansi>(?:[^"\\]|\\.|"")*)"
      |'(?:[^'\\]|\\.|'')*'
      |(?P<word>[\w$\ufffd]+)
      |(?P<dot>\.)
      |\S"""
_TOKEN = re.compile(_GRAMMAR, re.VERBOSE | re.DOTALL)
# With NO_BACKSLASH_ESCAPES a text ends at its first quote.
_TOKEN_OF_PLAIN_TEXTS = re.compile(_GRAMMAR.replace(r"\\]|\\.|", "]|"), re.VERBOSE | re.DOTALL)

_LEADING_COMMENTS = re.compile(r"(?:\s|/\*(?!M?!).*?\*/|--\s[^\n]*\n|\#[^\n]*\n)+", re.DOTALL)
_SCHEMA_CHANGES = (
    "ALTER TABLE",
    "TRUNCATE",
    "DROP TABLE",
    "RENAME TABLE",
    "DROP SCHEMA",
    "CREATE OR REPLACE TABLE",
    "CREATE OR REPLACE SCHEMA",
)
_INDEX_CHANGES = (
    "DROP INDEX",
    *(f"CREATE OR REPLACE {kind}" for kind in ("INDEX", "UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR")),
)
# SELECT and DO are in a binlog for the functions that they call.
_DML = frozenset(
    ("INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "CALL", "IMPORT", "SELECT", "DO")
)
# What a server writes itself when it finds a MEMORY table empty after a restart.
_EMPTIED = re.compile(r"DELETE FROM `(?:[^`]|``)+`\.`(?:[^`]|``)+`", re.IGNORECASE)
_TEMPORARY = re.compile(r"(CREATE|DROP|CREATE OR REPLACE) TEMPORARY\b")
_NOISE = frozenset(("TEMPORARY", "ONLINE", "OFFLINE", "IGNORE", "OR"))


class Clause(NamedTuple):
    """What stands between two commas of a statement, outside of parentheses."""

    words: tuple[str, ...]
    """Upper case; empty where an identifier is quoted."""
    names: tuple[str, ...]
    """The same words as they are as identifiers; lower case."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement by its first words and the identifiers in it."""

    kind: str
    """``ALTER TABLE``, ``TRUNCATE``, ``INSERT`` …; upper case."""
    temporary: bool
    names: frozenset[tuple[str, str]]
    """``(schema, name)`` of every identifier, the default schema filled in; lower case."""
    empties_memory: bool = False
    """The server's own ``DELETE FROM`` of a MEMORY table that a restart has emptied."""
    clauses: tuple[Clause, ...] = ()
    """Of a schema change: what stands between its commas."""


def control_of(text: str) -> Control | None:
    """Return which transaction control a statement is, or None.

    >>> control_of("BEGIN"), control_of("ROLLBACK TO `s1`"), control_of("ALTER TABLE t")
    ('begin', 'rollback to', None)
    """
    if not text[:1].isalpha() and (comments := _LEADING_COMMENTS.match(text)):
        text = text[comments.end() :]
    words = text[:40].upper().split()
    match words:
        case ["BEGIN", *_] | ["START", "TRANSACTION", *_]:
            return "begin"
        case ["COMMIT", *_]:
            return "commit"
        case ["ROLLBACK", "TO", *_] | ["ROLLBACK", "WORK", "TO", *_]:
            return "rollback to"
        case ["ROLLBACK", *_]:
            return "rollback"
        case ["SAVEPOINT", *_] | ["RELEASE", *_]:
            return "savepoint"
        case ["XA", "START" | "BEGIN", *_]:
            return "xa start"
        case ["XA", *_]:
            return "xa end"
    return None


def parse_statement(text: str, default_schema: str) -> Statement:
    """Return a statement's kind and the tables that it may name.

    >>> s = parse_statement("ALTER TABLE `users` ADD x INT", "shop")
    >>> s.kind, ("shop", "users") in s.names
    ('ALTER TABLE', True)
    """
    words, names = _scanned(_TOKEN, text, default_schema)
    kind = _kind(words)
    clauses = _clauses(_TOKEN, text) if kind in _SCHEMA_CHANGES else ()
    if "\\" in text:
        names |= _scanned(_TOKEN_OF_PLAIN_TEXTS, text, default_schema)[1]
        clauses += _clauses(_TOKEN_OF_PLAIN_TEXTS, text) if clauses else ()
    # Elsewhere the word, which is not reserved, is the name of a table or column.
    temporary = _TEMPORARY.match(" ".join(words)) is not None
    emptied = bool(_EMPTIED.fullmatch(text.strip()))
    return Statement(kind, temporary, frozenset(names), emptied, clauses)


def _scanned(
    token: re.Pattern[str], text: str, default_schema: str
) -> tuple[list[str], set[tuple[str, str]]]:
    """Return the first words and all names of a statement."""
    words: list[str] = []
    names: set[tuple[str, str]] = set()
    before: str | None = None
    dotted = False
    for match in token.finditer(text):
        if match["dot"]:
            dotted = before is not None
            continue
        name = _identifier(match)
        if match["word"]:
            _add_word(words, match["word"].upper())
        if name is None:
            before, dotted = None, False
            continue
        names.add((before if dotted and before is not None else default_schema.lower(), name))
        before, dotted = name, False
    return words, names


def _clauses(token: re.Pattern[str], text: str) -> tuple[Clause, ...]:
    out: list[tuple[list[str], list[str]]] = [([], [])]
    depth = 0
    for match in token.finditer(text):
        depth += (match[0] == "(") - (match[0] == ")")
        if match[0] == "," and depth <= 0:
            out.append(([], []))
        elif (name := _identifier(match)) is not None:
            words, names = out[-1]
            words.append((match["word"] or "").upper())
            names.append(name)
    return tuple(Clause(tuple(words), tuple(names)) for words, names in out)


def _add_word(words: list[str], word: str) -> None:
    """Keep the first words; MariaDB's ``SET STATEMENT … FOR`` stands before the statement."""
    if word == "FOR" and words[:2] == ["SET", "STATEMENT"]:
        words.clear()
    elif len(words) < 6:
        words.append(word)


def _identifier(match: re.Match[str]) -> str | None:
    if match["quoted"] is not None:
        return match["quoted"].replace("``", "`").lower()
    text = match["ansi"] if match["ansi"] is not None else match["word"]
    return text.lower() if text else None


def _kind(words: list[str]) -> str:
    words = [w for w in words if w not in _NOISE]
    if not words:
        return ""
    first, second = words[0], words[1] if len(words) > 1 else ""
    if first == "TRUNCATE":
        return "TRUNCATE"
    if first == "CREATE" and second == "REPLACE":
        first, second = "CREATE OR REPLACE", words[2] if len(words) > 2 else ""
    if first in ("ALTER", "DROP", "RENAME", "CREATE", "CREATE OR REPLACE"):
        second = {"DATABASE": "SCHEMA", "TABLES": "TABLE"}.get(second, second)
        return f"{first} {second}"
    return first


def is_dml(statement: Statement) -> bool:
    """Say whether the statement changes rows without showing them.

    Whose rows, its names do not say: a trigger, a view, a function or a foreign key may
    reach any table.
    """
    return statement.kind in _DML


def changed_tables(
    statement: Statement, captured: Collection[str], by_index: Collection[str] = ()
) -> list[str]:
    """Return the captured tables, as ``schema.table``, whose definition or rows it changes.

    Args:
        by_index: those of them that one index less matters to.

    >>> changed_tables(parse_statement("TRUNCATE users", "shop"), ["shop.users"])
    ['shop.users']
    >>> changed_tables(parse_statement("CREATE INDEX i ON users (x)", "shop"), ["shop.users"])
    []
    """
    if statement.kind in _INDEX_CHANGES:
        captured = by_index
    elif statement.temporary or not (statement.kind in _SCHEMA_CHANGES or is_dml(statement)):
        return []
    names = {f"{schema}.{name}" for schema, name in statement.names}
    if statement.kind.endswith(" SCHEMA"):
        # Put together, not taken apart: a name may have dots in it.
        names = {f"{name}." for _, name in statement.names}
        return [table for table in captured if _begins_with_one(table.lower(), names)]
    unsure = [_unsure(name) for name in names if UNSURE in name]
    return [
        table
        for table in captured
        if table.lower() in names or any(one.fullmatch(table.lower()) for one in unsure)
    ]


def may_name(names: Collection[str], wanted: str) -> bool:
    r"""Say whether one of the names in a statement is or could be the wanted one.

    >>> may_name(["id", "t\ufffdglich"], "täglich"), may_name(["id"], "ID"), may_name(["a"], "b")
    (True, True, False)
    """
    wanted = wanted.lower()
    return wanted in names or any(
        _unsure(name).fullmatch(wanted) for name in names if UNSURE in name
    )


def _begins_with_one(table: str, starts: Collection[str]) -> bool:
    return any(
        _unsure(start).match(table) if UNSURE in start else table.startswith(start)
        for start in starts
    )


def _unsure(name: str) -> re.Pattern[str]:
    """Return what a name may be of which some characters are not certain."""
    return re.compile(".+".join(map(re.escape, re.split(f"{UNSURE}+", name))), re.DOTALL)
