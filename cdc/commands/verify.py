"""``cdc verify``: whether Redis is what MySQL is, while both move."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cdc.commands.options import WithSettings, prepared
from cdc.commands.refresh import captured
from cdc.settings import Settings

if TYPE_CHECKING:
    from cdc.telemetry import Log

DIFFERENT = 1
EXAMPLES = """\
  cdc verify --table shop.users
  cdc verify --config cdc.toml --only orders --show-values
  cdc verify --table shop.users --sample 5          a random 5 % of it
  cdc verify --table shop.users --repair            and fix what is wrong
"""
ABOUT = """\
Compare every row of MySQL with Redis, exactly, while both move.

Its own SELECT and its own formatting, so that a mistake of the pipeline is seen.  What differs
is looked at again once the sink has everything that MySQL had; only what is wrong then counts:
missing, stale, of a wrong type, or an orphan, a key under the table's template that is no row.

Nothing is locked and nothing of yours is written.  Interrupted (Ctrl-C, kill), the next one goes
on where it was.  Exit code 0: equal; 1: different; 69: the sink does not get there.

Give it the flags and settings that cdc run has.
"""


def verify_command() -> click.Command:
    """Return the command."""
    own: list[click.Parameter] = [
        click.Option(
            ["only", "--only"],
            multiple=True,
            metavar="TABLE",
            help="One of the tables that are followed: verify it alone.",
        ),
        click.Option(
            ["sample", "--sample"],
            type=click.FloatRange(0, 100, min_open=True),
            default=100.0,
            metavar="PERCENT",
            help="Look at a random part of the rows and keys alone [100].",
        ),
        click.Option(
            ["seed", "--seed"],
            type=click.IntRange(0),
            metavar="NUMBER",
            help="Choose the sample as that one did; it says which number.",
        ),
        click.Option(
            ["repair", "--repair"],
            is_flag=True,
            help="Read tables with differences anew through the stream, then look again.",
        ),
        click.Option(
            ["restart", "--restart"],
            is_flag=True,
            help="Begin anew; do not go on where an interrupted one was.",
        ),
        click.Option(
            ["with_values", "--show-values"],
            is_flag=True,
            help="Show what MySQL and Redis hold of the keys that differ.",
        ),
        click.Option(
            ["wait_s", "--wait"],
            type=click.FloatRange(1),
            default=60.0,
            metavar="SECONDS",
            help="How long the sink may stand still before it is given up [60].",
        ),
        click.Option(["as_json", "--json"], is_flag=True, help="Say what was found as JSON."),
    ]
    return WithSettings(
        "verify",
        EXAMPLES,
        own,
        callback=_verify,
        help=ABOUT,
        short_help="Compare MySQL with Redis exactly, while both move.",
    )


def _verify(config: str | None, debug: bool, **flags: Any) -> None:
    names = ("only", "sample", "seed", "repair", "restart", "with_values", "wait_s", "as_json")
    own = {name: flags.pop(name) for name in names}
    if flags.get("log_level") is None:
        flags["log_level"] = "warning"  # what goes on is shown by the line of progress
    with prepared(config, debug, "both", flags) as (settings, log, _):
        code = run(settings, log, **own)
    raise click.exceptions.Exit(code)


def run(
    settings: Settings,
    log: Log,
    *,
    only: Sequence[str],
    as_json: bool,
    repair: bool,
    seed: int | None,
    sample: float,
    with_values: bool,
    **wish: Any,
) -> int:
    """Verify, say what was found, and return 0 if all is equal, else `DIFFERENT`.

    Raises:
        CdcError: a table is not captured, or a server refuses or does not answer.
    """
    import asyncio

    from cdc.check import servers
    from cdc.progress import Progress
    from cdc_reader.snapshot.refresh import announce, is_done
    from cdc_verify.once import verify
    from cdc_verify.repair import RowReading

    tables = asyncio.run(servers.captured_tables(settings))
    wanted = [captured(name, tables) for name in only] or list(tables)
    seed = random.randrange(1 << 32) if seed is None else seed
    if sample < 100:
        click.echo(f"a sample of {sample:g} %, chosen by --seed {seed}", err=True)
    reports = asyncio.run(
        verify(
            settings,
            tables,
            wanted,
            repair=RowReading(announce, is_done) if repair else None,
            shown=Progress,
            log=log,
            seed=seed,
            sample=sample,
            with_values=with_values,
            chunk_max_rows=settings.snapshot_chunk_rows,
            rows_per_s=settings.verify_rows_per_s,
            **wish,
        )
    )
    equal = all(report.equal for report in reports)
    if as_json:
        about = [report.about(with_values=with_values) for report in reports]
        click.echo(json.dumps({"equal": equal, "tables": about}, ensure_ascii=False))
    else:
        for report in reports:
            for line in report.lines(with_values=with_values):
                click.echo(line)
    return 0 if equal else DIFFERENT
