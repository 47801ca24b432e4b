"""How many rows were applied, by table and operation.

Pure.  They are in Redis in the hash ``cdc:<pipeline>:counts`` (with several partitions one for
each), and are written by the transaction that writes the rows, so that a row counts once
(invariant 5): ``{"shop.users:update": 8123, "shop.users:snapshot": 100000, "bare": 2}``.
"""

from __future__ import annotations

from cdc.message import decode_placed

BARE = "bare"
"""What applications publish, for any table."""


class Counts(dict[str, int]):
    """Rows of one batch: ``Counts({"shop.users:update": 3})``."""

    def add(self, table: str, op: str, rows: int = 1) -> None:
        """Count rows, as the compiled path does."""
        name = f"{table}:{op}" if table else op
        self[name] = self.get(name, 0) + rows

    def take_back(self, body: bytes) -> None:
        """Uncount a row that turned out to be none."""
        message = decode_placed(body)
        self.add(message.table, message.op, -1)

    def commands(self, key: str) -> list[tuple[str, ...]]:
        """Return the commands that add them to those in Redis.

        >>> Counts({"shop.users:update": 3}).commands("cdc:default:counts")
        [('HINCRBY', 'cdc:default:counts', 'shop.users:update', '3')]
        """
        return [("HINCRBY", key, name, str(rows)) for name, rows in self.items() if rows]


def is_half(id: str) -> bool:
    """Return whether a change is the delete in the partition that a row's key leaves.

    Its row is counted where the key goes to.
    """
    return id.count(".") == 4
