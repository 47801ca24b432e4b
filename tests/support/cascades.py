"""Families of tables with foreign keys, one for each way that a cascade takes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pymysql
import redis


@dataclass(frozen=True, slots=True)
class Family:
    """Tables ``<name>_a``, ``<name>_b`` …, parents first."""

    name: str
    columns: tuple[str, ...]
    """Of each table, after ``id INT PRIMARY KEY``; ``{a}`` is the first table's name."""
    change: tuple[str, ...]
    """What a session does to parents."""
    captured: str = "b"
    """Letters of the tables that are captured."""
    rows: tuple[str, ...] = ("({i})", "({i}, {i})", "({i}, {i})", "({i}, {i})")
    reached: str = "b"
    """Letters of those that the change reaches."""

    @property
    def tables(self) -> dict[str, str]:
        """By letter."""
        return {letter: f"{self.name}_{letter}" for letter in "abcd"[: len(self.columns)]}

    def text(self, statement: str) -> str:
        """Return a statement with the tables' names."""
        return statement.format(**self.tables)

    def create(self) -> list[str]:
        """Return the statements that make the tables, with eight rows each."""
        out = []
        for (letter, table), columns in zip(self.tables.items(), self.columns, strict=True):
            own = f", {columns}" if columns else ""
            out.append(self.text(f"CREATE TABLE {table} (id INT PRIMARY KEY{own})"))
            row = self.rows["abcd".index(letter)]
            values = ", ".join(row.replace("{i}", str(i)) for i in range(1, 9))
            out.append(f"INSERT INTO {table} VALUES {values}")
        return out

    def of(self, letters: str) -> list[str]:
        """Return the tables with some letters."""
        return [self.tables[letter] for letter in letters]


def _key(parent: str, action: str, column: str = "p", referenced: str = "id") -> str:
    return f"{column} INT, FOREIGN KEY ({column}) REFERENCES {parent} ({referenced}) {action}"


ON_DELETE, ON_UPDATE = "ON DELETE CASCADE", "ON UPDATE CASCADE"
DELETE = "DELETE FROM {a} WHERE id IN (2, 3)"
MOVE = "UPDATE {a} SET id = id + 100 WHERE id IN (2, 3)"
BOTH = f"{ON_DELETE} {ON_UPDATE}"

FOLLOWED = (
    Family("deleted", ("", _key("{a}", ON_DELETE)), (DELETE,)),
    Family("captured", ("", _key("{a}", ON_DELETE)), (DELETE,), "ab"),
    Family("nulled", ("", _key("{a}", "ON DELETE SET NULL")), (DELETE,)),
    Family("moved", ("", _key("{a}", ON_UPDATE)), (MOVE,)),
    Family("moved_captured", ("", _key("{a}", ON_UPDATE)), (MOVE,), "ab"),
    Family("unset", ("", _key("{a}", "ON UPDATE SET NULL")), (MOVE,), "ab"),
    Family(
        "levels",
        ("", _key("{a}", BOTH), _key("{b}", BOTH), _key("{c}", BOTH)),
        (DELETE,),
        "bd",
        reached="bd",
    ),
    Family(
        "through_null",
        (
            "",
            f"{_key('{a}', 'ON DELETE SET NULL')}, UNIQUE (p)",
            _key("{b}", ON_UPDATE, referenced="p"),
        ),
        (DELETE,),
        "c",
        reached="c",
    ),
    Family(
        "tree",
        (f"{_key('{a}', ON_DELETE)}",),
        (DELETE,),
        "a",
        ("({i}, {i} DIV 2 + ({i} = 1))",),
        reached="a",
    ),
    Family(
        "pair",
        (
            "x INT NOT NULL, y INT NOT NULL, UNIQUE (x, y)",
            f"x INT, y INT, FOREIGN KEY (x, y) REFERENCES {{a}} (x, y) {BOTH}",
        ),
        ("UPDATE {a} SET y = y + 100 WHERE id < 4", "DELETE FROM {a} WHERE id = 5"),
        "b",
        ("({i}, {i}, {i})", "({i}, {i}, {i})"),
    ),
    Family(
        "replaced",
        ("v INT", _key("{a}", ON_DELETE)),
        ("REPLACE INTO {a} VALUES (4, 9)",),
        "ab",
        ("({i}, 0)", "({i}, {i})"),
    ),
    Family(
        "in_xa",
        ("", _key("{a}", ON_DELETE)),
        ("XA START 'x'", DELETE, "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'"),
    ),
    Family(
        "in_part",
        ("v INT", _key("{a}", ON_UPDATE)),
        ("SET SESSION binlog_row_image = 'MINIMAL'", MOVE),
        "ab",
        ("({i}, 0)", "({i}, {i})"),
    ),
    Family(
        "letters",
        (
            "k VARCHAR(9) UNIQUE",
            f"k VARCHAR(9), FOREIGN KEY (k) REFERENCES {{a}} (k) {ON_UPDATE}",
        ),
        ("UPDATE {a} SET k = UPPER(k)",),
        "b",
        ("({i}, 'a{i}')", "({i}, 'a{i}')"),
    ),
)
"""What InnoDB does to captured children."""

WITH_VALUE = ("({i}, 0)", "({i}, {i})")
PASSED = (
    Family("kept", ("v INT", _key("{a}", BOTH)), ("UPDATE {a} SET v = v + 1",), "b", WITH_VALUE),
    Family("kept_too", ("v INT", _key("{a}", BOTH)), ("UPDATE {a} SET v = 7",), "ab", WITH_VALUE),
    Family(
        "kept_in_part",
        ("v INT", _key("{a}", BOTH)),
        ("SET SESSION binlog_row_image = 'MINIMAL'", "UPDATE {a} SET v = v + 1"),
        "b",
        WITH_VALUE,
    ),
    Family("unchecked", ("", _key("{a}", BOTH)), ("SET SESSION foreign_key_checks = 0", DELETE)),
    Family(
        "unchecked_too",
        ("", _key("{a}", BOTH)),
        ("SET SESSION foreign_key_checks = 0", DELETE, MOVE.replace("2, 3", "4, 5")),
        "ab",
    ),
    Family("inserted", ("", _key("{a}", BOTH)), ("INSERT INTO {a} VALUES (50)",)),
    Family(
        "refused",
        ("", _key("{a}", "")),
        ("INSERT INTO {a} VALUES (50)", "DELETE FROM {a} WHERE id = 50"),
        "ab",
    ),
)
"""What provably touches no child."""


def rows_of(connection: pymysql.Connection[Any], tables: Iterable[str]) -> dict[str, Any]:
    """Return all rows of tables by their key in Redis."""
    out: dict[str, Any] = {}
    with connection.cursor(pymysql.cursors.DictCursor) as cursor:
        for table in tables:
            cursor.execute(f"SELECT * FROM {table}")
            out |= {f"{table}:{row['id']}": row for row in cursor.fetchall()}
    return out


def shown(client: redis.Redis, tables: Iterable[str]) -> dict[str, Any]:
    """Return what Redis has of tables."""
    prefixes = tuple(f"{table}:" for table in tables)
    keys: Any = [key.decode() for key in client.scan_iter(count=1000)]
    keys = [key for key in keys if key.startswith(prefixes)]
    values: Any = client.mget(keys) if keys else []
    return {key: json.loads(value) for key, value in zip(keys, values, strict=True) if value}
