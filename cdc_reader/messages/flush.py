"""A flush: messages published together, their fence and their bytes on the wire.

See docs/adr/0007-fence.md.
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from cdc.compiled import native
from cdc.message import HEARTBEAT, subject_for
from cdc_reader.messages.chains import Run

_native = native("cdc")
BATCH_HEADER = "Cdc-Batch"
"""Header of a fast-ingest batch's first message: the batch's name."""
CLAIM_HEADER = b"Cdc-Claim: 1"
"""Header line of a reader's first heartbeat."""
FLOW_MESSAGES = 500
"""The server tells its progress this often; it never asks for less of a single publisher."""

Message = tuple[bytes, bytes]
"""(subject, body)"""


class Outcome(NamedTuple):
    """What became of a flush."""

    stored: int
    """How many messages were stored, from the first."""
    sequence: int
    """Of the last one stored; foreign messages may be between ours."""
    error_code: int
    """Why not all were stored; 0: they were."""


@dataclass(slots=True)
class Flush:
    """Messages on their way, with what is needed to send the rest of them again."""

    messages: list[Message]
    token: str
    """Part of the reply subjects: answers to an earlier attempt are not ours."""
    done: asyncio.Future[Outcome]
    is_claim: bool = False
    """A reader's first message: it takes the stream's end over."""
    stored: int = 0
    """Messages acknowledged until now, where each is acknowledged separately."""
    sequence: int = 0
    """Of the newest of them."""
    error_code: int = 0
    """Why a batch ends early: known before its end is."""


def sequence_fence(sequence: int) -> bytes:
    """Return the header that lets a message in only after this one, whichever writer's it is."""
    return b"Nats-Expected-Last-Sequence: %d" % sequence


def heartbeat_fence(sequence: int, prefix: str) -> bytes:
    """Return the header that lets a message in only while this is the newest heartbeat.

    Foreign messages do not disturb it; every reader begins with a heartbeat.
    """
    return (
        f"Nats-Expected-Last-Subject-Sequence: {sequence}\r\n"
        f"Nats-Expected-Last-Subject-Sequence-Subject: {subject_for(prefix, HEARTBEAT)}"
    ).encode()


def batch_of(headers: bytes) -> str:
    r"""Return the batch that a message began, empty when it began none.

    >>> batch_of(b"NATS/1.0\r\nCdc-Batch: x-1\r\n\r\n")
    'x-1'
    """
    _, found, rest = headers.partition(f"\r\n{BATCH_HEADER}: ".encode())
    return rest.partition(b"\r\n")[0].decode("ascii", "replace") if found else ""


def parts(
    runs: Iterable[Run], prefix: str, *, max_messages: int, max_bytes: int
) -> Iterator[list[Message]]:
    """Yield the runs' messages in flushes of a limited number of messages and bytes."""
    messages: list[Message] = []
    size_bytes = 0
    for run in runs:
        if run.addresses is None:
            subjects: Iterable[bytes] = itertools.repeat(subject_for(prefix, run.op).encode())
        else:
            begin = f"{prefix}.".encode()
            subjects = [begin + address for address in run.addresses]
        of_run = list(zip(subjects, run.bodies, strict=False))
        ends = list(itertools.accumulate(map(len, run.bodies)))
        at = before_bytes = 0
        while at < len(of_run):
            # Up to the message that fills the flush, by number or by bytes.
            full = bisect.bisect_left(ends, max_bytes - size_bytes + before_bytes, at) + 1
            stop = min(full, at + max_messages - len(messages), len(of_run))
            messages += of_run[at:stop]
            size_bytes += ends[stop - 1] - before_bytes
            at, before_bytes = stop, ends[stop - 1]
            if len(messages) >= max_messages or size_bytes >= max_bytes:
                yield messages
                messages, size_bytes = [], 0
    if messages:
        yield messages


def begins_flush(headers: bytes) -> bool:
    """Return whether a message is fenced and no claim: a batch's first, or singly published.

    One inside a batch has no fence, a foreign one neither; the reader of a claim may not have
    come so far as to end the batches before it.
    """
    return b"Nats-Expected-Last-" in headers and CLAIM_HEADER not in headers


class _Identity(msgspec.Struct):
    id: str
    part: int = 0
    parts: int = 0


_decode_identity = msgspec.json.Decoder(_Identity).decode


def id_of(message: Message) -> str:
    """Return the `id` of a change or a barrier."""
    return _decode_identity(message[1]).id


def ends_row(message: Message) -> bool:
    """Return whether what has the message's `id` is in the stream with it: the last of its parts.

    >>> ends_row((b"mysql.part", b'{"id":"1.2.900.0","part":1,"parts":3}'))
    False
    """
    identity = _decode_identity(message[1])
    return identity.part == identity.parts


def newest_of_each(messages: Sequence[Message], last_of: Sequence[str]) -> list[str]:
    """Return the `id` of each partition's newest message once these are after `last_of`.

    >>> newest_of_each([(b"mysql.update.1", b'{"id":"1.2.900.0"}')], ["1.2.800.0", ""])
    ['1.2.800.0', '1.2.900.0']
    """
    out, unseen = list(last_of), set(range(len(last_of)))
    for message in reversed(messages):
        name = message[0].rpartition(b".")[2]
        # A barrier is in every partition.
        found = unseen & {int(name)} if name.isdigit() else set(unseen)
        if not found or not ends_row(message):
            continue
        for partition in found:
            out[partition] = id_of(message)
        unseen -= found
        if not unseen:
            break
    return out


def fast_block(messages: list[Message], reply: str, fence: bytes) -> bytes:
    """Return one fast-ingest batch, of two messages or more, as bytes for the socket.

    The reply subject is ``<inbox>.<batch>.<flow>.<gap mode>.<n>.<step>.$FI``; steps: 0 begin,
    1 append, 2 append and commit.  Source: NATS ADR-50, "Fast-ingest batch publishing".
    """
    prefix = f"{reply}.{FLOW_MESSAGES}.fail.".encode()
    batch = reply.rpartition(".")[2].encode()
    header = b"NATS/1.0\r\n%b\r\n%b: %b\r\n\r\n" % (fence, BATCH_HEADER.encode(), batch)
    subject, body = messages[0]
    size_bytes = len(header) + len(body)
    out = [
        b"HPUB %b %b1.0.$FI %d %d\r\n%b%b\r\n"
        % (subject, prefix, len(header), size_bytes, header, body)
    ]
    out.append(_appends(messages, 1, len(messages) - 1, prefix))
    subject, body = messages[-1]
    out.append(
        b"PUB %b %b%d.2.$FI %d\r\n%b\r\n" % (subject, prefix, len(messages), len(body), body)
    )
    return b"".join(out)


def _appends(messages: list[Message], first: int, stop: int, reply: bytes) -> bytes:
    """Return the PUB lines of the messages between a batch's first and last."""
    if _native is not None:
        return bytes(_native.appends(messages, first, stop, reply))
    return b"".join(
        b"PUB %b %b%d.1.$FI %d\r\n%b\r\n" % (subject, reply, number, len(body), body)
        for number, (subject, body) in enumerate(messages[first:stop], first + 1)
    )


def plain_block(messages: Sequence[Message], reply: str, fence: bytes) -> bytes:
    """Return acknowledged single publishes as bytes for the socket.

    The first has the fence; each other one expects the message before it by id, because a
    predicted sequence could come true by a foreign message in the gap that a refused one left.
    """
    out: list[bytes] = []
    inbox = reply.encode()
    for number, (subject, body) in enumerate(messages, 1):
        if number > 1:
            fence = b"Nats-Expected-Last-Msg-Id: %b.%d" % (inbox, number - 1)
        named = b"\r\nNats-Msg-Id: %b.%d" % (inbox, number) if len(messages) > 1 else b""
        header = b"NATS/1.0\r\n%b%b\r\n\r\n" % (fence, named)
        out.append(
            b"HPUB %b %b.%d %d %d\r\n%b%b\r\n"
            % (subject, inbox, number, len(header), len(header) + len(body), header, body)
        )
    return b"".join(out)
