"""Where a batch is in the chain of messages, and whether a message is the next one of it.

Pure.  Each message of ours names the one before it (``prev``).  The next message names the last
id; a message whose id is not above that one was applied before; anything else is a gap.  One
exception: where the stream lost its end during a snapshot, existing rows are read again and get
other ids, so that the last id applied is no longer in the stream.

``Chain(applied)`` begins after the position; ``chain.relation(9, "1.4.200.0", "1.4.100.0")`` is
`Relation.NEXT` while `last_id` is ``1.4.100.0``.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NoReturn

from msgspec import UNSET

from cdc.message import Heartbeat, parse_id
from redis_sink.plan.applied import Applied
from redis_sink.plan.batch import EarlierEpoch, missing


class Relation(Enum):
    """How a message relates to the last one of the chain."""

    NEXT = auto()
    BEFORE = auto()
    """It was applied before."""
    COPY = auto()
    """It is of an earlier epoch and was published a second time."""


class Chain:
    """The messages applied so far: the last id, and the newest transaction boundary."""

    def __init__(self, applied: Applied, newest_epoch: int = 0) -> None:
        """Begin after `applied`.

        Args:
            newest_epoch: that of the stream's newest heartbeat; 0: it was not looked up.
        """
        self.applied, self._newest_epoch = applied, newest_epoch
        self.last_id, self.id_seq = applied.id, applied.id_seq
        self.gtid_set, self.upto = applied.gtid_set, applied.upto
        self.began = applied.began
        self.epoch = 0 if applied.epoch is UNSET else applied.epoch
        self._is_new = False

    @property
    def catching_up(self) -> bool:
        """Return whether the stream holds again what is applied already."""
        return bool(self.last_id) and self.id_seq == 0

    def may_be_again(self, seq: int) -> bool:
        """Return whether a message may have been consumed before, which its id alone can tell."""
        return seq <= self.applied.consumed_to

    def move(self, id: str, seq: int) -> None:
        """Take a message as the last one."""
        self.last_id, self.id_seq = id, seq

    def relation(self, seq: int, id: str, prev: str) -> Relation:
        """Return how a message, whose `prev` is given, relates to the last one.

        Raises:
            ValueError: `id` or `prev` is no id.
            PositionLostError: messages between the last one and this one are missing.
            EarlierEpoch: see `is_copy`.
        """
        of_message, before, last = parse_id(id), parse_id(prev), parse_id(self.last_id)
        if prev == self.last_id:
            return Relation.NEXT
        if of_message > last:
            # No message exists between `prev` and this one, so no change after the last one is
            # missing; the last one was a row of a snapshot that is read again.
            if self.catching_up and len(last) == 5 and last[4] and before < last:
                return Relation.NEXT
            self.gap(seq, f"{id} there follows {prev or 'nothing'}")
        is_copy = bool(of_message) and self.is_copy(seq, of_message[0], f"{id} there")
        if id == self.last_id:
            self.id_seq = seq
        return Relation.COPY if is_copy else Relation.BEFORE

    def is_copy(self, seq: int, epoch: int, what: str) -> bool:
        """Return whether a message of an earlier epoch was published a second time.

        Otherwise the stream lost an epoch that was applied, and its reader continues in an earlier
        one: then its heartbeats are of that epoch too.  What may have been there before is skipped
        by its id.

        Raises:
            EarlierEpoch: the epoch is lost, or the newest heartbeat was not looked up.
        """
        applied = max(self.epoch, parse_id(self.last_id)[0] if self.last_id else 0)
        if epoch >= applied or self.may_be_again(seq):
            return False
        if self._newest_epoch >= applied and not self.catching_up:
            return True
        seen = f"{what} is of an earlier epoch"
        error = missing(self.applied, self.last_id, seq, seen, EarlierEpoch)
        assert isinstance(error, EarlierEpoch)
        error.epoch = 0 if self.catching_up else applied
        raise error

    def check_boundary(self, seq: int, heartbeat: Heartbeat, last: str) -> None:
        """Compare a heartbeat, whose `last` of our partition is given, with what came before it.

        Raises:
            PositionLostError: it names messages that did not come, or is of another history.
        """
        self.check_published(seq, last, "heartbeat")
        if self.last_id and self.began and heartbeat.began not in (0, self.began):
            self.gap(seq, "the stream was started from scratch there")

    def check_published(self, seq: int, last: str, what: str) -> None:
        """Compare the last id that a heartbeat or refresh names with the last one that came.

        Raises:
            PositionLostError: it names a message that did not come.
        """
        if last != self.last_id and parse_id(last) > parse_id(self.last_id):
            self.gap(seq, f"the {what} there says that {last} was published")

    def take_boundary(self, seq: int, heartbeat: Heartbeat) -> None:
        """Take the transaction boundary of a heartbeat that `check_boundary` accepts."""
        self.began = heartbeat.began or self.began
        if not self.may_be_again(seq) and not self.catching_up:
            shown = heartbeat.shown
            self.gtid_set = heartbeat.gtid_set if shown is UNSET else shown
            self.upto = heartbeat.upto

    def begin_after_gap(self, seq: int, boundary: Heartbeat, last: str) -> None:
        """Begin at a refresh, ignoring what was applied: everything after it is newer."""
        self.move(last, seq)
        self.gtid_set, self.began = boundary.gtid_set, boundary.began
        self.epoch = boundary.epoch
        self._is_new = True

    def check_end(self, seq: int) -> None:
        """Check that the batch, whose last message is `seq`, ends after the position.

        Raises:
            PositionLostError: it ends before it.
        """
        before = self.applied.id
        is_before = self.last_id != before and parse_id(self.last_id) <= parse_id(before)
        if is_before and not self._is_new:
            self.gap(seq, f"{self.last_id} comes after {before}")

    def gap(self, seq: int, seen: str) -> NoReturn:
        """Stop: messages between the last one applied and this one are missing.

        Raises:
            PositionLostError: always.
        """
        raise missing(self.applied, self.last_id, seq, seen)
