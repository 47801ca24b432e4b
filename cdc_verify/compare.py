"""What Redis has against what it should have.

Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from cdc_verify.expected import Content
from cdc_verify.select import KeyText

Fault = Literal["missing", "stale", "orphan", "wrong_type", "shared"]
KINDS: tuple[Fault, ...] = ("missing", "stale", "orphan", "wrong_type", "shared")

WRONG_TYPE: Literal["wrong type"] = "wrong type"
"""Found in place of a content: the key holds something that is neither of the model."""
Found = Content | Literal["wrong type"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that is certainly wrong."""

    key: bytes
    kind: Fault
    row: KeyText = ()
    """Chunk key of its row; empty for an orphan, and where the table has none."""
    wanted: Content = None
    found: Found = None


@dataclass(slots=True)
class Tally:
    """What verify has found so far."""

    rows: int = 0
    unsettled: int = 0
    counts: dict[Fault, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))

    def count(self, kind: Fault) -> None:
        """Count a difference."""
        self.counts[kind] += 1

    @property
    def differences(self) -> int:
        """All of them."""
        return sum(self.counts.values())


def difference(wanted: Collection[Content], found: Found, *, has_row: bool) -> Fault | None:
    """Return how a key differs; None: it does not.

    Args:
        wanted: contents of the rows that have this key; of several one alone can be there, so
            that is a difference whatever is found.
        has_row: some row has this key, even if it wants nothing there (its one column is NULL).

    >>> difference([b"a"], None, has_row=True), difference([], b"a", has_row=False)
    ('missing', 'orphan')
    >>> difference([None], b"old", has_row=True), difference([None], None, has_row=True)
    ('stale', None)
    >>> difference([b"a", b"a"], b"a", has_row=True)
    'shared'
    """
    if len(wanted) > 1:
        return "shared"
    if not has_row:
        return None if found is None else "orphan"
    if isinstance(found, str):
        return "wrong_type" if any(content is not None for content in wanted) else "stale"
    if found in wanted:
        return None
    return "missing" if found is None else "stale"
