"""``cdc refresh``: read tables again, and remove keys of rows that no longer exist."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cdc.commands.options import WithSettings, json_option, prepared
from cdc.errors import UsageError
from cdc.setting import nearest
from cdc.settings import Settings
from cdc.table import Table
from cdc.table_pattern import is_pattern, parse_pattern, plain_name

if TYPE_CHECKING:
    from cdc.telemetry import Log

EXAMPLES = """\
  cdc refresh --table shop.users --table shop.orders
  cdc refresh --config cdc.toml --yes
  cdc refresh --only shop.orders          only orders; the position is kept
"""
ABOUT = """\
Read the tables again from MySQL, and remove keys of rows that no longer exist from Redis.

It announces the refresh in the stream and returns; the running cdc run does it, or the next
one that is started.  Changes keep flowing meanwhile: no newer value is overwritten, and no key
of an existing row is ever removed.  Use it after exit code 65, or when Redis is not in sync.

Without --only, replication resumes at the current end of the binlog, so a refresh closes every
gap: a purged binlog, a lost stream, an emptied Redis.  Once a table is read, keys that match
its template but belong to no row are removed, whichever program wrote them.

Give it the flags and settings of cdc run.
"""


def refresh_command() -> click.Command:
    """Return the command."""
    own = [
        click.Option(
            ["only", "--only"],
            multiple=True,
            metavar="TABLE",
            help="Refresh only this captured table, when there is no gap; repeat it for more.",
        ),
        click.Option(["yes", "--yes"], is_flag=True, help="Do not ask for confirmation."),
        json_option(),
    ]
    return WithSettings(
        "refresh",
        EXAMPLES,
        own,
        callback=_refresh,
        help=ABOUT,
        short_help="Read the tables again, which closes every gap.",
    )


def _refresh(
    only: tuple[str, ...], yes: bool, as_json: bool, config: str | None, debug: bool, **flags: Any
) -> None:
    with prepared(config, debug, "both", flags) as (settings, log, _):
        run(settings, log, only=only, is_agreed=yes, as_json=as_json)


def run(
    settings: Settings, log: Log, *, only: Sequence[str], is_agreed: bool, as_json: bool
) -> None:
    """Announce a refresh and print what happens next.

    Args:
        only: tables as a person names them; empty: all.

    Raises:
        CdcError: a table is not captured, or a server refuses.
    """
    import asyncio

    from cdc.check import servers
    from cdc_reader.snapshot.refresh import announce

    tables = asyncio.run(servers.captured_tables(settings))
    wanted = [table.qualified for table in chosen(only, tables)]
    if not is_agreed:
        _ask(wanted or [table.qualified for table in tables], tables)
    refresh, sequence = asyncio.run(announce(settings, tables, wanted, log))
    if as_json:
        about = {"tables": refresh.tables, "stream": settings.stream, "sequence": sequence}
        click.echo(json.dumps(about | {"number": refresh.number, "gap": refresh.gap}))
        return
    named = ", ".join(refresh.tables)
    click.echo(f"announced in {settings.stream} at sequence {sequence}: {named}")
    click.echo("  next: the running cdc run does it now; if there is none, start one.  It logs")
    click.echo("        refreshed  for each table, with the number of keys that were removed")


def chosen(only: Sequence[str], tables: Sequence[Table]) -> list[Table]:
    """Return the captured tables that ``--only`` names, each once: names and patterns.

    A pattern without a dot is for tables of any database: ``log_*``.

    Raises:
        UsageError: one is not captured, or several databases have one of that name.
    """
    found = [table for name in only for table in _meant(name, tables)]
    return list({table.qualified: table for table in found}.values())


def _meant(name: str, tables: Sequence[Table]) -> list[Table]:
    if is_pattern(name):
        try:
            pattern = parse_pattern(name if "." in name else f"*.{name}", "")
        except ValueError as error:
            raise UsageError(
                f"--only has a pattern that cannot be used: {name!r} {error}"
            ) from None
        found = [table for table in tables if pattern.matches(table.schema, table.name)]
    else:
        plain = plain_name(name)
        found = [table for table in tables if plain in (table.qualified, table.name)]
    if len(found) == 1 or (found and is_pattern(name)):
        return found
    names = [table.qualified for table in tables]
    raise UsageError(
        f"table {name!r} exists in several databases"
        if found
        else f"table {name!r} is not captured{nearest(name, names)}",
        fix="captured tables: " + ", ".join(names),
    )


def _ask(names: Sequence[str], tables: Sequence[Table]) -> None:
    prefixes = [
        f"{table.key.literal_prefix}*"
        for table in tables
        if table.qualified in names and table.key.literal_prefix
    ]
    click.echo(f"reads all rows of {', '.join(names)} from MySQL", err=True)
    if prefixes:
        click.echo(f"removes keys {', '.join(prefixes)} that belong to no row from Redis", err=True)
    if not sys.stdin.isatty():
        raise UsageError("confirmation needs a terminal", fix="cdc refresh --yes …")
    click.confirm("continue?", abort=True, err=True)
