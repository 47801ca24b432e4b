"""Messages -> Redis commands and the next position.

Pure.  Within a batch only the last state of each Redis key is written.  That is right
because every write is the complete state of its key, keys are taken across rows and
tables in stream order, a changed key removes the old one at its place in the order,
and a barrier (`Schema`) ends the batch (reference: docs/guarantees.md).

Which message is the next one is decided by `redis_sink.plan.chain`; what the messages come to is
kept by `redis_sink.plan.tally`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from cdc.compiled import native
from cdc.errors import UsageError
from cdc.key import Templates
from cdc.message import (
    CONTRACT_VERSION,
    HEARTBEAT,
    OPERATIONS,
    REFRESH,
    SCHEMA,
    SNAPSHOT,
    TABLES,
    Change,
    Delivery,
    Heartbeat,
    Refresh,
    Schema,
    Snapshot,
    SnapshotRow,
    decode_bare,
    decode_change,
    decode_heartbeat,
    decode_refresh,
    decode_schema,
    decode_snapshot,
    is_id,
    parse_id,
    subject_for,
)
from cdc.own_keys import PREFIX, is_of_cdc, live_keys_key
from cdc.partition import check_partitions, partition_of, row_subject
from cdc.seal import UNSEALED, has_mac
from cdc.table import Table
from cdc.table_list import NONE_LISTED, ListMissing, named_by
from redis_sink.plan.applied import Applied
from redis_sink.plan.batch import OWN_KEY, Batch, cause_of, why_not, why_too_large
from redis_sink.plan.chain import Chain, Relation
from redis_sink.plan.counts import BARE, is_half
from redis_sink.plan.state import (
    Model,
    grounds_of,
    key_state,
    model_of,
    part_of,
)
from redis_sink.plan.tally import Tally

MAX_VALUE_BYTES = 512 << 20
"""proto-max-bulk-len of Redis: a longer one would break the connection for ever."""

NOT_OURS = "not the contract: no reader of this stream wrote it"

_native = native("redis_sink")
_MALFORMED = (msgspec.DecodeError, UnicodeError, ValueError, IndexError)


class Planner:
    """Plans batches for the captured tables of one pipeline.

    Raises:
        UsageError: a table asks for a hash of a single column.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        *,
        pipeline: str,
        subject_prefix: str,
        bare_messages: Literal["apply", "quarantine"],
        partition: int = 0,
        partitions: int = 1,
    ) -> None:
        for table in tables:
            if table.model == "hash" and table.value_column is not None and table.field is None:
                raise UsageError(
                    f"{table.qualified}: --as hash and --value exclude each other",
                    fix="leave --value out: a hash has one field for each column",
                )
        models = {table.qualified: model_of(table) for table in tables}
        self._captured = frozenset(models)
        self._is_hash = {name: model.is_hash for name, model in models.items() if model.is_usual}
        self._shaped = {name: model for name, model in models.items() if not model.is_usual}
        grounds = [ground for table in tables for ground in grounds_of(table)]
        self._strings = Templates(
            (table.key, models[table.qualified]) for table in tables if table.model == "string"
        )
        self._shared = Templates((g.template, True) for g in grounds if g.kind is not None)
        self._apply_bare = bare_messages == "apply"
        self._partition, self._partitions = partition, partitions
        self._pipeline = pipeline
        self._ops = {
            row_subject(subject_prefix, op, partition, partitions).encode(): op for op in OPERATIONS
        }
        self._update = subject_for(subject_prefix, "update").encode()
        self._snapshot = row_subject(subject_prefix, SNAPSHOT, partition, partitions).encode()
        self._heartbeat = subject_for(subject_prefix, HEARTBEAT).encode()
        self._schema = subject_for(subject_prefix, SCHEMA).encode()
        self._refresh = subject_for(subject_prefix, REFRESH).encode()
        self._tables = subject_for(subject_prefix, TABLES).encode()
        self.listed = NONE_LISTED
        """The list of tables that the newest heartbeat names; set by the code that asks NATS."""
        self.seal = UNSEALED
        """What tells messages of ours from others: the stream's, once it is known."""

    def live_keys(self, number: int) -> str:
        """Return the key of the set of keys that were written since a refresh."""
        return live_keys_key(self._pipeline, number, self._partition, self._partitions)

    def plan(
        self, applied: Applied, deliveries: list[Delivery], *, now_us: int, newest_epoch: int = 0
    ) -> Batch:
        """Return the transaction that follows `applied`.

        Args:
            newest_epoch: that of the stream's newest heartbeat; 0: not looked up.

        Raises:
            EarlierEpoch: a message is of an earlier epoch, and so is the newest heartbeat.
            PositionLostError: a message of ours is missing between two others.
            StreamError: a heartbeat names another number of partitions.
            ListMissing: the first message is a heartbeat that names another list of tables than
                `listed`.
        """
        chain, tally = Chain(applied, newest_epoch), Tally(applied, self.live_keys)
        ops, is_hash = self._ops, self._is_hash
        writes, consumed, change = tally.states.keys, 0, None
        while consumed < len(deliveries):
            consumed = self._usual(chain, tally, deliveries, consumed)
            if consumed == len(deliveries):
                break
            delivery = deliveries[consumed]
            seq, subject, body = delivery
            op = ops.get(subject)
            if not self.seal.fits(seq, body):
                self._foreign(chain, tally, delivery)
                consumed += 1
                continue
            if op is None:
                if subject == self._schema and consumed:
                    break
                try:
                    self._other(chain, tally, delivery)
                except ListMissing:
                    if not consumed:
                        raise
                    break  # heartbeats before it go with the list at hand, and are planned first
                consumed += 1
                if tally.ends_here:
                    break
                continue
            consumed += 1
            try:
                change = decode_change(body)
            except _MALFORMED as error:
                self._bare(chain, tally, delivery, f"not the contract: {cause_of(error)}")
                continue
            if change.op != op or change.v != CONTRACT_VERSION:
                tally.refuse(delivery, f"op {change.op}, v {change.v}: not what its subject names")
                continue
            prev = change.prev
            if prev != chain.last_id and not self._is_next(chain, tally, delivery, change, prev):
                continue
            if not is_id(change.id):
                tally.refuse(delivery, "its id is not valid")
                continue
            chain.last_id, chain.id_seq, tally.newest = change.id, seq, change
            key, old_key, value = change.key, change.old_key, change.value
            hashed = is_hash.get(change.table)
            if hashed is None and change.table in self._shaped:
                self._take_shaped(tally, delivery, change)
                continue
            is_own = is_of_cdc(key) or (old_key is not None and is_of_cdc(old_key))
            if hashed is None or is_own or len(body) > MAX_VALUE_BYTES:
                tally.refuse(delivery, why_not(hashed, body, MAX_VALUE_BYTES), change)
                continue
            if old_key is not None:
                writes[old_key] = None
            if change.too_large is not None:
                tally.refuse(delivery, why_too_large(change.too_large), change)
            elif not is_half(change.id):
                tally.counts.add(change.table, op)
            writes[key] = (value, delivery) if hashed and value is not None else value
        return tally.batch(chain, deliveries, consumed, now_us)

    def _usual(self, chain: Chain, tally: Tally, deliveries: list[Delivery], at: int) -> int:
        """Take the usual messages at ``deliveries[at:]``; return the index after them.

        The compiled path does what the loop of `plan` would do, and stops in front of the first
        message that is rare or doubtful.  See docs/adr/0009-compiled-hot-path.md.
        """
        if _native is None:
            return at
        after, chain.last_id = _native.take(
            deliveries, at, chain.last_id, self._ops, self._is_hash, PREFIX, MAX_VALUE_BYTES,
            tally.states.keys, tally.counts, self.seal.key, self.seal.since,
        )  # fmt: skip
        if after > at:
            chain.id_seq, _, body = deliveries[after - 1]
            tally.newest = decode_change(body)
        return int(after)

    def _is_next(
        self,
        chain: Chain,
        tally: Tally,
        delivery: Delivery,
        message: Change | Snapshot | Schema,
        prev: str,
    ) -> bool:
        """Return whether a message is the next one; note it where it is not."""
        try:
            relation = chain.relation(delivery[0], message.id, prev)
        except ValueError:
            tally.refuse(delivery, "its id is not valid")
            return False
        if relation is Relation.NEXT:
            return True
        tally.copies += relation is Relation.COPY
        tally.skip(message)
        return False

    def _take_shaped(self, tally: Tally, delivery: Delivery, change: Change) -> None:
        """Take in a change of a table with a field, an index or a time to live."""
        if reason := self._why_no_row(change, change.table):
            tally.refuse(delivery, reason, change)
        elif len(delivery[2]) > MAX_VALUE_BYTES:
            tally.refuse(delivery, why_not(False, delivery[2], MAX_VALUE_BYTES), change)
        else:
            tally.states.take(self._shaped[change.table], change, delivery)
            if change.too_large is not None:
                tally.refuse(delivery, why_too_large(change.too_large), change)
            elif not is_half(change.id):
                tally.counts.add(change.table, change.op)

    def _why_no_row(self, row: Change | SnapshotRow, table: str) -> str:
        """Return why a row is not one of its table's; empty: it is."""
        model = self._shaped[table]
        entries = [*(row.index or ())]
        keys = [row.key]
        if isinstance(row, Change):
            entries += row.old_index or ()
            keys += [row.old_key] if row.old_key is not None else []
        try:
            keys += [part_of(entry).key for entry in entries]
            [float(entry.score) for entry in entries if entry.score is not None]
        except ValueError:
            return "an index entry that is not valid"
        if (row.field is not None) != model.has_field or (entries and not model.has_index):
            return "a field or an index that the settings of this sink do not know"
        if any(entry.zset is not None and entry.score is None for entry in row.index or ()):
            return "an index entry without its score"
        return OWN_KEY if any(map(is_of_cdc, keys)) else ""

    def _other(self, chain: Chain, tally: Tally, delivery: Delivery) -> None:
        """Take in what is no change of a row."""
        seq, subject, body = delivery
        try:
            if subject == self._heartbeat:
                self._boundary(chain, tally, seq, decode_heartbeat(body))
            elif subject == self._snapshot:
                self._rows(chain, tally, delivery)
            elif subject == self._refresh:
                self._begin_refresh(chain, tally, seq, decode_refresh(body))
            elif subject == self._schema:
                schema = decode_schema(body)
                prev = schema.prev
                parse_id(schema.id)
                if self._partitions > 1:
                    prev = (schema.prev_of or ())[self._partition]
                if self._is_next(chain, tally, delivery, schema, prev):
                    chain.move(schema.id, seq)
                    tally.barrier = schema
                    tally.others += 1
            elif subject == self._tables:
                tally.others += 1  # heartbeats name what counts of it
            elif subject == self._update:
                self._bare_of_all(chain, tally, delivery)
            else:
                tally.refuse(delivery, "not a subject of cdc")
        except _MALFORMED as error:
            tally.refuse(delivery, f"not the contract: {cause_of(error)}")

    def _rows(self, chain: Chain, tally: Tally, delivery: Delivery) -> None:
        """Take in existing rows of a snapshot."""
        seq, _, body = delivery
        snapshot = decode_snapshot(body)
        hashed, shaped = self._is_hash.get(snapshot.table), self._shaped.get(snapshot.table)
        if snapshot.v != CONTRACT_VERSION or not is_id(snapshot.id):
            tally.refuse(delivery, f"id {snapshot.id[:80]}, v {snapshot.v}: not ours")
            return
        if not self._is_next(chain, tally, delivery, snapshot, snapshot.prev):
            return
        chain.move(snapshot.id, seq)
        tally.newest = snapshot
        if hashed is None and shaped is None:
            tally.refuse(delivery, why_not(None, body, MAX_VALUE_BYTES), snapshot)
            return
        refused = self._refused(snapshot)
        rows = [row for row in snapshot.rows if row not in refused] if refused else snapshot.rows
        for row, reason in refused.items():
            # One letter for a message: NATS takes a second one of its sequence for a copy.
            tally.pass_over(refused)
            tally.refuse(delivery, reason, key=row.key, table=snapshot.table)
            break
        for row in rows:
            value = row.value
            if row.too_large is not None:
                why = why_too_large(row.too_large)
                tally.refuse(delivery, why, key=row.key, table=snapshot.table)
            if shaped is not None:
                tally.states.take(shaped, row, delivery)
            else:
                tally.states.keys[row.key] = (
                    (value, delivery) if hashed and value is not None else value
                )
        tally.more_rows += len(rows) - (not refused)
        whole = sum(row.too_large is None for row in rows)
        tally.counts.add(snapshot.table, SNAPSHOT, whole)

    def _refused(self, snapshot: Snapshot) -> dict[SnapshotRow, str]:
        """Return the rows that can never be applied, each with why."""
        if snapshot.table not in self._shaped:
            return {row: OWN_KEY for row in snapshot.rows if row.key.startswith(PREFIX)}
        reasons = ((row, self._why_no_row(row, snapshot.table)) for row in snapshot.rows)
        return {row: reason for row, reason in reasons if reason}

    def _begin_refresh(self, chain: Chain, tally: Tally, seq: int, refresh: Refresh) -> None:
        """Take in that tables are read again from here.

        After a gap the chain starts here, ignoring what was applied: everything after it is newer.
        """
        tally.others += 1
        if tally.refreshing.is_known(refresh):
            return
        boundary = refresh.boundary
        last = self._last_of(chain, boundary)
        if refresh.gap:
            chain.begin_after_gap(seq, boundary, last)
        else:
            chain.check_published(seq, last, "refresh")
        tally.refreshing.begin(refresh, self._captured)

    def _boundary(self, chain: Chain, tally: Tally, seq: int, heartbeat: Heartbeat) -> None:
        """Take in a heartbeat.

        Raises:
            ListMissing: it names another list of tables than `listed`.
            PositionLostError: it names messages that did not come, or is of another history.
        """
        last = self._last_of(chain, heartbeat)
        if chain.is_copy(seq, heartbeat.epoch, "the heartbeat there"):
            tally.copies += 1
            tally.others += 1
            return
        chain.check_boundary(seq, heartbeat, last)
        is_again = chain.may_be_again(seq)
        if not is_again and not named_by(heartbeat, self.listed):
            raise ListMissing(heartbeat.listed or NONE_LISTED.at, seq)
        chain.take_boundary(seq, heartbeat)
        tally.others += 1
        if not is_again:
            tally.refreshing.look(heartbeat, self.listed)

    def _last_of(self, chain: Chain, boundary: Heartbeat) -> str:
        """Return the last id that a boundary has for our partition."""
        check_partitions(boundary, self._partitions, chain.applied.stream)
        return boundary.last_of[self._partition] if self._partitions > 1 else boundary.last

    def _foreign(self, chain: Chain, tally: Tally, delivery: Delivery) -> None:
        """Take in what no reader of ours wrote: a bare message, or a dead letter."""
        tally.has_strange_mac |= has_mac(delivery[2])
        if delivery[1] == self._update and self._partitions > 1:
            self._bare_of_all(chain, tally, delivery)
        elif delivery[1] == self._update:
            self._bare(chain, tally, delivery, NOT_OURS)
        else:
            tally.refuse(delivery, NOT_OURS)

    def _bare_of_all(self, chain: Chain, tally: Tally, delivery: Delivery) -> None:
        """Take in what came on the subject without a partition, where all look for theirs.

        What has no key is the first partition's to keep.
        """
        try:
            partition = partition_of(decode_bare(delivery[2]).key, self._partitions)
        except _MALFORMED as error:
            if self._partition == 0:
                tally.refuse(delivery, f"{NOT_OURS}; {cause_of(error)}")
            else:
                tally.others += 1
            return
        if partition == self._partition:
            self._bare(chain, tally, delivery, NOT_OURS)
        else:
            tally.others += 1

    def _bare(self, chain: Chain, tally: Tally, delivery: Delivery, reason: str) -> None:
        """Take in what an application published: ``{"key": …, "value": …}``.

        Args:
            reason: why it is not ours, for what is no such message either.
        """
        seq, subject, body = delivery
        bare = None
        if tally.is_consumed(seq):
            return
        if subject == self._update:
            try:
                bare = decode_bare(body)
            except _MALFORMED as error:
                reason += f"; {cause_of(error)}" if reason == NOT_OURS else ""
        if bare is None:
            tally.refuse(delivery, reason)
        elif not self._apply_bare:
            tally.refuse(delivery, "a bare message, and bare_messages is quarantine", key=bare.key)
        elif chain.may_be_again(seq):
            reason = "a bare message in a rewritten part of the stream: perhaps applied before"
            tally.refuse(delivery, reason, key=bare.key)
        elif is_of_cdc(bare.key) or len(body) > MAX_VALUE_BYTES:
            tally.refuse(delivery, why_not(False, body, MAX_VALUE_BYTES), key=bare.key)
        elif (model := self._model_of(bare.key)) is None:
            tally.refuse(delivery, "a bare message whose key is no captured table's", key=bare.key)
        else:
            tally.states.keys[bare.key] = key_state(model, bare.value, delivery)
            tally.counts.add("", BARE)

    def _model_of(self, key: str) -> Model | None:
        """Return how a bare message's key is kept; None: no table keeps it as a string."""
        if any(self._shared.of(key)):
            return None
        return next(self._strings.of(key), None)
