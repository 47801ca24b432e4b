"""Properties of a server's kind and version that matter to its tables.

Pure.  Sources: MySQL 8.0.23 release notes, "Invisible columns"; what MariaDB writes for generated
columns was seen on 10.11.18 (whole rows) and 11.8.9 (only INSERT has them).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cdc.mysql.server import is_mariadb


@dataclass(frozen=True, slots=True)
class Dialect:
    """A server's kind and version: ``Dialect(mariadb=True, version=(11, 8, 9))``."""

    mariadb: bool
    version: tuple[int, ...]

    @property
    def omits_generated(self) -> bool:
        """Whether UPDATE and DELETE lack generated columns in the binlog, with full row images."""
        return self.mariadb and self.version >= (11,)

    @property
    def has_invisible(self) -> bool:
        """Whether a column may be INVISIBLE: ``SELECT *`` does not show it."""
        return self.mariadb or self.version >= (8, 0, 23)


NEWEST = Dialect(mariadb=False, version=(9, 7))


def dialect_of(version: str) -> Dialect:
    """Parse the result of ``SELECT VERSION()``.

    >>> dialect_of("11.8.9-MariaDB-4 from Debian-log")
    Dialect(mariadb=True, version=(11, 8, 9))
    """
    numbers = re.match(r"[0-9.]+", version)
    return Dialect(
        mariadb=is_mariadb(version),
        version=tuple(int(n) for n in numbers[0].split(".") if n) if numbers else (),
    )
