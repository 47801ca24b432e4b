"""The stream that both sides share: declared here, compared here, looked into here.

Through raw JetStream API requests, because nats-py's own classes lack fields (fast
ingest among them).

Source: JetStream API (docs.nats.io/reference/reference-protocols/nats_api_reference),
err_code numbers from nats-server's server/errors.json, ADR-50 for ``allow_batched``.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from cdc.errors import PermissionDenied, StreamError, UnavailableError
from cdc.jetstream.connection import (
    Connection,
    close,
    connect,
    lost,
    opened,
    server_info,
    write_block,
)
from cdc.jetstream.refusal import jetstream_off
from cdc.jetstream.stream_size import required_bytes
from cdc.seal import UNSEALED, Seal, new_metadata, seal_of
from cdc.settings import Settings

__all__ = [
    "NO_STREAM",
    "ApiError",
    "Connection",
    "StoredMessage",
    "StreamState",
    "api",
    "close",
    "connect",
    "create_stream",
    "dead_letter_config",
    "dead_letter_subject",
    "declare_dead_letters",
    "declare_stream",
    "differences",
    "fast_ingest_offered",
    "message_get",
    "named_stream_state",
    "opened",
    "right_refused",
    "stream_config",
    "stream_state",
    "write_block",
]

FAST_INGEST_API_LEVEL = 4
"""JetStream API level of nats-server 2.14, the first with ``allow_batched``."""
API_TIMEOUT_S = 5.0
_ASK_AGAIN_S = (0.5, 1.5, 3.0)
"""What is asked while a cluster has no leader is lost; it is asked again within the same time."""
_ASKED_AGAIN = ("INFO", "STREAM.INFO.", "STREAM.NAMES", "STREAM.MSG.GET.", "CONSUMER.CREATE.")
"""Requests that may arrive twice: a consumer of the same name and settings is made once."""
_LOOK_AGAIN_S = 0.1
_KEY_SETTLES_S = 1.0
"""Two that give an older stream a key at once: the later one counts, for both."""
_SECOND_NS = 1_000_000_000
DUPLICATE_WINDOW_NS = _SECOND_NS
"""Nothing of ours uses message ids here; the least memory that needs no thought."""
DEAD_DUPLICATE_WINDOW_NS = 600 * _SECOND_NS

NO_STREAM = 10059
_NAME_IN_USE, _SIZE_REQUIRED = 10058, 10113
_NO_MESSAGE = 10037
_JETSTREAM_OFF = (10039, 10076)


class ApiError(StreamError):
    """JetStream refuses a request; `err_code` is one of nats-server's errors.json."""

    def __init__(self, seen: str, *, safe: str = "", fix: str = "", err_code: int = 0) -> None:
        super().__init__(seen, safe=safe, fix=fix)
        self.err_code = err_code


@dataclass(frozen=True, slots=True)
class StreamState:
    """What a stream holds.  An empty one has ``first_seq == last_seq + 1`` (or 0 and 0)."""

    name: str
    created: str
    """``2026-11-23T11:50:45.123Z``: another one is another stream of the same name."""
    messages: int
    size_bytes: int
    first_seq: int
    last_seq: int
    config: dict[str, Any] = field(repr=False)
    """As the server has it, with the key of our messages."""
    leader: str
    """``n1 2026-11-23T11:50:45.123Z``: who leads it in a cluster, and since when; else empty."""

    @property
    def seal(self) -> Seal:
        """What tells messages of ours in it from others.

        Of a stream that an older cdc made, and no newer one has declared yet, it takes all.
        """
        return seal_of(self.config.get("metadata")) or UNSEALED


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message as it is in a stream."""

    seq: int
    subject: str
    data: bytes
    headers: bytes
    """Whole header block, ``NATS/1.0\\r\\n…``; empty without headers."""
    time: str
    """When NATS stored it: ``2026-11-23T11:50:45.123456789Z``."""

    @property
    def stored_ns(self) -> int:
        """Return that in nanoseconds since 1970, as in deliveries; 0: it cannot be read."""
        with suppress(ValueError):
            seconds, _, fraction = self.time.removesuffix("Z").partition(".")
            whole_s = datetime.fromisoformat(f"{seconds}+00:00").timestamp()
            return int(whole_s) * _SECOND_NS + int(fraction.ljust(9, "0"))
        return 0


async def api(nc: Client, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the reply of ``$JS.API.<subject>``.

    >>> await api(nc, "STREAM.INFO.MYSQL")  # doctest: +SKIP
    {'type': 'io.nats.jetstream.api.v1.stream_info_response', 'config': {…}, …}

    Raises:
        ApiError: JetStream refuses.
        JetStreamOffError: the server has no JetStream.
        PermissionDenied: this login may not ask.
        UnavailableError: no reply, no leader, or the connection is gone.
    """
    payload = json.dumps(body).encode() if body is not None else b""
    try:
        answer = json.loads((await _reply(nc, subject, payload)).data)
    except nats.errors.NoRespondersError:
        raise _no_responders(nc) from None
    except (nats.errors.Error, OSError):
        raise lost(nc) from None
    if "error" in answer:
        raise _refusal(subject, answer["error"])
    return dict(answer)


async def _reply(nc: Client, subject: str, payload: bytes) -> Msg:
    for wait_s in _ASK_AGAIN_S if subject.startswith(_ASKED_AGAIN) else (API_TIMEOUT_S,):
        with suppress(nats.errors.TimeoutError):
            return await nc.request(f"$JS.API.{subject}", payload, timeout=wait_s)
        if isinstance(nc, Connection) and nc.has_denied(f"$JS.API.{subject}"):
            raise right_refused(f"$JS.API.{subject}")
    raise UnavailableError(
        f"JetStream does not answer $JS.API.{subject} within {API_TIMEOUT_S:g} s"
    )


def _no_responders(nc: Client) -> StreamError | UnavailableError:
    address = getattr(nc, "address", "")
    if server_info(nc).get("jetstream"):
        return UnavailableError(
            f"JetStream of NATS at {address} has no leader or is still starting",
        )
    return jetstream_off(address)


def right_refused(subject: str) -> PermissionDenied:
    """Return the error of a login that may not publish to a subject."""
    return PermissionDenied(
        f"NATS refuses this login the right to publish to {subject}",
        fix="allow that subject in the user's permissions",
    )


def _refusal(subject: str, error: dict[str, Any]) -> StreamError | UnavailableError:
    err_code, text = int(error.get("err_code", 0)), str(error.get("description", ""))
    if err_code in _JETSTREAM_OFF:
        return jetstream_off("")
    if error.get("code") == 503:
        return UnavailableError(f"JetStream cannot serve $JS.API.{subject} now: {text}")
    return ApiError(f"JetStream refuses $JS.API.{subject}: {text} ({err_code})", err_code=err_code)


async def fast_ingest_offered(nc: Client) -> bool:
    """Return whether the server has ``allow_batched`` (2.14 and later)."""
    info = await api(nc, "INFO")
    return int(info.get("api", {}).get("level", 0)) >= FAST_INGEST_API_LEVEL


def stream_config(settings: Settings, fast_ingest: bool) -> dict[str, Any]:
    """Return the configuration of the stream, as the API takes it.

    ``discard: new`` makes a full stream refuse (the binlog is the buffer) instead of
    losing what the sink has not read.
    """
    config: dict[str, Any] = {
        "name": settings.stream,
        "subjects": [f"{settings.subject_prefix}.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "deny_delete": True,
        "max_bytes": settings.stream_max_bytes or -1,
        "max_age": settings.stream_max_age_s * _SECOND_NS,
        "num_replicas": settings.stream_replicas,
        "duplicate_window": DUPLICATE_WINDOW_NS,
    }
    return config | {"allow_batched": True} if fast_ingest else config


async def declare_stream(nc: Client, settings: Settings) -> StreamState:
    """Create the stream, or make sure that the existing one is ours.

    An older stream on a server that has since learnt fast ingest is updated in place.

    So is one without a key for our messages (docs/adr/0017-who-may-say-what.md).

    Raises:
        StreamError: it cannot be created, or it differs; both configurations are printed.
    """
    wanted = stream_config(settings, await fast_ingest_offered(nc))
    state = await _created(nc, wanted, metadata=new_metadata())
    different = differences(wanted, state.config)
    if different not in ([], ["allow_batched"]):
        raise _mismatch(wanted, state.config, different)
    if different:
        await _update(nc, state, {"allow_batched": True})
        state = await stream_state(nc, settings.stream)
    return await _with_key(nc, state) if state.seal is UNSEALED else state


async def _with_key(nc: Client, state: StreamState) -> StreamState:
    """Give a stream a key; other metadata stays."""
    metadata = (state.config.get("metadata") or {}) | new_metadata(state.last_seq + 1)
    await _update(nc, state, {"metadata": metadata})
    # Whoever found it without a key as we did has written its own by then, over ours.
    await asyncio.sleep(_KEY_SETTLES_S)
    state = await stream_state(nc, state.name)
    if state.seal is UNSEALED:
        raise StreamError(
            f"NATS does not keep the metadata of the stream {state.name}, which "
            "has the key of our messages",
            safe="nothing was written",
            fix="upgrade nats-server to 2.10 or later",
        )
    return state


async def _update(nc: Client, state: StreamState, changed: dict[str, Any]) -> None:
    await api(nc, f"STREAM.UPDATE.{state.name}", state.config | changed)


async def _created(
    nc: Client, wanted: dict[str, Any], *, metadata: dict[str, str] | None = None
) -> StreamState:
    name = wanted["name"]
    try:
        return await stream_state(nc, name)
    except ApiError as error:
        if error.err_code != NO_STREAM:
            raise
    try:
        return await create_stream(nc, wanted | {"metadata": metadata} if metadata else wanted)
    except ApiError as error:
        raise StreamError(
            f"the stream {name} cannot be created: {error.seen}",
            safe="nothing was written",
            fix="see the reason above; name and subjects are the settings stream and\n"
            "subject_prefix, size and copies are stream_max_bytes and stream_replicas",
        ) from None


async def create_stream(nc: Client, config: dict[str, Any]) -> StreamState:
    """Create a stream, or return the one that another process has just made.

    Two that create at once: the second may be refused for the name (10058) or, by the
    same stream, for its subjects (10065), so what counts is whether it is there now.

    Raises:
        ApiError: it cannot be created; and as `api`.
    """
    try:
        return _state(await api(nc, f"STREAM.CREATE.{config['name']}", config))
    except ApiError as refused:
        if refused.err_code == _SIZE_REQUIRED and (size_bytes := required_bytes(config)):
            return await create_stream(nc, config | {"max_bytes": size_bytes})
        known = named_stream_state if refused.err_code == _NAME_IN_USE else stream_state
        try:
            return await known(nc, config["name"])
        except ApiError:
            raise refused from None


def differences(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return the names of the fields that a stream has otherwise than is wanted."""
    return [name for name, value in wanted.items() if found.get(name, False) != value]


def _mismatch(wanted: dict[str, Any], found: dict[str, Any], different: list[str]) -> StreamError:
    rows = [("", "ours", "the server's")]
    rows += [
        (name, json.dumps(value), json.dumps(found.get(name))) for name, value in wanted.items()
    ]
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    table = "\n".join(
        f"{'>' if name in different else ' '} {name:{widths[0]}}  {ours:{widths[1]}}  {theirs}"
        for name, ours, theirs in rows
    )
    return StreamError(
        f"the stream {wanted['name']} exists with another configuration; '>' marks what differs\n"
        + table,
        safe="nothing was written",
        fix="change the settings to match, change the stream (nats stream edit), or choose\n"
        "another name with the setting stream",
    )


def dead_letter_subject(settings: Settings) -> str:
    """Return the subject of what can never be applied.

    >>> dead_letter_subject(Settings(pipeline="default"))
    'cdc.dead.default'
    """
    return f"cdc.dead.{settings.pipeline}"


def dead_letter_config(name: str) -> dict[str, Any]:
    """Return what a stream that keeps dead letters must have."""
    return {"name": name, "retention": "limits", "storage": "file", "discard": "new"}


async def declare_dead_letters(nc: Client, settings: Settings) -> str:
    """Return the name of the stream that keeps the dead letters, created when missing.

    Several pipelines share ``cdc.dead.>``, so a stream that takes our subject already
    is used, whatever its name.

    Raises:
        StreamError: it cannot be created, or forgets (no file, or discards the old).
    """
    subject = dead_letter_subject(settings)
    found = await api(nc, "STREAM.NAMES", {"subject": subject})
    config = dead_letter_config((found.get("streams") or [f"{settings.stream}_DEAD"])[0])
    if found.get("streams"):
        state = await named_stream_state(nc, config["name"])
        if different := differences(config, state.config):
            raise _mismatch(config, state.config, different)
        return state.name
    config |= {
        "subjects": ["cdc.dead.>"],
        "num_replicas": settings.stream_replicas,
        "duplicate_window": DEAD_DUPLICATE_WINDOW_NS,
    }
    return (await _created(nc, config)).name


async def stream_state(nc: Client, stream: str) -> StreamState:
    """Return what the stream holds now, served by its leader.

    Raises:
        ApiError: err_code 10059, there is no such stream; and as `api`.
    """
    return _state(await api(nc, f"STREAM.INFO.{stream}"))


async def named_stream_state(nc: Client, stream: str) -> StreamState:
    """Return the same of a stream that NATS has named: a cluster does so while it makes it.

    Raises:
        ApiError: it is not there after `API_TIMEOUT_S` either; and as `api`.
    """
    end_s = time.monotonic() + API_TIMEOUT_S
    while True:
        try:
            return await stream_state(nc, stream)
        except ApiError as error:
            if error.err_code != NO_STREAM or time.monotonic() > end_s:
                raise
        await asyncio.sleep(_LOOK_AGAIN_S)


def _state(info: dict[str, Any]) -> StreamState:
    state, cluster = info["state"], info.get("cluster") or {}
    leader = f"{cluster['leader']} {cluster.get('leader_since', '')}" if "leader" in cluster else ""
    return StreamState(
        name=info["config"]["name"],
        created=info["created"],
        messages=state["messages"],
        size_bytes=state["bytes"],
        first_seq=state["first_seq"],
        last_seq=state["last_seq"],
        config=info["config"],
        leader=leader,
    )


async def message_get(
    nc: Client,
    stream: str,
    *,
    seq: int | None = None,
    last_by_subject: str | None = None,
    next_by_subject: str | None = None,
) -> StoredMessage | None:
    """Return one message, by sequence or the newest on a subject; None: not there.

    With `seq` and `next_by_subject`: the first on the subject at or behind the sequence.

    Asks the leader (``MSG.GET``, not ``DIRECT.GET``), so what is acknowledged is seen.

    ``await message_get(nc, "MYSQL", last_by_subject="mysql.heartbeat")``
    """
    request: dict[str, Any] = {"seq": seq} if seq is not None else {"last_by_subj": last_by_subject}
    if next_by_subject is not None:
        request["next_by_subj"] = next_by_subject
    try:
        answer = await api(nc, f"STREAM.MSG.GET.{stream}", request)
    except ApiError as error:
        if error.err_code == _NO_MESSAGE:
            return None
        raise
    found = answer["message"]
    return StoredMessage(
        seq=found["seq"],
        subject=found["subject"],
        data=base64.b64decode(found.get("data", "")),
        headers=base64.b64decode(found.get("hdrs", "")),
        time=found["time"],
    )
