"""``cdc check``: checks all three servers for what would break the guarantees; changes nothing."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import click

from cdc.commands.options import WithSettings, joined, json_option, settled
from cdc.errors import UsageError

EXAMPLES = """\
  cdc check --table your_table
  cdc check --config cdc.toml --strict
  cdc check --table shop.users --fix-sql | mysql -u root -p
  cdc check --table shop.users --json | jq '.findings[].id'
"""
ABOUT = """\
Check all three servers and print how to fix each problem; nothing is modified.

Each finding shows what was found, why it matters, and the exact statement or command that
fixes it.  Each table is shown with its rows, an estimate of the snapshot's duration, and the
memory that it needs in Redis.  cdc run makes the same checks, except the slow ones, and does
not start if a finding is an error.

Give it the flags and settings of cdc run.  Exit code 0: cdc run can start; 1: there are
warnings, with --strict; 3: cdc run cannot start.
"""


def check_command() -> click.Command:
    """Return the command."""
    own = [
        click.Option(
            ["role", "--role"],
            type=click.Choice(("both", "reader", "sink")),
            default="both",
            help="Check what this role needs [both].",
        ),
        json_option(),
        click.Option(
            ["as_sql", "--fix-sql"],
            is_flag=True,
            help="Print only the SQL that fixes MySQL; other fixes as comments.",
        ),
        click.Option(
            ["strict", "--strict"], is_flag=True, help="Exit with 1 if there are warnings."
        ),
    ]
    return WithSettings(
        "check",
        EXAMPLES,
        own,
        callback=_check,
        help=ABOUT,
        short_help="Check all three servers and print how to fix each problem.",
    )


def _check(
    role: str,
    as_json: bool,
    as_sql: bool,
    strict: bool,
    config: str | None,
    debug: bool,
    **flags: Any,
) -> None:
    import asyncio

    from cdc.check import report as check_report
    from cdc.check import servers

    if as_json and as_sql:
        raise UsageError("--json and --fix-sql are two outputs; keep one")
    settings = joined(settled(config, debug, role, flags)[0])
    report = asyncio.run(servers.ask(settings, role, thorough=True))
    if as_json:
        click.echo(json.dumps(check_report.as_json(report, strict=strict)))
    elif as_sql:
        click.echo(check_report.as_sql(report))
    else:
        is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        paint = check_report.COLOURED if is_coloured else check_report.PLAIN
        click.echo(check_report.as_text(report, paint), color=is_coloured)
    raise click.exceptions.Exit(check_report.exit_code(report, strict=strict))
