"""``cdc refresh``: tables are read anew, and what is no longer there is removed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cdc.commands.options import WithSettings, prepared
from cdc.errors import UsageError
from cdc.setting import nearest
from cdc.settings import Settings
from cdc.table import Table

if TYPE_CHECKING:
    from cdc.telemetry import Log

EXAMPLES = """\
  cdc refresh --table shop.users --table shop.orders
  cdc refresh --config cdc.toml --yes
  cdc refresh --only shop.orders          orders alone; the place in the binlog stays
"""
ABOUT = """\
Read the tables anew, from now on, and remove from Redis what is no longer there.

It announces this in the stream and returns.  The cdc run that is running does it, or the next
one that is started.  What goes on meanwhile: changes flow, no value goes back, and nothing
disappears that is a row.  Use it after exit code 65, or when Redis is not what it should be.

Without --only it goes on at the newest place of the binlog, so it closes every gap: a purged
binlog, a lost stream, a Redis that was emptied.  Keys under a table's template that are no
rows are removed once the table is read, whoever wrote them.

Give it the flags and settings that cdc run has.
"""


def refresh_command() -> click.Command:
    """Return the command."""
    own = [
        click.Option(
            ["only", "--only"],
            multiple=True,
            metavar="TABLE",
            help="One of the tables that are followed: read it alone, where no gap is.",
        ),
        click.Option(["yes", "--yes"], is_flag=True, help="Do not ask."),
        click.Option(["as_json", "--json"], is_flag=True, help="Say what was announced as JSON."),
    ]
    return WithSettings(
        "refresh",
        EXAMPLES,
        own,
        callback=_refresh,
        help=ABOUT,
        short_help="Read the tables anew: closes every gap.",
    )


def _refresh(
    only: tuple[str, ...], yes: bool, as_json: bool, config: str | None, debug: bool, **flags: Any
) -> None:
    with prepared(config, debug, "both", flags) as (settings, log, _):
        run(settings, log, only=only, is_agreed=yes, as_json=as_json)


def run(
    settings: Settings, log: Log, *, only: Sequence[str], is_agreed: bool, as_json: bool
) -> None:
    """Announce a refresh and say what follows.

    Args:
        only: tables as a person names them; empty: all.

    Raises:
        CdcError: a table is not captured, or a server refuses.
    """
    import asyncio

    from cdc.check import servers
    from cdc_reader.snapshot.refresh import announce

    tables = asyncio.run(servers.captured_tables(settings))
    wanted = [captured(name, tables).qualified for name in only]
    if not is_agreed:
        _ask(wanted or [table.qualified for table in tables], tables)
    refresh, sequence = asyncio.run(announce(settings, tables, wanted, log))
    if as_json:
        about = {"tables": refresh.tables, "stream": settings.stream, "sequence": sequence}
        click.echo(json.dumps(about | {"number": refresh.number, "gap": refresh.gap}))
        return
    named = ", ".join(refresh.tables)
    click.echo(f"announced in {settings.stream} at sequence {sequence}: {named}")
    click.echo("  next: a cdc run that is running does it now; else start one.  It says refreshed")
    click.echo("        for each table that is done, with the number of keys that were removed")


def captured(name: str, tables: Sequence[Table]) -> Table:
    """Return the table that a person means, ``users`` or ``shop.users``.

    Raises:
        UsageError: it is not captured, or the name alone is not enough.
    """
    found = [table for table in tables if name in (table.qualified, table.name)]
    if len(found) == 1:
        return found[0]
    names = [table.qualified for table in tables]
    raise UsageError(
        f"table {name!r} exists in several databases"
        if found
        else f"table {name!r} is not followed{nearest(name, names)}",
        fix="followed are " + ", ".join(names),
    )


def _ask(names: Sequence[str], tables: Sequence[Table]) -> None:
    prefixes = [
        f"{table.key.literal_prefix}*"
        for table in tables
        if table.qualified in names and table.key.literal_prefix
    ]
    click.echo(f"all rows of {', '.join(names)} are read from MySQL", err=True)
    if prefixes:
        click.echo(f"keys {', '.join(prefixes)} in Redis that are no rows are removed", err=True)
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked", fix="cdc refresh --yes …")
    click.confirm("go on?", abort=True, err=True)
