"""``cdc run``: both roles of a pipeline, or one of them, until it is stopped."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from cdc.commands.options import WithSettings, json_option, prepared, settled
from cdc.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from cdc.process.role import Job
    from cdc.settings import Settings
    from cdc.table import Table
    from cdc.telemetry import Log

ROLES = ("both", "reader", "sink")
EXAMPLES = """\
  cdc run --table your_table
  cdc run --table shop.users --table shop.orders --mysql mysql://cdc@db.example/shop
  cdc run --table 'shop.*' --exclude-table 'shop.tmp_*'
  cdc run --table your_table --key '{your_key}' --value your_column
  cdc run --table your_table --dry-run      print what would happen; write nothing
  cdc run --config cdc.toml
"""
ABOUT = "Publish every committed change of the tables on NATS and keep Redis in sync."


def run_command() -> click.Command:
    """Return the command."""
    own: list[click.Parameter] = [
        click.Option(
            ["role", "--role"],
            type=click.Choice(ROLES),
            default="both",
            help="Role to run here [both].",
        ),
        click.Option(
            ["dry_run", "--dry-run"],
            is_flag=True,
            help="Print what would be published and written, and write nothing.",
        ),
        json_option("With --dry-run: print JSON."),
    ]
    return WithSettings(
        "run",
        EXAMPLES,
        own,
        callback=_run,
        help=ABOUT,
        short_help="Publish changes on NATS and keep Redis in sync.",
    )


def _run(
    role: str, dry_run: bool, as_json: bool, config: str | None, debug: bool, **flags: Any
) -> None:
    if as_json and not dry_run:
        raise UsageError("--json needs --dry-run", fix="cdc run --dry-run --json")
    # Not again for a new table: a settings file that is being edited counts at SIGHUP alone.
    known = settled(config, debug, role, flags)
    if dry_run:
        from cdc.commands.start.dry_run import run

        raise click.exceptions.Exit(run(known[0], role, as_json=as_json))
    from cdc.check import servers
    from cdc.process import supervisor
    from cdc.process.generations import Generations
    from cdc.process.new_tables import NewTables
    from cdc.process.reload import Reload
    from cdc.process.stopping import OpenLoop

    def jobs(settings: Settings) -> list[Job]:
        return [job for job in supervisor.jobs(settings) if role in ("both", job.role)]

    def check(settings: Settings, log: Log) -> Awaitable[tuple[Table, ...]]:
        return servers.check(settings, role, log)

    reload = Reload(partial(settled, config, debug, role, flags))
    with prepared(config, debug, role, flags, joins=False, known=known) as started:
        settings, log, companions = started
        generations = Generations((settings, log), jobs, check, nats=known[0].nats)
        beside = [reload.watch(generations), NewTables(role).watch(generations)]
        # Not asyncio.run: at Ctrl-C it would wait for threads that wait for a server.
        running = generations.until_ended([*companions, *beside])
        raise click.exceptions.Exit(OpenLoop().run_until_complete(running))
