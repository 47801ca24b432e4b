"""What the compiled path answers: see ``follow_answer`` in native/follow.c."""

from __future__ import annotations

from typing import NamedTuple

from cdc.position import GtidSet, MySqlGtidSet


class Followed(NamedTuple):
    """Where the compiled path stopped, in the order of `follow_answer` in native/follow.c."""

    at: int
    """In the buffer: before the first packet that it left."""
    end: int
    in_transaction: bool
    begun: bool
    messages: int
    event_us: int
    gtid: str
    context: str
    suffix: str
    last: str
    committed: int
    """Newest boundary in the file; -1: none was passed."""
    commits: list[str | tuple[str, int, int]]
    """GTIDs, or of one server a range of them: ``(uuid, first, last + 1)``."""
    runs: list[tuple[str, str, list[bytes], list[bytes] | None]]
    """Operation, table, bodies, addresses."""

    def add_to(self, gtid_set: GtidSet | None) -> None:
        """Add what was committed to a set; None: there are no GTIDs."""
        for commit in self.commits:
            if isinstance(gtid_set, MySqlGtidSet) and not isinstance(commit, str):
                gtid_set.add_range(*commit)
            elif gtid_set is not None:
                gtid_set.add(str(commit))
