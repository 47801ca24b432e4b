"""Who still needs messages of the stream, and from where on it is kept.

Pure.  A sink leaves its place in NATS: a durable consumer on the stream that receives nothing
and whose metadata tell up to where Redis has everything.  It stays when the sink is away, and
goes with the stream.  Durable consumers of others hold what they have not acknowledged
(docs/adr/0024-kept-in-the-stream.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

LIST = "the list of tables"
_NAME = "cdc-at-"
_SEQ, _SEEN_US = "cdc.seq", "cdc.seen_us"
SHARE = 0.5
"""Share of the stream's limit: above it, what is applied is removed at any age."""
SHARE_AFTER = 0.4
FULL_SHARE = 0.98
FULL_BYTES = 2 << 20
"""The largest flush by default: with less room the next one may be refused."""


class Holder(NamedTuple):
    """Who needs what comes after a sequence of the stream."""

    name: str
    """``default``, ``default.2`` of several partitions, or a durable consumer of an application."""
    consumer: str
    """As NATS knows it: ``cdc-at-default-0``; empty: it was only heard."""
    seq: int
    """Everything up to here is not needed."""
    seen_us: int
    """When it was noted, microseconds since 1970; 0: not known."""

    @property
    def said(self) -> str:
        """Return what it is called in a sentence."""
        is_sink = not self.consumer or self.consumer.startswith(_NAME)
        return f"{'pipeline' if is_sink else 'consumer'} {self.name}"


def place_name(pipeline: str, partition: int) -> str:
    """Return the name of the consumer that holds a sink's place.

    >>> place_name("default", 0)
    'cdc-at-default-0'
    """
    return f"{_NAME}{pipeline}-{partition}"


def place_config(
    prefix: str, pipeline: str, partition: int, *, seq: int, now_us: int
) -> dict[str, Any]:
    """Return the consumer's configuration: on a subject without messages."""
    name = place_name(pipeline, partition)
    return {
        "name": name,
        "durable_name": name,
        "ack_policy": "none",
        "deliver_policy": "new",
        "filter_subject": f"{prefix}.{name}",
        "metadata": {_SEQ: str(seq), _SEEN_US: str(now_us)},
    }


def holders(consumers: Iterable[Mapping[str, Any]]) -> list[Holder]:
    """Return who holds a stream, from the answer to ``CONSUMER.LIST``."""
    out = []
    for consumer in consumers:
        config, name = consumer["config"], str(consumer["name"])
        metadata = config.get("metadata") or {}
        if name.startswith(_NAME) and str(metadata.get(_SEQ, "")).isdigit():
            pipeline, _, partition = name.removeprefix(_NAME).rpartition("-")
            seen = str(metadata.get(_SEEN_US, ""))
            shown = holder_name(pipeline, partition)
            seen_us = int(seen) if seen.isdigit() else 0
            out.append(Holder(shown, name, int(metadata[_SEQ]), seen_us))
        elif config.get("durable_name"):
            place = consumer["delivered" if config.get("ack_policy") == "none" else "ack_floor"]
            out.append(Holder(name, name, int(place.get("stream_seq", 0)), 0))
    return out


def holder_name(pipeline: str, partition: str) -> str:
    """Return how a sink is called: ``default``, or ``default.2`` of several partitions."""
    return pipeline if partition == "0" else f"{pipeline}.{partition}"


def with_heard(known: Iterable[Holder], heard: Mapping[str, int]) -> list[Holder]:
    """Return the holders with what live sinks reported since, ``{"default": 8123}``."""
    out = [h._replace(seq=max(h.seq, heard.get(h.name, 0))) for h in known]
    names = {holder.name for holder in out}
    return out + [Holder(name, "", seq, 0) for name, seq in heard.items() if name not in names]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a stream holds, and the room that it has."""

    first_seq: int
    last_seq: int
    messages: int
    size_bytes: int
    room_bytes: int
    """What it may take in all; 0: no limit is known."""

    @property
    def is_full(self) -> bool:
        """Whether the next messages may be refused."""
        if not self.room_bytes:
            return False
        least = max(FULL_SHARE * self.room_bytes, self.room_bytes - FULL_BYTES)
        return self.size_bytes >= least


class Cut(NamedTuple):
    """From where on a stream is kept."""

    seq: int
    held_by: str
    """Who needs what is there; empty: only the time to keep, or the share."""


def slowest(known: Sequence[Holder]) -> Holder | None:
    """Return who holds most; None: no holder is known, and then nothing may be removed."""
    return min(known, key=lambda holder: holder.seq, default=None)


def may_go(known: Sequence[Holder], *, restart_seq: int, lists: Sequence[int]) -> Cut:
    """Return up to where nothing is needed; the message at `seq` stays.

    Args:
        restart_seq: of the boundary that a restart of the reader begins at.
        lists: where the lists of tables begin that heartbeats name, oldest first; empty: none.
    """
    first = slowest(known)
    if first is None:
        return Cut(0, "no sink has started on this stream")
    seq, by = first.seq, first.said
    if restart_seq <= seq:
        seq, by = restart_seq, "the reader"
    if lists:
        # The heartbeats behind a place name the newest list before it.
        before = max((at for at in lists if at <= seq), default=0)
        seq, by = before, LIST if before else by
    return Cut(seq, by)


def why(cut: Cut) -> str:
    """Say why nothing more may go.

    >>> why(Cut(8123, "pipeline default"))
    'pipeline default has not applied the messages after sequence 8,123'
    """
    if cut.held_by.startswith(("pipeline ", "consumer ")):
        return f"{cut.held_by} has not applied the messages after sequence {cut.seq:,}"
    if not cut.seq:
        return cut.held_by
    return f"{cut.held_by} needs the messages after sequence {cut.seq:,}"


def by_size(held: Held) -> int:
    """Return from where on messages have to stay for the stream to keep to its share; 0: all."""
    if not held.room_bytes or held.size_bytes <= SHARE * held.room_bytes:
        return 0
    goes = 1 - SHARE_AFTER * held.room_bytes / held.size_bytes
    return held.first_seq + int(held.messages * goes) + 1
