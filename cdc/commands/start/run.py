"""``cdc run``: both roles of a pipeline, or one of them, until it is stopped."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from cdc.commands.options import WithSettings, json_option, prepared, settled
from cdc.errors import UsageError

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
    from cdc.check import servers
    from cdc.process import role as roles
    from cdc.process import supervisor
    from cdc.process.new_tables import NewTables
    from cdc.process.reload import Reload

    if as_json and not dry_run:
        raise UsageError("--json needs --dry-run", fix="cdc run --dry-run --json")
    # Not again for a new table: a settings file that is being edited counts at SIGHUP alone.
    known = settled(config, debug, role, flags)
    if dry_run:
        from cdc.commands.start.dry_run import run

        settings, _ = known
        raise click.exceptions.Exit(run(settings, role, as_json=as_json))
    is_again = False
    reload = Reload(partial(settled, config, debug, role, flags), role)
    while True:
        prepared_run = prepared(config, debug, role, flags, joins=False, known=known)
        with prepared_run as (settings, log, companions):
            new = NewTables(settings, role, log, is_restart=is_again)
            tables = new.captured(partial(servers.check, settings, role, log))
            jobs = [job for job in supervisor.jobs(settings) if role in ("both", job.role)]
            beside = [*new.beside(), *reload.beside(known[0], log)]
            if len(jobs) > 1:
                code = supervisor.supervise(jobs, tables, log, [*companions, *beside])
            else:
                code = roles.run_here(jobs[0], tables, log, beside)
        known = reload.accepted or known
        is_again = new.found or reload.accepted is not None
        if not is_again:
            raise click.exceptions.Exit(code)
        new.release()
