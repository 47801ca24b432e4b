"""What the messages of a batch come to: last states, counts, dead letters, refreshes.

Pure.  `redis_sink.plan.planner` reads the messages, `redis_sink.plan.chain` knows which is next;
``tally.refuse(delivery, "its id is not one")`` notes a dead letter, ``tally.batch(chain, …)`` is
the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from msgspec import UNSET

from cdc.message import Change, Delivery, Schema, Snapshot, SnapshotRow
from redis_sink.plan.applied import Applied
from redis_sink.plan.batch import Batch, DeadLetter
from redis_sink.plan.chain import Chain
from redis_sink.plan.counts import Counts
from redis_sink.plan.refreshing import Refreshing
from redis_sink.plan.state import States, live_of


class Tally:
    """What was read of a batch so far."""

    def __init__(self, applied: Applied, live_keys: Callable[[int], str]) -> None:
        """Begin after `applied`; `live_keys` names the set of keys since a refresh."""
        self._applied = applied
        self.states = States()
        self.counts = Counts()
        self.dead: list[DeadLetter] = []
        self.newest: Change | Snapshot | None = None
        self.barrier: Schema | None = None
        self.refreshing = Refreshing(applied, live_keys)
        self.skipped = 0
        self.copies = 0
        self.more_rows = 0
        """Of messages with several."""
        self.has_strange_mac = False
        self.others = 0
        """Heartbeats, barriers, and bare messages of other partitions."""

    @property
    def ends_here(self) -> bool:
        """Whether the batch ends with the message taken last."""
        return self.barrier is not None or self.refreshing.begun is not None

    def is_consumed(self, seq: int) -> bool:
        """Note a message that is not ours and was consumed before: see `applied.resume`."""
        is_before = seq <= self._applied.seq
        self.others += is_before
        return is_before

    def skip(self, message: Change | Snapshot | Schema) -> None:
        """Note a message that was applied before."""
        self.skipped += 1
        if isinstance(message, Snapshot):
            self.pass_over(message.rows)
        elif isinstance(message, Change):
            self.pass_over((message,))

    def pass_over(self, rows: Iterable[Change | SnapshotRow]) -> None:
        """Note rows that are not written: their keys are alive all the same."""
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
        if self.is_consumed(seq):
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

    def batch(
        self, chain: Chain, deliveries: Sequence[Delivery], consumed: int, now_us: int
    ) -> Batch:
        """Return the batch of the first `consumed` deliveries.

        Raises:
            PositionLostError: it would end before the position that is applied already.
        """
        before, newest, begun = self._applied, self.newest, self.refreshing.begun
        last_seq = deliveries[consumed - 1][0] if consumed else 0
        chain.check_end(last_seq)
        commands = self.states.commands(self._refuse_hash)
        seq = max(last_seq, before.seq)
        return Batch(
            shared=self.states.shared,
            commands=[*commands, *self.refreshing.commands(self.states)],
            applied=Applied(
                partitions=before.partitions,
                stream=before.stream,
                created=before.created,
                seq=seq,
                id=chain.last_id,
                id_seq=chain.id_seq,
                gtid_set=chain.gtid_set,
                began=chain.began,
                gtid=newest.gtid if isinstance(newest, Change) else before.gtid,
                ts=newest.ts if newest else before.ts,
                applied=now_us,
                refresh=begun.number if begun else before.refresh,
                upto=chain.upto,
                epoch=chain.epoch or UNSET,
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
            read_again=self.refreshing.read_again,
            has_strange_mac=self.has_strange_mac,
            copies=self.copies,
            lost_refreshes=self.refreshing.lost,
        )

    def _refuse_hash(self, delivery: Delivery, reason: str, key: str) -> None:
        """Note a value that is not an object, found when the commands are made."""
        self.refuse(delivery, reason, key=key)
        self.counts.take_back(delivery[2])
