"""``cdc dead``: list, repair and remove messages that could not be applied.

A row is repaired by reading it again through the normal stream, or its whole table if the dead
letter does not identify the row: then Redis is in sync again, whatever the message was.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from cdc.commands.options import Argument, Group, WithSettings, json_option, prepared
from cdc.errors import UsageError
from cdc.settings import Settings
from cdc.table import Table

if TYPE_CHECKING:
    from cdc.jetstream.dead_letters import Kept
    from cdc.telemetry import Log

EXAMPLES = """\
  cdc dead list                        all: number, time, table, key, reason
  cdc dead show 12                     one, with the message as it was received
  cdc dead retry 12 --table users      read its row again, then remove it
  cdc dead retry --all --config cdc.toml
  cdc dead drop 12                     remove it; Redis is left as it is
"""
ABOUT = """\
List, retry and drop dead letters: messages that can never be applied to Redis.

The sink stores each on cdc.dead.<pipeline> and continues with the next message.  A table
counts as not exact while it has dead letters.  Give these commands the settings of cdc run.
"""
AT_ONCE = 100
"""Maximum number of single rows to read; above it the whole table is read."""
SAME_TEXT = frozenset(
    ("tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "char", "varchar", "date")
)
"""Types whose text in a Redis key is the one that MySQL compares with."""
Ranges = dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]]
RETRY = """\
Read the rows of dead letters again from MySQL, then remove the dead letters.

If each dead letter of a table identifies its row, those rows are read; otherwise the whole
table is, and keys of rows that no longer exist are removed.

The rows go through the normal stream, in order with the changes, so no newer value is
overwritten.  A running cdc run reads them; this command waits for it, then removes the dead
letters.  A dead letter that belongs to no captured table cannot be repaired and is kept.
"""


def dead_command() -> click.Command:
    """Return the command with its parts."""
    as_json = json_option()
    every = click.Option(["every", "--all"], is_flag=True, help="All dead letters.")
    yes = click.Option(["yes", "--yes"], is_flag=True, help="Do not ask for confirmation.")
    about = "Number of a dead letter, as cdc dead list prints it."
    numbers = Argument(
        ["numbers"], nargs=-1, type=click.IntRange(1), metavar="[NUMBER]...", about=about
    )
    number = Argument(["number"], type=click.IntRange(1), metavar="NUMBER", about=about)
    parts = [
        WithSettings(
            "list", "  cdc dead list\n  cdc dead list --json | jq .reason\n", [as_json],
            of="dead", callback=_list,
            help="List the dead letters: number, time, table, key, reason.",
        ),
        WithSettings(
            "show", "  cdc dead show 12\n", [number, as_json], of="dead", callback=_show,
            help="Show one dead letter, with the message as it was received.",
        ),
        WithSettings(
            "retry", "  cdc dead retry 12 --table users\n  cdc dead retry --all\n",
            [numbers, every], of="dead", callback=_retry, help=RETRY,
            short_help="Read the rows again, then remove the dead letters.",
        ),
        WithSettings(
            "drop", "  cdc dead drop 12 13\n  cdc dead drop --all --yes\n", [numbers, every, yes],
            of="dead", callback=_drop, help="Remove dead letters; Redis is left as it is.",
        ),
    ]  # fmt: skip
    return Group(
        "dead",
        examples=EXAMPLES,
        commands={part.name or "": part for part in parts},
        help=ABOUT,
        short_help="List, show, retry and drop dead letters.",
        invoke_without_command=True,
        callback=_help,
    )


@click.pass_context
def _help(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _list(as_json: bool, config: str | None, debug: bool, **flags: Any) -> None:
    with prepared(config, debug, "both", flags) as (settings, log, _):
        found = _read(settings, log)
    if as_json:
        for one in found:
            click.echo(json.dumps(about(one)))
        return
    if not found:
        click.echo(f"no dead letters on cdc.dead.{settings.pipeline}")
        return
    rows = [("NUMBER", "TIME", "TABLE", "KEY", "REASON")]
    for kept in found:
        letter, time = kept.letter, kept.time[:19] + "Z"
        rows.append((str(kept.number), time, letter.table or "-", letter.key or "-", letter.reason))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[4]]))


def about(kept: Kept) -> dict[str, Any]:
    """Return what `--json` prints of a dead letter."""
    letter = kept.letter
    return {
        "number": kept.number,
        "time": kept.time,
        "table": letter.table,
        "key": letter.key,
        "reason": letter.reason,
        "subject": letter.subject,
        "stream": letter.stream,
        "sequence": letter.seq,
        "body_bytes": letter.body_bytes,
    }


def _show(number: int, as_json: bool, config: str | None, debug: bool, **flags: Any) -> None:
    with prepared(config, debug, "both", flags) as (settings, log, _):
        (one,) = _chosen(_read(settings, log, number), (number,), every=False)
    if as_json:
        click.echo(json.dumps(about(one) | {"body": one.letter.body}))
        return
    for name, value in about(one).items():
        click.echo(f"{name:12}{'-' if value is None else value}")
    raw = base64.b64decode(one.letter.body)
    click.echo("body" + (" (its beginning)" if one.letter.truncated else ""))
    click.echo(raw.decode(errors="backslashreplace"))


def _drop(
    numbers: tuple[int, ...], every: bool, yes: bool, config: str | None, debug: bool, **flags: Any
) -> None:
    with prepared(config, debug, "both", flags) as (settings, log, _):
        chosen = _chosen(_read(settings, log), numbers, every=every)
        if not chosen:
            click.echo("nothing to remove")
            return
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError("confirmation needs a terminal", fix="cdc dead drop … --yes")
            letters = "dead letter" if len(chosen) == 1 else "dead letters"
            what = f"remove {len(chosen)} {letters}? Redis is left as it is"
            click.confirm(what, abort=True, err=True)
        _remove(settings, log, chosen)


def _retry(
    numbers: tuple[int, ...], every: bool, config: str | None, debug: bool, **flags: Any
) -> None:
    import asyncio

    from cdc.check import servers

    with prepared(config, debug, "both", flags) as (settings, log, _):
        tables = asyncio.run(servers.captured_tables(settings))
        chosen = _chosen(_read(settings, log), numbers, every=every)
        homes = {kept: table_of(kept, tables) for kept in chosen}
        lost = [kept for kept, home in homes.items() if isinstance(home, str)]
        for kept in lost:
            click.echo(f"{kept.number} cannot be repaired: {homes[kept]}", err=True)
        repairable = {kept: home for kept, home in homes.items() if isinstance(home, Table)}
        for how in whole_and_ranges(repairable) if repairable else ():
            _read_again(settings, tables, *how, log)
        if repairable:
            _remove(settings, log, list(repairable))
    if lost and not every:
        raise UsageError(
            f"{len(lost)} of {len(chosen)} cannot be repaired", fix="cdc dead drop removes them"
        )
    if not chosen:
        click.echo("nothing to repair")


def _read_again(
    settings: Settings,
    tables: Sequence[Table],
    only: Sequence[str],
    ranges: Ranges | None,
    log: Log,
) -> None:
    import asyncio

    from cdc_reader.snapshot.refresh import announce, read_to_the_end

    refresh, _ = asyncio.run(announce(settings, tables, only, log, ranges=ranges))
    if ranges is None:
        what = f"{', '.join(only)}: waiting for cdc run to read all rows again"
    else:
        count = sum(map(len, ranges.values()))
        rows = "a row" if count == 1 else f"{count} rows"
        what = f"{', '.join(ranges)}: waiting for cdc run to read {rows} again"
    click.echo(what, err=True)
    asyncio.run(read_to_the_end(settings, refresh, log))


def whole_and_ranges(
    homes: Mapping[Kept, Table],
) -> list[tuple[Sequence[str], Ranges | None]]:
    """Return what repairs letters, as `only` and `ranges` of the announcements.

    Single rows if each dead letter of a table identifies its row; otherwise the whole table.
    """
    rows: dict[str, set[tuple[str, ...]] | None] = {}
    for kept, table in homes.items():
        key, found = row_of(kept, table), rows.get(table.qualified, set())
        rows[table.qualified] = None if key is None or found is None else found | {key}
    out: list[tuple[Sequence[str], Ranges | None]] = []
    if whole := [name for name, keys in rows.items() if keys is None or len(keys) > AT_ONCE]:
        out.append((whole, None))
    for name, keys in rows.items():
        if keys is not None and name not in whole:
            out.append(((), {name: [(key, key) for key in sorted(keys)]}))
    return out


def row_of(kept: Kept, table: Table) -> tuple[str, ...] | None:
    """Return the chunk key of the one row that a letter is about; None: it is not known.

    A row whose key changed may have left its old key, and a deleted row its own: those take a
    snapshot of the whole table, which removes keys of no row.
    """
    letter = kept.letter
    if letter.key is None or letter.truncated or not table.chunk_key:
        return None
    if table.model not in ("string", "hash"):
        return None
    try:
        body = json.loads(base64.b64decode(letter.body))
    except ValueError:
        return None
    if not isinstance(body, dict) or body.get("key") != letter.key or "old_key" in body:
        return None
    if body.get("op", "update") not in ("insert", "update"):
        return None
    texts = table.key.columns_of(letter.key)
    kinds = {column.name: column.data_type for column in table.columns}
    if texts is None or any(
        name not in texts or kinds[name] not in SAME_TEXT for name in table.chunk_key
    ):
        return None
    return tuple(texts[name] for name in table.chunk_key)


def table_of(kept: Kept, tables: Sequence[Table]) -> Table | str:
    """Return the table whose rows repair a letter, or why there is none."""
    letter = kept.letter
    for table in tables:
        if letter.table == table.qualified:
            return table
    if letter.table is not None:
        return f"its table {letter.table} is not captured here"
    if letter.key is None:
        return "it has neither a table nor a key, so its row is not known"
    made = [table for table in tables if table.key.may_have_made(letter.key)]
    return made[0] if len(made) == 1 else f"its key {letter.key!r} does not identify one table"


def _chosen(found: Sequence[Kept], numbers: Sequence[int], *, every: bool) -> list[Kept]:
    if every == bool(numbers):
        raise UsageError("give the numbers of dead letters, or --all")
    chosen = [kept for kept in found if every or kept.number in numbers]
    if missing := sorted(set(numbers) - {kept.number for kept in chosen}):
        raise UsageError(f"no dead letter {', '.join(map(str, missing))}", fix="cdc dead list")
    return chosen


def _read(settings: Settings, log: Log, number: int = 0) -> list[Kept]:
    import asyncio

    from cdc.jetstream import dead_letters, stream

    async def read() -> list[Kept]:
        async with stream.opened(
            settings.nats, name="cdc-dead", inbox_prefix="_INBOX_sink", log=log
        ) as nc:
            return [one async for one in dead_letters.kept(nc, settings, number)]

    return asyncio.run(read())


def _remove(settings: Settings, log: Log, chosen: Sequence[Kept]) -> None:
    import asyncio

    from cdc.jetstream import dead_letters, stream

    async def remove() -> None:
        async with stream.opened(
            settings.nats, name="cdc-dead", inbox_prefix="_INBOX_sink", log=log
        ) as nc:
            for kept in chosen:
                await dead_letters.remove(nc, settings, kept.number)

    asyncio.run(remove())
    click.echo(f"removed: {', '.join(str(kept.number) for kept in chosen)}")
