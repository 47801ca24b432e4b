"""Decide whether a reader whose flush was refused may continue at the stream's end.

No IO of its own.  See docs/adr/0007-fence.md.
"""

from __future__ import annotations

from collections.abc import Collection

from cdc.errors import FencedError
from cdc.jetstream.stream import StoredMessage
from cdc.message import REFRESH, subject_for


def check_end(
    sequence: int, last_sequence: int, prefix: str, ours: Collection[StoredMessage]
) -> None:
    """Make sure that a reader whose last message is at `sequence` may continue at the stream's end.

    Args:
        ours: messages of ours after `sequence`.

    Raises:
        FencedError: the stream lost its tail, or has messages that are not this reader's.
    """
    if last_sequence < sequence:
        raise FencedError("the stream lost its tail; going back to what it holds")
    if any(stored.subject == subject_for(prefix, REFRESH) for stored in ours):
        raise FencedError("a refresh was announced; resuming from it")
    if ours:
        raise FencedError("another reader publishes to the stream; reading its end again")
