"""Whether a login of NATS has the rights that a role needs: tested without side effects.

A message whose reply subject is a reserved one (``_R_.…``) is refused by the server after it has
looked at the right to publish it, and before anything else: which of the two it names says
whether the right is granted, and no subscriber receives it.  Where a server does not refuse such a
reply, nothing is tried.
Source: nats-server server/client.go, processInboundClientMsg, isReservedReply; seen on 2.15.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import nats.errors

from cdc.check.finding import Finding, Fix
from cdc.errors import PermissionDenied, UnavailableError
from cdc.jetstream.connection import lost
from cdc.jetstream.stream import (
    NO_STREAM,
    ApiError,
    Connection,
    StreamState,
    dead_letter_subject,
    stream_state,
    write_block,
)
from cdc.settings import Settings

_RESERVED_REPLY = b"_R_.cdc"
FLUSH_S = 5
_SID = 1 << 30
"""Of subscriptions that are tried: far from those of nats-py."""
_ROWS = ("insert", "update", "delete", "snapshot", "part")
_OPERATIONS = (*_ROWS, "schema", "heartbeat", "refresh", "tables")


@dataclass(slots=True)
class Refusals:
    """In place of a connection's log: keeps what the server refuses, prints nothing."""

    texts: list[str] = field(default_factory=list)

    def warning(self, event: str, **fields: Any) -> None:
        """Keep the server's words, which nats-py hands on in lower case."""
        self.texts.append(str(fields.get("error", event)).lower())

    def __contains__(self, words: str) -> bool:
        return any(words.lower() in text for text in self.texts)

    @property
    def hears_nothing(self) -> bool:
        """Whether a right to subscribe was refused, so that no answer may come."""
        return "for subscription to" in self

    def has_denied(self, subject: str) -> bool:
        """Return whether the right to publish there was refused."""
        return f'for publish to "{subject}"' in self


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What a login needs; a pattern as a configuration has it, and subjects to try it with."""

    publish: dict[str, tuple[str, ...]]
    """``{"mysql.>": ("mysql.insert", …)}``"""
    subscribe: dict[str, str]
    """``{"_INBOX_reader.>": "_INBOX_reader.cdc"}``"""
    removing: tuple[str, ...] = ()
    """Subjects that removing what is applied takes; without them it stays."""


def rights_needed(settings: Settings, role: str, created: bool) -> Rights:
    """Return what a role's login needs.

    Args:
        role: ``both``, ``reader`` or ``sink``.
        created: both streams exist.
    """
    stream, prefix = settings.stream, settings.subject_prefix
    publish: dict[str, tuple[str, ...]] = {}
    asked = ["INFO", f"STREAM.INFO.{stream}", f"STREAM.MSG.GET.{stream}"]
    makes = [f"STREAM.CREATE.{stream}"]
    asked += [f"CONSUMER.{word}.{stream}.*" for word in ("CREATE", "DELETE", "MSG.NEXT")]
    if role != "sink":
        publish[f"{prefix}.>"] = tuple(f"{prefix}.{op}" for op in _OPERATIONS)
    if role != "reader":
        dead = dead_letter_subject(settings)
        publish[dead] = (dead,)
        asked += ["STREAM.NAMES", f"STREAM.INFO.{stream}_DEAD"]
        makes += [f"STREAM.CREATE.{stream}_DEAD"]
        if settings.partitions > 1:
            leases = f"cdc_{settings.pipeline}"
            publish[f"$KV.{leases}.>"] = (f"$KV.{leases}.cdc",)
            asked += [f"STREAM.{word}.KV_{leases}" for word in ("INFO", "MSG.GET")]
            makes += [f"STREAM.CREATE.KV_{leases}"]
    for name in asked if created else (*asked, *makes):
        publish[f"$JS.API.{name}"] = (f"$JS.API.{name.replace('*', 'cdc')}",)
    sides = ("reader", "sink") if role == "both" else (role,)
    inboxes = {f"_INBOX_{side}.>": f"_INBOX_{side}.cdc" for side in sides}
    removing: tuple[str, ...] = ()
    if role != "sink" and settings.stream_keep_s:
        removing = (f"$JS.API.CONSUMER.LIST.{stream}", f"$JS.API.STREAM.PURGE.{stream}")
    return Rights(publish=publish, subscribe=inboxes, removing=removing)


async def try_rights(
    nc: Connection, settings: Settings, role: str, refusals: Refusals, notes: list[str]
) -> list[Finding]:
    """Try what the login may do, and do nothing.

    Raises:
        UnavailableError: the connection is gone.
    """
    needed = rights_needed(settings, role, created=True)
    await write_block(nc, _publishing(["$JS.API.INFO"]) + _subscribing(needed.subscribe.values()))
    await _flushed(nc)
    info_refused = refusals.has_denied("$JS.API.INFO")
    if not info_refused and "with reply of" not in refusals:
        notes.append("NATS: the rights on this server cannot be tested without side effects")
        return []
    # Where no answer would come, only what is needed in every case is tried.
    if not info_refused and not refusals.hears_nothing:
        needed = rights_needed(settings, role, await _are_created(nc, settings, role, refusals))
    subjects = [subject for tried in needed.publish.values() for subject in tried]
    await write_block(nc, _publishing((*subjects, *needed.removing)))
    await _flushed(nc)
    publish = [
        pattern
        for pattern, tried in needed.publish.items()
        if any(refusals.has_denied(subject) for subject in tried)
    ]
    subscribe = [
        pattern
        for pattern, tried in needed.subscribe.items()
        if f'for subscription to "{tried}"' in refusals
    ]
    stays = [subject for subject in needed.removing if refusals.has_denied(subject)]
    found = [_stays(nc, settings, role, stays)] if stays else []
    if not publish and not subscribe:
        return found
    lacks = [f"publish {pattern}" for pattern in publish]
    lacks += [f"subscribe {pattern}" for pattern in subscribe]
    # Its section has the other rights as well.
    return [
        Finding(
            id="nats.rights",
            seen=f"NATS at {nc.address}: this login lacks a right: {', '.join(lacks)}",
            fix=Fix(
                file=("nats-server.conf", _permissions(rights_needed(settings, role, False))),
                advice="in the section of this user; nats-server --signal reload is enough",
            ),
            kind=PermissionDenied,
        ),
    ]


def _stays(nc: Connection, settings: Settings, role: str, denied: list[str]) -> Finding:
    return Finding(
        id="nats.keep-rights",
        seen=f"NATS at {nc.address}: applied messages stay in the stream, because this login "
        f"lacks a right: publish {', '.join(denied)}",
        stops=False,
        fix=Fix(
            file=("nats-server.conf", _permissions(rights_needed(settings, role, False))),
            advice="in the section of this user; or stream_keep_s = 0",
        ),
    )


async def _are_created(nc: Connection, settings: Settings, role: str, refusals: Refusals) -> bool:
    names = [settings.stream] + ([f"{settings.stream}_DEAD"] if role != "reader" else [])
    if role != "reader" and settings.partitions > 1:
        names.append(f"KV_cdc_{settings.pipeline}")
    subjects = [f"$JS.API.STREAM.INFO.{name}" for name in names]
    await write_block(nc, _publishing(subjects))
    await _flushed(nc)
    if any(refusals.has_denied(subject) for subject in subjects):
        return True  # it is not known; that right is what the finding is about
    return all([await state_of(nc, name, refusals) is not None for name in names])


async def _flushed(nc: Connection) -> None:
    """Wait until the server has looked at all that was sent.

    Raises:
        UnavailableError: it does not say so.
    """
    try:
        await nc.flush(timeout=FLUSH_S)
    except nats.errors.TimeoutError:
        raise UnavailableError(
            f"NATS at {nc.address} accepts connections but does not answer within {FLUSH_S} s",
            fix="check that server: it may be stopped, out of disk, or overloaded",
        ) from None
    except (nats.errors.Error, OSError):
        raise lost(nc) from None


def _publishing(subjects: Iterable[str]) -> bytes:
    lines = (b"PUB %s %s 0\r\n\r\n" % (name.encode(), _RESERVED_REPLY) for name in subjects)
    return b"".join(lines)


def _subscribing(subjects: Iterable[str]) -> bytes:
    lines = (b"SUB %s %d\r\nUNSUB %d\r\n" % (name.encode(), _SID, _SID) for name in subjects)
    return b"".join(lines)


def _permissions(rights: Rights) -> str:
    """Return what a user's section of nats-server.conf needs."""
    return (
        f"permissions: {{ publish: {json.dumps([*rights.publish, *rights.removing])},\n"
        f"               subscribe: {json.dumps(list(rights.subscribe))} }}"
    )


async def state_of(nc: Connection, stream: str, refusals: Refusals) -> StreamState | None:
    """Return what a stream holds; None: it is not there, or this login may not ask."""
    if refusals.has_denied(f"$JS.API.STREAM.INFO.{stream}"):
        return None
    try:
        return await stream_state(nc, stream)
    except ApiError as error:
        if error.err_code == NO_STREAM:
            return None
        raise
