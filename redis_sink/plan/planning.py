"""One planning: what was read of a batch so far, and what it comes to.

Pure.  `redis_sink.plan.planner` reads the messages; here is what they leave: the place in the
chain, the last states, what was skipped, refused, or ends the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NoReturn

from msgspec import UNSET

from cdc.message import Change, Delivery, Heartbeat, Schema, Snapshot, SnapshotRow, parse_id
from cdc.table_list import NONE_LISTED, Listed, ListMissing, named_by
from redis_sink.plan.applied import Applied
from redis_sink.plan.batch import Batch, DeadLetter, EarlierEpoch, missing
from redis_sink.plan.counts import Counts
from redis_sink.plan.refreshing import Refreshing
from redis_sink.plan.state import States, live_of


class Planning:
    """The state of one planning."""

    def __init__(
        self, applied: Applied, live_keys: Callable[[int], str], newest_epoch: int = 0
    ) -> None:
        """Begin behind `applied`.

        Args:
            newest_epoch: that of the stream's newest heartbeat; 0: nobody has looked.
        """
        self.applied, self.newest_epoch = applied, newest_epoch
        self.copies = 0
        self.states = States()
        self.counts = Counts()
        self.dead: list[DeadLetter] = []
        self.last_id, self.id_seq = applied.id, applied.id_seq
        self.gtid_set = applied.gtid_set
        self.began, self.upto = applied.began, applied.upto
        self.epoch = 0 if applied.epoch is UNSET else applied.epoch
        self.newest: Change | Snapshot | None = None
        self.barrier: Schema | None = None
        self.refreshing = Refreshing(applied, live_keys)
        self.has_new_chain = False
        self.skipped = 0
        self.more_rows = 0
        """Of messages with several."""
        self.has_strange_mac = False
        self.others = 0
        """Heartbeats, barriers, and bare messages of other partitions."""

    @property
    def catching_up(self) -> bool:
        """Whether the stream holds again what is applied already."""
        return bool(self.last_id) and self.id_seq == 0

    def may_be_again(self, seq: int) -> bool:
        """Whether a message may have been consumed before, which its id alone can tell."""
        return seq <= self.applied.consumed_to

    def consumed(self, seq: int) -> bool:
        """Note what is no message of ours and was consumed before: see `applied.resume`."""
        is_before = seq <= self.applied.seq
        self.others += is_before
        return is_before

    def heartbeat(
        self, seq: int, heartbeat: Heartbeat, last: str, listed: Listed = NONE_LISTED
    ) -> None:
        """Take in a heartbeat, whose `last` of our partition this is.

        Args:
            listed: the list of tables at hand.

        Raises:
            ListMissing: the heartbeat names another one.
            PositionLostError: it speaks of messages that did not come, or of another history.
        """
        if self._is_copy(seq, heartbeat.epoch, "the heartbeat there"):
            self.others += 1
            return
        if last != self.last_id and parse_id(last) > parse_id(self.last_id):
            self.gap(seq, f"the heartbeat there says that {last} was published")
        if self.last_id and self.began and heartbeat.began not in (0, self.began):
            self.gap(seq, "the stream was begun anew there")
        is_again = self.may_be_again(seq)
        if not is_again and not named_by(heartbeat, listed):
            raise ListMissing(heartbeat.listed or NONE_LISTED.at, seq)
        self.began = heartbeat.began or self.began
        self.others += 1
        if is_again:
            return
        if not self.catching_up:
            self.gtid_set, self.upto = heartbeat.gtid_set, heartbeat.upto
        self.refreshing.look(heartbeat, listed)

    def _is_copy(self, seq: int, epoch: int, what: str) -> bool:
        """Say whether a message of an earlier epoch was published a second time.

        Otherwise the stream lost an epoch that was applied, and its reader continues in an earlier
        one: then its heartbeats are of that epoch too.  What may have been there before is passed
        over by its ids.

        Raises:
            EarlierEpoch: the epoch is lost, or nobody has looked at the newest heartbeat.
        """
        applied = max(self.epoch, parse_id(self.last_id)[0] if self.last_id else 0)
        if epoch < applied and not self.may_be_again(seq):
            if self.newest_epoch >= applied and not self.catching_up:
                self.copies += 1
                return True
            seen = f"{what} is of an epoch before"
            error = missing(self.applied, self.last_id, seq, seen, EarlierEpoch)
            assert isinstance(error, EarlierEpoch)
            error.epoch = 0 if self.catching_up else applied
            raise error
        return False

    def gap(self, seq: int, seen: str) -> NoReturn:
        """Stop: messages between the last one applied and this one are missing.

        Raises:
            PositionLostError: always.
        """
        raise missing(self.applied, self.last_id, seq, seen)

    def passes_over(
        self, delivery: Delivery, message: Change | Snapshot | Schema, prev: str
    ) -> bool:
        """Note a message that does not name the last one: applied before, or behind a gap.

        Return False when it is the next one nevertheless.
        """
        try:
            place, before = parse_id(message.id), parse_id(prev)
        except ValueError:
            self.refuse(delivery, "its id is none")
            return True
        last = parse_id(self.last_id)
        if place > last:
            # Nothing stands between `prev` and it, so no change between the last one and it
            # is missing; the last one was a row of a snapshot that is read again.
            if self.catching_up and len(last) == 5 and last[4] and before < last:
                return False
            self.gap(delivery[0], f"{message.id} there follows {prev or 'nothing'}")
        if place:
            self._is_copy(delivery[0], place[0], f"{message.id} there")
        self.skipped += 1
        if isinstance(message, Snapshot):
            self.pass_over(message.rows)
        elif isinstance(message, Change):
            self.pass_over((message,))
        if message.id == self.last_id:
            self.id_seq = delivery[0]
        return True

    def pass_over(self, rows: Iterable[Change | SnapshotRow]) -> None:
        """Note rows that are not written, and no less alive."""
        for row in rows:
            with suppress(ValueError):
                self.refreshing.passed_over += live_of(row)

    def refuse(
        self,
        delivery: Delivery,
        reason: str,
        change: Change | Snapshot | None = None,
        key: str | None = None,
        table: str | None = None,
    ) -> None:
        """Note a message that can never be applied, or a row of it: a dead letter."""
        seq, subject, body = delivery
        if self.consumed(seq):
            return
        if isinstance(change, Snapshot):
            self.pass_over(change.rows)
        elif change is not None:
            key = change.key
            self.pass_over((change,))
        elif key is not None:
            self.refreshing.passed_over.append(key)
        self.dead.append(
            DeadLetter(
                seq=seq,
                subject=subject.decode(errors="replace"),
                reason=reason,
                table=change.table if change else table,
                key=key,
                body=body,
            )
        )

    def finish(self, deliveries: Sequence[Delivery], consumed: int, now_us: int) -> Batch:
        """Return the batch of the first `consumed` deliveries.

        Raises:
            PositionLostError: it would end before the place that is applied already.
        """
        before, newest, begun = self.applied, self.newest, self.refreshing.begun
        is_behind = self.last_id != before.id and parse_id(self.last_id) <= parse_id(before.id)
        if is_behind and not self.has_new_chain:
            self.gap(deliveries[consumed - 1][0], f"{self.last_id} comes after {before.id}")
        commands = self.states.commands(self.refuse_hash)
        seq = max(deliveries[consumed - 1][0] if consumed else 0, before.seq)
        return Batch(
            shared=self.states.shared,
            commands=[*commands, *self.refreshing.commands(self.states)],
            applied=Applied(
                partitions=before.partitions,
                stream=before.stream,
                created=before.created,
                seq=seq,
                id=self.last_id,
                id_seq=self.id_seq,
                gtid_set=self.gtid_set,
                began=self.began,
                gtid=newest.gtid if isinstance(newest, Change) else before.gtid,
                ts=newest.ts if newest else before.ts,
                applied=now_us,
                refresh=begun.number if begun else before.refresh,
                upto=self.upto,
                epoch=self.epoch or UNSET,
                again_to=UNSET if seq >= before.consumed_to else before.again_to,
                marks=before.marks,
                **self.refreshing.noted(),
            ),
            counts=self.counts,
            dead=self.dead,
            consumed=consumed,
            changes=consumed + self.more_rows - len(self.dead) - self.skipped - self.others,
            skipped=self.skipped,
            barrier=self.barrier,
            refresh=begun,
            read_anew=self.refreshing.read_anew,
            has_strange_mac=self.has_strange_mac,
            copies=self.copies,
            lost_refreshes=self.refreshing.lost,
        )

    def refuse_hash(self, delivery: Delivery, reason: str, key: str) -> None:
        """Note a value that is no object, found when the commands are made."""
        self.refuse(delivery, reason, key=key)
        self.counts.take_back(delivery[2])
