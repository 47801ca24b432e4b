"""Messages -> Redis commands and the next position.

Pure.  Within a batch only the last state of each Redis key is written.  That is right
because every write is the complete state of its key, keys are taken across rows and
tables in stream order, a changed key removes the old one at its place in the order,
and a barrier (`Schema`) ends the batch (reference: docs/guarantees.md).

Skip and gap: ``prev`` equal to the last id applied is the next message.  Otherwise a
message whose id is not above it has been applied already, and anything else is a gap.  One
exception: where the stream lost its end during a snapshot, the rows that stood there are read
again and have other ids, so the last one applied is not in the stream any more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal, NoReturn

import msgspec

from cdc.compiled import native
from cdc.errors import UsageError
from cdc.message import (
    CONTRACT_VERSION,
    HEARTBEAT,
    OPERATIONS,
    REFRESH,
    SCHEMA,
    SNAPSHOT,
    Change,
    Heartbeat,
    Refresh,
    Schema,
    Snapshot,
    decode_bare,
    decode_change,
    decode_heartbeat,
    decode_refresh,
    decode_schema,
    decode_snapshot,
    parse_id,
    subject_for,
)
from cdc.partition import check_partitions, partition_of, row_subject
from cdc.table import Table
from redis_sink.applied import Applied, live_keys_key, position_keys
from redis_sink.batch import Batch, Command, DeadLetter, Delivery, cause_of, missing, why_not
from redis_sink.counts import BARE, Counts, counts_key, is_half
from redis_sink.refreshing import Refreshing
from redis_sink.row_hash import hash_fields

MAX_VALUE_BYTES = 512 << 20
"""proto-max-bulk-len of Redis: a longer one would break the connection for ever."""

_State = str | None | tuple[str, Delivery]
"""A key's last state: its string, gone, or a hash's JSON with where it came from."""

_native = native(__package__)
_is_id = re.compile(r"[0-9]+(\.[0-9]+){3,4}").fullmatch
"""Quicker than `parse_id`; the ids that are applied have to compare."""
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
            if table.model == "hash" and table.value_column is not None:
                raise UsageError(
                    f"{table.qualified}: --as hash and --value exclude each other",
                    remedy="leave --value out: a hash has one field for each column",
                )
        self._is_hash = {table.qualified: table.model == "hash" for table in tables}
        self._templates = [t.key for t in tables if t.model == "string"]
        self._apply_bare = bare_messages == "apply"
        self._partition, self._partitions = partition, partitions
        self._pipeline = pipeline
        self._own_keys = frozenset(position_keys(pipeline, partitions)).union(
            counts_key(pipeline, n, partitions) for n in range(partitions)
        )
        self._ops = {
            row_subject(subject_prefix, op, partition, partitions).encode(): op for op in OPERATIONS
        }
        self._update = subject_for(subject_prefix, "update").encode()
        self._snapshot = row_subject(subject_prefix, SNAPSHOT, partition, partitions).encode()
        self._heartbeat = subject_for(subject_prefix, HEARTBEAT).encode()
        self._schema = subject_for(subject_prefix, SCHEMA).encode()
        self._refresh = subject_for(subject_prefix, REFRESH).encode()

    def live_keys(self, number: int) -> str:
        """Return the key of the set of keys that were written since a refresh."""
        return live_keys_key(self._pipeline, number, self._partition, self._partitions)

    def plan(self, applied: Applied, deliveries: list[Delivery], *, now_us: int) -> Batch:
        """Return the transaction that follows `applied`.

        Raises:
            PositionLostError: a message of ours is missing between two others.
            StreamError: a heartbeat says another number of partitions.
        """
        run = _Run(applied, self.live_keys)
        ops, is_hash, own = self._ops, self._is_hash, self._own_keys
        own = own.union(run.refreshing.live_keys)
        writes, consumed, change = run.writes, 0, None
        while consumed < len(deliveries):
            consumed = self._usual(run, deliveries, consumed, own)
            if consumed == len(deliveries):
                break
            delivery = deliveries[consumed]
            seq, subject, body = delivery
            op = ops.get(subject)
            if op is None:
                if subject == self._schema and consumed:
                    break
                self._other(run, delivery)
                consumed += 1
                if run.barrier is not None or run.refreshing.begun is not None:
                    break
                continue
            consumed += 1
            try:
                change = decode_change(body)
            except _MALFORMED as error:
                self._bare(run, delivery, error)
                continue
            if change.op != op or change.v != CONTRACT_VERSION:
                run.refuse(delivery, f"op {change.op}, v {change.v}: not what its subject says")
                continue
            if change.prev != run.last_id and run.passes_over(delivery, change, change.prev):
                continue
            if not _is_id(change.id):
                run.refuse(delivery, "its id is none")
                continue
            run.last_id, run.id_seq, run.newest = change.id, seq, change
            key, old_key, value = change.key, change.old_key, change.value
            hashed = is_hash.get(change.table)
            if hashed is None or key in own or old_key in own or len(body) > MAX_VALUE_BYTES:
                run.refuse(delivery, why_not(hashed, body, MAX_VALUE_BYTES), change)
                continue
            if old_key is not None:
                writes[old_key] = None
            writes[key] = (value, delivery) if hashed and value is not None else value
            if not is_half(change.id):
                run.counts.add(change.table, op)
        return run.finish(deliveries, consumed, now_us)

    def _usual(self, run: _Run, deliveries: list[Delivery], at: int, own: frozenset[str]) -> int:
        """Take the usual messages in that stand at ``deliveries[at:]``; return the place after.

        The compiled path does what the loop of `plan` would do, and stops in front of the first
        message that is rare or doubtful.  See docs/adr/0009-compiled-hot-path.md.
        """
        if _native is None:
            return at
        after, run.last_id = _native.take(
            deliveries, at, run.last_id, self._ops, self._is_hash, own, MAX_VALUE_BYTES, run.writes,
            run.counts,
        )  # fmt: skip
        if after > at:
            run.id_seq, _, body = deliveries[after - 1]
            run.newest = decode_change(body)
        return int(after)

    def _other(self, run: _Run, delivery: Delivery) -> None:
        """Take in what is no change of a row."""
        seq, subject, body = delivery
        try:
            if subject == self._heartbeat:
                heartbeat = decode_heartbeat(body)
                check_partitions(heartbeat, self._partitions, run.applied.stream)
                several = self._partitions > 1
                last = heartbeat.last_of[self._partition] if several else heartbeat.last
                run.heartbeat(seq, heartbeat, last)
            elif subject == self._snapshot:
                self._rows(run, delivery)
            elif subject == self._refresh:
                self._begin_refresh(run, seq, decode_refresh(body))
            elif subject == self._schema:
                schema = decode_schema(body)
                prev = schema.prev
                parse_id(schema.id)
                if self._partitions > 1:
                    prev = (schema.prev_of or ())[self._partition]
                if prev == run.last_id or not run.passes_over(delivery, schema, prev):
                    run.last_id, run.id_seq, run.barrier = schema.id, seq, schema
                    run.others += 1
            elif subject == self._update:
                self._bare_of_all(run, delivery)
            else:
                run.refuse(delivery, "no subject of ours")
        except _MALFORMED as error:
            run.refuse(delivery, f"not the contract: {cause_of(error)}")

    def _rows(self, run: _Run, delivery: Delivery) -> None:
        """Take in rows that stood in a table when they were read."""
        seq, _, body = delivery
        snapshot = decode_snapshot(body)
        hashed = self._is_hash.get(snapshot.table)
        if snapshot.v != CONTRACT_VERSION or not _is_id(snapshot.id):
            run.refuse(delivery, f"id {snapshot.id[:80]}, v {snapshot.v}: not ours")
            return
        if snapshot.prev != run.last_id and run.passes_over(delivery, snapshot, snapshot.prev):
            return
        run.last_id, run.id_seq, run.newest = snapshot.id, seq, snapshot
        own = self._own_keys.union(run.refreshing.live_keys)
        if hashed is None or any(row.key in own for row in snapshot.rows):
            run.refuse(delivery, why_not(hashed, body, MAX_VALUE_BYTES))
            run.refreshing.passed_over += [row.key for row in snapshot.rows]
            return
        for row in snapshot.rows:
            value = row.value
            run.writes[row.key] = (value, delivery) if hashed and value is not None else value
        run.more_rows += len(snapshot.rows) - 1
        run.counts.add(snapshot.table, SNAPSHOT, len(snapshot.rows))

    def _begin_refresh(self, run: _Run, seq: int, refresh: Refresh) -> None:
        """Take in that tables are read anew from here.

        Behind a gap the chain begins here, whatever was applied: all that follows is newer.
        """
        run.others += 1
        if run.refreshing.is_known(refresh):
            return
        boundary = refresh.boundary
        check_partitions(boundary, self._partitions, run.applied.stream)
        last = boundary.last_of[self._partition] if self._partitions > 1 else boundary.last
        if refresh.gap:
            run.last_id, run.id_seq, run.has_new_chain = last, seq, True
            run.gtid_set, run.began = boundary.gtid_set, boundary.began
        elif last != run.last_id and parse_id(last) > parse_id(run.last_id):
            run.gap(seq, f"the refresh there says that {last} was published")
        run.refreshing.begin(refresh, self._is_hash)

    def _bare_of_all(self, run: _Run, delivery: Delivery) -> None:
        """Take in what came on the subject without a partition, where all look for theirs.

        What has no key is the first partition's to keep.
        """
        try:
            partition = partition_of(decode_bare(delivery[2]).key, self._partitions)
        except _MALFORMED as error:
            if self._partition == 0:
                run.refuse(delivery, f"not the contract: {cause_of(error)}")
            else:
                run.others += 1
            return
        if partition == self._partition:
            self._bare(run, delivery, None)
        else:
            run.others += 1

    def _bare(self, run: _Run, delivery: Delivery, error: Exception | None) -> None:
        """Take in what an application published by itself: ``{"key": …, "value": …}``."""
        seq, subject, body = delivery
        bare = None
        if run.consumed(seq):
            return
        if subject == self._update:
            with suppress(*_MALFORMED):
                bare = decode_bare(body)
        if bare is None:
            run.refuse(delivery, f"not the contract: {cause_of(error) if error else 'no key'}")
        elif not self._apply_bare:
            run.refuse(delivery, "a bare message, and bare_messages is quarantine", key=bare.key)
        elif run.catching_up:
            reason = "a bare message in a rewritten part of the stream: perhaps applied before"
            run.refuse(delivery, reason, key=bare.key)
        elif bare.key in self._own_keys or len(body) > MAX_VALUE_BYTES:
            run.refuse(delivery, why_not(False, body, MAX_VALUE_BYTES), key=bare.key)
        elif not any(template.may_have_made(bare.key) for template in self._templates):
            run.refuse(delivery, "a bare message whose key is no captured table's", key=bare.key)
        else:
            run.writes[bare.key] = bare.value
            run.counts.add("", BARE)


class _Run:
    """The state of one planning."""

    def __init__(self, applied: Applied, live_keys: Callable[[int], str]) -> None:
        self.applied = applied
        self.counts = Counts()
        self.writes: dict[str, _State] = {}
        self.dead: list[DeadLetter] = []
        self.last_id, self.id_seq = applied.id, applied.id_seq
        self.gtid_set = applied.gtid_set
        self.began, self.upto = applied.began, applied.upto
        self.newest: Change | Snapshot | None = None
        self.barrier: Schema | None = None
        self.refreshing = Refreshing(applied, live_keys)
        self.has_new_chain = False
        self.skipped = 0
        self.more_rows = 0
        """Of messages with several."""
        self.others = 0
        """Heartbeats, barriers, and bare messages of other partitions."""

    @property
    def catching_up(self) -> bool:
        return bool(self.last_id) and self.id_seq == 0

    def consumed(self, seq: int) -> bool:
        """Note what is no message of ours and was consumed before: see `applied.resume`."""
        is_before = seq <= self.applied.seq
        self.others += is_before
        return is_before

    def heartbeat(self, seq: int, heartbeat: Heartbeat, last: str) -> None:
        if self.last_id and heartbeat.epoch < parse_id(self.last_id)[0]:
            self.gap(seq, "the heartbeat there is of an epoch before")
        if last != self.last_id and parse_id(last) > parse_id(self.last_id):
            self.gap(seq, f"the heartbeat there says that {last} was published")
        if self.last_id and self.began and heartbeat.began not in (0, self.began):
            self.gap(seq, "the stream was begun anew there")
        self.began = heartbeat.began or self.began
        self.others += 1
        if not self.catching_up:
            self.gtid_set, self.upto = heartbeat.gtid_set, heartbeat.upto
        if seq > self.applied.seq:
            self.refreshing.look(heartbeat)

    def gap(self, seq: int, seen: str) -> NoReturn:
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
        self.skipped += 1
        if isinstance(message, Snapshot):
            self.refreshing.passed_over += [row.key for row in message.rows]
        elif isinstance(message, Change):
            self.refreshing.passed_over.append(message.key)
        if message.id == self.last_id:
            self.id_seq = delivery[0]
        return True

    def refuse(
        self, delivery: Delivery, reason: str, change: Change | None = None, key: str | None = None
    ) -> None:
        seq, subject, body = delivery
        if self.consumed(seq):
            return
        key = change.key if change else key
        if key is not None:
            self.refreshing.passed_over.append(key)
        self.dead.append(
            DeadLetter(
                seq=seq,
                subject=subject.decode(errors="replace"),
                reason=reason,
                table=change.table if change else None,
                key=key,
                body=body,
            )
        )

    def finish(self, deliveries: Sequence[Delivery], consumed: int, now_us: int) -> Batch:
        before, newest, begun = self.applied, self.newest, self.refreshing.begun
        is_behind = self.last_id != before.id and parse_id(self.last_id) <= parse_id(before.id)
        if is_behind and not self.has_new_chain:
            self.gap(deliveries[consumed - 1][0], f"{self.last_id} comes after {before.id}")
        return Batch(
            commands=[*self._commands(), *self.refreshing.commands(self.writes)],
            applied=Applied(
                partitions=before.partitions,
                stream=before.stream,
                created=before.created,
                seq=max(deliveries[consumed - 1][0] if consumed else 0, before.seq),
                id=self.last_id,
                id_seq=self.id_seq,
                gtid_set=self.gtid_set,
                began=self.began,
                gtid=newest.gtid if isinstance(newest, Change) else before.gtid,
                ts=newest.ts if newest else before.ts,
                applied=now_us,
                refresh=begun.number if begun else before.refresh,
                upto=self.upto,
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
        )

    def _commands(self) -> list[Command]:
        """Return the final state of every key as commands; each key stands in one place only."""
        strings: list[str] = ["MSET"]
        gone: list[str] = ["UNLINK"]
        hashes: list[Command] = []
        extend = strings.extend
        for key, state in self.writes.items():
            if type(state) is str:
                extend((key, state))
            elif state is None:
                gone.append(key)
            elif type(state) is tuple:
                try:
                    fields = hash_fields(state[0])
                except _MALFORMED as error:
                    self.refuse(state[1], f"no hash: {cause_of(error)}", key=key)
                    self.counts.take_back(state[1][2])
                    continue
                # The whole hash is replaced: a field that is NULL now must not stay.
                gone.append(key)
                if fields:
                    hashes.append(("HSET", key, *fields))
        out: list[Command] = [tuple(part) for part in (gone, strings) if len(part) > 1]
        return out + hashes
