"""``cdc purge``: remove keys of a table that is no longer captured, or of an older template."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from cdc.commands.options import WithSettings, json_option, prepared, settled
from cdc.errors import UsageError

EXAMPLES = """\
  cdc purge --table shop.users --dry-run               count the keys
  cdc purge --table shop.users                         a table that is no longer captured
  cdc purge --table shop.users --key 'user:{id}'       keys of an older template
  cdc purge --table shop.users --key 'of:{team}' --as hash --yes
"""
ABOUT = """\
Remove the keys of a table that is no longer captured, or keys of an older template, from Redis.

It counts the keys, asks for confirmation, and removes them.  A key is removed only if it
matches the table's template, has its type, and cannot belong to another captured table.  A
table that a running cdc run captures is refused; keys of an older template (--key) can be
removed while it runs.

Give it the settings of cdc run, so that it knows which keys to keep.  MySQL is used only if
these have patterns.
"""


def purge_command() -> click.Command:
    """Return the command."""
    own = [
        click.Option(
            ["dry_run", "--dry-run"], is_flag=True, help="Count the keys; remove nothing."
        ),
        click.Option(["yes", "--yes"], is_flag=True, help="Do not ask for confirmation."),
        json_option(),
    ]
    return WithSettings(
        "purge",
        EXAMPLES,
        own,
        callback=_purge,
        help=ABOUT,
        short_help="Remove keys of a table that is no longer captured.",
    )


def _purge(
    dry_run: bool, yes: bool, as_json: bool, config: str | None, debug: bool, **flags: Any
) -> None:
    import asyncio

    from cdc.check import servers
    from cdc.status.progress import Progress
    from redis_sink.queries.purge import purge

    if not flags.get("tables"):
        raise UsageError("name the table: cdc purge --table shop.users")
    others = {name: value for name, value in flags.items() if name not in _OF_TABLES}
    with prepared(config, debug, "both", flags) as (settings, log, _):
        captured = settled(config, debug, "both", others)[0]
        kept = asyncio.run(servers.named_tables(captured)) if captured.tables else ()
        tables = asyncio.run(servers.named_tables(settings))
        progress = Progress("purge", unit="keys")

        def agreed(found: Sequence[Any]) -> bool:
            progress.clear()
            return not dry_run and (yes or _asked(found))

        found, removed = asyncio.run(
            purge(
                settings,
                tables,
                kept,
                keys_alone=flags.get("key") is not None,
                agreed=agreed,
                progress=lambda what, looked: progress.show(looked, what),
                log=log,
            )
        )
        progress.clear()
    if as_json:
        about = [
            {"table": one.ground.table, "template": one.ground.template.text, "keys": one.keys}
            for one in found
        ]
        click.echo(json.dumps({"templates": about, "removed": removed, "dry_run": dry_run}))
    else:
        if dry_run or not any(one.keys for one in found):
            click.echo("\n".join(_counted(found)))
        click.echo(f"{removed} keys removed")


_OF_TABLES = ("tables", "exclude_tables", "key", "value", "as")


def _counted(found: Sequence[Any]) -> list[str]:
    """Return a line for each template.

    ``shop.users  users:{id}  3 keys, such as 'users:1', 'users:2', 'users:7'``
    """
    return [
        f"{one.ground.table}  {one.ground.template.text}  {one.keys} keys"
        + (f", such as {', '.join(map(repr, one.samples))}" if one.samples else "")
        for one in found
    ]


def _asked(found: Sequence[Any]) -> bool:
    click.echo("\n".join(_counted(found)), err=True)
    if not sys.stdin.isatty():
        raise UsageError(
            "confirmation needs a terminal", safe="nothing was removed", fix="cdc purge --yes …"
        )
    return click.confirm("remove these keys?", abort=True, err=True)
