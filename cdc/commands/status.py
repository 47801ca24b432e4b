"""``cdc status``: positions and lag of a pipeline, and whether Redis is in sync."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from cdc.commands.options import WithSettings, joined, json_option, settled
from cdc.errors import UnavailableError
from cdc.settings import Settings

if TYPE_CHECKING:
    from cdc.jetstream.stream import Connection
    from cdc.status.report import BinlogState, Limits, Seen, Sink, Stream
    from cdc.telemetry import Log

EXAMPLES = """\
  cdc status --table users
  cdc status --watch                   refresh every 2 s; --watch 10: every 10 s
  cdc status --json | jq .lag_s
  cdc status --check --warn-lag 10     for a monitor: 0 ok, 1 warning, 2 critical, 3 unknown
"""
ABOUT = """\
Print the state of a pipeline: positions, lag, rows, snapshots, verification, the last error.

It makes a few cheap queries to MySQL, NATS and Redis and changes nothing.  If a server does not
answer, that is shown together with the rest.  Give it the settings of cdc run.
"""
WATCH_S = "2"


class _Over(UnavailableError):
    """Raised if no embedded NATS is running, because no `cdc run` is."""


def status_command() -> click.Command:
    """Return the command."""
    own = [
        click.Option(
            ["watch_s", "--watch"],
            is_flag=False,
            flag_value=WATCH_S,
            type=click.FloatRange(0.1),
            metavar="[SECONDS]",
            help="Refresh every SECONDS; one line per refresh when not on a terminal [2].",
        ),
        json_option(),
        click.Option(
            ["is_check", "--check"], is_flag=True, help="Exit with monitoring-plugin codes (0-3)."
        ),
        click.Option(
            ["warn_lag_s", "--warn-lag"],
            type=click.FloatRange(0),
            default=30.0,
            metavar="SECONDS",
            help="Lag that counts as a warning [30].",
        ),
        click.Option(
            ["critical_lag_s", "--critical-lag"],
            type=click.FloatRange(0),
            default=300.0,
            metavar="SECONDS",
            help="Lag that counts as critical [300].",
        ),
    ]
    return WithSettings(
        "status",
        EXAMPLES,
        own,
        callback=_status,
        help=ABOUT,
        short_help="Positions, lag, rows by table, the last error.",
    )


def _status(
    watch_s: float | None,
    as_json: bool,
    is_check: bool,
    warn_lag_s: float,
    critical_lag_s: float,
    config: str | None,
    debug: bool,
    **flags: Any,
) -> None:
    from cdc.status.report import STALE_LEAST_S, Limits

    settings, log = settled(config, debug, "both", flags)
    limits = Limits(
        warn_lag_s=warn_lag_s,
        critical_lag_s=critical_lag_s,
        stale_s=max(3 * settings.heartbeat_idle_s, STALE_LEAST_S),
    )
    if watch_s is None:
        said = _said(settings, limits, log)
        click.echo(json.dumps(said) if as_json else _shown(said, is_check=is_check))
        raise click.exceptions.Exit(said["check"]["code"] if is_check else 0)
    try:
        while True:
            _again(_said(settings, limits, log), watch_s, as_json=as_json)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(0) from None


def _again(said: dict[str, Any], watch_s: float, *, as_json: bool) -> None:
    from cdc.status.text import line

    if as_json:
        click.echo(json.dumps(said))
    elif sys.stdout.isatty():
        # Overwrite from the top and clear the rest, so that nothing flickers.
        click.echo("\x1b[H" + _shown(said).replace("\n", "\x1b[K\n") + "\x1b[K\x1b[J")
    else:
        click.echo(line(said))
    sys.stdout.flush()
    time.sleep(watch_s)


def _shown(said: dict[str, Any], *, is_check: bool = False) -> str:
    from cdc.status.text import check_line, text

    return check_line(said) if is_check else text(said)


def _said(settings: Settings, limits: Limits, log: Log) -> dict[str, Any]:
    import asyncio

    from cdc.status.report import report

    seen = asyncio.run(look(settings, log))
    return {"pipeline": settings.pipeline} | report(seen, limits)


async def look(settings: Settings, log: Log) -> Seen:
    """Query all three servers; for one that does not answer, return why."""
    import asyncio

    from cdc.errors import CdcError
    from cdc.jetstream.stream import close
    from cdc.status.report import Seen
    from cdc_reader.queries import status as reader
    from redis_sink.queries import status as redis_status

    # What a pattern matches is in the heartbeat and in the counts.
    named = tuple(t.name for t in settings.tables if "." in t.name and not t.is_pattern)
    nats = asyncio.create_task(_connected(settings, log))
    sink: Sink | str
    source: BinlogState | str
    stream: Stream | str
    is_over = False
    try:
        sink = await redis_status.sink(settings, named)
    except CdcError as error:
        sink = error.seen
    try:
        nc = await nats
        try:
            stream = await _stream(nc, settings, None if isinstance(sink, str) else sink)
        finally:
            await close(nc)
    except CdcError as error:
        stream, is_over = error.seen, isinstance(error, _Over)
    heartbeat = None if isinstance(stream, str) else stream.heartbeat
    tables = {*named, *(heartbeat.snapshot if heartbeat else ())}
    try:
        source = await asyncio.to_thread(reader.source, settings, tables)
    except CdcError as error:
        source = error.seen
    now_us = time.time_ns() // 1000
    return Seen(source=source, stream=stream, sink=sink, now_us=now_us, is_over=is_over)


async def _connected(settings: Settings, log: Log) -> Connection:
    from cdc.jetstream.stream import connect

    settings = joined(settings)
    if settings.nats.scheme == "embedded":
        raise _Over("the embedded NATS is not running: cdc run starts it")
    return await connect(settings.nats, name="cdc-status", inbox_prefix="_INBOX_sink", log=log)


async def _stream(nc: Connection, settings: Settings, sink: Sink | None) -> Stream:
    from contextlib import suppress

    from cdc.errors import PermissionDenied
    from cdc.jetstream.dead_letters import tables_not_exact
    from cdc.jetstream.kept import holder_name, holders, with_heard
    from cdc.jetstream.list_lookup import Lists
    from cdc.jetstream.own_messages import OwnMessages
    from cdc.jetstream.room import consumers_of, held_of, us_of
    from cdc.jetstream.stream import NO_STREAM, ApiError, api, message_get, stream_state
    from cdc.status.report import Stream

    try:
        state = await stream_state(nc, settings.stream)
    except ApiError as error:
        if error.err_code != NO_STREAM:
            raise
        return Stream(
            name=settings.stream, messages=0, size_bytes=0, last_seq=0, heartbeat=None,
            heartbeat_seq=0, newest_id="", dead={},
        )  # fmt: skip
    prefix = settings.subject_prefix
    own = OwnMessages(nc, settings.stream, prefix, state.seal)
    beat_seq, heartbeat = await own.newest_heartbeat()
    newest = await message_get(nc, settings.stream, last_by_subject=f"{prefix}.>")
    if heartbeat is not None:
        heartbeat = await Lists(own).whole(heartbeat)
    placed = own.placed(newest) if newest is not None else None
    pending_since_us = 0
    begun = [p.seq for p in sink.positions if p] if sink else []
    if begun and min(begun) < state.last_seq:
        first = await message_get(
            nc, settings.stream, seq=min(begun) + 1, next_by_subject=f"{prefix}.>"
        )
        pending_since_us = us_of(first.time) if first else 0
    dead: dict[str, int] = {}
    with suppress(PermissionDenied):  # a right more, which a monitor may lack
        dead = await tables_not_exact(nc, settings, creates=False)
    held, kept_for, oldest_us = None, [], 0
    with suppress(PermissionDenied):
        info = await api(nc, f"STREAM.INFO.{settings.stream}")
        held, oldest_us = held_of(info, {}), us_of(info["state"].get("first_ts", ""))
        held = held_of(info, await api(nc, "INFO"))
        applied = {
            holder_name(settings.pipeline, str(n)): p.seq
            for n, p in enumerate(sink.positions if sink else ())
            if p is not None
        }
        # A place is noted every 10 s; the position itself is at hand.
        kept_for = with_heard(holders(await consumers_of(nc, settings.stream)), applied)
    return Stream(
        held=held,
        holders=kept_for,
        oldest_us=oldest_us,
        name=state.name,
        messages=state.messages,
        size_bytes=state.size_bytes,
        last_seq=state.last_seq,
        heartbeat=heartbeat,
        heartbeat_seq=beat_seq,
        newest_id=placed.id if placed else "",
        dead=dead,
        pending_since_us=pending_since_us,
    )
