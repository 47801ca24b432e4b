"""``cdc tail``: print the changes of tables as they happen; needs only MySQL."""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from cdc.commands.options import WithSettings, settled
from cdc.output import discard_stdout
from cdc.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdc_reader.messages.chains import Run

EXAMPLES = """\
  cdc tail --table users
  cdc tail --table users --from earliest --limit 10
  cdc tail --table users --format json | jq -r .key
  cdc tail --table users --from 7271e0ec-e705-11f1-8850-02fc00000001:8003
"""
ABOUT = """\
Print the changes of tables as they happen, one line each, until Ctrl-C.

It needs only MySQL, not NATS or Redis, and writes nothing.  It prints what cdc run would
publish, using the same code: keys, values, excluded columns.  --from starts now, at the oldest
binlog (earliest), or at the transaction of a GTID.  --format json prints the messages.
"""


def tail_command() -> click.Command:
    """Return the command."""
    own = [
        click.Option(
            ["begin", "--from"],
            default="now",
            metavar="now|earliest|GTID",
            help="Where to start [now].",
        ),
        click.Option(
            ["form", "--format"],
            type=click.Choice(("pretty", "json")),
            default="pretty",
            help="One readable line per change, or the message itself [pretty].",
        ),
        click.Option(
            ["limit", "--limit"], type=click.IntRange(1), help="Exit after this number of changes."
        ),
    ]
    return WithSettings(
        "tail",
        EXAMPLES,
        own,
        callback=_tail,
        help=ABOUT,
        short_help="Print changes as they happen; needs only MySQL.",
    )


def _tail(
    begin: str,
    form: str,
    limit: int | None,
    config: str | None,
    debug: bool,
    **flags: Any,
) -> None:
    settings, _ = settled(config, debug, "both", flags)
    try:
        run(settings, begin, form, limit)
    except BrokenPipeError:
        discard_stdout()  # the reader of stdout has closed it


def run(settings: Settings, begin: str, form: str, limit: int | None) -> None:
    """Print changes until Ctrl-C, or up to a limit.

    Raises:
        CdcError: MySQL refuses, or an event cannot be carried.
    """
    import asyncio

    from cdc.process.stopping import OpenLoop
    from cdc_reader.queries.tail import live

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        left = limit

        def take(run: Run) -> None:
            nonlocal left
            for body in run.bodies:
                if left == 0:
                    break
                left = None if left is None else left - 1
                for shown in [body.decode()] if form == "json" else lines(body, run.op):
                    click.echo(shown)
            sys.stdout.flush()
            if left == 0:
                stop.set()

        def note(text: str) -> None:
            click.echo(f"note: {text}", err=True)

        showing = asyncio.ensure_future(live(settings, begin, stop, take, note))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait((showing, stopping), return_when=asyncio.FIRST_COMPLETED)
        if showing.done():
            showing.result()
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)

    OpenLoop().run_until_complete(main())


def lines(body: bytes, op: str) -> Iterator[str]:
    """Yield a change as one readable line.

    ``12:00:00.123 UPDATE shop.users  users:42  {"id":42,"name":"Ada"}``
    """
    from cdc.message import SCHEMA, Change, decode_change, decode_schema

    if op == "partial":
        about = json.loads(body)
        what = f"rows in part, read by key: {' '.join(about['keys'])}"
        yield f"{_moment(about['ts'])} PARTIAL {about['table']}  " + (
            what if about["keys"] else "rows in part, without their keys: read as a whole"
        )
        return
    schema = decode_schema(body) if op == SCHEMA else None
    change = schema or decode_change(body)
    head = f"{_moment(change.ts)} {change.op.upper():6} {change.table}"
    if not isinstance(change, Change):
        yield f"{head}  {change.statement}"
        return
    key = change.key if change.old_key is None else f"{change.old_key} -> {change.key}"
    value = "" if change.value is None else f"  {change.value}"
    yield f"{head}  {key}{value}".replace("\r", "\\r").replace("\n", "\\n")


def _moment(us: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(us // 1_000_000)) + f".{us // 1000 % 1000:03d}"
