"""Who follows which partition: leases in a NATS key-value bucket, ``cdc_<pipeline>``.

``sink.<n>`` is the lease of a partition, ``live.<owner>`` shows that a sink is alive.  Each
expires and is renewed by a publish of our own, because the update of a KV client
drops the expiry (and the lease would stay for ever).  A lease only saves work: two owners
at once are kept apart by the fence in Redis (`redis_sink.store.writer`).

Source: nats-server's ADR-8 (KV), ADR-43 (``Nats-TTL``), ADR-48; docs/adr/0008-partitions.md.
"""

from __future__ import annotations

import json
import time
import uuid
from contextlib import suppress
from typing import Any

import nats.errors

from cdc.errors import PermissionDenied, StreamError, UnavailableError
from cdc.jetstream.connection import lost
from cdc.jetstream.stream import (
    API_TIMEOUT_S,
    NO_STREAM,
    ApiError,
    Connection,
    api,
    create_stream,
    message_get,
    stream_state,
)
from redis_sink.partitions.share import Board

TTL_S = 10
RENEW_S = 3.0
RELEASED_S = 1
"""What a released lease leaves is removed after this time."""
_WRONG_LAST_SEQUENCE = (10071, 10164)


class Leases:
    """The leases as one sink sees them; one connection, opened again when it is lost."""

    def __init__(self, nc: Connection, *, pipeline: str, replicas: int, owner: str) -> None:
        """Args: owner: this sink, in letters, digits and ``-``; unlike any other's."""
        self._nc, self._replicas, self._owner = nc, replicas, owner
        self._stream = f"KV_cdc_{pipeline}"
        self._prefix = f"$KV.cdc_{pipeline}."

    async def declare(self) -> None:
        """Make the bucket, if it is not there.

        Raises:
            StreamError: it cannot be made, or the server does not let messages expire.
        """
        try:
            found = (await stream_state(self._nc, self._stream)).config
        except ApiError as error:
            if error.err_code != NO_STREAM:
                raise
            found = await self._create()
        if not found.get("allow_msg_ttl"):
            raise StreamError(
                f"the bucket {self._stream} does not let messages expire",
                safe="nothing was written",
                fix="several partitions need nats-server 2.11 or newer; then "
                f"nats stream rm {self._stream}",
            )

    async def _create(self) -> dict[str, Any]:
        config = {
            "name": self._stream,
            "subjects": [f"{self._prefix}>"],
            "storage": "file",
            "discard": "new",
            "max_msgs_per_subject": 1,
            "allow_msg_ttl": True,
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            "num_replicas": self._replicas,
        }
        try:
            return (await create_stream(self._nc, config)).config
        except ApiError as error:
            raise StreamError(
                f"the bucket {self._stream} cannot be created: {error.seen}",
                safe="nothing was written",
                fix="several partitions need nats-server 2.11 or newer",
            ) from None

    async def be_seen(self) -> None:
        """Report that this sink is alive."""
        await self._put(f"live.{self._owner}", self._owner.encode(), TTL_S)

    async def look(self) -> Board:
        """Return what all see.

        Raises:
            UnavailableError: NATS does not answer, or the bucket was removed: declare it again.
        """
        try:
            info = await api(
                self._nc, f"STREAM.INFO.{self._stream}", {"subjects_filter": f"{self._prefix}>"}
            )
        except ApiError as error:
            if error.err_code != NO_STREAM:
                raise
            raise UnavailableError(f"the bucket {self._stream} was removed") from None
        live, held = 0, set[int]()
        for subject in info["state"].get("subjects") or {}:
            kind, _, name = subject.removeprefix(self._prefix).partition(".")
            live += kind == "live"
            if kind == "sink" and name.isdigit():
                held.add(int(name))
        return Board(live, frozenset(held))

    async def take(self, partition: int, *, held: bool) -> Lease | None:
        """Return the partition's lease; None: another sink holds it.

        Args:
            held: a lease exists; whether it was released is looked up.
        """
        sequence = 0
        if held:
            stored = await self._stored(partition)
            if stored is not None and stored[1]:
                return None
            sequence = stored[0] if stored is not None else 0
        lease = Lease(self, partition, sequence)
        return lease if await lease.renew() else None

    async def leave(self) -> None:
        """Take back that this sink lives."""
        await self._put(f"live.{self._owner}", b"", RELEASED_S)

    async def put(self, partition: int, sequence: int, *, ttl_s: int) -> int | None:
        """Write a lease after `sequence`; return its own, None: another one exists."""
        body = self._owner.encode() if ttl_s == TTL_S else b""
        return await self._put(f"sink.{partition}", body, ttl_s, sequence)

    async def mine(self, partition: int) -> int | None:
        """Return the sequence of the partition's lease if it is this sink's."""
        stored = await self._stored(partition)
        return stored[0] if stored is not None and stored[1] == self._owner.encode() else None

    async def _stored(self, partition: int) -> tuple[int, bytes] | None:
        subject = f"{self._prefix}sink.{partition}"
        stored = await message_get(self._nc, self._stream, last_by_subject=subject)
        return None if stored is None else (stored.seq, stored.data)

    async def _put(
        self, key: str, body: bytes, ttl_s: int, sequence: int | None = None
    ) -> int | None:
        headers = {"Nats-TTL": f"{ttl_s}s"}
        if sequence is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(sequence)
        subject = self._prefix + key
        try:
            reply = await self._nc.request(subject, body, timeout=API_TIMEOUT_S, headers=headers)
        except nats.errors.TimeoutError:
            raise self._silent(subject) from None
        except nats.errors.NoRespondersError:
            raise UnavailableError(f"no stream takes {subject}") from None
        except (nats.errors.Error, OSError):
            raise lost(self._nc) from None
        answer = json.loads(reply.data)
        error = answer.get("error")
        if error is None:
            return int(answer["seq"])
        if error.get("err_code") in _WRONG_LAST_SEQUENCE:
            return None
        raise UnavailableError(f"a lease cannot be written: {error.get('description')}")

    def _silent(self, subject: str) -> PermissionDenied | UnavailableError:
        if subject.lower() in self._nc.denied.lower():
            return PermissionDenied(
                f"NATS refuses this login the right to publish to {subject}",
                fix=f"several partitions need it: allow {self._prefix}> to the sink",
            )
        return UnavailableError(f"NATS does not acknowledge {subject}")


class Lease:
    """One partition's lease, held by this sink until `valid_until_s`."""

    def __init__(self, leases: Leases, partition: int, sequence: int) -> None:
        self.leases, self.partition = leases, partition
        self.sequence = sequence
        """Of the message that it was last renewed by; 0: none exists."""
        self.renewed_s = self.valid_until_s = 0.0
        """Both of `time.monotonic`."""

    async def renew(self) -> bool:
        """Take it, or hold it for longer; False: another sink holds it by now.

        Raises:
            UnavailableError: NATS does not answer; whether it is renewed is not known.
        """
        now_s = time.monotonic()
        sequence = await self.leases.put(self.partition, self.sequence, ttl_s=TTL_S)
        if sequence is None:
            # An earlier renewal may have come through although its answer did not.
            sequence = await self.leases.mine(self.partition)
        if sequence is None:
            return False
        self.sequence, self.renewed_s, self.valid_until_s = sequence, now_s, now_s + TTL_S
        return True

    async def release(self) -> None:
        """Give it back, if it is still this sink's."""
        with suppress(UnavailableError):
            await self.leases.put(self.partition, self.sequence, ttl_s=RELEASED_S)


def new_owner() -> str:
    """Return a name for a sink that no other has."""
    return uuid.uuid4().hex
