"""The migrations of an application: ALTERs of 46 kinds, by online tools too."""

from __future__ import annotations

import random
from collections.abc import Iterator

LENGTHS = (40, 60, 300)

COPIED = {
    "a column added": "ADD COLUMN c INT NOT NULL DEFAULT 7",
    "columns added": "ADD COLUMN d INT DEFAULT 1, ADD COLUMN e INT DEFAULT 2",
    "a column added first": "ADD COLUMN f ENUM('a','b') DEFAULT 'b' FIRST",
    "a column added in the middle": "ADD COLUMN g BIGINT UNSIGNED DEFAULT 5 AFTER id",
    "a decimal added": "ADD COLUMN price DECIMAL(10,2) NOT NULL DEFAULT 1.50",
    "a date added": "ADD COLUMN day DATE DEFAULT '2026-01-31'",
    "a time added": "ADD COLUMN at DATETIME(3) DEFAULT '2026-01-31 10:11:12.345'",
    "a set added": "ADD COLUMN s SET('x','y','z') DEFAULT 'x,z'",
    "a long text added": "ADD COLUMN large LONGTEXT",
    "a column dropped": "DROP COLUMN c",
    "columns dropped": "DROP COLUMN d, DROP COLUMN e",
    "the first column dropped": "DROP COLUMN f",
    "a column in the middle dropped": "DROP COLUMN g",
    "a decimal dropped": "DROP COLUMN price",
    "a column widened": "MODIFY d BIGINT DEFAULT 1",
    "a column narrowed": "MODIFY d SMALLINT DEFAULT 1",
    "a sign removed": "MODIFY c INT UNSIGNED NOT NULL DEFAULT 7",
    "a text's length": "MODIFY n VARCHAR({length})",
    "a text made TEXT": "MODIFY n TEXT",
    "NULL forbidden": "MODIFY e INT NOT NULL DEFAULT 3",
    "NULL allowed": "MODIFY c INT NULL DEFAULT 7",
    "labels in another order": "MODIFY f ENUM('b','a') DEFAULT 'a'",
    "a label added": "MODIFY f ENUM('a','b','c') DEFAULT 'b'",
    "a decimal's scale": "MODIFY price DECIMAL(12,4) NOT NULL DEFAULT 1.5",
    "a time's digits": "MODIFY at DATETIME DEFAULT '2026-01-31 10:11:12'",
    "a column moved": "MODIFY ver BIGINT NOT NULL AFTER n",
    "an index added": "ADD INDEX i (n(10))",
    "a comment": "COMMENT = 'a comment'",
    "to utf8mb4": "CONVERT TO CHARACTER SET utf8mb4",
    "to latin1": "CONVERT TO CHARACTER SET latin1",
    "partitions by hash": "PARTITION BY HASH (id) PARTITIONS 3",
    "no partitions": "REMOVE PARTITIONING",
}
"""Those that copies of a table take too, in which rows keep their key."""

NATIVE = COPIED | {
    "columns that swap their names": "RENAME COLUMN d TO e, RENAME COLUMN e TO d",
    "a column renamed": "CHANGE c k BIGINT",
    "a renamed column dropped": "DROP COLUMN k",
    "a default changed": "ALTER COLUMN d SET DEFAULT 9",
    "a generated column added": "ADD COLUMN twice BIGINT AS (ver * 2) STORED",
    "a generated column dropped": "DROP COLUMN twice",
    "an index renamed": "RENAME INDEX i TO j",
    "an index dropped": "DROP INDEX j",
    "a unique key added": "ADD UNIQUE KEY u (ver)",
    "a unique key dropped": "DROP INDEX u",
    "where numbers begin": "AUTO_INCREMENT = 1000",
    "the table rebuilt": "ENGINE = InnoDB",
    "a format of rows": "ROW_FORMAT = COMPACT",
    "another engine": "ENGINE = MyISAM",
    "partitions by range": "PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (20), "
    "PARTITION p1 VALUES LESS THAN (40), PARTITION p2 VALUES LESS THAN MAXVALUE)",
    "a partition more": "ADD PARTITION PARTITIONS 1",
    "a partition less": "COALESCE PARTITION 1",
    "a partition emptied": "TRUNCATE PARTITION p1",
    "a partition dropped": "DROP PARTITION p0",
    "a partition split": "REORGANIZE PARTITION p2 INTO (PARTITION p2 VALUES LESS THAN (50), "
    "PARTITION p3 VALUES LESS THAN MAXVALUE)",
    "a partition rebuilt": "REBUILD PARTITION p1",
    "a longer primary key": "DROP PRIMARY KEY, ADD PRIMARY KEY (id, ver)",
    "the primary key as before": "DROP PRIMARY KEY, ADD PRIMARY KEY (id)",
    "a type that is not carried": "ADD COLUMN p POINT",
    "that type dropped": "DROP COLUMN p",
}
"""What ``ALTER TABLE …`` is followed by, by kind.  One that does not fit a table as it is, is
refused by the server, and nothing happened."""

OTHERS = {
    "a table emptied": ("TRUNCATE TABLE {t}",),
    "a table renamed and back": ("RENAME TABLE {t} TO x_away", "RENAME TABLE x_away TO {t}"),
    "a partition exchanged": (
        "CREATE TABLE x_new LIKE {t}",
        "ALTER TABLE x_new REMOVE PARTITIONING",
        "ALTER TABLE {t} EXCHANGE PARTITION p1 WITH TABLE x_new",
        "DROP TABLE x_new",
    ),
    "a table swapped": (
        "CREATE TABLE x_new LIKE {t}",
        "INSERT INTO x_new SELECT * FROM {t}",
        "RENAME TABLE {t} TO x_old, x_new TO {t}",
        "DROP TABLE x_old",
    ),
}
"""Migrations that are more than an ALTER."""


class Deck:
    """Kinds in random order, every one before any comes again."""

    def __init__(self, chance: random.Random, kinds: dict[str, int]) -> None:
        """Take each kind as often as its number says."""
        self._chance, self._kinds = chance, kinds
        self._left: list[str] = []

    def draw(self) -> str:
        """Return the next kind."""
        return next(self.offer())

    def offer(self) -> Iterator[str]:
        """Yield one kind after the other; the one that is taken leaves the deck.

        Those that were yielded before it stay, for another time.
        """
        if not self._left:
            self._left = [kind for kind, times in self._kinds.items() for _ in range(times)]
            self._chance.shuffle(self._left)
        for kind in list(self._left):
            self._left.remove(kind)
            yield kind
            self._left.append(kind)
