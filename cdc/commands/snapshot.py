"""``cdc snapshot``: read rows of a table again through the normal stream, while changes flow."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cdc.commands.options import WithSettings, json_option, prepared
from cdc.errors import UsageError
from cdc.settings import Settings
from cdc.table import Table

if TYPE_CHECKING:
    from cdc.message import Heartbeat, Refresh
    from cdc.telemetry import Log

EXAMPLES = """\
  cdc snapshot --table shop.users
  cdc snapshot --table shop.users --from 1000 --to 1999
  cdc snapshot --table shop.lines --from 7,1 --to 7,99        a key of two columns
  cdc snapshot --table shop.lines --from 7 --to 7             all lines of order 7
"""
ABOUT = """\
Read rows of a table again, all or a range of keys, on a running pipeline.

The rows go through the normal stream, in order with the changes: changes keep flowing, and no
newer value is overwritten.  If the reader is killed, it resumes at the last chunk.  The command
waits until the rows are in the stream and shows progress; Ctrl-C does not stop the snapshot.

Nothing is removed: for keys of rows that no longer exist use  cdc refresh --only TABLE.  A table
that is new in the settings of cdc run gets its snapshot automatically.

Give it the flags and settings of cdc run; --table chooses the tables.
"""
BYTES = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")
"""Their keys are given in hex, with or without ``0x``."""
SILENT_S = 15.0
"""A running reader writes heartbeats more often."""


def snapshot_command() -> click.Command:
    """Return the command."""
    own = [
        click.Option(
            ["first", "--from"],
            metavar="KEY",
            help="First key; several columns as 7,2024-01-01, or only the first of them.",
        ),
        click.Option(["last", "--to"], metavar="KEY", help="Last key, inclusive."),
        click.Option(
            ["no_wait", "--no-wait"], is_flag=True, help="Announce the snapshot and return."
        ),
        json_option(),
    ]
    return WithSettings(
        "snapshot",
        EXAMPLES,
        own,
        callback=_snapshot,
        help=ABOUT,
        short_help="Read existing rows again, all or a range of keys.",
    )


def _snapshot(
    first: str | None,
    last: str | None,
    no_wait: bool,
    as_json: bool,
    config: str | None,
    debug: bool,
    **flags: Any,
) -> None:
    with prepared(config, debug, "both", flags) as (settings, log, _):
        run(settings, log, first=first, last=last, waits=not no_wait, as_json=as_json)


def run(
    settings: Settings, log: Log, *, first: str | None, last: str | None, waits: bool, as_json: bool
) -> None:
    """Announce the rows, and wait until they are in the stream.

    Raises:
        CdcError: a key is not valid, a table is not captured, or a server refuses.
    """
    import asyncio

    from cdc.check import servers
    from cdc_reader.snapshot.refresh import announce, ask_for_ranges

    tables = asyncio.run(servers.captured_tables(settings))
    if len(tables) != 1 and (first or last):
        raise UsageError("--from and --to need exactly one table", fix="choose it with --table")
    ranges = {t.qualified: [(key_of(first, t), key_of(last, t))] for t in tables}
    began_s = time.monotonic()
    about = ask_for_ranges(settings, tables, ranges)
    refresh, sequence = asyncio.run(announce(settings, tables, (), log, ranges=ranges))
    named = ", ".join(ranges)
    if not as_json:
        click.echo(f"announced in {settings.stream} at sequence {sequence}: {named}", err=True)
    if waits:
        _wait(settings, refresh, dict(zip(ranges, about, strict=True)), log)
    seconds = round(time.monotonic() - began_s, 3)
    if as_json:
        said = {"tables": list(ranges), "stream": settings.stream, "sequence": sequence}
        said |= {"number": refresh.number, "about_rows": sum(about), "done": waits}
        click.echo(json.dumps(said | {"seconds": seconds}))
    elif waits:
        click.echo(f"the rows of {named} are in {settings.stream}; the sink applies them next")
    else:
        click.echo("  next: the running cdc run reads them now; it logs  rows read")


def _wait(settings: Settings, refresh: Refresh, about: dict[str, int], log: Log) -> None:
    import asyncio

    from cdc.status.progress import Progress
    from cdc_reader.snapshot.refresh import read_to_the_end

    total = sum(about.values())
    progress = Progress(", ".join(about), total=total or None)

    def seen(heartbeat: Heartbeat) -> None:
        progress.show(*state_of(heartbeat, refresh.number, about, time.time()))

    asyncio.run(read_to_the_end(settings, refresh, log, seen=seen))
    progress.end(total)


def state_of(
    heartbeat: Heartbeat, number: int, about: dict[str, int], now_s: float
) -> tuple[int, str]:
    """Return how many rows of a refresh's ranges were read, and why it is paused."""
    left = 0
    for table, rows in about.items():
        progress = heartbeat.snapshot.get(table)
        for part in progress.open_ranges if progress else ():
            if part.refresh == number:
                left += max(0, rows - part.rows)
    note = str(heartbeat.paused or "")
    if now_s - heartbeat.ts / 1e6 > SILENT_S:
        note = "no cdc run is running; start it"
    return sum(about.values()) - left, note


def key_of(text: str | None, table: Table) -> Sequence[str]:
    """Return the parts of a key as typed: ``7,2024-01-01``; None: no limit.

    Only a key of several columns is split, as a line of CSV: ``a,"b,c"``.

    Raises:
        UsageError: quotes that do not end.
    """
    if text is None:
        return ()
    parts = [text]
    if len(table.chunk_key) > 1:
        try:
            (parts,) = csv.reader([text], strict=True)
        except (csv.Error, ValueError):
            raise UsageError(f"{text!r} is no key", fix="quote as in  --from 'a,\"b,c\"'") from None
    hexes = {column.name for column in table.columns if column.data_type in BYTES}
    for n, name in enumerate(table.chunk_key[: len(parts)]):
        if name in hexes and parts[n][:2].lower() == "0x":
            parts[n] = parts[n][2:]
    return tuple(parts)
